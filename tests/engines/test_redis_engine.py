"""The shell of the Redis engine: what the contract suite and the tests of faults do not see."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.counters import Counters
from antiphon.engines import open_engine
from antiphon.engines.redis import engine as module
from antiphon.engines.redis import gathering
from antiphon.engines.redis.engine import RedisEngine
from antiphon.events import make_event
from antiphon.exceptions import ConfigurationError, EngineUnavailable
from antiphon.types import ClientInfo, Position, Publishing, Retention

from ..integration.redis_server import RedisServer
from .contract import Heard
from .redis import LEASE, Database
from .sqlite import until

RETENTION = Retention(size=10, lifetime=50, position_lifetime=50, idempotency_window=1)
EVENT = make_event({"type": "note"})


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[RedisEngine]:
    engine = database()
    await engine.start(Heard(), "here")
    yield engine
    await engine.stop()


def test_antiphon_does_without_the_package_until_it_is_chosen() -> None:
    program = (
        "import sys; sys.modules['hiredis'] = None\n"
        "import antiphon, antiphon.engines\n"
        "try: antiphon.engines.open_engine('redis://h')\n"
        "except antiphon.engines.ConfigurationError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "pip install 'antiphon[redis]'" in said


@pytest.mark.parametrize(
    "scheme", ["redis://h", "rediss://h", "unix:///h", "redis+sentinel://h/m", "redis+cluster://h", "redis+shards://h"]
)
def test_it_is_chosen_by_its_schemes(scheme: str) -> None:
    assert isinstance(open_engine(scheme), RedisEngine)


async def test_nothing_can_be_asked_of_what_is_stopped(database: Database) -> None:
    engine = database()
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="stopped"):
            await engine.publish("a", b"1")
        with pytest.raises(EngineUnavailable, match="stopped"):
            await engine.subscribe("a")
        engine.unsubscribe("a")
        engine.enter("a", ClientInfo("", "c"))
        await engine.start(Heard())
        await engine.stop()


async def test_the_position_of_a_group_that_is_watched_is_put_off(
    engine: RedisEngine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCH", 40.0)
    monkeypatch.setattr(module, "WATCH_AGAIN", 0.0)
    top = await engine.publish("a", b"1", "", Publishing(RETENTION))
    await engine.subscribe("a", RETENTION)
    for _ in range(10):
        await database.pass_time(80)
    assert (await engine.history("a", RETENTION)).top == top
    engine.unsubscribe("a")
    await database.pass_time(45)
    assert (await engine.history("a", RETENTION)).top == top
    await database.pass_time(95)
    assert (await engine.history("a", RETENTION)).top != top


async def test_everything_in_redis_ends_by_itself_or_with_the_processes(
    engine: RedisEngine, database: Database
) -> None:
    await engine.subscribe("a", RETENTION)
    await engine.publish("a", b"1", "", Publishing(RETENTION, "k"))
    await engine.publish("b", b"1")
    engine.enter("a", ClientInfo("", "c"), announced=True)
    await engine.presence("a")
    await engine.stop()
    await database.pass_time(3 * module.WATCH)
    assert database.server.call("KEYS", "*") == []


async def test_a_dead_process_leaves_nothing_behind(engine: RedisEngine, database: Database) -> None:
    other = database()
    await other.start(Heard(), "dead")
    for group in "abc":
        other.enter(group, ClientInfo("", "c"))
    await other.presence("a")
    await other._close()
    assert len(database.server.call("ZRANGE", f"{database.options.prefix}:processes", 0, -1)) == 2
    await database.pass_time(2 * LEASE)
    await until(lambda: len(database.server.call("KEYS", "*")) == 1)
    assert len(database.server.call("ZRANGE", f"{database.options.prefix}:processes", 0, -1)) == 1


async def test_a_direct_event_for_a_process_that_is_gone_is_counted(engine: RedisEngine) -> None:
    await engine.send_direct_event("specific.gone!x", EVENT)
    assert engine._counters.engine_messages_dropped == 1
    await engine.send_direct_event("specific.here!x", EVENT)
    assert engine._counters.engine_messages_dropped == 1


async def test_databases_and_prefixes_share_nothing(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        hearers = [Heard() for _ in range(3)]
        engines = [open_engine(f"{server.url}/{end}") for end in ("0", "1", "0?prefix=other")]
        for engine, heard in zip(engines, hearers, strict=True):
            await engine.start(heard, "same")
            await engine.subscribe("a", RETENTION)
        for engine in engines:
            assert (await engine.publish("a", b"1", "", Publishing(RETENTION))).offset == 1
            await engine.send_control(b"x")
            await engine.send_direct_event("specific.same!x", EVENT)
            engine.enter("a", ClientInfo("", "c"), announced=True)
        await until(lambda: [len(heard) for heard in hearers] == [4, 4, 4])
        for engine in engines:
            await engine.stop()
        assert [len(heard) for heard in hearers] == [4, 4, 4]


async def test_a_thousand_join_at_the_same_time(engine: RedisEngine) -> None:
    await asyncio.gather(*(engine.subscribe(f"g{number}", RETENTION) for number in range(1000)))
    positions = await asyncio.gather(
        *(engine.publish(f"g{number}", b"1", "", Publishing(RETENTION)) for number in range(1000))
    )
    assert {position.offset for position in positions} == {1}
    assert isinstance(engine._events, Heard)
    await until(lambda: isinstance(engine._events, Heard) and len(engine._events) == 1000)


async def test_a_group_that_can_not_be_subscribed_to_is_forgotten(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        engine = RedisEngine(open_engine(f"{server.url}?timeout=0.3")._options, Counters())  # type: ignore[attr-defined]
        await engine.start(Heard())
        server.kill()
        with pytest.raises(EngineUnavailable):
            await engine.subscribe("a", RETENTION)
        assert not engine._interests
        assert not engine._groups
        await engine.stop()


async def test_an_offset_that_no_stream_can_have_is_beyond_all(engine: RedisEngine) -> None:
    await engine.publish("a", b"1", "", Publishing(RETENTION))
    for offset, found in ((-5, 1), (2**70, 0)):
        page = await engine.history("a", RETENTION, since=Position("e", offset))
        assert len(page.publications) == found


async def test_a_socket_of_this_host_and_a_password(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    settings = ("--unixsocket", str(socket), "--save", "", "--requirepass", "secret")
    with RedisServer(tmp_path, *settings):
        engine = open_engine(f"unix://:secret@{socket}?db=3")
        await engine.start(Heard())
        assert (await engine.publish("a", b"1")).offset == 1
        await engine.stop()


async def test_a_database_that_the_server_does_not_have_is_refused(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="out of range"):
        await open_engine(f"{database.server.url}/99").start(Heard())


@pytest.fixture
async def patient(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[RedisEngine, Heard]]:
    """An engine that has all the patience in the world for what comes while it publishes, subscribed to a group."""
    monkeypatch.setattr(gathering, "LONGEST", 3600.0)
    monkeypatch.setattr(gathering, "PATIENCE", 1e12)
    engine, heard = database(), Heard()
    await engine.start(heard, "here")
    await engine.subscribe("a", RETENTION)
    await asyncio.gather(*(engine.publish("a", b"0") for _ in range(3)))  # it learns how long telling takes
    await until(lambda: len(heard) == 3)
    yield engine, heard
    await engine.stop()


async def test_what_one_consumer_publishes_is_told_together(patient: tuple[RedisEngine, Heard]) -> None:
    engine, heard = patient
    found = []

    async def consumer() -> None:
        for _ in range(20):
            await engine.publish("a", b"1", "", Publishing(RETENTION))
            await engine.send_event("a", EVENT)
            found.append(len(heard))

    await asyncio.create_task(consumer())
    await until(lambda: len(heard) == 43)
    assert found == [3] * 20
    assert heard.order[3:] == ["publication", "event"] * 20
    assert heard.offsets("a") == list(range(1, 24))


async def test_of_a_group_that_was_left_nothing_waits(patient: tuple[RedisEngine, Heard]) -> None:
    engine, heard = patient
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(engine._gathering.until(answer))  # it publishes something that takes long
    await asyncio.sleep(0)
    await engine.publish("a", b"1")
    await until(lambda: engine._gathering._held)
    engine.unsubscribe("a")
    await engine.subscribe("a", RETENTION)
    await engine.publish("a", b"2")
    answer.set_result(None)
    await task
    await until(lambda: len(heard) == 4)
    assert [each.data for each in heard.of("a")[3:]] == [b"2"]
