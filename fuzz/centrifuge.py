"""Frames of clients that speak the Centrifuge wire, against Protobuf's own runtime and the standard library's ``json``.

``check`` takes any bytes. The first says which encoding it is, the rest is the frame. ``decode_frame`` gives the
commands that the other implementation reads in it, or a ``ProtocolError`` for a reason.

Run it: ``python -m fuzz.centrifuge --runs 1000000 --seed 7``.
"""

from __future__ import annotations

import json as stdlib
import random
import sys
from collections.abc import Callable
from typing import Any

from antiphon.types import Position
from antiphon.wire.centrifuge import commands, json, protobuf
from antiphon.wire.centrifuge.exceptions import CommandTooBig, ProtocolError
from antiphon.wire.centrifuge.frame import Frame
from fuzz.driver import Target, main
from tests.wire.centrifuge import reference
from tests.wire.centrifuge.reading import read

__all__ = ["TARGET", "check", "check_json", "check_protobuf", "generate"]

#: Small ones, so that they are met.
LIMITS = {"max_command_size": 400, "max_commands": 6}


def check(data: bytes) -> None:
    """Check the frame behind the first byte; raise ``AssertionError`` where something is wrong."""
    if data:
        (check_json if data[0] % 2 else check_protobuf)(data[1:])


# Protobuf

#: Where antiphon refuses what Protobuf's runtime reads. That takes a field of another wire type for an unknown one, has
#: groups, forgets what a number has behind its 64th bit, and knows nothing of ids and limits.
STRICTER = (
    "wire type",
    "more than 64 bits",
    "it has no id",
    "no command that is known",
    "the frame has more than",
    "the frame is empty",
)


def check_protobuf(payload: bytes) -> None:
    """Check what becomes of a frame in Protobuf."""
    try:
        expected = [reference.read_command(each) for each in reference.split("Command", payload)]
    except reference.DecodeError:
        expected = None
    frame = protobuf.decode_frame(payload, **LIMITS)
    found, refused = read(frame)
    if isinstance(refused, CommandTooBig):
        assert len(found) < LIMITS["max_commands"]
        assert frame.size > LIMITS["max_command_size"]
    elif refused is not None:
        assert expected is None or any(words in refused.reason for words in STRICTER), f"refused: {refused.reason}"
    elif expected is not None:  # a filter, and what antiphon does not offer, is not looked into, and may be anything
        assert found == expected, f"antiphon {found!r}, protobuf {expected!r}"


# JSON


class _Invalid(Exception):
    """No JSON, or not of the protocol."""


class _Ambiguous(Exception):
    """JSON that has a name twice in an object; the standard library forgets the first, which may be the fault."""


#: A command: id, type, and the value of each field.
_Read = tuple[int, str, dict[str, Any]]


def check_json(payload: bytes) -> None:
    """Check what becomes of a frame in JSON."""
    lines = payload.removesuffix(b"\n").split(b"\n")
    frame = json.decode_frame(payload, **LIMITS)
    found, refused = read(frame)
    for line, pair in zip(lines, found, strict=refused is None):
        try:
            expected = _expected(line)
        except _Ambiguous:
            continue
        assert repr(_shown(*pair)) == repr(expected), f"antiphon {_shown(*pair)!r}, json {expected!r}"
    if refused is not None:
        _check_refusal(lines, frame, len(found), refused)


def _check_refusal(lines: list[bytes], frame: Frame, place: int, fault: ProtocolError) -> None:
    if isinstance(fault, CommandTooBig):
        assert len(lines[place]) == frame.size > LIMITS["max_command_size"]
        assert frame.is_over == (len(lines) == place + 1)
    elif place < LIMITS["max_commands"]:
        try:
            _expected(lines[place])
        except (_Ambiguous, _Invalid):
            return
        raise AssertionError(f"refused ({fault.reason}), and nothing is wrong with it")


def _shown(id: int, command: commands.Command) -> _Read:
    fields = dict(reference.as_fields(command))
    if "data" in fields:
        assert b"\n" not in fields["data"]
        fields["data"] = [_loads(fields["data"])] if fields["data"] else []
    return id, type(command).__name__, fields


