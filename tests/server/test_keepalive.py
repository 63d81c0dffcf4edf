"""Pings, on a loop whose clock jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.server.keepalive import SLOTS, Keepalive

from ..fakes import on_jumping_loop, run


class Peer:
    """A connection whose client answers pings, or does not."""

    def __init__(self, *, answers: bool = True, after: float = 0.0) -> None:
        self.awaits_pong = 0
        self.is_closing = False
        self.answers = answers
        self.after = after
        self.pings: list[float] = []
        self.ended: float | None = None
        self.ping_error: Exception | None = None

    def ping(self) -> None:
        loop = asyncio.get_running_loop()
        self.pings.append(loop.time())
        self.awaits_pong = 1
        if self.ping_error is not None:
            raise self.ping_error
        if self.answers:
            loop.call_later(self.after, self.pong)

    def pong(self) -> None:
        self.awaits_pong = 0

    def ping_unanswered(self) -> None:
        assert self.ended is None, "ended once"
        self.ended = asyncio.get_running_loop().time()
        self.is_closing = True


def end(keepalive: Keepalive, peers: list[Peer], slots: list[int]) -> None:
    for peer, slot in zip(peers, slots, strict=True):
        keepalive.remove(peer, slot)


@on_jumping_loop
async def test_every_connection_is_pinged_once_per_interval() -> None:
    keepalive = Keepalive(20.0, 10.0)
    peers = [Peer() for _ in range(3 * SLOTS)]
    slots = [keepalive.add(peer) for peer in peers]
    await asyncio.sleep(20.0 * 5 + 0.5)
    for peer in peers:
        assert len(peer.pings) == 5
        assert [later - earlier for earlier, later in zip(peer.pings, peer.pings[1:], strict=False)] == pytest.approx(
            [20.0] * 4
        )
        assert peer.ended is None
    end(keepalive, peers, slots)
    await asyncio.sleep(2)


@on_jumping_loop
async def test_connections_that_come_at_once_are_spread_over_half_an_interval_and_not_pinged_before() -> None:
    keepalive = Keepalive(20.0, 10.0)
    peers = [Peer() for _ in range(2 * SLOTS)]
    slots = [keepalive.add(peer) for peer in peers]
    start = asyncio.get_running_loop().time()
    await asyncio.sleep(20.5)
    times = [peer.pings[0] for peer in peers]
    assert all(times.count(time) == 4 for time in times)
    assert min(times) - start > 10.0
    end(keepalive, peers, slots)
    await asyncio.sleep(2)


@settings(max_examples=60)
@given(st.floats(0.5, 100), st.floats(0.1, 300), st.integers(0, 2 * SLOTS))
def test_who_does_not_answer_is_ended_when_the_timeout_is_over(interval: float, timeout: float, before: int) -> None:
    async def main() -> None:
        keepalive = Keepalive(interval, timeout)
        peers = [Peer(answers=number != before) for number in range(before + 1)]
        slots = [keepalive.add(peer) for peer in peers]
        silent = peers[-1]
        step = interval / SLOTS
        await asyncio.sleep(2 * interval + timeout + 2 * step)
        assert silent.ended is not None
        assert timeout - 1e-6 <= silent.ended - silent.pings[0] <= timeout + step + 1e-6
        assert [peer.ended for peer in peers[:-1]] == [None] * before
        end(keepalive, peers, slots)
        await asyncio.sleep(2 * step)

    run(main())


@settings(max_examples=40)
@given(st.floats(1, 50), st.floats(0.5, 100), st.floats(0, 0.99))
def test_who_answers_within_the_timeout_is_not_ended(interval: float, timeout: float, part: float) -> None:
    async def main() -> None:
        keepalive = Keepalive(interval, timeout)
        peer = Peer(after=timeout * part)
        slot = keepalive.add(peer)
        await asyncio.sleep(5 * (interval + timeout))
        assert peer.ended is None
        assert len(peer.pings) > 1
        keepalive.remove(peer, slot)
        await asyncio.sleep(interval)

    run(main())


@on_jumping_loop
async def test_without_a_timeout_nobody_is_ended() -> None:
    keepalive, peer = Keepalive(20.0, None), Peer(answers=False)
    slot = keepalive.add(peer)
    await asyncio.sleep(1000)
    assert peer.ended is None
    keepalive.remove(peer, slot)
    await asyncio.sleep(2)


@on_jumping_loop
async def test_who_was_removed_is_left_alone() -> None:
    keepalive, peers = Keepalive(20.0, 10.0), [Peer(), Peer(answers=False)]
    slots = [keepalive.add(peer) for peer in peers]
    await asyncio.sleep(3)
    end(keepalive, peers, slots)
    seen = [len(peer.pings) for peer in peers]
    await asyncio.sleep(100)
    assert [len(peer.pings) for peer in peers] == seen
    assert [peer.ended for peer in peers] == [None, None]


@on_jumping_loop
async def test_who_closes_by_itself_is_not_ended() -> None:
    keepalive, peer = Keepalive(20.0, 10.0), Peer(answers=False)
    slot = keepalive.add(peer)
    await asyncio.sleep(3)
    peer.is_closing = True
    await asyncio.sleep(100)
    assert peer.ended is None
    keepalive.remove(peer, slot)
    await asyncio.sleep(2)


@on_jumping_loop
async def test_the_timer_sleeps_while_there_are_no_connections_and_wakes_for_the_next() -> None:
    loop = asyncio.get_running_loop()
    keepalive = Keepalive(20.0, 10.0)
    scheduled: Any = loop._scheduled  # type: ignore[attr-defined]
    slot = keepalive.add(first := Peer())
    keepalive.remove(first, slot)
    await asyncio.sleep(5)
    assert not scheduled
    slot = keepalive.add(second := Peer())
    await asyncio.sleep(20.5)
    assert len(second.pings) == 1
    keepalive.remove(second, slot)
    await asyncio.sleep(2)


@pytest.mark.parametrize("fault", ["ping", "end"])
def test_a_connection_that_fails_costs_the_others_nothing(fault: str) -> None:
    async def main() -> None:
        keepalive = Keepalive(20.0, 10.0)
        peers = [Peer() for _ in range(3 * SLOTS)]
        slots = [keepalive.add(peer) for peer in peers]
        broken = peers[SLOTS]
        if fault == "ping":
            broken.ping_error = RuntimeError("unable to perform operation; the handler is closed")
        else:
            broken.answers = False

            def fail() -> None:
                raise RuntimeError("unable to perform operation; the handler is closed")

            broken.ping_unanswered = fail  # type: ignore[method-assign]
        await asyncio.sleep(100.5)
        assert {len(peer.pings) for peer in peers if peer is not broken} == {5}
        end(keepalive, peers, slots)
        await asyncio.sleep(2)

    run(main())


@on_jumping_loop
async def test_a_connection_may_leave_while_it_is_pinged() -> None:
    keepalive = Keepalive(20.0, 10.0)
    peers = [Peer() for _ in range(3 * SLOTS)]
    slots = [keepalive.add(peer) for peer in peers]
    leaver = peers[0]
    leaver.ping = lambda: keepalive.remove(leaver, slots[0])  # type: ignore[method-assign]
    await asyncio.sleep(40.5)
    assert {len(peer.pings) for peer in peers[1:]} == {2}
    end(keepalive, peers, slots)
    await asyncio.sleep(2)
