"""What keeps a connection, with connections that a test ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from antiphon.counters import Counters
from antiphon.engines.redis import link as module
from antiphon.engines.redis.faults import Fault, Outage
from antiphon.engines.redis.link import Link

from .sqlite import until


class Fake:
    """A connection, as far as a link looks at it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[Exception | None] = loop.create_future()
        self.heard_at = loop.time()

    def abort(self, reason: Exception | None = None) -> None:
        if not self.over.done():
            self.over.set_result(reason)


class User:
    """Who notes what the link tells."""

    def __init__(self) -> None:
        self.up: list[Fake] = []
        self.down: list[Fault] = []
        self.probes = 0
        self.answers = True
        self.faults: list[Exception] = []
        """What the next tries to dial end with."""
        self.tries = 0

    async def dial(self) -> Any:
        self.tries += 1
        if self.faults:
            raise self.faults.pop(0)
        return Fake()

    def on_up(self, connection: Any) -> None:
        self.up.append(connection)

    def on_down(self, fault: Fault) -> None:
        self.down.append(fault)

    def probe(self, connection: Any) -> None:
        self.probes += 1
        if self.answers:
            connection.heard_at = asyncio.get_running_loop().time()

    def on_check(self, now: float) -> None: ...


@contextlib.asynccontextmanager
async def linked(user: User, timeout: float = 5.0) -> AsyncIterator[Link]:
    link = Link("commands", "Redis", user.dial, user, Outage("Redis", Counters()), timeout)
    link.start()
    try:
        yield link
    finally:
        await link.stop()


async def test_a_connection_that_is_over_is_made_again() -> None:
    user = User()
    async with linked(user):
        for number in range(1, 4):
            await until(lambda number=number: len(user.up) == number)  # type: ignore[misc]
            user.up[-1].abort(ConnectionResetError())
            await until(lambda number=number: len(user.down) == number)  # type: ignore[misc]
    assert "closed the connection" in str(user.down[0])


async def test_it_is_tried_until_it_works_and_who_waits_is_told() -> None:
    user = User()
    user.faults = [ConnectionRefusedError("no"), TimeoutError(), Fault("Redis", "loading", "LOADING")]
    async with linked(user) as link:
        assert link.settled is not None
        await link.settled
        assert (user.tries, len(user.up)) == (4, 1)


async def test_a_fault_of_the_configuration_is_told_at_once_and_tried_again() -> None:
    user = User()
    user.faults = [Fault("Redis", "no password", "NOAUTH")]
    async with linked(user) as link:
        assert link.settled is not None
        with pytest.raises(Fault, match="no password"):
            await link.settled
        await until(lambda: user.up)


async def test_the_pause_between_tries_grows_and_is_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    slept = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await slept(0)

    user = User()
    user.faults = [ConnectionRefusedError("no")] * 20
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", sleep)
        async with linked(user):
            while not user.up:
                await slept(0)
    assert pauses[0] <= module.FIRST_PAUSE * 1.5
    assert module.LONGEST_PAUSE * 0.5 <= max(pauses) <= module.LONGEST_PAUSE * 1.5
    assert len(set(pauses)) == 20


async def test_a_server_that_is_silent_is_asked_and_then_left() -> None:
    user = User()
    async with linked(user, 0.2):
        await until(lambda: user.probes >= 3)
        assert not user.down
        user.answers = False
        await until(lambda: user.down)
        assert "has said nothing for" in str(user.down[0])
        await until(lambda: len(user.up) == 2)


async def test_what_takes_for_ever_to_connect_is_given_up() -> None:
    user = User()

    async def never() -> Any:
        user.tries += 1
        await asyncio.Event().wait()

    user.dial = never  # type: ignore[method-assign]
    async with linked(user, 0.1):
        await until(lambda: user.tries >= 2)


async def test_after_the_stop_nothing_goes_on() -> None:
    user = User()
    async with linked(user) as link:
        await until(lambda: user.up)
        await link.stop()
        await link.stop()
        assert user.up[0].over.done()
        tries = user.tries
        await asyncio.sleep(0.2)
        assert user.tries == tries
