"""What the two encodings have in common, and which of them a connection gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import parse_qs

from antiphon.wire.centrifuge import json, protobuf
from antiphon.wire.centrifuge.codes import Error
from antiphon.wire.centrifuge.frame import Frame
from antiphon.wire.centrifuge.pushes import Push
from antiphon.wire.centrifuge.replies import Result

__all__ = ["JSON", "PROTOBUF", "Encoding", "choose"]


class Encoding(Protocol):
    """Bytes of frames into commands; results, errors and pushes into bytes of frames. Implemented by a module."""

    NAME: str
    SUBPROTOCOL: str
    """What a WebSocket client offers to get it, and the server echoes."""
    IS_TEXT: bool
    """Whether its frames are text frames."""
    PING: bytes
    """A ping, as the others are a reply or push."""

    def decode_frame(self, payload: bytes, *, max_command_size: int = ..., max_commands: int = ...) -> Frame:
        """Return the commands of a frame with their ids, which are read as they are asked for.

        The id is 0 of ``Pong`` and maybe of ``Send``, and of no other.
        """

    def sent(self, payload: bytes) -> bytes | None:
        """Return the data of a frame that is one ``send`` without an id, as most are; else None, or where in doubt.

        It is what ``decode_frame`` finds, in a fraction of the time; what is wrong with another frame, only that tells.
        """

    def encode_reply(self, id: int, result: Result) -> bytes:
        """Return the answer to command ``id``, which is not 0."""

    def encode_error(self, id: int, error: Error) -> bytes:
        """Return the answer to command ``id``, which is not 0, where there is no result."""

    def encode_push(self, channel: str, push: Push) -> bytes:
        """Return a push, the same for all who get it; ``channel`` is empty where it is about none."""

    def encode_publication(self, channel: str, data: bytes, offset: int) -> bytes:
        """Return the push of a publication that has ``data``, not empty, maybe an ``offset``, and nothing else.

        The bytes are those of ``encode_push``; the parts that one publication has like the last are made once.
        """

    def join(self, replies: Sequence[bytes]) -> bytes:
        """Return one frame of what the functions above returned, at least one; one alone is a frame already."""


JSON: Encoding = json
PROTOBUF: Encoding = protobuf

_BY_SUBPROTOCOL = {encoding.SUBPROTOCOL: encoding for encoding in (JSON, PROTOBUF)}


def choose(subprotocols: Sequence[str], query: bytes) -> tuple[Encoding, str | None]:
    """Return the encoding for a client, and the subprotocol to accept it with, one of those offered, or None.

    The first of the ``subprotocols`` that names an encoding decides; without one, the ``query`` of the URL, where
    ``format=protobuf`` or ``cf_protocol=protobuf`` asks for it. Most clients offer nothing and speak JSON.
    """
    for name in subprotocols:
        if name in _BY_SUBPROTOCOL:
            return _BY_SUBPROTOCOL[name], name
    wanted = parse_qs(query.decode("latin-1"))
    names = wanted.get("format", []) + wanted.get("cf_protocol", [])
    return (PROTOBUF if PROTOBUF.NAME in names else JSON), None
