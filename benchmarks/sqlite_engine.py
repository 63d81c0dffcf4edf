"""The SQLite engine beside a bare ``sqlite3`` with the same durability: ``python -m benchmarks.sqlite_engine``.

Publications per second with 64 outstanding, the time from ``publish`` until another process has heard it, and with
``--fill`` what a publication costs in bytes and how long publishing and recovering take as the file grows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from antiphon.types import Position, Publishing, Retention
from benchmarks.engines import DATA, OUTSTANDING, Echo, engine

RETENTION = Retention(size=1_000_000, lifetime=86_400, position_lifetime=86_400, idempotency_window=60)
PUBLISHING = Publishing(RETENTION)
#: How many a group gets at a time, where a file is filled.
BURST = 16


def url(path: Path, synchronous: str = "normal") -> str:
    """Return the URL of the engine on a file."""
    return f"sqlite:///{path}?synchronous={synchronous}"


async def publish_rate(path: Path, synchronous: str, seconds: float, groups: int) -> float:
    """Publications per second of the engine."""
    async with engine(url(path, synchronous)) as running:
        done = 0
        deadline = time.perf_counter() + seconds

        async def one_after_another(number: int) -> None:
            nonlocal done
            while time.perf_counter() < deadline:
                await running.publish(f"group {(number + done) % groups}", DATA, "", PUBLISHING)
                done += 1

        began = time.perf_counter()
        await asyncio.gather(*(one_after_another(number) for number in range(OUTSTANDING)))
        return done / (time.perf_counter() - began)


def bare_rate(path: Path, synchronous: str, seconds: float) -> float:
    """Rows per second of a loop that does nothing but write them, as many in a transaction as are outstanding above."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE publications (g INTEGER, o INTEGER, t INTEGER, data BLOB, PRIMARY KEY (g, o))")
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        connection.execute("BEGIN IMMEDIATE")
        rows = [(1, done + number, 0, DATA) for number in range(OUTSTANDING)]
        connection.executemany("INSERT INTO publications VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        done += OUTSTANDING
    elapsed = time.perf_counter() - began
    connection.close()
    return done / elapsed


async def latencies(path: Path, count: int) -> list[float]:
    """Milliseconds from the call of ``publish`` until another process has heard it."""
    command = [sys.executable, "-m", "benchmarks.sqlite_engine", "--listen", str(path)]
    async with engine(url(path)) as running:
        listener = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        assert listener.stdout is not None
        assert await listener.stdout.readline() == b"ready\n"
        found = []
        for _ in range(count):
            began = time.monotonic_ns()
            await running.publish("group", DATA, "", PUBLISHING)
            found.append((int(await listener.stdout.readline()) - began) / 1e6)
            await asyncio.sleep(0.002)
        assert listener.stdin is not None
        listener.stdin.close()
        await listener.wait()
    return found


async def listen(path: Path) -> None:
    """The other process."""
    async with engine(url(path), Echo(), "other") as running:
        await running.subscribe("group", RETENTION)
        os.write(1, b"ready\n")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def fill(path: Path, publications: int, groups: int) -> None:
    """Print what publishing and recovering cost at several fill levels."""
    chance = random.Random(1)
    published = 0
    async with engine(url(path)) as running:

        async def publish_some(count: int) -> None:
            for _ in range(0, count, BURST):
                group = f"group {chance.randrange(groups)}"
                await asyncio.gather(*(running.publish(group, DATA, "", PUBLISHING) for _ in range(BURST)))

        for level in (publications // 100, publications // 10, publications // 2, publications):
            began = time.perf_counter()
            count = level - published
            await asyncio.gather(*(publish_some(count // OUTSTANDING) for _ in range(OUTSTANDING)))
            published = level
            per_second = count / (time.perf_counter() - began)
            publish, recover = [], []
            for _ in range(500):
                group = f"group {chance.randrange(groups)}"
                began = time.perf_counter()
                top = await running.publish(group, DATA, "", PUBLISHING)
                publish.append((time.perf_counter() - began) * 1e3)
                began = time.perf_counter()
                since = Position(top.epoch, max(top.offset - 10, 0))
                await running.history(group, RETENTION, since=since)
                recover.append((time.perf_counter() - began) * 1e3)
            size = sum(os.path.getsize(f"{path}{suffix}") for suffix in ("", "-wal"))
            print(
                f"{level:>11,} in {groups:,} groups: {size / level:6.0f} bytes each ({len(DATA)} are data), "
                f"{per_second:7,.0f}/s, publish {statistics.median(publish):.2f} ms, "
                f"recover 10 {statistics.median(recover):.2f} ms",
                flush=True,
            )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--fill", type=int, default=0, help="Publications to fill a file with.")
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--listen", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.listen:
        asyncio.run(listen(Path(arguments.listen)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.fill:
            asyncio.run(fill(folder / "filled.db", arguments.fill, arguments.groups))
            return
        for number in range(arguments.rounds):
            for synchronous in ("normal", "full"):
                bare = bare_rate(folder / f"bare{number}{synchronous}.db", synchronous, arguments.seconds)
                rates = [
                    asyncio.run(
                        publish_rate(
                            folder / f"engine{number}{synchronous}{groups}.db", synchronous, arguments.seconds, groups
                        )
                    )
                    for groups in (1, 64)
                ]
                print(
                    f"synchronous={synchronous}, {OUTSTANDING} outstanding: bare sqlite3 {bare:,.0f}/s, "
                    f"engine {rates[0]:,.0f}/s in one group, {rates[1]:,.0f}/s in 64",
                    flush=True,
                )
            found = sorted(asyncio.run(latencies(folder / f"latency{number}.db", 500)))
            print(
                f"publish until another process has heard it: p50 {found[len(found) // 2]:.2f} ms, "
                f"p99 {found[len(found) * 99 // 100]:.2f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
