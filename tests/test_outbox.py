"""The outbox against a model that keeps a plain list, and its laws by themselves."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon.droppable import Source
from antiphon.outbox import APART, GROUPS, Missed, Outbox

SOURCES = [
    None,
    Source("prices", None),
    Source("trades", None),
    Source("cursors", "ada"),
    Source("cursors", "alan"),
    Source("scores", ""),
]
sources = st.sampled_from(SOURCES)
#: Around what a few chunks that are kept apart take.
limits = st.one_of(st.integers(0, 50), st.integers(0, 6 * APART))
sizes = st.one_of(st.integers(0, 70), st.integers(0, 3 * APART))


class Entry(NamedTuple):
    """What waits in the model."""

    number: int
    size: int
    source: Source | None

    @property
    def cost(self) -> int:
        return self.size + (APART if self.source is not None else 0)


def cost(entries: list[Entry]) -> int:
    return sum(entry.cost for entry in entries)


class OutboxMachine(RuleBasedStateMachine):
    @initialize(limit=limits)
    def begin(self, limit: int) -> None:
        self.outbox: Outbox[int] = Outbox(limit)
        self.limit = limit
        self.model: list[Entry] = []
        self.missed: collections.Counter[str] = collections.Counter()
        self.left_out = 0
        self.next = 0

    def leave_out(self, entry: Entry) -> None:
        assert entry.source is not None
        self.missed[entry.source.group] += 1
        self.left_out += 1

    def put_into_model(self, entry: Entry) -> bool:
        kept = [other for other in self.model if other.source is None]
        fits_beside_kept = not kept or cost(kept) + entry.cost <= self.limit
        if entry.source is None and not fits_beside_kept:
            return False
        for other in list(self.model):
            if entry.source is not None and entry.source.key is not None and other.source == entry.source:
                self.model.remove(other)
                self.leave_out(other)
        if not fits_beside_kept:
            assert entry.source is not None
            for other in list(self.model):
                if other.source is not None and other.source.group == entry.source.group:
                    self.model.remove(other)
                    self.leave_out(other)
            self.leave_out(entry)
            return True
        for other in list(self.model):
            if other.source is not None and cost(self.model) + entry.cost > self.limit:
                self.model.remove(other)
                self.leave_out(other)
        self.model.append(entry)
        return True

    @rule(size=sizes, source=sources)
    def put(self, size: int, source: Source | None) -> None:
        self.next += 1
        assert self.outbox.put(self.next, size, source) is self.put_into_model(Entry(self.next, size, source))

    @rule()
    def take_missed(self) -> None:
        missed = self.outbox.take_missed()
        if missed is not None:
            assert missed.messages == self.missed.pop(missed.group) > 0
        if self.model:
            source = self.model[0].source
            expected = None if missed is None or source is None else source.group
            assert (missed and missed.group) == expected
            assert source is None or source.group not in self.missed
        else:
            assert missed is not None or not self.missed

    @precondition(lambda self: self.model)
    @rule()
    def take(self) -> None:
        assert self.outbox.take() == self.model.pop(0).number

    @precondition(lambda self: not self.model)
    @rule()
    def take_from_nothing(self) -> None:
        with pytest.raises(IndexError):
            self.outbox.take()

    @rule()
    def caught_up(self) -> None:
        assert self.outbox.caught_up() == self.left_out
        self.left_out = 0

    @rule()
    def clear(self) -> None:
        assert self.outbox.clear() == sum(entry.size for entry in self.model)
        self.model.clear()
        self.missed.clear()
        self.left_out = 0
        assert self.outbox.take_missed() is None

    @invariant()
    def counts_and_bound_hold(self) -> None:
        if not hasattr(self, "outbox"):
            return
        assert len(self.outbox) == len(self.model)
        assert bool(self.outbox) is bool(self.model or self.missed)
        assert self.outbox.left_out == self.left_out
        assert self.outbox.size == cost(self.model)
        assert self.outbox.size <= self.limit or len(self.model) == 1


TestOutbox = OutboxMachine.TestCase

# What a transport does with it

#: Chunks that are put, and None for a client that reads one.
plans = st.lists(st.one_of(st.tuples(sizes, sources), st.none()), max_size=60)


class Reader:
    """A client of an outbox: what it was sent, and what it was told."""

    def __init__(self, outbox: Outbox[int]) -> None:
        self.outbox = outbox
        self.sent: list[int] = []
        self.told: collections.Counter[str] = collections.Counter()

    def read(self) -> None:
        missed = self.outbox.take_missed()
        if missed is not None:
            self.told[missed.group] += missed.messages
        elif self.outbox:
            self.sent.append(self.outbox.take())

    def read_all(self) -> None:
        while self.outbox:
            self.read()


def run(plan: list[Any], limit: int) -> tuple[Reader, dict[int, Source | None]]:
    """Return who has read everything, and what was taken for it, by number."""
    reader = Reader(Outbox(limit))
    put: dict[int, Source | None] = {}
    for number, step in enumerate(plan):
        if step is None:
            reader.read()
        elif reader.outbox.put(number, *step):
            put[number] = step[1]
    reader.read_all()
    return reader, put


@given(plans, limits)
def test_order_is_kept_among_what_remains(plan: list[Any], limit: int) -> None:
    reader, _ = run(plan, limit)
    assert reader.sent == sorted(set(reader.sent))


@given(plans, limits)
def test_what_came_and_what_was_missed_add_up_for_every_group(plan: list[Any], limit: int) -> None:
    reader, put = run(plan, limit)
    groups = collections.Counter(source.group for source in put.values() if source is not None)
    came = collections.Counter(source.group for number in reader.sent if (source := put[number]) is not None)
    assert came + reader.told == groups


@given(plans, limits)
def test_what_may_not_be_left_out_never_is(plan: list[Any], limit: int) -> None:
    reader, put = run(plan, limit)
    assert {number for number, source in put.items() if source is None} <= set(reader.sent)


@given(plans)
def test_the_last_of_every_key_comes_where_one_of_each_finds_room(plan: list[Any]) -> None:
    steps = [step for step in plan if step is not None and step[1] is not None and step[1].key is not None]
    largest: dict[Source, int] = {}
    for size, source in steps:
        largest[source] = max(size + APART, largest.get(source, 0))
    reader, put = run([step for step in plan if step is None or step in steps], limit=sum(largest.values()))
    for source in largest:
        assert max(number for number, other in put.items() if other == source) in reader.sent


@given(plans, limits)
def test_a_group_is_told_of_before_it_goes_on(plan: list[Any], limit: int) -> None:
    outbox: Outbox[tuple[int, Source | None]] = Outbox(limit)
    for number, step in enumerate(plan):
        if step is not None:
            outbox.put((number, step[1]), *step)
    while outbox:
        missed = outbox.take_missed()
        if missed is None:
            _, source = outbox.take()
            assert source is None or source.group not in outbox._missed
        else:
            assert outbox.take_missed() is None or not len(outbox), "one word for each group"


def test_one_chunk_larger_than_the_limit_may_wait_alone() -> None:
    outbox: Outbox[str] = Outbox(10)
    assert outbox.put("large", 100)
    assert not outbox.put("small", 1)
    assert outbox.take() == "large"
    assert outbox.put("small", 1)
    assert not outbox.put("large", 100)


def test_a_refused_chunk_leaves_nothing() -> None:
    outbox: Outbox[str] = Outbox(10)
    outbox.put("a", 6)
    assert not outbox.put("b", 5)
    assert (outbox.size, len(outbox)) == (6, 1)


def test_the_oldest_make_room() -> None:
    outbox: Outbox[str] = Outbox(3 * (APART + 10))
    prices = Source("prices", None)
    for name in "abcde":
        assert outbox.put(name, 10, prices)
    assert outbox.take_missed() == Missed("prices", 2)
    assert [outbox.take() for _ in range(3)] == ["c", "d", "e"]


def test_what_may_not_be_left_out_makes_the_others_go() -> None:
    outbox: Outbox[str] = Outbox(2 * (APART + 10))
    outbox.put("price", 10, Source("prices", None))
    outbox.put("cursor", 10, Source("cursors", "ada"))
    assert outbox.put("own", 2 * (APART + 10))
    assert [outbox.take()] == ["own"]
    assert {outbox.take_missed(), outbox.take_missed()} == {Missed("prices", 1), Missed("cursors", 1)}
    assert not outbox


def test_what_finds_no_room_beside_what_must_stay_costs_the_others_nothing() -> None:
    outbox: Outbox[str] = Outbox(APART + 30)
    outbox.put("own", 10)
    outbox.put("small", 10, Source("prices", None))
    assert outbox.put("large", 30, Source("trades", None))
    assert (outbox.take(), outbox.take_missed(), outbox.take()) == ("own", None, "small")
    assert outbox.take_missed() == Missed("trades", 1)


def test_only_the_newest_of_a_key_waits_and_stands_at_the_end() -> None:
    outbox: Outbox[str] = Outbox(10**6)
    for name, key in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("own", None), ("b2", "b")):
        outbox.put(name, 1, Source("cursors", key) if key else None)
    assert outbox.take_missed() == Missed("cursors", 2)
    assert [outbox.take() for _ in range(3)] == ["a2", "own", "b2"]


def test_the_same_key_in_another_group_is_another() -> None:
    outbox: Outbox[str] = Outbox(10**6)
    outbox.put("a", 1, Source("red", "key"))
    outbox.put("b", 1, Source("blue", "key"))
    assert len(outbox) == 2


def test_a_client_is_not_owed_word_of_any_number_of_groups() -> None:
    outbox: Outbox[int] = Outbox(0)
    put = [outbox.put(number, 1, Source(f"group {number}", None)) for number in range(GROUPS + 10)]
    assert put == [True] * (GROUPS + 2) + [False] * 8
    outbox.clear()
    assert outbox.put(0, 1, Source("group", None))


def test_what_finds_no_room_takes_what_is_older_of_its_group_with_it() -> None:
    outbox: Outbox[str] = Outbox(10_000)
    source, other = Source("g", None), Source("h", None)
    outbox.put("kept", 6000)
    outbox.put("n1", 100, source)
    outbox.put("m1", 100, other)
    outbox.put("n2", 5000, source)
    outbox.put("n3", 100, source)
    taken: list[object] = []
    while outbox:
        taken.append(outbox.take_missed() or outbox.take())
    assert taken == ["kept", "m1", Missed("g", 2), "n3"]
