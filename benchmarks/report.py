"""The run as Markdown: tables for people, goals, and what the figures depend on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from benchmarks.cells import FAULTS, RECORDS_BYTES, SLOW_BYTES
from benchmarks.goals import Verdict, verdicts
from benchmarks.paths import PYTHON, ROOT
from benchmarks.results import Results, Spread
from benchmarks.servers import CONNECT, DEFLATE, ECHO, FANOUT, IDLE, LATENCY, SERVERS, SLOW, Server

Fields = list[tuple[str, Callable[[float], str]]]

INTRODUCTION = """\
Server and load client run on one core each. Where nothing else is said, a message is a text frame of about 60 bytes.
A message that one member publishes is complete when all N members have it; the *window* is how many messages the
publisher keeps in flight. Figures are medians over the rounds, with the lowest and the highest in brackets. How they
are made, and how to read them, is in [benchmarks/README.md](../benchmarks/README.md).
"""
CHECKED = """\
The client checks that every member gets every message once, in order, and unaltered. *Misplaced* is for Centrifuge's
wire: the offset of a publication is not the one behind that of the message before.
"""


def markdown(results: Results, facts: dict[str, str], *, rounds: int, seconds: float) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks",
        f"{INTRODUCTION}\n{facts['date']}, {facts['CPU']}; {rounds} rounds of {seconds:g} s for each cell. "
        + disturbance(results),
        *tables(results),
        "## Goals",
        goals_table(verdicts(results)),
        "## Losses",
        CHECKED + "\n" + losses(results),
        "## Versions",
        table(["what", "version"], [[name, value] for name, value in facts.items()]),
        "## How each server was started",
        commands(results),
        "Run: `" + " ".join(["python -m benchmarks.run", *sys.argv[1:]]) + "`",
    ]
    return "\n\n".join(parts) + "\n"


def disturbance(results: Results) -> str:
    """How much else the machine had to do meanwhile."""
    others = [float(values["others"]) for rounds in results.rounds.values() for values in rounds]
    if not others:
        return "Nothing was measured."
    used = f"Other programs used {median(others):.2f} cores meanwhile (median; at most {max(others):.2f})."
    return f"{used} `~` marks figures of which every round was disturbed."


def tables(results: Results) -> Iterable[str]:
    """One table for each kind of cell that was measured."""
    sizes = sorted({int(cell.split("/")[1]) for cell in results.cells(FANOUT)})
    for n in sizes:
        keys = [cell for cell in results.cells(FANOUT) if cell.split("/")[1] == str(n)]
        heads = [f"window {key.split('/')[2]}" for key in keys]
        yield f"## Fan-out to {n:,} members, deliveries per second"
        yield grid(results, keys, heads, short)
        yield f"Publish to complete, p50 / p99 in ms, {n:,} members:"
        yield grid(results, keys, heads, None)
    yield from compression(results)
    yield from single(results, LATENCY, "Latency at half of the load, {n} members, p99 in ms", milliseconds)
    yield from slow_member(results)
    yield from single(results, ECHO, "Echo, {n} connections, echoes per second", short)
    yield from single(results, CONNECT, "Connections opened and closed per second ({n}, 32 at a time)", short)
    yield from single(results, IDLE, "Memory per idle connection, {n} connections, KiB", kibibytes)


def compression(results: Results) -> Iterable[str]:
    """For each number of members: deliveries per second, and what a delivery was."""
    for n in sorted({int(cell.split("/")[1]) for cell in results.cells(DEFLATE)}):
        keys = [cell for cell in results.cells(DEFLATE) if cell.split("/")[1] == str(n)]
        yield f"## Fan-out with compression to {n:,} members, deliveries per second"
        yield (
            f"Every message is JSON of about {RECORDS_BYTES:,} bytes, a list of records with new figures each time; "
            "every member has negotiated permessage-deflate. *Bytes* are those of a frame as it arrives. *Client* is "
            "how much of its core the load client used, which inflates and checks. Both are of the last window."
        )
        fields: Fields = [
            ("bytes_per_delivery", short),
            ("compressions_per_publication", decimal),
            ("client_cpu", decimal),
        ]
        rows = []
        for server in measured(results, keys):
            figures = [spread_text(results.spread(server.name, key), short) for key in keys]
            facts = [spread_text(results.spread(server.name, keys[-1], name), form) for name, form in fields]
            rows.append([server.label, *figures, *facts])
        windows = [f"window {key.split('/')[2]}" for key in keys]
        yield table(["server", *windows, "bytes", "compressions per publication", "client"], rows)


def slow_member(results: Results) -> Iterable[str]:
    """What one member that does not read costs the others and the server, and what becomes of it."""
    for key in results.cells(SLOW):
        yield f"## One of {int(key.split('/')[1]):,} members does not read"
        yield (
            f"Messages of {SLOW_BYTES} bytes go by the clock, at half of what the server had just done with window 64; "
            "first all members read, then one of them reads nothing until the end. p99 is that of the others, in ms, "
            "counted from the moment at which a message was due. Memory is the server's at its highest, minus that "
            "before the first message, in MiB. *Missed* is what the member was not sent, without being told: its "
            "connection stayed open."
        )
        fields: Fields = [
            ("rate", short),
            ("published", short),
            ("p99_us_without", milliseconds),
            ("p99_us", milliseconds),
            ("p99_ratio", decimal),
            ("grown_bytes_without", mebibytes),
            ("grown_bytes", mebibytes),
        ]
        heads = ["messages/s", "messages", "p99 without", "p99 with", "ratio", "memory without", "memory with"]
        rows = []
        for server in measured(results, [key]):
            figures = [spread_text(results.spread(server.name, key, name), form) for name, form in fields]
            rows.append([server.label, *figures, ending(results, server, key)])
        yield table(["server", *heads, "the slow member"], rows)


def ending(results: Results, server: Server, key: str) -> str:
    """What became of the slow member in the last round, as the server or else the member itself saw it."""
    last = results.rounds[server.name, key][-1]
    code = last.get("slow_closed_with") or last["slow_code"]
    if not code:
        return f"stays open, missed {last['slow_missed']:,}"
    counted = f", `slow_clients` {last['slow_clients']}" if "slow_clients" in last else ""
    return f"closed with {code}{counted}, missed {last['slow_missed']:,}"


def single(results: Results, kind: str, title: str, form: Callable[[float], str]) -> Iterable[str]:
    """A table with one column of figures."""
    for key in results.cells(kind):
        yield "## " + title.format(n=f"{int(key.split('/')[1]):,}")
        if kind == LATENCY:
            yield (
                "Each server gets half of the messages per second that it reached itself with window 4, by the clock; "
                "the latency counts from the moment at which a message was due."
            )
            heads = ["offered, messages/s", "p50", "p99"]
            yield grid_of(results, key, heads, [("rate", short), ("p50_us", milliseconds), ("p99_us", milliseconds)])
        else:
            yield grid(results, [key], ["median (low–high)"], form)


def measured(results: Results, keys: list[str]) -> list[Server]:
    """The servers that have a figure in one of the cells."""
    return [server for server in SERVERS if any((server.name, key) in results.rounds for key in keys)]


def grid(results: Results, keys: list[str], heads: list[str], form: Callable[[float], str] | None) -> str:
    """Servers down, cells across; without a form, the cell's p50 and p99."""
    rows = []
    for server in measured(results, keys):
        cells = []
        for key in keys:
            if form is None:
                p50, p99 = results.median(server.name, key, "p50_us"), results.median(server.name, key, "p99_us")
                cells.append(f"{p50 / 1e3:.2f} / {p99 / 1e3:.2f}" if p50 is not None and p99 is not None else "–")
            else:
                cells.append(spread_text(results.spread(server.name, key), form))
        rows.append([server.label, *cells])
    return table(["server", *heads], rows)


