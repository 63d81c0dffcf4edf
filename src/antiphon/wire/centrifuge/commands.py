"""What a client may ask for: a command each, without its number.

``data`` is what the application gave to the SDK, as it came: JSON on one line from a JSON connection, any bytes from a
Protobuf one; empty where there was none. How deep it is nested and what numbers it has, nobody has looked at yet: that
is for ``antiphon.wire.plain.decode``. A field that was not sent has its zero value. Fields of features that
antiphon does not offer are left out, but for those by which a client says that it counts on one (``tf``, ``type``).
"""

from __future__ import annotations

import msgspec

from antiphon.types import Position

__all__ = [
    "COMPACTS",
    "REJECT_UNRECOVERED",
    "Command",
    "Connect",
    "History",
    "Ping",
    "Pong",
    "Presence",
    "PresenceStats",
    "Publish",
    "Recovery",
    "Refresh",
    "Rpc",
    "Send",
    "SubRefresh",
    "Subscribe",
    "Unsubscribe",
]


class Recovery(msgspec.Struct, frozen=True):
    """What a client still has of a subscription that the server made: it wants what came after this position."""

    recover: bool = False
    epoch: str = ""
    offset: int = 0


class Connect(msgspec.Struct, frozen=True):
    """The first command of a connection.

    ``subs`` names subscriptions of the server that the client had before, by channel; ``name`` and ``version`` are the
    application's, or the SDK's. ``headers`` are made by the client's program and prove nothing.
    """

    token: str = ""
    data: bytes = b""
    subs: dict[str, Recovery] = {}
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}


class Subscribe(msgspec.Struct, frozen=True):
    """The client wants the publications of ``channel``.

    ``recover`` asks for those behind ``epoch`` and ``offset``. ``positioned``, ``recoverable`` and ``join_leave`` are
    wishes; the server decides. ``flag`` has the bits ``COMPACTS`` and ``REJECT_UNRECOVERED``. ``tf`` tells that only
    publications with some tags are wanted, ``type`` that it is no stream (0) but a newer kind of subscription.
    """

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: int = 0
    data: bytes = b""
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    tf: bool = False
    flag: int = 0
    type: int = 0


#: Of ``Subscribe.flag``: the client can read pushes that name the channel by a number.
COMPACTS = 1
#: Of ``Subscribe.flag``: where not all can be recovered, it wants ``codes.ERROR_UNRECOVERABLE_POSITION``.
REJECT_UNRECOVERED = 2


class Unsubscribe(msgspec.Struct, frozen=True):
    """The client has enough of ``channel``."""

    channel: str = ""


class Publish(msgspec.Struct, frozen=True):
    """The client has something for all subscribers of ``channel``; ``type`` is 0 but for map subscriptions."""

    channel: str = ""
    data: bytes = b""
    type: int = 0


class Presence(msgspec.Struct, frozen=True):
    """Who is in ``channel``?"""

    channel: str = ""


class PresenceStats(msgspec.Struct, frozen=True):
    """How many are in ``channel``?"""

    channel: str = ""


class History(msgspec.Struct, frozen=True):
    """What was published in ``channel``?

    At most ``limit`` publications: 0 is none, only the position; a negative number is all. With ``since``, those behind
    it (or in front of it, where ``reverse`` asks for the newest first).
    """

    channel: str = ""
    limit: int = 0
    since: Position | None = None
    reverse: bool = False


class Ping(msgspec.Struct, frozen=True):
    """Is anybody there? In the schema, and sent by no SDK."""


class Send(msgspec.Struct, frozen=True):
    """A message for the consumer, that nobody answers."""

    data: bytes = b""


class Rpc(msgspec.Struct, frozen=True):
    """A call of ``method``, that is answered."""

    method: str = ""
    data: bytes = b""


class Refresh(msgspec.Struct, frozen=True):
    """A new token for the connection."""

    token: str = ""


class SubRefresh(msgspec.Struct, frozen=True):
    """A new token for the subscription to ``channel``; ``type`` is 0 but for newer kinds of subscriptions."""

    channel: str = ""
    token: str = ""
    type: int = 0


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping of the server: on the wire a command without a number and without content."""


Command = (
    Connect
    | Subscribe
    | Unsubscribe
    | Publish
    | Presence
    | PresenceStats
    | History
    | Ping
    | Send
    | Rpc
    | Refresh
    | SubRefresh
    | Pong
)
