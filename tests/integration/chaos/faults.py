"""What can be broken in those who take part, by variables of their environment.

``CHAOS_FAULT=<name>:<every>`` breaks antiphon itself, once in so many publications, recoveries or questions, in a way
that nobody is told of: the checker has to find it. ``CHAOS_CARRIER=<every>`` loses, repeats and delays what the engine
tells the hub, once each in so many publications of groups with history: antiphon has to make up for it.
``CHAOS_REFUSAL=<every>`` lets the engine raise for one publication with a key in so many, which it has made or not:
whoever publishes has to ask again.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import zlib
from typing import Any

import msgspec

from antiphon.engines.memory import MemoryEngine
from antiphon.engines.redis.engine import RedisEngine
from antiphon.engines.sqlite.engine import SqliteEngine
from antiphon.exceptions import EngineUnavailable, OutcomeUnknown
from antiphon.following import Following
from antiphon.hub import Hub
from antiphon.stream import Recovery
from antiphon.types import Position

from .plan import BY_NAME

__all__ = ["FAULTS", "install"]

_deliver = Hub.deliver_publication
_take = Hub.on_publication
_lose = Hub.on_continuity_lost
_catch_up = Following.catch_up


def install() -> None:
    """Break what the environment names."""
    fault, _, every = os.environ.get("CHAOS_FAULT", "").partition(":")
    if fault:
        FAULTS[fault](int(every))
    carrier = os.environ.get("CHAOS_CARRIER")
    if carrier:
        _carrier(int(carrier))
    refusal = os.environ.get("CHAOS_REFUSAL")
    if refusal:
        _refuse(int(refusal))


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


def _deaf(every: int) -> None:
    """Do not hear of it that the engine may have missed something."""
    count = itertools.count(1)

    def on_continuity_lost(hub: Hub) -> None:
        if next(count) % every:
            _lose(hub)

    Hub.on_continuity_lost = on_continuity_lost  # type: ignore[method-assign, assignment]


# Faults of the engine, whichever it is


def _wrap(verb: str, wrapper: Any) -> None:
    """Let ``wrapper`` take each call of an engine's verb: it is given the verb itself ahead of the arguments."""
    for engine in (MemoryEngine, SqliteEngine, RedisEngine):
        setattr(engine, verb, functools.partialmethod(wrapper, getattr(engine, verb)))


def _answering(verb: str, every: int, broken: Any) -> None:
    """Let ``broken`` change one answer in so many."""
    count = itertools.count(1)

    async def answer(engine: Any, asked: Any, *arguments: Any, **options: Any) -> Any:
        found = await asked(engine, *arguments, **options)
        return broken(found, *arguments, **options) if next(count) % every == 0 else found

    _wrap(verb, answer)


def _double(every: int) -> None:
    """Give the position of the publication before."""
    _answering("publish", every, lambda found, *_: Position(found.epoch, max(found.offset - 1, 1)))


def _unkeyed(every: int) -> None:
    """Forget what was published with an idempotency key."""

    async def publish(engine: Any, asked: Any, group: str, data: bytes, key: str, publishing: Any) -> Any:
        return await asked(engine, group, data, key, publishing and publishing._replace(idempotency_key=""))

    _wrap("publish", publish)


def _hollow(every: int) -> None:
    """Keep one less than was published, as who asks for all sees it."""

    def without_newest(page: Any, *_: Any, since: Any = None, limit: Any = None, **options: Any) -> Any:
        return page if since or limit is not None else page._replace(publications=page.publications[:-1])

    _answering("history", every, without_newest)


def _linger(every: int) -> None:
    """Let everybody be present for ever who was once seen."""
    seen: dict[str, dict[str, Any]] = {}

    def remember(found: Any, group: str) -> Any:
        seen.setdefault(group, {}).update(found)
        return dict(seen[group])

    _answering("presence", every, remember)


FAULTS = {
    "drop": _drop,
    "repeat": _repeat,
    "swap": _swap,
    "spoil": _spoil,
    "thin": _thin,
    "claim": _claim,
    "deny": _deny,
    "deaf": _deaf,
    "double": _double,
    "unkeyed": _unkeyed,
    "hollow": _hollow,
    "linger": _linger,
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


def _refuse(every: int) -> None:
    """Raise for the same publications in every process, and there once: or a large batch would never be done."""
    refused: set[int] = set()

    async def publish(engine: Any, asked: Any, group: str, data: bytes, key: str, publishing: Any) -> Any:
        key_given = publishing.idempotency_key if publishing is not None else ""
        mixed = zlib.crc32(f"{group} {key_given}".encode())
        turn = mixed % (2 * every) if key_given and mixed not in refused else -1
        refused.add(mixed)
        if turn == 0:
            raise EngineUnavailable("nothing has happened, says the fault that was planted")
        position = await asked(engine, group, data, key, publishing)
        if turn == every:
            raise OutcomeUnknown("something may have happened, says the fault that was planted")
        return position

    _wrap("publish", publish)
