"""The cells of the tables: what is asked of a server, and what comes out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.paths import LOAD
from benchmarks.processes import BenchmarkError, Cores, Running, pinned, tail
from benchmarks.servers import CONNECT, ECHO, FANOUT, IDLE, LATENCY, Server

Values = dict[str, Any]
FAULTS = ("lost", "reordered", "duplicates", "altered", "unexpected")


@dataclass(frozen=True)
class Timing:
    """How long each measurement takes."""

    seconds: float = 3.0
    warmup: float = 0.5


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
    """One kind of measurement with its size. `window` is for fan-out alone."""

    kind: str
    n: int
    window: int = 0

    @property
    def key(self) -> str:
        """The name under which results are kept."""
        return f"{self.kind}/{self.n}/{self.window}" if self.kind == FANOUT else f"{self.kind}/{self.n}"

    def fits(self, server: Server) -> bool:
        """Whether this server takes part in this cell."""
        window_fits = self.kind != FANOUT or server.windows is None or self.window in server.windows
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


def latency(running: Running, cell: Cell, context: Context) -> Values:
    """N members, messages by the clock, at half of the rate that the server can do."""
    rate = context.half_load(running.server)
    if rate is None:
        raise NotMeasured
    size = ["--n", str(cell.n), "--rate", str(rate)]
    return load(running, "fanout", running.server.path, [*size, *timing_arguments(context)], context)


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
    LATENCY: latency,
    ECHO: echo,
    CONNECT: connect,
    IDLE: idle,
}


def load_command(running: Running, mode: str, path: str, arguments: list[str], context: Context) -> list[str]:
    """The load client's command line: the same for every server."""
    cookie = ["--cookie", context.cookie] if running.server.logged_in and context.cookie else []
    command = [str(LOAD), mode, "--port", str(running.port), "--path", path, *arguments, *cookie]
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
    """What the client said, and the end of the server's log."""
    return f"{stderr.decode(errors='replace').strip()}; server's log: {tail(running.log) or 'empty'}"


def faults(values: Values) -> dict[str, int]:
    """The counts of the checker that are not 0."""
    found = {name: int(values.get(name, 0)) for name in FAULTS}
    found["stalled"] = int(bool(values.get("stalled", False)))
    found["unclean"] = int(values.get("unclean", 0))
    return {name: count for name, count in found.items() if count}
