"""What was published: which number has which position."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.types import Position

from .plan import GROUPS

__all__ = ["Ledger"]


class Ledger:
    """Publications of each group, numbered 1, 2, 3 … in the order in which they were published."""

    def __init__(self) -> None:
        self._positions: dict[str, list[Position]] = {group.name: [] for group in GROUPS}
        self._numbers: dict[str, dict[Position, int]] = {group.name: {} for group in GROUPS}
        self._removals: dict[str, list[int]] = {group.name: [] for group in GROUPS}

    def published(self, group: str, first: int, positions: Iterable[Position]) -> None:
        """Note what ``publish`` has returned for the publications from number ``first`` on."""
        assert first == len(self._positions[group]) + 1, "a publication was made that nobody has asked for"
        for number, position in enumerate(positions, first):
            assert position not in self._numbers[group], f"{position} of {group} was returned twice"
            self._positions[group].append(position)
            self._numbers[group][position] = number

    def removed(self, group: str, number: int) -> None:
        """Note that the group's history was removed when ``number`` was its newest publication."""
        self._removals[group].append(number)

    def top(self, group: str) -> int:
        """Return the newest publication's number; 0: there is none."""
        return len(self._positions[group])

    def number(self, group: str, position: Position) -> int | None:
        """Return which publication has this position; None: none has."""
        return self._numbers[group].get(position)

    def position(self, group: str, number: int) -> Position:
        """Return where the publication ``number`` stands."""
        return self._positions[group][number - 1]

    def was_removed(self, group: str, after: int, until: int) -> bool:
        """Tell whether history was removed between two publications, or with one of them the newest."""
        return any(after <= number <= until for number in self._removals[group])

    def __len__(self) -> int:
        return sum(map(len, self._positions.values()))
