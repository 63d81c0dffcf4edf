"""Publishes: many small batches and some large ones, with events in between, and keeps the ledger."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from antiphon.types import Position

from .ledger import Ledger
from .outcome import DOUBTED, REFUSED, Outcome
from .outlet import Outlet
from .plan import BY_NAME, GROUPS

__all__ = ["Publisher"]

#: Seconds within which an order is carried out, however often it is repeated.
_PATIENCE = 60.0
#: Of all orders with keys, so many are given twice though they were answered.
_REPEATED = 0.1
#: Seconds before it is repeated, and between two looks whether there is something to do.
_PAUSE = 0.05


class Publisher:
    """One of those who publish, by its own way.

    ``keyed``: what is not answered, or refused, is asked again. ``bare`` is the share of batches that have no keys all
    the same: of those it is asked again what was refused.
    """

    def __init__(
        self, outlet: Outlet, ledger: Ledger, chance: random.Random, *, keyed: bool = False, bare: float = 0.0
    ) -> None:
        self._outlet = outlet
        self._ledger = ledger
        self._chance = chance
        self._keyed = keyed
        self._bare = bare
        self._lock = asyncio.Lock()
        self.done: Counter[str] = Counter()
        """How often what happened."""

    async def run(self, publications: int, seconds: float, *, share: float, longest: float) -> None:
        """Publish this share of what is published, or more where others are slow, until all of it is.

        It is spread over so many seconds, or takes as long as it takes; what is not published by ``longest`` is left.
        """
        loop = asyncio.get_running_loop()
        begun, first, own = loop.time(), self._ledger.asked, 0
        while (done := self._ledger.asked - first) < publications and loop.time() - begun < longest:
            ahead = begun + seconds * own / (publications * share) - loop.time()
            if ahead > 0:
                await asyncio.sleep(min(ahead, _PAUSE))
                continue
            is_burst = self._chance.random() < 0.04
            count = self._chance.randint(60, 250) if is_burst else self._chance.randint(1, 8)
            group = self._chance.choice(GROUPS).name
            count = min(count, publications - done)
            own += count
            if self._bare and self._chance.random() < self._bare:
                await self._publish_bare(group, count)
            else:
                await self.publish(group, count)

    def next_number(self, group: str) -> int:
        """Return the number that what is asked for next in a group will have, by whomever."""
        return self._ledger.ask(group, 0)

    async def publish(self, group: str, count: int) -> None:
        """Publish a batch, with or without events ahead, in one turn of the server's loop or in several."""
        event = self._chance.choice(["", "", "chaos.event", "chaos.shared"])
        if event == "chaos.shared" and BY_NAME[group].drops:
            event = ""  # it would count among the messages that were left out
        turn = self._chance.choice([1, 2, 7, 1000])
        first = self._ledger.ask(group, count)
        order = {"group": group, "first": first, "count": count, "turn": turn, "event": event, "keyed": self._keyed}
        await self._publish(order)
        if self._keyed and self._chance.random() < _REPEATED:
            self.done["orders repeated for no reason"] += 1
            await self._publish(order)

    async def _publish(self, order: dict[str, Any]) -> None:
        await self._ask("publish", self._note, **order)
        self.done[f"publications asked for through {self._outlet.name}"] += order["count"]

    def _note(self, answer: Any, *, group: str, first: int, count: int, **how: Any) -> list[Outcome]:
        """Note in the ledger what became of an order, and return it: where it was not answered, that nobody knows."""
        outcomes: list[Outcome] = [DOUBTED] * count if answer is None else answer["outcomes"]
        self._ledger.answered(group, first, outcomes)
        return outcomes

    async def _publish_bare(self, group: str, count: int) -> None:
        """Publish one after the other without keys: what was refused is asked again, what nobody knows is left."""
        first = self._ledger.ask(group, count, bare=True)
        end = first + count
        async with self._lock, asyncio.timeout(_PATIENCE):
            while first < end:
                order = {"group": group, "first": first, "count": end - first, "turn": 1, "event": "", "keyed": False}
                answer = await self._outlet.ask({"do": "publish", "with": order})
                outcomes = self._note(answer, group=group, first=first, count=end - first)
                first += len(outcomes)
                if REFUSED in outcomes:
                    self.done["publications without a key repeated: refused"] += 1
                    first -= 1
                    await asyncio.sleep(_PAUSE)
        self.done["publications asked for without a key"] += count

    async def remove_history(self, group: str) -> None:
        """Let the application remove what is kept of a group."""
        removal = self._ledger.removing(group)
        removal.until = Position(*(await self._ask("remove", group=group))["position"])

    async def history(self, group: str) -> Any:
        """Return what is kept: the position ``top``, and epoch, offset and number of each."""
        return await self._ask("history", group=group)

    async def presence(self, group: str) -> list[int]:
        """Return the worker of each who is present."""
        found: list[int] = (await self._ask("presence", group=group))["workers"]
        return found

    async def _ask(self, verb: str, note: Callable[..., object] | None = None, **arguments: Any) -> Any:
        """Return the answer, when there is one that is no error; ``note`` is told of every one."""
        async with self._lock, asyncio.timeout(_PATIENCE):
            while True:
                answer = await self._outlet.ask({"do": verb, "with": arguments})
                if note is not None:
                    note(answer, **arguments)
                if answer is not None and "error" not in answer:
                    return answer
                assert self._keyed, f"{verb} was not answered as it should: {answer}"
                kind = answer["error"].partition(":")[0] if answer is not None else "no answer"
                self.done[f"orders repeated: {kind}"] += 1
                await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """Give up the way."""
        await self._outlet.close()
