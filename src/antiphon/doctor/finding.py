"""What a check finds: where it is, what is wrong there, and what to write instead."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from antiphon.doctor.project import Project

__all__ = ["Check", "Finding", "Level", "Place", "Spot"]


class Level(enum.Enum):
    """How much a finding matters, the most severe first."""

    ERROR = "error"
    """Something does not work, or is open to others."""
    WARNING = "warning"
    """It works, and loses something that one would not expect to lose."""
    ADVICE = "advice"
    """It works; there is something better."""


class Place(NamedTuple):
    """A line of a file, or a setting, an option or a variable of the environment by its name."""

    name: str
    """The file as it is shown, relative to the current folder; or the setting."""
    line: int = 0
    """The line in the file; 0 where there is no file."""

    def __str__(self) -> str:
        """Write it as editors and terminals understand it."""
        return f"{self.name}:{self.line}" if self.line else self.name


class Spot(NamedTuple):
    """One thing that a check found."""

    place: Place
    problem: str
    """What is wrong, in a sentence or two."""
    remedy: str
    """What to do about it, in a sentence."""
    code: str = ""
    """What to write, line by line."""


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of finding, and what finds it."""

    name: str
    """Its name for good: tools and people look for it."""
    level: Level
    meaning: str
    """What it means, for the documentation."""
    find: Callable[[Project], Iterable[Spot]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What ``antiphon doctor`` reports."""

    name: str
    level: Level
    spot: Spot
