"""The verdict on a trail: whether what is missing in it was told.

Laws for a member with a position, where the group keeps its history:
- it gets the next offset, whatever lies between: from where it stood if it was told ``recovered``, and from where it
  was told to stand if not;
- it is told of a gap only where history does not have what it missed.

For every other member, which goes by the positions that the numbers in the contents have got:
- offsets grow; a hole lies between two times that it was in the group, or as much was told as is missing;
- another epoch begins between two such times, or behind the word that there is a gap;
- where it was told that everything behind a position will come, that is so.

For both: what comes is what was published there; no event comes before a publication that was made before it; and in
the end the newest publication has come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from antiphon.types import Position

from .finding import (
    HOLE,
    MISCOUNTED,
    MISPLACED,
    NEEDLESS,
    OVERTAKEN,
    REFUSED,
    REPEATED,
    REPEATED_AT_FIRST,
    SPOILED,
    STRANDED,
    UNRECOVERED,
    Finding,
)
from .ledger import Ledger
from .plan import BY_NAME, GroupPlan
from .trail import Began, Ended, Floor, Gap, Missed, Overheard, Refused, Run, Spoiled, Subscribed, Trail

__all__ = ["check"]


def check(ledger: Ledger, trail: Trail) -> list[Finding]:
    """Return what is wrong in a trail that has ended."""
    plan = BY_NAME[trail.group]
    positioned = any(isinstance(entry, Subscribed) for entry in trail.entries)
    checker = _ByOffset(ledger, plan) if positioned else _ByPlace(ledger, plan)
    return list(checker.findings(trail))


class _Checker:
    """What both have in common."""

    def __init__(self, ledger: Ledger, plan: GroupPlan) -> None:
        self.ledger = ledger
        self.plan = plan
        self.group = plan.name

    def findings(self, trail: Trail) -> Iterator[Finding]:
        """Go through the trail."""
        for place, entry in enumerate(trail.entries):
            for found in self._judge(entry):
                yield found._replace(place=place)
        yield from self.end()

    def _judge(self, entry: object) -> Iterator[Finding]:
        if isinstance(entry, Spoiled):
            yield self.finding(SPOILED, f"it got {entry.found}")
        elif isinstance(entry, Refused):
            yield self.finding(REFUSED, entry.words)
        else:
            yield from self.take(entry)

    def finding(self, kind: str, words: str) -> Finding:
        """Return a finding in this group."""
        return Finding(kind, self.group, words)

    def take(self, entry: object) -> Iterator[Finding]:
        """Judge the next entry."""
        raise NotImplementedError

    def end(self) -> Iterator[Finding]:
        """Judge where the member stands in the end."""
        raise NotImplementedError


class _ByOffset(_Checker):
    """For a member with a position."""

    def __init__(self, ledger: Ledger, plan: GroupPlan) -> None:
        super().__init__(ledger, plan)
        self.position: Position | None = None

    def take(self, entry: object) -> Iterator[Finding]:
        """Judge the next entry."""
        if isinstance(entry, Subscribed):
            yield from self._subscribed(entry)
        elif isinstance(entry, Run):
            yield from self._run(entry)
        elif isinstance(entry, Overheard):
            for after in self.ledger.positions(self.group, entry.after):
                at = self.position
                if at is None or (after.epoch == at.epoch and after.offset > at.offset):
                    yield self.finding(OVERTAKEN, f"at {at} it got an event from behind {after}")

    def _subscribed(self, entry: Subscribed) -> Iterator[Finding]:
        since, told = entry.since, entry.told
        self.position = told
        if since is None:
            return
        if not entry.was_recovering:
            yield self.finding(UNRECOVERED, f"it asked for what is behind {since}, and was taken for a new one")
        elif entry.recovered:
            self.position = since
            if told != since:
                yield self.finding(MISPLACED, f"recovered from {since}, it was told that it stands at {told}")
        elif since.epoch == told.epoch:
            missing = told.offset - since.offset
            if missing < 0:
                yield self.finding(MISPLACED, f"it was at {since}, and is told that the stream is at {told}")
            elif missing <= self.plan.history and not self.ledger.was_removed(self.group, since, told.offset):
                yield self.finding(NEEDLESS, f"between {since} and {told} are {missing}, and {self.plan.history} kept")

    def _run(self, run: Run) -> Iterator[Finding]:
        if self.position is None or not run.offset:
            yield self.finding(MISPLACED, f"it got number {run.number} with offset {run.offset} at {self.position}")
            return
        due = self.position.offset + 1
        if run.offset > due:
            yield self.finding(HOLE, f"behind offset {due - 1} came {run.offset}")
        elif run.offset < due:
            yield self.finding(REPEATED, f"behind offset {due - 1} came {run.offset}")
        for index in range(run.count):
            position = Position(self.position.epoch, run.offset + index)
            number = self.ledger.witness(self.group, position, run.number + index)
            if number != run.number + index:
                yield self.finding(MISPLACED, f"at {position} was published {number}; it got {run.number + index}")
                break
        self.position = Position(self.position.epoch, run.offset + run.count - 1)

    def end(self) -> Iterator[Finding]:
        """Judge where the member stands in the end."""
        newest = self.ledger.newest(self.group)
        if newest is not None and self.position != newest:
            yield self.finding(STRANDED, f"it ended at {self.position}, the stream at {newest}")


class _ByPlace(_Checker):
    """For a member without a position."""

    def __init__(self, ledger: Ledger, plan: GroupPlan) -> None:
        super().__init__(ledger, plan)
        self.number: int | None = None
        """Of the last that came."""
        self.place: Position | None = None
        """Where the last stands that came and of which that is known."""
        self.at: Position | None = None
        """Behind which the next is to come: that place, or what it was told since; None: it has joined, and was not."""
        self.is_open = False
        """Whether it was told that something may be missing, and nobody can say how much."""
        self.was_told = False
        """Whether that was so since it joined."""
        self.missed = 0
        self.homeless: set[int] = set()
        """What has come behind that, and nobody knows where it stands."""
        self.first: Position | None = None
        """What came first since it joined, and how many homeless before it."""
        self.before_first = 0

    def take(self, entry: object) -> Iterator[Finding]:
        """Judge the next entry."""
        if isinstance(entry, (Began, Ended)):
            self.first, self.was_told = None, False
            self._go_to(None)
        elif isinstance(entry, Floor):
            yield from self._floor(entry.position)
        elif isinstance(entry, Missed):
            self.missed += entry.messages
        elif isinstance(entry, Gap):
            self.was_told = True
            self._go_to(entry.position, self.missed, is_open=not self.plan.history)
        elif isinstance(entry, Overheard):
            yield from self._overheard(entry.after)
        elif isinstance(entry, Run):
            for number in range(entry.number, entry.number + entry.count):
                yield from self._came(number)

    def _go_to(self, position: Position | None, missed: int = 0, *, is_open: bool = False) -> None:
        """Take it that what comes next is behind ``position``."""
        self.at, self.missed, self.is_open = position, missed, is_open
        self.homeless.clear()

    def _floor(self, position: Position) -> Iterator[Finding]:
        first = self.first
        if self.was_told:
            return  # what it asked for may be older
        if first is None and not self.homeless:
            self.at = position
        elif first is not None and _distance(position, first) > 1 + self.before_first and not self.missed:
            yield self.finding(HOLE, f"it joined behind {position}, and {first} came first")

    def _overheard(self, number: int) -> Iterator[Finding]:
        at = self.at
        if self.plan.drops or self.is_open or at is None:
            return
        for after in self.ledger.positions(self.group, number):
            if _distance(at, after) > 0:
                yield self.finding(OVERTAKEN, f"behind {at} it got an event from behind {after}")

    def _came(self, number: int) -> Iterator[Finding]:
        """Judge the next publication by where it stands; in the epoch where the member is, if it was made there."""
        self.number = number
        position = self._find(number)
        if position is not None:
            yield from self._came_from(position)
        elif not self.ledger.is_doubted(self.group, number):
            yield self.finding(MISPLACED, f"it got number {number}, which was not published")
        elif number in self.homeless:
            yield self.finding(REPEATED, f"number {number} came once more, behind {self.at}")
        else:
            self.homeless.add(number)

    def _find(self, number: int) -> Position | None:
        """Return where a publication stands that comes now; None: nobody knows."""
        places, at, place = self.ledger.positions(self.group, number), self.at, self.place
        if at is None:  # it has joined, and may be in any epoch: not where it has had this one
            new = [each for each in places if place is None or not _distance(place, each) <= 0]
            return new[0] if len(new) == 1 else None if new else next(iter(places[-1:]), None)
        here = next((each for each in places if each.epoch == at.epoch), None)
        if here is not None or not places or self.ledger.is_doubted(self.group, number):
            return here
        return places[-1]

    def _came_from(self, position: Position) -> Iterator[Finding]:
        at, step = self.at, math.nan if self.at is None else _distance(self.at, position)
        if self.place is not None and _distance(self.place, position) <= 0:
            kind = REPEATED if self.first is not None else REPEATED_AT_FIRST
            yield self.finding(kind, f"behind {self.place} came {position}")
        elif at is not None and position.epoch != at.epoch:
            yield from self._another_epoch(at, position)
        elif at is not None and step > 1 + len(self.homeless):
            yield from self._hole(at, position)
        elif self.first is None or self.is_open:
            pass  # it may have got some of what came before it was told where the group is
        elif step <= len(self.homeless):
            yield self.finding(MISPLACED, f"behind {at} came {len(self.homeless)} and then {position}")
        elif self.missed and not self.homeless:
            yield self.finding(MISCOUNTED, f"it was told that it missed {self.missed} before {position}: none is")
        if self.first is None:
            self.first, self.before_first = position, len(self.homeless)
        self.place = position
        self._go_to(position)

    def _another_epoch(self, at: Position, position: Position) -> Iterator[Finding]:
        # Of a group that keeps nothing, the process may hear one server, and have asked another where the stream is.
        if not self.is_open and (self.first is not None or self.plan.history):
            yield self.finding(HOLE, f"behind {at} came {position}, of another epoch")

    def _hole(self, at: Position, position: Position) -> Iterator[Finding]:
        missing = _distance(at, position) - 1 - len(self.homeless)
        if self.is_open:
            return
        if not self.missed:
            yield self.finding(HOLE, f"behind {at} came {position}")
        # Where it did not get one yet, some of what was left out may be from before its floor.
        elif missing > self.missed or (self.first is not None and missing != self.missed):
            words = f"between {at} and {position} it was told that it missed {self.missed}"
            yield self.finding(MISCOUNTED, words)

    def end(self) -> Iterator[Finding]:
        """Judge where the member stands in the end."""
        last = self.ledger.last(self.group)
        if last is not None and self.number != last:
            words = f"number {self.number} came last, at {self.place}; {last} is the newest"
            yield self.finding(STRANDED, f"{words}, at {self.ledger.newest(self.group)}")


def _distance(before: Position, after: Position) -> float:
    """Return by how many offsets ``after`` is behind ``before``; between two epochs nobody can say."""
    return after.offset - before.offset if after.epoch == before.epoch else math.nan
