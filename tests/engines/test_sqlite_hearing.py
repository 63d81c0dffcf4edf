"""What a process is told: in order, once, and what was missed."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from antiphon.counters import Counters
from antiphon.engines.sqlite.frames import Controlled, Directed, Item, Joined, Left, Published, Sent, Told
from antiphon.engines.sqlite.hearing import Hearing
from antiphon.events import make_event
from antiphon.types import ClientInfo, Page, Position, Publication

from .contract import Heard

EVENT = make_event({"type": "note", "n": 1})


class Losing(Heard):
    """Hears also that something was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 0

    def on_continuity_lost(self) -> None:
        self.losses += 1


class Ear:
    """A hearing and what it told."""

    def __init__(self) -> None:
        self.heard = Losing()
        self.counters = Counters()
        self.hearing = Hearing(self.heard, {"here", "token"}, self.counters)

    def subscribe(self, group: str = "a", top: int = 0, epoch: str = "e") -> None:
        self.hearing.ready(group, self.hearing.begin(group, None), Position(epoch, top))

    def take(self, *offsets: int, seq: int = 0, sender: str = "other", epoch: str = "e") -> None:
        items: list[Item] = [Published("a", publication(offset, epoch)) for offset in offsets]
        self.hearing.take(sender, Told(seq, items))

    def offsets(self) -> list[int]:
        return self.heard.offsets("a")


def publication(offset: int, epoch: str = "e") -> Publication:
    return Publication(b"1", epoch, offset, 1.0)


def page(top: int, *offsets: int, epoch: str = "e") -> dict[str, Page]:
    return {"a": Page(tuple(publication(offset, epoch) for offset in offsets), Position(epoch, top))}


@pytest.fixture
def ear() -> Ear:
    return Ear()


def test_who_is_subscribed_is_told_each_once(ear: Ear) -> None:
    ear.take(1)
    ear.subscribe(top=1)
    ear.take(1, 2)
    ear.take(2, 3)
    assert (ear.offsets(), ear.heard.losses) == ([2, 3], 0)


def test_what_comes_before_the_top_is_known_waits_for_it(ear: Ear) -> None:
    interest = ear.hearing.begin("a", None)
    ear.take(1, 2, 3)
    assert ear.offsets() == []
    ear.hearing.ready("a", interest, Position("e", 2))
    assert ear.offsets() == [3]


def test_to_subscribe_twice_is_to_go_on(ear: Ear) -> None:
    ear.subscribe()
    ear.take(1)
    ear.subscribe(top=7)
    ear.take(2)
    assert ear.offsets() == [1, 2]


def test_who_left_while_it_subscribed_is_told_nothing(ear: Ear) -> None:
    interest = ear.hearing.begin("a", None)
    assert ear.hearing.end("a")
    ear.take(1)
    ear.hearing.ready("a", interest, Position("e", 0))
    ear.take(2)
    assert ear.offsets() == []
    assert not ear.hearing.end("a", interest)


def test_everything_else_is_told_to_whom_it_concerns(ear: Ear) -> None:
    info = ClientInfo("ann", "1")
    items: list[Item] = [Joined("a", info), Sent("a", EVENT.packed), Left("a", info)]
    ear.hearing.take("other", Told(0, items))
    assert len(ear.heard) == 0
    ear.subscribe()
    ear.hearing.take("other", Told(0, items))
    assert ear.heard.order == ["join", "event", "leave"]
    assert ear.heard.events[0][1].content == EVENT.content
    channels = {"specific.here!x": "here", "specific.there!x": "there", "thumbnails": "token"}
    ear.hearing.take("other", Told(0, [Directed(channel, EVENT.packed, name) for channel, name in channels.items()]))
    assert [channel for channel, _ in ear.heard.direct] == ["specific.here!x", "thumbnails"]
    ear.hearing.take("other", Told(0, [Controlled(b"order")]))
    assert ear.heard.controls == [b"order"]


def test_publications_of_several_processes_are_told_in_the_order_of_their_transactions(ear: Ear) -> None:
    ear.subscribe()
    ear.take(2, seq=2, sender="first")
    ear.take(3, 4, seq=3, sender="second")
    ear.take(1, seq=1, sender="third")
    assert ear.offsets() == [1, 2, 3, 4]


def test_what_was_read_is_told_as_far_as_it_is_next(ear: Ear) -> None:
    ear.subscribe(top=1)
    ear.hearing.apply(page(5, 2, 3, 5))
    assert (ear.offsets(), ear.heard.losses) == ([2, 3], 0)
    ear.take(3, 4, 5)
    assert ear.offsets() == [2, 3, 4, 5]


def test_what_is_not_there_either_is_lost_and_counted(ear: Ear) -> None:
    ear.subscribe(top=1)
    ear.hearing.apply(page(9, 2, 3))
    ear.hearing.give_up(0, {"a": Position("e", 9), "b": Position("e", 9)})
    assert (ear.offsets(), ear.counters.engine_publications_missed, ear.heard.losses) == ([2, 3], 6, 1)
    ear.take(9, 10)
    assert (ear.offsets(), ear.heard.losses) == ([2, 3, 10], 1)


def test_to_give_up_tells_first_what_waits_behind_what_is_missing(ear: Ear) -> None:
    ear.subscribe()
    ear.take(2, 3, seq=2)
    ear.take(4, seq=3)
    ear.hearing.apply(page(4, 1))
    ear.hearing.give_up(1, {"a": Position("e", 4)})
    assert (ear.offsets(), ear.heard.losses) == ([1, 2, 3, 4], 0)


def test_a_new_epoch_goes_on_from_its_first(ear: Ear) -> None:
    ear.subscribe(top=7)
    ear.take(1, epoch="f")
    ear.hearing.apply(page(3, 1, 2, 3, epoch="f"))
    assert (ear.offsets(), ear.heard.losses) == ([1, 2, 3], 0)


def test_a_new_epoch_of_which_the_beginning_is_gone_is_a_loss(ear: Ear) -> None:
    ear.subscribe(top=7)
    ear.take(3, epoch="f")
    assert (ear.offsets(), ear.counters.engine_publications_missed, ear.heard.losses) == ([3], 2, 1)


def test_what_was_skipped_and_leaves_a_hole_is_a_loss(ear: Ear) -> None:
    ear.subscribe()
    ear.take(2, seq=2)
    ear.hearing.skip(1)
    assert (ear.offsets(), ear.counters.engine_publications_missed, ear.heard.losses) == ([2], 1, 1)


def test_a_page_of_a_group_that_was_left_is_nothing(ear: Ear) -> None:
    ear.hearing.begin("b", None)
    ear.hearing.apply(page(3, 1, 2, 3))
    ear.hearing.give_up(0, {"a": Position("e", 3), "b": Position("e", 3)})
    assert ear.offsets() == []


def test_after_stop_nothing_is_told(ear: Ear) -> None:
    ear.subscribe()
    ear.hearing.stop()
    ear.take(1)
    ear.hearing.take("other", Told(0, [Controlled(b"order")]))
    ear.hearing.lost(1)
    assert (len(ear.heard), ear.heard.losses) == (0, 0)


def test_one_that_can_not_be_taken_does_not_stop_the_others(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    ear.subscribe()

    def fail(*arguments: Any) -> None:
        raise RuntimeError("a fault of the hub")

    ear.heard.on_event = fail  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.ERROR, "antiphon.engines"):
        ear.hearing.take("other", Told(0, [Sent("a", EVENT.packed), Published("a", publication(1))]))
    assert ear.offsets() == [1]
    assert "could not be taken" in caplog.text
