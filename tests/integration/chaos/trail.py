"""What one member got and was told in one group, in the order in which it came."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, TypeAlias

from antiphon.types import Position

from .plan import is_content

__all__ = [
    "Began",
    "Ended",
    "Entry",
    "Floor",
    "Gap",
    "Missed",
    "Overheard",
    "Refused",
    "Run",
    "Spoiled",
    "Subscribed",
    "Trail",
]


class Began(NamedTuple):
    """It joined, without a position."""


class Subscribed(NamedTuple):
    """It subscribed with a position, ``since``, or without; it was told where it stands, and whether that is all."""

    since: Position | None
    told: Position
    recovered: bool
    was_recovering: bool


class Ended(NamedTuple):
    """It left, or its connection was over: with this close code, or 0."""

    code: int


class Floor(NamedTuple):
    """It was told that everything behind a position will come."""

    position: Position


class Missed(NamedTuple):
    """It was told that so many messages were left out for it."""

    messages: int


class Gap(NamedTuple):
    """It was told that the group has lost publications, and stands at ``position``."""

    position: Position


class Spoiled(NamedTuple):
    """It got something that is no publication of this group."""

    found: str


class Refused(NamedTuple):
    """It was not let in, or closed for good."""

    words: str


class Overheard(NamedTuple):
    """It got an event that was sent behind publication number ``after``, before that publication."""

    after: int


@dataclasses.dataclass(slots=True)
class Run:
    """It got publications with numbers and offsets that grow by one; ``offset`` 0: it was told none."""

    offset: int
    number: int
    count: int = 1


Entry: TypeAlias = Began | Subscribed | Ended | Floor | Missed | Gap | Spoiled | Refused | Overheard | Run


class Trail:
    """The entries, and where the member stands: behind what it has handled."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.entries: list[Entry] = []
        self.position: Position | None = None
        """What a client that resumes would name; None: it has no position."""
        self.number = 0
        """Of the last publication that it got."""
        self.received = 0
        self._is_in = False

    def began(self) -> None:
        """Note that the member joined."""
        self._is_in = True
        self.entries.append(Began())

    def subscribed(self, told: Position, *, recovered: bool, was_recovering: bool) -> None:
        """Note that the member subscribed from its position on."""
        self._is_in = True
        self.entries.append(Subscribed(self.position, told, recovered, was_recovering))
        self.position = told

    def ended(self, code: int = 0) -> None:
        """Note that the member is not in the group any more."""
        if self._is_in:
            self._is_in = False
            self.entries.append(Ended(code))

    def told(self, entry: Floor | Missed | Gap | Refused) -> None:
        """Note what the member was told."""
        self.entries.append(entry)

    def overheard(self, after: int) -> None:
        """Note an event, where it is of interest."""
        if after > self.number:
            self.entries.append(Overheard(after))

    def got(self, found: Any, offset: int = 0) -> None:
        """Handle a publication: note it, and stand behind it."""
        if not is_content(self.group, found):
            self.entries.append(Spoiled(repr(found)[:200]))
            return
        number: int = found["n"]
        last = self.entries[-1] if self.entries else None
        next_offset = last.offset + last.count if isinstance(last, Run) and last.offset else 0
        if isinstance(last, Run) and number == last.number + last.count and offset == next_offset:
            last.count += 1
        else:
            self.entries.append(Run(offset, number))
        self.number = number
        self.received += 1
        if offset and self.position is not None:
            self.position = Position(self.position.epoch, offset)

    def forget(self) -> None:
        """Let the member be a new one, as when a page is loaded anew."""
        self.position = None
