"""What was published: which publication has which position.

A publication is known by its number, which says in which order it was asked for; with several publishers that is not
the order of positions. Laws:
- a publication has one position, however often it was asked for, and a position has one publication;
- in the end every group has one epoch, and positions 1, 2, 3 … without a hole.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from antiphon.types import Position

from .finding import GIVEN_TWICE, MISPLACED, PUBLISHED_TWICE, Finding
from .plan import GROUPS
from .trail import Run

__all__ = ["Ledger", "Removal"]


class Removal:
    """A removal of a group's history, which happened somewhere between two offsets."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.until = math.inf
        """Not known before it is done."""


class Ledger:
    """Publications of each group."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._positions: dict[str, dict[int, Position]] = {group.name: {} for group in GROUPS}
        self._numbers: dict[str, dict[Position, int]] = {group.name: {} for group in GROUPS}
        self._tops: Counter[str] = Counter()
        self._removals: dict[str, list[Removal]] = {group.name: [] for group in GROUPS}
        self.findings: list[Finding] = []
        """What broke the laws as soon as it was noted."""

    # While it is published

    @property
    def asked(self) -> int:
        """How many publications have been asked for."""
        return self._asked.total()

    def ask(self, group: str, count: int) -> int:
        """Return the number of the first of ``count`` publications that are asked for now."""
        self._asked[group] += count
        return self._asked[group] - count + 1

    def published(self, group: str, first: int, positions: Iterable[Position]) -> None:
        """Note what ``publish`` has returned for the publications from number ``first`` on."""
        for number, position in enumerate(positions, first):
            before = self._positions[group].setdefault(number, position)
            other = self._numbers[group].setdefault(position, number)
            if before != position:
                words = f"number {number} got {before}, and {position} when it was repeated"
                self.findings.append(Finding(PUBLISHED_TWICE, group, words))
            elif other != number:
                self.findings.append(Finding(GIVEN_TWICE, group, f"numbers {other} and {number} both got {position}"))
            self._tops[group] = max(self._tops[group], position.offset)

    def removing(self, group: str) -> Removal:
        """Note that the group's history is about to be removed."""
        removal = Removal(self.top(group))
        self._removals[group].append(removal)
        return removal

    # What is known of it

    def __len__(self) -> int:
        return sum(map(len, self._positions.values()))

    def top(self, group: str) -> int:
        """Return the newest publication's offset; 0: there is none."""
        return self._tops[group]

    def newest(self, group: str) -> Position:
        """Return the newest publication's position."""
        return max(self._numbers[group], key=lambda position: position.offset)

    def number(self, group: str, position: Position) -> int | None:
        """Return which publication has this position; None: none that is known."""
        return self._numbers[group].get(position)

    def position(self, group: str, number: int) -> Position | None:
        """Return where a publication stands; None: nobody knows."""
        return self._positions[group].get(number)

    def known(self, group: str) -> Mapping[Position, int]:
        """Return all numbers by position, as they are now."""
        return dict(self._numbers[group])

    def places(self, group: str, run: Run) -> Iterator[tuple[int, int]]:
        """Split what came in the order of numbers into what stands side by side: the first offset, and how many.

        Who gets no offsets is judged by it. Numbers without a position are left out.
        """
        first = count = 0
        for number in range(run.number, run.number + run.count):
            position = self.position(group, number)
            if position is None:
                continue
            if count and position.offset == first + count:
                count += 1
                continue
            if count:
                yield first, count
            first, count = position.offset, 1
        if count:
            yield first, count

    def was_removed(self, group: str, after: int, until: int) -> bool:
        """Tell whether history may have been removed between two offsets, or with one of them the newest."""
        return any(removal.after <= until and after <= removal.until for removal in self._removals[group])

    def removed_until(self, group: str) -> float:
        """Return up to which offset the history may have been removed."""
        return max((removal.until for removal in self._removals[group]), default=0)

    def check(self) -> Iterator[Finding]:
        """Judge what was published, when all of it is."""
        yield from self.findings
        for group, numbers in self._numbers.items():
            epochs = {position.epoch for position in numbers}
            if len(epochs) > 1:
                yield Finding(MISPLACED, group, f"it has the epochs {epochs}, and nobody has removed the stream")
            elif len(numbers) != self.top(group) and not self.findings:
                words = f"{len(numbers)} positions were given, and the last is {self.top(group)}"
                yield Finding(PUBLISHED_TWICE, group, words)
            if len(self._positions[group]) != self._asked[group]:
                words = f"{self._asked[group]} publications were asked for, {len(self._positions[group])} were made"
                yield Finding(MISPLACED, group, words)
