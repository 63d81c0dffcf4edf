"""What the Redis engine keeps costs in memory: ``python -m benchmarks.redis_memory``.

Everything is made by the engine itself, many of a kind in a server of its own, and the server's ``used_memory`` before
and after is divided by their number: keys, names, the tables they stand in and what the allocator rounds up are in it.
What groups and memberships cost in a process of antiphon is what Python has allocated for them (``tracemalloc``).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import gc
import platform
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import redis.asyncio as redis_py

import antiphon
from antiphon import AsyncJsonWebsocketConsumer
from antiphon.app import current_app
from antiphon.engines import Engine
from antiphon.testing import WebsocketCommunicator
from antiphon.types import ClientInfo, Publishing, Retention
from benchmarks.engines import engine
from benchmarks.redis_engine import server

__all__ = ["Cost", "in_process", "in_redis", "table"]

#: Nothing ends while it is measured.
LONG = 86_400.0
#: Calls that wait at the same time.
AT_ONCE = 200
#: How often memory has to be the same, and the seconds between two looks: connections give back what they have used,
#: and calls are forgotten, when they have been idle for a while.
SAME, LOOK = 3, 0.7
#: Bytes that count as the same.
NEARLY = 4096
#: Connections of the process that is measured.
CLIENTS = 10

Fill = Callable[[Engine], Awaitable[None]]


class Cost(NamedTuple):
    """What one of a kind takes, in bytes."""

    what: str
    bytes: float


class Case(NamedTuple):
    """How many of a kind are made, and how."""

    what: str
    number: int
    fill: Fill


def group(number: int) -> str:
    """Return a name of 13 bytes."""
    return f"room:{number:08d}"


async def all_of(calls: Iterable[Awaitable[object]]) -> None:
    """Wait for many calls, some at a time."""
    waiting: list[Awaitable[object]] = []
    for call in calls:
        waiting.append(call)
        if len(waiting) == AT_ONCE:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)


def publications(groups: int, each: int, size: int) -> Fill:
    """Return what publishes so many to each of so many groups, which keep them; ``size`` 0: which keep nothing."""
    publishing = Publishing(Retention(each if size else 0, LONG, LONG, 60))
    data = b'"%s"' % (b"x" * (max(size, 3) - 2))

    async def fill(engine: Engine) -> None:
        for _ in range(each):
            await all_of(engine.publish(group(number), data, "", publishing) for number in range(groups))

    return fill


def keyed(number: int) -> Fill:
    """Return what publishes with so many idempotency keys to a group that keeps nothing."""
    retention = Retention(0, 0, LONG, LONG)

    async def fill(engine: Engine) -> None:
        await all_of(engine.publish(group(0), b"1", "", Publishing(retention, f"key {n}")) for n in range(number))

    return fill


def present(groups: int, each: int) -> Fill:
    """Return what lets so many clients enter each of so many groups."""

    async def fill(engine: Engine) -> None:
        for number in range(groups):
            for client in range(each):
                id = f"{number:08d}-0000-4000-8000-{client:012d}"
                engine.enter(group(number), ClientInfo(f"{100_000 + client}", id))
            if number % AT_ONCE == 0:
                await engine.presence(group(number))  # behind what was entered
        await engine.presence(group(groups - 1))

    return fill


def subscribed(groups: int) -> Fill:
    """Return what subscribes to so many groups."""

    async def fill(engine: Engine) -> None:
        await all_of(engine.subscribe(group(number), Retention(10, LONG, LONG, 60)) for number in range(groups))

    return fill


def cases(scale: float) -> list[Case]:
    """Return what is measured: with ``scale`` 1 so many of each that the rest of the server is nothing beside them."""

    def some(number: int) -> int:
        return max(round(number * scale), 1)

    kept = [
        Case(
            f"a kept publication of {name}, {each} in each group",
            some(groups) * each,
            publications(some(groups), each, n),
        )
        for name, n, each, groups in (
            ("100 B", 100, 100, 1000),
            ("1 KB", 1000, 100, 500),
            ("100 B", 100, 1000, 100),
            ("1 KB", 1000, 1000, 50),
        )
    ]
    return [
        Case("a group: its position, nothing kept", some(50_000), publications(some(50_000), 1, 0)),
        Case("a group that keeps one publication of 100 B", some(20_000), publications(some(20_000), 1, 100)),
        *kept,
        Case("an idempotency key", some(50_000), keyed(some(50_000))),
        Case("a group with one client present", some(20_000), present(some(20_000), 1)),
        Case("a client present, 20 in each group", some(1000) * 20, present(some(1000), 20)),
        Case("a client present, 1000 in each group", some(20) * 1000, present(some(20), 1000)),
    ]


# In Redis


@contextlib.asynccontextmanager
async def asking(url: str) -> AsyncIterator[redis_py.Redis]:
    """A connection for questions."""
    parts = urlsplit(url)
    client = redis_py.Redis(host=parts.hostname or "", port=parts.port or 6379, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


async def settled(look: Callable[[], Awaitable[int]]) -> int:
    """Return a number of bytes once it does not change any more."""
    seen: list[int] = []
    while True:
        seen.append(await look())
        if len(seen) >= SAME and max(seen[-SAME:]) - min(seen[-SAME:]) <= NEARLY:
            return min(seen[-SAME:])
        await asyncio.sleep(LOOK)


async def used(client: redis_py.Redis) -> int:
    """Return what the server has in use."""

    async def look() -> int:
        return int((await client.info("memory"))["used_memory"])

    return await settled(look)


async def in_redis(url: str, scale: float = 1.0) -> list[Cost]:
    """Measure each of what an engine keeps."""
    found = []
    async with asking(url) as client:
        for case in cases(scale):
            await client.flushall()
            async with engine(url) as running:
                before = await used(client)
                await case.fill(running)
                found.append(Cost(case.what, (await used(client) - before) / case.number))
        found += await _subscriptions(client, url, max(round(20_000 * scale), 1))
        found.append(await _processes(client, url, max(round(50 * scale), 1)))
    return found


async def _subscriptions(client: redis_py.Redis, url: str, groups: int) -> list[Cost]:
    """Measure the channels of two processes: the first one's are new, the other's are there."""
    await client.flushall()
    fill = subscribed(groups)
    async with engine(url, name="first") as first, engine(url, name="second") as second:
        await all_of(first.history(group(number), Retention(10, LONG, LONG, 60), limit=0) for number in range(groups))
        before = await used(client)  # with the positions
        await fill(first)
        one = await used(client)
        await fill(second)
        two = await used(client)
    return [
        Cost("a group's channel, with its first process", (one - before) / groups),
        Cost("each further process with a member in the group", (two - one) / groups),
    ]


async def _processes(client: redis_py.Redis, url: str, number: int) -> Cost:
    await client.flushall()
    before = await used(client)
    async with contextlib.AsyncExitStack() as stack:
        for each in range(number):
            await stack.enter_async_context(engine(url, name=f"process{each}"))
        return Cost("a process: two connections, idle", (await used(client) - before) / number)


# In a process of antiphon


class Member(AsyncJsonWebsocketConsumer):
    """Joins as many groups as it is told."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Join them one after the other."""
        for number in range(content):
            await self.channel_layer.group_add(group(number), self.channel_name)
        await self.send_json(content)


