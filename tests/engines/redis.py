"""The Redis engine in tests: several engines on one server whose clock is moved by hand, and the death of a process."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from antiphon.counters import Counters
from antiphon.engines.base import Engine
from antiphon.engines.redis.engine import RedisEngine
from antiphon.engines.redis.options import Options

from ..integration.redis_server import MovedClock, RedisCluster, RedisServer, Sentinels, new_folder
from .sqlite import run, until

__all__ = [
    "LEASE",
    "Database",
    "kill",
    "run_on_uvloop",
    "shared_cluster",
    "shared_sentinels",
    "shared_server",
    "shared_shards",
]

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


@functools.cache
def shared_sentinels() -> tuple[Sentinels, MovedClock]:
    """Return the master, replica and sentinels that all cases share; nobody takes over from anybody."""
    folder = new_folder("antiphon-redis-")
    clock = MovedClock(folder)
    sentinels = Sentinels(folder, clock=clock, patience=3_600_000)
    atexit.register(sentinels.__exit__)
    return sentinels, clock


@functools.cache
def shared_shards() -> tuple[list[RedisServer], MovedClock]:
    """Return servers that know nothing of each other, which all cases share."""
    folders = [new_folder("antiphon-redis-") for _ in range(3)]
    clock = MovedClock(folders[0])
    servers = [RedisServer(folder, clock=clock) for folder in folders]
    for server in servers:
        atexit.register(server.kill)
    return servers, clock


class Layout(NamedTuple):
    """How the servers of a URL belong together."""

    servers: list[RedisServer]
    """Those that have data."""
    clock: MovedClock
    named: list[RedisServer]
    """Those that the URL names."""
    options: dict[str, Any]


def _one() -> Layout:
    server, clock = shared_server()
    return Layout([server], clock, [server], {})


def _sentinels() -> Layout:
    sentinels, clock = shared_sentinels()
    return Layout([sentinels.master], clock, sentinels.sentinels, {"master": "talk"})


def _cluster() -> Layout:
    cluster, clock = shared_cluster()
    return Layout(cluster.servers, clock, cluster.servers, {"is_cluster": True})


def _shards() -> Layout:
    servers, clock = shared_shards()
    return Layout(servers, clock, servers, {"is_shards": True})


_LAYOUTS = {"one": _one, "sentinels": _sentinels, "cluster": _cluster, "shards": _shards}


class Database:
    """A part of what all cases share, one server or several; called, it opens one more engine on it."""

    def __init__(self, folder: Callable[[], Path] | None = None, *, layout: str = "one", **options: Any) -> None:
        servers, self.clock, named, kind = _LAYOUTS[layout]()
        self.server = servers[0]
        for each in servers:
            each.call("FLUSHALL")
        self.engines: list[RedisEngine] = []
        self.options = Options(
            tuple((each.host, each.port) for each in named),
            **{"prefix": f"test{next(_numbers)}", "lease": LEASE, "timeout": 20.0, **kind, **options},
        )

    def __call__(self) -> RedisEngine:
        engine = RedisEngine(self.options, Counters())
        self.engines.append(engine)
        return engine

    async def settled(self) -> None:
        """Wait until every engine has been answered, and has heard what was published until then."""
        await asyncio.sleep(0)  # what was declared in this round goes out
        clients = [engine._client for engine in self.engines if engine._client is not None]
        queues = [engine._queues for engine in self.engines if engine._queues is not None]
        await until(lambda: not any(each._takers._asking for each in queues))
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
