"""What happens to Redis: its servers are killed, frozen, emptied, cut off and replaced, and the time is taken.

The time to recover is that from the moment at which a master takes writes again until a member has got something that
was published after it. Only members whom nothing else befalls are asked: they are spared by ``mischief``, and what is
measured while a worker suffers does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias, TypeVar

from tests.integration.redis_server import LASTING, RedisServer

from .member import Member
from .plan import GROUPS, Plan
from .publisher import Publisher
from .reaper import Reaper
from .redisset import RedisSet, ask

__all__ = ["Saboteur"]

Answer = TypeVar("Answer")

#: Seconds within which the set is whole again, and within which all members have recovered, or it is said.
_PATIENCE = 40.0
#: So many things happen at least.
_LEAST = 3
#: Seconds between two looks.
_LOOK = 0.02
#: Seconds after which there is another publication for those who have not got the one before.
_AGAIN = 0.5

#: What is done to the master: the context begins with it, and ends when a master takes writes, or soon will.
Act: TypeAlias = Callable[[RedisServer], AbstractAsyncContextManager[str]]


class Saboteur:
    """Does something to Redis, again and again, until ``stop``."""

    def __init__(
        self,
        redis: RedisSet,
        spared: Sequence[Member],
        prober: Publisher,
        reaper: Reaper,
        chance: random.Random,
        plan: Plan,
        peace: asyncio.Lock,
    ) -> None:
        self._peace = peace
        self._redis = redis
        self._spared = spared
        self._prober = prober
        self._reaper = reaper
        self._chance = chance
        self._calm = plan.redis_calm
        self._harm = plan.harm
        self._over = asyncio.Event()
        self.done: Counter[str] = Counter()
        self.acts = 0
        self.delays: dict[str, list[float]] = defaultdict(list)
        """By what was done to Redis: seconds that each member took to recover."""

    async def run(self) -> None:
        """Go on until ``stop``, and at least to the third thing; nothing happens twice before all has once."""
        acts: dict[Act, float] = {
            self._kill: 2,
            self._fail_over: 2,
            self._empty: 2,
            self._cut: 4,
            self._freeze: 3,
            self._cut_some: 4,
            self._kill_for_long: 2,
            self._kill_both: 2,
            self._freeze_for_long: 2,
            self._fill: 1,
            self._kill_replica: 1,
            self._freeze_sentinel: 1,
            self._flush_scripts: 0.5,
        }
        if self._harm:
            acts = {act: weight for act, weight in acts.items() if act.__name__.removeprefix("_") in self._harm}
        first = list(acts)
        while not await self._is_over(self._chance.uniform(0.5, 1.5) * self._calm) or self.acts < _LEAST:
            act = first.pop(0) if first else self._chance.choices(list(acts), list(acts.values()))[0]
            if act not in (self._fail_over, self._kill_for_long, self._freeze_for_long) or await self._be_whole():
                await self._do(act)
        await self._be_whole()  # else what it was may go on: another server takes over, and begins anew

    async def _is_over(self, seconds: float) -> bool:
        try:
            return await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return False

    def stop(self) -> None:
        """Let no more happen."""
        self._over.set()

    async def _do(self, act: Act) -> None:
        """Do it, and let all recover."""
        self.acts += 1
        async with contextlib.AsyncExitStack() as stack:
            async with self._peace:
                master = await self._until(self._redis.master_now)
                acts_before = self._reaper.acts
                what = await stack.enter_async_context(act(master))
                self.done[f"Redis {what}"] += 1
                await self._until(self._redis.master_now)
            delays = await self._recover()
        if self._reaper.acts == acts_before and not self._reaper.is_acting:
            self.delays[what] += delays

    async def _be_whole(self) -> bool:
        """Wait until there is a replica that can take over, and tell whether there is: sentinels take their time."""
        try:
            return await self._until(self._redis.is_whole)
        except TimeoutError:
            self.done[f"Redis not whole again within {_PATIENCE:g} s"] += 1
            return False

    async def _until(self, question: Callable[[], Awaitable[Answer | None]]) -> Answer:
        """Ask until the answer is something, and return that."""
        async with asyncio.timeout(_PATIENCE):
            while not (answer := await question()):
                await asyncio.sleep(_LOOK)
        return answer

    # What is done

    @asynccontextmanager
    async def _kill(self, master: RedisServer) -> AsyncIterator[str]:
        """It dies, and is there again before a sentinel has noticed."""
        await asyncio.to_thread(master.restart, *LASTING)
        yield "killed"

    @asynccontextmanager
    async def _kill_for_long(self, master: RedisServer) -> AsyncIterator[str]:
        """It dies, the other one takes over, and it comes back: as its replica, or as a master, as it thinks."""
        master.kill()
        other = await self._until(lambda: self._redis.changed_from(master))
        yield "killed for long"
        is_replica = self._chance.random() < 0.5
        await asyncio.to_thread(master.start, *LASTING, *(_behind(other) if is_replica else ()))

    @asynccontextmanager
    async def _kill_both(self, master: RedisServer) -> AsyncIterator[str]:
        """There is no server at all, for longer than a call waits."""
        other = self._redis.other(master)
        for server in (other, master):
            server.kill()
        await asyncio.sleep(self._chance.uniform(1.0, 6.0))
        await asyncio.to_thread(master.start, *LASTING)
        await asyncio.to_thread(other.start, *LASTING, *_behind(master))
        yield "away"

    @asynccontextmanager
    async def _freeze(self, master: RedisServer) -> AsyncIterator[str]:
        """It stands still, and no sentinel has noticed."""
        await self._stand_still(master, 0.1, 0.4)
        yield "frozen"

    @asynccontextmanager
    async def _freeze_for_long(self, master: RedisServer) -> AsyncIterator[str]:
        """It stands still until the other one has taken over; when it goes on, it thinks that it is the master."""
        master.freeze()
        try:
            await self._until(lambda: self._redis.changed_from(master))
            yield "frozen for long"
            await asyncio.sleep(self._chance.uniform(0.0, 2.0))
        finally:
            master.thaw()

    async def _stand_still(self, server: RedisServer, least: float, most: float) -> None:
        server.freeze()
        try:
            await asyncio.sleep(self._chance.uniform(least, most))
        finally:
            server.thaw()

    @asynccontextmanager
    async def _cut(self, master: RedisServer) -> AsyncIterator[str]:
        """Connections of all processes end: those for commands, those for what is published, or both."""
        kinds = self._chance.choice([["pubsub"], ["normal"], ["pubsub", "normal"]])
        for kind in kinds:
            await ask(master, "CLIENT", "KILL", "TYPE", kind)
        yield f"cut off: {' and '.join(kinds)}"

    @asynccontextmanager
    async def _cut_some(self, master: RedisServer) -> AsyncIterator[str]:
        """Some connections end, each of some process."""
        for kind in ("normal", "pubsub", "normal"):
            listed = await ask(master, "CLIENT", "LIST", "TYPE", kind)
            if isinstance(listed, bytes) and listed:
                line = self._chance.choice(listed.splitlines()).decode()
                await ask(master, "CLIENT", "KILL", "ID", line.split()[0].removeprefix("id="))
        yield "cut off: some connections"

    @asynccontextmanager
    async def _empty(self, master: RedisServer) -> AsyncIterator[str]:
        """It loses all that it had, and its replica with it."""
        await asyncio.to_thread(self._redis.restart_empty, master)
        yield "emptied"

    @asynccontextmanager
    async def _fail_over(self, master: RedisServer) -> AsyncIterator[str]:
        """The replica takes over from a master that lives."""
        await self._told(self._redis.sentinels[0], "SENTINEL", "FAILOVER", "talk")
        await self._until(lambda: self._redis.changed_from(master))
        yield "failed over"

    @asynccontextmanager
    async def _fill(self, master: RedisServer) -> AsyncIterator[str]:
        """Its memory is full, for a moment."""
        await self._told(master, "CONFIG", "SET", "maxmemory", "1mb")
        await asyncio.sleep(self._chance.uniform(0.2, 1.0))
        await self._told(master, "CONFIG", "SET", "maxmemory", "0")
        yield "full"

    async def _told(self, server: RedisServer, *words: str) -> None:
        """Tell a server until it has done it."""

        async def is_done() -> bool:
            return bool(await ask(server, *words) == b"OK")

        await self._until(is_done)

    @asynccontextmanager
    async def _flush_scripts(self, master: RedisServer) -> AsyncIterator[str]:
        """It forgets the scripts."""
        await self._told(master, "SCRIPT", "FLUSH")
        yield "made to forget the scripts"

    @asynccontextmanager
    async def _kill_replica(self, master: RedisServer) -> AsyncIterator[str]:
        """Its replica dies, and is there again."""
        await asyncio.to_thread(self._redis.other(master).restart, *LASTING, *_behind(master))
        yield "without its replica"

    @asynccontextmanager
    async def _freeze_sentinel(self, master: RedisServer) -> AsyncIterator[str]:
        """A sentinel stands still: the first that is asked."""
        await self._stand_still(self._redis.sentinels[0], 1.0, 3.0)
        yield "without a sentinel"

    # Recovery

    async def _recover(self) -> list[float]:
        """Wait until who is spared has got what was published from now on; return how long each took."""
        loop = asyncio.get_running_loop()
        begun = published_at = loop.time()
        due = {group.name: self._prober.next_number(group.name) for group in GROUPS}
        publishing = loop.create_task(self._publish_everywhere())
        waiting, delays = set(self._spared), []
        try:
            async with asyncio.timeout(_PATIENCE):
                while waiting:
                    now = loop.time()
                    back = {each for each in waiting if _has_all(each, due)}
                    delays += [now - begun] * len(back)
                    waiting -= back
                    if publishing.done() and now > published_at + _AGAIN:
                        publishing.result()
                        publishing, published_at = loop.create_task(self._publish_everywhere()), now
                    await asyncio.sleep(_LOOK / 2)
        except TimeoutError:
            self.done[f"spared clients not back within {_PATIENCE:g} s"] += len(waiting)
        await publishing
        return delays

    async def _publish_everywhere(self) -> None:
        for group in GROUPS:
            await self._prober.publish(group.name, 1)

    def figures(self) -> list[str]:
        """Say how long it took."""
        if not self.delays:
            return ["nobody has seen how long it takes to recover from Redis"]
        every = [delay for delays in self.delays.values() for delay in delays]
        return [
            f"{what}: {len(delays)} times, median {statistics.median(delays):.2f} s, longest {max(delays):.2f} s"
            for what, delays in (("until clients recovered from Redis", every), *sorted(self.delays.items()))
        ]


def _behind(master: RedisServer) -> tuple[str, ...]:
    """Return the settings of a server that is the master's replica."""
    return "--replicaof", master.host, str(master.port)


def _has_all(member: Member, due: dict[str, int]) -> bool:
    """Tell whether a member has got of each group what was asked for at the earliest with the number that is due."""
    return all(trail.number >= due[group] for group, trail in member.trails.items())
