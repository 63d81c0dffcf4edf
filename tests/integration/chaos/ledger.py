"""What was published: which publication has which position.

A publication is known by its number, which says in which order it was asked for; with several publishers that is not
the order of positions. Laws:
- within an epoch a publication has one position, however often it was asked for, and a position has one publication;
- where the engine forgets nothing, in the end every group has one epoch, and positions 1, 2, 3 … without a hole.

Where it may forget, a publication with a key whose answer was lost is perhaps made once more in the next epoch, by the
engine itself or by who asks again. Where it stood before only those know who got it: what the first of them says, the
others have to say too. Of one without a key that was not *doubted* all positions are known, and there is one: what the
engine refused has not happened.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from antiphon.types import Position

from .finding import GIVEN_TWICE, MISPLACED, PUBLISHED_TWICE, Finding
from .outcome import DOUBTED, Outcome
from .plan import GROUPS

__all__ = ["Ledger", "Removal"]


class Removal:
    """A removal of a group's history, which happened somewhere between two positions."""

    def __init__(self, after: Position) -> None:
        self.after = after
        self.until: Position | None = None
        """Not known before it is done."""

    def bounds(self, epoch: str) -> tuple[float, float] | None:
        """Return between which offsets of an epoch it happened; None: it was another epoch's."""
        if self.until is not None and epoch not in (self.after.epoch, self.until.epoch):
            return None
        after = self.after.offset if epoch == self.after.epoch else 0
        return after, self.until.offset if self.until is not None and epoch == self.until.epoch else math.inf


class Ledger:
    """Publications of each group; ``forgets``: the engine may lose what it has, and begin another epoch."""

    def __init__(self, *, forgets: bool = False) -> None:
        self._forgets = forgets
        self._asked: Counter[str] = Counter()
        self._positions: dict[str, dict[int, tuple[Position, ...]]] = {group.name: {} for group in GROUPS}
        self._numbers: dict[str, dict[Position, int]] = {group.name: {} for group in GROUPS}
        self._bare: dict[str, set[int]] = {group.name: set() for group in GROUPS}
        """The numbers of what was published without a key."""
        self._doubted: dict[str, set[int]] = {group.name: set() for group in GROUPS}
        self._tops: dict[str, Counter[str]] = defaultdict(Counter)
        self._newest: dict[str, Position] = {}
        self._removals: dict[str, list[Removal]] = {group.name: [] for group in GROUPS}
        self.findings: list[Finding] = []
        """What broke the laws as soon as it was noted."""

    # While it is published

    @property
    def asked(self) -> int:
        """How many publications have been asked for."""
        return self._asked.total()

    def ask(self, group: str, count: int, *, bare: bool = False) -> int:
        """Return the number of the first of ``count`` publications that are asked for now; ``bare``: without keys."""
        first = self._asked[group] + 1
        self._asked[group] += count
        if bare:
            self._bare[group].update(range(first, first + count))
        return first

    def answered(self, group: str, first: int, outcomes: Iterable[Outcome]) -> None:
        """Note what came of the publications from number ``first`` on."""
        for number, outcome in enumerate(outcomes, first):
            if isinstance(outcome, str):
                if outcome == DOUBTED:
                    self._doubted[group].add(number)
            else:
                epoch, offset, is_repeat = outcome
                self._published(group, number, Position(epoch, offset), is_repeat=is_repeat)

    def _published(self, group: str, number: int, position: Position, *, is_repeat: bool) -> None:
        self._note(group, number, position)
        tops, newest = self._tops[group], self._newest.get(group)
        tops[position.epoch] = max(tops[position.epoch], position.offset)
        if newest is None or newest.epoch == position.epoch or not is_repeat:  # else the epoch is a former one
            self._newest[group] = Position(position.epoch, tops[position.epoch])

    def _note(self, group: str, number: int, position: Position) -> None:
        known = self._positions[group].get(number, ())
        other = self._numbers[group].setdefault(position, number)
        if other != number:
            self.findings.append(Finding(GIVEN_TWICE, group, f"numbers {other} and {number} both got {position}"))
        if position in known:
            return
        self._positions[group][number] = (*known, position)
        twice = [each for each in known if not self._forgets or each.epoch == position.epoch]
        if twice:
            words = f"number {number} got {twice[0]}, and {position} when it was repeated"
            self.findings.append(Finding(PUBLISHED_TWICE, group, words))

    def removing(self, group: str) -> Removal:
        """Note that the group's history is about to be removed."""
        removal = Removal(self._newest.get(group, Position("", 0)))
        self._removals[group].append(removal)
        return removal

    # What is known of it

    def __len__(self) -> int:
        return sum(map(len, self._positions.values()))

    def newest(self, group: str) -> Position | None:
        """Return where the stream stands; None: nothing was published."""
        return self._newest.get(group)

    def last(self, group: str) -> int | None:
        """Return which publication stands there."""
        newest = self._newest.get(group)
        return None if newest is None else self._numbers[group][newest]

    def epochs(self, group: str) -> int:
        """Return how many epochs the group has had that something was published in."""
        return len(self._tops[group])

    def number(self, group: str, position: Position) -> int | None:
        """Return which publication has this position; None: none that is known."""
        return self._numbers[group].get(position)

    def witness(self, group: str, position: Position, number: int) -> int | None:
        """Return the same, where somebody got ``number`` there: he is believed if nobody else can know."""
        known = self._numbers[group].get(position)
        if known is None and self.is_doubted(group, number):
            self._note(group, number, position)
            return number
        return known

    def positions(self, group: str, number: int) -> tuple[Position, ...]:
        """Return where a publication stands, in each epoch that it was made in; nothing: nobody knows."""
        return self._positions[group].get(number, ())

    def is_doubted(self, group: str, number: int) -> bool:
        """Tell whether a publication may stand somewhere that nobody was told of."""
        return self._forgets and (number in self._doubted[group] or number not in self._bare[group])

    def known(self, group: str) -> Mapping[Position, int]:
        """Return all numbers by position, as they are now."""
        return dict(self._numbers[group])

    def was_removed(self, group: str, since: Position, until: int) -> bool:
        """Tell whether history may have been removed between two offsets, or with one of them the newest."""
        bounds = [found for removal in self._removals[group] if (found := removal.bounds(since.epoch))]
        return any(after <= until and since.offset <= last for after, last in bounds)

    def removed_until(self, group: str, epoch: str) -> float:
        """Return up to which offset of the epoch history may have been removed."""
        bounds = [found for removal in self._removals[group] if (found := removal.bounds(epoch))]
        return max((last for _, last in bounds), default=0)

    def check(self) -> Iterator[Finding]:
        """Judge what was published, when all of it is."""
        yield from self.findings
        for group, positions in self._positions.items():
            if not self._forgets:
                yield from self._check_stream(group)
            left = (self._bare[group] & self._doubted[group]) - positions.keys()
            if len(positions) + len(left) != self._asked[group]:
                words = f"{self._asked[group]} publications were asked for, {len(positions)} made, {len(left)} doubted"
                yield Finding(MISPLACED, group, words)

    def _check_stream(self, group: str) -> Iterator[Finding]:
        """Judge the one epoch of a group of which nothing was forgotten."""
        numbers, tops = self._numbers[group], self._tops[group]
        if len(tops) > 1:
            yield Finding(MISPLACED, group, f"it has the epochs {set(tops)}, and nobody has removed the stream")
        elif len(numbers) != tops.total() and not self.findings:
            yield Finding(
                PUBLISHED_TWICE, group, f"{len(numbers)} positions were given, and the last is {tops.total()}"
            )
