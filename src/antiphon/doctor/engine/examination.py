"""What is found out about an engine: facts, times and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.doctor.checks.words import listed
from antiphon.doctor.finding import Finding, Level, Place, Spot

__all__ = ["Examination", "Fact", "Say", "Times", "size"]

#: Of so many servers that have a finding the names are shown.
MOST = 3
#: Tells whoever waits what takes so long.
Say = Callable[[str], None]


class Fact(NamedTuple):
    """Something about the engine, for people."""

    title: str
    text: str


class Times(NamedTuple):
    """How long something took, each time that it was done, in seconds and in their order of size."""

    what: str
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, what: str, seconds: Iterable[float]) -> Times:
        """Put them in order."""
        return cls(what, tuple(sorted(seconds)))

    @property
    def median(self) -> float:
        """Half of them took no longer."""
        return self.seconds[len(self.seconds) // 2]

    @property
    def p99(self) -> float:
        """Of a hundred, all but one took no longer."""
        return self.seconds[len(self.seconds) * 99 // 100]

    @property
    def longest(self) -> float:
        """None took longer."""
        return self.seconds[-1]


@dataclass
class Examination:
    """What was found out about one engine."""

    where: str
    """The engine, as log lines call it: without a password."""
    facts: list[Fact] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    _places: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Where each finding is, by its name and problem."""

    def find(
        self, name: str, level: Level, what: str, problem: str, remedy: str, code: str = "", *, server: str = ""
    ) -> None:
        """Add a finding; what was found before, of another server or part, is the same finding of both."""
        places = self._places.setdefault((name, problem), [])
        places.append(server or what)
        shown = listed(places[:MOST] + ([f"{len(places) - MOST} more"] if len(places) > MOST else []))
        place = Place(f"{what} of {shown}" if server else shown)
        finding = Finding(name, level, Spot(place, problem, remedy, code))
        if len(places) > 1:
            known = [(each.name, each.spot.problem) for each in self.findings]
            self.findings[known.index((name, problem))] = finding
        else:
            self.findings.append(finding)


def size(number: float) -> str:
    """Return a number of bytes as people write it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
