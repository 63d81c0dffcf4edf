"""The Redis engine beside a bare ``PUBLISH`` of redis-py: ``python -m benchmarks.redis_engine``.

Publications per second with 64 outstanding, and the time from ``publish`` until another process has heard it. The
server is one of its own, without a disk, unless ``--server`` names one; this process, the other and the server share
the cores of one machine.
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
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as redis_py

from antiphon.types import Publishing, Retention
from benchmarks.engines import DATA, OUTSTANDING, Echo, engine

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
async def bare(url: str) -> AsyncIterator[Publish]:
    """What publishes without positions, history or anything else."""
    client = redis_py.Redis(host=urlsplit(url).hostname or "", port=urlsplit(url).port or 6379, max_connections=128)
    try:
        yield lambda number: client.publish("group", DATA)
    finally:
        await client.aclose()


async def rate(publish: Publish, seconds: float) -> float:
    """Publications per second."""
    done = 0
    began = time.perf_counter()

    async def one_after_another() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await publish(done)
            done += 1

    await asyncio.gather(*(one_after_another() for _ in range(OUTSTANDING)))
    return done / (time.perf_counter() - began)


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


async def measure(url: str, rounds: int, seconds: float) -> None:
    """Measure each in turn, and print."""
    for _ in range(rounds):
        async with engine(url) as running, bare(url) as bare_publish:
            kinds: dict[str, tuple[str, Publish]] = {
                "redis-py PUBLISH": ("bare", bare_publish),
                "nothing kept": ("engine", lambda number: running.publish("group", DATA)),
                "1000 kept": ("engine", lambda number: running.publish("group", DATA, "", Publishing(RETENTION))),
                "1000 kept, a key": (
                    "engine",
                    lambda number: running.publish("group", DATA, "", Publishing(RETENTION, f"{time.monotonic_ns()}")),
                ),
            }
            for name, (kind, publish) in kinds.items():
                per_second = await rate(publish, seconds)
                found = await latencies(url, publish, kind, 500)
                p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
                print(
                    f"{name:>17}: {per_second:7,.0f}/s with {OUTSTANDING} outstanding; heard by another process after "
                    f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
                    flush=True,
                )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--server", default="", help="redis://host:port; default: one is started.")
    parser.add_argument("--listen", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.listen:
        asyncio.run(listen(arguments.server, arguments.listen))
        return
    with contextlib.nullcontext(arguments.server) if arguments.server else server() as url:
        asyncio.run(measure(url, arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    main()
