"""The engine of one process: nothing to install, nothing kept after the process.

Laws:
- a group's position lives as long as the process is subscribed to the group, and after that as its retention says;
  where there is none, until ``IDLE_GROUPS`` other groups were left later. A group that is forgotten starts again with
  a new epoch;
- what is beyond its lifetime is given to nobody, and its memory is given back.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable

from antiphon.engines.base import Engine, EngineEvents
from antiphon.roster import Roster
from antiphon.types import ClientInfo, Event, Page, Position, PresenceStats, Publication, Publishing, Repeat, Retention

__all__ = ["IDLE_GROUPS", "MemoryEngine"]

#: How many groups without members keep their position where no retention says so.
IDLE_GROUPS = 65_536
#: How many keep their stream where one does; the one that rests longest makes room, and begins a new epoch.
RESTING_GROUPS = 1_000_000
#: Seconds between two looks for what is beyond its lifetime, at least.
SWEEP = 1.0


#: What is kept of a stream where nothing is: an empty deque has most of a kilobyte.
_NOTHING: deque[tuple[Publication, float]] = deque(maxlen=0)


class _Stream:
    """The top of one group's stream, and what is kept of it."""

    __slots__ = ("due", "epoch", "forgotten_at", "group", "kept", "keys", "lifetime", "offset", "retention", "size")

    def __init__(self, group: str, epoch: str) -> None:
        self.group = group
        self.epoch = epoch
        self.offset = 0
        self.kept = _NOTHING
        """Publications without a hole up to the newest, oldest first, each with when it expires."""
        self.keys: dict[str, tuple[Position, float]] = {}
        """What was published with an idempotency key, oldest first, and until when that is remembered."""
        self.retention: Retention | None = None
        """What ``size`` and ``lifetime`` come from."""
        self.size = 0
        """How many publications are kept at most."""
        self.lifetime = 0.0
        """Seconds for which the position is kept where nobody is subscribed; 0: no retention says so."""
        self.forgotten_at = math.inf
        """When it is forgotten: nobody is subscribed."""
        self.due: _Due | None = None
        """When the engine looks whether something of it has ended."""

    def follow(self, retention: Retention) -> None:
        """Keep as much and for as long as ``retention`` says, from now on."""
        self.retention = retention
        self.size = min(retention.size, sys.maxsize)
        self.lifetime = retention.rest

    def keep(self, publication: Publication, expires: float) -> None:
        """Add the newest publication in place of the oldest of what is more than ``size``."""
        kept = self.kept
        if kept.maxlen != self.size:  # it is the first, or another size is to be kept than before
            kept = self.kept = deque(kept, self.size)
        kept.append((publication, expires))

    def made_with(self, key: str, now: float) -> Position | None:
        """Return the position of what was published with an idempotency key, while that is remembered."""
        position, until = self.keys.get(key, (None, now))
        if position is not None and until <= now:  # it stands behind one that is remembered longer
            del self.keys[key]
            return None
        return position

    def trim(self, now: float) -> None:
        """Drop what is beyond its lifetime."""
        kept, keys = self.kept, self.keys
        while kept and kept[0][1] <= now:
            kept.popleft()
        if not kept:
            self.kept = _NOTHING
        while keys and (oldest := next(iter(keys))) and keys[oldest][1] <= now:
            del keys[oldest]

    def page(self, since: Position | None, limit: int | None, reverse: bool) -> Page:
        """Return a part of what is kept."""
        kept = self.kept
        behind = 0 if since is None or not kept else since.offset - kept[0][0].offset + 1
        places = range(len(kept))[max(behind, 0) :]
        if reverse:
            places = range(len(kept) if since is None else max(min(behind - 1, len(kept)), 0))[::-1]
        return Page(tuple(kept[place][0] for place in places[:limit]), _position(self))

    def next_end(self) -> float:
        """Return when something of it ends; infinity: nothing does."""
        first_key = next(iter(self.keys.values()), None)
        return min(
            self.kept[0][1] if self.kept else math.inf,
            first_key[1] if first_key is not None else math.inf,
            self.forgotten_at,
        )


class _Due:
    """A place in the queue of streams to look at."""

    __slots__ = ("stream", "when")

    def __init__(self, when: float, stream: _Stream) -> None:
        self.when = when
        self.stream: _Stream | None = stream
        """None: it has another place."""

    def __lt__(self, other: _Due) -> bool:
        return self.when < other.when


