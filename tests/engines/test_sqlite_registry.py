"""Processes on one database: their leases, interests and entries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.sqlite.frames import Item, Joined, Left
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.registry import Registry, read_peers, read_presence
from antiphon.engines.sqlite.schema import connect
from antiphon.engines.sqlite.store import Store
from antiphon.roster import Entry, Roster
from antiphon.types import ClientInfo, Retention

KEPT = Retention(size=10, lifetime=60, position_lifetime=600, idempotency_window=120)
ANN, BOB = ClientInfo("ann", "1", b"{}"), ClientInfo("bob", "2")


class Process:
    """One process's part, on a connection of its own."""

    def __init__(self, path: Path, name: str) -> None:
        self.connection = connect(Options(str(path), synchronous="off"))
        self.store = Store(self.connection)
        self.registry = Registry(self.store, name, f"{path}-{name}", 30)

    def do(self, verb: str, *arguments: Any) -> Any:
        self.store.begin()
        self.result = getattr(self.registry, verb)(*arguments)
        self.store.finish()
        self.store.commit()
        return self.result

    @property
    def told(self) -> list[Item]:
        return self.store.told

    def count(self, table: str) -> int:
        (count,) = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Process]]:
    processes = [Process(tmp_path / "streams.db", name) for name in ("first", "second", "third")]
    for process in processes:
        process.do("register", 0)
    with contextlib.ExitStack() as stack:
        for process in processes:
            stack.enter_context(contextlib.closing(process.connection))
        yield processes


def names(process: Process, now: int) -> list[str]:
    return [each.name for each in read_peers(process.connection, now)]


def test_a_process_lives_until_its_lease_is_over(processes: list[Process]) -> None:
    first, second, third = processes
    assert names(first, 29_999) == ["first", "second", "third"]
    assert second.do("renew", 20_000) is True
    assert names(first, 30_000) == ["second"]
    third.do("sweep", 30_000)
    assert third.do("renew", 30_001) is False
    assert second.do("renew", 40_000) is True


def test_no_number_of_a_process_is_used_twice(processes: list[Process]) -> None:
    first = processes[0]
    before = first.store.process
    for process in processes:
        process.do("leave_all", 0)
    first.do("register", 0)
    assert first.store.process > before + 2


def test_an_entry_is_told_once_and_its_end_once(processes: list[Process]) -> None:
    first = processes[0]
    told = []
    for verb, argument in (
        ("enter", Entry(ANN, True)),
        ("enter", Entry(ANN, True)),
        ("enter", Entry(BOB, False)),
        ("leave", "2"),
        ("leave", "1"),
        ("leave", "1"),
    ):
        first.do(verb, "a", argument)
        told += first.told
    assert told == [Joined("a", ANN), Left("a", ANN)]


def test_who_is_in_a_dead_process_is_not_present_and_one_sweep_tells_it(processes: list[Process]) -> None:
    first, second, third = processes
    first.do("enter", "a", Entry(ANN, True))
    second.do("enter", "a", Entry(BOB, True))
    for process in (second, third):
        process.do("renew", 20_000)
    assert read_presence(third.connection, "a", 29_999) == {"1": ANN, "2": BOB}
    assert read_presence(third.connection, "a", 30_000) == {"2": BOB}
    told = []
    for process in (second, third):
        process.do("sweep", 30_000)
        told += process.told
    assert told == [Left("a", ANN)]
    assert (third.count("entries"), third.count("processes")) == (1, 2)


def test_the_interests_of_a_dead_process_end_as_if_it_had_unsubscribed(processes: list[Process]) -> None:
    first, second, _ = processes
    first.store.begin()
    for number in range(2500):
        first.store.subscribe(f"group {number}", KEPT, 0)
    first.store.finish()
    first.store.commit()
    second.do("renew", 1_000_000)
    sweeps = 0
    while second.do("sweep", 1_000_000):
        sweeps += 1
    assert sweeps >= 2, "in small pieces"
    assert (second.count("interests"), second.count("processes")) == (0, 1)
    (forget,) = second.connection.execute("SELECT min(forget) FROM groups").fetchone()
    assert forget >= 1_600_000


def test_taking_leave_takes_everything_away(processes: list[Process]) -> None:
    first, second, _ = processes
    first.do("enter", "a", Entry(ANN, True))
    first.do("declare", [("a", Entry(ANN, True))], {"a": KEPT, "b": None}, 0)
    assert first.count("interests") == 2
    first.do("leave_all", 0)
    assert first.told == [Left("a", ANN)]
    assert [second.count(name) for name in ("interests", "entries", "processes")] == [0, 0, 2]


def test_to_declare_is_to_make_up_for_the_difference(processes: list[Process]) -> None:
    first = processes[0]
    roster = Roster()
    first.do("enter", "a", Entry(ANN, True))
    first.do("enter", "b", Entry(BOB, False))
    first.do("declare", [], {"a": None, "c": None}, 0)
    assert first.told == [Left("a", ANN)]
    for client in (ANN, BOB):
        roster.enter("a", client, announced=client is BOB)
    first.do("declare", list(roster), {"b": None, "c": None}, 0)
    assert first.told == [Joined("a", BOB)]
    assert read_presence(first.connection, "a", 1) == {"1": ANN, "2": BOB}
    interests = first.connection.execute("SELECT name FROM interests JOIN groups ON id = group_id ORDER BY name")
    assert [name for (name,) in interests] == ["b", "c"]
    first.do("declare", list(roster), {"b": None, "c": None}, 0)
    assert first.told == []


def test_the_socket_of_a_dead_process_is_removed(processes: list[Process], tmp_path: Path) -> None:
    first, second, _ = processes
    socket = Path(f"{tmp_path / 'streams.db'}-first")
    socket.touch()
    second.do("renew", 20_000)
    second.do("sweep", 30_000)
    assert not socket.exists()
    assert first.do("renew", 30_000) is False
