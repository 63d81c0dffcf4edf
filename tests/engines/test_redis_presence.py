"""Who is where, where Redis does not take it at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from antiphon.engines.redis.engine import RedisEngine
from antiphon.engines.redis.presence import Presence
from antiphon.types import ClientInfo

from .contract import Heard
from .redis import LEASE, Database
from .sqlite import until

ANN, BOB = ClientInfo("ann", "client-1"), ClientInfo("bob", "client-2")


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[RedisEngine]:
    engine = database()
    await engine.start(Heard(), "here")
    yield engine
    database.server.call("CONFIG", "SET", "maxmemory", 0)
    await engine.stop()


def there(database: Database, group: str = "a") -> set[bytes]:
    """Who is in a group, as Redis has it."""
    return set(database.server.call("HKEYS", f"{database.options.prefix}:presence:{{:{group}}}"))


def noted(database: Database) -> list[set[bytes]]:
    """The groups on the processes' lists."""
    names = database.server.call("KEYS", f"{database.options.prefix}:entries:*")
    return [set(database.server.call("SMEMBERS", name)) for name in names]


async def test_the_groups_of_a_process_are_noted_as_long_as_somebody_is_in_them(
    engine: RedisEngine, database: Database
) -> None:
    for group in "ab":
        engine.enter(group, ANN)
        engine.enter(group, BOB)
    await database.settled()
    assert noted(database) == [{b"a", b"b"}]
    engine.leave("a", "client-1")
    await database.settled()
    assert noted(database) == [{b"a", b"b"}]
    engine.leave("a", "client-2")
    engine.leave("a", "client-2")
    await database.settled()
    assert noted(database) == [{b"b"}]
    engine.enter("a", ANN)
    await database.settled()
    assert noted(database) == [{b"a", b"b"}]


async def test_what_is_refused_is_told_with_a_later_beat(engine: RedisEngine, database: Database) -> None:
    database.server.call("CONFIG", "SET", "maxmemory", 1)
    engine.enter("a", ANN)
    await database.settled()
    assert there(database) == set()
    assert await engine.presence("a") == {"client-1": ANN}, "this process knows whom it has entered"
    database.server.call("CONFIG", "SET", "maxmemory", 0)
    await engine.beat()
    await database.settled()
    assert there(database) == {b"client-1"}
    assert noted(database) == [{b"a"}]


async def test_only_what_holds_in_the_end_is_told(engine: RedisEngine, database: Database) -> None:
    engine.enter("a", BOB, announced=True)
    await database.settled()
    database.server.call("CONFIG", "SET", "maxmemory", 1)
    engine.enter("a", ANN, announced=True)
    engine.leave("a", "client-1")
    engine.leave("a", "client-2")
    await database.settled()
    database.server.call("CONFIG", "SET", "maxmemory", 0)
    await engine.beat()
    await database.settled()
    assert there(database) == set()
    assert await engine.presence("a") == {}


async def test_what_happens_while_there_is_no_connection_is_told_with_the_next(
    engine: RedisEngine, database: Database
) -> None:
    engine.enter("a", ANN)
    engine.enter("b", ANN)
    await database.settled()
    database.server.call("CLIENT", "KILL", "TYPE", "normal")
    assert engine._client is not None
    await until(lambda: engine._client is not None and not engine._client.pipeline.is_connected)
    engine.leave("a", "client-1")
    engine.enter("a", BOB)
    engine.leave("b", "client-1")
    await until(lambda: engine._client is not None and engine._client.pipeline.is_connected)
    await database.settled()
    assert (there(database), there(database, "b")) == ({b"client-2"}, set())
    assert noted(database) == [{b"a"}]


async def test_who_was_taken_for_dead_takes_another_name_and_enters_its_own_again(
    engine: RedisEngine, database: Database
) -> None:
    assert isinstance(engine._presence, Presence)
    heard = Heard()
    other = database()
    await other.start(heard, "other")
    await other.subscribe("a")
    engine.enter("a", ANN, announced=True)
    await until(lambda: heard.joins == [("a", ANN)])
    name = engine._presence.name
    database.clock.move(LEASE + 1)  # and nobody has beaten
    assert await engine.presence("a") == {"client-1": ANN}
    assert await other.presence("a") == {}
    await engine.beat()
    assert engine._presence.name != name
    await database.settled()
    await other.beat()
    assert await other.presence("a") == {"client-1": ANN}
    for _ in range(4):
        await database.pass_time(LEASE / 2)
    assert (heard.joins, heard.leaves) == ([("a", ANN)], []), "nobody had told that it was gone"
    assert await other.presence("a") == {"client-1": ANN}
    await other.stop()


async def test_each_leave_is_told_once_however_many_sweep(database: Database) -> None:
    engines, hearers = [database() for _ in range(6)], [Heard() for _ in range(6)]
    for number, (engine, heard) in enumerate(zip(engines, hearers, strict=True)):
        await engine.start(heard, f"p{number}")
        await engine.subscribe("a")
    for dead, client in ((0, "x"), (1, "y")):
        for number in range(50):
            engines[dead].enter("a", ClientInfo("", f"{client}{number}"), announced=True)
    await until(lambda: len(hearers[5].joins) == 100)
    for engine in engines[:2]:
        await engine._close()
    living = engines[2:]
    for _ in range(8):
        database.clock.move(LEASE / 4)
        await asyncio.gather(*(engine.beat() for engine in living))
    await database.settled()
    for heard in hearers[2:]:
        assert sorted(info.client for _, info in heard.leaves) == sorted(
            f"{client}{number}" for client in "xy" for number in range(50)
        )
    for engine in living:
        await engine.stop()
