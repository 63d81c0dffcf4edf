"""A run: a server, its members and their lines, those who publish, what goes wrong, and in the end the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from tests.integration.servers import DIRECT, Server, Servers

from .encoding import JSON, PROTOBUF
from .ledger import Ledger
from .line import Line
from .member import Member
from .mischief import Mischief
from .outlet import Outlet, ScriptOutlet, WorkerOutlet
from .pagemember import PageMember, Pages
from .plainmember import PlainMember
from .plan import GROUPS, Plan
from .publisher import Publisher
from .reaper import Reaper
from .redisset import RedisSet
from .saboteur import Saboteur
from .sdkmember import SdkMember
from .survey import Survey
from .trail import Trail
from .verdict import Seen, Verdict, judge
from .wiremember import WireMember
from .workers import Workers

__all__ = ["run", "spawn"]

APPLICATION = "tests.integration.chaos.app:app"
#: Published when nothing goes wrong any more, so that what is lost at the very end is noticed.
_CURTAIN = 3
#: Seconds that all have to get it; then there is another.
CURTAIN_TIME = 3.0
#: How many publish through each worker, where there are several; one more is a script.
_PER_WORKER = 2
#: Where Redis suffers, one client in so many is spared everything else.
_SPARED = 8
#: Where the engine forgets, so many batches have no idempotency keys.
_BARE = 0.3
#: For so many times the seconds of the plan is published, at most.
_LONGEST = 1.25


def spawn(servers: Servers, plan: Plan) -> Server:
    """Return the server of a run, which has yet to be waited for."""
    return servers.spawn(DIRECT[0], APPLICATION, "--workers", str(plan.workers), env=plan.settings)


async def run(server: Server, plan: Plan, say: Callable[[str], None], redis: RedisSet | None = None) -> Verdict:
    """Run the plan on a server that is on its way, telling the progress, and return the verdict; the server stays.

    Where the engine is that of Redis, ``redis`` is what suffers.
    """
    await asyncio.to_thread(server.listening)
    ledger = Ledger(forgets=plan.forgets)
    async with contextlib.AsyncExitStack() as stack:
        seen = await Stage(server, plan, ledger, say, stack, redis).play()
    return judge(plan, ledger, seen)


class Stage:
    """Everybody who takes part in a run; what was opened is closed with ``stack``."""

    def __init__(
        self,
        server: Server,
        plan: Plan,
        ledger: Ledger,
        say: Callable[[str], None],
        stack: contextlib.AsyncExitStack,
        redis: RedisSet | None,
    ) -> None:
        self._server = server
        self._redis = redis
        self._plan = plan
        self._say = say
        self._stack = stack
        self._chance = random.Random(plan.seed)
        self._ledger = ledger
        self._workers = Workers(server, plan.workers)
        self._survey = Survey(self._ledger, self._workers)

    async def play(self) -> Seen:
        """Let them join, let things go wrong, and see where everybody ends."""
        plan = self._plan
        await self._workers.complete()
        await asyncio.to_thread(self._server.get, "/buffers")
        members = await self._members()
        publishers = await self._publishers()
        askers = self._askers()
        troubles = self._troubles(members, publishers, askers)
        await asyncio.gather(*(member.start() for member in members))
        await _settled(members, plan.patience)
        self._say(f"{len(members)} clients have joined")
        done = [self._survey.done, *(each.done for each in troubles), *(each.done for each in (*askers, *publishers))]
        self._stack.push_async_callback(_end, asyncio.create_task(self._progress(members, done)))
        async with asyncio.TaskGroup() as tasks:
            for trouble in troubles:
                tasks.create_task(trouble.run())
            await self._publish(publishers)
            for trouble in reversed(troubles):
                trouble.stop()
        self._say("all is published; nothing goes wrong any more")
        await _settled(members, plan.patience)
        await _curtain(self._ledger, members, askers[0], plan.patience)
        await self._survey.histories(askers[0])
        await self._survey.roll_call(askers, members)
        stats = await self._workers.stats()
        findings = [*self._survey.findings, *self._ledger.check()]
        absences = [words for trouble in troubles for words in trouble.figures()]
        return Seen(members, stats, sum(done, Counter[str]()), findings, absences, self._server.log())

    def _troubles(self, members: list[Member], publishers: list[Publisher], askers: list[Publisher]) -> list[Trouble]:
        """Return what lets things go wrong: with clients, and where there are any, with workers and with Redis."""
        plan, redis = self._plan, self._redis
        spared = members[::_SPARED] if redis is not None else []
        harassed = [member for member in members if member not in spared]
        troubles: list[Trouble] = [Mischief(harassed, publishers[0], self._own_chance(), plan.mischief)]
        peace = asyncio.Lock()
        reaper = Reaper(self._workers, members, askers, self._survey, self._own_chance(), plan.calm, peace)
        if plan.reaps:
            troubles.append(reaper)
        if redis is not None:
            prober = self._through_worker(0)
            troubles.append(Saboteur(redis, spared, prober, reaper, self._own_chance(), plan, peace))
        return troubles

    def _own_chance(self) -> random.Random:
        return random.Random(self._chance.random())

    async def _members(self) -> list[Member]:
        """Return the members, none of which has connected yet."""
        pages = Pages()
        if self._plan.pages:
            await pages.start()
            self._stack.push_async_callback(pages.stop)
        members = [
            await _member(number, self._server, self._plan, self._chance, pages) for number in range(self._plan.clients)
        ]
        for member in members:
            self._stack.push_async_callback(member.line.close)
        for member in members:
            self._stack.push_async_callback(member.stop)
        return members

    def _askers(self) -> list[Publisher]:
        """Return one for each worker who only asks, so that it has not to wait for what is being published."""
        return [self._through_worker(place) for place in range(self._plan.workers)]

    async def _publishers(self) -> list[Publisher]:
        """Return those who publish: some through each worker, and a script beside the server; or one."""
        if not self._plan.is_shared:
            return [self._through_worker(0)]
        publishers = [self._through_worker(place) for place in range(_PER_WORKER * self._plan.workers)]
        return [*publishers, self._publisher(await ScriptOutlet.start(self._plan.settings))]

    def _through_worker(self, place: int) -> Publisher:
        return self._publisher(WorkerOutlet(self._server, functools.partial(self._workers.nth, place)))

    def _publisher(self, outlet: Outlet) -> Publisher:
        bare = _BARE if self._plan.forgets else 0.0
        publisher = Publisher(outlet, self._ledger, self._own_chance(), keyed=self._plan.is_shared, bare=bare)
        self._stack.push_async_callback(publisher.close)
        return publisher

    async def _publish(self, publishers: list[Publisher]) -> None:
        """Let all of them publish, each the same share."""
        plan = self._plan
        share, longest = 1 / len(publishers), plan.seconds * _LONGEST
        async with asyncio.TaskGroup() as tasks:
            for publisher in publishers:
                tasks.create_task(publisher.run(plan.publications, plan.seconds, share=share, longest=longest))

    async def _progress(self, members: list[Member], done: list[Counter[str]]) -> None:
        while True:
            await asyncio.sleep(10)
            received = sum(trail.received for member in members for trail in member.trails.values())
            away = sum(not member.is_settled for member in members)
            so_far = sum(done, Counter[str]())
            harm = sum(count for what, count in so_far.items() if what.startswith("Redis "))
            self._say(
                f"{len(self._ledger):,} published, {received:,} received, {so_far['cuts']:,} cuts, "
                f"{so_far['workers killed']} workers killed, "
                f"{f'{harm} times harm to Redis, ' if self._redis is not None else ''}{away} clients away"
            )


class Trouble(Protocol):
    """What lets things go wrong."""

    done: Counter[str]

    def figures(self) -> list[str]:
        """Say how long it took until clients were back."""

    async def run(self) -> None:
        """Go on until ``stop``."""

    def stop(self) -> None:
        """Let no more happen."""


async def _member(number: int, server: Server, plan: Plan, chance: random.Random, pages: Pages) -> Member:
    """Return the next member: of the SDKs first, then antiphon's own client, and then in turn one of each kind."""
    line = Line(server.host, server.port)
    await line.open()
    is_sdk = number < 2 * plan.sdks
    is_page = not is_sdk and number < 2 * plan.sdks + plan.pages
    # Python's SDK has no place for the word that something was left out, and a slow page gets it out of order.
    groups = sorted(chance.sample([group.name for group in GROUPS if not ((is_sdk or is_page) and group.drops)], 3))
    by_server = number % 4 == 3
    if is_page:
        return PageMember(f"client {number}", line, groups, pages, by_server=by_server)
    if is_sdk:
        return SdkMember(f"client {number}", line, groups, protobuf=number % 2 == 1, by_server=number % 8 in (6, 7))
    own = random.Random(chance.random())
    kind = number % 3
    if kind == 0:
        return PlainMember(f"client {number}", line, groups, own)
    encoding = JSON if kind == 1 else PROTOBUF
    return WireMember(f"client {number}", line, groups, own, encoding, by_server=by_server)


