"""What processes say to each other: what was written, in MessagePack, and what is not stored anywhere."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from antiphon.types import ClientInfo, Publication

__all__ = [
    "Controlled",
    "Directed",
    "Frame",
    "Hello",
    "Item",
    "Joined",
    "Left",
    "Lost",
    "Published",
    "Queued",
    "Sent",
    "Told",
    "decode",
    "encode",
]


class Published(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A publication of a group."""

    group: str
    publication: Publication


class Joined(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """A client that has come into a group, and is to be announced."""

    group: str
    info: ClientInfo


class Left(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """A client that has gone from a group, and is to be announced."""

    group: str
    info: ClientInfo


class Sent(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """An event for a group."""

    group: str
    event: bytes


class Directed(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """An event for one channel, of the process with this name."""

    channel: str
    event: bytes
    process: str


class Controlled(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """An order to all processes; where ``process`` is not empty, to that one."""

    control: bytes
    process: str = ""


class Queued(msgspec.Struct, frozen=True, array_like=True, tag=7, gc=False):
    """Word that something waits in a general channel."""

    channel: str


Item: TypeAlias = Published | Joined | Left | Sent | Directed | Controlled | Queued


class Told(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """What one transaction has written that others hear of, in the order of the calls.

    ``seq`` counts such transactions of all processes; 0: it is no transaction, nothing of this was written.
    """

    seq: int
    items: list[Item]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """The first frame of each side: which process this is."""

    id: int
    name: str
    """Its part of channel names."""
    address: str


class Lost(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """Some of what this process told did not reach the other: it was too slow to take it."""


Frame: TypeAlias = Told | Hello | Lost

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Frame).decode
