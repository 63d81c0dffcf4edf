"""General channels, case by case, on every engine whose processes share them (``contract``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from antiphon.engines.jobs import Job, Room
from antiphon.events import make_event
from antiphon.exceptions import ChannelFull
from antiphon.types import Event

from .contract import KINDS, Process, World, on_every_engine

PLENTY = Room(None, 1_000_000)


@pytest.fixture(params=[kind for kind in KINDS if kind.shared], ids=lambda kind: kind.name)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(request.param, lambda: tmp_path_factory.mktemp("engine"))


def event(number: int, text: str = "") -> Event:
    return make_event({"type": "resize", "number": number, "text": text, "deep": {"a": [1, None, "ü"]}})


async def put(process: Process, *numbers: int, channel: str = "thumbnails", expiry: float = 1000) -> None:
    for number in numbers:
        await process.engine.put(channel, event(number), expiry, PLENTY)


async def number_of(taking: Awaitable[Job]) -> Any:
    async with asyncio.timeout(30):
        return (await taking).event.content["number"]


async def taken(process: Process, count: int, channel: str = "thumbnails") -> list[Any]:
    """Take so many messages, one after another."""
    return [await number_of(process.engine.take(channel)) for _ in range(count)]


async def is_empty(world: World, process: Process, channel: str = "thumbnails") -> bool:
    """Tell whether there is nothing to take."""
    taking = asyncio.create_task(process.engine.take(channel))
    await world.settled()
    found = taking.done()
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    return not found


async def cancelled(taking: asyncio.Task[Any]) -> None:
    taking.cancel()
    assert isinstance((await asyncio.gather(taking, return_exceptions=True))[0], asyncio.CancelledError)


@on_every_engine
async def test_what_one_process_puts_another_takes_once_and_in_order(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    await put(sender, 1, 2, 3)
    assert await taken(reader, 3) == [1, 2, 3]
    assert await is_empty(shared, reader)
    assert await is_empty(shared, sender)


@on_every_engine
async def test_it_is_taken_as_it_was_put(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    await sender.engine.put("thumbnails", event(1, "ü\n"), 1000, PLENTY)
    job = await reader.engine.take("thumbnails")
    assert (job.event.content, job.event.packed) == (event(1, "ü\n").content, event(1, "ü\n").packed)


@pytest.mark.parametrize("here", [True, False], ids=["the same process", "another"])
@on_every_engine
async def test_who_waits_is_told_of_what_comes(shared: World, here: bool) -> None:
    sender, reader = await shared.process(), await shared.process()
    reader = sender if here else reader
    for number in range(3):
        taking = asyncio.create_task(number_of(reader.engine.take("thumbnails")))
        await shared.settled()
        assert not taking.done()
        await put(sender, number)
        assert await taking == number


@on_every_engine
async def test_each_message_is_taken_by_one_of_many_who_wait(shared: World) -> None:
    processes = [await shared.process() for _ in range(3)]
    readers = [asyncio.create_task(taken(process, 1)) for process in processes for _ in range(4)]
    await shared.settled()
    await asyncio.gather(*(put(process, *range(n * 4, n * 4 + 4)) for n, process in enumerate(processes)))
    found = await asyncio.gather(*readers)
    assert sorted(number for numbers in found for number in numbers) == list(range(12))


@on_every_engine
async def test_the_readers_of_a_process_are_served_in_their_order(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    readers = []
    for _ in range(3):
        readers.append(asyncio.create_task(number_of(reader.engine.take("thumbnails"))))
        await asyncio.sleep(0)
    await put(sender, 1, 2, 3)
    assert await asyncio.gather(*readers) == [1, 2, 3]


@on_every_engine
async def test_each_channel_is_one_of_its_own(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    names = ["a", "A", "a.b", "a-b", "x" * 99]
    for number, name in enumerate(names):
        await put(sender, number, channel=name)
    for number, name in reversed(list(enumerate(names))):
        assert await taken(reader, 1, name) == [number]
        assert await is_empty(shared, reader, name)


@on_every_engine
async def test_over_the_capacity_the_sender_is_told_and_nothing_has_happened(shared: World) -> None:
    sender, other = await shared.process(), await shared.process()
    await sender.engine.put("thumbnails", event(1), 1000, Room(2, 1000))
    await other.engine.put("thumbnails", event(2), 1000, Room(2, 1000))
    for process in (sender, other):
        with pytest.raises(ChannelFull, match=r"channel thumbnails has 2 messages that nobody has taken, its capacity"):
            await process.engine.put("thumbnails", event(3), 1000, Room(2, 1000))
    await sender.engine.put("previews", event(4), 1000, Room(1, 1000))
    assert await taken(other, 1) == [1]
    await sender.engine.put("thumbnails", event(5), 1000, Room(2, 1000))
    assert await taken(other, 2) == [2, 5]


@on_every_engine
async def test_over_the_bytes_the_sender_is_told_and_one_that_is_larger_fits_alone(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    for _ in range(2):  # what is taken is forgotten
        await sender.engine.put("thumbnails", event(1, "x" * 5000), 1000, Room(None, 1000))
        with pytest.raises(ChannelFull, match=r"has 5\d\d\d bytes in 1 messages .* mailbox_limit"):
            await sender.engine.put("thumbnails", event(2), 1000, Room(None, 1000))
        assert await taken(reader, 1) == [1]
        for number in (3, 4):
            await sender.engine.put("thumbnails", event(number, "x" * 300), 1000, Room(None, 1000))
        with pytest.raises(ChannelFull):
            await sender.engine.put("thumbnails", event(5, "x" * 300), 1000, Room(None, 1000))
        assert await taken(reader, 2) == [3, 4]


@on_every_engine
async def test_each_message_waits_for_its_own_time(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    unit = shared.kind.unit
    await put(sender, 1, expiry=100 * unit)
    await put(sender, 2, expiry=300 * unit)
    await put(sender, 3, expiry=100 * unit)
    await put(sender, 4, expiry=300 * unit)
    await shared.pass_time(150)
    assert await taken(reader, 2) == [2, 4]
    assert await is_empty(shared, reader)


@on_every_engine
async def test_what_expires_makes_room_and_is_counted_by_who_finds_it(
    shared: World, caplog: pytest.LogCaptureFixture
) -> None:
    sender = await shared.process()
    unit = shared.kind.unit
    for _ in range(2):
        await sender.engine.put("thumbnails", event(1), 100 * unit, Room(1, 1000))
        await shared.pass_time(150)
    await sender.engine.put("thumbnails", event(2), 100 * unit, Room(1, 1000))
    counters = sender.engine._counters  # type: ignore[attr-defined]
    assert counters.channel_messages_expired == 2
    assert caplog.text.count("channel thumbnails: nobody took 1 messages within their expiry") == 2


@on_every_engine
async def test_a_reader_that_is_cancelled_while_it_waits_takes_nothing(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    taking = asyncio.create_task(reader.engine.take("thumbnails"))
    await shared.settled()
    await cancelled(taking)
    await put(sender, 1)
    await shared.settled()
    assert await taken(sender, 1) == [1]


@pytest.mark.parametrize("rounds", range(6))
@on_every_engine
async def test_a_reader_that_is_cancelled_while_it_takes_takes_nothing(shared: World, rounds: int) -> None:
    sender, reader = await shared.process(), await shared.process()
    await put(sender, 1, 2, 3)
    taking = asyncio.create_task(reader.engine.take("thumbnails"))
    for _ in range(rounds):
        await asyncio.sleep(0)
    if not taking.done():
        await cancelled(taking)
        await shared.settled()
        assert await taken(sender, 3) == [1, 2, 3]


@on_every_engine
async def test_what_is_given_back_is_in_front_and_those_who_wait_are_told(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    await put(sender, 1, 2)
    job = await reader.engine.take("thumbnails")
    reader.engine.give_back("thumbnails", job)
    await shared.settled()
    assert await taken(sender, 2) == [1, 2]
    taking = asyncio.create_task(number_of(sender.engine.take("thumbnails")))
    await shared.settled()
    reader.engine.give_back("thumbnails", job)
    assert await taking == 1


@on_every_engine
async def test_what_is_given_back_expires_when_it_would_have(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    await put(sender, 1, expiry=100 * shared.kind.unit)
    job = await reader.engine.take("thumbnails")
    await shared.pass_time(50)
    reader.engine.give_back("thumbnails", job)
    await shared.pass_time(80)
    assert await is_empty(shared, reader)


@on_every_engine
async def test_many_messages(shared: World) -> None:
    sender, *readers = [await shared.process() for _ in range(3)]
    found: list[int] = []

    async def work(process: Process) -> None:
        while True:
            found.append(await number_of(process.engine.take("thumbnails")))

    working = [asyncio.create_task(work(reader)) for reader in readers]
    await asyncio.gather(*(put(sender, *range(each, 300, 10)) for each in range(10)))
    await shared.kind.until(lambda: len(found) == 300)
    for each in working:
        each.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    assert sorted(found) == list(range(300))


@on_every_engine
async def test_what_waits_outlives_the_process_that_put_it(shared: World) -> None:
    sender, reader = await shared.process(), await shared.process()
    await put(sender, 1)
    await sender.engine.stop()
    assert await taken(reader, 1) == [1]


@on_every_engine
async def test_who_waits_when_its_engine_stops_goes_on_waiting(shared: World) -> None:
    process, other = await shared.process(), await shared.process()
    taking = asyncio.create_task(process.engine.take("thumbnails"))
    await shared.settled()
    await process.engine.stop()
    await put(other, 1)
    await shared.settled()
    assert not taking.done()
    await cancelled(taking)
    assert await taken(other, 1) == [1]
