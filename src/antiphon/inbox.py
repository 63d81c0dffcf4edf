"""Inboxes: what waits for a channel name until somebody takes it with ``receive()``.

A connection of antiphon's has a consumer that events go to. Every other channel name has an inbox: the specific name of
a consumer of Channels', which reads it by itself, and a general one such as ``thumbnails``, from which each message is
taken by one of those who read (a worker of ``ChannelNameRouter``). Where processes share general channels (``jobs``),
the inbox of one has what comes from groups alone.

Laws:
- messages are taken in the order in which they were put, each by one reader; a reader that is cancelled takes nothing;
- what waits is bounded: a sender whose message finds no room gets ``ChannelFull``. A message to a group is not refused
  for one member's sake: the inbox is emptied, leaves its groups, and its reader gets ``MessagesLost``;
- an inbox whose name was given out by ``new`` lives as long as its reader keeps that name, and nothing in it expires;
- of any other, what waits longer than ``expiry`` is dropped, and the channel leaves its groups, as in Channels;
- whatever is dropped is counted, and logged unless its reader is gone;
- inboxes outlive their loop: what was put while one loop ran can be taken on the next, as scripts and tests do that
  run a loop for each call.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import secrets
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from antiphon.counters import Counters
from antiphon.engines.jobs import Job
from antiphon.exceptions import ChannelFull, InvalidName, MessagesLost
from antiphon.types import Event

if TYPE_CHECKING:
    from antiphon.group import Group

__all__ = ["EXPIRY", "ChannelName", "Inbox", "Inboxes", "Loss", "Taken", "Waiting", "opened"]

logger = logging.getLogger("antiphon.inbox")

#: Seconds that a message waits in an inbox without a known reader, where nobody says otherwise (as in Channels).
EXPIRY = 60.0


#: The order of all messages.
_numbers = itertools.count()


class ChannelName(str):
    """A channel name whose holder reads the channel: when nobody holds it any more, the channel is over."""

    __slots__ = ("__weakref__",)


class Waiting(NamedTuple):
    """A message, when it expires, and its place in the order of all."""

    event: Event
    deadline: float
    number: int


class Loss(NamedTuple):
    """What is taken in the place of messages that were dropped: how many, and from where."""

    channel: str
    messages: int
    limit: int


#: What a reader takes: a message of this process, word of a loss, or a message of a channel that processes share.
Taken: TypeAlias = Waiting | Loss | Job


def opened(taken: Taken) -> Event:
    """Return the message that was taken; raise ``MessagesLost`` if it is word of a loss."""
    if not isinstance(taken, Loss):
        return taken.event
    raise MessagesLost(
        f"channel {taken.channel} has lost {taken.messages} messages, and has left its groups: it was read so slowly "
        f"that they were over mailbox_limit ({taken.limit} bytes), or the engine no longer has them; the log says which"
    )


class Inbox:
    """The messages of one channel name, oldest first, and the groups that it is in."""

    __slots__ = (
        "_owner",
        "channel",
        "expiry",
        "is_timed",
        "lost",
        "memberships",
        "messages",
        "readers",
        "size",
        "takers",
        "told_until",
        "was_read",
        "woken",
    )

    def __init__(self, channel: str, expiry: float, owner: weakref.ref[ChannelName] | None = None) -> None:
        self.channel = channel
        self.expiry = expiry
        self.memberships: dict[Group, None] = {}
        self.messages: deque[Waiting] = deque()
        self.size = 0
        """Bytes of the messages that wait."""
        self.readers: deque[asyncio.Future[None]] = deque()
        """Those who wait for a message and were not woken yet."""
        self.woken = 0
        """Readers that were woken and have yet to take what they were woken for."""
        self.takers = 0
        """How many are about to take a message: those who wait, and those who were woken."""
        self.was_read = False
        """Whether anybody ever read it: then it is the reader who is told of what it missed, else the sender."""
        self.lost = 0
        """Messages that were dropped since the reader was told of that."""
        self.told_until = 0.0
        """When the word of that expires, as the messages would have."""
        self.is_timed = False
        """Whether it has a place in the queue of those in which something expires."""
        self._owner = owner

    @property
    def is_owned(self) -> bool:
        """Whether the inbox lives as long as the name that was given to its reader."""
        return self._owner is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be missed if it were forgotten."""
        return not (self._owner or self.messages or self.takers or self.memberships or self.lost or self.is_timed)

    @property
    def name(self) -> ChannelName | None:
        """The name that its reader keeps, if it does."""
        return self._owner() if self._owner is not None else None

    @property
    def deadline(self) -> float:
        """When the oldest of what waits expires."""
        return self.messages[0].deadline if self.messages else self.told_until

    def disown(self, deadline: float) -> None:
        """Note that its reader does not keep the name: what waits expires at ``deadline``."""
        self._owner = None
        self.messages = deque(each._replace(deadline=deadline) for each in self.messages)
        self.told_until = deadline


