"""The servers of a cluster: which has what, and one client for each.

A group's keys and channel are in one slot, and each slot at one server. ``Cluster`` looks like ``Client``: what is
called goes to the server that has the first key, or the channel.

Laws, beside those of ``servers``:
- what a server does not have any more (``MOVED``, ``ASK``) is sent to the one that has it;
- where a channel is at another server now it is subscribed to there, and then it is told that something may have been
  missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis

from antiphon.counters import Counters
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.connection import dial
from antiphon.engines.redis.faults import Fault, all_of, fault_of_connection
from antiphon.engines.redis.options import Address, Options
from antiphon.engines.redis.pipeline import Call
from antiphon.engines.redis.scripts import SHARDED, Script, sharded
from antiphon.engines.redis.servers import Pipelines, Servers
from antiphon.engines.redis.slots import SLOTS, slot_of
from antiphon.engines.redis.subscription import Moved
from antiphon.exceptions import EngineUnavailable

__all__ = ["Cluster"]

logger = logging.getLogger("antiphon.engines")

#: Seconds between two looks at which server has what: while all is well, and while something is missing.
LOOK, LOOK_AGAIN = 15.0, 0.25


class Cluster(Servers):
    """The servers of a cluster."""

    subscription: _Subscriptions

    def __init__(
        self,
        options: Options,
        counters: Counters,
        deliver: Callable[[bytes, bytes], None],
        on_restored: Callable[[], None],
    ) -> None:
        super().__init__(options, counters, deliver, on_restored)
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
        await self._begin([node.settled() for node in self.nodes.values()])
        self._looking = asyncio.get_running_loop().create_task(self._look_again_and_again())
        try:
            await asyncio.gather(*(self.subscription.start(channel) for channel in channels))
        except EngineUnavailable as error:
            raise Fault(self.where, str(error)) from error

    @property
    def servers(self) -> list[Client]:
        """The servers that have something."""
        return [node for address, node in self.nodes.items() if address not in self._unnamed]

    async def stop(self) -> None:
        """Close all connections."""
        tasks = [*self._moving, *([self._looking] if self._looking is not None else [])]
        self._looking = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().stop()
        self.subscription.clear()

    # Who has what

    def node_of(self, key: str) -> Client:
        """Return the server that has a key or a channel; raise ``EngineUnavailable`` where nobody has."""
        node = self.find(key)
        if node is None:
            self._look_now.set()
            raise EngineUnavailable(f"{self.where}: no server of the cluster has slot {slot_of(key)} at present")
        return node

    def find(self, key: str) -> Client | None:
        """Return the server that has a key or a channel, if any has."""
        owner = self._owners[slot_of(key)]
        return None if owner is None else self.nodes.get(owner)

    def moved(self, slot: int, address: Address) -> Client:
        """Take it that a slot is at another server now, and return that."""
        self._owners[slot] = address
        self._look_now.set()
        return self.node_at(address)

    def node_at(self, address: Address) -> Client:
        """Return the server at an address."""
        node = self.nodes.get(address)
        if node is None:
            node = self.add(address)
            node.pipeline.on_redirect = self.redirect
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
        return self.is_whole and not self._unnamed and not self.subscription.is_torn

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
        raise all_of(faults, self.where)

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


class _Pipelines(Pipelines):
    """What looks like one pipeline; its messages stay at the server that has the channel."""

    def call(self, verb: str, *words: str | bytes | int, is_repeatable: bool = False) -> asyncio.Future[Any]:
        """As ``Pipeline.call``."""
        if words[0] == "PUBLISH":
            words = ("SPUBLISH", *words[1:])
        return super().call(verb, *words, is_repeatable=is_repeatable)

    def run(
        self, script: Script, keys: Sequence[str], *arguments: str | bytes | int, is_repeatable: bool = False
    ) -> asyncio.Future[Any]:
        """As ``Pipeline.run``."""
        return super().run(sharded(script), keys, *arguments, is_repeatable=is_repeatable)


class _Subscriptions:
    """What looks like one subscription."""

    def __init__(self, cluster: Cluster, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._wanted: dict[str, Client | None] = {}
        """The channels of interest, and where they are."""
        self._torn: set[str] = set()
        """Those that are to be subscribed to anew."""
        self._is_restoring = False

    async def start(self, channel: str) -> None:
        """Subscribe, or do so as soon as there is a server that has the channel."""
        self._wanted[channel] = node = self._cluster.find(channel)
        if node is not None and node.pipeline.is_connected:
            await self._follow_to(channel)
        elif node is not None:
            node.subscription.want(channel)

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
            owner = self._cluster.find(channel)
            if owner is not None and (node is not owner or node.subscription.has_lost(channel)):
                if node is not None:
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
