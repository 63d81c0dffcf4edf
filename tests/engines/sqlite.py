"""The SQLite engine in tests: several engines on one file, a clock that is moved by hand, and the death of a process.

Threads and sockets are real; time goes by for leases and lifetimes only when a test says so.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from antiphon.counters import Counters
from antiphon.engines.base import Engine
from antiphon.engines.sqlite.engine import SqliteEngine
from antiphon.engines.sqlite.options import Options

__all__ = ["LEASE", "Clock", "File", "kill", "run", "until"]

LEASE = 30.0


class Clock:
    """Seconds since 1970, as far as a test says."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class File:
    """A database; called, it opens one more engine on it."""

    def __init__(self, folder: Callable[[], Path], **options: Any) -> None:
        self.path = folder() / "streams.db"
        self.clock = Clock()
        self.engines: list[SqliteEngine] = []
        self.options = Options(str(self.path), **{"synchronous": "off", "lease": LEASE, **options})

    def __call__(self) -> SqliteEngine:
        engine = SqliteEngine(self.options, Counters(), clock=self.clock)
        self.engines.append(engine)
        return engine

    async def settled(self) -> None:
        """Wait until nothing is under way in any engine, nor between them."""
        await until(lambda: not any(is_busy(engine) for engine in self.engines))
        await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, and let each engine look as often as it would have."""
        steps = min(max(round(seconds / (LEASE / 4)), 1), 40)
        for _ in range(steps):
            self.clock.now += seconds / steps
            for engine in self.engines:
                if engine._looking is not None:
                    await engine.look()
        await self.settled()


def is_busy(engine: SqliteEngine) -> bool:
    """Tell whether something is under way from or to an engine."""
    peers, queues = engine._peers, engine._queues
    if engine._under_way or engine._tasks or queues._returning or queues._takers._asking:
        return True
    if peers is None:
        return False
    return any(_is_busy(*link.unread) for link in peers.links)


def _is_busy(unsent: int, socket: Any) -> bool:
    if unsent or socket is None or socket.fileno() < 0:
        return bool(unsent)
    (unread,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.FIONREAD, b"\0" * 4))
    return bool(unread)


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until ``condition`` holds, however busy the machine is; fail where it never does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    pause = 0.0
    while not condition():
        assert loop.time() < deadline, "the condition never came to hold"
        await asyncio.sleep(pause)
        pause = min(pause + 0.0001, 0.01)


async def kill(engine: Engine) -> None:
    """End an engine as SIGKILL ends its process: what it declared stays, and nobody is told."""
    assert isinstance(engine, SqliteEngine)
    assert engine._hearing is not None
    assert engine._peers is not None
    engine._hearing.stop()
    engine._peers.abort()
    await engine._close()


def run(main: Coroutine[Any, Any, None], new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
    """Run ``main``, and fail for tasks that were left behind, and callbacks that raised."""
    faults: list[str] = []

    async def strictly() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: faults.append(f"{context['message']} {context}"))
        await main
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks, f"tasks were left behind: {tasks}"

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(strictly())
    assert not faults, faults