class Inboxes:
    """The inboxes of one process, on one event loop.

    ``process`` is part of every name that ``new`` gives out. An inbox holds ``limit`` bytes. ``leave`` takes an inbox
    out of all its groups.
    """

    def __init__(self, counters: Counters, leave: Callable[[Inbox], None], *, process: str, limit: int) -> None:
        self._counters = counters
        self._leave = leave
        self._process = process
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._inboxes: dict[str, Inbox] = {}
        self._expiring: list[tuple[float, int, Inbox]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many bytes may wait in a channel."""
        return self._limit

    @property
    def are_read(self) -> bool:
        """Whether anybody waits for a message."""
        return any(inbox.takers for inbox in self._inboxes.values())

    def all(self) -> dict[str, Inbox]:
        """Return every inbox by its channel name."""
        return dict(self._inboxes)

    # Names

    def new(self, prefix: str, expiry: float = EXPIRY) -> ChannelName:
        """Return a name that nobody else has, for one reader, and open its inbox."""
        name = ChannelName(f"{prefix}.{self._process}!{secrets.token_hex(8)}")
        channel = str(name)
        self._inboxes[channel] = Inbox(channel, expiry, weakref.ref(name, self._when_forgotten(channel)))
        return name

    def find(self, channel: str) -> Inbox | None:
        """Return the inbox of this name, if there is one."""
        return self._inboxes.get(channel)

    def reach(self, channel: str, expiry: float = EXPIRY) -> Inbox | None:
        """Return the inbox of this name, a new one for a general name; None for a specific one that nobody has here."""
        inbox = self._inboxes.get(channel)
        if inbox is None and "!" not in channel:
            inbox = self._open(channel, expiry)
        return inbox

    def _open(self, channel: str, expiry: float) -> Inbox:
        inbox = self._inboxes[channel] = Inbox(str(channel), expiry)
        return inbox

    def _when_forgotten(self, channel: str) -> Callable[[object], None]:
        """Return what ends the inbox when its name is garbage, which can happen in any thread."""

        def forgotten(reference: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._end, channel, reference)

        return forgotten

    def _end(self, channel: str, owner: object) -> None:
        inbox = self._inboxes.get(channel)
        if inbox is None or inbox._owner is not owner:
            return
        if inbox.takers:  # somebody else reads it, by a copy of the name
            self._disown(inbox)
            return
        self._drop(inbox)
        del self._inboxes[channel]

    def _drop(self, inbox: Inbox) -> None:
        """Drop what waits for a reader that is gone."""
        self._leave(inbox)
        self._counters.dropped_turns += len(inbox.messages)
        inbox.messages.clear()
        inbox.size = inbox.lost = 0

    def forget_if_idle(self, inbox: Inbox) -> None:
        """Forget the inbox if nobody would miss anything."""
        if inbox.is_idle and self._inboxes.get(inbox.channel) is inbox:
            del self._inboxes[inbox.channel]

    # Putting

    def check_room(self, inbox: Inbox, event: Event, capacity: int | None = None) -> None:
        """Raise ``ChannelFull`` if the inbox holds ``capacity`` messages, or has no room for this one."""
        if inbox.lost:
            state = f"was over mailbox_limit ({self._limit} bytes) before, and its reader has not noticed yet"
        elif capacity is not None and len(inbox.messages) >= capacity:
            state = f"has {len(inbox.messages)} messages that nobody has taken, its capacity"
        elif self._is_over(inbox, event):
            state = f"has {inbox.size} bytes in {len(inbox.messages)} messages that nobody has taken, of mailbox_limit"
        else:
            return
        self._counters.channels_full += 1
        raise ChannelFull(f"channel {inbox.channel} {state}: this message was not accepted")

    def put(self, inbox: Inbox, event: Event) -> None:
        """Put a message behind those that wait; where there is no room, drop them all and let the reader know."""
        if inbox.lost:
            inbox.lost += 1
            inbox.told_until = self._loop.time() + inbox.expiry
            self._counters.channel_messages_dropped += 1
            return
        if self._is_over(inbox, event):
            self._overflow(inbox, 1)
            return
        inbox.messages.append(Waiting(event, self._loop.time() + inbox.expiry, next(_numbers)))
        self._added(inbox, event)

    def put_back(self, channel: str, taken: Waiting | Loss, expiry: float = EXPIRY) -> None:
        """Put what was taken in vain where it was."""
        inbox = self._inboxes.get(channel) or self._open(channel, expiry)
        if isinstance(taken, Loss):
            inbox.lost += taken.messages
            inbox.told_until = self._loop.time() + inbox.expiry
            self._found(inbox)
        else:
            older = sum(1 for each in inbox.messages if each.number < taken.number)
            inbox.messages.insert(older, taken)
            self._added(inbox, taken.event)

    def _added(self, inbox: Inbox, event: Event) -> None:
        inbox.size += len(event.packed)
        self._found(inbox)

    def _found(self, inbox: Inbox) -> None:
        """Let a reader know that there is something, and the clock."""
        self._wake(inbox)
        if not inbox.is_owned and not inbox.is_timed:
            self._time(inbox)

    def _is_over(self, inbox: Inbox, event: Event) -> bool:
        return bool(inbox.messages) and inbox.size + len(event.packed) > self._limit

    def _overflow(self, inbox: Inbox, more: int) -> None:
        """Empty an inbox that is over the limit, and take it out of its groups."""
        self._counters.channel_overflows += 1
        logger.error(
            "channel %s: its reader is so slow that %d bytes wait; %d messages dropped at mailbox_limit, and it has "
            "left its groups; its next receive() raises MessagesLost",
            inbox.channel,
            inbox.size,
            len(inbox.messages) + more,
        )
        self._drop_all(inbox, more)

    def gap(self, inbox: Inbox) -> None:
        """Let the reader know that publications for it are lost: what waits is dropped with them, as in an overflow."""
        self._drop_all(inbox, 1)
        self._found(inbox)

    def _drop_all(self, inbox: Inbox, more: int) -> None:
        lost = len(inbox.messages) + more
        inbox.lost += lost
        self._counters.channel_messages_dropped += lost
        inbox.messages.clear()
        inbox.size = 0
        inbox.told_until = self._loop.time() + inbox.expiry
        self._leave(inbox)
        if not inbox.is_owned and not inbox.is_timed:
            self._time(inbox)

    # Taking

    async def take(self, channel: str, expiry: float = EXPIRY) -> Event:
        """Wait for the oldest message of a channel and return it; raise ``MessagesLost``, once, after a loss.

        Raises ``InvalidName`` for a specific name that this process has not given out, or that was let go.
        """
        return opened(await self.next(channel, expiry))

    async def next(self, channel: str, expiry: float = EXPIRY) -> Waiting | Loss:
        """Take the oldest message, or word of a loss, as it is: where it may have to be put back."""
        inbox = self.reach(channel, expiry)
        if inbox is None:
            raise InvalidName(f"channel {channel!r} is not one of this process: only who holds its name can read it")
        if type(channel) is not ChannelName and inbox.is_owned:
            self._disown(inbox)
        inbox.was_read = True
        inbox.takers += 1
        try:
            self._sweep()
            # What others were woken for is theirs, or the reader that runs would take a whole burst.
            while len(inbox.messages) <= inbox.woken and not inbox.lost:
                await self._wait(inbox)
            return self._pop(inbox)
        finally:
            inbox.takers -= 1
            self.forget_if_idle(inbox)

    async def _wait(self, inbox: Inbox) -> None:
        reader = self._loop.create_future()
        inbox.readers.append(reader)
        try:
            await reader
        except BaseException:
            if reader.done() and not reader.cancelled():  # it was woken, and goes away: the message is another's
                inbox.woken -= 1
                self._wake(inbox)
            with contextlib.suppress(ValueError):
                inbox.readers.remove(reader)
            raise
        inbox.woken -= 1

    def _wake(self, inbox: Inbox) -> None:
        """Wake the reader that waits longest, if there is something for it."""
        while (len(inbox.messages) > inbox.woken or inbox.lost) and inbox.readers:
            reader = inbox.readers.popleft()
            if not reader.done():
                inbox.woken += 1
                reader.set_result(None)
                return

    def _pop(self, inbox: Inbox) -> Waiting | Loss:
        if inbox.lost:
            lost, inbox.lost = inbox.lost, 0
            self._wake(inbox)
            return Loss(inbox.channel, lost, self._limit)
        waiting = inbox.messages.popleft()
        inbox.size -= len(waiting.event.packed)
        self._wake(inbox)
        return waiting

    def _disown(self, inbox: Inbox) -> None:
        inbox.disown(self._loop.time() + inbox.expiry)
        if inbox.messages or inbox.lost:
            self._time(inbox)

    # Expiry

    def _time(self, inbox: Inbox) -> None:
        """Note when the oldest of what waits in an inbox expires."""
        inbox.is_timed = True
        entry = (inbox.deadline, next(_numbers), inbox)
        heapq.heappush(self._expiring, entry)
        if self._expiring[0] is entry:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._expiring[0][0], self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._sweep()

    def _sweep(self) -> None:
        """Drop what has expired."""
        now = self._loop.time()
        if not self._expiring or (self._timer is not None and self._expiring[0][0] > now):
            return
        while self._expiring and self._expiring[0][0] <= now:
            _, _, inbox = heapq.heappop(self._expiring)
            inbox.is_timed = False
            self._expire(inbox, now)
            if inbox.messages or inbox.lost:
                self._time(inbox)
        if self._expiring:
            self._set_timer()
        else:
            self.close()

    def _expire(self, inbox: Inbox, now: float) -> None:
        expired = 0
        while inbox.messages and inbox.messages[0].deadline <= now:
            inbox.size -= len(inbox.messages.popleft().event.packed)
            expired += 1
        if expired:
            self._counters.channel_messages_expired += expired
            logger.warning(
                "channel %s: nobody took %d messages within its expiry (%g s); they were dropped, and it has left its "
                "groups",
                inbox.channel,
                expired,
                inbox.expiry,
            )
            self._leave(inbox)
        if not inbox.messages and inbox.told_until <= now:
            inbox.lost = 0
        self.forget_if_idle(inbox)

    # The end, and another beginning

    async def move_to(self, other: Inboxes, join: Callable[[str, Inbox], Awaitable[None]]) -> None:
        """Let ``other``, on a loop that runs, have every inbox with its groups, because this loop does not run."""
        self.close()
        inboxes, self._inboxes = self._inboxes, {}
        for inbox in inboxes.values():
            name = inbox.name
            if inbox.is_owned and name is None:  # it was let go when no loop ran that would have been told
                self._counters.dropped_turns += len(inbox.messages)
                continue
            moved = other._take_over(inbox, name)
            for group in inbox.memberships:
                await join(group.name, moved)

    def _take_over(self, inbox: Inbox, name: ChannelName | None) -> Inbox:
        """Return an inbox that goes on where another ends; those who waited there are gone with their loop."""
        channel = inbox.channel
        owner = weakref.ref(name, self._when_forgotten(channel)) if name is not None else None
        moved = self._inboxes[channel] = Inbox(channel, inbox.expiry, owner)
        moved.messages, moved.size = inbox.messages, inbox.size
        moved.lost, moved.told_until, moved.was_read = inbox.lost, inbox.told_until, inbox.was_read
        if (moved.messages or moved.lost) and not moved.is_owned:
            self._time(moved)
        return moved

    def flush(self) -> None:
        """Forget every message, and take every channel out of its groups; who waits goes on waiting."""
        self.close()
        self._expiring.clear()
        for inbox in list(self._inboxes.values()):
            self._leave(inbox)
            inbox.messages.clear()
            inbox.size = inbox.lost = 0
            inbox.is_timed = False
            self.forget_if_idle(inbox)

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
