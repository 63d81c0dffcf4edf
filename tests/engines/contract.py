"""What the contract suite needs: the engines that it is run on, and processes that write down what they hear.

A new engine is one line in ``KINDS``: how a storage is made, and how an engine is opened on it. Each call of
``World.process`` opens one more, as another process would; kinds that no second process can reach (``shared=False``)
are left out where a case needs two.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec

from antiphon.counters import Counters
from antiphon.engines.base import Engine
from antiphon.engines.jobs import Job, Room, Takers, tell_expired
from antiphon.engines.memory import MemoryEngine
from antiphon.names import process_of
from antiphon.roster import Roster
from antiphon.types import ClientInfo, Event, Page, Position, Publication, Publishing, Retention

from .. import fakes
from . import redis, sqlite

__all__ = ["KINDS", "Heard", "Kind", "Process", "World", "on_every_engine"]

Params = ParamSpec("Params")

#: Seconds after which nobody believes any more that a process lives, of those "afar".
AFAR_LEASE = 30.0

#: Opens one more engine on a storage; it is not started.
Opener = Callable[[], Engine]

#: Waits until a condition holds.
Until = Callable[[Callable[[], object]], Awaitable[None]]


async def _settled(opener: Opener) -> None:
    await fakes.settled()


async def _pass_time(opener: Opener, seconds: float) -> None:
    await asyncio.sleep(seconds)


class Heard:
    """What an engine told one process."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, Publication]] = []
        self.events: list[tuple[str, Event]] = []
        self.direct: list[tuple[str, Event]] = []
        self.joins: list[tuple[str, ClientInfo]] = []
        self.leaves: list[tuple[str, ClientInfo]] = []
        self.controls: list[bytes] = []
        self.order: list[str] = []
        """Of which kind each was."""

    def on_publication(self, group: str, publication: Publication) -> None:
        self.order.append("publication")
        self.publications.append((group, publication))

    def on_event(self, group: str, event: Event) -> None:
        self.order.append("event")
        self.events.append((group, event))

    def on_direct_event(self, channel: str, event: Event) -> None:
        self.order.append("direct event")
        self.direct.append((channel, event))

    def on_join(self, group: str, info: ClientInfo) -> None:
        self.order.append("join")
        self.joins.append((group, info))

    def on_leave(self, group: str, info: ClientInfo) -> None:
        self.order.append("leave")
        self.leaves.append((group, info))

    def on_control(self, control: bytes) -> None:
        self.order.append("control")
        self.controls.append(control)

    def on_continuity_lost(self) -> None:
        raise AssertionError("nothing has happened that continuity could be lost by")

    def of(self, group: str) -> list[Publication]:
        """Return the publications of one group."""
        return [publication for name, publication in self.publications if name == group]

    def offsets(self, group: str) -> list[int]:
        """Return their offsets."""
        return [publication.offset for publication in self.of(group)]

    def __len__(self) -> int:
        return len(self.order)


class Process:
    """An engine that was started, and what it tells."""

    def __init__(self, engine: Engine, name: str, until: Until = fakes.until) -> None:
        self.engine = engine
        self.name = name
        """Its part of channel names."""
        self.heard = Heard()
        self._until = until

    async def hears(self, count: int) -> None:
        """Wait until ``count`` things were heard, in all."""
        await self._until(lambda: len(self.heard) >= count)
        assert len(self.heard) == count

    async def publish(self, group: str, data: bytes = b"1", **publishing: Any) -> Position:
        """Publish with a retention, and what else goes into ``Publishing``."""
        return await self.engine.publish(group, data, "", Publishing(**publishing))

    async def page(self, group: str, retention: Retention, **arguments: Any) -> Page:
        """Read history."""
        return await self.engine.history(group, retention, **arguments)

    async def offsets(self, group: str, retention: Retention, **arguments: Any) -> list[int]:
        """Return the offsets that history has."""
        return [each.offset for each in (await self.page(group, retention, **arguments)).publications]


