"""A run: a server, its members and their lines, the publisher and the mischief, and in the end the verdict."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

from tests.integration.servers import DIRECT, Server, Servers

from .encoding import JSON, PROTOBUF
from .ledger import Ledger
from .line import Line
from .member import Member
from .mischief import Mischief
from .plainmember import PlainMember
from .plan import ENVIRONMENT, GROUPS, RULES, Plan
from .publisher import Publisher
from .sdkmember import SdkMember
from .trail import Trail
from .verdict import Verdict, judge
from .wiremember import WireMember

__all__ = ["run", "spawn"]

APPLICATION = "tests.integration.chaos.app:app"
#: Published when nothing goes wrong any more, so that what is lost at the very end is noticed.
_CURTAIN = 3
#: Seconds that all have to get it; then there is another.
CURTAIN_TIME = 3.0


def spawn(servers: Servers, plan: Plan) -> Server:
    """Return the server of a run, which has yet to be waited for."""
    env = {**ENVIRONMENT, "ANTIPHON_RULES": json.dumps(RULES), **plan.environment}
    return servers.spawn(DIRECT[0], APPLICATION, env=env)


async def run(server: Server, plan: Plan, say: Callable[[str], None]) -> Verdict:
    """Run the plan on a server that is on its way, telling the progress, and return the verdict; the server stays."""
    await asyncio.to_thread(lambda: server.listening().get("/buffers"))
    chance = random.Random(plan.seed)
    ledger = Ledger()
    members = [await _member(number, server, plan, chance) for number in range(plan.clients)]
    publisher = await Publisher.open(server, ledger, random.Random(chance.random()))
    mischief = Mischief(members, publisher, random.Random(chance.random()), plan.mischief)
    tasks: list[asyncio.Task[None]] = []
    try:
        await asyncio.gather(*(member.start() for member in members))
        await _settled(members, plan.patience)
        say(f"{len(members)} clients have joined")
        tasks.append(asyncio.create_task(_progress(say, ledger, members, mischief)))
        async with asyncio.TaskGroup() as both:
            both.create_task(mischief.run())
            await publisher.run(plan.publications, plan.seconds)
            mischief.stop()
        say("all is published; nothing goes wrong any more")
        await _settled(members, plan.patience)
        await _curtain(ledger, members, publisher, plan.patience)
        stats = await asyncio.to_thread(server.stats)
    finally:
        await _end(tasks)
        await asyncio.gather(*(member.stop() for member in members))
        await asyncio.gather(*(member.line.close() for member in members))
        await publisher.close()
    return judge(plan, ledger, members, stats, mischief.done, server.log())


async def _member(number: int, server: Server, plan: Plan, chance: random.Random) -> Member:
    """Return the next member: of the SDKs first, and then in turn one of each kind."""
    line = Line(server.host, server.port)
    await line.open()
    is_sdk = number < 2 * plan.sdks
    # Python's SDK has no place for the word that something was left out.
    groups = sorted(chance.sample([group.name for group in GROUPS if not (is_sdk and group.drops)], 3))
    by_server = number % 4 == 3
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
            while any(trail.number != ledger.top(trail.group) for trail in trails):
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True


async def _progress(say: Callable[[str], None], ledger: Ledger, members: list[Member], mischief: Mischief) -> None:
    while True:
        await asyncio.sleep(10)
        received = sum(trail.received for member in members for trail in member.trails.values())
        away = sum(not member.is_settled for member in members)
        say(f"{len(ledger):,} published, {received:,} received, {mischief.done['cuts']:,} cuts, {away} clients away")


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """End tasks that go on until cancelled; what one of them has failed with is raised."""
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()
    for result in results:
        if isinstance(result, Exception):
            raise result
