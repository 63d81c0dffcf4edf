"""What happens to workers: they are killed and frozen, and the time is taken until their clients are back.

A client counts as one of the dead worker's when the server's end of its line is gone within ``_AT_ONCE`` seconds; one
whose line stalls at that time learns of it later, and is left out.
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
from collections import Counter
from collections.abc import Sequence

from .member import Member
from .publisher import Publisher
from .survey import Survey
from .workers import Workers

__all__ = ["Reaper"]

_AT_ONCE = 0.5
#: Seconds that the clients of a dead worker have to come back, before the next thing happens.
_PATIENCE = 20.0


class Reaper:
    """Does something to some worker, again and again, until ``stop``, and surveys what is kept after each death."""

    def __init__(
        self,
        workers: Workers,
        members: Sequence[Member],
        askers: Sequence[Publisher],
        survey: Survey,
        chance: random.Random,
        calm: float,
        peace: asyncio.Lock,
    ) -> None:
        self._peace = peace
        self._workers = workers
        self._members = members
        self._askers = askers
        self._survey = survey
        self._chance = chance
        self._calm = calm
        self._over = asyncio.Event()
        self.done: Counter[str] = Counter()
        self.acts = 0
        """How much has been begun."""
        self.is_acting = False
        self.absences: list[float] = []
        """Seconds from a worker's death until one of its clients was back in all its groups."""

    async def run(self) -> None:
        """Go on until ``stop``, and at least to the first death; what has begun is brought to its end."""
        acts = {self._kill: 4, self._freeze: 2, self._freeze_and_kill: 1}
        act = self._kill
        while not await self._is_over(self._chance.uniform(0.5, 1.5) * self._calm) or not self.done["workers killed"]:
            await self._survey.presences(self._askers)  # what a worker remembers of one that dies, is to come to light
            self.acts, self.is_acting = self.acts + 1, True
            await act(self._chance.choice(sorted(self._workers.alive)))
            self.is_acting = False
            act = self._chance.choices(list(acts), list(acts.values()))[0]

    async def _is_over(self, seconds: float) -> bool:
        try:
            return await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return False

    def stop(self) -> None:
        """Let no more happen."""
        self._over.set()

    async def _kill(self, worker: int) -> None:
        """The kernel ends it: out of memory, say."""
        self.done["workers killed"] += 1
        async with self._peace:  # one that starts while the engine is away ends the others
            died_at = asyncio.get_running_loop().time()
            self._workers.signal(worker, signal.SIGKILL)
            await self._come_back(died_at)
            await self._workers.complete()
        await self._survey.histories(self._chance.choice(self._askers))

    async def _freeze(self, worker: int) -> None:
        """It does not run, for less time than its parent waits for it, and perhaps longer than its lease."""
        self.done["workers frozen"] += 1
        self._workers.signal(worker, signal.SIGSTOP)
        await asyncio.sleep(self._chance.uniform(0.3, 4.0))
        self._workers.signal(worker, signal.SIGCONT)

    async def _freeze_and_kill(self, worker: int) -> None:
        """It does not run, and never will again."""
        self.done["workers frozen"] += 1
        self._workers.signal(worker, signal.SIGSTOP)
        await asyncio.sleep(self._chance.uniform(0.3, 3.0))
        await self._kill(worker)

    async def _come_back(self, died_at: float) -> None:
        """Wait until the dead worker's clients are back, and note how long each took."""
        away: set[Member] = set()
        back: set[Member] = set()
        loop = asyncio.get_running_loop()
        while (is_early := (now := loop.time()) < died_at + _AT_ONCE) or (away and now < died_at + _PATIENCE):
            if is_early:
                away |= {member for member in self._members if member.line.broken_at >= died_at} - back
            returned = {member for member in away if member.is_settled and member.line.opened_at > died_at}
            self.absences += [now - died_at] * len(returned)
            away -= returned
            back |= returned
            await asyncio.sleep(0.01)
        self.done["clients of workers that were killed"] += len(back) + len(away)
        self.done[f"of these, not back within {_PATIENCE:g} s"] += len(away)

    def figures(self) -> list[str]:
        """Say how long the clients of dead workers were away."""
        if not self.absences:
            return ["no client has come back from a worker that died"]
        middle, most = statistics.median(self.absences), max(self.absences)
        return [f"from a worker's death until its clients had recovered: median {middle:.2f} s, longest {most:.2f} s"]
