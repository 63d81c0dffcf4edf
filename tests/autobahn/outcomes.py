"""What came of a case: read from the suite's reports, judged, and said in words.

The suite judges twice, what the server did in the case and how it closed the connection. The outcome is the worse of
the two, in the order of ``Verdict``.
"""

from __future__ import annotations

import enum
import functools
import json
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Outcome", "Verdict", "outcome", "read"]

#: One of the suite's JSON documents.
Document = Mapping[str, Any]

#: Results that say no more than the verdict does.
_SAYS_NOTHING = {"Actual events match at least one expected.", "Actual events differ from any expected."}
_SHOWN = 40
"""Characters of a message that are shown."""
_EVENTS = 3
"""Events that are shown."""
_WIDTH = 200
"""Characters of a description that are shown."""


class Verdict(enum.IntEnum):
    """The suite's verdicts, from good to bad."""

    OK = 0
    INFORMATIONAL = 1
    NON_STRICT = 2
    UNIMPLEMENTED = 3
    FAILED = 4

    @property
    def word(self) -> str:
        """The verdict as the suite writes it."""
        return self.name.replace("_", "-")

    @property
    def passes(self) -> bool:
        """The server does what the specification requires."""
        return self < Verdict.UNIMPLEMENTED


#: In the closing, a wrong code and leaving the end of the TCP connection to the client are against a SHOULD only. What
#: is not here is a failure.
_JUDGED = {
    "OK": Verdict.OK,
    "INFORMATIONAL": Verdict.INFORMATIONAL,
    "NON-STRICT": Verdict.NON_STRICT,
    "WRONG CODE": Verdict.NON_STRICT,
    "FAILED BY CLIENT": Verdict.NON_STRICT,
    "UNIMPLEMENTED": Verdict.UNIMPLEMENTED,
}


class Outcome(NamedTuple):
    """What came of one case."""

    verdict: Verdict
    milliseconds: int
    what: str = ""
    """What the case does, where the verdict is not OK."""
    why: str = ""
    """What happened instead, where the verdict is not OK."""


def read(index: Document, agent: str, report: Callable[[str], Document]) -> dict[str, Outcome]:
    """Return the outcomes of ``agent`` in the suite's index, by case; ``report`` opens a case's own report by its name.

    A report is opened only for a case that is not OK.
    """
    entries: dict[str, Document] = index.get(agent, {})
    return {case: outcome(entry, functools.partial(report, entry["reportfile"])) for case, entry in entries.items()}


def outcome(entry: Document, report: Callable[[], Document]) -> Outcome:
    """Return what an entry of the index says."""
    behaviour, closing = (_JUDGED.get(entry[key], Verdict.FAILED) for key in ("behavior", "behaviorClose"))
    verdict = behaviour if behaviour == Verdict.UNIMPLEMENTED else max(behaviour, closing)
    if verdict == Verdict.OK:
        return Outcome(verdict, entry["duration"])
    details = report()
    return Outcome(verdict, entry["duration"], _description(details), _reason(behaviour, closing, details))


def _description(report: Document) -> str:
    """Return what the case does: the first paragraph, without its HTML."""
    first = re.split(r"<br\s*/?>", report["description"])[0]
    return textwrap.shorten(re.sub(r"<[^>]+>", "", first), _WIDTH, placeholder=" ...")


def _reason(behaviour: Verdict, closing: Verdict, report: Document) -> str:
    if behaviour == Verdict.UNIMPLEMENTED:
        return "the server does not take up the extension that the client offers"
    reasons = [_events(report)] if behaviour != Verdict.OK and report["result"] != report["resultClose"] else []
    if closing not in (Verdict.OK, Verdict.INFORMATIONAL):
        reasons.append(_closing(report))
    return "; ".join(reasons)


def _events(report: Document) -> str:
    """Return why what the server did is not what was wanted."""
    if report["result"] not in _SAYS_NOTHING or "OK" not in report["expected"]:
        return str(report["result"]).rstrip(".")
    return f"wanted {_listed(report['expected']['OK'])}, got {_listed(report['received'])}"


def _listed(events: list[list[Any]]) -> str:
    shown = [_event(*event) for event in events[:_EVENTS]]
    if more := len(events) - len(shown):
        shown.append(f"{more} more")
    return " and ".join(shown) or "nothing"


def _event(kind: str, content: str = "", binary: bool = False) -> str:
    if kind == "timeout":  # the client has waited between two of its steps
        return f"still open after wait {content}"
    shown = json.dumps(content if len(content) <= _SHOWN else content[:_SHOWN] + "...")
    return f"{'binary ' if binary else ''}{kind} {shown}"


def _closing(report: Document) -> str:
    code = report["remoteCloseCode"]
    return f"{report['resultClose'].rstrip('.')} (close code {'none' if code is None else code})"
