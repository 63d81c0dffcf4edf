"""What goes wrong: drawn by a seeded generator, one thing after another."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from .member import Member
from .plan import GROUPS
from .publisher import Publisher

__all__ = ["Mischief"]


class Mischief:
    """Does something to some member, so many times per second, until ``stop``."""

    def __init__(self, members: Sequence[Member], publisher: Publisher, chance: random.Random, rate: float) -> None:
        self._members = members
        self._publisher = publisher
        self._chance = chance
        self._rate = rate
        self._over = asyncio.Event()
        self.done: Counter[str] = Counter()
        """How often each thing went wrong; ``cuts`` are connections that were ended."""
        self._acts = {
            self._vanish: 6,
            self._cut: 6,
            self._cut_many: 1,
            self._stall: 4,
            self._stall_and_cut: 3,
            self._delay: 3,
            self._pause: 4,
            self._rejoin: 6,
            self._forget: 1,
            self._remove_history: 0.3,
        }

    async def run(self) -> None:
        """Go on until ``stop``; what has begun is brought to its end."""
        acts, weights = list(self._acts), list(self._acts.values())
        while not await self._is_over(self._chance.expovariate(self._rate)):
            act = self._chance.choices(acts, weights)[0]
            await act(self._chance.choice(self._members))

    async def _is_over(self, seconds: float) -> bool:
        """Wait for the next thing to go wrong, and tell whether there is none."""
        try:
            return await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return False

    def stop(self) -> None:
        """Let nothing go wrong any more."""
        self._over.set()
        for member in self._members:
            member.line.delay = 0.0
            member.line.stall(False)

    def figures(self) -> list[str]:
        """Say nothing: how long a client is away is up to itself."""
        return []

    async def _vanish(self, member: Member) -> None:
        """The client's program ends."""
        self.done["cuts"] += 1
        member.vanish()

    async def _cut(self, member: Member) -> None:
        """The network ends the connection."""
        self.done["cuts"] += member.line.cut(reset=self._chance.random() < 0.5)

    async def _cut_many(self, member: Member) -> None:
        """A good part of all come back at the same moment."""
        self.done["crowds"] += 1
        for each in self._chance.sample(self._members, max(2, len(self._members) // 3)):
            self.done["cuts"] += each.line.cut()

    async def _stall(self, member: Member) -> None:
        """The network does not carry, for a while."""
        self.done["stalls"] += 1
        member.line.stall(True)
        asyncio.get_running_loop().call_later(self._chance.uniform(0.1, 4.0), member.line.stall, False)

    async def _stall_and_cut(self, member: Member) -> None:
        """The network does not carry, and then the connection is over."""
        self.done["stalls"] += 1
        member.line.stall(True)
        asyncio.get_running_loop().call_later(self._chance.uniform(0.1, 1.5), self._end_stall, member)

    def _end_stall(self, member: Member) -> None:
        if not self._over.is_set():
            self.done["cuts"] += member.line.cut()
            member.line.stall(False)

    async def _delay(self, member: Member) -> None:
        """The network is slow, or is not any more."""
        self.done["delays"] += 1
        member.line.delay = self._chance.choice([0.0, 0.01, 0.1, 0.4])

    async def _pause(self, member: Member) -> None:
        """The client does not read, for a while."""
        self.done["pauses"] += 1
        member.pause(self._chance.uniform(0.3, 3.0))

    async def _rejoin(self, member: Member) -> None:
        """The client leaves a group and comes back to it."""
        self.done["rejoins"] += 1
        await member.rejoin(self._chance.choice(member.groups))

    async def _forget(self, member: Member) -> None:
        """The client begins anew."""
        self.done["cuts"] += member.line.cut()
        member.vanish()
        await asyncio.sleep(0)
        self.done["clients that began anew"] += member.forget(self._chance.choice(member.groups))

    async def _remove_history(self, member: Member) -> None:
        """The application removes what is kept of a group."""
        self.done["histories removed"] += 1
        kept = [group.name for group in GROUPS if group.history]
        await self._publisher.remove_history(self._chance.choice(kept))
