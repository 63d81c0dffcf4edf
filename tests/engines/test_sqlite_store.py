"""Streams in SQL, without threads and with a clock that is a number."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.sqlite import store as module
from antiphon.engines.sqlite.frames import Published
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.schema import connect
from antiphon.engines.sqlite.store import (
    IDLE,
    Store,
    needs_touch,
    read_commits,
    read_next_end,
    read_page,
    read_tops,
)
from antiphon.types import Page, Position, Publishing, Repeat, Retention

MINUTE = 60_000
KEPT = Retention(size=100, lifetime=60, position_lifetime=600, idempotency_window=120)


class Table:
    """A store whose every call is a transaction of its own, at the time ``now``."""

    def __init__(self, path: Path) -> None:
        self.connection = connect(Options(str(path), synchronous="off"))
        self.store = Store(self.connection)
        self.now = 1_700_000_000_000

    def do(self, verb: str, *arguments: Any) -> Any:
        self.store.begin()
        result = getattr(self.store, verb)(*arguments)
        self.seq = self.store.finish()
        self.store.commit()
        return result

    def publish(self, group: str = "a", retention: Retention | None = KEPT, key: str = "") -> Position:
        publishing = None if retention is None else Publishing(retention, key)
        position: Position = self.do("publish", group, b"1", "", publishing, self.now)
        return position

    def sweep(self) -> int:
        """Sweep until there is nothing left to do; return how many transactions that took."""
        count = 1
        while self.do("sweep", self.now):
            count += 1
            assert count < 10_000
        return count

    def page(self, group: str = "a", since: int | None = None, limit: int | None = None, reverse: bool = False) -> Page:
        place = None if since is None else Position("", since)
        page = read_page(self.connection, group, place, limit, reverse, self.now)
        assert page is not None
        return page

    def offsets(self, group: str = "a") -> list[int]:
        return [each.offset for each in self.page(group).publications]

    def rows(self, table: str) -> int:
        (count,) = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = Table(tmp_path / "streams.db")
    with contextlib.closing(table.connection):
        yield table


def test_a_transaction_that_tells_nothing_has_no_number(table: Table) -> None:
    table.do("touch", "a", KEPT, table.now)
    assert (table.seq, read_commits(table.connection)) == (0, 0)
    table.publish()
    table.publish()
    assert (table.seq, read_commits(table.connection)) == (2, 2)


def test_many_of_one_transaction_are_written_together_in_order(table: Table) -> None:
    store = table.store
    store.begin()
    positions = [
        store.publish("ab"[number % 3 == 0], b"%d" % number, "", Publishing(KEPT), table.now) for number in range(171)
    ]
    assert store.finish() == 1
    store.commit()
    assert [type(item) for item in store.told] == [Published] * 171
    for group in "ab":
        offsets = [position.offset for position, item in zip(positions, store.told, strict=True) if item.group == group]  # type: ignore[union-attr]
        assert offsets == list(range(1, len(offsets) + 1))
        assert table.offsets(group) == offsets[-100:]


def test_what_is_rolled_back_has_not_happened(table: Table) -> None:
    first = table.publish()
    table.store.begin()
    table.store.publish("a", b"2", "", Publishing(KEPT, "k"), table.now)
    table.store.publish("b", b"2", "", Publishing(KEPT), table.now)
    table.store.finish()
    table.store.rollback()
    assert (table.page().top, read_commits(table.connection), table.rows("keys")) == (first, 1, 0)
    assert read_page(table.connection, "b", None, None, False, table.now) is None
    assert table.publish(key="k") == (first.epoch, 2)


def test_a_clock_that_jumps_back_moves_no_offset_and_leaves_no_hole(table: Table) -> None:
    epochs, offsets = set(), []
    for jump in (0, -3 * MINUTE, 30_000, -10 * MINUTE, 10_000):
        table.now += jump
        position = table.publish()
        epochs.add(position.epoch)
        offsets.append(position.offset)
        assert table.offsets() == list(range(1, position.offset + 1)), "what came later is not over sooner"
    assert (len(epochs), offsets) == (1, [1, 2, 3, 4, 5])


def test_a_clock_that_jumps_ahead_and_back_loses_no_position(table: Table) -> None:
    first = table.publish()
    table.now += 300 * MINUTE
    table.publish("other")
    table.now -= 300 * MINUTE
    assert table.publish() == (first.epoch, 2)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1000])
def test_the_end_of_the_run_is_found_among_what_is_over(table: Table, count: int) -> None:
    large = KEPT._replace(size=100_000)
    for number in range(count):
        table.now += 1000 if number % 7 else 0
        table.publish(retention=large)
    untils = [row[0] for row in table.connection.execute("SELECT until FROM publications ORDER BY offset")]
    assert untils == sorted(untils)
    for until in {untils[0], untils[len(untils) // 2], untils[-1]}:
        for now in (until - 1, until, until + 1):
            table.now = now
            assert table.offsets() == [place for place, each in enumerate(untils, 1) if each > now]


def test_what_is_over_is_removed_in_small_pieces(table: Table) -> None:
    large = KEPT._replace(size=100_000)
    table.store.begin()
    for _ in range(5000):
        table.store.publish("a", b"1", "", Publishing(large), table.now)
    table.store.finish()
    table.store.commit()
    table.now += 2 * MINUTE
    assert table.offsets() == []
    assert table.rows("publications") == 5000
    assert table.sweep() >= 5
    assert table.rows("publications") == 0
    assert table.page().top.offset == 5000


def test_a_history_that_is_removed_is_gone_at_once_and_its_rows_bit_by_bit(table: Table) -> None:
    large = KEPT._replace(size=100_000)
    table.store.begin()
    for _ in range(3500):
        table.store.publish("a", b"1", "", Publishing(large), table.now)
    table.store.finish()
    table.store.commit()
    table.do("remove_history", "a")
    assert table.offsets() == []
    assert table.rows("publications") == 2500
    table.publish(retention=large)
    assert table.offsets() == [3501]
    table.sweep()
    assert (table.rows("publications"), table.offsets()) == (1, [3501])


@pytest.mark.parametrize("size", [1, 3, 100])
def test_little_more_is_stored_than_is_kept(table: Table, size: int) -> None:
    for _ in range(300):
        table.publish(retention=KEPT._replace(size=size))
        assert len(table.offsets()) <= size
        assert table.rows("publications") <= size + size // 8


def test_a_group_that_is_not_kept_stores_its_position_alone(table: Table) -> None:
    for _ in range(5):
        table.publish(retention=None)
    assert (table.rows("publications"), table.page().top.offset) == (0, 5)
    table.now += IDLE - MINUTE
    assert table.publish(retention=None).offset == 6
    table.now += 2 * IDLE
    assert table.publish(retention=None).offset == 1


def test_a_group_that_is_forgotten_leaves_nothing(table: Table) -> None:
    for number in range(250):
        table.publish("ab"[number % 2], key=f"key {number}")
    table.now += 1000 * MINUTE
    table.sweep()
    assert [table.rows(name) for name in ("groups", "publications", "keys")] == [0, 0, 0]
    assert read_next_end(table.connection) is None


def test_a_group_that_is_used_again_before_it_is_swept_begins_anew(table: Table) -> None:
    first = table.publish(key="k")
    table.now += 1000 * MINUTE
    second = table.publish(key="k")
    assert (type(second), second.offset, second.epoch == first.epoch) == (Position, 1, False)
    table.sweep()
    assert (table.rows("groups"), table.rows("publications"), table.rows("keys")) == (1, 1, 1)
    assert table.offsets() == [1]
    assert type(table.publish(key="k")) is Repeat


def test_a_group_of_interest_is_not_forgotten(table: Table) -> None:
    table.store.process = 7
    first = table.do("subscribe", "a", KEPT, table.now)
    table.now += 1000 * MINUTE
    table.sweep()
    assert table.publish() == (first.epoch, 1)
    table.do("unsubscribe", "a", table.now)
    table.now += 1000 * MINUTE
    table.sweep()
    assert table.rows("groups") == 0


def test_a_sweep_sees_what_its_own_transaction_has_done(table: Table) -> None:
    table.publish()
    table.now += 2 * MINUTE
    store = table.store
    store.begin()
    store.publish("a", b"2", "", Publishing(KEPT), table.now)
    while store.sweep(table.now):
        pass
    store.publish("a", b"3", "", Publishing(KEPT), table.now)
    store.finish()
    store.commit()
    assert (table.offsets(), table.rows("publications")) == ([2, 3], 2)


def test_the_next_end_is_that_of_what_ends_first(table: Table) -> None:
    assert read_next_end(table.connection) is None
    table.publish(retention=KEPT._replace(lifetime=500))
    assert read_next_end(table.connection) == table.now + 500_000
    table.publish("b", KEPT._replace(lifetime=50))
    assert read_next_end(table.connection) == table.now + 50_000
    table.publish("c", KEPT._replace(size=0, idempotency_window=20), "k")
    assert read_next_end(table.connection) == table.now + 20_000


def test_a_read_is_written_down_only_when_the_position_would_not_last(table: Table) -> None:
    def needed(retention: Retention = KEPT) -> bool:
        return needs_touch(table.connection, "a", retention, table.now)

    assert needed()
    table.do("touch", "a", KEPT, table.now)
    assert not needed()
    assert needed(KEPT._replace(position_lifetime=601))
    table.now += 20_000
    assert not needed()
    table.now += 20_000
    assert needed()
    table.store.process = 7
    table.do("subscribe", "a", KEPT, table.now)
    table.now += 100 * MINUTE
    assert not needed(), "somebody is subscribed"


def test_the_rows_of_many_groups_are_read_together(table: Table) -> None:
    names = [f"group {number}" for number in range(1200)]
    for name in names[:600:2]:
        table.publish(name)
    statements: list[str] = []
    table.connection.set_trace_callback(statements.append)
    table.store.begin()
    table.store.load([*names, *names])
    for name in names[:400]:
        table.store.publish(name, b"1", "", Publishing(KEPT), table.now)
    table.store.finish()
    table.store.commit()
    table.connection.set_trace_callback(None)
    assert len([each for each in statements if each.startswith("SELECT")]) <= 1 + 200
    assert [table.page(name).top.offset for name in names[:6]] == [2, 1, 2, 1, 2, 1]


@pytest.mark.parametrize("groups", [100, 10_000])
def test_what_publishing_costs_does_not_grow_with_the_groups(table: Table, groups: int) -> None:
    """Counted in steps of SQLite's machine: no statement may walk over the groups."""
    table.store.begin()
    for number in range(groups):
        table.store.publish(f"group {number}", b"1", "", Publishing(KEPT), table.now)
    table.store.finish()
    table.store.commit()
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    table.connection.set_progress_handler(count, 1)
    table.publish("group 7")
    table.page("group 7", since=1)
    read_next_end(table.connection)
    table.connection.set_progress_handler(None, 1)
    assert 0 < steps < 400


