"""The schema: the fields of each message with their numbers, for both encodings.

Field numbers and types are those of ``client.proto`` (see the package). What is not in these tables is skipped where it
comes in, and never sent.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from antiphon.types import Position
from antiphon.wire.centrifuge import commands, pushes, replies
from antiphon.wire.centrifuge.codes import Error
from antiphon.wire.centrifuge.publication import ClientInfo, Publication

__all__ = [
    "COMMANDS",
    "ERROR",
    "ID",
    "PUSHES",
    "PUSH_CHANNEL",
    "PUSH_NUMBER",
    "RECEIVED",
    "RESULTS",
    "SENT",
    "Field",
    "Kind",
]


class Kind(enum.Enum):
    """What a field holds."""

    BOOL = enum.auto()
    UINT32 = enum.auto()
    UINT64 = enum.auto()
    INT32 = enum.auto()
    INT64 = enum.auto()
    TEXT = enum.auto()
    DATA = enum.auto()
    """The application's own: in JSON any value as it is written, in Protobuf bytes."""
    TEXTS = enum.auto()
    """A map of text to text."""
    MESSAGE = enum.auto()
    MESSAGES = enum.auto()
    """Any number of messages, in their order."""
    MAP = enum.auto()
    """A map of text to messages."""
    THERE = enum.auto()
    """A message that nobody looks into: only that it is there counts."""


class Field(NamedTuple):
    """One field: ``of`` is the type of its messages, ``always`` has it in JSON even where it has its zero value."""

    number: int
    name: str
    kind: Kind
    of: type[Any] | None = None
    always: bool = False


#: The fields of each message that comes in. They stand in the order in which its type takes them.
RECEIVED: dict[type[Any], tuple[Field, ...]] = {
    commands.Connect: (
        Field(1, "token", Kind.TEXT),
        Field(2, "data", Kind.DATA),
        Field(3, "subs", Kind.MAP, commands.Recovery),
        Field(4, "name", Kind.TEXT),
        Field(5, "version", Kind.TEXT),
        Field(6, "headers", Kind.TEXTS),
    ),
    commands.Recovery: (
        Field(3, "recover", Kind.BOOL),
        Field(6, "epoch", Kind.TEXT),
        Field(7, "offset", Kind.UINT64),
    ),
    commands.Subscribe: (
        Field(1, "channel", Kind.TEXT),
        Field(2, "token", Kind.TEXT),
        Field(3, "recover", Kind.BOOL),
        Field(6, "epoch", Kind.TEXT),
        Field(7, "offset", Kind.UINT64),
        Field(8, "data", Kind.DATA),
        Field(9, "positioned", Kind.BOOL),
        Field(10, "recoverable", Kind.BOOL),
        Field(11, "join_leave", Kind.BOOL),
        Field(13, "tf", Kind.THERE),
        Field(14, "flag", Kind.INT64),
        Field(15, "type", Kind.INT32),
    ),
    commands.Unsubscribe: (Field(1, "channel", Kind.TEXT),),
    commands.Publish: (
        Field(1, "channel", Kind.TEXT),
        Field(2, "data", Kind.DATA),
        Field(3, "type", Kind.INT32),
    ),
    commands.Presence: (Field(1, "channel", Kind.TEXT),),
    commands.PresenceStats: (Field(1, "channel", Kind.TEXT),),
    commands.History: (
        Field(1, "channel", Kind.TEXT),
        Field(7, "limit", Kind.INT32),
        Field(8, "since", Kind.MESSAGE, Position),
        Field(9, "reverse", Kind.BOOL),
    ),
    Position: (Field(2, "epoch", Kind.TEXT), Field(1, "offset", Kind.UINT64)),
    commands.Ping: (),
    commands.Send: (Field(1, "data", Kind.DATA),),
    commands.Rpc: (Field(2, "method", Kind.TEXT), Field(1, "data", Kind.DATA)),
    commands.Refresh: (Field(1, "token", Kind.TEXT),),
    commands.SubRefresh: (
        Field(1, "channel", Kind.TEXT),
        Field(2, "token", Kind.TEXT),
        Field(3, "type", Kind.INT32),
    ),
}

