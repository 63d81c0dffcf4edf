"""The connection for what is published: the channels of interest, and what comes on them.

Laws:
- what one round of the loop subscribes to goes out together, and the last word on a channel counts;
- who waits for a subscription is told when every message from then on comes here;
- after the connection was lost every channel is subscribed to again, and when that is done it is told that something
  may have been missed (``on_restored``), ahead of what has come on the new connection;
- a channel that is refused takes no other with it, and is asked for again for as long as it is wanted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import hiredis

from antiphon.engines.redis.connection import Connection, pack
from antiphon.engines.redis.faults import Fault, Outage, code_of, fault_of
from antiphon.engines.redis.link import Link
from antiphon.engines.redis.options import Address
from antiphon.exceptions import EngineUnavailable

__all__ = ["Moved", "Subscription"]

#: Channels in one command.
AT_ONCE = 1000
#: Messages that are kept until it is told that some may have been missed; over it the oldest are among those.
EARLY = 10_000
#: With these Redis answers a ping, though it subscribes: who hears nothing of what it was told is to look again.
_NOT_READY = frozenset({"LOADING", "MASTERDOWN", "BUSY"})
#: What the pong behind the subscriptions of a new connection says.
_ALL_DONE = b"subscribed"


class Moved(EngineUnavailable):
    """The channel is at another server of the cluster."""


class Subscription:
    """What this process hears. Implements ``LinkUser``."""

    def __init__(
        self,
        where: str,
        dial: Callable[[], Awaitable[Connection]],
        outage: Outage,
        timeout: float,
        deliver: Callable[[bytes, bytes], None],
        on_restored: Callable[[], None],
    ) -> None:
        self._where = where
        self._outage = outage
        self._timeout = timeout
        self._deliver = deliver
        self._on_restored = on_restored
        self._link = Link("subscription", where, dial, self, outage, timeout)
        self._connection: Connection | None = None
        self._was_up = False
        self._early: deque[tuple[bytes, bytes]] | None = None
        """What comes before it has been told that something may be missing; None: it has."""
        self._pongs_to_come = 0
        """Behind the last of them everything is subscribed to again."""
        self._wanted: set[str] = set()
        self._asked: set[str] = set()
        """What the server was last told that this connection is subscribed to."""
        self._changed: dict[str, None] = {}
        """What it may have to be told of, in the order of the calls."""
        self._unconfirmed: dict[str, int] = {}
        """How many subscriptions of a channel were sent and not answered."""
        self._batches: deque[set[str]] = deque()
        """The channels of each command that is not answered: an error does not say which it means."""
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._pongs: list[asyncio.Future[None]] = []
        self._scheduled = False
        self._prefix, self._at_once = "", AT_ONCE
        self._on_lost: Callable[[], None] | None = None
        self._lost: set[str] = set()
        """Channels that are at another server of the cluster now."""
        self._refused: set[str] = set()
        """Channels that the server does not allow, which are asked for again when there is time."""

    async def start(self, channels: Iterable[str]) -> None:
        """Connect and subscribe; raise ``Fault`` where that is no use, or has taken ``timeout`` seconds."""
        waiting = [self._ask_for(channel) for channel in channels]
        self.begin()
        await self._wait(waiting)

    async def _wait(self, waiting: list[asyncio.Future[None]]) -> None:
        assert self._link.settled is not None
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.shield(self._link.settled)
                await asyncio.gather(*waiting)
        except TimeoutError:
            raise self._outage.fault or Fault(self._where, f"no connection within {self._timeout:g} s") from None
        except EngineUnavailable as error:
            raise Fault(self._where, str(error), is_settled=True) from error
        finally:
            for each in waiting:
                each.cancel()

    def begin(self) -> None:
        """Begin to connect."""
        self._link.start()

    async def settled(self) -> None:
        """Wait until there is a connection; raise as ``start`` does."""
        await self._wait([])

    def shard(self, on_lost: Callable[[], None]) -> None:
        """Hear what is published in the slots of this server; ``on_lost`` is called when one has gone."""
        self._prefix, self._at_once, self._on_lost = "S", 1, on_lost

    async def stop(self) -> None:
        """Close the connection; what waits is refused."""
        await self._link.stop()
        self._connection = None
        self._refuse(list(self._waiters), EngineUnavailable(f"{self._where}: the engine is stopped"))
        self._batches.clear()
        for state in (self._wanted, self._asked, self._changed, self._unconfirmed, self._lost, self._refused):
            state.clear()
        for pong in self._pongs:
            pong.cancel()
        self._pongs.clear()
        self._was_up = False

    @property
    def address(self) -> Address | None:
        """Where the connection leads; None: there is none."""
        return None if self._connection is None else self._connection.address

    def leave(self, fault: Fault) -> None:
        """Leave this server, for it is no longer the right one."""
        self._link.leave(fault)

    # Interest

    async def subscribe(self, channel: str) -> None:
        """Subscribe; when this returns what is published from now on is delivered. Raises ``EngineUnavailable``."""
        future = self._ask_for(channel)
        try:
            async with asyncio.timeout(self._timeout):
                await future
        except TimeoutError:
            fault = self._outage.fault or Fault(self._where, f"there was no answer within {self._timeout:g} s")
            raise EngineUnavailable(f"a group was not subscribed to. {fault}") from None
        finally:
            waiters = self._waiters.get(channel)
            if waiters is not None and future in waiters:
                waiters.remove(future)

    def unsubscribe(self, channel: str) -> None:
        """Be no longer interested."""
        self._wanted.discard(channel)
        self._lost.discard(channel)
        self._refused.discard(channel)
        self._change(channel)

    def want(self, channel: str) -> None:
        """Subscribe as soon as that can be done, and wait for nothing."""
        self._wanted.add(channel)
        self._change(channel)

    def _ask_for(self, channel: str) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted.add(channel)
        if channel in self._asked and channel not in self._unconfirmed and self._connection is not None:
            future.set_result(None)
        else:
            self._waiters.setdefault(channel, []).append(future)
            self._change(channel)
        return future

    def _change(self, channel: str) -> None:
        self._changed[channel] = None
        if not self._scheduled and self._connection is not None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Tell the server what has changed."""
        self._scheduled = False
        connection = self._connection
        if connection is None:
            return
        changed, self._changed = self._changed, {}
        wanted, asked = self._wanted, self._asked
        begun = [channel for channel in changed if channel in wanted and channel not in asked]
        ended = [channel for channel in changed if channel not in wanted and channel in asked]
        asked.difference_update(ended)
        asked.update(begun)
        for some in self._parts(ended):
            connection.write(pack(f"{self._prefix}UNSUBSCRIBE", *some))
        for some in self._parts(begun):
            self._send(connection, some)

    def _send(self, connection: Connection, channels: list[str]) -> None:
        self._batches.append(set(channels))
        for channel in channels:
            self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
        connection.write(pack(f"{self._prefix}SUBSCRIBE", *channels))

    def _parts(self, channels: list[str]) -> list[list[str]]:
        """Return what goes into each command."""
        return [channels[place : place + self._at_once] for place in range(0, len(channels), self._at_once)]

    # What comes

    def _take(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._take_error(reply)
            return
        if isinstance(reply, bytes):  # without a channel there are no kinds
            self._take_pong(reply)
            return
        kind = reply[0]
        if kind in (b"message", b"smessage"):
            if self._early is None:
                self._deliver(reply[1], reply[2])
            else:
                self._early.append((reply[1], reply[2]))
        elif kind in (b"subscribe", b"ssubscribe"):
            self._confirm(reply[1].decode())
        elif kind == b"pong":
            self._take_pong(reply[1])
        elif kind == b"sunsubscribe":
            self._end(reply[1].decode())

    def _end(self, channel: str) -> None:
        """See whether a subscription has ended that was to go on: then the slot is at another server."""
        if channel in self._asked and channel not in self._unconfirmed and self._on_lost is not None:
            self._asked.discard(channel)
            self._lost.add(channel)
            self._on_lost()

    def has_lost(self, channel: str) -> bool:
        """Tell whether the server has ended a subscription."""
        return channel in self._lost

    def _confirm(self, channel: str) -> None:
        batch = next((batch for batch in self._batches if channel in batch), None)
        if batch is None:
            return
        batch.discard(channel)
        if not batch:
            self._batches.remove(batch)
        if channel in self._refused:
            self._refused.discard(channel)
            self._on_restored()
        if not self._refused:
            self._outage.end("subscribing")
        if self._is_answered(channel):
            for waiter in self._waiters.pop(channel, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _is_answered(self, channel: str) -> bool:
        """Note one answer; tell whether it was the last that is to come."""
        left = self._unconfirmed.pop(channel, 1) - 1
        if left:
            self._unconfirmed[channel] = left
        return not left

    def _take_pong(self, said: bytes) -> None:
        if said == _ALL_DONE:
            self._pongs_to_come -= 1
            if self._pongs_to_come:
                return
            if self._was_up:
                self._on_restored()
            self._was_up = True
            early, self._early = self._early or (), None
            for channel, message in early:
                self._deliver(channel, message)
        elif said == b"idle" and self._pongs:
            pong = self._pongs.pop(0)
            if not pong.done():
                pong.set_result(None)

    def _take_error(self, error: hiredis.ReplyError) -> None:
        """Refuse those who wait for the oldest command; of several channels, ask for each by itself first."""
        if code_of(error) in _NOT_READY:
            self.leave(fault_of(error, self._where))
            return
        batch = self._batches.popleft() if self._batches else set()
        refused = [channel for channel in batch if self._is_answered(channel)]
        self._asked.difference_update(refused)
        if len(batch) > 1:
            self._ask_one_by_one([channel for channel in refused if channel in self._wanted])
            return
        fault = fault_of(error, self._where)
        words = f"a group was not subscribed to: {fault}"
        if fault.code in ("MOVED", "CLUSTERDOWN") and self._on_lost is not None:
            self._lost.update(self._wanted.intersection(refused))
            self._on_lost()
            self._refuse(refused, Moved(words))
        else:
            self._refused.update(self._wanted.intersection(refused))
            self._outage.begin("subscribing", fault)
            self._refuse(refused, EngineUnavailable(words))

    def _ask_one_by_one(self, channels: list[str]) -> None:
        """Find out which of them are refused."""
        if self._connection is not None:
            self._asked.update(channels)
            for channel in channels:
                self._send(self._connection, [channel])
            if self._pongs_to_come:
                self._ask_when_done(self._connection)

    def _refuse(self, channels: Iterable[str], error: Exception) -> None:
        for channel in channels:
            for waiter in self._waiters.pop(channel, ()):
                if not waiter.done():
                    waiter.set_exception(error)

    async def idle(self) -> None:
        """Wait until everything that was published before has been delivered."""
        if self._connection is not None:
            pong = asyncio.get_running_loop().create_future()
            self._pongs.append(pong)
            self._connection.write(pack("PING", "idle"))
            await pong

    # What the link tells (LinkUser)

    def on_up(self, connection: Connection) -> None:
        """Subscribe to everything again."""
        self._connection = connection
        self._early = deque(maxlen=EARLY) if self._was_up else None
        connection.begin(self._take)
        self._asked.clear()
        self._unconfirmed.clear()
        self._batches.clear()
        self._changed = dict.fromkeys(self._wanted)
        self._flush()
        self._pongs_to_come = 0
        self._ask_when_done(connection)

    def _ask_when_done(self, connection: Connection) -> None:
        self._pongs_to_come += 1
        connection.write(pack("PING", _ALL_DONE))

    def on_down(self, fault: Fault) -> None:
        """Those who wait wait for the next connection."""
        self._connection = None
        for pong in self._pongs:
            pong.cancel()
        self._pongs.clear()

    def probe(self, connection: Connection) -> None:
        """Ask."""
        connection.write(pack("PING", "there?"))

    def on_check(self, now: float) -> None:
        """Ask again for what was refused; ``subscribe`` has its own clock."""
        for channel in self._refused - self._unconfirmed.keys():
            self._change(channel)
