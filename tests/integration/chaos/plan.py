"""What a run consists of: its groups, its numbers, and what is published in them."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["BY_NAME", "ENVIRONMENT", "GROUPS", "RULES", "GroupPlan", "Plan", "content", "is_content"]


class GroupPlan(NamedTuple):
    """A group and its rule; ``history`` 0: nothing is kept."""

    name: str
    history: int = 0
    drops: bool = False
    """Whether messages are left out for a member that reads too slowly."""

    @property
    def rule(self) -> dict[str, Any]:
        """The group's rule as antiphon's configuration has it."""
        rule: dict[str, Any] = {"subscribe": "allow", "history_size": self.history}
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
    mischief: float = 6.0
    """Things that go wrong per second."""
    patience: float = 30.0
    """Seconds that members have, when nothing goes wrong any more, to come back and reach the top."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of the server besides what every run has: faults."""

    @property
    def heals(self) -> bool:
        """Tell whether the engine's way to the hub loses publications, which the hub is to fill in."""
        return "CHAOS_CARRIER" in self.environment


#: So that limits are reached: slow readers are closed, and dead ones given up, while the run lasts.
ENVIRONMENT = {
    "ANTIPHON_OUTBOX_LIMIT": str(24 * 1024),
    "ANTIPHON_CLOSE_TIMEOUT": "1",
    "ANTIPHON_PING_INTERVAL": "6",
    "ANTIPHON_PING_TIMEOUT": "4",
    "ANTIPHON_POSITION_CHECK": "0.5",
    "ANTIPHON_DRAIN_TIME": "0",
}


@functools.lru_cache(maxsize=4096)
def content(group: str, number: int) -> dict[str, Any]:
    """Return the content of the group's publication ``number``: 1, 2, 3 …

    The application makes it, and whoever gets it can tell whether it is that. Not to be changed: it is remembered.
    """
    mixed = zlib.crc32(f"{group} {number}".encode())
    length = mixed % 4000 if mixed % 29 == 0 else mixed % 250
    return {"n": number, "group": group, "filling": f"{mixed:x}é\u2028" * (length // 10)}


def is_content(group: str, found: Any) -> bool:
    """Tell whether ``found`` is the content of some publication of the group, and nothing else."""
    return isinstance(found, dict) and type(found.get("n")) is int and found == content(group, found["n"])
