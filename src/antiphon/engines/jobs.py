"""General channels that processes share: what waits in them, and those of this process who wait for it.

A general channel, such as ``thumbnails``, has one queue for all processes, and each of its messages, a *job*, goes to
one reader. Where the queue is, and how a process is told that something came, is each engine's own affair; who asks
next, and what becomes of a job whose reader has gone, is the same for all (``Takers``).

Laws:
- the readers of a channel in one process are served in the order in which they came;
- a reader that is cancelled takes nothing: what was taken for it is given back;
- who waits asks again when it is told that something came, and not before; after a fault of the engine, every
  ``RETRY`` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from antiphon.counters import Counters
from antiphon.exceptions import ChannelFull, EngineError
from antiphon.types import Event

__all__ = ["STOP_TIMEOUT", "Job", "Room", "Takers", "tell_expired", "tell_lost"]

logger = logging.getLogger("antiphon.engines")

#: Seconds until a reader asks again where the engine could not be asked.
RETRY = 1.0
#: Seconds that the answer to who is taking something may take when the process ends.
STOP_TIMEOUT = 1.0


class Job(NamedTuple):
    """A message of a general channel; ``expires`` is when it does, in seconds since 1970 by the engine's clock."""

    event: Event
    expires: float


class Room(NamedTuple):
    """What may wait in a general channel: so many messages (None: any number), of so many bytes in all."""

    messages: int | None
    bytes: int

    def is_left(self, messages: int, bytes: int, more: int) -> bool:
        """Tell whether a message of ``more`` bytes fits behind what waits; where nothing waits, any does."""
        if self.messages is not None and messages >= self.messages:
            return False
        return not messages or bytes + more <= self.bytes

    def refusal(self, channel: str, messages: int, bytes: int) -> ChannelFull:
        """Return what the sender of one that does not fit is told."""
        if self.messages is not None and messages >= self.messages:
            state = f"has {messages} messages that nobody has taken, its capacity"
        else:
            state = f"has {bytes} bytes in {messages} messages that nobody has taken, of mailbox_limit"
        return ChannelFull(f"channel {channel} {state}: this message was not accepted")


def tell_expired(counters: Counters, channel: str, messages: int) -> None:
    """Count and log messages that nobody took."""
    if messages:
        counters.channel_messages_expired += messages
        logger.warning("channel %s: nobody took %d messages within their expiry; they were dropped", channel, messages)


def tell_lost(counters: Counters, channel: str, error: BaseException) -> None:
    """Count and log a message that was taken in vain and could not be given back."""
    counters.channel_messages_dropped += 1
    logger.error("channel %s: a message that was taken in vain could not be put back: %s", channel, error)


class _Line:
    """Those who wait for one channel: one has its turn to ask, and is told when something came."""

    __slots__ = ("rang", "readers", "turn")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.rang = asyncio.Event()
        self.readers = 0


class Takers:
    """Those of this process who wait for jobs.

    ``ask`` takes the oldest job of a channel, and sees to it that ``ring`` is called when one comes later; None: there
    is none. ``give_back`` is given a job whose reader has gone.
    """

    def __init__(self, ask: Callable[[str], Awaitable[Job | None]], give_back: Callable[[str, Job], None]) -> None:
        self._ask = ask
        self._give_back = give_back
        self._lines: dict[str, _Line] = {}
        self._asking: set[asyncio.Task[Job | None]] = set()
        self._is_over = False

    @property
    def channels(self) -> list[str]:
        """Those that somebody waits for."""
        return list(self._lines)

    async def take(self, channel: str) -> Job:
        """Wait for the oldest job of a channel, and take it."""
        line = self._lines.setdefault(channel, _Line())
        line.readers += 1
        try:
            async with line.turn:
                return await self._next(channel, line)
        finally:
            line.readers -= 1
            if not line.readers:
                del self._lines[channel]

    async def _next(self, channel: str, line: _Line) -> Job:
        while True:
            line.rang.clear()
            pause = None
            try:
                job = None if self._is_over else await self._asked(channel)
            except EngineError:  # which the engine has counted and logged
                job, pause = None, RETRY
            if job is not None:
                return job
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await line.rang.wait()

    async def _asked(self, channel: str) -> Job | None:
        asking = asyncio.get_running_loop().create_task(self._answer(channel))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda done: self._in_vain(channel, done))
            raise

    async def _answer(self, channel: str) -> Job | None:
        try:
            return await self._ask(channel)
        except asyncio.CancelledError:  # by ``stop``: whoever waits goes on waiting, and is cancelled by its owner
            return None

    def _in_vain(self, channel: str, done: asyncio.Task[Job | None]) -> None:
        """Give back what was taken for a reader that has gone."""
        if not done.cancelled() and done.exception() is None and (job := done.result()) is not None:
            self._give_back(channel, job)

    def ring(self, channel: str) -> None:
        """Let who waits for the channel ask again."""
        line = self._lines.get(channel)
        if line is not None:
            line.rang.set()

    def ring_all(self) -> None:
        """Let everybody ask again: they may not have been told."""
        for line in self._lines.values():
            line.rang.set()

    async def stop(self, patience: float = STOP_TIMEOUT) -> None:
        """Ask no more; what is being taken, and has come within ``patience`` seconds, is given back or read."""
        self._is_over = True
        asking = list(self._asking)
        if asking:
            await asyncio.wait(asking, timeout=patience)
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
