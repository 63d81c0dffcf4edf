"""General channels in the database: what the contract suite does not see."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.engines.jobs import Job, Room
from antiphon.engines.sqlite.engine import SqliteEngine
from antiphon.engines.sqlite.frames import Queued
from antiphon.events import make_event

from .contract import Heard
from .sqlite import File

PLENTY = Room(None, 1_000_000)
NOTE = make_event({"type": "note"})


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(lambda: tmp_path)


@pytest.fixture
async def engine(file: File) -> AsyncIterator[SqliteEngine]:
    engine = file()
    await engine.start(Heard(), "process")
    yield engine
    await engine.stop()


def rows(file: File) -> tuple[int, list[tuple[str, int, int]]]:
    """Return how many messages there are, and what is said of the channels."""
    connection = sqlite3.connect(file.path)
    try:
        (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        return jobs, connection.execute("SELECT * FROM channels ORDER BY name").fetchall()
    finally:
        connection.close()


async def test_what_is_said_of_a_channel_is_what_waits_in_it(engine: SqliteEngine, file: File) -> None:
    size = len(NOTE.packed)
    for channel in ("a", "a", "b"):
        await engine.put(channel, NOTE, 100, PLENTY)
    assert rows(file) == (3, [("a", 2, 2 * size), ("b", 1, size)])
    job = await engine.take("a")
    await engine.take("b")
    assert rows(file) == (1, [("a", 1, size)])
    engine.give_back("b", job)
    await file.settled()
    assert rows(file) == (2, [("a", 1, size), ("b", 1, size)])
    await file.pass_time(101)
    assert rows(file) == (0, [])
    assert engine._counters.channel_messages_expired == 2


async def test_what_nobody_told_of_is_found_by_the_look(engine: SqliteEngine, file: File) -> None:
    taking = asyncio.create_task(engine.take("jobs"))
    await file.settled()
    other = file()
    await other.start(Heard(), "other")
    said: list[Queued] = []
    other._queues._tell = said.append
    await other.put("jobs", NOTE, 100, PLENTY)
    assert (await asyncio.wait_for(taking, 30)).event.type == "note"
    assert said == [Queued("jobs")]
    await other.stop()


async def test_what_can_not_be_given_back_is_counted_and_logged(
    engine: SqliteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    found = engine._queues
    await engine.stop()
    found.give_back("jobs", Job(NOTE, 2**33))
    await asyncio.gather(*found._returning)
    assert engine._counters.channel_messages_dropped == 1
    assert "channel jobs: a message that was taken in vain could not be put back" in caplog.text


def test_a_loop_that_ends_without_stop_leaves_no_thread_and_no_socket(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    file = File(lambda: tmp_path)

    async def use() -> None:
        engine = file()
        await engine.start(Heard(), "process")
        await engine.put("jobs", NOTE, 100, PLENTY)

    for _ in range(3):
        asyncio.run(use())
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()
    assert not Path(f"{file.path}-peers").exists()
    connection = sqlite3.connect(file.path)
    assert connection.execute("SELECT count(*) FROM processes").fetchone() == (0,)
    connection.close()
