"""The thread that writes: group commit, what fails, and how it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.sqlite.faults import Fault
from antiphon.engines.sqlite.frames import Sent
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.registry import Registry
from antiphon.engines.sqlite.store import Store
from antiphon.engines.sqlite.writer import AT_ONCE, Operation, Outcome, Writer
from antiphon.types import Position, Publishing, Retention

from .sqlite import Clock, until

KEPT = Retention(size=10_000, lifetime=60, position_lifetime=600, idempotency_window=120)


class Desk:
    """A writer, and what became of what it was given."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.outcomes: list[Outcome] = []
        settings = {"synchronous": "off", "busy_timeout": 0.2, **options}
        self.writer = Writer(
            Options(str(path), **settings),
            "name",
            "address",
            loop=asyncio.get_running_loop(),
            clock=Clock(),
            done=self.outcomes.append,
        )

    def publish(self, group: str = "a") -> Operation:
        def verb(store: Store, registry: Registry, now: int) -> Position:
            return store.publish(group, b"1", "", Publishing(KEPT), now)

        operation = Operation(verb, group=group)
        self.writer.put(operation)
        return operation

    async def outcome(self, *operations: Operation) -> Outcome:
        """Wait for the outcome of the last of these."""
        await until(lambda: self._of(operations[-1]))
        found = self._of(operations[-1])
        assert found is not None
        return found

    def _of(self, operation: Operation) -> Outcome | None:
        return next((each for each in self.outcomes if operation in each.operations), None)

    def rows(self, table: str) -> int:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            return int(count)


def with_desk(**options: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[[Path], Awaitable[None]]]:
    """Make a test of a case that has a ``Desk``."""

    def decorate(case: Callable[..., Awaitable[None]]) -> Callable[[Path], Awaitable[None]]:
        async def test(tmp_path: Path) -> None:
            desk = Desk(tmp_path / "streams.db", **options)
            try:
                await case(desk)
            finally:
                await desk.writer.stop()

        test.__name__ = case.__name__
        return test

    return decorate


