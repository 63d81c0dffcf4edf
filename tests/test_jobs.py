"""What a reader of a channel gets: of this process, and of a queue that processes share."""

from __future__ import annotations

import asyncio
import types
from collections import deque
from typing import Any

import pytest

from antiphon import app as app_module
from antiphon.app import App
from antiphon.config import Config
from antiphon.engines.jobs import Job, Room, Takers
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import ChannelFull, InvalidName
from antiphon.layer import ChannelLayer
from antiphon.types import Event

from .fakes import on_jumping_loop, settled


class SharedEngine(MemoryEngine):
    """The memory engine, as if others read its general channels too."""

    shares_channels = True

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, deque[Job]] = {}
        self.puts: list[tuple[float, Room]] = []
        self.takers = Takers(self._ask, self.give_back)

    async def put(self, channel: str, event: Event, expiry: float, room: Room) -> None:
        jobs = self.jobs.setdefault(channel, deque())
        if not room.is_left(len(jobs), 0, 1):
            raise room.refusal(channel, len(jobs), 0)
        self.puts.append((expiry, room))
        jobs.append(Job(event, 0.0))
        self.takers.ring(channel)

    async def take(self, channel: str) -> Job:
        return await self.takers.take(channel)

    async def _ask(self, channel: str) -> Job | None:
        jobs = self.jobs.get(channel)
        return jobs.popleft() if jobs else None

    def give_back(self, channel: str, job: Job) -> None:
        self.jobs[channel].appendleft(job)
        self.takers.ring(channel)


class Layer(ChannelLayer):
    expiry = 7.0
    capacity: int | None = None

    def _capacity(self, channel: str) -> int | None:
        return self.capacity


async def make_layer(monkeypatch: pytest.MonkeyPatch, **config: Any) -> tuple[App, Layer, SharedEngine]:
    engine = SharedEngine()
    monkeypatch.setattr(app_module, "open_engine", lambda url, counters: engine)
    app = App(Config(**config))
    await app.start()
    return app, Layer(app), engine


def note(number: int) -> dict[str, Any]:
    return {"type": "note", "n": number}


def on_loop(case: Any) -> Any:
    """Make a test of a case that is given a layer on a shared engine."""

    def test(monkeypatch: pytest.MonkeyPatch) -> None:
        @on_jumping_loop
        async def main() -> None:
            app, layer, engine = await make_layer(monkeypatch, mailbox_limit=4096)
            await case(types.SimpleNamespace(app=app, hub=app.hub, layer=layer, engine=engine))
            await app.stop()

        main()

    test.__name__ = case.__name__
    return test


@on_loop
async def test_what_is_sent_to_a_general_channel_is_the_engines(world: Any) -> None:
    await world.layer.send("jobs", note(1))
    assert world.hub.inboxes.find("jobs") is None
    assert world.engine.puts == [(7.0, Room(None, 4096))]
    assert (await world.layer.receive("jobs")) == note(1)


@on_loop
async def test_a_specific_channel_stays_in_its_process(world: Any) -> None:
    name = await world.layer.new_channel()
    await world.layer.send(name, note(1))
    assert (world.engine.puts, await world.layer.receive(name)) == ([], note(1))
    with pytest.raises(InvalidName):
        await world.layer.receive("specific.another!1")


@on_loop
async def test_a_full_channel_is_counted_and_told_to_the_sender(world: Any) -> None:
    world.layer.capacity = 1
    await world.layer.send("jobs", note(1))
    with pytest.raises(ChannelFull, match="has 1 messages"):
        await world.layer.send("jobs", note(2))
    assert world.app.counters.channels_full == 1


@on_loop
async def test_a_reader_gets_what_comes_from_a_group_and_what_was_sent(world: Any) -> None:
    await world.layer.group_add("room", "jobs")
    for send, where in ((world.layer.group_send, "room"), (world.layer.send, "jobs")):
        reading = asyncio.create_task(world.layer.receive("jobs"))
        await settled()
        await send(where, note(1))
        assert await reading == note(1)


@on_loop
async def test_of_what_comes_at_the_same_time_one_is_taken_and_the_other_stays(world: Any) -> None:
    await world.layer.group_add("room", "jobs")
    reading = asyncio.create_task(world.layer.receive("jobs"))
    await settled()
    await world.layer.group_send("room", note(1))
    await world.layer.send("jobs", note(2))
    found = [await reading, await world.layer.receive("jobs")]
    assert sorted(each["n"] for each in found) == [1, 2]
    await settled()
    assert not world.engine.jobs["jobs"]
    assert not world.hub.inboxes.find("jobs").messages


@on_loop
async def test_a_reader_that_is_cancelled_takes_nothing(world: Any) -> None:
    await world.layer.group_add("room", "jobs")
    for rounds in range(12):
        reading = asyncio.create_task(world.layer.receive("jobs"))
        await settled()
        await world.layer.group_send("room", note(1))
        await world.layer.send("jobs", note(2))
        for _ in range(rounds):
            await asyncio.sleep(0)
        had = reading.done()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await settled()
        left = len(world.engine.jobs["jobs"]) + len(world.hub.inboxes.find("jobs").messages)
        assert left == (1 if had else 2)
        for _ in range(left):
            await world.layer.receive("jobs")


@on_loop
async def test_what_came_too_late_for_a_reader_on_another_loop_is_given_back(world: Any) -> None:
    await world.layer.send("jobs", note(1))
    taken = await world.hub.jobs.next("jobs", 7.0)
    assert isinstance(taken, Job)
    world.layer._put_back("jobs", taken)
    assert await world.layer.receive("jobs") == note(1)
