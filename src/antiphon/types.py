"""The words that all layers share: position, publication, event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, NamedTuple

import msgspec

__all__ = [
    "ASGIApplication",
    "ClientInfo",
    "Event",
    "HistoryRequest",
    "Message",
    "Page",
    "Permission",
    "Position",
    "PresenceRequest",
    "PresenceStats",
    "Publication",
    "PublishRequest",
    "Publishing",
    "Receive",
    "Repeat",
    "Retention",
    "Scope",
    "Send",
    "SubscribeRequest",
    "Turn",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

#: One turn of a consumer: a function of it and one argument that returns the coroutine to run.
Turn = Callable[[Any, Any], Coroutine[Any, Any, Any]]


class Position(NamedTuple):
    """A place in a group's stream.

    ``offset`` counts 1, 2, 3 … within ``epoch``; another epoch means that the earlier stream is gone.
    """

    epoch: str
    offset: int


class Repeat(Position):
    """The position of an earlier publication with the same idempotency key: nothing was published now."""

    __slots__ = ()


class ClientInfo(msgspec.Struct, frozen=True, gc=False):
    """Who a client is, as others see it.

    ``user`` is the user's id in text, empty for nobody; ``client`` the connection's. ``connection_info`` and
    ``subscription_info`` are JSON that the application says of the connection, and of it in one group; empty: nothing.
    """

    user: str
    client: str
    connection_info: bytes = b""
    subscription_info: bytes = b""


class PresenceStats(NamedTuple):
    """How many are in a group: ``clients``, connections, and ``users`` that differ; those who are nobody are one."""

    clients: int
    users: int

    @classmethod
    def of(cls, infos: Iterable[ClientInfo]) -> PresenceStats:
        """Count them."""
        users = [info.user for info in infos]
        return cls(len(users), len(set(users)))


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message of a group: ``data`` is JSON in UTF-8, ``offset`` its place, ``time`` seconds since 1970.

    ``key`` tells which earlier publications it may take the place of, where they wait for a member who reads slowly
    (``antiphon.rules``); empty: it has none. ``info`` is its publisher, ``tags`` are words about it; None: none given.
    """

    data: bytes
    epoch: str
    offset: int
    time: float
    key: str = ""
    info: ClientInfo | None = None
    tags: dict[str, str] | None = None

    @property
    def position(self) -> Position:
        """Where this publication stands in its stream."""
        return tuple.__new__(Position, (self.epoch, self.offset))  # half the price of Position(…)


class Retention(NamedTuple):
    """What is kept of a group's stream, by its rule.

    At most ``size`` publications, each for ``lifetime`` seconds; the position, and what has been published with which
    idempotency key, longer: ``position_lifetime`` and ``idempotency_window`` seconds after the last publication and the
    one with that key.
    """

    size: int
    lifetime: float
    position_lifetime: float
    idempotency_window: float

    @property
    def rest(self) -> float:
        """For how many seconds a stream lasts that nobody is subscribed to: as long as anything that is kept of it."""
        return max(self.position_lifetime, self.idempotency_window, self.lifetime if self.size else 0)


class Publishing(NamedTuple):
    """What goes with a publication besides its data, where anything does."""

    retention: Retention
    idempotency_key: str = ""
    """A second publication of the group with the same key is not made; empty: no key."""
    info: ClientInfo | None = None
    tags: dict[str, str] | None = None


class SubscribeRequest(NamedTuple):
    """What a client asks for: to subscribe to ``group``, with ``content`` that it sent along; None: nothing."""

    group: str
    content: Any


class Permission(NamedTuple):
    """What ``on_subscribe`` may return instead of true.

    ``info`` is JSON that others see of the client in this group, in presence and with what it publishes; ``content`` is
    JSON that the client gets with the subscription; None: nothing.
    """

    info: Any = None
    content: Any = None


class PublishRequest(NamedTuple):
    """What a client asks for: to publish ``content`` to ``group``.

    ``key`` is the client's own, where it may ask again with the same one and is published once; empty: it has none.
    """

    group: str
    content: Any
    key: str = ""


class HistoryRequest(NamedTuple):
    """What a client that is in ``group`` asks for: a part of its history (``Engine.history``)."""

    group: str
    since: Position | None
    limit: int | None
    reverse: bool


class PresenceRequest(NamedTuple):
    """What a client that is in ``group`` asks for: who else is, or how many."""

    group: str


class Page(NamedTuple):
    """A part of a group's stream: publications, and the position of the newest there ever was."""

    publications: tuple[Publication, ...]
    top: Position


class Event(msgspec.Struct, frozen=True):
    """A message for handlers: what ``group_send`` and ``send`` carry.

    ``packed`` is the event in MessagePack, as it travels between processes; ``content`` the same, unpacked. ``flat``
    tells that no value is a container, so that a shallow copy is a copy of its own.
    """

    type: str
    content: dict[str, Any]
    packed: bytes
    flat: bool

    def copy(self) -> dict[str, Any]:
        """Return a copy that a handler may change without another member noticing."""
        if self.flat:
            return self.content.copy()
        unpacked: dict[str, Any] = msgspec.msgpack.decode(self.packed)
        return unpacked