class _Queue:
    """Streams of which something ends, the earliest first; each has one place."""

    def __init__(self) -> None:
        self._heap: list[_Due] = []
        self._left = 0
        """Places that were left, and still stand in the heap: never most of them."""

    def put(self, stream: _Stream, when: float) -> bool:
        """See to it that the stream is looked at at ``when``, or before, if ever; tell whether that is news."""
        if when == math.inf or (stream.due is not None and stream.due.when <= when):
            return False
        self.drop(stream)
        stream.due = _Due(when, stream)
        heapq.heappush(self._heap, stream.due)
        return True

    def drop(self, stream: _Stream) -> None:
        """Take the stream out."""
        due, stream.due = stream.due, None
        if due is None:
            return
        due.stream = None
        self._left += 1
        self._tidy()

    def take(self, now: float) -> _Stream | None:
        """Take out the first stream, if it is time."""
        while self._heap and self._heap[0].when <= now:
            stream = heapq.heappop(self._heap).stream
            if stream is None:
                self._left -= 1
                continue
            stream.due = None
            self._tidy()
            return stream
        return None

    def _tidy(self) -> None:
        if self._left * 2 > len(self._heap):
            self._heap = [due for due in self._heap if due.stream is not None]
            heapq.heapify(self._heap)
            self._left = 0

    def first(self) -> float:
        """Return when the next stream is to be looked at; infinity: none is."""
        return self._heap[0].when if self._heap else math.inf

    def clear(self) -> None:
        """Take out all."""
        self._heap.clear()
        self._left = 0


def _position(stream: _Stream) -> Position:
    # Half the price of Position(…), once per publication.
    return tuple.__new__(Position, (stream.epoch, stream.offset))


