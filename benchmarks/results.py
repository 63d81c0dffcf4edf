"""All figures of one run, by server and cell."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.cells import Values, faults
from benchmarks.machine import QUIET_CORES
from benchmarks.servers import CONNECT, DEFLATE, ECHO, FANOUT, IDLE, LATENCY, PROCESSES, REACH, SLOW

FIGURE = {
    FANOUT: "deliveries_per_s",
    DEFLATE: "deliveries_per_s",
    PROCESSES: "deliveries_per_s",
    REACH: "p50_us",
    LATENCY: "p99_us",
    SLOW: "p99_ratio",
    ECHO: "echoes_per_s",
    CONNECT: "connections_per_s",
    IDLE: "bytes_per_connection",
}
"""The field of each kind of cell that its table shows."""


@dataclass(frozen=True)
class Spread:
    """A median and the extremes of the rounds."""

    median: float
    low: float
    high: float
    disturbed: bool = False
    """No round was left alone by other programs."""


@dataclass
class Results:
    """What was measured, and what went wrong."""

    rounds: dict[tuple[str, str], list[Values]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, server: str, cell: str, values: Values) -> None:
        """Keep one round's values; faults that the checker counted are errors."""
        self.rounds.setdefault((server, cell), []).append(values)
        for name, count in faults(values).items():
            self.errors.append(f"{server}, {cell}: {name} {count}")

    def spread(self, server: str, cell: str, name: str | None = None) -> Spread | None:
        """Median and extremes of one field (by default the one of the cell's table); None where nobody has it.

        Rounds that other programs disturbed count only where no round was left alone.
        """
        rounds = self.rounds.get((server, cell))
        if not rounds:
            return None
        quiet = [values for values in rounds if values["others"] <= QUIET_CORES]
        rounds = quiet or rounds
        name = name or FIGURE[cell.split("/")[0]]
        figures = [float(values[name]) for values in rounds if name in values]
        if not figures:
            return None
        return Spread(median(figures), min(figures), max(figures), disturbed=not quiet)

    def median(self, server: str, cell: str, name: str | None = None) -> float | None:
        """The median alone."""
        spread = self.spread(server, cell, name)
        return spread.median if spread else None

    def cells(self, kind: str) -> list[str]:
        """The keys of the cells of one kind, in the order of their sizes."""
        keys = {cell for _, cell in self.rounds if cell.split("/")[0] == kind}
        return sorted(keys, key=lambda key: [int(part) for part in key.split("/")[1:]])

    def of(self, kinds: Collection[str]) -> Results:
        """The part that has to do with cells of these kinds; what is said of none is in every part."""
        rounds = {key: values for key, values in self.rounds.items() if key[1].split("/")[0] in kinds}
        others = [f", {kind}/" for kind in FIGURE if kind not in kinds]
        return Results(rounds, [error for error in self.errors if not any(other in error for other in others)])

    def write(self, path: Path, facts: dict[str, str]) -> None:
        """Everything, as JSON."""
        rows = [
            {"server": server, "cell": cell, "rounds": rounds} for (server, cell), rounds in sorted(self.rounds.items())
        ]
        path.write_text(json.dumps({"facts": facts, "results": rows, "errors": self.errors}, indent=1) + "\n")