#: The fields of each message that goes out.
SENT: dict[type[Any], tuple[Field, ...]] = {
    Error: (
        Field(1, "code", Kind.UINT32),
        Field(2, "message", Kind.TEXT),
        Field(3, "temporary", Kind.BOOL),
    ),
    replies.ConnectResult: (
        Field(1, "client", Kind.TEXT),
        Field(2, "version", Kind.TEXT),
        Field(3, "expires", Kind.BOOL),
        Field(4, "ttl", Kind.UINT32),
        Field(5, "data", Kind.DATA),
        Field(6, "subs", Kind.MAP, replies.SubscribeResult),
        Field(7, "ping", Kind.UINT32),
        Field(8, "pong", Kind.BOOL),
        Field(9, "session", Kind.TEXT),
        Field(10, "node", Kind.TEXT),
        Field(11, "time", Kind.INT64),
    ),
    replies.SubscribeResult: (
        Field(1, "expires", Kind.BOOL),
        Field(2, "ttl", Kind.UINT32),
        Field(3, "recoverable", Kind.BOOL),
        Field(6, "epoch", Kind.TEXT),
        Field(7, "publications", Kind.MESSAGES, Publication),
        Field(8, "recovered", Kind.BOOL),
        Field(9, "offset", Kind.UINT64),
        Field(10, "positioned", Kind.BOOL),
        Field(11, "data", Kind.DATA),
        Field(12, "was_recovering", Kind.BOOL),
    ),
    replies.UnsubscribeResult: (),
    replies.PublishResult: (),
    replies.PresenceResult: (Field(1, "presence", Kind.MAP, ClientInfo, always=True),),
    replies.PresenceStatsResult: (
        Field(1, "num_clients", Kind.UINT32, always=True),
        Field(2, "num_users", Kind.UINT32, always=True),
    ),
    replies.HistoryResult: (
        Field(1, "publications", Kind.MESSAGES, Publication, always=True),
        Field(2, "epoch", Kind.TEXT, always=True),
        Field(3, "offset", Kind.UINT64, always=True),
    ),
    replies.RpcResult: (Field(1, "data", Kind.DATA),),
    replies.RefreshResult: (
        Field(1, "client", Kind.TEXT),
        Field(2, "version", Kind.TEXT),
        Field(3, "expires", Kind.BOOL),
        Field(4, "ttl", Kind.UINT32),
    ),
    replies.SubRefreshResult: (Field(1, "expires", Kind.BOOL), Field(2, "ttl", Kind.UINT32)),
    Publication: (
        Field(4, "data", Kind.DATA),
        Field(5, "info", Kind.MESSAGE, ClientInfo),
        Field(6, "offset", Kind.UINT64),
        Field(7, "tags", Kind.TEXTS),
        Field(9, "time", Kind.INT64),
        Field(14, "epoch", Kind.TEXT),
    ),
    ClientInfo: (
        Field(1, "user", Kind.TEXT, always=True),
        Field(2, "client", Kind.TEXT, always=True),
        Field(3, "conn_info", Kind.DATA),
        Field(4, "chan_info", Kind.DATA),
    ),
    pushes.Join: (Field(1, "info", Kind.MESSAGE, ClientInfo),),
    pushes.Leave: (Field(1, "info", Kind.MESSAGE, ClientInfo),),
    pushes.Unsubscribe: (Field(2, "code", Kind.UINT32), Field(3, "reason", Kind.TEXT)),
    pushes.Message: (Field(1, "data", Kind.DATA),),
    pushes.Subscribe: (
        Field(1, "recoverable", Kind.BOOL),
        Field(4, "epoch", Kind.TEXT),
        Field(5, "offset", Kind.UINT64),
        Field(6, "positioned", Kind.BOOL),
        Field(7, "data", Kind.DATA),
    ),
    pushes.Disconnect: (Field(1, "code", Kind.UINT32), Field(2, "reason", Kind.TEXT)),
    pushes.Refresh: (Field(1, "expires", Kind.BOOL), Field(2, "ttl", Kind.UINT32)),
}

