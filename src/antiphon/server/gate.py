"""The gate: what one server process knows of all its clients together.

Who is half-way in, how many are in and from where, what their unfinished messages hold, when they are pinged. There is
one gate for each server that uvicorn runs in the process; it takes antiphon's configuration and counters.

Laws:
- a connection that has not sent its request within ``handshake_timeout`` is cut off;
- where more than ``max_half_open`` wait, those who have had their time (``PATIENCE``) make room, the oldest first, so
  that those who are slow keep nobody out, and a crowd that comes at once is let in;
- nobody is cut off whose request has arrived: what has is read before;
- who is refused is counted, and told with the status and a reason.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import weakref
from collections import Counter, OrderedDict
from typing import NamedTuple, Protocol

from uvicorn.config import Config as ServerConfig
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.server import ServerState

from antiphon.app import current_app
from antiphon.config import Config
from antiphon.counters import Counters
from antiphon.deflate import Inflater
from antiphon.framereader import Controller, FrameReader, Receiver, Unfinished
from antiphon.logs import limit_servers_lines
from antiphon.server.keepalive import Keepalive
from antiphon.types import Scope

__all__ = ["Gate", "Refusal", "Waiting", "gate_of", "network_of"]

logger = logging.getLogger("antiphon.server")


#: Seconds that a connection has for its request, however many wait: TCP sends what was lost again after one.
PATIENCE = 3.0
#: Where this many times ``max_half_open`` wait, the oldest makes room at once.
CROWD = 10


class Waiting(Protocol):
    """A connection whose request has not come yet."""

    def cut_off(self, status: int, reason: str) -> None:
        """End it; answer with ``status`` if a part of the request has come."""


class Refusal(NamedTuple):
    """Why a client may not come in: an HTTP status and words for it."""

    status: int
    reason: str


class Gate:
    """One server's clients. Made in the event loop that serves them."""

    def __init__(self, server: ServerConfig) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[Waiting, float] = OrderedDict()  # with the time when each came
        self._timer: asyncio.TimerHandle | None = None
        self._next_look = math.inf
        """When the timer looks for those who are late; 0: it does so now."""
        self._open = 0
        self._by_network: Counter[str] = Counter()
        self._unfinished = Unfinished(0)
        self._keepalive: Keepalive | None = None
        limit_servers_lines(self.counters)

    @property
    def config(self) -> Config:
        """antiphon's configuration."""
        return current_app().config

    @property
    def counters(self) -> Counters:
        """antiphon's counters."""
        return current_app().counters

    # Requests that have not come yet

    def wait_for(self, connection: Waiting) -> None:
        """Expect a request from ``connection``; it is cut off where none comes in time."""
        self._waiting[connection] = self._loop.time()
        self._look_in_time()

    def has_come(self, connection: Waiting) -> None:
        """Expect nothing more: the request is here, or the connection is gone."""
        self._waiting.pop(connection, None)

    def _look_in_time(self) -> None:
        """See to it that somebody looks when the time of the oldest is over."""
        due = self._due()
        if due < self._next_look:
            if self._timer is not None:
                self._timer.cancel()
            self._next_look = due
            self._timer = self._loop.call_at(due, self._look)

    def _due(self) -> float:
        """Return when the time of the oldest is over, with as many waiting as there are now."""
        came, config = next(iter(self._waiting.values())), self.config
        most, waiting = config.max_half_open, len(self._waiting)
        if most == 0 or waiting <= most:
            return came + config.handshake_timeout
        return came + min(PATIENCE, config.handshake_timeout) if waiting <= CROWD * most else came

    def _look(self) -> None:
        """Cut off those whose time is over, in the second round of the loop from now: the first reads what is here."""
        self._timer = None
        self._next_look = 0
        self._loop.call_soon(self._loop.call_soon, self._cut_off_late_ones)

    def _cut_off_late_ones(self) -> None:
        self._next_look = math.inf
        now = self._loop.time()
        while self._waiting:
            if self._due() > now:
                self._look_in_time()
                break
            connection, came = self._waiting.popitem(last=False)
            if came + self.config.handshake_timeout <= now:
                self.counters.handshakes_timed_out += 1
                connection.cut_off(408, "the request took too long")
            else:
                self.counters.half_open_dropped += 1
                connection.cut_off(503, "too many connections wait to be opened; try again")

    # WebSockets that are open, or about to be

    def admit(self, scope: Scope) -> tuple[str | None, Refusal | None]:
        """Let a WebSocket in or say why not; return what ``leave`` takes for one who is in."""
        config = self.config
        network = network_of(self._client(scope))
        if 0 < config.max_connections <= self._open:
            self.counters.connections_over_limit += 1
            logger.warning("max_connections (%d) is reached: further WebSockets are refused", config.max_connections)
            return None, Refusal(503, "the server is full; try again later")
        if network is not None and 0 < config.connections_per_address <= self._by_network[network]:
            self.counters.addresses_over_limit += 1
            logger.warning(
                "connections_per_address (%d) is reached by %r: its further WebSockets are refused",
                config.connections_per_address,
                network,
            )
            return None, Refusal(429, "too many connections from your address")
        self._open += 1
        if network is not None:
            self._by_network[network] += 1
        return network, None

    def leave(self, network: str | None) -> None:
        """Note that a WebSocket that was let in is gone."""
        self._open -= 1
        if network is not None:
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]

    def _client(self, scope: Scope) -> str:
        """Return the address of the client, as a proxy tells it where uvicorn trusts that proxy."""
        address = scope["client"][0] if scope["client"] else ""
        proxies = self._server.loaded_app  # an application may have ``trusted_hosts`` of its own
        if not isinstance(proxies, ProxyHeadersMiddleware) or address not in proxies.trusted_hosts:
            return address
        trusted = proxies.trusted_hosts
        told = b", ".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        if trusted.always_trust:  # whoever came first in the list may have written that himself
            told = told.rpartition(",")[2]
        return trusted.get_trusted_client_address(told)[0] if told else address

    # What all connections share

    def reader(
        self, receiver: Receiver, controller: Controller, message_size: int, inflater: Inflater | None
    ) -> FrameReader:
        """Return a reader of frames within the limits of the process."""
        config = self.config
        self._unfinished.limit = config.unfinished_limit
        return FrameReader(
            receiver,
            controller,
            message_size=message_size,
            fragments=config.max_fragments,
            unfinished=self._unfinished,
            inflater=inflater,
        )

    @property
    def keepalive(self) -> Keepalive | None:
        """The pings of this server, by uvicorn's ``--ws-ping-interval`` and ``--ws-ping-timeout``; None for none."""
        if self._keepalive is None and self._server.ws_ping_interval:
            self._keepalive = Keepalive(self._server.ws_ping_interval, self._server.ws_ping_timeout or None)
        return self._keepalive


_gates: weakref.WeakKeyDictionary[ServerState, Gate] = weakref.WeakKeyDictionary()


def gate_of(state: ServerState, server: ServerConfig) -> Gate:
    """Return the gate of a server, made when its first client comes."""
    gate = _gates.get(state)
    if gate is None:
        gate = _gates[state] = Gate(server)
    return gate


def network_of(address: str) -> str | None:
    """Return what connections are counted by: an IPv4 address, the /64 network of an IPv6 one, None for this machine.

    An IPv6 client has a whole /64 at least, so that an address alone bounds nothing.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    if mapped.is_loopback:
        return None
    if mapped.version == 4:
        return str(mapped)
    return str(ipaddress.ip_network((int(mapped), 64), strict=False))
