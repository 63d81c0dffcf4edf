"""The performance goals, as ratios between servers of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.results import Results
from benchmarks.servers import CONNECT, DEFLATE, ECHO, FANOUT, IDLE, LATENCY, PROCESSES, REACH, SLOW

PYTHON_PEERS = ("starlette", "aiohttp", "picows", "channels-uvicorn", "channels-daphne")
IDLE_LIMIT_BYTES = 10 * 1024
SLOW_LIMIT_MIB = 2.0
"""The bound of what waits for one member, 1 MiB, and as much for what memory does by itself."""


@dataclass(frozen=True)
class Verdict:
    """One goal against one run: `is_` and `should` are ratios, or what the goal says; None: this run can't tell."""

    goal: str
    is_: float | None
    should: float
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the run meets the goal; None if it cannot say."""
        if self.is_ is None:
            return None
        return self.is_ <= self.should if self.at_most else self.is_ >= self.should


def verdicts(results: Results) -> Iterator[Verdict]:
    """Every goal that this suite can measure."""
    yield from handler_goals(results)
    yield from moving_goals(results)
    yield from broadcast_goals(results)
    yield from centrifuge_goals(results)
    yield from compression_goals(results)
    yield from slow_goals(results)
    yield from other_goals(results)
    yield from latency_goals(results)


def ratio(results: Results, cell: str, ours: str, theirs: str) -> float | None:
    """How many times the peer's figure ours is."""
    mine, other = results.median(ours, cell), results.median(theirs, cell)
    return mine / other if mine is not None and other else None


def handler_goals(results: Results) -> Iterator[Verdict]:
    """Channels' code with one import changed."""
    for n in (100, 1000):
        cell = f"{FANOUT}/{n}/4"
        for peer, times in (("channels-uvicorn", 25.0), ("node", 1.0)):
            is_ = ratio(results, cell, "antiphon-handler", peer)
            yield Verdict(f"handler ÷ {peer}, N={n}, window 4", is_, times)


def moving_goals(results: Results) -> Iterator[Verdict]:
    """What a project gets that changes its layer and server alone, and its synchronous consumers."""
    for n in (100, 1000):
        cell = f"{FANOUT}/{n}/4"
        is_ = ratio(results, cell, "channels-antiphon", "channels-uvicorn")
        yield Verdict(
            f"Channels' consumers on antiphon's layer and server ÷ channels-uvicorn, N={n}, window 4", is_, 3.0
        )
        is_ = ratio(results, cell, "antiphon-sync", "channels-sync")
        yield Verdict(f"synchronous consumers ÷ Channels' on uvicorn, N={n}, window 4", is_, 1.0)


def broadcast_goals(results: Results) -> Iterator[Verdict]:
    """`publish` and `@shared` against Bun, and against C at windows up to 16."""
    for cell in results.cells(FANOUT):
        _, n, window = cell.split("/")
        for ours in ("antiphon-publish", "antiphon-shared"):
            where = f"N={n}, window {window}"
            yield Verdict(f"{ours} ÷ bun, {where}", ratio(results, cell, ours, "bun"), 1.0)
            if int(window) <= 16:
                yield Verdict(f"{ours} ÷ c-tick, {where}", ratio(results, cell, ours, "c-tick"), 0.8)


def centrifuge_goals(results: Results) -> Iterator[Verdict]:
    """What history and the wire of Centrifuge cost together: `publish` with both against `publish` with neither."""
    for encoding in ("json", "protobuf"):
        ours = f"antiphon-centrifuge-{encoding}"
        is_ = ratio(results, f"{FANOUT}/100/64", ours, "antiphon-publish")
        yield Verdict(f"{ours} with history ÷ antiphon-publish, N=100, window 64", is_, 0.7)


def compression_goals(results: Results) -> Iterator[Verdict]:
    """`publish` with compression against `websockets`, and that a publication is compressed once."""
    for cell in results.cells(DEFLATE):
        _, n, window = cell.split("/")
        where = f"with compression, N={n}, window {window}"
        is_ = ratio(results, cell, "antiphon-publish", "websockets")
        yield Verdict(f"antiphon-publish ÷ websockets' broadcast(), {where}", is_, 10.0)
        often = results.median("antiphon-publish", cell, "compressions_per_publication")
        yield Verdict(f"times that a publication is compressed, {where}", often, 1.0, at_most=True)


