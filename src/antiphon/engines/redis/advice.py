"""What of a server's settings does not suit: read from what ``INFO`` says."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Advice", "advise", "is_too_old"]

#: The oldest version that has the commands of the scripts; of a cluster, channels that stay in one place.
OLDEST, OLDEST_IN_CLUSTER = (6, 2), (7, 0)


class Advice(NamedTuple):
    """A setting that does not suit."""

    is_risk: bool
    """Whether clients will be told of gaps though nothing has failed."""
    words: str


def is_too_old(version: str, *, in_cluster: bool) -> bool:
    """Tell whether a server of this version can't be used; one that does not say may be tried."""
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    return bool(numbers) and numbers < (OLDEST_IN_CLUSTER if in_cluster else OLDEST)


def advise(info: str) -> list[Advice]:
    """Return what is to be said of ``INFO memory`` and ``INFO persistence``."""
    lines = (line.partition(":") for line in info.splitlines())
    said = {name: value.strip() for name, _, value in lines}
    found = []
    policy = said.get("maxmemory_policy", "noeviction")
    if said.get("maxmemory", "0") != "0" and policy != "noeviction":
        words = (
            f"its maxmemory-policy is {policy}: when its memory is full it drops streams and positions, and members "
            "are told of gaps. Set it to noeviction"
        )
        found.append(Advice(True, words))
    if said.get("aof_enabled", "1") == "0":
        words = (
            "it keeps no append-only file: when it is started again every group begins anew, and members with a "
            "position are told of a gap. Set appendonly to yes, unless that is meant"
        )
        found.append(Advice(False, words))
    return found