@contextlib.contextmanager
def locked(path: Path) -> Any:
    """Hold the lock, as another program may."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@with_desk()
async def test_what_waits_together_is_one_transaction(desk: Desk) -> None:
    first = desk.publish()
    await desk.outcome(first)
    with locked(desk.path):  # so that the others wait
        operations = [desk.publish("ab"[number % 2]) for number in range(100)]
        await asyncio.sleep(0.02)
    outcome = await desk.outcome(*operations)
    await until(lambda: sum(len(each.operations) for each in desk.outcomes) == 101)
    assert len(desk.outcomes) <= 4
    assert [each.seq for each in desk.outcomes] == list(range(1, len(desk.outcomes) + 1))
    assert outcome.operations[-1].result.offset == 50


@with_desk()
async def test_a_transaction_has_a_bound(desk: Desk) -> None:
    operations = [desk.publish() for _ in range(3 * AT_ONCE)]
    await desk.outcome(*operations)
    assert max(len(each.operations) for each in desk.outcomes) <= AT_ONCE
    assert [each.result.offset for each in operations] == list(range(1, 3 * AT_ONCE + 1))


@with_desk()
async def test_what_is_not_written_is_told_in_its_turn(desk: Desk) -> None:
    await desk.outcome(desk.publish())
    with locked(desk.path):
        operations = [desk.publish(), Operation(None, item=Sent("a", b"")), desk.publish()]
        desk.writer.put(operations[1])
        last = desk.publish()
        await asyncio.sleep(0.02)
    await desk.outcome(last)
    items = [type(item).__name__ for outcome in desk.outcomes[1:] for item in outcome.items]
    assert items.count("Sent") == 1
    assert len(items) == 4


@with_desk()
async def test_what_is_only_told_opens_no_transaction(desk: Desk) -> None:
    operation = Operation(None, item=Sent("a", b""))
    desk.writer.put(operation)
    outcome = await desk.outcome(operation)
    assert (outcome.seq, outcome.items, desk.path.exists()) == (0, [Sent("a", b"")], False)


@with_desk()
async def test_a_fault_of_one_is_not_the_others(desk: Desk) -> None:
    def verb(store: Store, registry: Registry, now: int) -> None:
        raise ValueError("a fault of its own")

    first, wrong, last = desk.publish(), Operation(verb), None
    desk.writer.put(wrong)
    last = desk.publish()
    await desk.outcome(first, wrong, last)
    assert isinstance(wrong.error, ValueError)
    assert (first.result.offset, last.result.offset) == (1, 2)


@with_desk()
async def test_a_lock_that_others_hold_is_waited_for_and_then_it_is_a_fault(desk: Desk) -> None:
    await desk.outcome(desk.publish())
    with locked(desk.path):
        operation = desk.publish()
        outcome = await desk.outcome(operation)
    assert outcome.fault is not None
    assert outcome.fault.is_busy
    assert not outcome.fault.outcome_unknown
    assert (outcome.seq, outcome.items, outcome.begins_outage) == (0, [], True)
    assert (await desk.outcome(again := desk.publish())).fault is None
    assert again.result.offset == 2, "nothing had happened"


@with_desk(busy_timeout=30)
async def test_a_lock_that_comes_free_in_time_is_no_fault(desk: Desk) -> None:
    await desk.outcome(desk.publish())
    with locked(desk.path):
        operation = desk.publish()
        await asyncio.sleep(0.1)
        assert len(desk.outcomes) == 1
    assert (await desk.outcome(operation)).fault is None


async def test_an_outage_is_logged_once_and_so_is_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(tmp_path / "streams.db", busy_timeout=0.0)
    await desk.outcome(desk.publish())
    with caplog.at_level(logging.WARNING, "antiphon.engines"):
        with locked(desk.path):
            outcomes = [await desk.outcome(desk.publish()) for _ in range(3)]
        await desk.outcome(desk.publish())
    await desk.writer.stop()
    assert [each.begins_outage for each in outcomes] == [True, False, False]
    words = [record.getMessage() for record in caplog.records]
    assert len(words) == 2
    assert "streams.db: another program holds its lock" in words[0]
    assert "works again" in words[1]


@with_desk()
async def test_a_full_disk_is_a_fault_and_it_goes_on_when_there_is_room(desk: Desk) -> None:
    await desk.outcome(desk.publish())
    store = desk.writer._store
    assert store is not None
    limit = Operation(lambda store, registry, now: store.connection.execute("PRAGMA max_page_count = 1").fetchone())
    desk.writer.put(limit)
    await desk.outcome(limit)
    fault = None
    while fault is None:
        operations = [desk.publish(f"group {number}") for number in range(100)]
        await desk.outcome(*operations)
        fault = next((each.fault for each in desk.outcomes if each.fault is not None), None)
    assert (fault.code, fault.outcome_unknown) == (sqlite3.SQLITE_FULL, False)
    assert "the disk is full; make room" in str(fault)
    before = desk.rows("publications")
    assert desk.writer._store is store, "the connection is not to blame"
    room = Operation(lambda store, registry, now: store.connection.execute("PRAGMA max_page_count = 100000").fetchone())
    desk.writer.put(room)
    assert (await desk.outcome(room)).fault is None
    assert (await desk.outcome(desk.publish())).fault is None
    assert desk.rows("publications") == before + 1


@with_desk()
async def test_a_file_that_was_removed_is_made_anew(desk: Desk) -> None:
    first = await desk.outcome(desk.publish())
    before = first.operations[0].result
    for suffix in ("", "-wal", "-shm"):
        Path(f"{desk.path}{suffix}").unlink()
    operation = desk.publish()
    outcome = await desk.outcome(operation)
    assert outcome.fault is None
    assert outcome.file != first.file
    assert (operation.result.offset, operation.result.epoch == before.epoch) == (1, False)
    assert (desk.rows("publications"), desk.rows("processes")) == (1, 1)


@with_desk()
async def test_a_file_that_is_removed_while_it_is_written_to_is_an_unknown_outcome(desk: Desk) -> None:
    await desk.outcome(desk.publish())

    def verb(store: Store, registry: Registry, now: int) -> Position:
        desk.path.unlink()
        return store.publish("a", b"1", "", Publishing(KEPT), now)

    operation = Operation(verb)
    desk.writer.put(operation)
    outcome = await desk.outcome(operation)
    assert outcome.fault is not None
    assert outcome.fault.outcome_unknown
    assert "removed or replaced" in str(outcome.fault)
    assert (await desk.outcome(again := desk.publish())).fault is None
    assert again.result.offset == 1


@with_desk()
async def test_a_damaged_file_is_a_fault_and_a_good_one_in_its_place_is_opened(desk: Desk) -> None:
    await desk.outcome(desk.publish())
    desk.writer.put(checkpoint := Operation(lambda *arguments: None))
    await desk.outcome(checkpoint)
    bad = desk.path.with_name("bad")
    bad.write_bytes(b"no database at all, " * 1000)
    for suffix in ("-wal", "-shm"):
        Path(f"{desk.path}{suffix}").unlink()
    bad.rename(desk.path)
    outcome = await desk.outcome(desk.publish())
    assert outcome.fault is not None
    assert outcome.fault.code == sqlite3.SQLITE_NOTADB
    desk.path.unlink()
    assert (await desk.outcome(desk.publish())).fault is None


@with_desk()
async def test_a_commit_that_fails_at_the_disk_is_an_unknown_outcome(desk: Desk) -> None:
    await desk.outcome(desk.publish())
    store = desk.writer._store
    assert store is not None
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

    def fail() -> None:
        raise error

    store.commit = fail  # type: ignore[method-assign]
    outcome = await desk.outcome(desk.publish())
    assert outcome.fault is not None
    assert outcome.fault.outcome_unknown
    again = desk.publish()
    assert (await desk.outcome(again)).fault is None
    assert again.result.offset == 2, "it was rolled back here, and the connection opened anew"


@with_desk()
async def test_this_process_is_registered_once(desk: Desk) -> None:
    for _ in range(5):
        outcome = await desk.outcome(desk.publish())
        assert outcome.process == 1
    assert desk.rows("processes") == 1


@with_desk()
async def test_a_bug_is_a_fault_and_not_the_end(desk: Desk) -> None:
    def verb(store: Store, registry: Registry, now: int) -> None:
        raise RuntimeError("a bug")

    operation = Operation(verb)
    desk.writer.put(operation)
    outcome = await desk.outcome(operation)
    assert isinstance(outcome.fault, Fault)
    assert "RuntimeError: a bug" in str(outcome.fault)
    assert (await desk.outcome(desk.publish())).fault is None


async def test_stopping_carries_out_what_waits(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "streams.db")
    operations = [desk.publish() for _ in range(200)]
    await desk.writer.stop()
    assert operations[-1].result.offset == 200
    assert sum(len(each.operations) for each in desk.outcomes) == 200
    assert not Path(f"{desk.path}-wal").exists(), "the last connection puts everything into the file"


def test_a_thread_whose_loop_is_gone_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.engines.sqlite.worker._LOOK", 0.05)
    desks = []

    async def forget() -> None:
        desks.append(Desk(tmp_path / "streams.db"))
        await desks[0].outcome(desks[0].publish())

    asyncio.run(forget())
    desks[0].writer._worker._thread.join(30)
    assert not desks[0].writer._worker._thread.is_alive()
