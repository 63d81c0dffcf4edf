"""The report: a table for the terminal, and the page `docs/autobahn.md`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .cases import CASES, SECTIONS, ranges, section_of
from .measured import Measured, Run, Tally, tally
from .outcomes import Outcome, Verdict
from .subjects import SUBJECTS

__all__ = ["Finding", "findings", "page", "table"]

_VERDICTS = [Verdict.OK, Verdict.NON_STRICT, Verdict.INFORMATIONAL, Verdict.UNIMPLEMENTED, Verdict.FAILED]
_HEADINGS = ["section", "cases", *(verdict.word for verdict in _VERDICTS)]


class Finding(NamedTuple):
    """A case that is not OK; or several of a family, one after the other, of which the same is to be said."""

    cases: list[str]
    verdict: Verdict
    what: str
    why: str


def findings(outcomes: Mapping[str, Outcome]) -> list[Finding]:
    """Return what is not OK, in the suite's order."""
    found: list[Finding] = []
    for case, outcome in outcomes.items():
        if outcome.verdict == Verdict.OK:
            continue
        if found and _belongs(case, outcome, found[-1]):
            found[-1].cases.append(case)
            found[-1] = found[-1]._replace(what=_common(found[-1].what, outcome.what))
        else:
            found.append(Finding([case], outcome.verdict, outcome.what, outcome.why))
    return found


def _belongs(case: str, outcome: Outcome, finding: Finding) -> bool:
    return (
        case.rsplit(".", 1)[0] == finding.cases[-1].rsplit(".", 1)[0]
        and (outcome.verdict, outcome.why) == (finding.verdict, finding.why)
        and _parts(outcome.what)[::2] == _parts(finding.what)[::2]
    )


def _parts(text: str) -> list[str]:
    """Split what is between numbers, at even places, from the numbers; some cases differ by these alone."""
    return re.split(r"(\d+|\bN\b)", text)


def _common(one: str, other: str) -> str:
    """Return two texts as one, with ``N`` for the numbers by which they differ."""
    return "".join(mine if mine == its else "N" for mine, its in zip(_parts(one), _parts(other), strict=True))


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Return the table of one server for the terminal, with what is not OK below it."""
    rows = [_HEADINGS, *_rows(outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [_aligned(row, widths) for row in rows]
    for finding in findings(outcomes):
        lines += ["", f"{ranges(finding.cases)}  {finding.verdict.word}: {finding.why}", f"    {finding.what}"]
    return "\n".join(lines)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([first.strip().ljust(widths[0]), *others])


def _rows(outcomes: Mapping[str, Outcome]) -> list[list[str]]:
    """Return a row for each section, and one for all."""
    tallies = tally(outcomes)
    rows = [[f"{one.section} {SECTIONS[one.section]}", *_counts(one)] for one in tallies]
    totals = {verdict: sum(one.counts[verdict] for one in tallies) for verdict in _VERDICTS}
    return [*rows, ["all", *_counts(Tally("all", totals))]]


def _counts(one: Tally) -> list[str]:
    return [str(one.cases), *(str(one.counts[verdict] or "-") for verdict in _VERDICTS)]


_INTRODUCTION = """\
# Autobahn test suite

The [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite) speaks to a WebSocket server, often as no
good client would, and looks at what comes back: framing, fragments, UTF-8, closing, large messages, compression.
This is what it says of antiphon's server and, beside it, of the implementations that uvicorn brings. Each server
echoes; limits on the sizes and rates of messages are raised, so that the suite's largest and fastest get through.

- *OK*: as the specification wants it
- *NON-STRICT*: conforming; what the specification recommends, or what would be better, was not done
- *INFORMATIONAL*: the specification leaves it open
- *UNIMPLEMENTED*: an extension that the server does not have
- *FAILED*: against the specification, or not in time

```sh
make autobahn                                  # a few minutes: everything but most of the cases of compression
scripts/autobahn --full --write docs/autobahn.md
scripts/autobahn --help
```

The suite's client needs Python 2.7, and a machine that is otherwise quiet: some cases give the server one second, and
3.4, 4.1.5 and 4.2.5 become NON-STRICT with every server when it reads late what was sent in pieces.
"""


def page(measured: Measured, source: str) -> str:
    """Return the Markdown page of all that was measured; ``source`` is the fingerprint of antiphon's present source."""
    servers = [name for name in SUBJECTS if name in measured.servers()]
    parts = [_INTRODUCTION, _summary(measured, servers)]
    parts += [_server(name, measured.outcomes(name)) for name in servers]
    parts.append(_runs(measured, servers, source))
    return "\n".join(parts)


def _summary(measured: Measured, servers: Iterable[str]) -> str:
    """Return the table of all servers; which cases were run may differ, so the sections are named."""
    headings = ["server", "sections", *_HEADINGS[1:]]
    rows = []
    for name in servers:
        outcomes = measured.outcomes(name)
        rows.append([f"[{name}](#{name})", _sections(outcomes), *_rows(outcomes)[-1][1:]])
    return f"## All servers\n\n{_markdown(headings, rows, left=2)}"


def _sections(outcomes: Mapping[str, Outcome]) -> str:
    """Return the sections that were run, with ``in part`` behind those of which not all was."""
    sections = [one.section for one in tally(outcomes)]
    sizes = {section: sum(section_of(case) == section for case in CASES) for section in sections}
    parts = {one.section: " in part" if one.cases < sizes[one.section] else "" for one in tally(outcomes)}
    return ", ".join(f"{section}{parts[section]}" for section in sections)


def _server(name: str, outcomes: Mapping[str, Outcome]) -> str:
    text = f"## {name}\n\n{SUBJECTS[name].label[0].upper()}{SUBJECTS[name].label[1:]}.\n\n"
    text += _markdown(_HEADINGS, _rows(outcomes))
    if rows := [[ranges(one.cases), one.verdict.word, one.what, one.why] for one in findings(outcomes)]:
        text += "\n" + _markdown(["case", "verdict", "what the client does", "what came of it"], rows, left=4)
    return text


def _runs(measured: Measured, servers: Iterable[str], source: str) -> str:
    headings = ["server", "measured (UTC)", "cases", "took", "versions", "suite", "command"]
    rows = [
        [
            _named(run, source),
            run.started,
            str(cases),
            _duration(run.seconds),
            run.versions,
            run.client,
            f"`{run.command}`",
        ]
        for name in servers
        for run, cases in measured.runs(name).items()
    ]
    return f"## How it was measured\n\n{_markdown(headings, rows, left=7)}"


def _details(run: Run) -> list[str]:
    return [run.versions, run.client, f"`{run.command}`"]


def _named(run: Run, source: str) -> str:
    return run.server if run.source in ("", source) else f"{run.server}, an earlier state of its source"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table whose first ``left`` columns are text, and the others numbers."""
    rule = ["---" if column < left else "---:" for column in range(len(headings))]
    lines = [headings, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