def test_the_tops_of_many_groups_are_read_with_few_statements(table: Table) -> None:
    positions = {name: table.publish(name) for name in (f"group {number}" for number in range(20))}
    names = [*positions, *(f"nobody {number}" for number in range(1000))]
    assert read_tops(table.connection, names) == positions
    assert read_tops(table.connection, []) == {}


def test_a_reader_sees_one_moment(table: Table, tmp_path: Path) -> None:
    table.publish()
    with contextlib.closing(sqlite3.connect(tmp_path / "streams.db", isolation_level=None)) as other:
        other.execute("BEGIN")
        before = read_page(other, "a", None, None, False, table.now)
        table.publish()
        assert read_page(other, "a", None, None, False, table.now) == before
        other.execute("COMMIT")
        assert read_page(other, "a", None, None, False, table.now) == table.page()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from("ab"), st.sampled_from([(1, 10), (3, 10), (3, 100), (0, 10)])),
        st.tuples(st.just("unkept"), st.sampled_from("ab"), st.none()),
        st.tuples(st.just("remove"), st.sampled_from("ab"), st.none()),
        st.tuples(st.just("pass"), st.none(), st.integers(-20, 200)),
        st.tuples(st.just("sweep"), st.none(), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(steps)
def test_what_is_kept_is_always_one_run_up_to_the_top(tmp_path_factory: pytest.TempPathFactory, plan: Any) -> None:
    table = Table(tmp_path_factory.mktemp("store") / "streams.db")
    with contextlib.closing(table.connection):
        last: dict[str, Position] = {}
        used: set[str] = set()
        for verb, group, argument in plan:
            if verb in ("publish", "unkept"):
                retention = Retention(argument[0], argument[1], 100, 50) if argument else None
                position = table.publish(group, retention)
                before = last.get(group)
                if before is not None and before.epoch == position.epoch:
                    assert position.offset == before.offset + 1
                else:
                    assert position.offset == 1
                    assert position.epoch not in used
                used.add(position.epoch)
                last[group] = position
            elif verb == "remove":
                table.do("remove_history", group)
            elif verb == "pass":
                table.now += argument * 1000
            else:
                table.sweep()
            for name in last:
                page = read_page(table.connection, name, None, None, False, table.now)
                if page is not None:
                    offsets = [each.offset for each in page.publications]
                    assert offsets == list(range(page.top.offset - len(offsets) + 1, page.top.offset + 1))
                    assert len(offsets) <= 3
        table.now += 10 * IDLE
        table.sweep()
        assert [table.rows(name) for name in ("groups", "publications", "keys")] == [0, 0, 0]


def test_the_chunk_is_what_one_transaction_may_remove() -> None:
    assert module.CHUNK <= 1000, "more is a pause that others notice"
