"""What else the machine does: figures taken while other programs are at work are not worth much."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

QUIET_CORES = 0.15
"""A measurement during which other programs kept more than this busy is disturbed."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """CPU time of all processes since boot, over all cores, with what the hypervisor took away."""
    user, nice, system, _, _, irq, softirq, steal = (int(part) for part in Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_S


def wait_for_quiet(limit_s: float) -> None:
    """Return when the machine has nothing to do (this process sleeps meanwhile), or when the time is over."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        started, before = time.monotonic(), busy_seconds()
        time.sleep(0.5)
        if busy_seconds() - before <= QUIET_CORES * (time.monotonic() - started):
            return


def own_seconds(pids: Iterable[int]) -> float:
    """CPU time of the server's processes, of this process, and of its children that have ended (the load client)."""
    used = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used += (int(fields[11]) + int(fields[12])) * TICK_S
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    return used


@dataclass
class Watch:
    """Measures, from its making on, how many cores everything else kept busy."""

    pids: list[int]
    started: float = field(default_factory=time.monotonic)
    busy: float = field(default_factory=busy_seconds)
    own: float = field(init=False)

    def __post_init__(self) -> None:
        self.own = own_seconds(self.pids)

    def others(self) -> float:
        """Cores that were busy with something else: 0.0 on a quiet machine."""
        wall = time.monotonic() - self.started
        foreign = (busy_seconds() - self.busy) - (own_seconds(self.pids) - self.own)
        return max(0.0, foreign / wall) if wall else 0.0
