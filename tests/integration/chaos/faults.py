"""What can be broken in the server, by two variables of the environment of ``app`` alone.

``CHAOS_FAULT=<name>:<every>`` breaks antiphon itself, once in so many publications or recoveries, in a way that nobody
is told of: the checker has to find it. ``CHAOS_CARRIER=<every>`` loses, repeats and delays what the engine tells the
hub, once each in so many publications of groups with history: antiphon has to make up for it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Any

import msgspec

from antiphon.following import Following
from antiphon.hub import Hub
from antiphon.stream import Recovery

from .plan import BY_NAME

__all__ = ["FAULTS", "install"]

_deliver = Hub.deliver_publication
_take = Hub.on_publication
_catch_up = Following.catch_up


def install() -> None:
    """Break what the environment names."""
    fault, _, every = os.environ.get("CHAOS_FAULT", "").partition(":")
    if fault:
        FAULTS[fault](int(every))
    carrier = os.environ.get("CHAOS_CARRIER")
    if carrier:
        _carrier(int(carrier))


def _delivering(every: int, broken: Any) -> None:
    """Let ``broken`` deliver one publication in so many."""
    count = itertools.count(1)

    def deliver_publication(hub: Hub, group: Any, publication: Any) -> None:
        if next(count) % every == 0:
            broken(hub, group, publication)
        else:
            _deliver(hub, group, publication)

    Hub.deliver_publication = deliver_publication  # type: ignore[method-assign, assignment]


def _drop(every: int) -> None:
    _delivering(every, lambda hub, group, publication: None)


def _repeat(every: int) -> None:
    def twice(hub: Hub, group: Any, publication: Any) -> None:
        _deliver(hub, group, publication)
        _deliver(hub, group, publication)

    _delivering(every, twice)


def _swap(every: int) -> None:
    """Deliver one when the loop has gone on: behind what comes in the same turn."""

    def later(hub: Hub, group: Any, publication: Any) -> None:
        hub.loop.call_later(0.05, _deliver, hub, group, publication)

    _delivering(every, later)


def _spoil(every: int) -> None:
    def spoiled(hub: Hub, group: Any, publication: Any) -> None:
        data = publication.data.replace(b'"filling":"', b'"filling":"!')
        _deliver(hub, group, msgspec.structs.replace(publication, data=data))

    _delivering(every, spoiled)


def _recovering(every: int, broken: Any) -> None:
    """Let ``broken`` change one recovery in so many of those that it can change."""
    count = itertools.count(1)

    async def catch_up(following: Following, group: Any, since: Any) -> Recovery:
        recovery = await _catch_up(following, group, since)
        changed: Recovery | None = broken(since, recovery)
        return changed if changed is not None and next(count) % every == 0 else recovery

    Following.catch_up = catch_up  # type: ignore[method-assign, assignment]


def _thin(every: int) -> None:
    """Leave the first out of what is recovered."""
    _recovering(
        every, lambda _, found: found._replace(publications=found.publications[1:]) if found.publications else None
    )


def _claim(every: int) -> None:
    """Claim that a gap is none."""
    _recovering(every, lambda since, found: found._replace(recovered=True) if since and not found.recovered else None)


def _deny(every: int) -> None:
    """Claim a gap where there is none, and give nothing."""
    _recovering(every, lambda since, found: Recovery(False, (), found.position) if since and found.recovered else None)


FAULTS = {
    "drop": _drop,
    "repeat": _repeat,
    "swap": _swap,
    "spoil": _spoil,
    "thin": _thin,
    "claim": _claim,
    "deny": _deny,
}


def _carrier(every: int) -> None:
    count = itertools.count(1)

    def on_publication(hub: Hub, group: str, publication: Any) -> None:
        turn = next(count) % every if BY_NAME[group].history else 0
        if turn == 1:
            return
        if turn == 2:
            asyncio.get_running_loop().call_later(0.02, _take, hub, group, publication)
            return
        _take(hub, group, publication)
        if turn == 3:
            _take(hub, group, publication)

    Hub.on_publication = on_publication  # type: ignore[method-assign, assignment]