class MemoryEngine(Engine):
    """Streams in dictionaries; publications go straight to the hub of the same process."""

    def __init__(self, *, idle_groups: int = IDLE_GROUPS) -> None:
        self._events: EngineEvents | None = None
        self._active: dict[str, _Stream] = {}
        self._idle: dict[str, _Stream] = {}
        self._lasting: dict[str, _Stream] = {}
        """Streams without members that a retention keeps."""
        self._roster = Roster()
        self._idle_groups = idle_groups
        self._run = secrets.token_hex(4)
        self._epochs = itertools.count(1)
        self._now: Callable[[], float] = time.monotonic
        self._queue = _Queue()
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweeps_at = math.inf

    async def start(self, events: EngineEvents, process: str = "") -> None:
        """Begin to tell ``events``."""
        self._events = events
        self._now = asyncio.get_running_loop().time

    async def stop(self) -> None:
        """Forget every stream, and who is where."""
        self._events = None
        self._roster.clear()
        self._active.clear()
        self._idle.clear()
        self._lasting.clear()
        self._queue.clear()
        self._arm()

    # Publications

    async def publish(self, group: str, data: bytes, key: str = "", publishing: Publishing | None = None) -> Position:
        """Take the next offset, keep the publication if it is to be kept, and hand it to the hub if it has members."""
        if publishing is not None:
            return self._publish(group, data, key, publishing)
        active = self._active.get(group)
        stream = active or self._awake(group)
        stream.offset += 1
        stream.kept = _NOTHING  # this one is not kept, and would be a hole behind what was
        if active is None:
            self._rest(stream)
        elif self._events is not None:
            self._events.on_publication(group, Publication(data, stream.epoch, stream.offset, time.time(), key))
        return _position(stream)

    def _publish(self, group: str, data: bytes, key: str, publishing: Publishing) -> Position:
        retention, idempotency_key, info, tags = publishing
        now = self._now()
        active = self._active.get(group)
        stream = active or self._awake(group)
        if idempotency_key and (position := stream.made_with(idempotency_key, now)) is not None:
            if active is None:
                self._rest(stream)
            return Repeat(*position)
        stream.offset += 1
        publication = Publication(data, stream.epoch, stream.offset, time.time(), key, info, tags)
        if retention is not stream.retention:  # a rule has one, so this is rare
            stream.follow(retention)
        if stream.size:
            expires = now + retention.lifetime
            stream.keep(publication, expires)
            if stream.due is None or expires < stream.due.when:  # or else something of it ends before
                self._time(stream, expires)
        else:
            stream.kept = _NOTHING
        if idempotency_key:
            until = now + retention.idempotency_window
            stream.keys[idempotency_key] = publication.position, until
            self._time(stream, until)
        if active is None:
            self._rest(stream)
        elif self._events is not None:
            self._events.on_publication(group, publication)
        return _position(stream)

    async def history(
        self,
        group: str,
        retention: Retention,
        *,
        since: Position | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Page:
        """Return what is kept behind ``since``; before it, the newest first, where ``reverse`` is given."""
        stream = self._active.get(group) or self._awake(group)
        stream.follow(retention)
        stream.trim(self._now())
        page = stream.page(since, limit, reverse)
        if group not in self._active:
            self._rest(stream)
        return page

    async def remove_history(self, group: str) -> None:
        """Drop the publications and keep the position."""
        stream = self._active.get(group) or self._lasting.get(group)
        if stream is not None:
            stream.kept = _NOTHING

    # Events

    async def send_event(self, group: str, event: Event) -> None:
        """Hand the event to the hub."""
        if self._events is not None and group in self._active:
            self._events.on_event(group, event)

    async def send_direct_event(self, channel: str, event: Event) -> None:
        """Hand the event to the hub."""
        if self._events is not None:
            self._events.on_direct_event(channel, event)

    # Interest

    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        """Keep the group's position until ``unsubscribe``."""
        if group not in self._active:
            self._active[group] = self._awake(group)
        if retention is not None:
            self._active[group].follow(retention)

    def unsubscribe(self, group: str) -> None:
        """Keep the group's stream as its retention says, else its position among the idle ones."""
        stream = self._active.pop(group, None)
        if stream is not None:
            self._rest(stream)

    def _rest(self, stream: _Stream) -> None:
        """Keep a stream that nobody is subscribed to."""
        if stream.lifetime:
            self._lasting[stream.group] = stream
            if len(self._lasting) > RESTING_GROUPS:
                self._queue.drop(self._lasting.pop(next(iter(self._lasting))))
            stream.forgotten_at = self._now() + stream.lifetime
            self._time(stream, stream.forgotten_at)
        elif stream.offset:
            self._idle[stream.group] = stream
            if len(self._idle) > self._idle_groups:
                del self._idle[next(iter(self._idle))]

    def _awake(self, group: str) -> _Stream:
        """Take the group's stream from those that rest, or begin a new one."""
        stream = self._idle.pop(group, None) or self._lasting.pop(group, None)
        if stream is not None and stream.forgotten_at <= self._now():
            self._queue.drop(stream)
            stream = None
        if stream is None:
            return _Stream(group, f"{self._run}.{next(self._epochs)}")
        stream.forgotten_at = math.inf
        return stream

    # Presence

    def enter(self, group: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Note it, and tell the hub of who is new; no lease is needed where nobody outlives the engine."""
        if self._roster.enter(group, info, announced=announced) and announced and self._hears(group):
            self._events.on_join(group, info)  # type: ignore[union-attr]

    def leave(self, group: str, client: str) -> None:
        """Note it, and tell the hub."""
        entry = self._roster.leave(group, client)
        if entry is not None and entry.announced and self._hears(group):
            self._events.on_leave(group, entry.info)  # type: ignore[union-attr]

    async def presence(self, group: str) -> dict[str, ClientInfo]:
        """Return what was noted."""
        return self._roster.infos(group)

    async def presence_stats(self, group: str) -> PresenceStats:
        """Count it."""
        return self._roster.stats(group)

    def _hears(self, group: str) -> bool:
        return self._events is not None and group in self._active

    # Control

    async def send_control(self, control: bytes, process: str = "") -> None:
        """Hand it to the hub: there is no other."""
        if self._events is not None:
            self._events.on_control(control)

    # Lifetimes

    def _time(self, stream: _Stream, end: float) -> None:
        """See to it that it is noticed when something of the stream ends at ``end``."""
        if self._queue.put(stream, end):
            self._arm()

    def _arm(self) -> None:
        """See to it that the next sweep comes when something ends, but not sooner than ``SWEEP``."""
        first = self._queue.first()
        if first == math.inf:
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._sweeper, self._sweeps_at = None, math.inf
            return
        at = max(first, self._now() + SWEEP)
        if at < self._sweeps_at:
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._sweeps_at = at
            self._sweeper = asyncio.get_running_loop().call_at(at, self._sweep)

    def _sweep(self) -> None:
        """Give back the memory of what is beyond its lifetime."""
        now = self._now()
        self._sweeper, self._sweeps_at = None, math.inf
        while (stream := self._queue.take(now)) is not None:
            stream.trim(now)
            if stream.forgotten_at <= now:
                del self._lasting[stream.group]
            else:
                self._queue.put(stream, stream.next_end())
        self._arm()
