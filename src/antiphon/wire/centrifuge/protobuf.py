"""The protocol in Protobuf: each command and reply behind its length, in binary frames.

Laws:
- what comes in is commands, or ``ProtocolError``: a length, a number, a text or a wire type that can't be is an error;
  a field that is not in ``schema`` is skipped and not looked into, so that nothing nests deeper than the schema does;
- a command of more fields than ``frame.MAX_FIELDS`` is an error, however small they are;
- of a field that comes twice the last counts, and of a message all that its parts say (as Protobuf has it);
- ``data`` comes and goes as it is, any bytes; what is to reach JSON connections has to be JSON (``data.one_line``);
- what goes out has no zero values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from antiphon.types import Position
from antiphon.wire.centrifuge.codes import Error
from antiphon.wire.centrifuge.commands import Command, Send
from antiphon.wire.centrifuge.exceptions import Malformed
from antiphon.wire.centrifuge.frame import MAX_COMMAND_SIZE, MAX_COMMANDS, MAX_FIELDS, Frame, Reader, number
from antiphon.wire.centrifuge.publication import Publication
from antiphon.wire.centrifuge.pushes import Push
from antiphon.wire.centrifuge.replies import Result
from antiphon.wire.centrifuge.schema import (
    COMMANDS,
    ERROR,
    ID,
    PUSH_CHANNEL,
    PUSH_NUMBER,
    PUSHES,
    RECEIVED,
    RESULTS,
    SENT,
    Field,
    Kind,
)
from antiphon.wire.centrifuge.wireformat import LENGTH, VARINT, length, prefixed, skip, tag, varint, write_varint

__all__ = [
    "IS_TEXT",
    "NAME",
    "PING",
    "SUBPROTOCOL",
    "decode_frame",
    "encode_error",
    "encode_publication",
    "encode_push",
    "encode_reply",
    "join",
    "sent",
]

NAME = "protobuf"
SUBPROTOCOL = "centrifuge-protobuf"
IS_TEXT = False
#: An empty reply; the client answers it with an empty command.
PING = b"\x00"


def decode_frame(
    payload: bytes, *, max_command_size: int = MAX_COMMAND_SIZE, max_commands: int = MAX_COMMANDS
) -> Frame:
    """Return the commands of a frame with their ids, which are read as they are asked for."""
    return Frame(_READER, payload, max_command_size, max_commands)


def sent(payload: bytes) -> bytes | None:
    """Return the data of a frame that is one ``send`` without an id, as most are; else None, or where in doubt."""
    head = _sent_head(len(payload))
    return payload[len(head) :] if head and payload.startswith(head) else None


def encode_reply(id: int, result: Result) -> bytes:
    """Return the answer to command ``id``."""
    return prefixed(_ID_TAG + write_varint(id) + _RESULT_TAGS[type(result)] + prefixed(_message(result)))


def encode_error(id: int, error: Error) -> bytes:
    """Return the answer to command ``id`` where there is no result."""
    return prefixed(_ID_TAG + write_varint(id) + _ERROR_TAG + prefixed(_message(error)))


def encode_push(channel: str, push: Push) -> bytes:
    """Return a push, the same for all who get it; ``channel`` is empty where it is about none."""
    content = _PUSH_TAGS[type(push)] + prefixed(_message(push))
    if channel:
        content = _CHANNEL_TAG + prefixed(_utf8(channel)) + content
    return prefixed(_PUSH_TAG + prefixed(content))


def encode_publication(channel: str, data: bytes, offset: int) -> bytes:
    """Return the push of a publication that has ``data``, not empty, maybe an ``offset``, and nothing else."""
    tail = _OFFSET_TAG + write_varint(offset) if offset else b""
    return _publication_head(channel, len(data), len(tail)) + data + tail


def join(replies: Sequence[bytes]) -> bytes:
    """Return one frame of what the functions above returned, at least one of them; ``PING`` is one, too."""
    return b"".join(replies)


# What comes in


@functools.lru_cache(maxsize=1024)
def _sent_head(size: int) -> bytes:
    """Return what a frame of ``size`` bytes that is one ``send`` has in front of its data; empty: it can't be one.

    A length that is written longer than need be, and an id, are for ``decode_frame``.
    """
    for data in range(max(size - 14, 1), min(size, MAX_COMMAND_SIZE) - 4):
        head = _begun(b"", _begun(_SEND_TAG, _begun(_SENT_DATA_TAG, b"", data), data), data)
        if len(head) + data == size:
            return head
    return b""


def _locate(payload: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Tell where a command is, by the length in front of it."""
    start, stop = length(payload, position, end)
    return start, stop, stop


def _command(payload: bytes) -> tuple[int, Command]:
    values: dict[str, Any] = {}
    _read(_ENVELOPE, _Source(payload), 0, len(payload), values)
    for name, of in _CONTENTS:
        if name in values:
            return number(values.get(ID.name, 0), _build(of, values[name]))
    return number(values.get(ID.name, 0), None)


