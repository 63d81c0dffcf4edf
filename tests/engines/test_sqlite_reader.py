"""The thread that reads."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from antiphon.engines.sqlite.faults import Fault
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.reader import Reader
from antiphon.engines.sqlite.schema import connect
from antiphon.engines.sqlite.store import read_commits


class File:
    """A database, and one who reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.options = Options(str(path), synchronous="off", busy_timeout=0.1)
        self.connection = connect(self.options)
        self.reader = Reader(self.options, loop=asyncio.get_running_loop())

    def write(self) -> None:
        self.connection.execute("UPDATE state SET commits = commits + 1")

    def remove(self) -> None:
        self.connection.close()
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()


@pytest_asyncio.fixture
async def file(tmp_path: Path) -> AsyncIterator[File]:
    file = File(tmp_path / "a ?#%.db")
    yield file
    await file.reader.stop()
    file.connection.close()


async def test_what_is_committed_is_read(file: File) -> None:
    for count in range(3):
        assert await file.reader.ask(read_commits) == count
        file.write()


async def test_one_question_is_answered_as_of_one_moment(file: File) -> None:
    def ask(connection: sqlite3.Connection) -> tuple[int, int]:
        before = read_commits(connection)
        with contextlib.closing(sqlite3.connect(file.path, isolation_level=None)) as other:
            other.execute("UPDATE state SET commits = commits + 1")
        return before, read_commits(connection)

    assert await file.reader.ask(ask) == (0, 0)
    assert await file.reader.ask(read_commits) == 1


async def test_many_questions_are_answered_each(file: File) -> None:
    assert await asyncio.gather(*(file.reader.ask(lambda _, n=n: n) for n in range(500))) == list(range(500))  # type: ignore[misc]


async def test_it_writes_nothing(file: File) -> None:
    with pytest.raises(Fault, match="readonly"):
        await file.reader.ask(lambda connection: connection.execute("UPDATE state SET commits = 9"))
    assert await file.reader.ask(read_commits) == 0


async def test_a_writer_that_has_the_lock_does_not_hold_it_up(file: File) -> None:
    file.connection.execute("BEGIN IMMEDIATE")
    file.write()
    assert await file.reader.ask(read_commits) == 0
    file.connection.execute("ROLLBACK")


async def test_a_file_that_is_removed_is_a_fault_and_another_in_its_place_is_opened(file: File) -> None:
    file.write()
    assert await file.reader.ask(read_commits) == 1
    file.remove()
    with pytest.raises(Fault, match="has been removed"):
        await file.reader.ask(read_commits)
    assert not file.path.exists(), "to read makes no file"
    file.connection = connect(file.options)
    assert await file.reader.ask(read_commits) == 0


async def test_a_question_with_a_fault_of_its_own_is_not_the_others(file: File) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        raise ValueError("a fault of its own")

    wrong, right = await asyncio.gather(file.reader.ask(fail), file.reader.ask(read_commits), return_exceptions=True)
    assert isinstance(wrong, ValueError)
    assert right == 0


async def test_who_no_longer_waits_is_no_trouble(file: File) -> None:
    asking = asyncio.create_task(file.reader.ask(read_commits))
    await asyncio.sleep(0)
    asking.cancel()
    assert await file.reader.ask(read_commits) == 0
