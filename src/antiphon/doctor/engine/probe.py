"""Uses an engine as a server does: every verb, on a group of its own that nobody else has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from antiphon.doctor.engine.examination import Say, Times
from antiphon.engines.base import Engine
from antiphon.events import make_event
from antiphon.exceptions import EngineError
from antiphon.types import ClientInfo, Event, Position, Publication, Publishing, Retention

__all__ = ["SECONDS", "Probe", "measured", "opened", "told_when_slow"]

#: How often something is measured, and for how many seconds at most.
COUNT, SECONDS = 200, 1.0
#: Seconds after which it is said what takes so long.
SLOW = 1.0
#: Seconds within which what was told has to be heard.
HEARING = 5.0

_RETENTION = Retention(size=10, lifetime=60.0, position_lifetime=60.0, idempotency_window=60.0)
_EVENT = make_event({"type": "engine.check"})


class Refusal(NamedTuple):
    """A verb that does not work."""

    verb: str
    words: str


class Probe:
    """Tries an engine. Implements ``EngineEvents``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        name = secrets.token_hex(6)
        self.process = f"check{name}"
        self.group = f"antiphon.check:{name}"
        """The group that it uses."""
        self.key = "check"
        """The idempotency key that it uses."""
        self.refusals: list[Refusal] = []
        self.logged: list[str] = []
        """What the engine has said of what went wrong."""
        self._heard: dict[str, asyncio.Event] = {}

    async def try_all(self) -> None:
        """Try every verb, and note which are refused or not heard."""
        engine, group = self._engine, self.group
        info = ClientInfo("", self.process)
        await self._try("subscribe", lambda: engine.subscribe(group, _RETENTION))
        await self._try("publish", lambda: self._publish(self.key), hears="publication")
        await self._try("history", lambda: engine.history(group, _RETENTION))
        await self._try("group_send", lambda: engine.send_event(group, _EVENT), hears="event")
        channel = f"antiphon.{self.process}!{self.process}"
        await self._try("send", lambda: engine.send_direct_event(channel, _EVENT), hears="direct event")
        await self._try("enter", lambda: _done(engine.enter(group, info, announced=True)), hears="join")
        await self._try("presence", lambda: engine.presence(group))
        await self._try("leave", lambda: _done(engine.leave(group, info.client)), hears="leave")
        await self._try("remove_history", lambda: engine.remove_history(group))

    async def _try(self, verb: str, work: Callable[[], Awaitable[Any]], *, hears: str = "") -> None:
        heard = self._heard[hears] = asyncio.Event()
        before = len(self.logged)
        try:
            await work()
            if hears and not self.refusals:  # else it is known to be out of order
                async with asyncio.timeout(HEARING):
                    await heard.wait()
        except EngineError as error:
            self.refusals.append(Refusal(verb, str(error)))
        except TimeoutError:
            words = f"what was told to all by {verb} was not heard within {HEARING:g} s"
            self.refusals.append(Refusal(verb, ". ".join([words, *self.logged[before:][:1]])))

    def _publish(self, key: str = "") -> Coroutine[Any, Any, Position]:
        return self._engine.publish(self.group, b'"check"', "", Publishing(_RETENTION, key))

    async def measure(self) -> Times | None:
        """Return how long publications take, where they may be made."""
        if any(each.verb == "publish" for each in self.refusals):
            return None
        return await measured("publish", self._publish)

    async def clean(self) -> None:
        """Take away what the engine itself takes away."""
        self._engine.unsubscribe(self.group)
        with contextlib.suppress(EngineError):
            await self._engine.remove_history(self.group)

    # EngineEvents

    def on_publication(self, group: str, publication: Publication) -> None:
        """Take it that one came."""
        self._hear("publication")

    def on_event(self, group: str, event: Event) -> None:
        """Take it that one came."""
        self._hear("event")

    def on_direct_event(self, channel: str, event: Event) -> None:
        """Take it that one came."""
        self._hear("direct event")

    def on_join(self, group: str, info: ClientInfo) -> None:
        """Take it that it was told."""
        self._hear("join")

    def on_leave(self, group: str, info: ClientInfo) -> None:
        """Take it that it was told."""
        self._hear("leave")

    def on_control(self, control: bytes) -> None:
        """Leave orders to servers."""

    def on_continuity_lost(self) -> None:
        """Nothing is missed here."""

    def _hear(self, what: str) -> None:
        if what in self._heard:
            self._heard[what].set()


async def _done(declared: None) -> None:
    """Look like a verb that is waited for."""


@contextlib.asynccontextmanager
async def opened(
    engine: Engine, where: str, say: Say, take_away: Callable[[Probe], Awaitable[None]] | None = None
) -> AsyncIterator[Probe]:
    """Start an engine and try all of it; raise what ``start`` raises.

    What was made is taken away at the end, however it comes: the history by the engine itself, the rest by
    ``take_away``.
    """
    probe = Probe(engine)
    with _log_of_engines(probe.logged):
        with told_when_slow(f"connecting to {where}", say):
            await engine.start(probe, probe.process)
        try:
            with told_when_slow("trying what a server needs", say):
                await probe.try_all()
            yield probe
        finally:
            await probe.clean()
            if take_away is not None:
                await take_away(probe)
            await engine.stop()


@contextlib.contextmanager
def _log_of_engines(lines: list[str]) -> Iterator[None]:
    """Let what engines log as wrong go to ``lines`` alone: it is a finding, or the reason of an error."""
    logger = logging.getLogger("antiphon.engines")

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                lines.append(record.getMessage())

    handler, propagate = Lines(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@contextlib.contextmanager
def told_when_slow(what: str, say: Say) -> Iterator[None]:
    """Say what is being done, if it takes long."""
    timer = asyncio.get_running_loop().call_later(SLOW, say, f"{what} …")
    try:
        yield
    finally:
        timer.cancel()


async def measured(what: str, work: Callable[[], Awaitable[Any]], seconds: float = SECONDS) -> Times:
    """Return how long something takes that is done often, one time after the other."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while not found or (len(found) < COUNT and time.perf_counter() < end):
        began = time.perf_counter()
        await work()
        found.append(time.perf_counter() - began)
    return Times.of(what, found)