async def allocated() -> int:
    """Bytes that Python has allocated since ``tracemalloc`` began."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def in_process(url: str, scale: float = 1.0) -> list[Cost]:
    """Measure groups and memberships: the first member of a group brings it into the process, the others are there."""
    groups = max(round(5000 * scale), 1)
    antiphon.configure(engine=url, rules={"room:*": {"history_size": 100}}, groups_per_connection=groups)
    grown = []
    async with contextlib.AsyncExitStack() as stack:
        made = [WebsocketCommunicator(Member.as_asgi(), "/") for _ in range(CLIENTS)]
        first, *others = [await stack.enter_async_context(each) for each in made]
        tracemalloc.start()
        for clients in ([first], others):
            before = await settled(allocated)
            for client in clients:
                await client.send_json_to(groups)
                await client.receive_json_from(timeout=600)
            grown.append((await settled(allocated) - before) / len(clients) / groups)
        tracemalloc.stop()
        await current_app().stop()
    return [
        Cost("a group that has a member, with its first membership", grown[0]),
        Cost("each further membership", grown[1]),
    ]


# What is printed


def table(title: str, costs: Iterable[Cost]) -> str:
    """Return them as a table."""
    rows = [f"| {cost.what} | {cost.bytes:,.0f} |" for cost in costs]
    return "\n".join([f"| {title} | bytes |", "|---|---|", *rows])


async def measure(url: str, scale: float) -> None:
    """Measure, and print."""
    async with asking(url) as client:
        version = (await client.info("server"))["redis_version"]
    today = datetime.datetime.now(datetime.UTC).date()
    print(f"Redis {version}, antiphon {antiphon.__version__}, Python {platform.python_version()}, {today}\n")
    print(table("in a process of antiphon", await in_process(url, scale)), "\n")
    print(table("in Redis", await in_redis(url, scale)))


def main() -> None:
    """Measure on a server of our own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="Of so many as usual; less is faster, and less exact.")
    arguments = parser.parse_args()
    with server() as url:
        asyncio.run(measure(url, arguments.scale))


if __name__ == "__main__":
    main()
