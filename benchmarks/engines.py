"""What the benchmarks of engines share: one that runs, those who listen to it, and what is published."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from antiphon.engines import Engine, open_engine

__all__ = ["DATA", "OUTSTANDING", "Deaf", "Echo", "engine"]

DATA = b'{"text":"%s"}' % (b"x" * 89)
OUTSTANDING = 64


class Deaf:
    """A hub that does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Echo(Deaf):
    """Says back when it hears something, to measure the way from one process to another."""

    def on_publication(self, group: str, publication: Any) -> None:
        os.write(1, b"%d\n" % time.monotonic_ns())


@contextlib.asynccontextmanager
async def engine(url: str, events: Any = None, name: str = "bench") -> AsyncIterator[Engine]:
    """An engine that runs."""
    running = open_engine(url)
    await running.start(events or Deaf(), name)
    try:
        yield running
    finally:
        await running.stop()
