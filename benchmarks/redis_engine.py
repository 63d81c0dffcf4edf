"""The Redis engine beside a bare ``PUBLISH`` of redis-py: ``python -m benchmarks.redis_engine``.

Publications per second with 64 outstanding, what each costs the server of its one core, and the time from ``publish``
until another process has heard it. The server is one of its own, without a disk, unless ``--server`` names one; this
process, the other and the server share the cores of one machine. What else the machine does slows publications down
more than it adds to what they cost. Then what it costs the server to tell one process more, and a process to hear it,
and what it costs both when somebody joins.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import redis.asyncio as redis_py

from antiphon.types import Position, Publishing, Retention
from benchmarks.engines import DATA, OUTSTANDING, Deaf, Echo, engine

#: That hear the same, where many do.
PROCESSES = 20
#: Publications that a group keeps, where somebody joins.
KEPT = 10
RETENTION = Retention(size=1000, lifetime=300, position_lifetime=3600, idempotency_window=60)

Publish = Callable[[int], Awaitable[Any]]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A Redis of our own."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        port = 20000 + os.getpid() % 20000
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(socket)]
        process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no", "--dir", folder], stdout=subprocess.DEVNULL
        )
        try:
            while not socket.exists():
                time.sleep(0.01)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


@contextlib.asynccontextmanager
async def bare(url: str) -> AsyncIterator[redis_py.Redis]:
    """A client of redis-py."""
    client = redis_py.Redis(host=urlsplit(url).hostname or "", port=urlsplit(url).port or 6379, max_connections=128)
    try:
        yield client
    finally:
        await client.aclose()


class Rate(NamedTuple):
    """How fast it went."""

    per_second: float
    server_seconds: float
    """Of the server's CPU for each."""


async def server_cpu(client: redis_py.Redis) -> float:
    """Seconds of CPU that the server has used."""
    said = await client.info("cpu")
    return float(said["used_cpu_user"] + said["used_cpu_sys"])


async def rate(publish: Publish, seconds: float, client: redis_py.Redis) -> Rate:
    """Publish as fast as it goes."""
    done = 0
    used = await server_cpu(client)
    began = time.perf_counter()

    async def one_after_another() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await publish(done)
            done += 1

    await asyncio.gather(*(one_after_another() for _ in range(OUTSTANDING)))
    took = time.perf_counter() - began
    return Rate(done / took, (await server_cpu(client) - used) / done)


async def latencies(url: str, publish: Publish, kind: str, count: int) -> list[float]:
    """Milliseconds from the call of ``publish`` until another process has heard it."""
    command = [sys.executable, "-m", "benchmarks.redis_engine", "--listen", kind, "--server", url]
    listener = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert listener.stdout is not None
    assert await listener.stdout.readline() == b"ready\n"
    found = []
    for number in range(count):
        began = time.monotonic_ns()
        await publish(number)
        found.append((int(await listener.stdout.readline()) - began) / 1e6)
        await asyncio.sleep(0.002)
    assert listener.stdin is not None
    listener.stdin.close()
    await listener.wait()
    return sorted(found)


async def listen(url: str, kind: str) -> None:
    """The other process."""
    until_told = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if kind == "bare":
        client = redis_py.Redis(host=urlsplit(url).hostname or "", port=urlsplit(url).port or 6379)
        async with client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe("group")
            await subscription.get_message(timeout=1)
            os.write(1, b"ready\n")
            while not until_told.done():
                if await subscription.get_message(timeout=0.1) is not None:
                    os.write(1, b"%d\n" % time.monotonic_ns())
        await client.aclose()
        return
    async with engine(url, Echo(), "other") as running:
        await running.subscribe("group", RETENTION)
        os.write(1, b"ready\n")
        await until_told


