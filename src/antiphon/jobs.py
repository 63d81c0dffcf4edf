"""The messages of channels that are read with ``receive()``: this process's own, and those that processes share.

What is sent to a general channel is the engine's, where it has queues for all processes (``Engine.shares_channels``);
all else is in this process's inboxes. A general channel that is in a group has an inbox besides, in the process that
put it there: what comes from the group is for the readers of that process.

Law: a reader that is cancelled takes nothing, from either.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from antiphon.engines.jobs import Job, Room
from antiphon.exceptions import ChannelFull
from antiphon.inbox import Taken
from antiphon.types import Event

if TYPE_CHECKING:
    from antiphon.hub import Hub

__all__ = ["Jobs"]


class Jobs:
    """The part of a hub that brings messages to those who read channels."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._leaving: set[asyncio.Task[Taken]] = set()
        """Those that take nothing any more, and have yet to end."""

    def are_shared(self, channel: str) -> bool:
        """Tell whether a channel is common to all processes."""
        return self._hub.engine.shares_channels and "!" not in channel

    async def send(self, channel: str, event: Event, expiry: float, capacity: int | None) -> None:
        """Put an event into a channel that processes share; raise ``ChannelFull``."""
        try:
            await self._hub.engine.put(channel, event, expiry, Room(capacity, self._hub.inboxes.limit))
        except ChannelFull:
            self._hub.counters.channels_full += 1
            raise

    async def next(self, channel: str, expiry: float) -> Taken:
        """Wait for the next message, or word of a loss; raise as ``Inboxes.take`` does."""
        if not self.are_shared(channel):
            return await self._hub.inboxes.next(channel, expiry)
        loop = self._hub.loop
        here: asyncio.Task[Taken] = loop.create_task(self._hub.inboxes.next(channel, expiry))
        shared: asyncio.Task[Taken] = loop.create_task(self._hub.engine.take(channel))
        first: asyncio.Task[Taken] | None = None
        try:
            await asyncio.wait((here, shared), return_when=asyncio.FIRST_COMPLETED)
            first = here if here.done() else shared
            return first.result()
        finally:
            for other in {here, shared} - {first}:
                self._leave(other, channel, expiry)

    def _leave(self, taking: asyncio.Task[Taken], channel: str, expiry: float) -> None:
        """Let it take nothing; what it has taken is put back."""

        def ended(done: asyncio.Task[Taken]) -> None:
            self._leaving.discard(done)
            if not done.cancelled() and done.exception() is None:
                self.put_back(channel, done.result(), expiry)

        taking.cancel()
        self._leaving.add(taking)
        taking.add_done_callback(ended)

    def put_back(self, channel: str, taken: Taken, expiry: float) -> None:
        """Put what was taken in vain where it was."""
        if isinstance(taken, Job):
            self._hub.engine.give_back(channel, taken)
        else:
            self._hub.inboxes.put_back(channel, taken, expiry)

    async def close(self) -> None:
        """Wait for those that are about to end."""
        await asyncio.gather(*self._leaving, return_exceptions=True)
