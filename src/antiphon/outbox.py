"""What waits for a client that does not read fast enough: a queue with a bound in bytes.

A chunk has a *source* where the rule of its group allows to leave it out. Of those with the same group and key only the
newest waits; and the oldest of them all go when there is no room. What has no source is never left out.

Laws:
- chunks leave in the order in which they came; one that takes the place of an older one stands at the end;
- the bytes that wait never pass the limit, but for one chunk that is larger by itself: it may wait alone;
- of each group, what was taken, what waits and what was left out add up to what was put;
- the newest of a key waits, unless it was itself the oldest when there was no room, or there is none beside what may
  not be left out;
- what was refused is for the caller to count and to tell.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, NamedTuple, TypeVar

from antiphon.droppable import Source

__all__ = ["APART", "GROUPS", "Missed", "Outbox"]

#: What it costs to keep a chunk by itself, in bytes: each that may be left out counts so much more than its size.
APART = 256

#: Of how many groups a client may be owed word that it missed something.
GROUPS = 1024

Chunk = TypeVar("Chunk")


class Missed(NamedTuple):
    """How many messages of a group were left out since the client was told last."""

    group: str
    messages: int


class Outbox(Generic[Chunk]):
    """A first-in-first-out queue of chunks, at most ``limit`` bytes of them."""

    __slots__ = ("_droppable", "_kept", "_kept_size", "_missed", "_number", "left_out", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.left_out = 0
        """How many were left out since ``caught_up``."""
        # Two queues, merged by number: what may not be left out, and what may. In the second an entry's place is its
        # source, where only one of that may wait, else its number.
        self._kept: deque[tuple[int, Chunk, int]] = deque()
        self._droppable: OrderedDict[Source | int, tuple[int, Chunk, int, Source]] = OrderedDict()
        self._kept_size = 0
        self._number = 0
        self._missed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._kept) + len(self._droppable)

    def __bool__(self) -> bool:
        return bool(self._kept or self._droppable or self._missed)

    def put(self, chunk: Chunk, size: int, source: Source | None = None) -> bool:
        """Append ``chunk`` of ``size`` bytes, and leave out what has to make room for it.

        Return False, and keep nothing of it, where the client can't go on: the limit forbids a chunk that may not be
        left out, or word is owed of more than ``GROUPS`` groups.
        """
        if len(self._missed) > GROUPS:
            return False
        self._number += 1
        if source is not None:
            self._put_droppable(chunk, size, source)
            return True
        if self._kept and self._kept_size + size > self.limit:
            return False
        self._make_room(size)
        self._kept.append((self._number, chunk, size))
        self._kept_size += size
        self.size += size
        return True

    def take_missed(self) -> Missed | None:
        """Return what the client has to be told before the next chunk is taken, and forget it; None: nothing.

        That is what was left out of the next chunk's group, and of all groups when nothing waits any more.
        """
        if not self._missed:
            return None
        if len(self) == 0:
            return Missed(*self._missed.popitem())
        source = None if self._is_kept_next() else next(iter(self._droppable.values()))[3]
        if source is None or source.group not in self._missed:
            return None
        return Missed(source.group, self._missed.pop(source.group))

    def take(self) -> Chunk:
        """Remove and return the oldest chunk; raise ``IndexError`` where there is none."""
        if self._is_kept_next():
            _, chunk, size = self._kept.popleft()
            self._kept_size -= size
        else:
            _, (_, chunk, size, _) = self._droppable.popitem(last=False)
            size += APART
        self.size -= size
        return chunk

    def caught_up(self) -> int:
        """Return how many were left out since the last call."""
        left_out, self.left_out = self.left_out, 0
        return left_out

    def clear(self) -> int:
        """Drop all that waits, forget what was left out, and return how many bytes of chunks were dropped."""
        dropped = self.size - APART * len(self._droppable)
        self._kept.clear()
        self._droppable.clear()
        self._missed.clear()
        self.size = self._kept_size = self.left_out = 0
        return dropped

    def _put_droppable(self, chunk: Chunk, size: int, source: Source) -> None:
        place: Source | int = self._number
        if source.key is not None:
            place = source
            if source in self._droppable:
                self._leave_out(source)
        if self._kept and self._kept_size + size + APART > self.limit:
            # It can't wait. What is older of its group goes with it: word of what was left out stands before the next
            # message of the group, and those are not behind the hole but before it.
            for each in [place for place, entry in self._droppable.items() if entry[3].group == source.group]:
                self._leave_out(each)
            self._count_missed(source.group)
            return
        self._make_room(size + APART)
        self._droppable[place] = (self._number, chunk, size, source)
        self.size += size + APART

    def _make_room(self, size: int) -> None:
        """Leave out the oldest until ``size`` bytes fit, or nothing is left that may be."""
        while self._droppable and self.size + size > self.limit:
            self._leave_out(next(iter(self._droppable)))

    def _leave_out(self, place: Source | int) -> None:
        _, _, size, source = self._droppable.pop(place)
        self.size -= size + APART
        self._count_missed(source.group)

    def _count_missed(self, group: str) -> None:
        self.left_out += 1
        self._missed[group] = self._missed.get(group, 0) + 1

    def _is_kept_next(self) -> bool:
        """Tell in which of the two queues the oldest chunk is; with none at all, in the first."""
        if not self._kept or not self._droppable:
            return not self._droppable
        return self._kept[0][0] < next(iter(self._droppable.values()))[0]
