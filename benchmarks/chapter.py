"""The chapter about two processes and one Redis: whole by itself, so that it can be measured and replaced by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.cells import REACH_RATE
from benchmarks.goals import processes_goals
from benchmarks.processes import REDIS_COMMAND
from benchmarks.report import commands, disturbance, goals_table, grid, grid_of, losses, milliseconds, short
from benchmarks.results import Results
from benchmarks.servers import PROCESSES, REACH

TITLE = "## Two processes and one Redis"
KINDS = (PROCESSES, REACH)
VERSIONS = (
    *("kernel", "Redis", "Python", "antiphon", "hiredis", "uvicorn", "uvloop", "httptools", "websockets"),
    *("channels", "channels_redis", "redis", "Node", "socket.io", "@socket.io/redis-adapter", "redis of npm"),
)
INTRODUCTION = """\
Each server is two processes on two ports, and a Redis of their own without a disk, all on one machine. Half of the
members are clients of one process and half of the other; the publisher is a client of the first. Deliveries are counted
over both. The first process and Redis are on core 0, the second and the load client on core 1, whatever the server. The
line of one process with the memory engine is there to compare with: server on core 0, load client on core 1.
"""
REACHED = f"""\
One member in each process, {REACH_RATE} messages per second by the clock, and nothing else to do. From the moment at
which a client was due to publish, until its message is with a client of the other process and with itself, in ms.
"""


def chapter(results: Results, facts: dict[str, str], *, rounds: int, seconds: float) -> str:
    """What is between the title and the next one, with the title."""
    measured = results.of(KINDS)
    parts = [
        TITLE,
        INTRODUCTION
        + f"\n{facts['date']}, {facts['CPU']}; {rounds} rounds of {seconds:g} s for each cell. "
        + disturbance(measured),
        *tables(measured),
        "### Goals of this chapter",
        goals_table(processes_goals(measured)),
        "### Losses of this chapter",
        losses(measured),
        "### How they were started",
        commands(measured) + "\n- Redis: `" + " ".join(part or '""' for part in REDIS_COMMAND) + "`",
        "Versions: " + ", ".join(f"{name} {facts[name]}" for name in VERSIONS if name in facts) + ".",
        "Run: `" + " ".join(["python -m benchmarks.run", *sys.argv[1:]]) + "`",
    ]
    return "\n\n".join(parts) + "\n"


def tables(results: Results) -> Iterator[str]:
    """Deliveries, the time that they took, and the way from one process to the other."""
    keys = results.cells(PROCESSES)
    if keys:
        heads = [f"N={n}, window {window}" for _, n, window in (key.split("/") for key in keys)]
        yield "### Deliveries per second"
        yield grid(results, keys, heads, short)
        yield "Publish to complete, p50 / p99 in ms:"
        yield grid(results, keys, heads, None)
    for key in results.cells(REACH):
        yield "### From one process to the other"
        yield REACHED.rstrip()
        yield grid_of(results, key, ["p50", "p99"], [("p50_us", milliseconds), ("p99_us", milliseconds)])


def found_in(page: str) -> str:
    """The chapter that a page has; nothing where it has none."""
    start, end = _place(page)
    return page[start:end]


def put_into(page: str, text: str) -> str:
    """The page with this chapter in the place of its own, or behind everything; the rest stays as it is."""
    start, end = _place(page)
    before, after = page[:start].rstrip("\n"), page[end:].lstrip("\n")
    return "\n\n".join(part for part in (before, text.rstrip("\n"), after.rstrip("\n")) if part) + "\n"


def _place(page: str) -> tuple[int, int]:
    start = f"\n{page}".find(f"\n{TITLE}\n")
    if start < 0:
        return len(page), len(page)
    end = page.find("\n## ", start + len(TITLE))
    return start, len(page) if end < 0 else end + 1
