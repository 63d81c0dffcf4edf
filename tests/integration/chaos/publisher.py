"""Publishes: many small batches and some large ones, with events in between, and keeps the ledger."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from antiphon.types import Position
from tests.integration.clients import Client, connect
from tests.integration.servers import PATIENCE, Server

from .ledger import Ledger
from .plan import BY_NAME, GROUPS

__all__ = ["Publisher"]


class Publisher:
    """One connection to the application, straight to the server."""

    def __init__(self, client: Client, ledger: Ledger, chance: random.Random) -> None:
        self._client = client
        self._ledger = ledger
        self._chance = chance
        self._lock = asyncio.Lock()
        self.events = 0

    @classmethod
    async def open(cls, server: Server, ledger: Ledger, chance: random.Random) -> Publisher:
        """Connect."""
        return cls(await connect(server, "/publisher", max_size=None), ledger, chance)

    async def run(self, publications: int, seconds: float) -> None:
        """Publish so many over so many seconds, or as fast as it goes where that is slower."""
        loop = asyncio.get_running_loop()
        begun, first = loop.time(), len(self._ledger)
        while (done := len(self._ledger) - first) < publications:
            ahead = begun + seconds * done / publications - loop.time()
            if ahead > 0:
                await asyncio.sleep(ahead)
            is_burst = self._chance.random() < 0.04
            count = self._chance.randint(60, 250) if is_burst else self._chance.randint(1, 8)
            group = self._chance.choice(GROUPS).name
            await self.publish(group, min(count, publications - done))

    async def publish(self, group: str, count: int) -> None:
        """Publish a batch, with or without events ahead, in one turn of the server's loop or in several."""
        event = self._chance.choice(["", "", "chaos.event", "chaos.shared"])
        if event == "chaos.shared" and BY_NAME[group].drops:
            event = ""  # it would count among the messages that were left out
        turn = self._chance.choice([1, 2, 7, 1000])
        self.events += bool(event)
        answer = await self._ask({"group": group, "count": count, "turn": turn, "event": event})
        positions = [Position(*position) for position in answer["positions"]]
        self._ledger.published(group, answer["first"], positions)

    async def remove_history(self, group: str) -> None:
        """Let the application remove what is kept of a group."""
        self._ledger.removed(group, (await self._ask({"remove": group}))["n"])

    async def _ask(self, command: dict[str, Any]) -> Any:
        async with self._lock, asyncio.timeout(PATIENCE):
            await self._client.websocket.send(json.dumps(command))
            return json.loads(await self._client.websocket.recv())

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()
