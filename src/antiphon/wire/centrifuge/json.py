"""The protocol in JSON: each command and reply a document on a line of its own, in text frames.

Laws:
- what comes in is commands, or ``ProtocolError``: each line is JSON (RFC 8259) in UTF-8 with the types of ``schema``;
  names that are not in it are skipped, ``null`` is a field that was not sent, and of two with one name the last counts;
- ``data`` comes and goes as it is written, without being read: what came is one line of JSON, and what goes has to be
  (``data.one_line``), for a newline ends the document;
- what goes out has no space, and of the zero values only those that ``schema`` has ``always``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from antiphon.scalars import as_scalar
from antiphon.wire.centrifuge.codes import Error
from antiphon.wire.centrifuge.commands import Command, Recovery
from antiphon.wire.centrifuge.exceptions import Malformed
from antiphon.wire.centrifuge.frame import MAX_COMMAND_SIZE, MAX_COMMANDS, MAX_FIELDS, Frame, Reader, number
from antiphon.wire.centrifuge.publication import Publication
from antiphon.wire.centrifuge.pushes import Push
from antiphon.wire.centrifuge.replies import Result
from antiphon.wire.centrifuge.schema import COMMANDS, ID, PUSHES, RECEIVED, RESULTS, SENT, Field, Kind

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

NAME = "json"
SUBPROTOCOL = "centrifuge-json"
IS_TEXT = True
#: An empty reply; the client answers it with an empty command.
PING = b"{}"


def decode_frame(
    payload: bytes, *, max_command_size: int = MAX_COMMAND_SIZE, max_commands: int = MAX_COMMANDS
) -> Frame:
    """Return the commands of a frame with their ids, which are read as they are asked for."""
    return Frame(_READER, payload, max_command_size, max_commands)


def sent(payload: bytes) -> bytes | None:
    """Return the data of a frame that is one ``send`` without an id, as most are; else None, or where in doubt."""
    if not payload.startswith(b'{"send"') or _NEWLINE in payload or len(payload) > MAX_COMMAND_SIZE:
        return None
    try:
        return bytes(_read(_decode_sent, payload).send.data)
    except Malformed:  # or it holds more than that
        return None


def encode_reply(id: int, result: Result) -> bytes:
    """Return the answer to command ``id``."""
    return b'{"id":%d,%b%b}' % (id, _RESULT_KEYS[type(result)], _object(result))


def encode_error(id: int, error: Error) -> bytes:
    """Return the answer to command ``id`` where there is no result."""
    return b'{"id":%d,"error":%b}' % (id, _object(error))


def encode_push(channel: str, push: Push) -> bytes:
    """Return a push, the same for all who get it; ``channel`` is empty where it is about none."""
    if not channel:
        return b'{"push":{%b%b}}' % (_PUSH_KEYS[type(push)], _object(push))
    return b'{"push":{"channel":%b,%b%b}}' % (_text(channel), _PUSH_KEYS[type(push)], _object(push))


def encode_publication(channel: str, data: bytes, offset: int) -> bytes:
    """Return the push of a publication that has ``data``, not empty, maybe an ``offset``, and nothing else."""
    if not offset:
        return b"%b%b}}}" % (_publication_head(channel), data)
    return b'%b%b,"offset":%d}}}' % (_publication_head(channel), data, offset)


def join(replies: Sequence[bytes]) -> bytes:
    """Return one frame of what the functions above returned, at least one of them; ``PING`` is one, too."""
    return b"\n".join(replies)


# What comes in


def _locate(payload: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Tell where a line is; a newline at the end of the frame ends the last one."""
    stop = payload.find(b"\n", position)
    return (position, stop, stop + 1) if stop >= 0 else (position, end, end)


def _command(line: bytes) -> tuple[int, Command]:
    command = _read(_decode_command, line)
    for name in _NAMES:
        content = getattr(command, name)
        if content is not None:
            return number(command.id or 0, _build(content, b"null" in line))
    return number(command.id or 0, None)


def _id(line: bytes) -> int:
    found: int = _read(_decode_id, line).id or 0
    return found


def _read(decode: Callable[[bytes], Any], line: bytes) -> Any:
    if not line.isascii():
        try:
            line.decode()  # the decoder does not look into what it skips
        except UnicodeDecodeError:
            raise Malformed("it is not UTF-8") from None
    try:
        return decode(line)
    except RecursionError:
        raise Malformed("it is nested too deep") from None
    except msgspec.DecodeError as error:
        raise Malformed(str(error) if line.strip() else "it is empty") from None


class _Shape(NamedTuple):
    """How what was decoded becomes a command."""

    make: Callable[..., Any]
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]
    """What becomes of a field that is not taken as it is, by its place."""
    zeros: tuple[Any, ...]
    """What stands for ``null``."""


def _build(decoded: msgspec.Struct, nulls: bool) -> Any:
    """Return the command, or what is in it; ``nulls`` tells that fields may be None."""
    make, converters, zeros = _SHAPES[type(decoded)]
    values = list(astuple(decoded))
    if nulls:
        values = [zero if value is None else value for zero, value in zip(zeros, values, strict=True)]
    for index, convert in converters:
        values[index] = convert(values[index])
    return make(*values)


def _uint64(value: int) -> int:
    if value > _LARGEST:
        raise Malformed("a number has more than 64 bits")
    return value


_LARGEST = 2**64 - 1


