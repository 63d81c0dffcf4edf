"""The protocol by other hands: Protobuf's own runtime, and the standard library's ``json``.

The schema stands here a second time, whole, also with what antiphon leaves out; nothing here looks at ``schema``.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, proto
from google.protobuf.message import DecodeError

from antiphon.types import Position
from antiphon.wire.centrifuge import commands, publication, pushes, replies
from antiphon.wire.centrifuge.codes import Error

__all__ = [
    "ALWAYS",
    "COMMANDS",
    "OPAQUE",
    "PUSHES",
    "RESULTS",
    "DecodeError",
    "as_dict",
    "command_of",
    "delimited",
    "error_reply",
    "fill",
    "message",
    "names_of",
    "push_reply",
    "read_command",
    "result_reply",
    "split",
]

#: Of each message: type, name and number of each field.
SCHEMA = """
Error: uint32 code 1, string message 2, bool temporary 3
Command: uint32 id 1, ConnectRequest connect 4, SubscribeRequest subscribe 5, UnsubscribeRequest unsubscribe 6,
    PublishRequest publish 7, PresenceRequest presence 8, PresenceStatsRequest presence_stats 9,
    HistoryRequest history 10, PingRequest ping 11, SendRequest send 12, RPCRequest rpc 13, RefreshRequest refresh 14,
    SubRefreshRequest sub_refresh 15
Reply: uint32 id 1, Error error 2, Push push 4, ConnectResult connect 5, SubscribeResult subscribe 6,
    UnsubscribeResult unsubscribe 7, PublishResult publish 8, PresenceResult presence 9,
    PresenceStatsResult presence_stats 10, HistoryResult history 11, PingResult ping 12, RPCResult rpc 13,
    RefreshResult refresh 14, SubRefreshResult sub_refresh 15
Push: int64 id 1, string channel 2, Publication pub 4, Join join 5, Leave leave 6, Unsubscribe unsubscribe 7,
    Message message 8, Subscribe subscribe 9, Disconnect disconnect 11, Refresh refresh 12
ClientInfo: string user 1, string client 2, bytes conn_info 3, bytes chan_info 4
Publication: bytes data 4, ClientInfo info 5, uint64 offset 6, map<string> tags 7, bool delta 8, int64 time 9,
    string channel 10, string key 11, bool removed 12, sint64 score 13, string epoch 14, bytes prev_data 15,
    uint64 version 16
Join: ClientInfo info 1
Leave: ClientInfo info 1
Unsubscribe: uint32 code 2, string reason 3
Subscribe: bool recoverable 1, string epoch 4, uint64 offset 5, bool positioned 6, bytes data 7
Message: bytes data 1
Disconnect: uint32 code 1, string reason 2, bool reconnect 3
Refresh: bool expires 1, uint32 ttl 2
ConnectRequest: string token 1, bytes data 2, map<SubscribeRequest> subs 3, string name 4, string version 5,
    map<string> headers 6, int64 flag 7, string dict 8, string profile 9
ConnectResult: string client 1, string version 2, bool expires 3, uint32 ttl 4, bytes data 5,
    map<SubscribeResult> subs 6, uint32 ping 7, bool pong 8, string session 9, string node 10, int64 time 11,
    int64 flag 12
RefreshRequest: string token 1
RefreshResult: string client 1, string version 2, bool expires 3, uint32 ttl 4
SubscribeRequest: string channel 1, string token 2, bool recover 3, string epoch 6, uint64 offset 7, bytes data 8,
    bool positioned 9, bool recoverable 10, bool join_leave 11, string delta 12, FilterNode tf 13, int64 flag 14,
    int32 type 15, int32 phase 16, string cursor 17, int32 limit 18, bool asc 19
SubscribeResult: bool expires 1, uint32 ttl 2, bool recoverable 3, string epoch 6, repeated<Publication> publications 7,
    bool recovered 8, uint64 offset 9, bool positioned 10, bytes data 11, bool was_recovering 12, bool delta 13,
    int64 id 14, int32 type 15, int32 phase 16, string cursor 17, repeated<Publication> state 18,
    uint32 publish_debounce 19
