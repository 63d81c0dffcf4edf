"""Streams: what a subscriber that comes back is given, for every order in which publications and history may come."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from antiphon import stream
from antiphon.stream import APART, BEGINNING, CatchUp, Place, Recovery, judge, judge_newest, place
from antiphon.types import Page, Position, Publication


def publication(offset: int, epoch: str = "e", data: bytes = b"") -> Publication:
    return Publication(data or b"%d" % offset, epoch, offset, 0.0)


def publications(*offsets: int, epoch: str = "e") -> tuple[Publication, ...]:
    return tuple(publication(offset, epoch) for offset in offsets)


def page(*offsets: int, top: int, epoch: str = "e") -> Page:
    return Page(publications(*offsets, epoch=epoch), Position(epoch, top))


def caught_up(since: Position | None, page: Page, *live: Publication) -> Recovery:
    catch_up = CatchUp(since)
    for each in live:
        catch_up.live(each)
    return catch_up.finish(page)


def offsets(recovery: Recovery) -> list[int]:
    return [each.offset for each in recovery.publications]


# Where a publication stands


@pytest.mark.parametrize(
    ("position", "other", "expected"),
    [
        (Position("e", 3), ("e", 4), Place.NEXT),
        (Position("e", 3), ("e", 3), Place.OLD),
        (Position("e", 3), ("e", 1), Place.OLD),
        (Position("e", 3), ("e", 5), Place.BEYOND),
        (Position("e", 3), ("f", 4), Place.BEYOND),
        (Position("e", 3), ("f", 1), Place.BEYOND),
        (Position("e", 0), ("e", 1), Place.NEXT),
        (Position("e", 0), ("f", 1), Place.BEYOND),
        (BEGINNING, ("e", 1), Place.NEXT),
        (BEGINNING, ("e", 2), Place.BEYOND),
        (Position("", 1), ("e", 2), Place.BEYOND),
    ],
)
def test_a_publication_is_next_old_or_beyond(position: Position, other: tuple[str, int], expected: Place) -> None:
    assert place(position, publication(other[1], other[0])) is expected


@given(st.integers(0, 50), st.integers(1, 60))
def test_exactly_one_publication_of_an_epoch_is_next(at: int, offset: int) -> None:
    where = place(Position("e", at), publication(offset))
    assert (where is Place.NEXT) is (offset == at + 1)
    assert (where is Place.OLD) is (offset <= at)
    assert place(Position("other", at), publication(offset)) is Place.BEYOND


# What history alone says


@pytest.mark.parametrize(
    ("since", "found", "expected"),
    [
        (Position("e", 3), page(4, 5, top=5), [4, 5]),
        (Position("e", 3), page(2, 3, 4, 5, top=5), [4, 5]),
        (Position("e", 5), page(top=5), []),
        (Position("e", 5), page(4, 5, top=5), []),
        (Position("e", 0), page(1, 2, top=2), [1, 2]),
        (Position("e", 0), page(top=0), []),
        (BEGINNING, page(top=0), []),
        (BEGINNING, page(1, 2, 3, top=3), [1, 2, 3]),
        (Position("", 2), page(3, top=3), [3]),
        (Position("", 3), page(top=3), []),
    ],
)
def test_everything_is_there(since: Position, found: Page, expected: list[int]) -> None:
    recovery = judge(since, found)
    assert (recovery.recovered, offsets(recovery), recovery.position) == (True, expected, found.top)


@pytest.mark.parametrize(
    ("since", "found"),
    [
        (Position("e", 3), page(5, 6, top=6)),
        (Position("e", 3), page(4, 6, top=6)),
        (Position("e", 3), page(4, 5, top=6)),
        (Position("e", 3), page(top=6)),
        (Position("e", 3), page(4, 4, 5, top=5)),
        (Position("d", 3), page(4, 5, top=5)),
        (Position("d", 5), page(top=5)),
        (Position("d", 0), page(top=0)),
        (Position("_", 0), page(1, top=1)),
        (Position("e", 7), page(4, 5, top=5)),
        (Position("", 7), page(4, 5, top=5)),
        (BEGINNING, page(2, 3, top=3)),
        (BEGINNING, page(top=1)),
        (Position("e", 3), Page((publication(4, "d"), publication(5, "d")), Position("e", 5))),
        (Position("e", 3), Page((publication(4, "d"), publication(5)), Position("e", 5))),
        (Position("", 3), Page((publication(4, "d"),), Position("e", 4))),
    ],
)
def test_something_is_missing(since: Position, found: Page) -> None:
    assert judge(since, found) == Recovery(False, (), found.top)


@given(st.integers(0, 12), st.integers(0, 12), st.sets(st.integers(1, 12)), st.sampled_from(["", "d", "e"]))
def test_recovered_means_that_everything_from_the_next_one_to_the_top_is_there(
    at: int, top: int, stored: set[int], epoch: str
) -> None:
    kept = sorted(offset for offset in stored if offset <= top)
    recovery = judge(Position(epoch, at), page(*kept, top=top))
    missed = list(range(at + 1, top + 1))
    whole = epoch in ("", "e") and at <= top and set(missed) <= set(kept)
    assert recovery.recovered is whole
    assert offsets(recovery) == (missed if whole else [])
    assert recovery.position == Position("e", top)


# History and what comes live


@pytest.mark.parametrize(
    ("since", "found", "live", "expected"),
    [
        (3, page(4, 5, top=5), [6, 7], [4, 5, 6, 7]),
        (3, page(4, 5, top=5), [4, 5], [4, 5]),
        (3, page(4, 5, top=5), [5, 6], [4, 5, 6]),
        (3, page(4, 5, top=5), [6, 6, 5, 6], [4, 5, 6]),
        (3, page(4, 5, top=5), [7, 6], [4, 5, 6, 7]),
        (3, page(4, 5, top=5), [1, 2, 6], [4, 5, 6]),
        (3, page(5, top=5), [4], [4, 5]),
        (3, page(top=5), [4, 5], [4, 5]),
        (3, page(top=3), [4], [4]),
        (0, page(top=0), [1, 2], [1, 2]),
        (3, page(4, 5, top=5), [7], None),
        (3, page(5, top=5), [6], None),
        (3, page(top=3), [5], None),
        (9, page(top=5), [6], None),
        (6, page(top=5), [6, 7], [7]),
    ],
)
def test_both_together_are_judged(since: int, found: Page, live: list[int], expected: list[int] | None) -> None:
    recovery = caught_up(Position("e", since), found, *publications(*live))
    assert recovery.recovered is (expected is not None)
    assert offsets(recovery) == (expected or [])
    assert recovery.position == Position("e", max([found.top.offset, *live]))


@pytest.mark.parametrize(
    ("live", "expected"),
    [([], []), ([6, 7], [6, 7]), ([5, 6], [6]), ([7, 6], [6, 7]), ([3, 4, 5], [])],
)
def test_without_a_position_nothing_is_missed(live: list[int], expected: list[int]) -> None:
    recovery = caught_up(None, page(top=5), *publications(*live))
    assert (recovery.recovered, offsets(recovery)) == (True, expected)
    assert recovery.position == Position("e", max([5, *live]))


def test_without_a_position_a_hole_behind_the_top_is_a_gap() -> None:
    assert caught_up(None, page(top=5), publication(7)) == Recovery(False, (), Position("e", 7))


def test_since_beginning_a_new_stream_is_followed_from_its_first() -> None:
    recovery = caught_up(BEGINNING, page(top=0), publication(1), publication(2))
    assert (recovery.recovered, offsets(recovery), recovery.position) == (True, [1, 2], Position("e", 2))


def test_another_stream_may_be_newer_or_older_and_a_later_page_tells() -> None:
    catch_up = CatchUp(Position("d", 5))
    assert not catch_up.is_torn(page(top=5, epoch="d"))
    catch_up.live(publication(1, "e"))
    assert catch_up.is_torn(page(top=5, epoch="d"))
    assert not catch_up.is_torn(page(top=1, epoch="e"))
    catch_up.live(publication(2, "e"))
    catch_up.live(publication(6, "d"))
    assert not catch_up.is_torn(page(top=5, epoch="d")), "what came last is of the page's stream"
    assert catch_up.finish(page(1, top=1, epoch="e")) == Recovery(False, (), Position("e", 2))


def test_a_late_publication_of_the_stream_before_changes_nothing() -> None:
    assert caught_up(Position("e", 2), page(3, top=3), publication(9, "d")) == Recovery(
        True, publications(3), Position("e", 3)
    )
    assert caught_up(Position("e", 2), page(3, top=3), publication(4, "d"), publication(4)) == Recovery(
        True, publications(3, 4), Position("e", 4)
    )


def test_who_comes_from_the_stream_before_is_told_and_stands_where_the_new_one_does() -> None:
    assert caught_up(Position("d", 1), page(1, top=1), publication(2)) == Recovery(False, (), Position("e", 2))


def test_what_was_not_heard_is_counted() -> None:
    catch_up = CatchUp(Position("e", 3))
    catch_up.live(publication(5))
    catch_up.live(publication(4, "d"))
    assert catch_up.unheard(publications(4, 5, 6)) == 2


def test_what_comes_live_is_kept_within_a_bound_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LIVE_LIMIT", 3 * (APART + 1))
    live = publications(4, 5, 6, 7)
    assert not caught_up(Position("e", 3), page(top=3), *live).recovered
    assert offsets(caught_up(Position("e", 3), page(4, top=4), *live)) == [4, 5, 6, 7]
    large = publication(8, data=b"x" * 5000)
    assert offsets(caught_up(Position("e", 7), page(top=7), large)) == [8], "one alone may be larger"


@given(
    st.integers(0, 9),
    st.sets(st.integers(1, 9)),
    st.integers(0, 9),
    st.lists(st.tuples(st.sampled_from("dde"), st.integers(1, 12)), max_size=12),
    st.sampled_from(["", "d", "e"]),
)
def test_recovered_means_that_it_is_stored_or_came_live(
    at: int, stored: set[int], top: int, live: list[tuple[str, int]], epoch: str
) -> None:
    kept = sorted(offset for offset in stored if offset <= top)
    found = page(*kept, top=top)
    recovery = caught_up(Position(epoch, at), found, *(publication(offset, of) for of, offset in live))
    heard = {offset for of, offset in live if of == "e"}
    end = max([top, *heard])
    missed = list(range(at + 1, end + 1))
    whole = epoch in ("", "e") and at <= end and set(missed) <= {*kept, *heard}
    assert recovery.recovered is whole
    assert offsets(recovery) == (missed if whole else [])
    assert recovery.position == Position("e", end)


# Where each takes the place of those before it


@pytest.mark.parametrize(
    ("since", "found", "expected"),
    [
        (Position("e", 3), page(5, top=5), [5]),
        (Position("e", 4), page(5, top=5), [5]),
        (Position("e", 5), page(5, top=5), []),
        (Position("e", 5), page(top=5), []),
        (Position("", 5), page(top=5), []),
        (BEGINNING, page(5, top=5), [5]),
        (BEGINNING, page(top=0), []),
        (Position("d", 5), page(5, top=5), [5]),
        (Position("d", 9), page(2, 3, top=3), [3]),
        (Position("e", 0), page(2, 3, top=3), [3]),
        (Position("e", 9), page(5, top=5), [5]),
    ],
)
def test_who_has_the_newest_or_is_given_it_has_recovered(since: Position, found: Page, expected: list[int]) -> None:
    recovery = judge_newest(since, found)
    assert (recovery.recovered, offsets(recovery), recovery.position) == (True, expected, found.top)


@pytest.mark.parametrize(
    ("since", "found"),
    [
        (Position("e", 3), page(top=5)),
        (Position("e", 3), page(4, top=5)),
        (Position("d", 5), page(top=5)),
        (Position("d", 0), page(top=0)),
        (BEGINNING, page(top=1)),
    ],
)
def test_where_the_newest_is_not_there_nobody_has_recovered(since: Position, found: Page) -> None:
    assert judge_newest(since, found) == Recovery(False, (), found.top)


@given(
    st.integers(0, 12),
    st.sampled_from(["", "d", "e"]),
    st.integers(0, 9),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from("dde"), st.integers(1, 12)), max_size=12),
)
def test_recovered_means_that_the_newest_is_at_hand_stored_or_live(
    at: int, epoch: str, top: int, is_stored: bool, live: list[tuple[str, int]]
) -> None:
    catch_up = CatchUp(Position(epoch, at), newest_only=True)
    for of, offset in live:
        catch_up.live(publication(offset, of))
    found = page(*([top] if is_stored and top else []), top=top)
    recovery = catch_up.finish(found)
    heard = {offset for of, offset in live if of == "e"}
    end = max([top, *heard])
    has_it = at == end and epoch in ("", "e")
    is_there = end in heard or (is_stored and 0 < end == top)
    assert recovery.recovered is (has_it or is_there)
    assert offsets(recovery) == ([end] if is_there and not has_it else [])
    assert recovery.position == Position("e", end)


def test_without_a_position_nothing_is_missed_there_either() -> None:
    catch_up = CatchUp(None, newest_only=True)
    catch_up.live(publication(6))
    assert catch_up.finish(page(5, top=5)) == Recovery(True, publications(6), Position("e", 6))


# Every interleaving


@dataclasses.dataclass
class Subscriber:
    """One that does what the module says: it reads history when it begins, and when something is missing."""

    position: Position
    given: list[Publication] = dataclasses.field(default_factory=list)
    """Since it was told last."""
    began_at: Position = BEGINNING
    """Where it stood when it was told last, or came."""
    seen: set[Position] = dataclasses.field(default_factory=set)
    """All that it was ever given."""
    catch_up: CatchUp | None = None
    answer: Page | None = None
    """What the engine has read, and is on its way."""
    read_twice: bool = False
    told: int = 0

    def take(self, each: Publication) -> None:
        assert each.position not in self.seen, "given twice"
        self.seen.add(each.position)
        self.given.append(each)
        self.position = each.position

    def hear(self, each: Publication) -> None:
        if self.catch_up is not None:
            self.catch_up.live(each)
            return
        where = place(self.position, each)
        if where is Place.NEXT:
            self.take(each)
        elif where is Place.BEYOND:
            self.begin()
            self.hear(each)

    def begin(self) -> None:
        self.catch_up, self.answer, self.read_twice = CatchUp(self.position), None, False

    def finish(self) -> None:
        assert self.catch_up is not None
        assert self.answer is not None
        if self.catch_up.is_torn(self.answer) and not self.read_twice:
            self.answer, self.read_twice = None, True
            return
        recovery = self.catch_up.finish(self.answer)
        self.catch_up = self.answer = None
        if recovery.recovered:
            for each in recovery.publications:
                self.take(each)
            self.position = recovery.position  # the epoch, for one that knew none
        else:
            assert recovery.publications == ()
            self.told += 1
            self.given.clear()
            self.position = self.began_at = recovery.position


class Interleavings(RuleBasedStateMachine):
    """A stream that grows, is trimmed and begins anew; a carrier that loses, doubles, delays and reorders."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self.published: list[Publication] = []
        """Of this epoch."""
        self.stored = 0
        """From which of them on."""
        self.ever: dict[Position, Publication] = {}
        self.on_the_way: list[Publication] = []
        self.subscriber = Subscriber(BEGINNING)

    @property
    def top(self) -> Position:
        return Position(f"e{self.epoch}", len(self.published))

    @initialize(published=st.integers(0, 5), trimmed=st.integers(0, 5), at=st.integers(0, 6), known=st.booleans())
    def come(self, published: int, trimmed: int, at: int, known: bool) -> None:
        """Let the subscriber come, with a position of before or none."""
        for _ in range(published):
            self.publish()
        self.on_the_way.clear()
        self.trim(trimmed)
        position = Position(self.top.epoch if known else "", at)
        self.subscriber = Subscriber(position, began_at=position)
        self.subscriber.begin()

    @rule()
    def publish(self) -> None:
        offset = len(self.published) + 1
        each = publication(offset, self.top.epoch, b"%d of %d" % (offset, self.epoch))
        self.published.append(each)
        self.ever[each.position] = each
        self.on_the_way.append(each)

    @rule(count=st.integers(1, 3))
    def trim(self, count: int) -> None:
        self.stored = min(self.stored + count, len(self.published))

    @rule()
    def begin_anew(self) -> None:
        self.epoch += 1
        self.published, self.stored = [], 0

    @precondition(lambda self: self.on_the_way)
    @rule(which=st.integers(0, 3), again=st.booleans())
    def arrive(self, which: int, again: bool) -> None:
        which %= len(self.on_the_way)
        each = self.on_the_way[which]
        if not again:
            del self.on_the_way[which]
        self.subscriber.hear(each)

    @precondition(lambda self: self.on_the_way)
    @rule(which=st.integers(0, 3))
    def lose(self, which: int) -> None:
        del self.on_the_way[which % len(self.on_the_way)]

    @precondition(lambda self: self.subscriber.catch_up is not None and self.subscriber.answer is None)
    @rule()
    def read(self) -> None:
        """Let the engine read what is behind the position."""
        assert self.subscriber.catch_up is not None
        since = self.subscriber.catch_up.since
        assert since is not None
        behind = [each for each in self.published[self.stored :] if each.offset > since.offset]
        self.subscriber.answer = Page(tuple(behind), self.top)

    @precondition(lambda self: self.subscriber.answer is not None)
    @rule()
    def answer(self) -> None:
        self.subscriber.finish()

    @precondition(lambda self: self.subscriber.catch_up is None)
    @rule()
    def check(self) -> None:
        if self.subscriber.position != self.top:
            self.subscriber.begin()

    @invariant()
    def it_was_given_what_comes_next_and_nothing_else(self) -> None:
        subscriber = self.subscriber
        assert subscriber.given == [self.ever[each.position] for each in subscriber.given]
        first = subscriber.began_at.offset + 1
        assert [each.offset for each in subscriber.given] == list(range(first, first + len(subscriber.given)))
        assert len({each.epoch for each in subscriber.given}) <= 1
        if subscriber.given:
            assert subscriber.began_at.epoch in ("", subscriber.given[0].epoch)
            assert subscriber.position == subscriber.given[-1].position

    def teardown(self) -> None:
        """In the end it stands where the stream does, and was given everything, or was told."""
        subscriber = self.subscriber
        for _ in range(4):
            if subscriber.catch_up is None:
                self.check()
            while subscriber.catch_up is not None:
                if subscriber.answer is None:
                    self.read()
                self.answer()
        assert subscriber.position == self.top
        self.it_was_given_what_comes_next_and_nothing_else()
        if not subscriber.told:
            assert subscriber.began_at.epoch in ("", self.top.epoch)
            assert subscriber.given == self.published[subscriber.began_at.offset :]


def test_whatever_comes_when_nothing_is_left_out_or_given_twice_without_a_word() -> None:
    run_state_machine_as_test(Interleavings, settings=settings(max_examples=300, stateful_step_count=40))


well_behaved = st.lists(st.sampled_from(["publish", "arrive", "read", "answer"]), max_size=40)


@given(well_behaved, st.integers(0, 4), st.data())
def test_where_nothing_is_lost_nobody_is_told_of_a_gap(plan: list[str], published: int, data: Any) -> None:
    world = Interleavings()
    world.come(published, 0, data.draw(st.integers(0, published)), known=data.draw(st.booleans()))
    subscriber = world.subscriber
    for step in [*plan, "read", "answer", *["arrive"] * (published + len(plan))]:
        if step == "publish":
            world.publish()
        elif step == "arrive" and world.on_the_way:
            world.arrive(0, again=False)
        elif step == "read" and subscriber.catch_up is not None and subscriber.answer is None:
            world.read()
        elif step == "answer" and subscriber.answer is not None:
            world.answer()
    assert (subscriber.told, subscriber.catch_up, subscriber.position) == (0, None, world.top)
    assert subscriber.given == world.published[subscriber.began_at.offset :]