def _loads(text: bytes) -> Any:
    try:
        document = stdlib.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_object)
        if b"\\u" in text:
            stdlib.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError):
        raise _Invalid from None
    return document


def _refuse(name: str) -> None:
    raise ValueError(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise _Ambiguous
    return dict(pairs)


def _expected(line: bytes) -> _Read:
    """Return the command that the standard library reads in ``line``."""
    document = _loads(line)
    described = reference.message("Command").DESCRIPTOR.fields_by_name
    if not isinstance(document, dict):
        raise _Invalid
    id = _value(described["id"], document.get("id"))
    read = [
        (kind.__name__, _fields(kind, described[name].message_type, document[name]))
        for kind, name in reference.COMMANDS.items()
        if document.get(name) is not None
    ]
    if not read and not id:
        return 0, "Pong", {}
    if not read or (not id and read[0][0] != "Send"):
        raise _Invalid
    return id, *read[0]


def _fields(kind: Any, described: Any, document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _Invalid
    fields = {}
    for name in reference.names_of(kind):
        if name == "data":
            fields[name] = [document[name]] if name in document else []
        else:
            fields[name] = _value(described.fields_by_name[name], document.get(name))
    return fields


_RANGES = {"UINT32": (0, 2**32), "UINT64": (0, 2**64), "INT32": (-(2**31), 2**31), "INT64": (-(2**63), 2**63)}


def _value(field: Any, value: Any) -> Any:
    if field.name == "tf":
        return value is not None
    if field.name == "since":
        return None if value is None else Position(**_fields(Position, field.message_type, value))
    if field.name in ("subs", "headers"):
        return _map(field.message_type.fields_by_name["value"].message_type, {} if value is None else value)
    kind = next(kind for kind in ("BOOL", "STRING", *_RANGES) if field.type == getattr(field, f"TYPE_{kind}"))
    zero: Any = {"BOOL": False, "STRING": ""}.get(kind, 0)
    if value is None:
        return zero
    if type(value) is not type(zero) or (kind in _RANGES and not _RANGES[kind][0] <= value < _RANGES[kind][1]):
        raise _Invalid
    return value


def _map(described: Any, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Invalid
    if described is not None:
        kind = commands.Recovery
        return {name: kind(**_fields(kind, described, each)) for name, each in value.items()}
    if not all(isinstance(each, str) for each in value.values()):
        raise _Invalid
    return value


# Making things up


def generate(chance: random.Random) -> bytes:
    """Return an input of ``check``: a frame, mostly with a few faults."""
    text = chance.random() < 0.5
    payload = bytearray(_json_frame(chance) if text else _protobuf_frame(chance))
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 5))):
        _mutate(payload, chance)
    return bytes((text,)) + bytes(payload)


_TEXTS = ("", "room", "ä€🎵", "a" * 130, "\n")
_NUMBERS = (0, 1, 3, 127, 128, 300, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63, 2**64 - 1, -1, -(2**31))
_DATA = (b"", b"null", b"1", b'{"a":[1,{"b":"\\n"}]}', b"[1.5e3,-0,true]", b'"\xc3\xa4"', b'"' + b"x" * 300 + b'"')


def _protobuf_frame(chance: random.Random) -> bytes:
    envelopes = []
    for _ in range(chance.choice((1, 1, 1, 2, 3, 7))):
        envelope = reference.message("Command")
        if chance.random() < 0.9:
            envelope.id = chance.choice((1, 5, 300, 2**32 - 1))
        for _ in range(chance.choice((0, 1, 1, 1, 1, 2))):
            _fill(getattr(envelope, chance.choice(list(reference.COMMANDS.values()))), chance)
        envelopes.append(envelope)
    return reference.delimited(envelopes)


def _fill(message: Any, chance: random.Random, depth: int = 0) -> None:
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.5 or depth > 3:
            continue
        name = field.name
        if field.is_repeated:
            _fill_many(getattr(message, name), field, chance, depth)
        elif field.message_type is not None:
            _fill(getattr(message, name), chance, depth + 1)
        elif field.type == field.TYPE_BOOL:
            setattr(message, name, chance.random() < 0.5)
        elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            setattr(message, name, chance.choice(_TEXTS if field.type == field.TYPE_STRING else _DATA))
        else:
            _fill_number(message, name, chance)


