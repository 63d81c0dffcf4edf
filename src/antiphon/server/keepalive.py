"""Pings for all connections of a process: one timer, not one per connection.

Every connection is pinged once per interval, unless its last ping is still unanswered; one that has not answered within
``timeout`` is closed. The connections are spread over the interval, so that no tick pings them all.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

__all__ = ["Keepalive", "Pinged"]

logger = logging.getLogger("antiphon.server")

#: Into how many parts an interval is cut.
SLOTS = 20


class Pinged(Protocol):
    """A connection as the keepalive sees it."""

    awaits_pong: int
    """0 where no ping is unanswered; else 1, and 1 more for each interval that has passed since the ping."""

    @property
    def is_closing(self) -> bool:
        """Tell whether pinging is over."""

    def ping(self) -> None:
        """Send a ping and set ``awaits_pong`` to 1."""

    def ping_unanswered(self) -> None:
        """End the connection: its ping was not answered."""


class Keepalive:
    """The pings of one event loop. ``interval`` and ``timeout`` are seconds."""

    def __init__(self, interval: float, timeout: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._step = interval / SLOTS
        # A ping is judged this many whole intervals and steps after it was sent.
        self._patience = None if timeout is None else divmod(max(1, math.ceil(timeout / self._step)), SLOTS)
        self._slots: list[set[Pinged]] = [set() for _ in range(SLOTS)]
        self._position = 0
        self._newest = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pinged) -> int:
        """Ping ``connection`` from half an interval on at the earliest; return what ``remove`` takes."""
        self._newest = (self._newest + 1) % (SLOTS // 2)
        slot = (self._position + SLOTS // 2 + self._newest + 1) % SLOTS
        self._slots[slot].add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._step, self._tick)
        return slot

    def remove(self, connection: Pinged, slot: int) -> None:
        """Ping ``connection`` no more."""
        self._slots[slot].discard(connection)

    def _tick(self) -> None:
        self._position = (self._position + 1) % SLOTS
        for connection in list(self._slots[self._position]):
            if connection.awaits_pong:
                connection.awaits_pong += 1
            else:
                _guarded(connection.ping)
        if self._patience is not None:
            intervals, steps = self._patience
            for connection in list(self._slots[(self._position - steps) % SLOTS]):
                if connection.awaits_pong > intervals and not connection.is_closing:
                    _guarded(connection.ping_unanswered)
        waiting = any(self._slots)
        self._timer = self._loop.call_later(self._step, self._tick) if waiting else None


def _guarded(call: Callable[[], None]) -> None:
    """Call, and let no connection that fails cost the others their pings."""
    try:
        call()
    except Exception:
        logger.debug("a connection could not be pinged or ended; it is gone already", exc_info=True)
