"""What of a server's settings does not suit: read from what ``INFO`` and ``CONFIG GET`` say of it.

At the start of an engine it is said what loses something though nothing has failed (``advise``); the rest is for who
asks how well a server is set up (``advise_fully``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["SETTINGS", "Advice", "advise", "advise_fully", "is_too_old", "number", "read_info"]

#: The oldest version that has the commands of the scripts; of a cluster, channels that stay in one place.
OLDEST, OLDEST_IN_CLUSTER = (6, 2), (7, 0)
#: The settings to ask for with ``CONFIG GET``; ``INFO`` does not tell them.
SETTINGS = ("appendfsync", "client-output-buffer-limit")
#: Above this part of a limit it is nearly reached.
NEARLY = 0.8
#: Bytes that a subscriber may leave unread, at least: a process that collects garbage is not to lose its connection.
LEAST_BUFFER = 8 << 20


class Advice(NamedTuple):
    """A setting that does not suit."""

    name: str
    """Its name for good."""
    is_risk: bool
    """Whether something is lost, or clients are told of gaps, though nothing has failed or will for long."""
    setting: str
    problem: str
    """What is wrong, of ``it``, the server; a sentence without its full stop."""
    remedy: str
    """What to do: a sentence without its full stop."""

    @property
    def words(self) -> str:
        """Both."""
        return f"{self.problem}. {self.remedy}"


#: What a server says of itself, by the names of ``INFO`` and of ``CONFIG``, which have none in common. Who asks adds
#: ``takes_over``: yes, where sentinels or a cluster let a replica take over.
Said = Mapping[str, str]


def is_too_old(version: str, *, in_cluster: bool) -> bool:
    """Tell whether a server of this version can't be used; one that does not say may be tried."""
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    return bool(numbers) and numbers < (OLDEST_IN_CLUSTER if in_cluster else OLDEST)


def read_info(info: str) -> dict[str, str]:
    """Return what ``INFO`` says, by name."""
    lines = (line.partition(":") for line in info.splitlines())
    return {name: value.strip() for name, sign, value in lines if sign}


def advise(info: str) -> list[Advice]:
    """Return what is to be said at the start, of ``INFO memory`` and ``INFO persistence``."""
    said = read_info(info)
    return [advice for check in _AT_START for advice in check(said)]


def advise_fully(said: Said) -> list[Advice]:
    """Return all there is to be said, the risks first; what the server does not tell is taken to be in order."""
    found = [advice for check in (*_AT_START, *_WHEN_ASKED) for advice in check(said)]
    return sorted(found, key=lambda advice: not advice.is_risk)


def _evicts(said: Said) -> Iterator[Advice]:
    policy = said.get("maxmemory_policy", "noeviction")
    if number(said, "maxmemory") and policy != "noeviction":
        problem = (
            f"its maxmemory-policy is {policy}: when its memory is full it drops streams and positions, and members "
            "are told of gaps"
        )
        yield Advice("evicts", True, "maxmemory-policy", problem, "Set it to noeviction")


def _forgets(said: Said) -> Iterator[Advice]:
    if said.get("aof_enabled", "1") == "0":
        problem = (
            "it keeps no append-only file: when it is started again every group begins anew, and members with a "
            "position are told of a gap"
        )
        yield Advice("forgets", False, "appendonly", problem, "Set appendonly to yes, unless that is meant")


def _syncs_late(said: Said) -> Iterator[Advice]:
    policy = said.get("appendfsync", "always")
    if said.get("aof_enabled", "0") == "0" or policy == "always":
        return
    lost = "the last second" if policy == "everysec" else "whatever the kernel has not written yet, half a minute maybe"
    problem = (
        f"its appendfsync is {policy}: a power cut loses {lost}, and who was away then may not notice; the end of the "
        "process alone loses nothing"
    )
    remedy = "Set appendfsync to always where that must not be; it costs a write to the disk per round of commands"
    yield Advice("syncs-late", policy == "no", "appendfsync", problem, remedy)


def _cannot_save(said: Said) -> Iterator[Advice]:
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if said.get(name, "ok") != "ok":
            problem = f"it could not write its {what} the last time: it takes no publications until it can"
            yield Advice("cannot-save", True, what, problem, "See its log, and the room on its disk")


def _is_nearly_full(said: Said) -> Iterator[Advice]:
    used, limit = number(said, "used_memory"), number(said, "maxmemory")
    if limit and used > NEARLY * limit and said.get("maxmemory_policy", "noeviction") == "noeviction":
        problem = f"its memory is {100 * used // limit} % full; when it is full, publications are refused"
        remedy = "Raise maxmemory, or keep less: history_size and history_lifetime of the rules"
        yield Advice("nearly-full", True, "maxmemory", problem, remedy)


def _is_unlimited(said: Said) -> Iterator[Advice]:
    if said.get("maxmemory") == "0":
        problem = "it may take all memory of its host, and is killed when there is no more"
        remedy = "Set maxmemory to what it may have, and maxmemory-policy to noeviction"
        yield Advice("no-limit", False, "maxmemory", problem, remedy)


def _drops_subscribers(said: Said) -> Iterator[Advice]:
    limits = said.get("client-output-buffer-limit", "").split()
    if "pubsub" not in limits:
        return
    at = limits.index("pubsub")
    hard, soft, seconds = (int(each) for each in limits[at + 1 : at + 4])
    setting = "client-output-buffer-limit"
    if 0 < min(hard or LEAST_BUFFER, (seconds and soft) or LEAST_BUFFER) < LEAST_BUFFER:
        problem = (
            f"its client-output-buffer-limit for pubsub is {hard} {soft} {seconds}: a process that does not read for "
            "a moment is cut off, and has to read what it missed from the streams"
        )
        yield Advice("cuts-off", False, setting, problem, "Set it to pubsub 33554432 8388608 60, the default, or more")
    elif not hard and not (soft and seconds):
        problem = (
            "it sets no limit to what waits for a subscriber: a process that stands still fills its memory with what "
            "it does not read"
        )
        remedy = "Set client-output-buffer-limit to pubsub 33554432 8388608 60, the default"
        yield Advice("no-buffer-limit", False, setting, problem, remedy)


def _is_alone(said: Said) -> Iterator[Advice]:
    if said.get("takes_over") == "yes" and said.get("connected_slaves") == "0":
        problem = "it has no replica that could take over: its groups are away for as long as it is"
        yield Advice("no-replica", False, "replicas", problem, "Give each master a replica, on another host")


def _is_crowded(said: Said) -> Iterator[Advice]:
    clients, limit = number(said, "connected_clients"), number(said, "maxclients")
    if limit and clients > NEARLY * limit:
        problem = f"{clients} of the {limit} connections that it takes are in use; each process of antiphon takes two"
        yield Advice("crowded", True, "maxclients", problem, "Raise maxclients, and the limit of open files with it")


def number(said: Said, name: str) -> int:
    """Return a number that it has said; 0, where it has not."""
    value = said.get(name, "")
    return int(value) if value.isdigit() else 0


_Check = Callable[[Said], Iterator[Advice]]
_AT_START: tuple[_Check, ...] = (_evicts, _forgets)
_WHEN_ASKED: tuple[_Check, ...] = (
    _syncs_late,
    _cannot_save,
    _is_nearly_full,
    _is_unlimited,
    _drops_subscribers,
    _is_alone,
    _is_crowded,
)