async def _settled(members: list[Member], patience: float) -> None:
    """Wait until all members are connected and in their groups."""
    try:
        async with asyncio.timeout(patience):
            while not all(member.is_settled for member in members):
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass  # who is not, will be found stranded


async def _curtain(ledger: Ledger, members: list[Member], publisher: Publisher, patience: float) -> None:
    """Publish a last time in each group, and wait until all have got it.

    A client that was cut just before does not know yet that it is away, and of a group without history it then misses
    the last one: so there is another as long as somebody has not got it.
    """
    trails = [trail for member in members for trail in member.trails.values()]
    try:
        async with asyncio.timeout(patience):
            while not await _all_got_one(ledger, trails, publisher):
                await _settled(members, patience)
    except TimeoutError:
        pass  # likewise


async def _all_got_one(ledger: Ledger, trails: list[Trail], publisher: Publisher) -> bool:
    """Publish once in each group, and tell whether all have got that within some time."""
    for group in GROUPS:
        await publisher.publish(group.name, _CURTAIN)
    try:
        async with asyncio.timeout(CURTAIN_TIME):
            newest = {group.name: ledger.last(group.name) for group in GROUPS}
            while any(trail.number != newest[trail.group] for trail in trails):
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True


async def _end(task: asyncio.Task[None]) -> None:
    """End a task that goes on until cancelled; what it has failed with is raised."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
