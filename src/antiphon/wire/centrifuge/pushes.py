"""What the server sends without being asked. The names are those of the schema; some of them are commands, too."""

from __future__ import annotations

import msgspec

from antiphon.wire.centrifuge.publication import ClientInfo, Publication

__all__ = ["Disconnect", "Join", "Leave", "Message", "Publication", "Push", "Refresh", "Subscribe", "Unsubscribe"]


class Join(msgspec.Struct, frozen=True):
    """Somebody subscribed to the channel."""

    info: ClientInfo


class Leave(msgspec.Struct, frozen=True):
    """Somebody left the channel."""

    info: ClientInfo


class Unsubscribe(msgspec.Struct, frozen=True):
    """The server ended a subscription; whether the SDK subscribes anew, ``code`` decides (``codes``)."""

    code: int = 0
    reason: str = ""


class Message(msgspec.Struct, frozen=True):
    """A message to this connection, of no channel."""

    data: bytes = b""


class Subscribe(msgspec.Struct, frozen=True):
    """The server subscribed this connection, from the position ``epoch`` and ``offset`` on."""

    recoverable: bool = False
    epoch: str = ""
    offset: int = 0
    positioned: bool = False
    data: bytes = b""


class Disconnect(msgspec.Struct, frozen=True):
    """The end, where the transport has no close frame; on a WebSocket that is what tells ``code`` and ``reason``."""

    code: int = 0
    reason: str = ""


class Refresh(msgspec.Struct, frozen=True):
    """The server made the session longer: ``ttl`` seconds from now, where it ``expires``."""

    expires: bool = False
    ttl: int = 0


Push = Publication | Join | Leave | Unsubscribe | Message | Subscribe | Disconnect | Refresh