def slow_goals(results: Results) -> Iterator[Verdict]:
    """What one member that does not read costs the others and the server, and that it is told."""
    ours = "antiphon-publish"
    for cell in results.cells(SLOW):
        p99 = results.median(ours, cell, "p99_ratio")
        yield Verdict("p99 of the others, with a member that does not read ÷ without", p99, 1.5, at_most=True)
        grown = results.median(ours, cell, "grown_more_bytes")
        mib = grown / 2**20 if grown is not None else None
        yield Verdict("MiB that the server grows by for a member that does not read", mib, SLOW_LIMIT_MIB, at_most=True)
        yield Verdict("members that it closes for not reading", results.median(ours, cell, "slow_clients"), 1.0)
        missed = results.median(ours, cell, "slow_missed")
        yield Verdict("messages that they missed without being told", missed, 0.0, at_most=True)


def other_goals(results: Results) -> Iterator[Verdict]:
    """Echo, connection rate, memory."""
    for cell in results.cells(ECHO):
        yield Verdict("echo ÷ node", ratio(results, cell, "antiphon-handler", "node"), 1.0)
    for cell in results.cells(CONNECT):
        for ours in ("antiphon-django", "antiphon-django-one-import"):
            is_ = ratio(results, cell, ours, "channels-django")
            yield Verdict(f"connections/s, {ours} ÷ channels-django", is_, 3.0)
    for cell in results.cells(IDLE):
        for ours in ("antiphon-handler", "antiphon-django"):
            figure = results.median(ours, cell)
            kib = figure / 1024 if figure is not None else None
            yield Verdict(f"KiB per idle connection, {ours}", kib, IDLE_LIMIT_BYTES / 1024, at_most=True)


def latency_goals(results: Results) -> Iterator[Verdict]:
    """p99 at half of the load, against the best of the Python peers."""
    for cell in results.cells(LATENCY):
        peers = [figure for peer in PYTHON_PEERS if (figure := results.median(peer, cell)) is not None]
        for ours in ("antiphon-handler", "antiphon-shared", "antiphon-publish"):
            mine = results.median(ours, cell)
            is_ = mine / min(peers) if peers and mine is not None else None
            yield Verdict(f"p99 at half of its load, {ours} ÷ best Python peer", is_, 1.0, at_most=True)


def processes_goals(results: Results) -> Iterator[Verdict]:
    """Two processes and one Redis: speed beside the peers, nothing lost, and the way from one to the other."""
    handler, publish = "antiphon-redis-handler", "antiphon-redis-publish"
    cell = f"{PROCESSES}/100/4"
    for ours, times in ((handler, 15.0), (publish, 50.0)):
        is_ = ratio(results, cell, ours, "channels-redis")
        yield Verdict(f"{ours} ÷ channels-redis, N=100, window 4", is_, times)
    for cell in results.cells(PROCESSES):
        _, n, window = cell.split("/")
        for ours in (handler, publish):
            is_ = ratio(results, cell, ours, "socketio-redis")
            yield Verdict(f"{ours} ÷ socketio-redis, N={n}, window {window}", is_, 1.0)
    for ours in (handler, publish):
        lost = [results.median(ours, cell, "lost") for cell in results.cells(PROCESSES) if cell.split("/")[1] == "1000"]
        counts = [count for count in lost if count is not None]
        yield Verdict(f"lost by {ours}, N=1000", sum(counts) if counts else None, 0.0, at_most=True)
    is_ = ratio(results, f"{PROCESSES}/1000/64", publish, "antiphon-alone")
    yield Verdict(f"{publish} ÷ one process with the memory engine, N=1000, window 64", is_, 0.5)
    for cell in results.cells(REACH):
        p50 = results.median(publish, cell, "p50_us")
        yield Verdict(
            f"ms to a client of the other process, p50, {publish}", p50 / 1e3 if p50 else None, 1.0, at_most=True
        )
