"""Pings for all connections of a process: one timer, not one per connection.

Every connection is pinged once per interval; one that has not answered when its next turn comes, but at least
``timeout`` later, is closed. The connections are spread over the interval, so that no tick pings them all.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Keepalive", "Pinged"]

#: Into how many parts an interval is cut.
SLOTS = 20


class Pinged(Protocol):
    """A connection as the keepalive sees it."""

    awaits_pong: bool

    @property
    def is_closing(self) -> bool:
        """Tell whether pinging is over."""

    def ping(self) -> None:
        """Send a ping and note that a pong is awaited."""

    def ping_unanswered(self) -> None:
        """End the connection: its ping was not answered."""


class Keepalive:
    """The pings of one event loop. ``interval`` and ``timeout`` are seconds."""

    def __init__(self, interval: float, timeout: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._step = interval / SLOTS
        # A ping is judged in the first step behind its timeout, a whole interval at the latest.
        self._patience = SLOTS if timeout is None else min(SLOTS, max(1, round(timeout / self._step)))
        self._closes = timeout is not None
        self._slots: list[set[Pinged]] = [set() for _ in range(SLOTS)]
        self._position = 0
        self._newest = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pinged) -> int:
        """Ping ``connection`` from now on; returns what ``remove`` takes."""
        self._newest = (self._newest + 1) % SLOTS
        self._slots[self._newest].add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._step, self._tick)
        return self._newest

    def remove(self, connection: Pinged, slot: int) -> None:
        """Ping ``connection`` no more."""
        self._slots[slot].discard(connection)

    def _tick(self) -> None:
        self._position = (self._position + 1) % SLOTS
        if self._closes:
            for connection in list(self._slots[(self._position - self._patience) % SLOTS]):
                if connection.awaits_pong and not connection.is_closing:
                    connection.ping_unanswered()
        for connection in self._slots[self._position]:
            connection.ping()
        waiting = any(self._slots)
        self._timer = self._loop.call_later(self._step, self._tick) if waiting else None
