"""An engine on Redis as another process has it, and what it hears while servers come and go."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from antiphon.counters import Counters
from antiphon.engines import open_engine
from antiphon.exceptions import EngineUnavailable
from antiphon.types import Position, Publishing, Retention

from ..engines.contract import Heard

__all__ = ["RETENTION", "Process"]

RETENTION = Retention(size=10_000, lifetime=3600, position_lifetime=7200, idempotency_window=600)


class Process(Heard):
    """The engine of a URL, whose options may be others."""

    def __init__(self, url: str, **options: float | str) -> None:
        super().__init__()
        self.counters = Counters()
        query: dict[str, float | str] = {"timeout": 20, "lease": 20, **options}
        self.engine = open_engine(
            f"{url}?{'&'.join(f'{name}={value}' for name, value in query.items())}", self.counters
        )
        self.losses = 0

    def on_continuity_lost(self) -> None:
        self.losses += 1

    @property
    def newest(self) -> Position | None:
        """What was heard last."""
        return self.publications[-1][1].position if self.publications else None

    async def publish(self, group: str = "a", key: str = "") -> Position:
        """Publish at once, or not at all."""
        return await self.engine.publish(group, b"1", "", Publishing(RETENTION, key))

    async def publish_at_last(self, group: str) -> Position:
        """Publish as soon as that can be done."""
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(EngineUnavailable):
                    return await self.publish(group)

    async def kept(self, group: str = "a") -> list[int]:
        """Return the offsets that are kept."""
        return [each.offset for each in (await self.engine.history(group, RETENTION)).publications]

    async def sees(self, group: str, present: dict[str, Any]) -> None:
        """Wait until these are present."""
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(EngineUnavailable):
                    if await self.engine.presence(group) == present:
                        return
                await asyncio.sleep(0.01)
