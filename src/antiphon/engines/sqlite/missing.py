"""What was written, and was not told to this process: how it is noticed, and read from the database.

A process may be killed or freeze between writing and telling, a link may break, a socket may be unreachable. The number
of the last transaction in the database says that something is missing; what is kept is read at once; what is still
missing at the next look is given up. By then it was under way for as long as lies between two looks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from antiphon.engines.sqlite import store
from antiphon.engines.sqlite.hearing import Hearing
from antiphon.types import Page, Position

__all__ = ["WAITING", "Missing"]

#: Transactions of others that wait for one that is missing, at most; over them it is waited for no longer.
WAITING = 1000


class _Suspect(NamedTuple):
    """A transaction that has not come, and how far the database was when that was seen first."""

    next: int
    commits: int
    tops: dict[str, Position]


class _Reading(NamedTuple):
    """How far the database was, and what was behind that which had been told."""

    commits: int
    tops: dict[str, Position]
    pages: dict[str, Page]


class Missing:
    """What one process has not been told; ``read`` asks its reader, ``now`` is in milliseconds."""

    def __init__(self, read: Callable[[Any], Awaitable[_Reading]], now: Callable[[], int]) -> None:
        self._read = read
        self._now = now
        self._suspect: _Suspect | None = None
        self._is_waited_for = True

    async def look(self, hearing: Hearing, commits: int) -> None:
        """See whether everything has come that the database has: transactions up to ``commits``."""
        suspect, self._suspect = self._suspect, None
        next = hearing.order.next
        if next > commits:
            return
        reading = await self.reread(hearing)
        if suspect is None or suspect.next != next:
            self._suspect = _Suspect(next, reading.commits, reading.tops)
        else:
            hearing.give_up(suspect.commits, suspect.tops)

    def is_too_long(self, hearing: Hearing) -> bool:
        """Tell whether so much waits for what is missing that ``wait_no_longer`` is to be called."""
        return self._is_waited_for and len(hearing.order) > WAITING

    def wait_no_longer(self, hearing: Hearing) -> Coroutine[Any, Any, None]:
        """Give up what others wait for, but for what is kept."""
        self._is_waited_for = False
        return self._wait_no_longer(hearing)

    async def _wait_no_longer(self, hearing: Hearing) -> None:
        try:
            reading = await self.reread(hearing)
            hearing.give_up(min(hearing.order.first_waiting() - 1, reading.commits), reading.tops)
        finally:
            self._is_waited_for = True

    async def reread(self, hearing: Hearing) -> _Reading:
        """Tell what the database has and this process was not told."""
        positions = hearing.positions()

        def verb(connection: sqlite3.Connection) -> _Reading:
            tops, pages = store.read_tops(connection, list(positions)), {}
            for group, top in tops.items():
                told = positions[group]
                if told != top:
                    since = told if told.epoch == top.epoch else None
                    page = store.read_page(connection, group, since, None, False, self._now())
                    if page is not None:
                        pages[group] = page
            return _Reading(store.read_commits(connection), tops, pages)

        reading = await self._read(verb)
        hearing.apply(reading.pages)
        return reading
