"""What the server answers: a result for each command, or an ``Error`` (``codes``).

A field with its zero value is not sent, but for those that SDKs read without a look whether they are there (``always``
in ``schema``). ``data`` is JSON on one line, or any bytes for a Protobuf connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from antiphon.wire.centrifuge.publication import ClientInfo, Publication

__all__ = [
    "ConnectResult",
    "HistoryResult",
    "PresenceResult",
    "PresenceStatsResult",
    "PublishResult",
    "RefreshResult",
    "Result",
    "RpcResult",
    "SubRefreshResult",
    "SubscribeResult",
    "UnsubscribeResult",
]


class SubscribeResult(msgspec.Struct, frozen=True):
    """The client is subscribed; as a value of ``ConnectResult.subs``, by the server.

    ``expires`` and ``ttl`` (in seconds) make it send a new token in time. Where it asked to recover, ``was_recovering``
    is true; where that succeeded, ``recovered`` is true, ``publications`` are those it missed and ``offset`` is the one
    it sent. Otherwise ``offset`` is the newest of the stream.
    """

    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    epoch: str = ""
    publications: Sequence[Publication] = ()
    recovered: bool = False
    offset: int = 0
    positioned: bool = False
    data: bytes = b""
    was_recovering: bool = False


class ConnectResult(msgspec.Struct, frozen=True):
    """The client is connected, as ``client``.

    ``expires`` and ``ttl`` (in seconds) make it send a new token in time. ``ping`` is how often the server pings, in
    whole seconds, 0 for never, and ``pong`` whether it wants an answer. ``session`` and ``node`` are for transports
    with two directions apart. ``time`` is in milliseconds since 1970.
    """

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0
    data: bytes = b""
    subs: Mapping[str, SubscribeResult] = {}
    ping: int = 0
    pong: bool = False
    session: str = ""
    node: str = ""
    time: int = 0


class UnsubscribeResult(msgspec.Struct, frozen=True):
    """The client is not, or no longer, subscribed."""


class PublishResult(msgspec.Struct, frozen=True):
    """It is published; at which position, this command does not tell."""


class PresenceResult(msgspec.Struct, frozen=True):
    """Who is in the channel, by the id of the client."""

    presence: Mapping[str, ClientInfo] = {}


class PresenceStatsResult(msgspec.Struct, frozen=True):
    """How many are in the channel: connections, and users that differ."""

    num_clients: int = 0
    num_users: int = 0


class HistoryResult(msgspec.Struct, frozen=True):
    """What was published, and the newest position of the stream."""

    publications: Sequence[Publication] = ()
    epoch: str = ""
    offset: int = 0


class RpcResult(msgspec.Struct, frozen=True):
    """What the called method returned."""

    data: bytes = b""


class RefreshResult(msgspec.Struct, frozen=True):
    """The connection goes on, for ``ttl`` seconds where it ``expires``."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0


class SubRefreshResult(msgspec.Struct, frozen=True):
    """The subscription goes on, for ``ttl`` seconds where it ``expires``."""

    expires: bool = False
    ttl: int = 0


Result = (
    ConnectResult
    | SubscribeResult
    | UnsubscribeResult
    | PublishResult
    | PresenceResult
    | PresenceStatsResult
    | HistoryResult
    | RpcResult
    | RefreshResult
    | SubRefreshResult
)
