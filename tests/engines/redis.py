"""The Redis engine in tests: several engines on one server whose clock is moved by hand, and the death of a process."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from antiphon.counters import Counters
from antiphon.engines.base import Engine
from antiphon.engines.redis.engine import RedisEngine
from antiphon.engines.redis.options import Options

from ..integration.redis_server import MovedClock, RedisCluster, RedisServer, new_folder
from .sqlite import run, until

__all__ = ["LEASE", "Database", "kill", "run_on_uvloop", "shared_cluster", "shared_server"]

LEASE = 30.0

_numbers = itertools.count(1)


@functools.cache
def shared_server() -> tuple[RedisServer, MovedClock]:
    """Return the server that all cases share, each with a prefix of its own."""
    folder = new_folder("antiphon-redis-")
    clock = MovedClock(folder)
    server = RedisServer(folder, clock=clock)
    atexit.register(server.kill)
    return server, clock


@functools.cache
def shared_cluster() -> tuple[RedisCluster, MovedClock]:
    """Return the cluster that all cases share."""
    folder = new_folder("antiphon-redis-")
    clock = MovedClock(folder)
    cluster = RedisCluster(folder, clock=clock)
    atexit.register(cluster.__exit__)
    return cluster, clock


class Database:
    """A part of the shared server, or cluster; called, it opens one more engine on it."""

    def __init__(self, folder: Callable[[], Path] | None = None, *, is_cluster: bool = False, **options: Any) -> None:
        if is_cluster:
            cluster, self.clock = shared_cluster()
            servers = cluster.servers
        else:
            server, self.clock = shared_server()
            servers = [server]
        self.server = servers[0]
        for each in servers:
            each.call("FLUSHALL")
        self.engines: list[RedisEngine] = []
        self.options = Options(
            tuple((each.host, each.port) for each in servers),
            is_cluster=is_cluster,
            **{"prefix": f"test{next(_numbers)}", "lease": LEASE, "timeout": 20.0, **options},
        )

    def __call__(self) -> RedisEngine:
        engine = RedisEngine(self.options, Counters())
        self.engines.append(engine)
        return engine

    async def settled(self) -> None:
        """Wait until every engine has been answered, and has heard what was published until then."""
        clients = [engine._client for engine in self.engines if engine._client is not None]
        await until(lambda: all(client.pipeline.is_idle for client in clients))
        for client in clients:
            await client.subscription.idle()
        await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        """Move the server's clock, and let each engine beat as often as it would have."""
        steps = min(max(round(seconds / (LEASE / 4)), 1), 40)
        for _ in range(steps):
            self.clock.move(seconds / steps)
            for engine in self.engines:
                if engine._beating is not None:
                    await engine.beat()
        await self.settled()


def run_on_uvloop(main: Coroutine[Any, Any, None]) -> None:
    """Run a case on the loop that servers use."""
    run(main, uvloop.new_event_loop)


async def kill(engine: Engine) -> None:
    """End an engine as SIGKILL ends its process: what it declared stays, and nobody is told."""
    assert isinstance(engine, RedisEngine)
    await engine._close()
