"""What is in a message and in an entry of a stream.

A message is a letter and what belongs to it. Redis puts a publication's epoch, offset and time in front of the body,
which it does not look into: only Redis knows them, and only at that moment.

======  ==============================================================
letter  behind it
======  ==============================================================
``p``   a publication: epoch, offset and time in ms, with a space behind each, and the body
``e``   an event, in MessagePack
``d``   an event for one channel: its name, a space, the event
``c``   an order to all processes
``j``   a client that has come: ``ClientInfo`` in MessagePack
``l``   a client that has gone: the same
======  ==============================================================
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from antiphon.events import carry_event
from antiphon.types import ClientInfo, Event, Position, Publication, Publishing

__all__ = [
    "Entered",
    "decode_body",
    "decode_entered",
    "decode_event",
    "decode_info",
    "decode_published",
    "encode_body",
    "encode_info",
]


class _Body(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a process says of its publication."""

    data: bytes
    key: str = ""
    info: ClientInfo | None = None
    tags: dict[str, str] | None = None


class Entered(NamedTuple):
    """An entry of a group's presence."""

    process: str
    info: ClientInfo


_encode = msgspec.msgpack.Encoder().encode
_decode_body = msgspec.msgpack.Decoder(_Body).decode
decode_info = msgspec.msgpack.Decoder(ClientInfo).decode
encode_info = _encode


def encode_body(data: bytes, key: str, publishing: Publishing | None) -> bytes:
    """Return the body of a publication."""
    if publishing is None:
        return _encode(_Body(data, key))
    return _encode(_Body(data, key, publishing.info, publishing.tags))


def decode_body(body: bytes, position: Position, milliseconds: bytes) -> Publication:
    """Return the publication that a body stands for."""
    said = _decode_body(body)
    time = int(milliseconds) / 1000
    return Publication(said.data, position.epoch, position.offset, time, said.key, said.info, said.tags)


def decode_published(message: bytes) -> Publication:
    """Return what a message of the letter ``p`` tells."""
    epoch, offset, milliseconds, body = message[1:].split(b" ", 3)
    return decode_body(body, Position(epoch.decode(), int(offset)), milliseconds)


def decode_event(packed: bytes) -> Event:
    """Return the event that travelled as ``packed``."""
    return carry_event(msgspec.msgpack.decode(packed))


def decode_entered(value: bytes) -> Entered:
    """Return an entry as ``enter.lua`` wrote it: a digit, the process, a space, the info."""
    process, _, info = value[1:].partition(b" ")
    return Entered(process.decode(), decode_info(info))
