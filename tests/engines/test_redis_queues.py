"""General channels in Redis: what the contract suite does not see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from antiphon.engines.jobs import Job, Room
from antiphon.engines.redis import scripts
from antiphon.engines.redis.engine import RedisEngine
from antiphon.engines.redis.queues import Queues
from antiphon.events import make_event
from antiphon.exceptions import EngineUnavailable

from .contract import Heard
from .redis import Database

PLENTY = Room(None, 1_000_000)
NOTE = make_event({"type": "note"})


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[RedisEngine]:
    engine = database()
    await engine.start(Heard(), "process")
    yield engine
    await engine.stop()


def queues(engine: RedisEngine) -> Queues:
    assert engine._queues is not None
    return engine._queues


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_process_is_told_for_as_long_as_somebody_reads(engine: RedisEngine, database: Database) -> None:
    bell = database.options.prefix + "/0:queue:{:jobs}"

    def told() -> int:
        return int(database.server.call("PUBSUB", "NUMSUB", bell)[1])

    taking = asyncio.create_task(engine.take("jobs"))
    await database.settled()
    for _ in range(3):
        await queues(engine).look()
        assert told() == 1
    await cancelled(taking)
    await queues(engine).look()
    assert told() == 1  # whoever reads again soon need not be subscribed again
    await queues(engine).look()
    await database.settled()
    assert (told(), queues(engine)._bells, queues(engine)._unheeded) == (0, {}, set())


async def test_who_waits_is_told_of_the_first_alone(engine: RedisEngine, database: Database) -> None:
    heard: list[bytes] = []
    ring = queues(engine).heard

    def listen(bell: bytes) -> None:
        heard.append(bell)
        ring(bell)

    queues(engine).heard = listen  # type: ignore[method-assign]
    await cancelled(asyncio.create_task(engine.take("jobs")))
    taking = asyncio.create_task(engine.take("other"))
    await database.settled()
    for _ in range(3):
        await engine.put("other", NOTE, 100, PLENTY)
    await taking
    await database.settled()
    assert len(heard) == 1


async def test_a_call_that_is_made_again_takes_the_same(engine: RedisEngine, database: Database) -> None:
    for _ in range(2):
        await engine.put("jobs", NOTE, 100, PLENTY)
    keys = engine._keys.queue("jobs")
    for token, count in (("t1", 1), ("t1", 1), ("t2", 2), ("t2", 2), ("t3", 2)):
        _, entry = database.server.call("EVAL", scripts.TAKE.text, 3, *keys, "process", token)
        assert (entry is None) == (token == "t3")
        assert database.server.call("LLEN", keys[0]) == 2 - count


async def test_what_expires_is_noticed_without_anybody_who_reads(engine: RedisEngine, database: Database) -> None:
    await engine.put("jobs", NOTE, 20, PLENTY)
    await engine.put("jobs", NOTE, 50, PLENTY)
    await database.pass_time(30)
    assert engine._counters.channel_messages_expired == 1
    await database.pass_time(30)
    assert engine._counters.channel_messages_expired == 2
    assert queues(engine)._used == {}
    assert database.server.call("KEYS", "*queue*") == []


async def test_nothing_is_left_in_redis(engine: RedisEngine, database: Database) -> None:
    for channel in ("a", "b"):
        await engine.put(channel, NOTE, 20, PLENTY)
    await engine.take("a")
    await engine.stop()
    await database.pass_time(100)
    assert database.server.call("KEYS", "*") == []


async def test_what_can_not_be_given_back_is_counted_and_logged(
    engine: RedisEngine, caplog: pytest.LogCaptureFixture
) -> None:
    found = queues(engine)
    await engine.stop()
    found.give_back("jobs", Job(NOTE, 2**33))
    await asyncio.sleep(0)
    assert engine._counters.channel_messages_dropped == 1
    assert "channel jobs: a message that was taken in vain could not be put back" in caplog.text


async def test_after_an_outage_everybody_looks_again(engine: RedisEngine, database: Database) -> None:
    taking = asyncio.create_task(engine.take("jobs"))
    await database.settled()
    other = database()
    await other.start(Heard(), "other")
    database.server.call("CLIENT", "KILL", "TYPE", "pubsub")
    await other.put("jobs", NOTE, 100, PLENTY)  # maybe before the other is subscribed again
    assert (await asyncio.wait_for(taking, 30)).event.type == "note"
    await other.stop()


async def test_where_the_memory_is_full_what_waits_is_taken_and_nothing_is_put(
    engine: RedisEngine, database: Database
) -> None:
    for _ in range(2):
        await engine.put("jobs", NOTE, 100, PLENTY)
    database.server.call("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(EngineUnavailable, match="its memory is full"):
            await engine.put("jobs", NOTE, 100, PLENTY)
        for _ in range(2):
            assert (await engine.take("jobs")).event == NOTE
    finally:
        database.server.call("CONFIG", "SET", "maxmemory", 0)
    assert database.server.call("EXISTS", *engine._keys.queue("jobs")[:2]) == 0
