"""What two processes and their Redis do when all come at the same time: ``python -m benchmarks.redis_storm``.

10,000 groups that keep their history have 10 members each, five at either of two ``antiphon serve``: 1,000 connections
on the Centrifuge wire, each in 100 groups. Then

- **subscribe**: all of them subscribe at the same time;
- **publish**: one publication to each group reaches its members, while nothing else happens;
- **cut**: Redis cuts the connections of both processes and of the publisher (``CLIENT KILL``), and one publication is
  made to each group as soon as that is possible again;
- **restart**: Redis is killed and started again with its append-only file, and the same;
- **recover**: all clients go away, one publication is made to each group, and they come back with their positions.

Each line says how long it took until every member had everything, how much of a core both servers and Redis used for
it, and what Redis was asked for: scripts, and how often it read from its sockets, which is about the number of round
trips, each for a group and a process that has it; and commands to subscribe. A publication that is not the next of its
group for a member ends the run with status 1.

Redis, two servers and the clients share the cores of one machine, so the times are longer than they would be on hosts
of their own, and the seconds of a core are not. ``--groups`` and ``--connections`` make it smaller.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import hiredis

from antiphon.engines import Engine
from antiphon.exceptions import EngineError
from antiphon.types import Publishing, Retention
from benchmarks.crowd import Crowd, until
from benchmarks.engines import DATA, engine
from benchmarks.processes import free_port, raise_file_limit

RETENTION = Retention(size=100, lifetime=600, position_lifetime=3600, idempotency_window=60)
PROCESSES = 2
#: Seconds without a command for a script after which a storm is over.
CALM = 1.0


class Redis:
    """A server of our own, which can be killed and started again."""

    def __init__(self, folder: str) -> None:
        self.port = free_port()
        place = [
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dir",
            folder,
            "--save",
            "",
            "--loglevel",
            "warning",
        ]
        self._command = ["redis-server", *place, "--appendonly", "yes", "--appendfsync", "everysec"]
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """The engine's URL."""
        return f"redis://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def start(self) -> None:
        """Start it again."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    async def ask(self, *words: str) -> Any:
        """Return what it answers to a command, as soon as it can be asked."""
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    answer = await _ask(reader, writer, words)
                finally:
                    writer.close()
                if not (isinstance(answer, hiredis.ReplyError) and str(answer).startswith("LOADING")):
                    return answer
            await asyncio.sleep(0.01)

    async def look(self) -> Look:
        """Return what it has done so far."""
        stats, commands, clients = await asyncio.gather(
            self.ask("INFO", "stats"), self.ask("INFO", "commandstats"), self.ask("CLIENT", "LIST", "TYPE", "pubsub")
        )
        calls = {
            line.split(":")[0].removeprefix("cmdstat_"): int(line.split("calls=")[1].split(",")[0])
            for line in commands.decode().splitlines()
            if line.startswith("cmdstat_")
        }
        reads = next(int(line.split(":")[1]) for line in stats.decode().splitlines() if "total_reads_processed" in line)
        channels = [int(word.removeprefix("sub=")) for word in clients.decode().split() if word.startswith("sub=")]
        return Look(calls.get("evalsha", 0) + calls.get("eval", 0), calls.get("subscribe", 0), reads, sum(channels))


class Look(NamedTuple):
    """What a Redis has done since it was started."""

    scripts: int
    subscribes: int
    reads: int
    channels: int
    """How many its clients are subscribed to, in all."""


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: tuple[str, ...]) -> Any:
    writer.write(hiredis.pack_command(words))
    parser = hiredis.Reader(notEnoughData=reader)
    while (answer := parser.gets()) is reader:
        data = await reader.read(65536)
        if not data:
            raise ConnectionResetError
        parser.feed(data)
    return answer


class Storm:
    """Servers, clients and a publisher, and what is done with them."""

    def __init__(self, redis: Redis, running: dict[int, int], publisher: Engine, groups: int, connections: int) -> None:
        self._redis = redis
        self._ports, self._pids = list(running), list(running.values())
        self._publisher = publisher
        self._groups = [f"storm:{number}" for number in range(groups)]
        self._memberships = groups * 10
        self._round = 0
        self.crowd = Crowd()
        each = self._memberships // connections
        blocks = groups // each
        for number in range(connections):
            block, server = number % blocks, number // blocks % PROCESSES
            url = f"ws://127.0.0.1:{self._ports[server]}/"
            self.crowd.add(url, self._groups[block * each : (block + 1) * each])

    async def run(self) -> None:
        """Do all, and print a line for each."""
        crowd = self.crowd
        began = time.perf_counter()
        await crowd.open()
        print(f"{len(crowd.members)} connections in {time.perf_counter() - began:.1f} s", flush=True)
        await self._measure("subscribe", self._subscribe())
        await self._measure("publish", self._publish())
        await self._measure("cut", self._cut())
        await self._measure("restart", self._restart())
        await self._measure("recover", self._recover())

    async def _measure(self, name: str, work: Any) -> None:
        before, used, redis_used = await self._redis.look(), sum(map(cpu, self._pids)), cpu(self._redis.pid)
        began, process = time.perf_counter(), self._redis.pid
        try:
            phases: dict[str, float] = await work
        except TimeoutError as error:
            raise SystemExit(f"{name}: {error}; {self.crowd.errors[:3]} {self.stats()}") from None
        calm = await self._calm()
        after = await self._redis.look()
        if self._redis.pid != process:  # it was started anew, and counts anew
            before, redis_used = Look(0, 0, 0, 0), 0.0
        used, redis_used = sum(map(cpu, self._pids)) - used, cpu(self._redis.pid) - redis_used
        share = len(self._groups) * PROCESSES
        times = ", ".join(f"{what} after {moment - began:.1f} s" for what, moment in {**phases, "calm": calm}.items())
        print(
            f"{name:>9}: {times}; seconds of a core: servers {used:.1f}, Redis {redis_used:.1f}; for each of "
            f"{len(self._groups)} groups and a process {(after.scripts - before.scripts) / share:.2f} scripts and "
            f"{(after.reads - before.reads) / share:.3f} reads; "
            f"{after.subscribes - before.subscribes} SUBSCRIBE in all",
            flush=True,
        )

    async def _calm(self) -> float:
        """Wait until nobody asks Redis for a script any more, but for the beat; return when that began."""
        scripts, since = (await self._redis.look()).scripts, time.perf_counter()
        while time.perf_counter() < since + CALM:
            await asyncio.sleep(0.05)
            now = (await self._redis.look()).scripts
            if now > scripts + 5:
                scripts, since = now, time.perf_counter()
        return since

    async def _subscribe(self) -> dict[str, float]:
        self.crowd.subscribe()
        return {"all subscribed": await until(lambda: self.crowd.subscribed == self._memberships, "every subscription")}

    async def _publish(self) -> dict[str, float]:
        expected = self.crowd.publications + self._memberships
        published = await self._publish_to_all()
        everywhere = await until(lambda: self.crowd.publications >= expected, "every publication")
        return {"published": published, "everywhere": everywhere}

    async def _publish_to_all(self) -> float:
        """Publish once to each group, whatever happens to Redis."""
        self._round += 1
        publishing = Publishing(RETENTION, f"round{self._round}")

        async def publish(group: str) -> None:
            while True:
                with contextlib.suppress(EngineError):
                    await self._publisher.publish(group, DATA, "", publishing)
                    return

        await asyncio.gather(*map(publish, self._groups))
        return time.perf_counter()

    async def _cut(self) -> dict[str, float]:
        await asyncio.gather(*(self._redis.ask("CLIENT", "KILL", "TYPE", kind) for kind in ("pubsub", "normal")))
        return await self._come_back()

    async def _restart(self) -> dict[str, float]:
        self._redis.kill()
        self._redis.start()
        return await self._come_back()

    async def _come_back(self) -> dict[str, float]:
        publishing = asyncio.create_task(self._publish())
        while (await self._redis.look()).channels < len(self._groups) * PROCESSES:
            await asyncio.sleep(0.02)
        subscribed = time.perf_counter()
        return {"all channels subscribed": subscribed, **await publishing}

    async def _recover(self) -> dict[str, float]:
        await self.crowd.close()
        while (await self._redis.look()).channels > 100:
            await asyncio.sleep(0.02)
        gone = time.perf_counter()
        published = await self._publish_to_all()
        expected = self.crowd.publications + self._memberships
        self.crowd.subscribed = 0
        await self.crowd.open()
        opened = time.perf_counter()
        self.crowd.subscribe()
        everywhere = await until(lambda: self.crowd.publications >= expected, "every recovery")
        return {"all gone": gone, "published": published, "all connected": opened, "all recovered": everywhere}

    def stats(self) -> list[dict[str, int]]:
        """Return the counters of each server that are not 0."""
        found = []
        for port in self._ports:
            with urlopen(f"http://127.0.0.1:{port}/stats", timeout=30) as answer:
                found.append({name: count for name, count in json.load(answer).items() if count})
        return found


def cpu(pid: int) -> float:
    """Return the seconds that a process has used of a core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def servers(url: str, folder: str) -> Iterator[dict[int, int]]:
    """Start both servers, and wait until they listen; what is given is the process of each port.

    What they say is shown at the end: an outage that they were to have, or what has gone wrong.
    """
    environment = {**os.environ, "ANTIPHON_ENGINE": url, "ANTIPHON_MESSAGE_RATE": "0", "ANTIPHON_BYTE_RATE": "0"}
    ports = [free_port() for _ in range(PROCESSES)]
    command = [sys.executable, "-m", "antiphon", "serve", "benchmarks.apps.storm_app:app", "--port"]
    logs = [Path(folder) / f"{port}.log" for port in ports]
    running = []
    for port, log in zip(ports, logs, strict=True):
        with log.open("wb") as output:
            running.append(
                subprocess.Popen([*command, str(port)], env=environment, stdout=output, stderr=subprocess.STDOUT)
            )
    try:
        for port in ports:
            _wait_for(port)
        yield dict(zip(ports, (process.pid for process in running), strict=True))
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process, log in zip(running, logs, strict=True):
            process.wait()
            said = [line for line in log.read_text(errors="replace").splitlines() if "INFO" not in line]
            print(f"a server said, in {len(said)} lines:", *said[:20], sep="\n  ")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/stats", timeout=30).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


async def measure(redis: Redis, running: dict[int, int], groups: int, connections: int) -> None:
    """Do it once, and print."""
    await redis.ask("PING")
    async with engine(redis.url, name="publisher") as publisher:
        storm = Storm(redis, running, publisher, groups, connections)
        await storm.run()
        crowd = storm.crowd
        print(f"the servers count {storm.stats()}")
        print(f"misplaced {crowd.misplaced}, told of a gap {crowd.unrecovered}, errors {len(crowd.errors)}")
        await crowd.close()
    if crowd.misplaced or crowd.unrecovered or crowd.errors:
        raise SystemExit(1)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=1000, help="Each is in 10 * groups / connections groups.")
    arguments = parser.parse_args()
    if arguments.connections < PROCESSES * 5 or 10 * arguments.groups % arguments.connections:
        parser.error("--connections has to divide ten times --groups")
    raise_file_limit()
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(folder)
        try:
            with servers(redis.url, folder) as running:
                asyncio.run(measure(redis, running, arguments.groups, arguments.connections))
        finally:
            redis.kill()


if __name__ == "__main__":
    main()
