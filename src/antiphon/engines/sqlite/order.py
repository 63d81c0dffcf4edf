"""In which order a process hears what processes tell: that of the transactions, for all the same.

Each process tells what it has written when it is committed, and from different processes it may arrive in another
order than it was written in. The transactions are numbered in the database. So what arrives too early waits for what is
before it, and behind it what the same process has told since; what is not numbered waits for nothing else.

Pure: no clock, no socket. Whoever uses it decides when to wait no longer (``skip``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from antiphon.engines.sqlite.frames import Told

__all__ = ["Order"]


class Order:
    """What has arrived and can't be told yet; ``next`` is the number of the transaction that comes next."""

    def __init__(self, next: int) -> None:
        self.next = next
        self._waiting: dict[Hashable, deque[Told]] = {}

    def put(self, sender: Hashable, told: Told) -> list[Told]:
        """Take what ``sender`` told last; return what can be told now, in order."""
        if not self._waiting and told.seq <= self.next:
            if told.seq == self.next:
                self.next += 1
            return [told]
        self._waiting.setdefault(sender, deque()).append(told)
        return self._ready()

    def skip(self, last: int) -> list[Told]:
        """Wait no longer for transactions up to ``last``; return what can be told now."""
        self.next = max(self.next, last + 1)
        return self._ready()

    def first_waiting(self) -> int:
        """Return the lowest number that waits; 0: nothing does."""
        return min((told[0].seq for told in self._waiting.values()), default=0)

    def restart(self, next: int) -> list[Told]:
        """Begin to count anew, with another file; return what waited."""
        waited = [told for each in self._waiting.values() for told in each]
        self._waiting.clear()
        self.next = next
        return waited

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _ready(self) -> list[Told]:
        ready: list[Told] = []
        while self._waiting:
            sender, waiting = min(self._waiting.items(), key=_first)
            if waiting[0].seq > self.next:
                break
            if waiting[0].seq == self.next:
                self.next += 1
            ready.append(waiting.popleft())
            if not waiting:
                del self._waiting[sender]
        return ready


def _first(waiting: tuple[Hashable, deque[Told]]) -> int:
    return waiting[1][0].seq