@dataclasses.dataclass(frozen=True)
class Kind:
    """An engine as the suite sees it."""

    name: str
    storage: Callable[[Callable[[], Path]], Opener]
    """Makes a storage; its argument makes a folder, for those that need one."""
    shared: bool
    """Whether several processes may open one storage."""
    lasting: bool
    """Whether a storage outlives the engines on it."""
    unit: float = 1.0
    """Seconds that stand for one unit of a case's time: real clocks take less of it."""
    lease: float = 0.0
    """For how many units a process that died is still present at most; 0: there is no lease."""
    kill: Callable[[Engine], Awaitable[None]] | None = None
    """Ends an engine as the death of its process does, where the kind has a lease."""
    run: Callable[[Coroutine[Any, Any, None]], None] = fakes.run
    """Runs a case; the jumping loop suits all whose only clock is the loop's."""
    settled: Callable[[Any], Awaitable[None]] = _settled
    """Waits until everything that was said on a storage has been heard; it is given what ``storage`` made."""
    pass_time: Callable[[Any, float], Awaitable[None]] = _pass_time
    """Lets seconds go by for a storage."""
    until: Until = fakes.until
    """Waits until a condition holds."""


class World:
    """A storage and the processes on it, for one case."""

    def __init__(self, kind: Kind, folder: Callable[[], Path]) -> None:
        self.kind = kind
        self._open = kind.storage(folder)
        self._processes: list[Process] = []
        self._opened = 0

    def run(self, case: Coroutine[Any, Any, None]) -> None:
        """Run a case, and stop its engines; what is heard after that is a fault."""

        async def main() -> None:
            try:
                await case
            finally:
                for process in self._processes:
                    await process.engine.stop()
            before = [len(process.heard) for process in self._processes]
            await self.settled()
            assert [len(process.heard) for process in self._processes] == before

        self.kind.run(main())

    async def process(self) -> Process:
        """Return a process, the next one on this storage."""
        assert self.kind.shared or not self._processes, f"{self.kind.name} has one process"
        self._opened += 1
        process = Process(self._open(), f"process{self._opened}", self.kind.until)
        self._processes.append(process)
        await process.engine.start(process.heard, process.name)
        return process

    async def kill(self, process: Process) -> None:
        """End a process as SIGKILL does: nothing is said, and nothing heard any more."""
        assert self.kind.kill is not None, f"{self.kind.name} has no lease"
        await self.kind.kill(process.engine)
        self._processes.remove(process)

    def retention(
        self, size: int = 100, lifetime: float = 300, position_lifetime: float = 3000, idempotency_window: float = 300
    ) -> Retention:
        """Return a retention with times in units."""
        unit = self.kind.unit
        return Retention(size, lifetime * unit, position_lifetime * unit, idempotency_window * unit)

    async def pass_time(self, units: float) -> None:
        """Let time go by."""
        await self.kind.pass_time(self._open, units * self.kind.unit)

    async def settled(self) -> None:
        """Wait until everything that was said has been heard."""
        await self.kind.settled(self._open)


def on_every_engine(case: Callable[Params, Coroutine[Any, Any, None]]) -> Callable[Params, None]:
    """Make a test of a case, an async function that has a ``World`` among its fixtures."""

    @functools.wraps(case)
    def test(*args: Params.args, **kwargs: Params.kwargs) -> None:
        (world,) = (each for each in kwargs.values() if isinstance(each, World))
        world.run(case(*args, **kwargs))

    return test


