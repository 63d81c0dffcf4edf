"""The processes that serve, by what the server prints of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections import Counter

from tests.integration.servers import PATIENCE, Server

__all__ = ["Workers"]

_STARTED = re.compile(r"Started server process \[(\d+)\]")
_READY = "Application startup complete"
_DIED = re.compile(r"worker \[(\d+)\] died")
#: How often the port is asked until everyone has answered: the kernel chooses who does.
_TRIES = 500


class Workers:
    """Who lives, and since when others do not."""

    def __init__(self, server: Server, count: int) -> None:
        self._server = server
        self._count = count
        self.alive: list[int] = []
        self.died_at: dict[int, float] = {}
        """When, by the loop's clock."""

    def look(self) -> None:
        """Read what the server has printed."""
        log = self._server.log()
        now = asyncio.get_running_loop().time()
        for pid in map(int, _DIED.findall(log)):
            self.died_at.setdefault(pid, now)
        self.alive = [pid for pid in map(int, _STARTED.findall(log)) if pid not in self.died_at]

    def nth(self, place: int) -> int:
        """Return one that lives; of two places side by side not the same, where there are two."""
        self.look()
        return self.alive[place % len(self.alive)] if self.alive else 0

    async def complete(self) -> None:
        """Wait until as many serve as should."""
        async with asyncio.timeout(PATIENCE * 2):
            while not self._is_complete():
                await asyncio.sleep(0.05)

    def _is_complete(self) -> bool:
        self.look()
        return len(self.alive) == self._count and self._server.log().count(_READY) == self._count + len(self.died_at)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to one of them, unless it is gone."""
        if number == signal.SIGKILL:
            self.died_at[pid] = asyncio.get_running_loop().time()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        self.look()

    async def stats(self) -> Counter[str]:
        """Return the sums of the counters of those who live."""
        found: dict[int, Counter[str]] = {}
        for _ in range(_TRIES):
            answer = Counter((await asyncio.to_thread(self._server.get, "/worker")).json())
            found[answer.pop("worker")] = answer
            if len(found) == self._count:
                return sum(found.values(), Counter())
        raise AssertionError(f"of {self.alive} only {sorted(found)} answer")