def _fill_number(message: Any, name: str, chance: random.Random) -> None:
    try:
        setattr(message, name, chance.choice(_NUMBERS))
    except ValueError:  # more bits than the field has
        setattr(message, name, 1)


def _fill_many(values: Any, field: Any, chance: random.Random, depth: int) -> None:
    if not field.message_type:
        values.append(chance.choice(_TEXTS))
    elif not field.message_type.GetOptions().map_entry:
        _fill(values.add(), chance, depth + 1)
    elif field.message_type.fields_by_name["value"].message_type is None:
        values[chance.choice(_TEXTS)] = chance.choice(_TEXTS)
    else:
        _fill(values[chance.choice(_TEXTS)], chance, depth + 1)


def _json_frame(chance: random.Random) -> bytes:
    lines = [_json_command(chance) for _ in range(chance.choice((1, 1, 1, 2, 3, 7)))]
    return ("\n".join(lines) + chance.choice(("", "", "\n"))).encode("utf-8", "surrogatepass")


_ATOMS = (
    *("null", "true", "false", "0", "1", "-1", "-0", "1.0", "1e2", "4294967295", "4294967296", "2147483648"),
    *("18446744073709551615", "18446744073709551616", "9223372036854775807", "-9223372036854775809", "9" * 40),
    *(
        '""',
        '"room"',
        '"ä🎵"',
        '"\\ud800"',
        '"\\ud83c\\udfb5"',
        "[]",
        "{}",
        "[[[1]]]",
        '{"a":{"b":null}}',
        "01",
        "\ud800",
    ),
)


def _json_command(chance: random.Random) -> str:
    members = [f'"{chance.choice(list(reference.COMMANDS.values()))}":{_json_content(chance)}']
    if chance.random() < 0.9:
        members.append(
            f'"id":{chance.choice(("1", "7", "4294967295")) if chance.random() < 0.8 else chance.choice(_ATOMS)}'
        )
    if chance.random() < 0.1:
        members.append(f'"{chance.choice(("other", "ping", "send", "publish"))}":{_json_content(chance)}')
    if chance.random() < 0.05:
        members.clear()
    chance.shuffle(members)
    return "{" + chance.choice((",", ", ")).join(members) + "}"


_TYPICAL = {
    "channel": '"room"',
    "token": '"eyJ"',
    "recover": "true",
    "epoch": '"abcd"',
    "offset": "18446744073709551615",
    "data": '{"text":"hello"}',
    "flag": "1",
    "limit": "-1",
    "since": '{"offset":3,"epoch":"abcd"}',
    "reverse": "false",
    "method": '"greet"',
    "headers": '{"a":"b"}',
    "subs": '{"a":{"recover":true,"offset":3,"epoch":"abcd"},"b":{}}',
    "tf": '{"key":"a","cmp":"ex"}',
    "type": "0",
    "other": "[1]",
}


def _json_content(chance: random.Random) -> str:
    if chance.random() < 0.05:
        return chance.choice(_ATOMS)
    names = chance.sample(list(_TYPICAL), chance.randrange(6))
    values = [_TYPICAL[name] if chance.random() < 0.8 else chance.choice(_ATOMS) for name in names]
    space = chance.choice(("", "", " ", "\r\t"))
    return "{" + ",".join(f'"{name}":{space}{value}{space}' for name, value in zip(names, values, strict=True)) + "}"


def _mutate(payload: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(payload) + 1)
    ways: list[Callable[[], object]] = [
        lambda: payload.insert(place, chance.randrange(256)),
        lambda: payload.insert(place, chance.choice(b'[]{}",:0-.eE\\u \n\x80\x00\x01')),
        lambda: payload.__delitem__(slice(place, place + chance.choice((1, 1, 3)))),
        lambda: payload.__delitem__(slice(place, None)),
        lambda: payload.__setitem__(slice(place, place + 1), chance.randbytes(1)),
        lambda: payload.__setitem__(slice(place, place), payload[place : place + 8]),
    ]
    chance.choice(ways)()


TARGET = Target("fuzz.centrifuge", generate, check)

if __name__ == "__main__":
    sys.exit(main(TARGET))
