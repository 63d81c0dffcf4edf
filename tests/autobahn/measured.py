"""What was measured, kept over several runs: for each server and case the newest outcome, and the run that it is of.

Pure: it is made of a JSON document and makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .cases import CASES, section_of
from .outcomes import Outcome, Verdict

__all__ = ["Measured", "Run", "Tally", "tally"]


class Run(NamedTuple):
    """One run of the suite against one server."""

    server: str
    started: str
    """In UTC, to the second; with the server it names the run."""
    seconds: float
    command: str
    versions: str
    client: str
    """The versions of the suite."""
    source: str = ""
    """The fingerprint of antiphon's source, where that is what was tested."""


class Tally(NamedTuple):
    """How many cases of a section came out how."""

    section: str
    counts: Mapping[Verdict, int]

    @property
    def cases(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


class Measured:
    """The outcomes of all servers."""

    def __init__(self) -> None:
        self._outcomes: dict[str, dict[str, tuple[Outcome, Run]]] = {}

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Measured:
        """Return what a document of ``dump`` holds."""
        measured = cls()
        runs = [Run(**run) for run in document["runs"]]
        for entry in document["outcomes"]:
            outcome = Outcome(Verdict(entry["verdict"]), entry["milliseconds"], entry["what"], entry["why"])
            measured.add(runs[entry["run"]], {entry["case"]: outcome})
        return measured

    def dump(self) -> dict[str, Any]:
        """Return a document for JSON."""
        runs = [run for server in self.servers() for run in self.runs(server)]
        outcomes = [
            {"case": case, "run": runs.index(run), **outcome._asdict()}
            for cases in self._outcomes.values()
            for case, (outcome, run) in cases.items()
        ]
        return {"runs": [run._asdict() for run in runs], "outcomes": outcomes}

    def add(self, run: Run, outcomes: Mapping[str, Outcome]) -> None:
        """Take the outcomes of a run, over earlier ones of the same cases."""
        kept = self._outcomes.setdefault(run.server, {})
        kept.update({case: (outcome, run) for case, outcome in outcomes.items()})

    def servers(self) -> list[str]:
        """Return the servers, in the order in which they were first measured."""
        return list(self._outcomes)

    def outcomes(self, server: str) -> dict[str, Outcome]:
        """Return what came of the server's cases, in the suite's order."""
        cases = self._outcomes.get(server, {})
        return {case: cases[case][0] for case in CASES if case in cases}

    def runs(self, server: str) -> dict[Run, int]:
        """Return the runs of which outcomes are kept, oldest first, and of how many cases."""
        counts: dict[Run, int] = {}
        for _, run in self._outcomes.get(server, {}).values():
            counts[run] = counts.get(run, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: item[0].started))


def tally(outcomes: Mapping[str, Outcome]) -> list[Tally]:
    """Count by section, in the suite's order; sections without a case are left out."""
    sections = dict.fromkeys(section_of(case) for case in CASES if case in outcomes)
    return [
        Tally(section, _count(outcome for case, outcome in outcomes.items() if section_of(case) == section))
        for section in sections
    ]


def _count(outcomes: Iterable[Outcome]) -> dict[Verdict, int]:
    counts = dict.fromkeys(Verdict, 0)
    for outcome in outcomes:
        counts[outcome.verdict] += 1
    return counts
