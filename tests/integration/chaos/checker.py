"""The verdict on a trail: whether what is missing in it was told.

Laws for a member with a position, where the group keeps its history:
- it gets the next offset, whatever lies between: from where it stood if it was told ``recovered``, and from where it
  was told to stand if not;
- it is told of a gap only where history does not have what it missed.

For every other member, which goes by the offsets that the numbers in the contents have got:
- they grow; a hole lies between two times that it was in the group, or as much was told as is missing;
- where it was told that everything behind an offset will come, that is so.

For both: what comes is what was published there; no event comes before a publication that was made before it; and in
the end the newest publication has come.
"""

from __future__ import annotations

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
        for entry in trail.entries:
            if isinstance(entry, Spoiled):
                yield self.finding(SPOILED, f"it got {entry.found}")
            elif isinstance(entry, Refused):
                yield self.finding(REFUSED, entry.words)
            else:
                yield from self.take(entry)
        yield from self.end()

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
            after = self.ledger.position(self.group, entry.after)
            if after is None:
                return
            if self.position is None or (after.epoch == self.position.epoch and after.offset > self.position.offset):
                yield self.finding(OVERTAKEN, f"at {self.position} it got an event from behind {after}")

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
            elif missing <= self.plan.history and not self.ledger.was_removed(self.group, since.offset, told.offset):
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
            number = self.ledger.number(self.group, position)
            if number != run.number + index:
                yield self.finding(MISPLACED, f"at {position} was published {number}; it got {run.number + index}")
                break
        self.position = Position(self.position.epoch, run.offset + run.count - 1)

    def end(self) -> Iterator[Finding]:
        """Judge where the member stands in the end."""
        top = self.ledger.top(self.group)
        if top and self.position != self.ledger.newest(self.group):
            yield self.finding(STRANDED, f"it ended at {self.position}, the stream at offset {top}")


class _ByPlace(_Checker):
    """For a member without a position; ``place`` is the offset of the last that came."""

    def __init__(self, ledger: Ledger, plan: GroupPlan) -> None:
        super().__init__(ledger, plan)
        self.place = 0
        self.first: int | None = None
        """What came first since it joined."""
        self.floor: int | None = None
        self.missed = 0
        self.has_gap = False

    def take(self, entry: object) -> Iterator[Finding]:
        """Judge the next entry."""
        if isinstance(entry, (Began, Ended)):
            self.first = self.floor = None
            self.missed, self.has_gap = 0, False
        elif isinstance(entry, Floor):
            self.floor = entry.offset
            if self.first is not None and self.first > entry.offset + 1 and not self.missed:
                yield self.finding(HOLE, f"it joined behind {entry.offset}, and {self.first} came first")
        elif isinstance(entry, Missed):
            self.missed += entry.messages
        elif isinstance(entry, Gap):
            self.has_gap = True
        elif isinstance(entry, Overheard):
            yield from self._overheard(entry.after)
        elif isinstance(entry, Run):
            yield from self._run(entry)

    def _overheard(self, number: int) -> Iterator[Finding]:
        after = self.ledger.position(self.group, number)
        if self.plan.drops or self.has_gap or after is None:
            return
        reached = self.place if self.first is not None else self.floor
        if reached is not None and max(reached, self.floor or 0) < after.offset:
            yield self.finding(OVERTAKEN, f"behind {reached} it got an event from behind {after.offset}")

    def _run(self, run: Run) -> Iterator[Finding]:
        came = 0
        for first, count in self.ledger.places(self.group, run):
            yield from self._came(first, count)
            came += count
        if came != run.count:
            yield self.finding(MISPLACED, f"it got number {run.number} to {run.number + run.count}, not all published")

    def _came(self, first: int, count: int) -> Iterator[Finding]:
        before = self.place if self.first is not None else self.floor
        if first <= self.place:
            kind = REPEATED if self.first is not None else REPEATED_AT_FIRST
            yield self.finding(kind, f"behind {self.place} came {first}")
        elif before is not None and first > before + 1:
            yield from self._hole(before, first)
        elif self.missed and self.first is not None:
            yield self.finding(MISCOUNTED, f"it was told that it missed {self.missed} before {first}: none is")
        if self.first is None:
            self.first = first
        self.missed, self.has_gap = 0, False
        self.place = first + count - 1

    def _hole(self, before: int, first: int) -> Iterator[Finding]:
        missing = first - before - 1
        if self.missed:
            # Where it did not get one yet, some of what was left out may be from before its floor.
            if missing > self.missed or (self.first is not None and missing != self.missed):
                words = f"between {before} and {first} it was told that it missed {self.missed}"
                yield self.finding(MISCOUNTED, words)
        elif not self.has_gap:
            yield self.finding(HOLE, f"behind {before} came {first}")

    def end(self) -> Iterator[Finding]:
        """Judge where the member stands in the end."""
        top = self.ledger.top(self.group)
        if self.place != top:
            yield self.finding(STRANDED, f"the last that came was {self.place}, the newest is {top}")
