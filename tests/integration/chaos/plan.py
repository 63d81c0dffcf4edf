"""What a run consists of: its groups, its numbers, its server's settings, and what is published."""

from __future__ import annotations

import dataclasses
import functools
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "BY_NAME",
    "GROUPS",
    "LEASE",
    "RULES",
    "GroupPlan",
    "Plan",
    "content",
    "is_content",
    "key_of",
    "sqlite_url",
]


class GroupPlan(NamedTuple):
    """A group and its rule; ``history`` 0: nothing is kept."""

    name: str
    history: int = 0
    drops: bool = False
    """Whether messages are left out for a member that reads too slowly."""

    @property
    def rule(self) -> dict[str, Any]:
        """The group's rule as antiphon's configuration has it."""
        rule: dict[str, Any] = {"subscribe": "allow", "history_size": self.history, "presence": "kept"}
        return {**rule, "slow": "drop_oldest"} if self.drops else rule


GROUPS = (
    GroupPlan("long:a", 1000),
    GroupPlan("long:b", 1000),
    GroupPlan("short:a", 100),
    GroupPlan("short:b", 100),
    GroupPlan("live:a"),
    GroupPlan("ticker:a", drops=True),
)
BY_NAME = {group.name: group for group in GROUPS}
RULES = {group.name: group.rule for group in GROUPS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbers of a run."""

    seed: int
    clients: int
    publications: int
    seconds: float
    """Over which the publications are spread."""
    sdks: int = 10
    """Clients of the real SDK in each encoding, at most."""
    pages: int = 0
    """Clients that are antiphon's own for browsers, at most."""
    engine: str = "memory://"
    workers: int = 1
    """Processes of the server: with more than one they are killed and frozen, too, and several publish."""
    calm: float = 8.0
    """Seconds between two things that go wrong with a worker, about; 0: nothing does."""
    redis_calm: float = 5.0
    """Seconds between two things that go wrong with Redis, about, beyond what it takes to recover."""
    harm: tuple[str, ...] = ()
    """What is done to Redis, by the names of ``Saboteur``; empty: everything."""
    mischief: float = 6.0
    """Things that go wrong per second."""
    patience: float = 30.0
    """Seconds that members have, when nothing goes wrong any more, to come back and reach the top."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of the server besides what every run has: faults."""

    @property
    def is_shared(self) -> bool:
        """Tell whether several processes publish, so that what one of them is asked may have to be asked again."""
        return self.workers > 1

    @property
    def reaps(self) -> bool:
        """Tell whether workers are killed and frozen."""
        return self.is_shared and self.calm > 0

    @property
    def forgets(self) -> bool:
        """Tell whether the engine may lose what it has, so that groups begin other epochs."""
        return self.engine.startswith("redis")

    @property
    def heals(self) -> bool:
        """Tell whether the engine's way to the hub loses publications, which the hub is to fill in."""
        return self.is_shared or "CHAOS_CARRIER" in self.environment

    @property
    def settings(self) -> dict[str, str]:
        """The environment of every process that takes part."""
        return {
            **_ENVIRONMENT,
            "ANTIPHON_RULES": json.dumps(RULES),
            "ANTIPHON_ENGINE": self.engine,
            **self.environment,
        }


#: Seconds after which a process that gives no sign of life is dead for the others.
LEASE = 3.0
#: So that limits are reached: slow readers are closed, and dead ones given up, while the run lasts.
_ENVIRONMENT = {
    "ANTIPHON_OUTBOX_LIMIT": str(24 * 1024),
    "ANTIPHON_CLOSE_TIMEOUT": "1",
    "ANTIPHON_PING_INTERVAL": "6",
    "ANTIPHON_PING_TIMEOUT": "4",
    "ANTIPHON_POSITION_CHECK": "0.5",
    "ANTIPHON_DRAIN_TIME": "0",
}


def sqlite_url(folder: Path) -> str:
    """Return the engine of a run in this folder; a worker that freezes while it writes is to be noticed."""
    return f"sqlite:///{folder}/chaos.db?lease={LEASE:g}&busy_timeout=1"


@functools.lru_cache(maxsize=4096)
def content(group: str, number: int) -> dict[str, Any]:
    """Return the content of the group's publication ``number``: 1, 2, 3 …

    The application makes it, and whoever gets it can tell whether it is that. Not to be changed: it is remembered.
    """
    mixed = zlib.crc32(f"{group} {number}".encode())
    length = mixed % 4000 if mixed % 29 == 0 else mixed % 250
    return {"n": number, "group": group, "filling": f"{mixed:x}é\u2028" * (length // 10)}


def key_of(number: int) -> str:
    """Return the idempotency key of a group's publication."""
    return f"n{number}"


def is_content(group: str, found: Any) -> bool:
    """Tell whether ``found`` is the content of some publication of the group, and nothing else."""
    return isinstance(found, dict) and type(found.get("n")) is int and found == content(group, found["n"])