def _id(payload: bytes) -> int:
    values: dict[str, Any] = {}
    _read(_ID_ONLY, _Source(payload), 0, len(payload), values)
    found: int = values.get(ID.name, 0)
    return found


class _Source:
    """The bytes of a command, and how many fields may still be read of them."""

    __slots__ = ("fields_left", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.fields_left = MAX_FIELDS


class _Slot(NamedTuple):
    """Where the value of a field goes: under ``name``, and as what.

    For a number, ``read`` takes it as it stands there; for the others, what is under the name so far, the source, and
    where in it the value begins and ends.
    """

    name: str
    read: Callable[..., Any]


#: The fields of a message by their tags.
_Slots = dict[int, _Slot]


def _read(slots: _Slots, source: _Source, position: int, end: int, values: dict[str, Any]) -> None:
    """Read a message into ``values``, which holds what earlier parts of it said."""
    payload = source.payload
    while position < end:
        source.fields_left -= 1
        if source.fields_left < 0:
            raise Malformed(f"it has more than {MAX_FIELDS} fields")
        key, position = varint(payload, position, end)
        slot = slots.get(key)
        if slot is None:
            position = _skip(slots, key, payload, position, end)
        elif key & 7 == VARINT:
            found, position = varint(payload, position, end)
            values[slot.name] = slot.read(found)
        else:
            start, position = length(payload, position, end)
            values[slot.name] = slot.read(values.get(slot.name), source, start, position)


def _skip(slots: _Slots, key: int, payload: bytes, position: int, end: int) -> int:
    field, wire_type = key >> 3, key & 7
    if not 0 < field < 2**29:
        raise Malformed(f"a field has the number {field}")
    known = slots.get(field << 3 | VARINT) or slots.get(field << 3 | LENGTH)
    if known is not None:
        raise Malformed(f"the field {known.name} has the wire type {wire_type}")
    return skip(wire_type, payload, position, end)


def _signed(bits: int) -> Callable[[int], int]:
    """Return what reads the last ``bits`` of a number as one that may be negative."""
    mask, sign = (1 << bits) - 1, 1 << bits - 1
    return lambda found: ((found & mask) ^ sign) - sign


def _text(_: object, source: _Source, start: int, stop: int) -> str:
    try:
        return source.payload[start:stop].decode()
    except UnicodeDecodeError:
        raise Malformed("a text is not UTF-8") from None


def _data(_: object, source: _Source, start: int, stop: int) -> bytes:
    return source.payload[start:stop]


def _there(*_: object) -> bool:
    return True


def _into(slots: _Slots) -> Callable[..., dict[str, Any]]:
    def read(so_far: dict[str, Any] | None, source: _Source, start: int, stop: int) -> dict[str, Any]:
        values = {} if so_far is None else so_far
        _read(slots, source, start, stop, values)
        return values

    return read


def _entries(slots: _Slots, zero: Callable[[], Any]) -> Callable[..., dict[str, Any]]:
    """Return what reads an entry of a map: a message of a key and a value."""

    def read(so_far: dict[str, Any] | None, source: _Source, start: int, stop: int) -> dict[str, Any]:
        entries = {} if so_far is None else so_far
        entry: dict[str, Any] = {}
        _read(slots, source, start, stop, entry)
        entries[entry.get("key", "")] = entry["value"] if "value" in entry else zero()
        return entries

    return read


_NUMBERS: dict[Kind, Callable[[int], Any]] = {
    Kind.BOOL: bool,
    Kind.UINT32: lambda found: found & 0xFFFFFFFF,
    Kind.UINT64: int,
    Kind.INT32: _signed(32),
    Kind.INT64: _signed(64),
}

_LENGTHS: dict[Kind, Callable[..., Any]] = {Kind.TEXT: _text, Kind.DATA: _data, Kind.THERE: _there}


def _table(fields: Sequence[Field]) -> _Slots:
    return dict(map(_slot, fields))


def _slot(field: Field) -> tuple[int, _Slot]:
    read = _NUMBERS.get(field.kind)
    if read is not None:
        return field.number << 3 | VARINT, _Slot(field.name, read)
    return field.number << 3 | LENGTH, _Slot(field.name, _LENGTHS.get(field.kind) or _nested(field))


def _nested(field: Field) -> Callable[..., Any]:
    """Return what reads a field that holds fields."""
    if field.kind is Kind.MESSAGE and field.of is not None:
        return _into(_table(RECEIVED[field.of]))
    kind, zero = (Kind.TEXT, str) if field.kind is Kind.TEXTS else (Kind.MESSAGE, dict)
    return _entries(_table((Field(1, "key", Kind.TEXT), Field(2, "value", kind, field.of))), zero)


def _build(of: type[Any], values: dict[str, Any]) -> Any:
    """Return the command, or what is in it, of the fields that were read."""
    for name, inner, kind in _INNER[of]:
        if name in values:
            found = values[name]
            is_map = kind is Kind.MAP
            values[name] = {key: _build(inner, each) for key, each in found.items()} if is_map else _build(inner, found)
    return _MAKERS.get(of, of)(**values)


#: The types without zero values of their own.
_MAKERS: dict[type[Any], Callable[..., Any]] = {Position: functools.partial(Position, epoch="", offset=0)}
_INNER = {
    of: [(field.name, field.of, field.kind) for field in fields if field.of is not None]
    for of, fields in RECEIVED.items()
}
_CONTENTS = [(field.name, field.of) for field in COMMANDS if field.of is not None]
_ID_ONLY = _table([ID])
_ENVELOPE = _table([ID, *COMMANDS])
_READER = Reader(_locate, _command, _id)


# What goes out


@functools.lru_cache(maxsize=4096)
def _publication_head(channel: str, data: int, tail: int) -> bytes:
    """Return what a push of a publication has in front of ``data`` bytes of data and ``tail`` bytes behind them."""
    rest = data + tail
    pub = _begun(_PUSH_TAGS[Publication], _begun(_DATA_TAG, b"", data), rest)
    named = _CHANNEL_TAG + prefixed(_utf8(channel)) if channel else b""
    return _begun(b"", _begun(_PUSH_TAG, named + pub, rest), rest)


def _begun(tag: bytes, begin: bytes, rest: int) -> bytes:
    """Return the beginning of a field: its tag, the length of all of it, and its ``begin``, without the ``rest``."""
    return tag + write_varint(len(begin) + rest) + begin


def _message(message: Any) -> bytes:
    """Return the fields of ``message`` behind one another."""
    written = []
    for name, write in _WRITERS[type(message)]:
        value = getattr(message, name)
        if value:
            written.append(write(value))
    return b"".join(written)


def _utf8(value: str) -> bytes:
    return value.encode("utf-8", "replace")


def _tag(field: Field, wire_type: int = LENGTH) -> bytes:
    return tag(field.number, wire_type)


def _prefixed_writer(field: Field, write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    key = _tag(field)
    return lambda value: key + prefixed(write(value))


def _number_writer(field: Field) -> Callable[[int], bytes]:
    key = _tag(field, VARINT)
    return lambda value: key + write_varint(value & 0xFFFFFFFFFFFFFFFF)


def _messages_writer(field: Field) -> Callable[[Sequence[Any]], bytes]:
    key = _tag(field)
    return lambda value: b"".join([key + prefixed(_message(each)) for each in value])


def _map_writer(field: Field, write: Callable[[Any], bytes]) -> Callable[[Mapping[str, Any]], bytes]:
    key, name, content = _tag(field), tag(1, LENGTH), tag(2, LENGTH)

    def write_map(value: Mapping[str, Any]) -> bytes:
        return b"".join(
            [key + prefixed(name + prefixed(_utf8(each)) + content + prefixed(write(value[each]))) for each in value]
        )

    return write_map


_KIND_WRITERS: dict[Kind, Callable[[Field], Callable[[Any], bytes]]] = {
    Kind.BOOL: _number_writer,
    Kind.UINT32: _number_writer,
    Kind.UINT64: _number_writer,
    Kind.INT64: _number_writer,
    Kind.TEXT: lambda field: _prefixed_writer(field, _utf8),
    Kind.DATA: lambda field: _prefixed_writer(field, bytes),
    Kind.TEXTS: lambda field: _map_writer(field, _utf8),
    Kind.MESSAGE: lambda field: _prefixed_writer(field, _message),
    Kind.MESSAGES: _messages_writer,
    Kind.MAP: lambda field: _map_writer(field, _message),
}

_WRITERS = {
    message: tuple((field.name, _KIND_WRITERS[field.kind](field)) for field in fields)
    for message, fields in SENT.items()
}
_ID_TAG, _ERROR_TAG, _CHANNEL_TAG, _PUSH_TAG = (
    _tag(ID, VARINT),
    _tag(ERROR),
    _tag(PUSH_CHANNEL),
    tag(PUSH_NUMBER, LENGTH),
)
_SENT_DATA_TAG = _tag(RECEIVED[Send][0])
_SEND_TAG = next(_tag(field) for field in COMMANDS if field.of is Send)
_DATA_TAG, _OFFSET_TAG = (
    _tag(field, VARINT if field.kind is Kind.UINT64 else LENGTH)
    for field in SENT[Publication]
    if field.name in ("data", "offset")
)
_RESULT_TAGS = {message: _tag(field) for message, field in RESULTS.items()}
_PUSH_TAGS = {message: _tag(field) for message, field in PUSHES.items()}
