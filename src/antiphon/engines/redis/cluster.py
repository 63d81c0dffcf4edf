"""Several servers that share the groups: which has what, and one client for each.

A group's keys and channel are in one slot, and each slot at one server. ``Cluster`` looks like ``Client``: what is
called goes to the server that has the first key, or the channel.

Laws:
- commands for one group go over one connection, in the order of the calls;
- what a server does not have any more (``MOVED``, ``ASK``) is sent to the one that has it;
- where a channel is at another server now it is subscribed to there, and then it is told that something may have been
  missed.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis

from antiphon.counters import Counters
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.connection import dial
from antiphon.engines.redis.faults import Fault, fault_of_connection
from antiphon.engines.redis.options import Address, Options
from antiphon.engines.redis.pipeline import Call
from antiphon.engines.redis.scripts import SHARDED, Script, sharded
from antiphon.engines.redis.subscription import Moved
from antiphon.exceptions import EngineUnavailable

__all__ = ["Cluster", "slot_of"]

logger = logging.getLogger("antiphon.engines")

SLOTS = 16384
#: Seconds between two looks at which server has what: while all is well, and while something is missing.
LOOK, LOOK_AGAIN = 15.0, 0.25


def slot_of(key: str) -> int:
    """Return the slot of a key: that of what is between its braces, if anything is (Redis cluster specification)."""
    _, brace, behind = key.partition("{")
    tag, closed, _ = behind.partition("}")
    return binascii.crc_hqx((tag if brace and closed and tag else key).encode(), 0) % SLOTS


class Cluster:
    """The servers of a cluster; the arguments are those of ``Client``."""

    def __init__(
        self,
        options: Options,
        counters: Counters,
        deliver: Callable[[bytes, bytes], None],
        on_restored: Callable[[], None],
    ) -> None:
        self._options = options
        self._counters = counters
        self._deliver = deliver
        self.on_restored = on_restored
        self.where = options.where
        self.nodes: dict[Address, Client] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._unnamed: set[Address] = set()
        """Those that had nothing any more, as far as the last one knew that was asked."""
        self._look_now = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._moving: set[asyncio.Task[None]] = set()
        self.pipeline = _Pipelines(self)
        self.subscription = _Subscriptions(self, options.timeout)

    async def start(self, channels: Iterable[str]) -> None:
        """Find out which server has what, connect, and subscribe to ``channels``; raise ``Fault``."""
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._look()
        except TimeoutError:
            raise Fault(self.where, f"no answer within {self._options.timeout:g} s") from None
        await asyncio.gather(*(node.settled() for node in self.nodes.values()))
        self._looking = asyncio.get_running_loop().create_task(self._look_again_and_again())
        try:
            await asyncio.gather(*(self.subscription.subscribe(channel) for channel in channels))
        except EngineUnavailable as error:
            raise Fault(self.where, str(error)) from error

    async def stop(self) -> None:
        """Close all connections."""
        tasks = [*self._moving, *([self._looking] if self._looking is not None else [])]
        self._looking = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        nodes, self.nodes = list(self.nodes.values()), {}
        for node in nodes:
            await node.stop()
        self.subscription.clear()

    # Who has what

    def node_of(self, key: str) -> Client:
        """Return the server that has a key or a channel; raise ``EngineUnavailable`` where nobody has."""
        owner = self._owners[slot_of(key)]
        node = self.nodes.get(owner) if owner is not None else None
        if node is None:
            self._look_now.set()
            raise EngineUnavailable(f"{self.where}: no server of the cluster has slot {slot_of(key)} at present")
        return node

    def moved(self, slot: int, address: Address) -> Client:
        """Take it that a slot is at another server now, and return that."""
        self._owners[slot] = address
        self._look_now.set()
        return self.node_at(address)

    def node_at(self, address: Address) -> Client:
        """Return the server at an address."""
        node = self.nodes.get(address)
        if node is None:
            options = dataclasses.replace(self._options, addresses=(address,))
            node = self.nodes[address] = Client(options, self._counters, self._deliver, self.on_restored)
            node.pipeline.on_redirect = self.redirect
            node.pipeline.on_connected = self.pipeline.connected
            node.pipeline.on_lost = self._look_now.set
            node.subscription.shard(self._look_now.set)
            node.pipeline.scripts = SHARDED
            node.begin()
            node.pipeline.is_ending = self.pipeline.is_ending
        return node

    def redirect(self, call: Call, error: str) -> None:
        """Send a call to the server that an error ``MOVED slot host:port`` or ``ASK slot host:port`` names."""
        kind, slot, place = error.split(" ")[:3]
        host, _, port = place.rpartition(":")
        address = host or self._options.addresses[0][0], int(port)
        node = self.moved(int(slot), address) if kind == "MOVED" else self.node_at(address)
        node.pipeline.take_over(call, is_asking=kind == "ASK")

    def look_soon(self) -> None:
        """See to it that it is looked soon which server has what."""
        self._look_now.set()

    async def _look_again_and_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK if self._is_well else LOOK_AGAIN):
                    await self._look_now.wait()
            self._look_now.clear()
            try:
                await self._look()
            except Fault:
                pass  # it is tried again, and each connection tells by itself
            except Exception:
                logger.exception("what %s says of itself is not understood", self.where)
            await asyncio.sleep(LOOK_AGAIN)

    @property
    def _is_well(self) -> bool:
        is_connected = all(node.pipeline.is_connected for node in self.nodes.values())
        return is_connected and not self._unnamed and not self.subscription.is_torn

    async def _look(self) -> None:
        """Ask which server has what, and go by it."""
        owners = await self._ask()
        self._owners = owners
        masters = {owner for owner in owners if owner is not None}
        for address in masters:
            self.node_at(address)
        unnamed = self.nodes.keys() - masters
        for address in unnamed & self._unnamed:  # twice: who was asked may be behind the others
            self._start(self._leave(self.nodes.pop(address)))
        self._unnamed = unnamed & self.nodes.keys()
        if self.subscription.follow():
            self._start(self.subscription.restore())

    async def _leave(self, node: Client) -> None:
        """Let another server do what waits for one that has nothing any more."""
        for call in node.pipeline.hand_over():
            try:
                self.node_of(call.key).pipeline.take_over(call)
            except EngineUnavailable as error:
                if not call.future.done():
                    call.future.set_exception(error)
        await node.stop()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)

    async def _ask(self) -> list[Address | None]:
        faults = []
        for address in dict.fromkeys([*self.nodes, *self._options.addresses]):
            try:
                async with asyncio.timeout(min(1.0, self._options.timeout)):
                    return await self._ask_node(address)
            except (OSError, TimeoutError, hiredis.ReplyError) as error:
                faults.append(fault_of_connection(error, f"Redis at {address[0]}:{address[1]}", 1.0))
        raise next((fault for fault in faults if fault.is_settled), None) or Fault(
            self.where, "; ".join(map(str, faults))
        )

    async def _ask_node(self, address: Address) -> list[Address | None]:
        connection = await dial(self._options, address, user=self._options.user, password=self._options.password)
        try:
            found = await connection.ask("CLUSTER", "SLOTS")
        finally:
            connection.abort()
        owners: list[Address | None] = [None] * SLOTS
        for first, last, (host, port, *_), *_ in found:
            owner = (host.decode() if host not in (None, b"", b"?") else address[0]), int(port)
            owners[first : last + 1] = [owner] * (last + 1 - first)
        return owners


class _Pipelines:
    """What looks like one pipeline."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._is_ending = False
        self.on_connected: Callable[[], None] | None = None

    def call(self, verb: str, *words: str | bytes | int, is_repeatable: bool = False) -> asyncio.Future[Any]:
        """As ``Pipeline.call``; the second word says where."""
        if words[0] == "PUBLISH":
            words = ("SPUBLISH", *words[1:])
        try:
            node = self._cluster.node_of(str(words[1]))
        except EngineUnavailable as error:
            return _refused(error)
        return node.pipeline.call(verb, *words, is_repeatable=is_repeatable)

    def run(
        self, script: Script, keys: Sequence[str], *arguments: str | bytes | int, is_repeatable: bool = False
    ) -> asyncio.Future[Any]:
        """As ``Pipeline.run``; the first key says where."""
        try:
            node = self._cluster.node_of(keys[0])
        except EngineUnavailable as error:
            return _refused(error)
        return node.pipeline.run(sharded(script), keys, *arguments, is_repeatable=is_repeatable)

    def note_run(self, key: str, run: str) -> None:
        """As ``Pipeline.note_run``."""
        with contextlib.suppress(EngineUnavailable):
            self._cluster.node_of(key).pipeline.note_run(key, run)

    def connected(self) -> None:
        """Take it that a server was connected to."""
        if self.on_connected is not None:
            self.on_connected()

    @property
    def is_connected(self) -> bool:
        """Whether there is a server."""
        return any(node.pipeline.is_connected for node in self._cluster.nodes.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return all(node.pipeline.is_idle for node in self._cluster.nodes.values())

    @property
    def is_ending(self) -> bool:
        """Whether nothing is to wait for another connection."""
        return self._is_ending

    @is_ending.setter
    def is_ending(self, is_ending: bool) -> None:
        self._is_ending = is_ending
        for node in self._cluster.nodes.values():
            node.pipeline.is_ending = is_ending


class _Subscriptions:
    """What looks like one subscription."""

    def __init__(self, cluster: Cluster, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._wanted: dict[str, Client] = {}
        """The channels of interest, and where they are."""
        self._torn: set[str] = set()
        """Those that are to be subscribed to anew."""
        self._is_restoring = False

    async def subscribe(self, channel: str) -> None:
        """As ``Subscription.subscribe``."""
        self._wanted[channel] = self._cluster.node_of(channel)
        await self._follow_to(channel)

    async def _follow_to(self, channel: str) -> None:
        """Subscribe at the server that has the channel, until one agrees that it does."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        while channel in self._wanted:
            node = self._wanted[channel] = self._cluster.node_of(channel)
            try:
                return await node.subscription.subscribe(channel)
            except Moved:
                node.subscription.unsubscribe(channel)
                if asyncio.get_running_loop().time() > deadline:
                    raise
                self._cluster.look_soon()
                await asyncio.sleep(LOOK_AGAIN)

    def unsubscribe(self, channel: str) -> None:
        """As ``Subscription.unsubscribe``."""
        self._torn.discard(channel)
        node = self._wanted.pop(channel, None)
        if node is not None:
            node.subscription.unsubscribe(channel)

    @property
    def is_torn(self) -> bool:
        """Whether something is to be subscribed to anew."""
        return bool(self._torn)

    def follow(self) -> bool:
        """Note which channels are elsewhere now; tell whether they are to be restored."""
        for channel, node in self._wanted.items():
            owner = None
            with contextlib.suppress(EngineUnavailable):
                owner = self._cluster.node_of(channel)
            if owner is not None and (owner is not node or node.subscription.has_lost(channel)):
                node.subscription.unsubscribe(channel)
                self._torn.add(channel)
        return bool(self._torn) and not self._is_restoring

    async def restore(self) -> None:
        """Subscribe to them where they are, and tell that something may have been missed."""
        self._is_restoring = True
        try:
            torn = list(self._torn)
            done = await asyncio.gather(*(self._follow_to(channel) for channel in torn), return_exceptions=True)
        finally:
            self._is_restoring = False
        restored = [channel for channel, error in zip(torn, done, strict=True) if error is None]
        self._torn.difference_update(restored)
        if restored:
            self._cluster.on_restored()

    def clear(self) -> None:
        """Forget all."""
        self._wanted.clear()
        self._torn.clear()

    async def idle(self) -> None:
        """As ``Subscription.idle``."""
        for node in list(self._cluster.nodes.values()):
            await node.subscription.idle()


def _refused(error: EngineUnavailable) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
