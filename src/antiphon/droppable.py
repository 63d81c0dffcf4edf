"""Chunks that may be left out for a member who reads too slowly, and how they are found again in what was joined.

A droppable chunk is a chunk like any other: it *is* the bytes, or the tuple of payloads, and whoever has room for it
writes it as it stands, joined with others. Only an outbox, where something waits, asks what it is made of.

Laws:
- marking and joining change nothing of what is written: the same payloads in the same order;
- ``parts`` of a joined chunk are those of the chunks it was joined from, in their order;
- a droppable chunk is equal to itself only: never to one that may not be left out, or comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from antiphon.formats import Chunk, Format

__all__ = ["Part", "Source", "join", "mark", "parts"]


class Source(NamedTuple):
    """Where a message that may be left out comes from.

    Of messages with the same group and ``key`` only the newest waits; where ``key`` is None, all do that find room.
    """

    group: str
    key: str | None


class Part(NamedTuple):
    """One thing that waits by itself: a message with its source, or what may not be left out and has none."""

    chunk: Chunk
    source: Source | None


class _Marked:
    """A chunk that knows its parts."""

    parts: list[Part]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = object.__hash__


class _MarkedFrames(_Marked, bytes):
    """Frames in bytes."""


class _MarkedMessages(_Marked, tuple[Any, ...]):
    """A tuple of payloads."""


def mark(chunk: Chunk, source: Source) -> Chunk:
    """Return ``chunk``, one message, as one that may be left out."""
    return _marked(chunk, [Part(chunk, source)])


def join(format: Format, chunks: Sequence[Chunk]) -> Chunk:
    """Return one chunk that holds ``chunks`` in their order, at least one; what may be left out stays so."""
    if len(chunks) == 1:
        return chunks[0]
    whole = format.join(chunks)
    if not any(isinstance(chunk, _Marked) for chunk in chunks):
        return whole
    return _marked(whole, [part for chunk in chunks for part in parts(chunk)])


def parts(chunk: Chunk) -> list[Part]:
    """Return what ``chunk`` is made of, in its order."""
    return chunk.parts if isinstance(chunk, _Marked) else [Part(chunk, None)]


def _marked(chunk: Chunk, parts: list[Part]) -> Chunk:
    marked = _MarkedMessages(chunk) if isinstance(chunk, tuple) else _MarkedFrames(chunk)
    marked.parts = parts
    return marked