def _message_of(value: msgspec.Struct | None) -> Any:
    return None if value is None else _build(value, True)


def _map_of_messages(value: dict[str, msgspec.Struct]) -> dict[str, Any]:
    if len(value) * _FIELDS_OF_ENTRY > MAX_FIELDS:  # the one place where what C has read costs much once more
        raise Malformed(f"it has more than {MAX_FIELDS} fields")
    return {name: _build(each, True) for name, each in value.items()}


#: Its name, and those of the only messages that stand in maps.
_FIELDS_OF_ENTRY = 1 + len(RECEIVED[Recovery])


def _there(value: msgspec.Raw) -> bool:
    return bytes(value) not in (b"", b"null")


def _bits(least: int, most: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=least, le=most)] | None


#: Of each kind: what the decoder is to read, what stands for a field that was not sent, and the converter, if any.
_KINDS: dict[Kind, tuple[Any, Any, Callable[[Any], Any] | None]] = {
    Kind.BOOL: (bool | None, False, None),
    Kind.UINT32: (_bits(0, 2**32 - 1), 0, None),
    Kind.UINT64: (Annotated[int, msgspec.Meta(ge=0)] | None, 0, _uint64),
    Kind.INT32: (_bits(-(2**31), 2**31 - 1), 0, None),
    Kind.INT64: (_bits(-(2**63), 2**63 - 1), 0, None),
    Kind.TEXT: (str | None, "", None),
    Kind.DATA: (msgspec.Raw, msgspec.Raw(), bytes),
    Kind.THERE: (msgspec.Raw, msgspec.Raw(), _there),
    Kind.TEXTS: (dict[str, str] | None, {}, dict),
    Kind.MESSAGE: (None, None, _message_of),
    Kind.MAP: (None, {}, _map_of_messages),
}

_SHAPES: dict[type[msgspec.Struct], _Shape] = {}


def _decoded(of: type[Any]) -> type[msgspec.Struct]:
    """Return the struct that the decoder makes of a message in place of ``of``."""
    fields = RECEIVED[of]
    made = msgspec.defstruct(of.__name__, [_wanted(field) for field in fields], frozen=True)
    kinds = [_KINDS[field.kind] for field in fields]
    converters = [(index, convert) for index, (_, _, convert) in enumerate(kinds) if convert is not None]
    _SHAPES[made] = _Shape(of, tuple(converters), tuple(zero for _, zero, _ in kinds))
    return made


def _wanted(field: Field) -> tuple[str, Any, Any]:
    wanted, zero, _ = _KINDS[field.kind]
    if field.of is not None:
        inner = _decoded(field.of)
        wanted = dict[str, inner] | None if field.kind is Kind.MAP else inner | None  # type: ignore[valid-type]
    return field.name, wanted, zero


_NEWLINE = ord("\n")  # a number is found four times as fast as bytes


class _SentData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data: msgspec.Raw


class _Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    send: _SentData


_decode_sent = msgspec.json.Decoder(_Sent).decode
_NAMES = [field.name for field in COMMANDS]
_decode_command = msgspec.json.Decoder(
    msgspec.defstruct("Command", [_wanted(ID), *map(_wanted, COMMANDS)], frozen=True)
).decode
_decode_id = msgspec.json.Decoder(msgspec.defstruct("Command", [_wanted(ID)], frozen=True)).decode
_READER = Reader(_locate, _command, _id)


# What goes out


@functools.lru_cache(maxsize=4096)
def _publication_head(channel: str) -> bytes:
    """Return what stands in front of the data of a push of a publication."""
    return encode_push(channel, Publication(b"0")).removesuffix(b"0}}}")


def _object(message: Any) -> bytes:
    """Return ``message`` as a JSON object."""
    members = []
    for name, key, write, always in _WRITERS[type(message)]:
        value = getattr(message, name)
        if value or always:
            members.append(key + write(value))
    return b"{" + b",".join(members) + b"}"


_encode = msgspec.json.Encoder(enc_hook=as_scalar).encode


def _text(value: str) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:  # half of a surrogate pair
        return _encode(value.encode("utf-8", "replace").decode())


def _number(value: int) -> bytes:
    return b"%d" % value


def _map_of(write: Callable[[Any], bytes]) -> Callable[[Mapping[str, Any]], bytes]:
    def write_map(value: Mapping[str, Any]) -> bytes:
        return b"{" + b",".join([_text(name) + b":" + write(each) for name, each in value.items()]) + b"}"

    return write_map


_KIND_WRITERS: dict[Kind, Callable[[Any], bytes]] = {
    Kind.BOOL: lambda value: b"true" if value else b"false",
    Kind.UINT32: _number,
    Kind.UINT64: _number,
    Kind.INT64: _number,
    Kind.TEXT: _text,
    Kind.DATA: bytes,
    Kind.TEXTS: _map_of(_text),
    Kind.MESSAGE: _object,
    Kind.MESSAGES: lambda value: b"[" + b",".join(map(_object, value)) + b"]",
    Kind.MAP: _map_of(_object),
}


def _key(field: Field) -> bytes:
    return b'"%b":' % field.name.encode()


_WRITERS = {
    message: tuple((field.name, _key(field), _KIND_WRITERS[field.kind], field.always) for field in fields)
    for message, fields in SENT.items()
}
_RESULT_KEYS = {message: _key(field) for message, field in RESULTS.items()}
_PUSH_KEYS = {message: _key(field) for message, field in PUSHES.items()}
