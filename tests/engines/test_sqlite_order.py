"""The order of transactions, whatever order they arrive in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.sqlite.frames import Told
from antiphon.engines.sqlite.order import Order


def seqs(ready: list[Told]) -> list[int]:
    return [told.seq for told in ready]


def test_what_comes_in_order_is_told_at_once() -> None:
    order = Order(5)
    assert [seqs(order.put(sender, Told(seq, []))) for seq, sender in ((5, "a"), (6, "b"), (7, "a"))] == [[5], [6], [7]]


def test_what_comes_too_early_waits_for_what_is_before_it() -> None:
    order = Order(1)
    assert seqs(order.put("a", Told(2, []))) == []
    assert order.first_waiting() == 2
    assert seqs(order.put("b", Told(1, []))) == [1, 2]
    assert (order.first_waiting(), len(order)) == (0, 0)


def test_what_has_no_number_waits_for_what_the_same_process_told_before_and_for_nothing_else() -> None:
    order = Order(1)
    order.put("a", Told(2, []))
    event = Told(0, [])
    assert order.put("a", event) == []
    assert order.put("b", event) == [event]
    assert seqs(order.put("b", Told(1, []))) == [1, 2, 0]


def test_what_was_given_up_and_comes_late_is_told_when_it_comes() -> None:
    order = Order(1)
    order.put("a", Told(3, []))
    assert seqs(order.skip(2)) == [3]
    assert seqs(order.put("b", Told(1, []))) == [1]
    assert order.next == 4


def test_what_waited_for_what_is_given_up_is_told_in_order_whoever_told_it() -> None:
    order = Order(1)
    for sender, seq in (("a", 3), ("a", 6), ("b", 4), ("c", 2), ("c", 8)):
        order.put(sender, Told(seq, []))
    assert seqs(order.skip(6)) == [2, 3, 4, 6]
    assert order.next == 7


def test_to_skip_what_came_changes_nothing() -> None:
    order = Order(9)
    assert order.skip(3) == []
    assert order.next == 9


def test_a_new_beginning_tells_what_waited() -> None:
    order = Order(1)
    order.put("a", Told(5, []))
    assert seqs(order.restart(2)) == [5]
    assert (order.next, len(order)) == (2, 0)


@given(st.lists(st.integers(0, 3), max_size=40), st.randoms(use_true_random=False))
def test_each_is_told_once_in_order_however_the_streams_are_mixed(plan: list[int], chance: object) -> None:
    streams: dict[int, list[Told]] = {0: [], 1: [], 2: [], 3: []}
    for seq, sender in enumerate(plan, 1):
        streams[sender].append(Told(seq, []))
        if seq % 3 == 0:
            streams[sender].append(Told(0, []))
    order, told = Order(1), []
    while any(streams.values()):
        sender = chance.choice([each for each, waiting in streams.items() if waiting])  # type: ignore[attr-defined]
        told += order.put(sender, streams[sender].pop(0))
    assert [each.seq for each in told if each.seq] == list(range(1, len(plan) + 1))
    assert len(told) == len(plan) + len(plan) // 3
    assert len(order) == 0
