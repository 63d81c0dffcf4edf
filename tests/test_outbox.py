"""The outbox against a model that keeps a plain list."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon.outbox import Outbox


class OutboxMachine(RuleBasedStateMachine):
    @initialize(limit=st.integers(0, 50))
    def begin(self, limit: int) -> None:
        self.outbox: Outbox[int] = Outbox(limit)
        self.limit = limit
        self.model: list[tuple[int, int]] = []
        self.next = 0

    @rule(size=st.integers(0, 70))
    def put(self, size: int) -> None:
        fits = not self.model or sum(held for _, held in self.model) + size <= self.limit
        assert self.outbox.put(self.next, size) is fits
        if fits:
            self.model.append((self.next, size))
        self.next += 1

    @precondition(lambda self: self.model)
    @rule()
    def take(self) -> None:
        assert self.outbox.take() == self.model.pop(0)[0]

    @precondition(lambda self: not self.model)
    @rule()
    def take_from_nothing(self) -> None:
        with pytest.raises(IndexError):
            self.outbox.take()

    @rule()
    def clear(self) -> None:
        assert self.outbox.clear() == sum(size for _, size in self.model)
        self.model.clear()

    @invariant()
    def counts_and_bound_hold(self) -> None:
        if not hasattr(self, "outbox"):
            return
        assert len(self.outbox) == len(self.model)
        assert self.outbox.size == sum(size for _, size in self.model)
        assert self.outbox.size <= self.limit or len(self.model) == 1


TestOutbox = OutboxMachine.TestCase


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
