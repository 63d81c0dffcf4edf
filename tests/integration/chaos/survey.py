"""What the engine says when it is asked: what it keeps, and who is present.

Laws:
- everything whose ``publish`` returned is in history, with its position and content, until it is beyond the history's
  size or removed;
- nobody is present who was in a process that has been dead for longer than its lease;
- in the end exactly the members are present.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from antiphon.types import Position

from .finding import ABSENT, GHOST, HOLE, MISPLACED, NOT_KEPT, SPOILED, Finding
from .ledger import Ledger
from .member import Member
from .plan import GROUPS, LEASE, GroupPlan
from .publisher import Publisher
from .workers import Workers

__all__ = ["Survey", "compare"]

#: Seconds beyond the lease that a busy machine may take.
_GRACE = 4.0
#: Seconds between two questions whether all are present.
_PAUSE = 0.2


class Survey:
    """Asks, and notes what it finds."""

    def __init__(self, ledger: Ledger, workers: Workers) -> None:
        self._ledger = ledger
        self._workers = workers
        self.findings: list[Finding] = []
        self.done: Counter[str] = Counter()

    async def histories(self, publisher: Publisher) -> None:
        """Compare what is kept of each group with what was published before."""
        for plan in GROUPS:
            if plan.history:
                known = self._ledger.known(plan.name)
                answer = await publisher.history(plan.name)
                self.done["histories compared"] += 1
                self.findings += compare(self._ledger, plan, known, answer)

    async def presences(self, publishers: Sequence[Publisher]) -> None:
        """Look who is present in every group, as each of them sees it."""
        for publisher in publishers:
            for plan in GROUPS:
                await self._presence(publisher, plan.name)

    async def _presence(self, publisher: Publisher, group: str) -> Counter[int]:
        """Return how many are present by worker, and see whether one of them is long dead."""
        asked = asyncio.get_running_loop().time()
        found = Counter(await publisher.presence(group))
        self.done["presences looked at"] += 1
        for worker, count in found.items():
            dead_for = asked - self._workers.died_at.get(worker, asked)
            if dead_for > LEASE + _GRACE:
                words = f"{count} of worker {worker} are present, which has been dead for {dead_for:.1f} s"
                self.findings.append(Finding(GHOST, group, words))
        return found

    async def roll_call(self, publishers: Sequence[Publisher], members: Sequence[Member]) -> None:
        """See whether exactly the members are present, as soon as the leases of the dead are over."""
        due = Counter(group for member in members for group in member.groups)
        loop = asyncio.get_running_loop()
        deadline = max([loop.time(), *self._workers.died_at.values()]) + LEASE + _GRACE
        for publisher, plan in itertools.product(publishers, GROUPS):
            while not self._is_right(found := await self._presence(publisher, plan.name), due[plan.name]):
                if loop.time() > deadline:
                    kind = ABSENT if found.total() < due[plan.name] else GHOST
                    words = f"{dict(found)} are present by worker, and {due[plan.name]} in {self._workers.alive}"
                    self.findings.append(Finding(kind, plan.name, words))
                    break
                await asyncio.sleep(_PAUSE)

    def _is_right(self, found: Counter[int], due: int) -> bool:
        return found.total() == due and all(worker in self._workers.alive for worker in found)


def compare(ledger: Ledger, plan: GroupPlan, known: Mapping[Position, int], answer: Any) -> Iterator[Finding]:
    """Judge what is kept of a group, of which ``known`` had been published before the question."""
    kept = {offset: (Position(epoch, offset), number) for epoch, offset, number in answer["kept"]}
    top = Position(*answer["top"])
    for position, number in kept.values():
        if number is None:
            yield Finding(SPOILED, plan.name, f"history has another content at {position}")
        elif known.get(position, number) != number:
            yield Finding(MISPLACED, plan.name, f"history has number {number} at {position}, and not {known[position]}")
    if kept and len(kept) != max(kept) - min(kept) + 1:
        yield Finding(HOLE, plan.name, f"history has {len(kept)} between offsets {min(kept)} and {max(kept)}")
    oldest = max(top.offset - plan.history, ledger.removed_until(plan.name, top.epoch))
    for position, number in known.items():
        if position.epoch == top.epoch and position.offset > oldest and position.offset not in kept:
            words = f"number {number} at {position} was published, and history, at {top}, does not have it"
            yield Finding(NOT_KEPT, plan.name, words)
