"""What the contract suite needs: the engines that it is run on, and processes that write down what they hear.

A new engine is one line in ``KINDS``: how a storage is made, and how an engine is opened on it. Each call of
``World.process`` opens one more, as another process would; kinds that no second process can reach (``shared=False``)
are left out where a case needs two.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec

from antiphon.engines.base import Engine
from antiphon.engines.memory import MemoryEngine
from antiphon.types import Event, Page, Position, Publication, Publishing, Retention

from .. import fakes

__all__ = ["KINDS", "Heard", "Kind", "Process", "World", "on_every_engine"]

Params = ParamSpec("Params")

#: Opens one more engine on a storage; it is not started.
Opener = Callable[[], Engine]


class Heard:
    """What an engine told one process."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, Publication]] = []
        self.events: list[tuple[str, Event]] = []
        self.direct: list[tuple[str, Event]] = []
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

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.heard = Heard()

    async def hears(self, count: int) -> None:
        """Wait until ``count`` things were heard, in all."""
        await fakes.until(lambda: len(self.heard) >= count)
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
    run: Callable[[Coroutine[Any, Any, None]], None] = fakes.run
    """Runs a case; the jumping loop suits all whose only clock is the loop's."""
    settled: Callable[[], Awaitable[None]] = fakes.settled
    """Waits until everything that was said has been heard."""


class World:
    """A storage and the processes on it, for one case."""

    def __init__(self, kind: Kind, folder: Callable[[], Path]) -> None:
        self.kind = kind
        self._open = kind.storage(folder)
        self._processes: list[Process] = []

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
        process = Process(self._open())
        self._processes.append(process)
        await process.engine.start(process.heard)
        return process

    def retention(
        self, size: int = 100, lifetime: float = 300, position_lifetime: float = 3000, idempotency_window: float = 300
    ) -> Retention:
        """Return a retention with times in units."""
        unit = self.kind.unit
        return Retention(size, lifetime * unit, position_lifetime * unit, idempotency_window * unit)

    async def pass_time(self, units: float) -> None:
        """Let time go by."""
        await asyncio.sleep(units * self.kind.unit)

    async def settled(self) -> None:
        """Wait until everything that was said has been heard."""
        await self.kind.settled()


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
        for process in self.processes:
            process.later(group, "on_publication", publication)

    def on_event(self, group: str, event: Event) -> None:
        for process in self.processes:
            process.later(group, "on_event", event)

    def on_direct_event(self, channel: str, event: Event) -> None:
        for process in self.processes:
            process.later(None, "on_direct_event", event, channel)


class _Remote(Engine):
    """What another process has of a ``_Backend``: an engine as those with a server are, without the server."""

    def __init__(self, backend: _Backend) -> None:
        self._backend = backend
        self._events: Any = None
        self._groups: set[str] = set()

    def later(self, group: str | None, verb: str, what: Any, name: str = "") -> None:
        if group is None or group in self._groups:
            asyncio.get_running_loop().call_soon(self._tell, group, verb, what, name)

    def _tell(self, group: str | None, verb: str, what: Any, name: str) -> None:
        if self._events is not None and (group is None or group in self._groups):
            getattr(self._events, verb)(name if group is None else group, what)

    async def start(self, events: Any) -> None:
        self._events = events
        await self._backend.enter(self)

    async def stop(self) -> None:
        if self._events is not None:
            self._events = None
            for group in list(self._groups):
                self.unsubscribe(group)
            await self._backend.leave(self)

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
        await self._backend.engine.send_direct_event(channel, event)

    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        await asyncio.sleep(0)
        await self._backend.engine.subscribe(group, retention)
        self._groups.add(group)

    def unsubscribe(self, group: str) -> None:
        self._groups.discard(group)
        if not any(group in process._groups for process in self._backend.processes):
            self._backend.engine.unsubscribe(group)


def _remote(folder: Callable[[], Path]) -> Opener:
    backend = _Backend()
    return lambda: _Remote(backend)


#: The engines that keep the contract. The second is the first behind a distance, so that the cases for several
#: processes, and those that must not take an answer for granted, are run as well.
KINDS = [
    Kind("memory", lambda folder: MemoryEngine, shared=False, lasting=False),
    Kind("afar", _remote, shared=True, lasting=False),
]