class Counting(Deaf):
    """Counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def on_publication(self, group: str, publication: Any) -> None:
        """Count it."""
        self.heard += 1


class Hearing(NamedTuple):
    """What publications cost that are heard by others, in seconds of CPU."""

    server: float
    """The server, for each publication."""
    process: float
    """A process, for each that it hears."""


async def hearing(url: str, processes: int, count: int, outstanding: int) -> Hearing:
    """Let another process publish, and hear it as so many processes."""
    command = [sys.executable, "-m", "benchmarks.redis_engine", "--publish", f"{count}/{outstanding}", "--server", url]
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(bare(url))
        hubs = [Counting() for _ in range(processes)]
        for number, hub in enumerate(hubs):
            await (await stack.enter_async_context(engine(url, hub, f"p{number}"))).subscribe("group", RETENTION)
        used, own = await server_cpu(client), time.process_time()
        await (await asyncio.create_subprocess_exec(*command)).wait()
        while any(hub.heard < count for hub in hubs):
            await asyncio.sleep(0.01)
        server, process = await server_cpu(client) - used, time.process_time() - own
        return Hearing(server / count, process / count / processes)


async def publish_many(url: str, count: int, outstanding: int) -> None:
    """The other process: publish so many, and no more."""
    async with engine(url, name="publisher") as running:
        for number in range(0, count, outstanding):
            some = min(outstanding, count - number)
            await asyncio.gather(*(running.publish("group", DATA, "", Publishing(RETENTION)) for _ in range(some)))


async def measure_hearing(url: str, count: int, outstanding: int) -> None:
    """Measure with few and with many processes, and print."""
    few, many = [await hearing(url, number, count, outstanding) for number in (1, PROCESSES)]
    each = (many.server - few.server) / (PROCESSES - 1)
    print(
        f"{outstanding} outstanding: one process more that hears a publication: {each * 1e6:.1f} µs of the server; "
        f"hearing it: {few.process * 1e6:.1f} µs of the process",
        flush=True,
    )


async def measure_joining(url: str, number: int) -> None:
    """Measure what a process asks when somebody joins a group, or comes back to it, and print."""
    async with engine(url) as running, bare(url) as client:
        names = [f"group {time.monotonic_ns()} {n}" for n in range(number)]
        for _ in range(KEPT):
            await asyncio.gather(*(running.publish(name, DATA, "", Publishing(RETENTION)) for name in names))
        verbs: dict[str, Callable[[str], Awaitable[Any]]] = {
            "subscribe": lambda name: running.subscribe(name, RETENTION),
            "history, the position": lambda name: running.history(name, RETENTION, limit=0),
            "history, one publication": lambda name: running.history(name, RETENTION, since=Position("", KEPT - 1)),
            f"history, {KEPT} publications": lambda name: running.history(name, RETENTION, since=Position("", 0)),
        }
        for what, verb in verbs.items():
            used, own = await server_cpu(client), time.process_time()
            await asyncio.gather(*(verb(name) for name in names))
            server, process = await server_cpu(client) - used, time.process_time() - own
            both = f"{server / number * 1e6:.1f} µs of the server, {process / number * 1e6:.1f} µs of the process"
            print(f"{what:>24}: {both}", flush=True)


async def measure(url: str, rounds: int, seconds: float) -> None:
    """Measure each in turn, and print."""
    for _ in range(rounds):
        async with engine(url) as running, bare(url) as client:
            kinds: dict[str, tuple[str, Publish]] = {
                "redis-py PUBLISH": ("bare", lambda number: client.publish("group", DATA)),
                "nothing kept": ("engine", lambda number: running.publish("group", DATA)),
                "1000 kept": ("engine", lambda number: running.publish("group", DATA, "", Publishing(RETENTION))),
                "1000 kept, a key": (
                    "engine",
                    lambda number: running.publish("group", DATA, "", Publishing(RETENTION, f"{time.monotonic_ns()}")),
                ),
            }
            for name, (kind, publish) in kinds.items():
                reached = await rate(publish, seconds, client)
                found = await latencies(url, publish, kind, 500)
                p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
                print(
                    f"{name:>17}: {reached.per_second:7,.0f}/s with {OUTSTANDING} outstanding, "
                    f"{reached.server_seconds * 1e6:.1f} µs of the server; heard by another process after "
                    f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
                    flush=True,
                )
        await measure_hearing(url, round(seconds * 10_000), OUTSTANDING)
        await measure_hearing(url, round(seconds * 1000), 1)
        await measure_joining(url, round(seconds * 1000))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--server", default="", help="redis://host:port; default: one is started.")
    parser.add_argument("--listen", default="", help=argparse.SUPPRESS)
    parser.add_argument("--publish", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.listen:
        asyncio.run(listen(arguments.server, arguments.listen))
        return
    if arguments.publish:
        count, outstanding = map(int, arguments.publish.split("/"))
        asyncio.run(publish_many(arguments.server, count, outstanding))
        return
    with contextlib.nullcontext(arguments.server) if arguments.server else server() as url:
        asyncio.run(measure(url, arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    main()
