"""Servers that know nothing of each other, and share the groups: the name of a group says which one has it.

A name has a slot, as in a cluster, and the servers' addresses say which of them has the slot (``slots``).

Each server is as if it were alone: it has its own list of the processes that live, and their leases. What belongs to
no group, messages for one process or all, is heard from every server and sent over one of those that answer.

Laws, beside those of ``servers``:
- who has a group is the same in every process that names the same servers, in whatever order;
- a server that is away takes its own groups with it, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from antiphon.counters import Counters
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.keys import Keys, is_of_group
from antiphon.engines.redis.moving import settle
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.presences import Presences
from antiphon.engines.redis.servers import Pipelines, Servers
from antiphon.engines.redis.slots import name_of, owners_of, slot_of
from antiphon.exceptions import EngineError

__all__ = ["Shards"]

logger = logging.getLogger("antiphon.engines")


class Shards(Servers):
    """The servers that the URL names."""

    def __init__(
        self,
        options: Options,
        counters: Counters,
        deliver: Callable[[bytes, bytes], None],
        on_restored: Callable[[], None],
    ) -> None:
        super().__init__(options, counters, deliver, on_restored)
        self._keys = Keys(options.prefix, options.db)
        self._names = {self.add(address): name_of(address) for address in options.addresses}
        by_name = {name: node for node, name in self._names.items()}
        self._owners = [by_name[name] for name in owners_of(tuple(by_name))]
        """Who has each slot."""
        self._presences: Presences | None = None
        self._has_started = False
        self._settling: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self.pipeline = Pipelines(self)
        self.subscription = _Subscriptions(self)

    async def start(self, channels: Iterable[str]) -> None:
        """Connect, and subscribe to ``channels`` at each; raise ``Fault``."""
        channels = list(channels)
        await self._begin([node.start(channels) for node in self.nodes.values()])
        self._has_started = True
        await self._settle()

    @property
    def servers(self) -> list[Client]:
        """All of them."""
        return list(self.nodes.values())

    @property
    def independent(self) -> list[Client]:
        """Those that are there: each has settings of its own."""
        return [node for node in self.nodes.values() if node.pipeline.is_connected]

    def node_of(self, key: str) -> Client:
        """Return the server that has a key or a channel; of what each has, one that is there."""
        node = self._owners[slot_of(key)]
        if is_of_group(key) or node.pipeline.is_connected:
            return node
        return next(iter(self.independent), node)

    def presence(self, keys: Keys, process: str, lease: float) -> Presences:
        """Return who is in which group; it ends with the connections."""
        self._presences = Presences(self.servers, self.node_of, keys, process, lease)
        return self._presences

    def _connected(self, node: Client) -> None:
        if self._presences is not None:
            self._presences.connected_to(node)
        super()._connected(node)
        if self._has_started:
            settling = asyncio.get_running_loop().create_task(self._settle())
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)

    async def _settle(self) -> None:
        """Let the servers that are there forget the groups that another one has."""
        async with self._one_at_a_time:
            there = {name: node.pipeline for node, name in self._names.items() if node.pipeline.is_connected}
            try:
                change = await settle(there, self._names.values(), self._keys)
            except EngineError:
                return  # it has been told, and there will be another connection
        if change.before:
            words = "%s: before, the list was %s. %d groups that have moved begin anew; no process may use the old list"
            logger.warning(words, self.where, " or ".join(change.before), change.dropped)

    async def stop(self) -> None:
        """Close all connections."""
        for settling in self._settling:
            settling.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)
        presences, self._presences = self._presences, None
        if presences is not None:
            await presences.stop()
        await super().stop()


class _Subscriptions:
    """What looks like one subscription."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def subscribe(self, channel: str) -> None:
        """As ``Subscription.subscribe``."""
        await self._shards.node_of(channel).subscription.subscribe(channel)

    def unsubscribe(self, channel: str) -> None:
        """As ``Subscription.unsubscribe``."""
        self._shards.node_of(channel).subscription.unsubscribe(channel)

    async def idle(self) -> None:
        """As ``Subscription.idle``."""
        for node in self._shards.servers:
            await node.subscription.idle()
