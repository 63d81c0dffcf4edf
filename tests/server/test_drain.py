"""When clients are told that the server stops: the schedule, and the drain on a loop whose clock jumps."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from antiphon.app import current_app
from antiphon.server.drain import AT_ONCE, PACE, Drain, drain_of, is_stopping, schedule, window

from ..fakes import on_jumping_loop, settled

SECONDS = st.floats(0, 1e6)
LIMITS = st.none() | SECONDS


@given(st.integers(0, 100_000), SECONDS, LIMITS)
def test_a_window_is_within_each_bound(clients: int, drain_time: float, limit: float | None) -> None:
    spread = window(clients, drain_time, limit)
    assert 0 <= spread <= drain_time
    assert spread <= clients * PACE
    assert limit is None or spread <= limit / 2
    assert spread in (drain_time, clients * PACE, (limit or 0) / 2)


@pytest.mark.parametrize(("clients", "spread"), [(1, 0.005), (100, 0.5), (1000, 5.0), (10_000, 5.0)])
def test_few_are_told_sooner(clients: int, spread: float) -> None:
    assert window(clients, 5.0, 10.0) == spread


@given(st.integers(0, 500), SECONDS, st.integers())
def test_the_schedule_has_a_moment_in_each_piece(clients: int, spread: float, seed: int) -> None:
    times = schedule(clients, spread, random.Random(seed).random)
    assert len(times) == clients
    assert times == sorted(times)
    for place, time in enumerate(times):
        # Up to the last digit of the numbers.
        assert time == pytest.approx(min(max(time, place / clients * spread), (place + 1) / clients * spread))
        assert 0 <= time <= spread


@given(st.integers(1, 500), st.sampled_from([0.0, 0.5, 1 - 2**-53]))
def test_the_chance_chooses_the_moment_within_the_piece(clients: int, chance: float) -> None:
    times = schedule(clients, clients * 1.0, lambda: chance)
    assert times == pytest.approx([place + chance for place in range(clients)])


def test_two_schedules_differ() -> None:
    assert schedule(10, 1.0, random.Random(1).random) != schedule(10, 1.0, random.Random(2).random)


class Client:
    """Remembers when it was told."""

    told: list[Client] = []

    def __init__(self) -> None:
        self.is_closing = False
        self.code = 0
        self.at = -1.0
        self.error: Exception | None = None

    def shut_down(self, code: int) -> None:
        assert not self.code, "told once"
        self.code, self.at = code, asyncio.get_running_loop().time()
        self.told.append(self)
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    monkeypatch.setattr(Client, "told", [])
    for name in ("DRAIN_TIME", "SHUTDOWN_TIMEOUT"):
        monkeypatch.delenv(f"ANTIPHON_{name}", raising=False)
    return Client.told


def make(limit: int | None = None) -> Drain:
    return Drain(Config("none:none", log_config=None, timeout_graceful_shutdown=limit), random.Random(1))


def crowd(drain: Drain, count: int) -> list[Client]:
    clients = [Client() for _ in range(count)]
    for client in clients:
        drain.add(client)
    return clients


@on_jumping_loop
async def test_a_crowd_is_told_one_by_one_in_random_order() -> None:
    before = current_app().counters.drained
    start = asyncio.get_running_loop().time()
    clients = crowd(make(), 1000)
    assert not Client.told, "not in the call"
    await asyncio.sleep(5.01)
    assert Client.told != clients
    assert {client.code for client in clients} == {1012}
    for place, client in enumerate(Client.told):
        assert place * PACE <= client.at - start <= (place + 1) * PACE + 1e-6
    assert current_app().counters.drained - before == 1000


@on_jumping_loop
async def test_the_server_that_has_less_time_takes_half_of_it() -> None:
    start = asyncio.get_running_loop().time()
    crowd(make(limit=2), 1000)
    await asyncio.sleep(1.01)
    assert len(Client.told) == 1000
    assert Client.told[-1].at - start == pytest.approx(1.0, abs=0.002)


@on_jumping_loop
async def test_begin_with_a_limit_of_its_own() -> None:
    start = asyncio.get_running_loop().time()
    drain = make(limit=3600)
    drain.begin(0.2)
    drain.begin(1000.0)  # only the first counts
    crowd(drain, 1000)
    await asyncio.sleep(0.11)
    assert len(Client.told) == 1000
    assert Client.told[-1].at - start <= 0.1


def test_no_drain_time_is_at_once_but_others_get_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_DRAIN_TIME", "0")
    monkeypatch.setattr("antiphon.app._app", None)

    @on_jumping_loop
    async def main() -> None:
        start = asyncio.get_running_loop().time()
        crowd(make(), 3 * AT_ONCE)
        seen = set()
        while len(Client.told) < 3 * AT_ONCE:
            seen.add(len(Client.told))
            await asyncio.sleep(0)
        assert seen >= {AT_ONCE, 2 * AT_ONCE}
        assert {client.at for client in Client.told} == {start}

    main()


@on_jumping_loop
async def test_who_has_gone_is_not_told_and_not_counted() -> None:
    before = current_app().counters.drained
    clients = crowd(make(), 100)
    for client in clients[::2]:
        client.is_closing = True
    await asyncio.sleep(1)
    assert {client.code for client in clients[::2]} == {0}
    assert {client.code for client in clients[1::2]} == {1012}
    assert current_app().counters.drained - before == 50


@on_jumping_loop
async def test_one_that_fails_costs_the_others_nothing() -> None:
    clients = crowd(make(), 10)
    clients[3].error = RuntimeError("its own fault")
    await asyncio.sleep(1)
    assert len(Client.told) == 10


@on_jumping_loop
async def test_who_comes_late_is_told_at_once() -> None:
    drain = make()
    crowd(drain, 1000)
    await asyncio.sleep(0.001)
    (late,) = crowd(drain, 1)
    assert late.code == 1012
    await asyncio.sleep(5)


def test_the_log_has_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    @on_jumping_loop
    async def main() -> None:
        clients = crowd(make(), 1000)
        clients[0].is_closing = True
        await asyncio.sleep(6)

    with caplog.at_level(logging.INFO, "antiphon.server"):
        main()
    assert caplog.messages == [
        "stopping; clients to tell to come back: 1000, over 5 s",
        "stopping; clients told to come back: 999, in 5 s",
    ]


def test_the_log_says_nothing_where_there_is_nobody(caplog: pytest.LogCaptureFixture) -> None:
    @on_jumping_loop
    async def main() -> None:
        make().begin(1.0)
        await settled()

    with caplog.at_level(logging.INFO, "antiphon.server"):
        main()
    assert not caplog.messages


@on_jumping_loop
async def test_a_server_has_one_drain_from_when_it_stops() -> None:
    state, other = ServerState(), ServerState()
    config = Config("none:none", log_config=None)
    assert not is_stopping(state)
    drain = drain_of(state, config)
    assert drain_of(state, config) is drain
    assert drain_of(other, config) is not drain
    assert is_stopping(state)