SubRefreshRequest: string channel 1, string token 2, int32 type 3
SubRefreshResult: bool expires 1, uint32 ttl 2
UnsubscribeRequest: string channel 1
UnsubscribeResult:
PublishRequest: string channel 1, bytes data 2, int32 type 3, string key 4, bool removed 5
PublishResult:
PresenceRequest: string channel 1
PresenceResult: map<ClientInfo> presence 1
PresenceStatsRequest: string channel 1
PresenceStatsResult: uint32 num_clients 1, uint32 num_users 2
StreamPosition: uint64 offset 1, string epoch 2
HistoryRequest: string channel 1, int32 limit 7, StreamPosition since 8, bool reverse 9
HistoryResult: repeated<Publication> publications 1, string epoch 2, uint64 offset 3
PingRequest:
PingResult:
RPCRequest: bytes data 1, string method 2
RPCResult: bytes data 1
SendRequest: bytes data 1
FilterNode: string op 1, string key 2, string cmp 3, string val 4, repeated<string> vals 5, repeated<FilterNode> nodes 6
"""

#: The name of each command, result and push on the wire.
COMMANDS: dict[type, str] = {
    commands.Connect: "connect",
    commands.Subscribe: "subscribe",
    commands.Unsubscribe: "unsubscribe",
    commands.Publish: "publish",
    commands.Presence: "presence",
    commands.PresenceStats: "presence_stats",
    commands.History: "history",
    commands.Ping: "ping",
    commands.Send: "send",
    commands.Rpc: "rpc",
    commands.Refresh: "refresh",
    commands.SubRefresh: "sub_refresh",
}
RESULTS: dict[type, str] = {
    replies.ConnectResult: "connect",
    replies.SubscribeResult: "subscribe",
    replies.UnsubscribeResult: "unsubscribe",
    replies.PublishResult: "publish",
    replies.PresenceResult: "presence",
    replies.PresenceStatsResult: "presence_stats",
    replies.HistoryResult: "history",
    replies.RpcResult: "rpc",
    replies.RefreshResult: "refresh",
    replies.SubRefreshResult: "sub_refresh",
}
PUSHES: dict[type, str] = {
    publication.Publication: "pub",
    pushes.Join: "join",
    pushes.Leave: "leave",
    pushes.Unsubscribe: "unsubscribe",
    pushes.Message: "message",
    pushes.Subscribe: "subscribe",
    pushes.Disconnect: "disconnect",
    pushes.Refresh: "refresh",
}

#: What JSON has even where it is zero.
ALWAYS: dict[type, set[str]] = {
    publication.ClientInfo: {"user", "client"},
    replies.PresenceResult: {"presence"},
    replies.PresenceStatsResult: {"num_clients", "num_users"},
    replies.HistoryResult: {"publications", "epoch", "offset"},
}

#: The fields that hold the application's own.
OPAQUE = {"data", "conn_info", "chan_info"}


# Protobuf

_PACKAGE = "centrifuge.reference"
_SCALARS = {"bool", "string", "bytes", "uint32", "uint64", "int32", "int64", "sint64"}


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="centrifuge_reference.proto", package=_PACKAGE, syntax="proto3")
    for line in re.sub(r"\n +", " ", SCHEMA.strip()).splitlines():
        name, _, fields = line.partition(":")
        described = file.message_type.add(name=name)
        for field in filter(None, fields.strip().split(", ")):
            _describe_field(described, *field.split())
    return file


def _describe_field(described: Any, kind: str, name: str, number: str) -> None:
    outer, _, inner = kind.rstrip(">").rpartition("<")
    field = described.field.add(name=name, number=int(number), label="LABEL_REPEATED" if outer else "LABEL_OPTIONAL")
    if outer == "map":
        entry = described.nested_type.add(name=name.title() + "Entry")
        entry.options.map_entry = True
        _describe_field(entry, "string", "key", "1")
        _describe_field(entry, inner, "value", "2")
        inner = f"{described.name}.{entry.name}"
    if inner in _SCALARS:
        field.type = f"TYPE_{inner.upper()}"
    else:
        field.type, field.type_name = "TYPE_MESSAGE", f".{_PACKAGE}.{inner}"


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_describe())


def message(name: str) -> Any:
    """Return a new, empty message."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))()


