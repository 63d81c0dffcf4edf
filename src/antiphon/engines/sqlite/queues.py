"""General channels in the database: rows in the order in which they are taken, and a word to the other processes.

Whoever found nothing waits for that word (``Queued``); should it be lost, as with a process that is killed between
writing and telling, the look that each process takes once a second finds what waits.

A channel's row in ``channels`` says how much waits in it, so that nobody has to count.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from antiphon.counters import Counters
from antiphon.engines.jobs import Job, Room, Takers, tell_expired, tell_lost
from antiphon.engines.sqlite.frames import Queued
from antiphon.engines.sqlite.hearing import event_of
from antiphon.engines.sqlite.store import milliseconds
from antiphon.engines.sqlite.writer import Verb
from antiphon.exceptions import EngineError
from antiphon.types import Event

__all__ = ["Queues"]

_ADD = "INSERT INTO jobs SELECT ?, coalesce(max(place) + 1, 0), ?, ? FROM jobs WHERE channel = ?"
_ADD_FIRST = "INSERT INTO jobs SELECT ?, coalesce(min(place) - 1, 0), ?, ? FROM jobs WHERE channel = ?"


class _State(NamedTuple):
    """What a transaction found in a channel, and left there."""

    messages: int
    size: int
    """Their bytes."""
    expired: int = 0
    entry: tuple[int, bytes] | None = None
    """What was taken: when it expires, and the event."""
    is_refused: bool = False


class Queues:
    """The general channels of one process.

    ``write`` does something in a transaction, ``read`` without one; ``tell`` tells all processes, this one too.
    """

    def __init__(
        self,
        write: Callable[[Verb], Awaitable[Any]],
        read: Callable[[Callable[[sqlite3.Connection], list[str]]], Awaitable[list[str]]],
        tell: Callable[[Queued], None],
        counters: Counters,
    ) -> None:
        self._write = write
        self._read = read
        self._tell = tell
        self._counters = counters
        self._takers = Takers(self._ask, self.give_back)
        self.ring = self._takers.ring
        """Takes it that something waits in a channel."""
        self._used: dict[str, int] = {}
        """The channels that something was put into, and when the last of that expires."""
        self._returning: set[asyncio.Task[None]] = set()

    async def put(self, channel: str, event: Event, expiry: float, room: Room) -> None:
        """Put a message into a channel; raise ``ChannelFull``."""
        until = 0

        def verb(store: Any, registry: Any, now: int) -> _State:
            nonlocal until
            until = now + milliseconds(expiry)
            return _put(store.connection, channel, until, event.packed, room, now)

        state: _State = await self._write(verb)
        tell_expired(self._counters, channel, state.expired)
        if state.is_refused:
            raise room.refusal(channel, state.messages, state.size)
        self._used[channel] = max(self._used.get(channel, 0), until)
        if not state.messages:  # who waits has found none, so it needs no word of those behind the first
            self._tell(Queued(channel))

    async def take(self, channel: str) -> Job:
        """Wait for a message, and take it."""
        return await self._takers.take(channel)

    async def _ask(self, channel: str) -> Job | None:
        state: _State = await self._write(lambda store, registry, now: _take(store.connection, channel, now))
        tell_expired(self._counters, channel, state.expired)
        if state.entry is None:
            return None
        until, packed = state.entry
        return Job(event_of(packed), until / 1000)

    def give_back(self, channel: str, job: Job) -> None:
        """Put a message back in front."""
        returning = asyncio.get_running_loop().create_task(self._return(channel, job))
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)

    async def _return(self, channel: str, job: Job) -> None:
        until, packed = round(job.expires * 1000), job.event.packed

        def verb(store: Any, registry: Any, now: int) -> None:
            _add(store.connection, channel, until, packed, is_first=True)

        try:
            await self._write(verb)
            self._tell(Queued(channel))
        except EngineError as error:
            tell_lost(self._counters, channel, error)

    async def look(self, now: int) -> None:
        """See what has expired where this process put something, and what this process was not told of."""
        for channel, until in list(self._used.items()):
            if until <= now:
                del self._used[channel]
                await self._expire(channel)
        waiting = self._takers.channels
        if waiting:
            for channel in await self._read(lambda connection: _those_with_messages(connection, waiting)):
                self.ring(channel)

    async def _expire(self, channel: str) -> None:
        state: _State = await self._write(lambda store, registry, now: _state(store.connection, channel, now))
        tell_expired(self._counters, channel, state.expired)

    async def stop(self) -> None:
        """Wait for what is being taken, and for nothing more."""
        await self._takers.stop()
        await asyncio.gather(*self._returning)


# In a transaction


def _state(connection: sqlite3.Connection, channel: str, now: int) -> _State:
    """Drop what has expired, and return what is left."""
    row = connection.execute("SELECT messages, bytes FROM channels WHERE name = ?", (channel,)).fetchone()
    if row is None:
        return _State(0, 0)
    expired = connection.execute(
        "DELETE FROM jobs WHERE channel = ? AND until <= ? RETURNING length(event)", (channel, now)
    ).fetchall()
    if not expired:
        return _State(row[0], row[1])
    size = sum(length for (length,) in expired)
    _count(connection, channel, -len(expired), -size)
    return _State(row[0] - len(expired), row[1] - size, len(expired))


def _put(connection: sqlite3.Connection, channel: str, until: int, packed: bytes, room: Room, now: int) -> _State:
    state = _state(connection, channel, now)
    if not room.is_left(state.messages, state.size, len(packed)):
        return state._replace(is_refused=True)
    _add(connection, channel, until, packed)
    return state


def _add(connection: sqlite3.Connection, channel: str, until: int, packed: bytes, *, is_first: bool = False) -> None:
    connection.execute(_ADD_FIRST if is_first else _ADD, (channel, until, packed, channel))
    _count(connection, channel, 1, len(packed))


def _count(connection: sqlite3.Connection, channel: str, messages: int, bytes: int) -> None:
    connection.execute(
        "INSERT INTO channels VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes",
        (channel, messages, bytes),
    )
    connection.execute("DELETE FROM channels WHERE name = ? AND messages = 0", (channel,))


def _take(connection: sqlite3.Connection, channel: str, now: int) -> _State:
    state = _state(connection, channel, now)
    if not state.messages:
        return state
    (entry,) = connection.execute(
        "DELETE FROM jobs WHERE channel = ? AND place = (SELECT min(place) FROM jobs WHERE channel = ?)"
        " RETURNING until, event",
        (channel, channel),
    ).fetchall()
    _count(connection, channel, -1, -len(entry[1]))
    return state._replace(entry=entry)


def _those_with_messages(connection: sqlite3.Connection, channels: list[str]) -> list[str]:
    found = connection.execute("SELECT name FROM channels").fetchall()
    return [name for (name,) in found if name in channels]
