"""General channels in Redis: a list for each, and a word to the processes whose readers wait.

Nothing here blocks a connection: who finds nothing waits for a message on the channel's *bell*, to which its process is
subscribed from before it has looked. After an outage everybody looks again.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets

from antiphon.counters import Counters
from antiphon.engines.jobs import STOP_TIMEOUT, Job, Room, Takers, tell_expired, tell_lost
from antiphon.engines.redis import scripts
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.codec import decode_event
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.servers import Servers
from antiphon.types import Event

__all__ = ["Queues"]

#: Channels in which this process looks for what has expired, at most; of the others who uses them next does.
WATCHED = 1000


class Queues:
    """The general channels, as the process called ``process`` uses them."""

    def __init__(self, client: Client | Servers, keys: Keys, process: str, counters: Counters) -> None:
        self._client = client
        self._keys = keys
        self._process = process
        self._counters = counters
        self._takers = Takers(self._ask, self.give_back)
        self._bells: dict[bytes, str] = {}
        """The channels of which this process is told when something waits."""
        self._unheeded: set[str] = set()
        """Those of them that nobody waited for when it was looked last."""
        self._used: dict[str, None] = {}
        """Those that something was put into, and that may have something still."""
        self._run = secrets.token_hex(4)
        self._tokens = itertools.count(1)

    async def put(self, channel: str, event: Event, expiry: float, room: Room) -> None:
        """Put a message into a channel; raise ``ChannelFull``."""
        capacity = -1 if room.messages is None else room.messages
        arguments = round(expiry * 1000), capacity, room.bytes, event.packed, self._keys.bell(channel)
        keys = self._keys.queue(channel)[:2]
        accepted, expired, count, size = await self._client.pipeline.run(scripts.PUT, keys, *arguments)
        tell_expired(self._counters, channel, expired)
        if not accepted:
            raise room.refusal(channel, count, size)
        self._used[channel] = None

    async def take(self, channel: str) -> Job:
        """Wait for a message, and take it."""
        return await self._takers.take(channel)

    async def _ask(self, channel: str) -> Job | None:
        bell = self._keys.bell(channel)
        self._bells[bell.encode()] = channel
        await self._client.subscription.subscribe(bell)
        token = f"{self._run}{next(self._tokens):x}"
        keys = self._keys.queue(channel)
        expired, entry = await self._client.pipeline.run(scripts.TAKE, keys, self._process, token, is_repeatable=True)
        tell_expired(self._counters, channel, expired)
        if entry is None:
            return None
        milliseconds, _, packed = entry.partition(b" ")
        return Job(decode_event(packed), int(milliseconds) / 1000)

    def give_back(self, channel: str, job: Job) -> None:
        """Put a message back in front."""
        entry = b"%d %b" % (round(job.expires * 1000), job.event.packed)
        keys = self._keys.queue(channel)[:2]
        given = self._client.pipeline.run(scripts.GIVE_BACK, keys, entry, self._keys.bell(channel))
        given.add_done_callback(lambda done: self._given_back(channel, done))

    def _given_back(self, channel: str, done: asyncio.Future[int]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            tell_lost(self._counters, channel, error)
        elif not done.cancelled():
            tell_expired(self._counters, channel, done.result())

    # What comes

    def heard(self, bell: bytes) -> None:
        """Take it that something waits in a channel."""
        channel = self._bells.get(bell)
        if channel is not None:
            self._takers.ring(channel)

    def ring_all(self) -> None:
        """Let everybody look again: the connection was away."""
        self._takers.ring_all()

    async def look(self) -> None:
        """See what has expired where this process put something, and end what nobody heeds; from time to time."""
        await asyncio.gather(*map(self._look, list(itertools.islice(self._used, WATCHED))))
        heeded = set(self._takers.channels)
        for bell, channel in list(self._bells.items()):
            if channel in heeded:
                self._unheeded.discard(channel)
            elif channel in self._unheeded:
                self._unheeded.discard(channel)
                del self._bells[bell]
                self._client.subscription.unsubscribe(bell.decode())
            else:
                self._unheeded.add(channel)

    async def _look(self, channel: str) -> None:
        expired, left = await self._client.pipeline.run(
            scripts.EXPIRE, self._keys.queue(channel)[:2], is_repeatable=True
        )
        tell_expired(self._counters, channel, expired)
        self._used.pop(channel, None)
        if left:  # behind the others, which have their turn first
            self._used[channel] = None

    async def stop(self) -> None:
        """Wait for what is being taken, and for nothing more."""
        await self._takers.stop(STOP_TIMEOUT if self._client.pipeline.is_connected else 0)
