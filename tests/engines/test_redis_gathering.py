"""What was heard is told in order: at once, or together with what comes while this process publishes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.engines.redis import gathering as module
from antiphon.engines.redis.gathering import Gathering


class Teller:
    """Notes what it is told, and in which parts: a part is what one round of the loop told."""

    def __init__(self) -> None:
        self.parts: list[list[bytes]] = []
        self.on_told: Callable[[bytes], None] = lambda message: None
        self.gathering = Gathering(self)
        self._is_open = False

    def __call__(self, channel: bytes, message: bytes) -> None:
        if not self._is_open:
            self._is_open = True
            self.parts.append([])
            asyncio.get_running_loop().call_soon(self._close)
        self.parts[-1].append(message)
        self.on_told(message)

    def _close(self) -> None:
        self._is_open = False

    @property
    def told(self) -> list[bytes]:
        return [message for part in self.parts for message in part]

    def hear(self, *messages: bytes, channel: bytes = b"g") -> None:
        for message in messages:
            self.gathering.hear(channel, message)


@pytest.fixture
async def teller(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One whose patience is the longest, and so long that only an answer ends it."""
    monkeypatch.setattr(module, "LONGEST", 3600.0)
    monkeypatch.setattr(module, "PATIENCE", 1e12)
    teller = Teller()
    await taught(teller)
    yield teller
    teller.gathering.stop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is for the module."""
    now = [1000.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def publishing(teller: Teller) -> tuple[asyncio.Future[str], asyncio.Task[str]]:
    """Begin to publish something; the future is for its answer."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return answer, asyncio.create_task(teller.gathering.until(answer))


async def rounds(count: int = 3) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def taught(teller: Teller) -> None:
    """Let it find out how long telling takes."""
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"first")
    answer.set_result("")
    await task
    await rounds()
    assert teller.told == [b"first"]
    teller.parts.clear()


async def test_who_publishes_nothing_is_told_at_once(teller: Teller) -> None:
    teller.hear(b"1")
    assert teller.told == [b"1"]
    teller.hear(b"2")
    assert teller.told == [b"1", b"2"]


async def test_what_comes_while_it_publishes_waits_for_the_answer(teller: Teller) -> None:
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"1", b"2")
    await rounds()
    assert teller.told == []
    answer.set_result("position")
    assert await task == "position"
    await rounds()
    assert teller.parts == [[b"1", b"2"]]


async def test_what_is_published_one_after_another_is_told_together(teller: Teller) -> None:
    answers: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in range(4)]

    async def consumer() -> None:
        for answer in answers:
            await teller.gathering.until(answer)

    task = asyncio.create_task(consumer())
    for number, answer in enumerate(answers):
        await rounds()
        teller.hear(b"%d" % number)
        answer.set_result(None)
    await task
    await rounds()
    assert teller.parts == [[b"0", b"1", b"2", b"3"]]


async def test_an_answer_before_its_message_is_no_reason_to_wait(teller: Teller) -> None:
    answer, task = publishing(teller)
    answer.set_result("")
    await task
    teller.hear(b"1")
    assert teller.told == [b"1"]


async def test_what_comes_behind_what_waits_does_not_overtake_it(teller: Teller) -> None:
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"1")
    answer.set_result("")
    await task  # nobody publishes any more, and the first one has yet to be told
    teller.hear(b"2")
    await rounds()
    assert teller.parts == [[b"1", b"2"]]


async def test_a_call_that_fails_or_is_given_up_ends_the_waiting(teller: Teller) -> None:
    failing, failed = publishing(teller)
    _, cancelled = publishing(teller)
    await rounds()
    teller.hear(b"1")
    failing.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await failed
    await rounds()
    assert teller.told == []
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await rounds()
    assert teller.told == [b"1"]


async def test_nothing_waits_before_it_is_known_how_long_telling_takes() -> None:
    teller = Teller()
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"1")
    assert teller.told == [b"1"]
    answer.set_result("")
    await task


