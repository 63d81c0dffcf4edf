"""The cells of the tables: what is asked of a server, and what comes out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.paths import LOAD
from benchmarks.processes import BenchmarkError, Cores, Running, pinned
from benchmarks.servers import CONNECT, DEFLATE, ECHO, FANOUT, IDLE, LATENCY, PROCESSES, REACH, SLOW, Server

Values = dict[str, Any]
FAULTS = ("lost", "reordered", "duplicates", "altered", "unexpected", "misplaced")
RECORDS_BYTES = 4096
"""How long the messages of the cell with compression are, before it."""
SLOW_BYTES = 100
"""How long the messages of the cell with the slow member are."""
REACH_RATE = 200
"""Messages per second of the cell that measures the way from one process to the other: few enough to meet no other."""
CALIBRATION = ["--window", "64", "--seconds", "1", "--warmup", "0.3"]
"""The load that shows what a server can do, where a cell needs half of it."""


@dataclass(frozen=True)
class Timing:
    """How long each measurement takes."""

    seconds: float = 3.0
    warmup: float = 0.5
    slow_messages: int = 100_000
    slow_seconds: float = 30.0
    """The cell with the slow member ends with so many messages, or after this time."""


@dataclass(frozen=True)
class Context:
    """What a measurement needs besides the server and the cell."""

    cores: Cores
    timing: Timing
    cookie: str | None
    half_load: Callable[[Server], int | None]
    """Half of the messages per second that the server reached in this run; None if that was not measured."""


@dataclass(frozen=True)
class Cell:
    """One kind of measurement with its size. `window` is for fan-out alone, with compression or without."""

    kind: str
    n: int
    window: int = 0

    @property
    def key(self) -> str:
        """The name under which results are kept."""
        return f"{self.kind}/{self.n}/{self.window}" if self.window else f"{self.kind}/{self.n}"

    def fits(self, server: Server) -> bool:
        """Whether this server takes part in this cell."""
        window_fits = not self.window or server.windows is None or self.window in server.windows
        return self.kind in server.cells and window_fits


class NotMeasured(Exception):
    """The cell needs a figure that this run does not have."""


def measure(running: Running, cell: Cell, context: Context) -> Values:
    """Put the load of the cell on the server."""
    return MEASURES[cell.kind](running, cell, context)


def timing_arguments(context: Context) -> list[str]:
    return ["--seconds", str(context.timing.seconds), "--warmup", str(context.timing.warmup)]


def fanout(running: Running, cell: Cell, context: Context) -> Values:
    """N members, W messages in flight."""
    size = ["--n", str(cell.n), "--window", str(cell.window)]
    return load(running, "fanout", running.server.path, [*size, *timing_arguments(context)], context)


def deflate(running: Running, cell: Cell, context: Context) -> Values:
    """The same with messages of 4 KiB and compression, and how often antiphon compressed for a publication."""
    size = ["--n", str(cell.n), "--window", str(cell.window), "--records", "--size", str(RECORDS_BYTES), "--deflate"]
    values = load(running, "fanout", running.server.path, [*size, *timing_arguments(context)], context)
    said = running.stats()
    if said.get("publications"):
        values["compressions_per_publication"] = said["compressions"] / said["publications"]
    return values


def latency(running: Running, cell: Cell, context: Context) -> Values:
    """N members, messages by the clock, at half of the rate that the server can do."""
    rate = context.half_load(running.server)
    if rate is None:
        raise NotMeasured
    size = ["--n", str(cell.n), "--rate", str(rate)]
    return load(running, "fanout", running.server.path, [*size, *timing_arguments(context)], context)


def reach(running: Running, cell: Cell, context: Context) -> Values:
    """Few messages by the clock to N members, one or more in each process; a message counts until all have it."""
    size = ["--n", str(cell.n), "--rate", str(REACH_RATE)]
    return load(running, "fanout", running.server.path, [*size, *timing_arguments(context)], context)


def slow(running: Running, cell: Cell, context: Context) -> Values:
    """Messages by the clock to N members, first as they are, then with one of them that reads nothing.

    The rate is half of what the server does just before, with window 64.
    """
    size = ["--n", str(cell.n), "--size", str(SLOW_BYTES)]
    reached = load(running, "fanout", running.server.path, [*size, *CALIBRATION], context)["messages_per_s"]
    timing = context.timing
    bounds = ["--messages", str(timing.slow_messages), "--seconds", str(timing.slow_seconds)]
    arguments = [*size, *bounds, "--rate", str(max(1, int(reached / 2))), "--warmup", str(timing.warmup)]
    without = held(running, arguments, context)
    values = held(running, [*arguments, "--slow"], context)
    for fault in FAULTS:
        values[fault] += without[fault]
    values["stalled"] |= without["stalled"]
    values["without"] = without
    for name in ("p50_us", "p99_us", "grown_bytes"):
        values[f"{name}_without"] = without[name]
    values["p99_ratio"] = values["p99_us"] / max(without["p99_us"], 1.0)
    values["grown_more_bytes"] = max(0, values["grown_bytes"] - without["grown_bytes"])
    return values


def held(running: Running, arguments: list[str], context: Context) -> Values:
    """Run the load client, and note by how much the server's memory grew from when all were members to its peak.

    With that, what the server counted meanwhile, while its members are still there.
    """
    command = load_command(running, "fanout", running.server.path, [*arguments, "--hold"], context)
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        if client.stdin is None or client.stdout is None or client.stdout.readline() != b"READY\n":
            raise BenchmarkError(f"{running.server.name}, fanout: {failure(client.communicate()[1], running)}")
        said, before = running.stats(), running.settled_bytes()
        running.forget_peak()
        client.stdin.write(b"go on\n")
        client.stdin.flush()
        line = client.stdout.readline()
        if not line:
            raise BenchmarkError(f"{running.server.name}, fanout: {failure(client.communicate()[1], running)}")
        values: Values = json.loads(line)
        values["grown_bytes"] = max(0, running.peak_bytes() - before)
        values.update(counted_meanwhile(said, running.stats()))
        return values
    finally:
        client.kill()
        client.communicate()


def counted_meanwhile(before: dict[str, Any], after: dict[str, Any]) -> Values:
    """What antiphon counted of slow members, and the code with which it closed one; nothing for other servers."""
    if not after:
        return {}
    codes = {int(code) for code, count in after["close_codes"].items() if count > before["close_codes"].get(code, 0)}
    slow_clients = after["slow_clients"] - before["slow_clients"]
    return {"slow_clients": slow_clients, "slow_closed_with": min(codes, default=0)}


def echo(running: Running, cell: Cell, context: Context) -> Values:
    """N connections, each waits for its echo before it sends again."""
    return load(running, "echo", running.server.echo_path, ["--n", str(cell.n), *timing_arguments(context)], context)


def connect(running: Running, cell: Cell, context: Context) -> Values:
    """N connections opened and closed, 32 at the same time, after some that are not counted."""
    arguments = ["--concurrency", "32", "--count"]
    load(running, "connect", running.server.path, [*arguments, str(cell.n // 10)], context)
    return load(running, "connect", running.server.path, [*arguments, str(cell.n)], context)


def idle(running: Running, cell: Cell, context: Context) -> Values:
    """What N connections that say nothing cost in resident memory of the process."""
    load(running, "connect", running.server.path, ["--count", "200", "--concurrency", "32"], context)
    before = running.settled_bytes()
    command = load_command(running, "idle", running.server.path, ["--n", str(cell.n), "--seconds", "120"], context)
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        if client.stdout is None or client.stdout.readline() != b"READY\n":
            raise BenchmarkError(f"{running.server.name}, {cell.key}: {failure(client.communicate()[1], running)}")
        after = running.settled_bytes()
    finally:
        client.kill()
        client.communicate()
    return {"bytes_per_connection": (after - before) / cell.n, "before": before, "after": after}


MEASURES: dict[str, Callable[[Running, Cell, Context], Values]] = {
    FANOUT: fanout,
    DEFLATE: deflate,
    PROCESSES: fanout,
    REACH: reach,
    LATENCY: latency,
    SLOW: slow,
    ECHO: echo,
    CONNECT: connect,
    IDLE: idle,
}


def load_command(running: Running, mode: str, path: str, arguments: list[str], context: Context) -> list[str]:
    """The load client's command line: the same for every server."""
    cookie = ["--cookie", context.cookie] if running.server.logged_in and context.cookie else []
    wire = ["--wire", running.server.wire] if mode == "fanout" else []
    ports = ",".join(map(str, running.ports))
    command = [str(LOAD), mode, "--port", ports, "--path", path, *wire, *arguments, *cookie]
    return pinned(command, context.cores.client)


def load(running: Running, mode: str, path: str, arguments: list[str], context: Context) -> Values:
    """Run the load client and read its line of JSON."""
    command = load_command(running, mode, path, arguments, context)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=180)
    if done.returncode:
        raise BenchmarkError(f"{running.server.name}, {mode}: {failure(done.stderr, running)}")
    values: Values = json.loads(done.stdout)
    return values


def failure(stderr: bytes, running: Running) -> str:
    """What the client said, and the end of the server's logs."""
    return f"{stderr.decode(errors='replace').strip()}; the server said: {running.said()}"


def faults(values: Values) -> dict[str, int]:
    """The counts of the checker that are not 0."""
    found = {name: int(values.get(name, 0)) for name in FAULTS}
    found["stalled"] = int(bool(values.get("stalled", False)))
    found["unclean"] = int(values.get("unclean", 0))
    return {name: count for name, count in found.items() if count}