class _Backend:
    """One memory engine for several processes, which hear of everything a round of the loop later."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.processes: list[_Remote] = []
        self.jobs: dict[str, deque[Job]] = {}
        self._started = False

    async def enter(self, process: _Remote) -> None:
        if not self._started:
            self._started = True
            await self.engine.start(self)
        self.processes.append(process)

    async def leave(self, process: _Remote) -> None:
        self.processes.remove(process)
        if not self.processes:
            self._started = False
            await self.engine.stop()

    def on_publication(self, group: str, publication: Publication) -> None:
        self._later(group, "on_publication", group, publication)

    def on_event(self, group: str, event: Event) -> None:
        self._later(group, "on_event", group, event)

    def on_direct_event(self, channel: str, event: Event) -> None:
        self._later(None, "on_direct_event", channel, event)

    def on_join(self, group: str, info: ClientInfo) -> None:
        self._later(group, "on_join", group, info)

    def on_leave(self, group: str, info: ClientInfo) -> None:
        self._later(group, "on_leave", group, info)

    def on_control(self, control: bytes) -> None:
        self._later(None, "on_control", control)

    def on_continuity_lost(self) -> None:
        raise AssertionError("the memory engine loses nothing")

    def send_control_to(self, name: str, control: bytes) -> None:
        for process in self.processes:
            if process._process == name:
                process.later(None, "on_control", control)

    # General channels

    def waiting(self, channel: str, counters: Counters) -> deque[Job]:
        """Return what waits in a channel and has not expired."""
        jobs = self.jobs.setdefault(channel, deque())
        kept = [job for job in jobs if job.expires > asyncio.get_running_loop().time()]
        tell_expired(counters, channel, len(jobs) - len(kept))
        jobs.clear()
        jobs.extend(kept)
        return jobs

    def put(self, channel: str, event: Event, expiry: float, room: Room, counters: Counters) -> None:
        jobs = self.waiting(channel, counters)
        size = sum(len(job.event.packed) for job in jobs)
        if not room.is_left(len(jobs), size, len(event.packed)):
            raise room.refusal(channel, len(jobs), size)
        jobs.append(Job(event, asyncio.get_running_loop().time() + expiry))
        self.ring(channel)

    def ring(self, channel: str) -> None:
        for process in self.processes:
            process._takers.ring(channel)

    def _later(self, group: str | None, verb: str, *what: Any) -> None:
        for process in self.processes:
            process.later(group, verb, *what)


class _Remote(Engine):
    """What another process has of a ``_Backend``: an engine as those with a server are, without the server."""

    def __init__(self, backend: _Backend) -> None:
        self._backend = backend
        self._events: Any = None
        self._process = ""
        self._groups: set[str] = set()
        self._roster = Roster()
        self._counters = Counters()
        self._takers = Takers(self._ask, self.give_back)

    def later(self, group: str | None, verb: str, *what: Any) -> None:
        if group is None or group in self._groups:
            asyncio.get_running_loop().call_soon(self._tell, group, verb, *what)

    def _tell(self, group: str | None, verb: str, *what: Any) -> None:
        if self._events is not None and (group is None or group in self._groups):
            if verb == "on_direct_event" and process_of(what[0]) not in ("", self._process):
                return
            getattr(self._events, verb)(*what)

    async def start(self, events: Any, process: str = "") -> None:
        self._events, self._process = events, process
        await self._backend.enter(self)

    async def stop(self) -> None:
        if self._events is not None:
            self._events = None
            await self._takers.stop(1)
            for group in list(self._groups):
                self.unsubscribe(group)
            self._leave_all()
            await self._backend.leave(self)

    async def die(self) -> None:
        """End as a process does that is killed; its entries are gone when its lease is over."""
        self._events = None
        asyncio.get_running_loop().call_later(AFAR_LEASE, self._leave_all)

    def _leave_all(self) -> None:
        for group, entry in self._roster:
            self.leave(group, entry.info.client)

    async def publish(self, group: str, data: bytes, key: str = "", publishing: Publishing | None = None) -> Position:
        await asyncio.sleep(0)
        position = await self._backend.engine.publish(group, data, key, publishing)
        await asyncio.sleep(0)
        return position

    async def history(
        self,
        group: str,
        retention: Retention,
        *,
        since: Position | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Page:
        await asyncio.sleep(0)
        return await self._backend.engine.history(group, retention, since=since, limit=limit, reverse=reverse)

    async def remove_history(self, group: str) -> None:
        await self._backend.engine.remove_history(group)

    async def send_event(self, group: str, event: Event) -> None:
        await self._backend.engine.send_event(group, event)

    async def send_direct_event(self, channel: str, event: Event) -> None:
        if process_of(channel):
            await self._backend.engine.send_direct_event(channel, event)
        else:
            self.later(None, "on_direct_event", channel, event)

    def enter(self, group: str, info: ClientInfo, *, announced: bool = False) -> None:
        self._roster.enter(group, info, announced=announced)
        self._backend.engine.enter(group, info, announced=announced)

    def leave(self, group: str, client: str) -> None:
        if self._roster.leave(group, client) is not None:
            self._backend.engine.leave(group, client)

    async def presence(self, group: str) -> dict[str, ClientInfo]:
        await asyncio.sleep(0)
        return await self._backend.engine.presence(group)

    async def send_control(self, control: bytes, process: str = "") -> None:
        await asyncio.sleep(0)
        if process:
            self._backend.send_control_to(process, control)
        else:
            await self._backend.engine.send_control(control)

    shares_channels = True

    async def put(self, channel: str, event: Event, expiry: float, room: Room) -> None:
        await asyncio.sleep(0)
        self._backend.put(channel, event, expiry, room, self._counters)

    async def take(self, channel: str) -> Job:
        return await self._takers.take(channel)

    async def _ask(self, channel: str) -> Job | None:
        await asyncio.sleep(0)
        jobs = self._backend.waiting(channel, self._counters)
        return jobs.popleft() if jobs else None

    def give_back(self, channel: str, job: Job) -> None:
        self._backend.waiting(channel, self._counters).appendleft(job)
        self._backend.ring(channel)

    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        await asyncio.sleep(0)
        await self._backend.engine.subscribe(group, retention)
        self._groups.add(group)

    def unsubscribe(self, group: str) -> None:
        self._groups.discard(group)
        if not any(group in process._groups for process in self._backend.processes):
            self._backend.engine.unsubscribe(group)


async def _die(engine: Engine) -> None:
    assert isinstance(engine, _Remote)
    await engine.die()


def _remote(folder: Callable[[], Path]) -> Opener:
    backend = _Backend()
    return lambda: _Remote(backend)


def _redis(name: str, layout: str, run: Callable[[Coroutine[Any, Any, None]], None]) -> Kind:
    """Return the Redis engine on one kind of servers, on one kind of loop."""
    return Kind(
        name,
        functools.partial(redis.Database, layout=layout),
        shared=True,
        lasting=True,
        lease=redis.LEASE,
        kill=redis.kill,
        run=run,
        settled=redis.Database.settled,
        pass_time=redis.Database.pass_time,
        until=sqlite.until,
    )


#: The engines that keep the contract. The second is the first behind a distance, so that the cases for several
#: processes, and those that must not take an answer for granted, are run as well.
KINDS = [
    Kind("memory", lambda folder: MemoryEngine, shared=False, lasting=False),
    Kind("afar", _remote, shared=True, lasting=False, lease=AFAR_LEASE, kill=_die),
    Kind(
        "sqlite",
        sqlite.File,
        shared=True,
        lasting=True,
        lease=sqlite.LEASE,
        kill=sqlite.kill,
        run=sqlite.run,
        settled=sqlite.File.settled,
        pass_time=sqlite.File.pass_time,
        until=sqlite.until,
    ),
    _redis("redis", "one", sqlite.run),
    _redis("redis sentinel", "sentinels", redis.run_on_uvloop),
    _redis("redis cluster", "cluster", redis.run_on_uvloop),
    _redis("redis shards", "shards", sqlite.run),
]
