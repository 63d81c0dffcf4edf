"""Those who wait for the messages of general channels, and how much room there is."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from antiphon.counters import Counters
from antiphon.engines.jobs import RETRY, Job, Room, Takers, tell_expired
from antiphon.events import make_event
from antiphon.exceptions import EngineUnavailable

from ..fakes import on_jumping_loop, settled


def job(number: int) -> Job:
    return Job(make_event({"type": "note", "n": number}), 0.0)


class Queue:
    """A queue that is asked, and answers when it is let."""

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.asked = 0
        self.fault: Exception | None = None
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.takers = Takers(self.ask, self.give_back)

    async def ask(self, channel: str) -> Job | None:
        self.asked += 1
        found = self.waiting.popleft() if self.waiting and self.fault is None else None
        await self.is_open.wait()
        if self.fault is not None:
            raise self.fault
        return found

    def give_back(self, channel: str, job: Job) -> None:
        self.waiting.appendleft(job)
        self.takers.ring(channel)

    def put(self, *numbers: int) -> None:
        self.waiting.extend(map(job, numbers))
        self.takers.ring("a")

    def taking(self) -> asyncio.Task[Job]:
        return asyncio.create_task(self.takers.take("a"))


async def end(*tasks: asyncio.Task[Job]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@on_jumping_loop
async def test_who_finds_nothing_asks_again_when_it_is_told_and_not_before() -> None:
    queue = Queue()
    taking = queue.taking()
    await asyncio.sleep(1000)
    assert queue.asked == 1
    queue.takers.ring("b")
    await settled()
    assert queue.asked == 1
    queue.put(1)
    assert (await taking).event.content["n"] == 1
    assert queue.takers.channels == []


@on_jumping_loop
async def test_a_word_that_comes_while_it_asks_is_not_missed() -> None:
    queue = Queue()
    queue.is_open.clear()
    taking = queue.taking()
    await settled()
    queue.put(1)
    queue.is_open.set()
    assert (await taking).event.content["n"] == 1


@on_jumping_loop
async def test_one_asks_at_a_time_in_the_order_in_which_they_came() -> None:
    queue = Queue()
    first, second, third = (queue.taking() for _ in range(3))
    await settled()
    assert (queue.asked, queue.takers.channels) == (1, ["a"])
    await end(second)
    queue.put(1, 2)
    found = await asyncio.gather(first, third)
    assert [each.event.content["n"] for each in found] == [1, 2]


@on_jumping_loop
async def test_what_was_taken_for_one_that_has_gone_is_given_back() -> None:
    queue = Queue()
    queue.put(1)
    queue.is_open.clear()
    taking = queue.taking()
    await settled()
    assert not queue.waiting
    await end(taking)
    other = queue.taking()
    queue.is_open.set()
    assert (await other).event.content["n"] == 1


@on_jumping_loop
async def test_while_the_engine_is_away_it_is_asked_from_time_to_time() -> None:
    queue = Queue()
    queue.fault = EngineUnavailable("away")
    taking = queue.taking()
    await asyncio.sleep(RETRY * 9.5)
    assert queue.asked == 10
    queue.fault = None
    queue.put(1)
    assert (await taking).event.content["n"] == 1


@on_jumping_loop
async def test_after_the_end_nobody_asks_and_what_is_being_taken_is_waited_for() -> None:
    queue = Queue()
    queue.put(1)
    queue.is_open.clear()
    taking, other = queue.taking(), queue.taking()
    await settled()
    asyncio.get_running_loop().call_later(0.5, queue.is_open.set)
    await queue.takers.stop(1.0)
    assert (await taking).event.content["n"] == 1
    await asyncio.sleep(1000)
    assert (queue.asked, other.done()) == (1, False)
    await end(other)


@on_jumping_loop
async def test_the_end_waits_no_longer_than_it_is_told() -> None:
    queue = Queue()
    queue.is_open.clear()
    taking = queue.taking()
    await settled()
    before = asyncio.get_running_loop().time()
    await queue.takers.stop(1.0)
    assert asyncio.get_running_loop().time() - before == 1.0
    await settled()
    assert not taking.done()
    await end(taking)


@pytest.mark.parametrize(
    ("room", "messages", "bytes", "more", "fits"),
    [
        (Room(None, 10), 0, 0, 100, True),
        (Room(None, 10), 1, 5, 5, True),
        (Room(None, 10), 1, 5, 6, False),
        (Room(2, 10), 1, 1, 1, True),
        (Room(2, 10), 2, 1, 1, False),
        (Room(0, 10), 0, 0, 1, False),
    ],
)
def test_room(room: Room, messages: int, bytes: int, more: int, fits: bool) -> None:
    assert room.is_left(messages, bytes, more) == fits


def test_a_refusal_says_of_what_there_was_too_much() -> None:
    assert "has 2 messages that nobody has taken, its capacity" in str(Room(2, 10).refusal("a", 2, 5))
    assert "has 9 bytes in 1 messages that nobody has taken, of mailbox_limit" in str(Room(2, 10).refusal("a", 1, 9))


def test_what_has_expired_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    tell_expired(counters, "a", 0)
    tell_expired(counters, "a", 3)
    assert counters.channel_messages_expired == 3
    assert [record.getMessage() for record in caplog.records] == [
        "channel a: nobody took 3 messages within their expiry; they were dropped"
    ]