def grid_of(results: Results, key: str, heads: list[str], fields: Fields) -> str:
    """Servers down, several fields of one cell across."""
    rows = [
        [server.label, *(spread_text(results.spread(server.name, key, name), form) for name, form in fields)]
        for server in measured(results, [key])
    ]
    return table(["server", *heads], rows)


def goals_table(goals: Iterable[Verdict]) -> str:
    """Each goal, the run's figure, and whether it is met."""
    words = {True: "yes", False: "**no**", None: "not measured"}
    rows = [
        [
            goal.goal,
            f"{'≤' if goal.at_most else '≥'} {goal.should:g}",
            "–" if goal.is_ is None else f"{goal.is_:.2f}",
            words[goal.met],
        ]
        for goal in goals
    ]
    return table(["goal", "wanted", "measured", "met"], rows)


def losses(results: Results) -> str:
    """What the checker counted, per server, over all cells and rounds."""
    rows = []
    for server in SERVERS:
        runs = [values for (name, _), rounds in results.rounds.items() if name == server.name for values in rounds]
        checked = [values for values in runs if "lost" in values]
        if checked:
            rows.append([server.label, *(str(sum(int(values.get(name, 0)) for values in checked)) for name in FAULTS)])
    errors = "".join(f"\n- {error}" for error in results.errors)
    return table(["server", *FAULTS], rows) + (f"\n\nErrors:\n{errors}" if errors else "")


def commands(results: Results) -> str:
    """The command and the settings of each server that took part."""
    names = {name for name, _ in results.rounds}
    lines = []
    for server in SERVERS:
        if server.name in names:
            environment = "".join(f"{name}={value} " for name, value in server.env.items())
            command = environment + " ".join(shown(part) for part in server.command)
            lines.append(f"- {server.label}: `{command}`" + (f" ({server.note})" if server.note else ""))
    return "\n".join(lines)


def shown(part: str) -> str:
    """A part of a command as one would type it, without this machine's folders."""
    if part == PYTHON:
        return "python"
    return str(Path(part).relative_to(ROOT)) if part.startswith(f"{ROOT}/") else part


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread_text(spread: Spread | None, form: Callable[[float], str]) -> str:
    """Median, and the extremes in brackets."""
    if spread is None:
        return "–"
    mark = "~" if spread.disturbed else ""
    if spread.low == spread.high:
        return mark + form(spread.median)
    return f"{mark}{form(spread.median)} ({form(spread.low)}–{form(spread.high)})"


def short(value: float) -> str:
    """235k, 1.07M; small figures as they are."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.3g}{unit}"
    return f"{value:.0f}" if value >= 10 else f"{value:.3g}"


def milliseconds(value: float) -> str:
    """Microseconds as milliseconds."""
    return f"{value / 1e3:.2f}"


def decimal(value: float) -> str:
    """0.97."""
    return f"{value:.2f}"


def mebibytes(value: float) -> str:
    """Bytes as MiB."""
    return f"{value / 2**20:.1f}"


def kibibytes(value: float) -> str:
    """Bytes as KiB."""
    return f"{value / 1024:.1f}"