def fill(target: Any, source: Any) -> Any:
    """Write the fields of one of antiphon's structs into a message of Protobuf's, by their names."""
    target.SetInParent()
    for name, value in as_fields(source):
        field = getattr(target, name)
        if name == "tf":
            if value:
                field.SetInParent()
        elif isinstance(value, Mapping):
            for key, each in value.items():
                if isinstance(each, str):
                    field[key] = each
                else:
                    fill(field[key], each)
        elif isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            for each in value:
                fill(field.add(), each)
        elif isinstance(value, msgspec.Struct) or hasattr(value, "_fields"):
            fill(field, value)
        elif value is not None:
            setattr(target, name, value)
    return target


def names_of(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields of a type of antiphon's."""
    names: tuple[str, ...] = getattr(kind, "_fields" if issubclass(kind, tuple) else "__struct_fields__")
    return names


def as_fields(source: Any) -> list[tuple[str, Any]]:
    """Return names and values of a struct or named tuple."""
    return [(name, getattr(source, name)) for name in names_of(type(source))]


def command_of(id: int, command: commands.Command) -> Any:
    """Return Protobuf's message of a command."""
    envelope = message("Command")
    envelope.id = id
    if type(command) in COMMANDS:
        fill(getattr(envelope, COMMANDS[type(command)]), command)
    return envelope


def result_reply(id: int, result: replies.Result) -> Any:
    """Return Protobuf's message of a result."""
    envelope = message("Reply")
    envelope.id = id
    fill(getattr(envelope, RESULTS[type(result)]), result)
    return envelope


def error_reply(id: int, error: Error) -> Any:
    """Return Protobuf's message of an error."""
    envelope = message("Reply")
    envelope.id = id
    fill(envelope.error, error)
    return envelope


def push_reply(channel: str, push: pushes.Push) -> Any:
    """Return Protobuf's message of a push."""
    envelope = message("Reply")
    envelope.push.channel = channel
    fill(getattr(envelope.push, PUSHES[type(push)]), push)
    return envelope


def read_command(envelope: Any) -> tuple[int, commands.Command]:
    """Return the command that one of Protobuf's messages holds, and its id."""
    for kind, name in COMMANDS.items():
        if envelope.HasField(name):
            return envelope.id, _read(kind, getattr(envelope, name))
    return envelope.id, commands.Pong()


def _read(kind: type[Any], source: Any) -> Any:
    values: dict[str, Any] = {}
    for name in names_of(kind):
        value = getattr(source, name)
        if name == "tf":
            value = source.HasField("tf")
        elif name == "since":
            value = Position(value.epoch, value.offset) if source.HasField("since") else None
        elif name == "subs":
            value = {key: _read(commands.Recovery, each) for key, each in value.items()}
        elif name == "headers":
            value = dict(value)
        values[name] = value
    return kind(**values)


def delimited(messages: Iterable[Any]) -> bytes:
    """Return a frame: messages, each behind its length."""
    written = io.BytesIO()
    for each in messages:
        proto.serialize_length_prefixed(each, written)
    return written.getvalue()


def split(name: str, frame: bytes) -> list[Any]:
    """Return the messages of a frame; raise ``DecodeError``."""
    reading = io.BytesIO(frame)
    found: list[Any] = []
    while True:
        try:
            parsed = proto.parse_length_prefixed(type(message(name)), reading)
        except (ValueError, OverflowError) as error:
            raise DecodeError(str(error)) from None
        if parsed is None:
            return found
        found.append(parsed)


# JSON


def as_dict(source: Any) -> Any:
    """Return what JSON is to say of one of antiphon's structs: no zero values, and data as the document that it is."""
    found = {}
    for name, value in as_fields(source):
        if value or name in ALWAYS.get(type(source), ()):
            found[name] = json.loads(value) if name in OPAQUE else _value(value)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return [_value(each) for each in value]
    if isinstance(value, msgspec.Struct) or hasattr(value, "_fields"):
        return as_dict(value)
    return value