#: Of commands and replies: the number by which a reply finds its command.
ID = Field(1, "id", Kind.UINT32)

#: Of a command: its content. Where there are several, the first in this order counts.
COMMANDS: tuple[Field, ...] = (
    Field(4, "connect", Kind.MESSAGE, commands.Connect),
    Field(5, "subscribe", Kind.MESSAGE, commands.Subscribe),
    Field(6, "unsubscribe", Kind.MESSAGE, commands.Unsubscribe),
    Field(7, "publish", Kind.MESSAGE, commands.Publish),
    Field(8, "presence", Kind.MESSAGE, commands.Presence),
    Field(9, "presence_stats", Kind.MESSAGE, commands.PresenceStats),
    Field(10, "history", Kind.MESSAGE, commands.History),
    Field(11, "ping", Kind.MESSAGE, commands.Ping),
    Field(12, "send", Kind.MESSAGE, commands.Send),
    Field(13, "rpc", Kind.MESSAGE, commands.Rpc),
    Field(14, "refresh", Kind.MESSAGE, commands.Refresh),
    Field(15, "sub_refresh", Kind.MESSAGE, commands.SubRefresh),
)

#: Of a reply: what it says where it has no result.
ERROR = Field(2, "error", Kind.MESSAGE, Error)

#: Of a reply: its content, by the type. The result has the name of the command.
RESULTS: dict[type[Any], Field] = {
    replies.ConnectResult: Field(5, "connect", Kind.MESSAGE, replies.ConnectResult),
    replies.SubscribeResult: Field(6, "subscribe", Kind.MESSAGE, replies.SubscribeResult),
    replies.UnsubscribeResult: Field(7, "unsubscribe", Kind.MESSAGE, replies.UnsubscribeResult),
    replies.PublishResult: Field(8, "publish", Kind.MESSAGE, replies.PublishResult),
    replies.PresenceResult: Field(9, "presence", Kind.MESSAGE, replies.PresenceResult),
    replies.PresenceStatsResult: Field(10, "presence_stats", Kind.MESSAGE, replies.PresenceStatsResult),
    replies.HistoryResult: Field(11, "history", Kind.MESSAGE, replies.HistoryResult),
    replies.RpcResult: Field(13, "rpc", Kind.MESSAGE, replies.RpcResult),
    replies.RefreshResult: Field(14, "refresh", Kind.MESSAGE, replies.RefreshResult),
    replies.SubRefreshResult: Field(15, "sub_refresh", Kind.MESSAGE, replies.SubRefreshResult),
}

#: Of a reply without a number: what the server says by itself, with its channel and its content.
PUSH_NUMBER = 4
PUSH_CHANNEL = Field(2, "channel", Kind.TEXT)

#: Of a push: its content, by the type.
PUSHES: dict[type[Any], Field] = {
    Publication: Field(4, "pub", Kind.MESSAGE, Publication),
    pushes.Join: Field(5, "join", Kind.MESSAGE, pushes.Join),
    pushes.Leave: Field(6, "leave", Kind.MESSAGE, pushes.Leave),
    pushes.Unsubscribe: Field(7, "unsubscribe", Kind.MESSAGE, pushes.Unsubscribe),
    pushes.Message: Field(8, "message", Kind.MESSAGE, pushes.Message),
    pushes.Subscribe: Field(9, "subscribe", Kind.MESSAGE, pushes.Subscribe),
    pushes.Disconnect: Field(11, "disconnect", Kind.MESSAGE, pushes.Disconnect),
    pushes.Refresh: Field(12, "refresh", Kind.MESSAGE, pushes.Refresh),
}
