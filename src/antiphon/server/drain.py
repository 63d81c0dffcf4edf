"""Stopping in good order: when each client of a server that stops is told to come back elsewhere.

Ten thousand clients who are told in the same moment come back in the same moment. So they are told one by one, in
random order, at random moments. uvicorn asks every connection to shut down at once; each connection puts its link
here, and is told when its turn comes.

Laws:
- each client is told once, within ``drain_time``, and at the pace of one per 5 ms or faster: few wait for nothing;
- where the server has less time, the clients have at most half of it: the rest is for their consumers;
- a client that leaves, or one that fails when it is told, costs the others nothing;
- until its turn a client is served like any other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import Callable
from typing import Protocol

from uvicorn.config import Config as ServerConfig
from uvicorn.server import ServerState

from antiphon import codes
from antiphon.app import current_app

__all__ = ["PACE", "Client", "Drain", "drain_of", "is_stopping", "schedule", "window"]

logger = logging.getLogger("antiphon.server")

#: The most that one client has to itself, in seconds.
PACE = 0.005
#: How many clients are told in one turn of the event loop; those who stay are served in between.
AT_ONCE = 100


def window(clients: int, drain_time: float, limit: float | None) -> float:
    """Return over how many seconds ``clients`` are told, where the server has ``limit`` (None: any) to stop."""
    spread = drain_time if limit is None else min(drain_time, limit / 2)
    return min(spread, clients * PACE)


def schedule(clients: int, spread: float, chance: Callable[[], float]) -> list[float]:
    """Return when to tell each of ``clients``, in seconds from the start, ascending.

    ``spread`` seconds are cut into as many equal pieces; ``chance`` (at least 0, less than 1) chooses a moment in each.
    """
    return [min(spread, (place + chance()) / clients * spread) for place in range(clients)]


class Client(Protocol):
    """A connection that is open."""

    @property
    def is_closing(self) -> bool:
        """Whether it is closed already, from either side."""

    def shut_down(self, code: int) -> None:
        """Close it behind what it has received."""


class Drain:
    """The clients of one server that stops. Used in the event loop that serves them."""

    def __init__(self, server: ServerConfig, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._clients: list[Client] = []
        self._turns: list[tuple[float, Client]] = []  # the next one last
        self._start = 0.0
        self._told = 0
        self._has_begun = False
        self._is_planned = False

    def begin(self, limit: float | None) -> None:
        """Begin: the clients that are added in this turn of the loop are told within the ``limit`` of seconds."""
        if not self._has_begun:
            self._has_begun = True
            self._loop.call_soon(self._plan, limit)

    def add(self, client: Client) -> None:
        """Tell ``client`` when its turn comes; at once where all have theirs already."""
        self.begin(self._server.timeout_graceful_shutdown)
        if self._is_planned:
            self._tell(client)
        else:
            self._clients.append(client)

    def _plan(self, limit: float | None) -> None:
        self._is_planned = True
        clients, self._clients = self._clients, []
        if not clients:
            return
        spread = window(len(clients), current_app().config.drain_time, limit)
        logger.info("stopping; clients to tell to come back: %d, over %.3g s", len(clients), spread)
        self._chance.shuffle(clients)
        self._start = self._loop.time()
        times = schedule(len(clients), spread, self._chance.random)
        self._turns = [(self._start + time, client) for time, client in zip(times, clients, strict=True)]
        self._turns.reverse()
        self._tell_those_due()

    def _tell_those_due(self) -> None:
        now = self._loop.time()
        for _ in range(AT_ONCE):
            if not self._turns or self._turns[-1][0] > now:
                break
            self._tell(self._turns.pop()[1])
        if self._turns:
            self._loop.call_at(self._turns[-1][0], self._tell_those_due)
        else:
            logger.info("stopping; clients told to come back: %d, in %.3g s", self._told, now - self._start)

    def _tell(self, client: Client) -> None:
        if client.is_closing:
            return
        self._told += 1
        current_app().counters.drained += 1
        try:
            client.shut_down(codes.SERVICE_RESTART)
        except Exception:
            logger.exception("stopping; a client could not be told to come back")


_drains: weakref.WeakKeyDictionary[ServerState, Drain] = weakref.WeakKeyDictionary()


def drain_of(state: ServerState, server: ServerConfig) -> Drain:
    """Return the drain of a server, made when it stops: from then on nobody may come in."""
    drain = _drains.get(state)
    if drain is None:
        drain = _drains[state] = Drain(server, random.Random())  # noqa: S311 (no secret)
    return drain


def is_stopping(state: ServerState) -> bool:
    """Tell whether a server stops and lets nobody in any more."""
    return state in _drains
