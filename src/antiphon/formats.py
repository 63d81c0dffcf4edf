"""How a message looks to a transport: bytes of a WebSocket frame, or the parts of ASGI events.

A *chunk* is what a transport writes at once. All connections of one format get the same chunk object, so a message is
encoded and framed once however many members it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from antiphon import frames
from antiphon.counters import Counters
from antiphon.deflate import Deflater
from antiphon.types import ClientInfo, Publication

__all__ = ["FRAMES", "MESSAGES", "Chunk", "DeflateFormat", "Format", "FrameFormat", "MessageFormat"]

#: Opaque to all but the format that made it and the transport that writes it.
Chunk = Any


class Format(Protocol):
    """What the hub needs to know of a transport's chunks."""

    def text(self, payload: bytes) -> Chunk:
        """Return the chunk of one text message, ``payload`` in UTF-8."""

    def binary(self, payload: bytes) -> Chunk:
        """Return the chunk of one binary message."""

    def publication(self, group: str, publication: Publication, *, kept: bool) -> Chunk:
        """Return the chunk of a publication in ``group``; ``kept`` tells whether it has a place in a stream."""

    def presence(self, group: str, info: ClientInfo, *, joins: bool) -> Chunk | None:
        """Return the chunk that tells that somebody joined or left ``group``; None: this wire does not tell."""

    def join(self, chunks: Sequence[Chunk]) -> Chunk:
        """Return one chunk that holds ``chunks`` in their order; at least one."""

    def size(self, chunk: Chunk) -> int:
        """Return how many bytes ``chunk`` stands for."""


class FrameFormat:
    """Chunks are WebSocket frames in bytes: for a transport that owns the socket."""

    __slots__ = ("_frame", "_payload")

    def __init__(self) -> None:
        self._payload = b""
        self._frame = frames.frame(frames.TEXT, b"")

    def text(self, payload: bytes) -> bytes:
        """Return the text frame; members that are sent the same text one after another share one object."""
        if payload == self._payload:
            return self._frame
        self._payload = payload
        self._frame = framed = self._make(frames.TEXT, payload)
        return framed

    def binary(self, payload: bytes) -> bytes:
        """Return the binary frame."""
        return self._make(frames.BINARY, payload)

    def publication(self, group: str, publication: Publication, *, kept: bool) -> bytes:
        """Return a text frame of the publication's data: on the plain wire that is all of it."""
        return self.text(publication.data)

    def presence(self, group: str, info: ClientInfo, *, joins: bool) -> None:
        """Tell nothing: on the plain wire a client gets what the application sends, and no more."""

    def _make(self, opcode: int, payload: bytes) -> bytes:
        return frames.frame(opcode, payload)

    def join(self, chunks: Sequence[bytes]) -> bytes:
        """Return the frames behind one another."""
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def size(self, chunk: bytes) -> int:
        """Return the length in bytes."""
        return len(chunk)


class DeflateFormat(FrameFormat):
    """Frames for clients that negotiated permessage-deflate with a window of ``bits``.

    Messages from ``threshold`` bytes on are compressed, unless that makes them longer.
    """

    __slots__ = ("_counters", "_deflater", "_threshold")

    def __init__(self, bits: int, threshold: int, counters: Counters) -> None:
        super().__init__()
        self._deflater = Deflater(bits)
        self._threshold = threshold
        self._counters = counters

    def _make(self, opcode: int, payload: bytes) -> bytes:
        if len(payload) < self._threshold:
            return frames.frame(opcode, payload)
        self._counters.compressions += 1
        compressed = self._deflater.deflate(payload)
        if len(compressed) < len(payload):
            return frames.compressed_frame(opcode, compressed)
        return frames.frame(opcode, payload)


class MessageFormat:
    """Chunks are tuples of message payloads, ``str`` for text and ``bytes`` for binary: for ASGI's ``send``."""

    __slots__ = ()

    def text(self, payload: bytes) -> tuple[str | bytes, ...]:
        """Return the payload as text."""
        return (payload.decode(),)

    def binary(self, payload: bytes) -> tuple[str | bytes, ...]:
        """Return the payload as it is."""
        return (payload,)

    def publication(self, group: str, publication: Publication, *, kept: bool) -> tuple[str | bytes, ...]:
        """Return the publication's data as text: on the plain wire that is all of it."""
        return self.text(publication.data)

    def presence(self, group: str, info: ClientInfo, *, joins: bool) -> None:
        """Tell nothing, as ``FrameFormat`` does."""

    def join(self, chunks: Sequence[tuple[str | bytes, ...]]) -> tuple[str | bytes, ...]:
        """Return all payloads in one tuple."""
        return chunks[0] if len(chunks) == 1 else tuple(payload for chunk in chunks for payload in chunk)

    def size(self, chunk: tuple[str | bytes, ...]) -> int:
        """Return the sum of the lengths; a character counts as one byte."""
        return sum(map(len, chunk))


FRAMES = FrameFormat()
MESSAGES = MessageFormat()
