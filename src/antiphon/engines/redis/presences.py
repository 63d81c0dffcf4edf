"""Who of this process is in which group, where the groups are at servers that know nothing of each other.

Laws:
- each server has its own list of the processes, and a lease that is renewed there;
- a server that is away, or slow, keeps no lease at another from being renewed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable

from antiphon.engines.redis.client import Client
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.presence import Presence
from antiphon.exceptions import EngineError
from antiphon.types import ClientInfo

__all__ = ["Presences"]

logger = logging.getLogger("antiphon.engines")


class Presences:
    """What looks like one ``Presence``: one for each server, with a lease of its own."""

    def __init__(
        self, nodes: Iterable[Client], node_of: Callable[[str], Client], keys: Keys, process: str, lease: float
    ) -> None:
        self._node_of = node_of
        self._keys = keys
        self._patience = lease / 6
        self._of = {node: Presence(node.pipeline, keys, process, lease) for node in nodes}
        self._beats: dict[Client, asyncio.Task[None]] = {}

    def _at(self, group: str) -> Presence:
        return self._of[self._node_of(self._keys.presence(group))]

    @property
    def _there(self) -> list[Client]:
        return [node for node in self._of if node.pipeline.is_connected]

    def enter(self, group: str, info: ClientInfo, *, announced: bool) -> None:
        """As ``Presence.enter``."""
        self._at(group).enter(group, info, announced=announced)

    def leave(self, group: str, client: str) -> None:
        """As ``Presence.leave``."""
        self._at(group).leave(group, client)

    async def read(self, group: str) -> dict[str, ClientInfo]:
        """As ``Presence.read``."""
        return await self._at(group).read(group)

    def connected(self) -> None:
        """As ``Presence.connected``; of whom it is true has been told by ``connected_to``."""

    def connected_to(self, node: Client) -> None:
        """Take it that there is a new connection to a server."""
        self._of[node].connected()

    async def beat(self) -> None:
        """Beat at each server that is there, and wait for those that answer soon; raise where none has done it."""
        for node in self._there:
            if node not in self._beats:
                beat = self._beats[node] = asyncio.get_running_loop().create_task(self._of[node].beat())
                beat.add_done_callback(functools.partial(self._beaten, node))
        beats = list(self._beats.values())
        if beats:
            done, _ = await asyncio.wait(beats, timeout=self._patience)
            failed = [beat for beat in done if beat.exception() is not None]
            if len(failed) == len(beats):
                failed[0].result()

    def _beaten(self, node: Client, beat: asyncio.Task[None]) -> None:
        self._beats.pop(node, None)
        error = None if beat.cancelled() else beat.exception()
        if error is not None and not isinstance(error, EngineError):
            logger.error("the beat of the engine of %s failed", node.where, exc_info=error)

    async def end(self) -> None:
        """As ``Presence.end``, at each server that is there."""
        await asyncio.gather(*(self._of[node].end() for node in self._there), return_exceptions=True)

    async def stop(self) -> None:
        """End what is under way."""
        beats = list(self._beats.values())
        for beat in beats:
            beat.cancel()
        await asyncio.gather(*beats, return_exceptions=True)
