"""What waits for a client that does not read fast enough: a queue with a bound in bytes.

Laws:
- chunks leave in the order in which they came;
- the bytes that wait never pass the limit, but for one chunk that is larger by itself: it may wait alone;
- what was refused is for the caller to count and to tell; the outbox drops nothing by itself.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

__all__ = ["Outbox"]

Chunk = TypeVar("Chunk")


class Outbox(Generic[Chunk]):
    """A first-in-first-out queue of chunks, at most ``limit`` bytes of them."""

    __slots__ = ("_chunks", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._chunks: deque[tuple[Chunk, int]] = deque()

    def __len__(self) -> int:
        return len(self._chunks)

    def put(self, chunk: Chunk, size: int) -> bool:
        """Append ``chunk`` of ``size`` bytes; return False, and keep nothing of it, where the limit forbids it."""
        if self._chunks and self.size + size > self.limit:
            return False
        self._chunks.append((chunk, size))
        self.size += size
        return True

    def take(self) -> Chunk:
        """Remove and return the oldest chunk; raise ``IndexError`` where there is none."""
        chunk, size = self._chunks.popleft()
        self.size -= size
        return chunk

    def clear(self) -> int:
        """Drop all that waits and return how many bytes that was."""
        dropped, self.size = self.size, 0
        self._chunks.clear()
        return dropped
