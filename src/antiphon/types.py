"""The words that all layers share: position, publication, event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, NamedTuple

import msgspec

__all__ = ["ASGIApplication", "Event", "Message", "Position", "Publication", "Receive", "Scope", "Send", "Turn"]

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


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message of a group: ``data`` is JSON in UTF-8, ``offset`` its place, ``time`` seconds since 1970.

    ``key`` tells which earlier publications it may take the place of, where they wait for a member who reads slowly
    (``antiphon.rules``); empty: it has none.
    """

    data: bytes
    epoch: str
    offset: int
    time: float
    key: str = ""

    @property
    def position(self) -> Position:
        """Where this publication stands in its stream."""
        return Position(self.epoch, self.offset)


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