async def test_patience_is_a_multiple_of_what_telling_took(clock: list[float]) -> None:
    teller = Teller()

    def writes(message: bytes) -> None:
        """Takes 2 ms, as the hub's tick does behind it."""
        asyncio.get_running_loop().call_soon(lambda: clock.__setitem__(0, clock[0] + 0.002))

    teller.on_told = writes
    await taught(teller)
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"1")
    clock[0] += 0.002 * module.PATIENCE - 0.0001
    teller.hear(b"2")
    assert teller.told == []
    clock[0] += 0.0002
    teller.hear(b"3")
    assert teller.told == [b"1", b"2", b"3"]
    answer.set_result("")
    await task


async def test_patience_has_an_end(clock: list[float]) -> None:
    teller = Teller()
    teller.on_told = lambda message: clock.__setitem__(0, clock[0] + 60)
    await taught(teller)
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"1")
    clock[0] += module.LONGEST
    teller.hear(b"2")
    assert teller.told == [b"1", b"2"]
    answer.set_result("")
    await task


async def test_patience_ends_though_nothing_else_comes() -> None:
    teller = Teller()
    told = asyncio.Event()
    await taught(teller)
    answer, task = publishing(teller)
    await rounds()
    teller.on_told = lambda message: told.set()
    teller.hear(b"1")
    await told.wait()  # Redis never answers
    assert teller.told == [b"1"]
    answer.set_result("")
    await task


async def test_a_timer_of_earlier_messages_does_not_end_the_patience_of_later_ones(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = Teller()
    teller.on_told = lambda message: clock.__setitem__(0, clock[0] + 60)
    await taught(teller)
    answer, task = publishing(teller)
    await rounds()
    rung = asyncio.Event()
    ring = teller.gathering._ring

    def heard_ring() -> None:
        ring()
        rung.set()

    monkeypatch.setattr(teller.gathering, "_ring", heard_ring)
    teller.hear(b"1")  # this sets the timer
    teller.gathering.tell_all()
    teller.hear(b"2")  # and this finds it set; for it, no time has gone by
    await rung.wait()
    assert teller.told == [b"1"]
    clock[0] += module.LONGEST
    teller.hear(b"3")
    assert teller.told == [b"1", b"2", b"3"]
    answer.set_result("")
    await task
    teller.gathering.stop()


async def test_no_more_than_so_many_bytes_wait(teller: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"12345", b"67890")
    assert teller.told == []
    teller.hear(b"1")
    assert teller.parts == [[b"12345", b"67890", b"1"]]
    teller.hear(b"2")
    assert b"2" not in teller.told
    answer.set_result("")
    await task
    await rounds()
    assert b"2" in teller.told


async def test_what_can_not_be_told_does_not_stop_what_comes_behind_it(
    teller: Teller, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(message: bytes) -> None:
        if message == b"broken":
            raise ValueError(message)

    teller.on_told = fail
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"broken", b"1")
    answer.set_result("")
    await task
    with caplog.at_level(logging.ERROR):
        await rounds()
    assert teller.told == [b"broken", b"1"]
    assert [record.message for record in caplog.records] == ["what Redis published could not be told: b'broken'"]


async def test_of_a_channel_that_is_forgotten_nothing_is_told(teller: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"12345678", channel=b"other")
    teller.hear(b"1", channel=b"g")
    teller.gathering.forget(b"other")
    teller.hear(b"2345678", channel=b"g")  # with what is forgotten it would be too much
    assert teller.told == []
    answer.set_result("")
    await task
    await rounds()
    assert teller.told == [b"1", b"2345678"]


async def test_when_it_has_stopped_nothing_is_told(teller: Teller) -> None:
    answer, task = publishing(teller)
    await rounds()
    teller.hear(b"1")
    teller.gathering.stop()
    answer.set_result("")
    await task
    await rounds()
    assert teller.told == []
