"""What was heard, until it is told: messages that come close together are told together, and cost one write a member.

What a client sends is published one after another, each when the one before was answered. So it comes back one by one
as well, and if each were told at once, this process would write to all members before it publishes the next. What is
heard while this process itself waits for an answer therefore waits for what comes behind it.

Laws:
- everything is told once, in the order in which it was heard;
- it waits only while this process publishes, and for ``PATIENCE`` times what telling took the last time or for
  ``LONGEST``, whichever is less;
- what waits is bounded in bytes (``MOST``); over that all of it is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

__all__ = ["Gathering"]

logger = logging.getLogger("antiphon.engines")

#: For how many times as long as telling took, and for how many seconds at most.
PATIENCE, LONGEST = 4, 0.01
#: Bytes that wait at most.
MOST = 1024 * 1024
#: The shortest time that a loop's timer can count: uvloop's clock has milliseconds, and less would be none.
TICK = 0.001


class Gathering:
    """Between the subscription, which hears, and ``tell``."""

    def __init__(self, tell: Callable[[bytes, bytes], None]) -> None:
        self._tell = tell
        self._publishing = 0
        """How many calls of this process wait for their answer."""
        self._held: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._patience = 0.0
        self._until = 0.0
        """When the patience ends, for what waits."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_looking = False

    async def until(self, answer: asyncio.Future[Any]) -> Any:
        """Return the answer to something that this process publishes.

        Whoever gets it may publish the next thing in the same round of the loop; then what waits goes on waiting.
        """
        self._publishing += 1
        try:
            return await answer
        finally:
            self._publishing -= 1
            if not self._publishing and self._held and not self._is_looking:
                self._is_looking = True
                asyncio.get_running_loop().call_soon(self._look)

    def hear(self, channel: bytes, message: bytes) -> None:
        """Take a message that has come."""
        if not self._publishing and not self._held:
            self._tell(channel, message)
            return
        if not self._held:
            self._until = perf_counter() + self._patience
            if self._timer is None:
                self._set_timer(self._patience)
        self._held.append((channel, message))
        self._size += len(message)
        if self._size > MOST or perf_counter() >= self._until:
            self.tell_all()

    def tell_all(self) -> None:
        """Tell what waits."""
        held, self._held, self._size = self._held, [], 0
        if not held:
            return
        began = perf_counter()
        for channel, message in held:
            try:
                self._tell(channel, message)
            except Exception:  # it is not to stop what comes behind it
                logger.exception("what Redis published could not be told: %.200r", message)
        asyncio.get_running_loop().call_soon(self._told, began)

    def forget(self, channel: bytes) -> None:
        """Tell nothing of what has come on a channel."""
        if self._held:
            self._held = [each for each in self._held if each[0] != channel]
            self._size = sum(len(message) for _, message in self._held)

    def stop(self) -> None:
        """Tell nothing of what waits."""
        self._held.clear()
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """See whether the next thing is being published."""
        self._is_looking = False
        if not self._publishing:
            self.tell_all()

    def _told(self, began: float) -> None:
        """Note how long it took: the hub's tick, which writes to the members, was before this."""
        self._patience = min(PATIENCE * (perf_counter() - began), LONGEST)

    def _set_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(seconds, TICK), self._ring)

    def _ring(self) -> None:
        """Tell what has waited long enough, though nothing came behind it; the timer may have been set before it."""
        self._timer = None
        left = self._until - perf_counter()
        if not self._held:
            return
        if left > 0:
            self._set_timer(left)
        else:
            self.tell_all()
