"""The benchmark suite: `scripts/bench --help`, or `python -m benchmarks.run --help`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import chapter
from benchmarks.build import build, say, session_cookie
from benchmarks.cells import Cell, Context, NotMeasured, Timing, Values, faults, measure
from benchmarks.facts import facts
from benchmarks.machine import QUIET_CORES, Watch, wait_for_quiet
from benchmarks.paths import BUILD
from benchmarks.processes import BenchmarkError, Cores, raise_file_limit, running
from benchmarks.report import markdown, short
from benchmarks.results import FIGURE, Results
from benchmarks.servers import (
    CONNECT,
    DEFLATE,
    ECHO,
    FANOUT,
    IDLE,
    LATENCY,
    PROCESSES,
    REACH,
    SERVERS,
    SLOW,
    Server,
)

PATIENCE_S = 20.0
"""How long a repeated measurement waits for other programs to rest."""
KINDS = (FANOUT, DEFLATE, LATENCY, SLOW, ECHO, CONNECT, IDLE, PROCESSES, REACH)
WINDOWS, DEFLATE_WINDOWS, PROCESSES_WINDOWS = [1, 4, 16, 64], [1, 4], [4, 64]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures antiphon and its peers side by side.")
    parser.add_argument("--only", type=names, help=f"servers, by comma: {', '.join(s.name for s in SERVERS)}")
    parser.add_argument("--cells", type=names, default=list(KINDS), help=f"kinds, by comma: {', '.join(KINDS)}")
    parser.add_argument("--n", type=numbers, default=[100, 1000], help="members of the group, by comma (100,1000)")
    parser.add_argument(
        "--window", type=numbers, help="messages in flight (1,4,16,64; with compression 1,4; two processes 4,64)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all servers (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of a cell (3)")
    parser.add_argument("--warmup", type=float, default=0.5, help="time before it that is not measured (0.5)")
    parser.add_argument("--connections", type=int, default=3000, help="connections for the rate (3000)")
    parser.add_argument("--slow", type=int, default=100_000, help="messages while one member does not read (100000)")
    parser.add_argument("--slow-seconds", type=float, default=30.0, help="the same, but no longer than that (30)")
    parser.add_argument("--idle", type=int, default=5000, help="connections for memory (5000)")
    parser.add_argument("--retries", type=int, default=2, help="repeat what other programs disturbed, so often (2)")
    parser.add_argument("--quick", action="store_true", help="one round of one second each, and nothing is repeated")
    parser.add_argument("--write", type=Path, help="write to this Markdown file as well; what was not measured stays")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.warmup = 1, 1.0, 0.3
        chosen.slow, chosen.slow_seconds, chosen.retries = 20_000, 20.0, 0
    known = {server.name for server in SERVERS}
    unknown = [name for name in chosen.only or [] if name not in known]
    unknown += [kind for kind in chosen.cells if kind not in KINDS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    return chosen


def names(text: str) -> list[str]:
    """A list by comma."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    """A list of numbers by comma."""
    return [int(part) for part in names(text)]


def chosen_cells(options: argparse.Namespace) -> list[Cell]:
    """All cells of the run, in their order. Fan-out comes before latency, which needs its figures."""
    cells = {
        FANOUT: [Cell(FANOUT, n, window) for n in options.n for window in options.window or WINDOWS],
        DEFLATE: [Cell(DEFLATE, n, window) for n in options.n for window in options.window or DEFLATE_WINDOWS],
        SLOW: [Cell(SLOW, 1000)],
        LATENCY: [Cell(LATENCY, 100)],
        ECHO: [Cell(ECHO, 100)],
        CONNECT: [Cell(CONNECT, options.connections)],
        IDLE: [Cell(IDLE, options.idle)],
        PROCESSES: [Cell(PROCESSES, n, window) for n in options.n for window in options.window or PROCESSES_WINDOWS],
        REACH: [Cell(REACH, 2)],
    }
    return [cell for kind in KINDS if kind in options.cells for cell in cells[kind]]


def chosen_servers(options: argparse.Namespace) -> list[Server]:
    """The servers that are asked for and can run here."""
    chosen = []
    for server in SERVERS:
        if options.only and server.name not in options.only:
            continue
        if reason := server.missing():
            say(f"{server.name} is left out: {reason}")
            continue
        chosen.append(server)
    return chosen


def half_load(results: Results, server: Server) -> int | None:
    """Half of the messages per second at N=100, window 4."""
    reached = results.median(server.name, f"{FANOUT}/100/4", "messages_per_s")
    return max(1, int(reached / 2)) if reached else None


def once(server: Server, cell: Cell, context: Context) -> Values:
    """Start the server, measure, stop it."""
    with running(server, context.cores) as process:
        watch = Watch(process.pids)
        values = measure(process, cell, context)
        values["others"] = round(watch.others(), 3)
    return values


def least_disturbed(server: Server, cell: Cell, context: Context, retries: int) -> Values:
    """Measure until other programs leave the machine alone; the choice never looks at the figure itself."""
    best = once(server, cell, context)
    for _ in range(retries):
        if best["others"] <= QUIET_CORES or faults(best):
            break
        wait_for_quiet(PATIENCE_S)
        best = min(best, once(server, cell, context), key=lambda values: (not faults(values), values["others"]))
    return best


def one_cell(server: Server, cell: Cell, context: Context, results: Results, retries: int) -> str:
    """Measure and keep; returns what there is to say."""
    try:
        values = least_disturbed(server, cell, context, retries)
    except NotMeasured:
        return "left out: its load at N=100, window 4 was not measured"
    except (BenchmarkError, subprocess.TimeoutExpired) as error:
        results.errors.append(f"{server.name}, {cell.key}: {error}")
        return f"FAILED: {error}"
    results.add(server.name, cell.key, values)
    name = FIGURE[cell.kind]
    disturbed = f" (others used {values['others']:.2f} cores)" if values["others"] > QUIET_CORES else ""
    return f"{name} {short(float(values[name]))}{disturbed}"


def run(options: argparse.Namespace, servers: list[Server], context: Context, results: Results) -> None:
    """Interleaved: each round measures every cell, and each cell every server."""
    for round_ in range(1, options.rounds + 1):
        for cell in chosen_cells(options):
            for server in servers:
                if not cell.fits(server):
                    continue
                said = one_cell(server, cell, context, results, options.retries)
                say(f"[{time.strftime('%H:%M:%S')}] round {round_}, {cell.key}, {server.name}: {said}")


def page_of(results: Results, found: dict[str, str], options: argparse.Namespace, old: str) -> str:
    """The document: a run that was asked for one part of it leaves the other as it was."""
    length = {"rounds": options.rounds, "seconds": options.seconds}
    page, text = old, chapter.found_in(old)
    others = [kind for kind in options.cells if kind not in chapter.KINDS]
    if others:
        page = markdown(results.of(others), found, **length)
    if len(others) < len(options.cells):
        text = chapter.chapter(results, found, **length)
    return chapter.put_into(page, text) if text else page


def main() -> int:
    """Build, measure, report; 1 if a message was lost, a server failed, or the run was cut short."""
    options = arguments()
    raise_file_limit()
    if os.cpu_count() == 1:
        say("this machine has one core: server and client share it, and the figures mean little")
    build(npm=not options.only or any(name.startswith(("node", "bun", "socketio")) for name in options.only))
    servers = chosen_servers(options)
    cookie = session_cookie() if any(server.logged_in for server in servers) else None
    results = Results()
    cores = Cores() if (os.cpu_count() or 1) > 1 else Cores(None, None)
    timing = Timing(options.seconds, options.warmup, options.slow, options.slow_seconds)
    context = Context(cores, timing, cookie, lambda server: half_load(results, server))
    try:
        run(options, servers, context, results)
    except KeyboardInterrupt:
        results.errors.append("interrupted: the tables hold what was measured so far")
    found = facts()
    results.write(BUILD / "results.json", found)
    old = options.write.read_text() if options.write and options.write.exists() else ""
    page = page_of(results, found, options, old)
    print(page)
    if options.write:
        options.write.write_text(page)
    for error in results.errors:
        say(f"error: {error}")
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())
