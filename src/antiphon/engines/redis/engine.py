"""The Redis engine: several hosts, one Redis, and streams that outlive all of the processes.

This is the shell on the event loop: each verb is one command or one script, and each message that comes is told. What
was lost on the way while the connection was away is not looked for here: ``on_continuity_lost`` lets the hub compare
the positions of its groups with the streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import secrets
from typing import Any

from antiphon.counters import Counters
from antiphon.engines.base import Engine, EngineEvents
from antiphon.engines.jobs import Job, Room
from antiphon.engines.redis import scripts
from antiphon.engines.redis.advice import advise
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.cluster import Cluster
from antiphon.engines.redis.codec import decode_body, decode_event, decode_info, decode_published, encode_body
from antiphon.engines.redis.faults import Fault
from antiphon.engines.redis.gathering import Gathering
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.presence import Presence
from antiphon.engines.redis.presences import Presences
from antiphon.engines.redis.queues import Queues
from antiphon.engines.redis.servers import Servers
from antiphon.engines.redis.shards import Shards
from antiphon.exceptions import ConfigurationError, EngineError, EngineUnavailable
from antiphon.names import process_of
from antiphon.types import ClientInfo, Event, Page, Position, Publication, Publishing, Repeat, Retention

__all__ = ["RedisEngine"]

logger = logging.getLogger("antiphon.engines")

#: Seconds that a position is kept where no retention says how long.
IDLE = 3600.0
#: Seconds that the position of a group is kept beyond its retention while a process is subscribed: should that process
#: die, nobody says that it was. It is put off so often, of so many groups at a time.
WATCH, WATCH_AGAIN, WATCH_AT_ONCE = 3600.0, 1200.0, 1000
#: Seconds that taking leave may take when the process ends.
LEAVE_TIMEOUT = 2.0
#: The longest time in ms that Redis is told to keep something: ten years.
_LONGEST = 315_360_000_000
#: Higher than any offset; the ids of streams have 64 bits.
_HIGHEST = 2**63


class _Interest:
    """What this process knows of a group that it is subscribed to."""

    __slots__ = ("lifetime", "position", "watched_at")

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        """For how many ms its position is kept when nobody is subscribed."""
        self.position: Position | None = None
        """The newest that it has been told of."""
        self.watched_at = 0.0
        """When that was last put off."""

    def know(self, position: Position) -> None:
        """Note a position, if it is news."""
        known = self.position
        if known is None or known.epoch != position.epoch or known.offset < position.offset:
            self.position = position


class RedisEngine(Engine):
    """Streams in Redis, and messages by its channels."""

    def __init__(self, options: Options, counters: Counters | None = None) -> None:
        self._options = options
        self._counters = counters if counters is not None else Counters()
        self._keys = Keys(options.prefix, options.db)
        self._events: EngineEvents | None = None
        self._client: Client | Servers | None = None
        self._presence: Presence | Presences | None = None
        self._queues: Queues | None = None
        self._process = ""
        self._groups: dict[bytes, str] = {}
        """The groups of interest, by their channels."""
        self._interests: dict[str, _Interest] = {}
        self._gathering = Gathering(self._deliver)
        self._direct = b""
        self._epochs = itertools.count(1)
        self._run = secrets.token_hex(8)
        self._beating: asyncio.Task[None] | None = None
        self._beat_now = asyncio.Event()

    # Beginning and end

    async def start(self, events: EngineEvents, process: str = "") -> None:
        """Connect, and be one of those who live."""
        self._events = events
        self._process = process or secrets.token_hex(6)
        direct = self._keys.direct(self._process)
        self._direct = direct.encode()
        kind = Cluster if self._options.is_cluster else Shards if self._options.is_shards else Client
        client = self._client = kind(self._options, self._counters, self._gathering.hear, self._restored)
        self._presence = client.presence(self._keys, self._process, self._options.lease)
        self._queues = Queues(client, self._keys, self._process, self._counters)
        client.pipeline.on_connected = self._connected
        try:
            await client.start([self._keys.control, direct])
            await self._introduce(client, self._presence)
        except BaseException as error:
            await self._close()
            if isinstance(error, Fault):
                raise _start_error(error) from error
            raise
        self._beating = asyncio.get_running_loop().create_task(self._beat_again_and_again())

    async def _introduce(self, client: Client | Servers, presence: Presence | Presences) -> None:
        """Be among those who live, and say what does not suit; later, where that needs a server that is away."""
        try:
            await presence.beat()
            await self._advise(client)
        except EngineUnavailable:
            if client.is_whole:
                raise

    async def _advise(self, client: Client | Servers) -> None:
        """Say what of the server's settings does not suit; of a cluster, of one of its servers."""
        for each in client.independent:
            said = await each.pipeline.run(scripts.SETTINGS, [self._keys.processes], is_repeatable=True)
            for advice in advise(said.decode()):
                logger.log(logging.WARNING if advice.is_risk else logging.INFO, "%s: %s", each.where, advice.words)

    @property
    def client(self) -> Client | Servers:
        """What it reaches Redis by; raises ``EngineUnavailable`` while it is stopped."""
        return self._reach()[0]

    async def stop(self) -> None:
        """Take leave, and close the connections."""
        self._events = None
        await self._end_beating()
        if self._queues is not None:
            await self._queues.stop()
        if self._presence is not None and self._client is not None and self._client.pipeline.is_connected:
            self._client.pipeline.is_ending = True
            with contextlib.suppress(EngineError, TimeoutError):  # then the lease tells that it has gone
                async with asyncio.timeout(LEAVE_TIMEOUT):
                    await self._presence.end()
        await self._close()

    async def _close(self) -> None:
        """End what runs, and say nothing."""
        self._events = None
        await self._end_beating()
        client, queues = self._client, self._queues
        self._client = self._presence = self._queues = None
        if queues is not None:
            await queues.stop()
        if client is not None:
            await client.stop()
        self._gathering.stop()
        self._groups.clear()
        self._interests.clear()

    async def _end_beating(self) -> None:
        """Renew the lease no more."""
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    def _reach(self) -> tuple[Client | Servers, Presence | Presences]:
        if self._client is None or self._presence is None:
            raise EngineUnavailable(f"the engine of {self._options.where} is stopped")
        return self._client, self._presence

    # Publications

    async def publish(self, group: str, data: bytes, key: str = "", publishing: Publishing | None = None) -> Position:
        """Let one script do it."""
        client, _ = self._reach()
        keys = self._stream_keys(group)
        times = _NOTHING_KEPT
        if publishing is not None:
            times = _times(publishing.retention)
            if publishing.idempotency_key and publishing.retention.idempotency_window > 0:
                keys.append(self._keys.idempotency(group, publishing.idempotency_key))
        answer = client.pipeline.run(
            scripts.PUBLISH,
            keys,
            *self._known(group),
            self._keys.channel(group),
            encode_body(data, key, publishing),
            *times,
            is_repeatable=len(keys) > 2,
        )
        epoch, offset, is_repeat = await self._gathering.until(answer)
        position = (Repeat if is_repeat else Position)(epoch.decode(), int(offset))
        self._learn(group, position)
        return position

    async def history(
        self,
        group: str,
        retention: Retention,
        *,
        since: Position | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Page:
        """Let one script read it, so that the page and its top fit together."""
        client, _ = self._reach()
        begin = "+" if reverse else "-"
        if since is not None:
            offset = min(max(since.offset, 0), _HIGHEST)
            begin = f"{max(offset - 1, 0) if reverse else offset + 1}-0"
        epoch, top, entries = await client.pipeline.run(
            scripts.HISTORY,
            self._stream_keys(group),
            *self._known(group),
            _milliseconds(retention.rest),
            "XREVRANGE" if reverse else "XRANGE",
            begin,
            -1 if limit is None else limit,
            is_repeatable=True,
        )
        position = Position(epoch.decode(), int(top))
        self._learn(group, position)
        return Page(tuple(_publication(each, position.epoch) for each in entries), position)

    async def remove_history(self, group: str) -> None:
        """Drop the stream."""
        client, _ = self._reach()
        await client.pipeline.call("remove_history", "DEL", self._keys.stream(group), is_repeatable=True)

    def _stream_keys(self, group: str) -> list[str]:
        return [self._keys.position(group), self._keys.stream(group)]

    def _known(self, group: str) -> tuple[str, str, int]:
        """Return an epoch that nobody has used, and how far this process knows the stream to be."""
        fresh = f"{self._run}{next(self._epochs):x}"
        interest = self._interests.get(group)
        if interest is None or interest.position is None:
            return fresh, "", 0
        return fresh, interest.position.epoch, interest.position.offset

    def _learn(self, group: str, position: Position) -> None:
        interest = self._interests.get(group)
        if interest is not None and not isinstance(position, Repeat):
            interest.know(position)

    # Events and control

    async def send_event(self, group: str, event: Event) -> None:
        """Tell all."""
        await self._tell(self._keys.channel(group), b"e" + event.packed)

    async def send_direct_event(self, channel: str, event: Event) -> None:
        """Tell the one that it is for; this one by Redis too, so that nothing is overtaken."""
        process = process_of(channel)
        if not process:
            if self._events is not None:
                self._events.on_direct_event(channel, event)
            return
        await self._tell_process(process, f"d{channel} ".encode() + event.packed, f"an event for channel {channel}")

    async def send_control(self, control: bytes, process: str = "") -> None:
        """Tell all, or one."""
        if process:
            await self._tell_process(process, b"c" + control, "an order")
        else:
            await self._tell(self._keys.control, b"c" + control)

    async def _tell_process(self, process: str, message: bytes, what: str) -> None:
        """Tell one process, and note it where that is not there."""
        if not await self._tell(self._keys.direct(process), message):
            self._counters.engine_messages_dropped += 1
            logger.warning("%s came to nobody: process %s is not there", what, process)

    async def _tell(self, channel: str, message: bytes) -> int:
        """Publish a message, and return how many got it from this server."""
        client, _ = self._reach()
        count: int = await self._gathering.until(client.pipeline.call("send", "PUBLISH", channel, message))
        return count

    # General channels

    shares_channels = True

    async def put(self, channel: str, event: Event, expiry: float, room: Room) -> None:
        """Put it into the channel's list."""
        await self._reach_queues().put(channel, event, expiry, room)

    async def take(self, channel: str) -> Job:
        """Take it from the channel's list."""
        return await self._reach_queues().take(channel)

    def give_back(self, channel: str, job: Job) -> None:
        """Put it back into the list."""
        if self._queues is not None:
            self._queues.give_back(channel, job)

    def _reach_queues(self) -> Queues:
        self._reach()
        assert self._queues is not None
        return self._queues

    # Interest

    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        """Subscribe to the group's channel, and let its position be kept."""
        client, _ = self._reach()
        channel = self._keys.channel(group)
        interest = self._interests.get(group)
        is_new = interest is None
        if interest is None:
            interest = self._interests[group] = _Interest(_milliseconds(IDLE))
            self._groups[channel.encode()] = group
        if retention is not None:
            interest.lifetime = _milliseconds(retention.rest)
        try:
            await asyncio.gather(client.subscription.subscribe(channel), self._watch(group, interest))
        except BaseException:
            if is_new and self._interests.get(group) is interest:
                self.unsubscribe(group)
            raise

    def unsubscribe(self, group: str) -> None:
        """Hear no more of it; its position is kept for as long as ``subscribe`` has said."""
        if self._interests.pop(group, None) is not None and self._client is not None:
            channel = self._keys.channel(group)
            name = channel.encode()
            self._groups.pop(name, None)
            self._gathering.forget(name)
            self._client.subscription.unsubscribe(channel)

    async def _watch(self, group: str, interest: _Interest) -> None:
        """Put off the end of a group's position."""
        client, _ = self._reach()
        epoch, offset = await client.pipeline.run(
            scripts.TOUCH,
            self._stream_keys(group),
            *self._known(group),
            interest.lifetime + _milliseconds(WATCH),
            is_repeatable=True,
        )
        interest.know(Position(epoch.decode(), int(offset)))
        interest.watched_at = asyncio.get_running_loop().time()

    # Presence

    def enter(self, group: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Note it, and let Redis be told."""
        if self._presence is not None:
            self._presence.enter(group, info, announced=announced)

    def leave(self, group: str, client: str) -> None:
        """Note it, and let Redis be told."""
        if self._presence is not None:
            self._presence.leave(group, client)

    async def presence(self, group: str) -> dict[str, ClientInfo]:
        """Read it, behind what this process has declared."""
        _, presence = self._reach()
        return await presence.read(group)

    # What comes

    def _deliver(self, channel: bytes, message: bytes) -> None:
        """Tell what was heard."""
        events = self._events
        if events is None:
            return
        group, letter = self._groups.get(channel), message[:1]
        if group is not None:
            self._deliver_to_group(events, group, letter, message)
        elif channel == self._direct and letter == b"d":
            name, _, packed = message[1:].partition(b" ")
            events.on_direct_event(name.decode(), decode_event(packed))
        elif letter == b"c":
            events.on_control(message[1:])
        elif self._queues is not None:
            self._queues.heard(channel)

    def _deliver_to_group(self, events: EngineEvents, group: str, letter: bytes, message: bytes) -> None:
        if letter == b"p":
            publication = decode_published(message)
            self._interests[group].position = publication.position
            events.on_publication(group, publication)
        elif letter == b"e":
            events.on_event(group, decode_event(message[1:]))
        elif letter == b"j":
            events.on_join(group, decode_info(message[1:]))
        elif letter == b"l":
            events.on_leave(group, decode_info(message[1:]))

    def _restored(self) -> None:
        """Tell that something may have been missed, behind what has come before."""
        self._gathering.tell_all()
        if self._queues is not None:
            self._queues.ring_all()
        if self._events is not None:
            self._events.on_continuity_lost()

    def _connected(self) -> None:
        """Tell what could not be told meanwhile, and see whether this process still lives."""
        if self._presence is not None:
            self._presence.connected()
        if self._queues is not None:
            self._queues.ring_all()
        self._beat_now.set()

    # The beat

    async def _beat_again_and_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.lease / 3):
                    await self._beat_now.wait()
            self._beat_now.clear()
            try:
                await self.beat()
            except EngineError:
                pass  # it has been told, and it is tried again
            except Exception:
                logger.exception("the beat of the engine of %s failed", self._options.where)

    async def beat(self) -> None:
        """Renew the lease, see to those who are dead, and keep the positions of the groups of interest."""
        _, presence = self._reach()
        await presence.beat()
        before = asyncio.get_running_loop().time() - WATCH_AGAIN
        due = ((group, each) for group, each in self._interests.items() if each.watched_at <= before)
        watching = [self._watch(*each) for each in itertools.islice(due, WATCH_AT_ONCE)]
        with contextlib.suppress(TimeoutError):  # a server that is away must not keep the lease at others from renewal
            async with asyncio.timeout(self._options.lease / 3):
                await asyncio.gather(self._reach_queues().look(), *watching)


def _publication(entry: list[Any], epoch: str) -> Publication:
    """Return what an entry of a stream stands for: its id, and names and values of its fields in turn."""
    id, (_, body, _, milliseconds, *_) = entry
    return decode_body(body, Position(epoch, int(id.partition(b"-")[0])), milliseconds)


@functools.lru_cache(1024)
def _times(retention: Retention) -> tuple[int, int, int, int]:
    """Return what ``publish.lua`` is told: how many are kept, for how long, and for how long position and key are."""
    seconds = (retention.lifetime, retention.rest, retention.idempotency_window)
    lifetime, rest, window = map(_milliseconds, seconds)
    return retention.size, lifetime, rest, window


def _milliseconds(seconds: float) -> int:
    return min(round(seconds * 1000), _LONGEST) if seconds < _LONGEST else _LONGEST


def _start_error(fault: Fault) -> Exception:
    words = f"the Redis engine can't start: {fault}"
    return ConfigurationError(words) if fault.is_settled else EngineUnavailable(words)


_NOTHING_KEPT = (0, 0, _milliseconds(IDLE), 0)
