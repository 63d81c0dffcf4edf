"""Several servers that look like one: what a cluster and shards have in common.

Laws:
- commands for one group go over one connection, in the order of the calls;
- an engine starts with those that answer; the others are tried again and again, and what they have is refused until
  they answer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from antiphon.counters import Counters
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.faults import Fault, all_of
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.options import Address, Options
from antiphon.engines.redis.presence import Presence
from antiphon.engines.redis.presences import Presences
from antiphon.engines.redis.scripts import Script
from antiphon.exceptions import EngineUnavailable

__all__ = ["Channels", "Pipelines", "Servers"]

logger = logging.getLogger("antiphon.engines")

#: Seconds between two reminders of a server that has not answered since the start.
REMIND = 60.0


class Channels(Protocol):
    """What hears: one subscription (``Subscription``), or what looks like it."""

    async def subscribe(self, channel: str) -> None:
        """Subscribe; when this returns what is published from now on is delivered. Raises ``EngineUnavailable``."""

    def unsubscribe(self, channel: str) -> None:
        """Be no longer interested."""

    async def idle(self) -> None:
        """Wait until everything that was published before has been delivered."""


class Servers(ABC):
    """A client for each of several servers; looks like ``Client``, and takes the same arguments."""

    pipeline: Pipelines
    subscription: Channels

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
        self._unheard: set[Client] = set()
        """Those that have never answered."""
        self._reminding: asyncio.Task[None] | None = None

    @abstractmethod
    async def start(self, channels: Iterable[str]) -> None:
        """Connect, and subscribe to ``channels``; raise ``Fault`` where that can't be done."""

    @abstractmethod
    def node_of(self, key: str) -> Client:
        """Return the server that has a key or a channel; raise ``EngineUnavailable`` where nobody has."""

    @property
    @abstractmethod
    def servers(self) -> list[Client]:
        """The servers that have something."""

    @property
    def independent(self) -> Sequence[Client | Servers]:
        """As ``Client.independent``."""
        return [self]

    def presence(self, keys: Keys, process: str, lease: float) -> Presence | Presences:
        """As ``Client.presence``."""
        return Presence(self.pipeline, keys, process, lease)

    @property
    def is_whole(self) -> bool:
        """Whether all of them are there."""
        return all(node.pipeline.is_connected for node in self.nodes.values())

    def add(self, address: Address) -> Client:
        """Return a client for one more server; it does not connect yet."""
        options = dataclasses.replace(self._options, addresses=(address,), is_shards=False)
        node = self.nodes[address] = Client(options, self._counters, self._deliver, self.on_restored)
        node.pipeline.on_connected = functools.partial(self._connected, node)
        self._unheard.add(node)
        return node

    def _connected(self, node: Client) -> None:
        self._unheard.discard(node)
        if self.pipeline.on_connected is not None:
            self.pipeline.on_connected()

    async def _begin(self, starts: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Wait until each server has started or had its time; raise ``Fault`` where none has, or one never can."""
        done = await asyncio.gather(*starts, return_exceptions=True)
        faults = []
        for error in done:
            if isinstance(error, Fault) and not error.is_settled:
                faults.append(error)
            elif error is not None:
                raise error
        if len(faults) == len(done):
            raise all_of(faults, self.where)
        for fault in faults:
            logger.warning("%s. What it has is refused until it answers; the rest of %s is used", fault, self.where)
        self._reminding = asyncio.get_running_loop().create_task(self._remind())

    async def _remind(self) -> None:
        """Tell of those that have never answered: their names may be wrong, and nobody may have looked at the start."""
        while True:
            await asyncio.sleep(REMIND)
            for node in self._unheard & set(self.servers):
                self._counters.engine_outages += 1
                logger.warning(
                    "%s has not answered since the start: see that it is there, and that the engine's URL names it "
                    "rightly. Until it answers, the groups that it has are refused",
                    node.where,
                )

    async def stop(self) -> None:
        """Close all connections."""
        reminding, self._reminding = self._reminding, None
        if reminding is not None:
            reminding.cancel()
            await asyncio.gather(reminding, return_exceptions=True)
        nodes, self.nodes = list(self.nodes.values()), {}
        await asyncio.gather(*(node.stop() for node in nodes))
        self._unheard.clear()


class Pipelines:
    """What looks like one pipeline."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._is_ending = False
        self.on_connected: Callable[[], None] | None = None

    def call(self, verb: str, *words: str | bytes | int, is_repeatable: bool = False) -> asyncio.Future[Any]:
        """As ``Pipeline.call``; the second word says where."""
        try:
            node = self._servers.node_of(str(words[1]))
        except EngineUnavailable as error:
            return _refused(error)
        return node.pipeline.call(verb, *words, is_repeatable=is_repeatable)

    def run(
        self, script: Script, keys: Sequence[str], *arguments: str | bytes | int, is_repeatable: bool = False
    ) -> asyncio.Future[Any]:
        """As ``Pipeline.run``; the first key says where."""
        try:
            node = self._servers.node_of(keys[0])
        except EngineUnavailable as error:
            return _refused(error)
        return node.pipeline.run(script, keys, *arguments, is_repeatable=is_repeatable)

    def note_run(self, key: str, run: str) -> None:
        """As ``Pipeline.note_run``."""
        try:
            self._servers.node_of(key).pipeline.note_run(key, run)
        except EngineUnavailable:
            pass  # nobody has it

    @property
    def is_connected(self) -> bool:
        """Whether there is a server."""
        return any(node.pipeline.is_connected for node in self._servers.nodes.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return all(node.pipeline.is_idle for node in self._servers.nodes.values())

    @property
    def is_ending(self) -> bool:
        """Whether nothing is to wait for another connection."""
        return self._is_ending

    @is_ending.setter
    def is_ending(self, is_ending: bool) -> None:
        self._is_ending = is_ending
        for node in self._servers.nodes.values():
            node.pipeline.is_ending = is_ending


def _refused(error: EngineUnavailable) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
