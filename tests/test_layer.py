"""``channel_layer``: what it checks, and on which loop its work is done."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from antiphon.app import App
from antiphon.config import Config
from antiphon.exceptions import (
    ChannelFull,
    InvalidCloseCode,
    InvalidEvent,
    InvalidName,
    LimitExceeded,
    MessagesLost,
    NotEncodable,
    UsageError,
)
from antiphon.layer import ChannelLayer
from antiphon.lifecycle import State
from antiphon.types import ClientInfo, Position, PresenceStats, Publishing, Repeat

from .fakes import Client, FakeConsumer, on_jumping_loop, settled, until


class Listener(FakeConsumer):
    async def note(self, event: dict[str, Any]) -> None:
        self.send(event["text"])


async def make_layer(**config: Any) -> tuple[App, ChannelLayer]:
    app = App(Config(**config))
    await app.start()
    return app, app.layer


async def make_client(app: App) -> Client:
    assert app.hub is not None
    return await Client(app.hub, Listener()).opened()


NAMES: list[Any] = ["", "bad\n", "x" * 256, None, 5, b"room", ["room"], {"room": 1}]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name!r:.12}")
@pytest.mark.parametrize("started", [True, False])
def test_every_verb_checks_the_name_of_the_group(name: Any, started: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        app = App(Config())
        if started:
            await app.start()
        for call in (
            lambda: app.layer.group_add(name, "specific.a!b"),
            lambda: app.layer.group_discard(name, "specific.a!b"),
            lambda: app.layer.group_send(name, {"type": "note"}),
            lambda: app.layer.publish(name, 1),
        ):
            with pytest.raises(InvalidName):
                await call()

    main()


@pytest.mark.parametrize("name", ["", "a b", "a!b\n", "a!b!c", "x" * 100, None, 5, ["a!b"]], ids=repr)
def test_every_verb_checks_the_name_of_the_channel(name: Any) -> None:
    @on_jumping_loop
    async def main() -> None:
        _, layer = await make_layer()
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: layer.group_add("room", name),
            lambda: layer.group_discard("room", name),
            lambda: layer.send(name, {"type": "note"}),
        ]
        for call in calls:
            with pytest.raises(InvalidName):
                await call()

    main()


@on_jumping_loop
async def test_members_get_events_and_publications() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    await layer.group_add("room", client.connection.channel_name)
    await layer.group_send("room", {"type": "note", "text": "a"})
    await layer.send(client.connection.channel_name, {"type": "note", "text": "b"})
    await settled()
    position = await layer.publish("room", {"c": 1})
    await settled()
    assert client.messages == ["a", "b", '{"c":1}']
    assert position.offset == 1
    assert (app.counters.events, app.counters.publications) == (2, 1)
    await layer.group_discard("room", client.connection.channel_name)
    await layer.publish("room", "after")
    await settled()
    assert len(client.messages) == 3
    await client.leave()


@on_jumping_loop
async def test_publish_returns_the_positions_of_one_stream() -> None:
    _, layer = await make_layer()
    positions = [await layer.publish("room", n) for n in range(3)]
    assert [position.offset for position in positions] == [1, 2, 3]
    assert len({position.epoch for position in positions}) == 1


@on_jumping_loop
async def test_what_was_refused_is_not_counted_as_published() -> None:
    app, layer = await make_layer()
    with pytest.raises(NotEncodable):
        await layer.publish("room", object())
    with pytest.raises(InvalidName):
        await layer.publish("room", 1, key="")
    assert app.counters.publications == 0


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("key", ["", "x" * 256, 5, b"key"], ids=lambda key: f"{key!r:.9}")
def test_a_key_that_can_not_be_is_told_to_the_caller(key: Any, started: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        app = App(Config())
        if started:
            await app.start()
        with pytest.raises(InvalidName, match="can't be a key"):
            await app.layer.publish("room", 1, key=key)

    main()


@pytest.mark.parametrize(("key", "expected"), [(None, ""), ("a", "a")])
def test_the_key_reaches_the_engine(key: str | None, expected: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        app, layer = await make_layer()
        client = await make_client(app)
        assert app.hub is not None
        await layer.group_add("room", client.connection.channel_name)
        heard: list[Any] = []
        app.hub.on_publication = lambda group, publication: heard.append(publication.key)  # type: ignore[method-assign]
        await layer.publish("room", 1, key=key)
        assert heard == [expected]
        await client.leave()

    main()


def test_joining_a_channel_that_is_not_here_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    @on_jumping_loop
    async def main() -> None:
        app, layer = await make_layer()
        await layer.group_add("room", "specific.elsewhere!1")
        await layer.group_discard("room", "specific.elsewhere!1")
        assert app.counters.joins_refused == 1

    main()
    assert "nothing joined" in caplog.text


@on_jumping_loop
async def test_a_connection_that_is_over_joins_nothing() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    name = client.connection.channel_name
    await client.leave()
    await layer.group_add("room", name)
    assert app.counters.joins_refused == 1
    assert app.hub is not None
    assert not app.hub.groups


@on_jumping_loop
async def test_the_limit_of_groups_is_told_to_the_caller() -> None:
    app, layer = await make_layer(groups_per_connection=1)
    client = await make_client(app)
    await layer.group_add("a", client.connection.channel_name)
    with pytest.raises(LimitExceeded):
        await layer.group_add("b", client.connection.channel_name)
    await client.leave()


@on_jumping_loop
async def test_a_bad_event_is_counted_and_told_to_the_sender() -> None:
    app, layer = await make_layer()
    for message in ({"type": "close"}, {"text": "no type"}, None):
        with pytest.raises(InvalidEvent):
            await layer.group_send("room", message)  # type: ignore[arg-type]
        with pytest.raises(InvalidEvent):
            await layer.send("specific.a!b", message)  # type: ignore[arg-type]
    assert (app.counters.events_refused, app.counters.events) == (6, 0)


@on_jumping_loop
async def test_an_event_that_no_member_handles_is_told_to_the_sender() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    await layer.group_add("room", client.connection.channel_name)
    with pytest.raises(InvalidEvent, match="Listener"):
        await layer.group_send("room", {"type": "nobody_has_this"})
    await client.leave()


@on_jumping_loop
async def test_an_event_for_a_group_without_members_is_no_error() -> None:
    _, layer = await make_layer()
    await layer.group_send("room", {"type": "note"})


def on_another_loop(work: Callable[[], Any]) -> Any:
    """Run ``work`` on a loop of its own in another thread and return what it returned."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work()))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(30)
    assert outcome, "the other loop never came back"
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def test_from_another_loop_the_work_is_done_at_home() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    home = asyncio.get_running_loop()
    threads: list[int] = []
    assert app.hub is not None
    original = app.hub.engine.publish

    async def publish(group: str, data: bytes, key: str = "", publishing: Any = None) -> Any:
        threads.append(threading.get_ident())
        assert asyncio.get_running_loop() is home
        assert key == "of its own"
        return await original(group, data, key)

    app.hub.engine.publish = publish  # type: ignore[method-assign]
    name = client.connection.channel_name

    async def elsewhere() -> Any:
        await layer.group_add("room", name)
        await layer.group_send("room", {"type": "note", "text": "a"})
        return await layer.publish("room", 1, key="of its own")

    position = await asyncio.to_thread(on_another_loop, elsewhere)
    assert position.offset == 1
    assert threads == [threading.get_ident()]
    await settled()
    assert client.messages == ["a", "1"]
    await client.leave()


async def test_an_error_comes_back_to_the_other_loop() -> None:
    _, layer = await make_layer()
    with pytest.raises(NotEncodable):
        await asyncio.to_thread(on_another_loop, lambda: layer.publish("room", object()))


# Channels that are read with receive()


@on_jumping_loop
async def test_a_general_channel_keeps_what_is_sent_until_somebody_receives_it() -> None:
    app, layer = await make_layer()
    for n in range(3):
        await layer.send("jobs", {"type": "note", "n": n})
    assert [await layer.receive("jobs") for _ in range(3)] == [{"type": "note", "n": n} for n in range(3)]
    assert app.counters.events == 3


@on_jumping_loop
async def test_each_message_is_received_once() -> None:
    _, layer = await make_layer()
    received: list[int] = []

    async def work() -> None:
        while True:
            received.append((await layer.receive("jobs"))["n"])

    workers = [asyncio.create_task(work()) for _ in range(3)]
    for n in range(100):
        await layer.send("jobs", {"type": "note", "n": n})
        if n % 7 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(received) == 100)
    assert sorted(received) == list(range(100))
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)


@on_jumping_loop
async def test_what_is_received_may_be_changed() -> None:
    _, layer = await make_layer()
    name = await layer.new_channel()
    await layer.group_add("room", name)
    await layer.group_add("room", "jobs")
    await layer.group_send("room", {"type": "note", "list": [1]})
    (await layer.receive(name))["list"].append(2)
    assert await layer.receive("jobs") == {"type": "note", "list": [1]}


@on_jumping_loop
async def test_a_new_channel_is_for_its_reader_and_ends_with_it() -> None:
    app, layer = await make_layer()
    assert app.hub is not None
    name = await layer.new_channel()
    another = await layer.new_channel("celery")
    assert name.startswith("specific.")
    assert another.startswith("celery.")
    await layer.group_add("room", name)
    await layer.send(name, {"type": "note", "n": 1})
    await layer.group_send("room", {"type": "note", "n": 2})
    assert [(await layer.receive(name))["n"] for _ in range(2)] == [1, 2]
    channel = str(name)
    del name
    await settled()
    assert app.hub.groups == {}
    with pytest.raises(InvalidName):
        await layer.receive(channel)
    assert another in app.hub.inboxes.all()


@pytest.mark.parametrize("prefix", ["a b", "ä", "x" * 100, "a!b"])
def test_a_prefix_that_no_name_may_have_opens_nothing(prefix: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        app, layer = await make_layer()
        with pytest.raises(InvalidName):
            await layer.new_channel(prefix)
        gc.collect()
        await settled()
        assert app.hub is not None
        assert app.hub.inboxes.all() == {}

    main()


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("name", ["", "a b", "a!b\n", "a!b!c", "x" * 100, None, 5, ["a!b"]], ids=repr)
def test_receive_checks_the_name(name: Any, started: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        app = App(Config())
        if started:
            await app.start()
        with pytest.raises(InvalidName):
            await app.layer.receive(name)
        assert app.hub is None or app.hub.inboxes.all() == {}

    main()


@on_jumping_loop
async def test_only_the_holder_of_a_specific_name_can_receive() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    for name in ("specific.elsewhere!1", client.connection.channel_name):
        with pytest.raises(InvalidName, match="not one of this process"):
            await layer.receive(name)
    await client.leave()


@on_jumping_loop
async def test_a_channel_can_join_and_leave_a_group() -> None:
    app, layer = await make_layer()
    assert app.hub is not None
    await layer.group_add("room", "jobs")
    await layer.group_discard("room", "jobs")
    await layer.group_send("room", {"type": "note"})
    assert (app.hub.groups, app.hub.inboxes.all()) == ({}, {})
    assert app.counters.joins_refused == 0


@on_jumping_loop
async def test_a_full_channel_is_told_to_the_sender() -> None:
    _, layer = await make_layer(mailbox_limit=1000)
    await layer.send("jobs", {"type": "note", "padding": "x" * 900})
    with pytest.raises(ChannelFull, match="was not accepted"):
        await layer.send("jobs", {"type": "note", "padding": "x" * 900})
    with pytest.raises(LimitExceeded):
        await layer.send("jobs", {"type": "note", "padding": "x" * 900})
    assert len(await layer.receive("jobs")) == 2
    await layer.send("jobs", {"type": "note", "padding": "x" * 900})


@on_jumping_loop
async def test_a_group_send_that_a_channel_has_no_room_for_is_told_to_the_sender() -> None:
    app, layer = await make_layer(mailbox_limit=1000)
    await layer.group_add("room", "jobs")
    await layer.group_send("room", {"type": "note", "padding": "x" * 900})
    with pytest.raises(ChannelFull):
        await layer.group_send("room", {"type": "note", "padding": "x" * 900})
    await layer.group_send("room", {"type": "note"})
    assert app.hub is not None
    assert app.hub.groups == {}


@on_jumping_loop
async def test_expiry_is_that_of_the_layer_however_the_channel_began() -> None:
    app, layer = await make_layer()
    layer.expiry = 10
    assert app.hub is not None
    await layer.send("sent", {"type": "note"})
    await layer.group_add("room", "joined")
    await layer.group_send("room", {"type": "note"})
    reader = asyncio.create_task(layer.receive("read"))
    await settled()
    assert {name: inbox.expiry for name, inbox in app.hub.inboxes.all().items()} == dict.fromkeys(
        ["sent", "joined", "read"], 10
    )
    reader.cancel()
    await asyncio.wait([reader])
    logging.disable()
    try:
        await asyncio.sleep(10)
    finally:
        logging.disable(logging.NOTSET)
    assert app.hub.inboxes.all() == {}
    assert app.counters.channel_messages_expired == 2


@on_jumping_loop
async def test_a_slow_reader_gets_word_of_what_it_lost() -> None:
    _, layer = await make_layer(mailbox_limit=1000)
    name = await layer.new_channel()
    await layer.group_add("room", name)
    await layer.send(name, {"type": "note"})
    await layer.receive(name)
    logging.disable()
    try:
        for _ in range(2):
            await layer.group_send("room", {"type": "note", "padding": "x" * 900})
    finally:
        logging.disable(logging.NOTSET)
    with pytest.raises(MessagesLost):
        await layer.receive(name)


# From other loops


class Home:
    """A layer whose home is the running loop, with what other loops are asked to do."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.layer = app.layer
        self.loop = asyncio.get_running_loop()
        assert app.hub is not None
        self.inboxes = app.hub.inboxes

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run ``work`` at home, from another thread, and let home settle."""

        async def and_settle() -> Any:
            result = await work
            await settled()
            return result

        return asyncio.run_coroutine_threadsafe(and_settle(), self.loop).result(30)

    def is_waited_for(self, channel: str, readers: int = 1) -> bool:
        inbox = self.inboxes.find(channel)
        return inbox is not None and len(inbox.readers) == readers

    async def waiting(self, channel: str) -> list[int]:
        """Take and return what waits in ``channel``, at home."""
        await settled()
        inbox = self.inboxes.find(channel)
        if inbox is None:
            return []
        assert not inbox.readers
        return [(await self.layer.receive(channel))["n"] for _ in range(len(inbox.messages))]


async def make_home(**config: Any) -> Home:
    app, _ = await make_layer(**config)
    return Home(app)


def elsewhere(work: Callable[[], Any]) -> Any:
    """Run ``work`` on another loop in another thread."""
    return asyncio.to_thread(on_another_loop, work)


async def test_every_verb_of_channels_works_from_another_loop() -> None:
    home = await make_home()
    layer = home.layer

    async def work() -> Any:
        name = await layer.new_channel("far")
        await layer.group_add("room", name)
        await layer.group_send("room", {"type": "note", "n": 1})
        await layer.send(name, {"type": "note", "n": 2})
        await layer.send("jobs", {"type": "note", "n": 3})
        received = [(await layer.receive(name))["n"] for _ in range(2)]
        await layer.group_discard("room", name)
        await layer.group_send("room", {"type": "note", "n": 4})
        assert name in home.inboxes.all()
        return received

    assert await elsewhere(work) == [1, 2]
    assert (await layer.receive("jobs"))["n"] == 3
    await until(lambda: home.inboxes.all().keys() <= {"jobs"})


async def test_receive_from_another_loop_waits_for_what_comes() -> None:
    home = await make_home()

    async def work() -> Any:
        task = asyncio.create_task(home.layer.receive("jobs"))
        await until(lambda: home.is_waited_for("jobs"))
        home.call(home.layer.send("jobs", {"type": "note", "n": 1}))
        return await task

    assert await elsewhere(work) == {"type": "note", "n": 1}
    assert await home.waiting("jobs") == []


async def test_errors_of_receive_come_back_to_the_other_loop() -> None:
    home = await make_home(mailbox_limit=1000)
    with pytest.raises(InvalidName):
        await elsewhere(lambda: home.layer.receive("specific.elsewhere!1"))
    await home.layer.send("jobs", {"type": "note", "n": 1})
    await home.layer.receive("jobs")
    await home.layer.group_add("room", "jobs")
    logging.disable()
    try:
        for _ in range(2):
            await home.layer.group_send("room", {"type": "note", "padding": "x" * 900})
    finally:
        logging.disable(logging.NOTSET)
    with pytest.raises(MessagesLost):
        await elsewhere(lambda: home.layer.receive("jobs"))
    with pytest.raises(ChannelFull):
        await elsewhere(lambda: send_twice(home.layer))


async def send_twice(layer: ChannelLayer) -> None:
    for _ in range(2):
        await layer.send("other-jobs", {"type": "note", "padding": "x" * 900})


@pytest.mark.parametrize("stage", ["before it began", "before home heard of it", "while it waits"])
async def test_a_reader_elsewhere_that_is_cancelled_takes_nothing(stage: str) -> None:
    home = await make_home()

    async def work() -> None:
        task = asyncio.create_task(home.layer.receive("jobs"))
        if stage == "before home heard of it":
            await asyncio.sleep(0)
        elif stage == "while it waits":
            await until(lambda: home.is_waited_for("jobs"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await elsewhere(work)
    await until(lambda: not home.inboxes.all())
    await home.layer.send("jobs", {"type": "note", "n": 1})
    assert await home.waiting("jobs") == [1]


async def test_what_came_too_late_for_a_cancelled_reader_is_put_back_in_front() -> None:
    home = await make_home()

    async def work() -> None:
        task = asyncio.create_task(home.layer.receive("jobs"))
        await until(lambda: home.is_waited_for("jobs"))
        # This loop stands still: home hands the message over, and nobody here has noticed yet.
        home.call(home.layer.send("jobs", {"type": "note", "n": 1}))
        home.call(home.layer.send("jobs", {"type": "note", "n": 2}))
        inbox = home.inboxes.find("jobs")
        assert inbox is not None
        assert [each.event.content["n"] for each in inbox.messages] == [2]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await elsewhere(work)
    assert await home.waiting("jobs") == [1, 2]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_what_several_cancelled_readers_give_back_is_in_order(order: tuple[int, ...]) -> None:
    home = await make_home()

    async def work() -> None:
        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(home.layer.receive("jobs")))
            await until(lambda: home.is_waited_for("jobs", number + 1))  # noqa: B023 (it is called at once)
        for n in range(5):
            home.call(home.layer.send("jobs", {"type": "note", "n": n}))
        for number in order:
            tasks[number].cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)

    await elsewhere(work)
    assert await home.waiting("jobs") == [0, 1, 2, 3, 4]


async def test_word_of_a_loss_that_came_too_late_is_put_back() -> None:
    home = await make_home(mailbox_limit=1000)

    async def lose() -> None:
        await home.layer.group_add("room", "jobs")
        for _ in range(2):
            await home.layer.group_send("room", {"type": "note", "padding": "x" * 900})

    async def work() -> None:
        task = asyncio.create_task(home.layer.receive("jobs"))
        await until(lambda: home.is_waited_for("jobs"))
        logging.disable()
        try:
            home.call(lose())
        finally:
            logging.disable(logging.NOTSET)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await elsewhere(work)
    await settled()
    with pytest.raises(MessagesLost, match=" 2 messages"):
        await home.layer.receive("jobs")


class Slowly(concurrent.futures.Future[Any]):
    """Is given its result only when the test lets it."""

    claimed = threading.Event()
    may_go_on = threading.Event()

    def set_result(self, result: Any) -> None:
        self.claimed.set()
        assert self.may_go_on.wait(30)
        super().set_result(result)


async def test_a_reader_that_is_cancelled_while_home_hands_over_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    home = await make_home()
    futures = types.SimpleNamespace(futures=types.SimpleNamespace(Future=Slowly))
    monkeypatch.setattr("antiphon.layer.concurrent", futures)
    Slowly.claimed.clear()
    Slowly.may_go_on.clear()

    async def work() -> None:
        task = asyncio.create_task(home.layer.receive("jobs"))
        await until(lambda: home.is_waited_for("jobs"))
        asyncio.run_coroutine_threadsafe(home.layer.send("jobs", {"type": "note", "n": 1}), home.loop)
        assert await asyncio.to_thread(Slowly.claimed.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        Slowly.may_go_on.set()

    await elsewhere(work)
    assert await home.waiting("jobs") == [1]


async def test_a_reader_that_is_cancelled_as_home_takes_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    home = await make_home()
    cancelled = threading.Event()
    original = home.inboxes.next

    async def slowly(channel: str, expiry: float) -> Any:
        taken = await original(channel, expiry)
        assert cancelled.wait(30)  # home stands still, with the message in its hand
        return taken

    monkeypatch.setattr(home.inboxes, "next", slowly)
    await home.layer.send("jobs", {"type": "note", "n": 1})
    await home.layer.send("jobs", {"type": "note", "n": 2})

    async def work() -> None:
        task = asyncio.create_task(home.layer.receive("jobs"))
        await until(lambda: (inbox := home.inboxes.find("jobs")) is not None and len(inbox.messages) == 1)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    await elsewhere(work)
    monkeypatch.undo()
    assert await home.waiting("jobs") == [1, 2]


def test_a_reader_elsewhere_hears_that_home_has_ended() -> None:
    app = App(Config())

    async def read() -> Any:
        return await app.layer.receive("jobs")

    async def at_home() -> threading.Thread:
        hub = await app.start()
        thread = threading.Thread(target=lambda: outcome.append(outcome_of(read)))
        thread.start()
        await until(lambda: (inbox := hub.inboxes.find("jobs")) is not None and inbox.readers)
        return thread

    outcome: list[Any] = []
    asyncio.run(at_home()).join(30)
    assert isinstance(outcome[0], ConnectionError)


def outcome_of(work: Callable[[], Any]) -> Any:
    try:
        return asyncio.run(work())
    except BaseException as error:
        return error


async def test_async_to_sync_in_a_thread_reaches_home() -> None:
    home = await make_home()
    layer = home.layer

    def view() -> Any:
        name = async_to_sync(layer.new_channel)()
        async_to_sync(layer.group_add)("room", name)
        async_to_sync(layer.group_send)("room", {"type": "note", "n": 1})
        async_to_sync(layer.send)("jobs", {"type": "note", "n": 2})
        return async_to_sync(layer.receive)(name)

    assert (await asyncio.to_thread(view))["n"] == 1
    assert (await sync_to_async(view)())["n"] == 1
    assert [(await layer.receive("jobs"))["n"] for _ in range(2)] == [2, 2]


def test_without_a_server_each_call_has_a_loop_and_what_waits_is_kept_between_them() -> None:
    app = App(Config())
    layer = app.layer
    name = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("room", name)
    async_to_sync(layer.group_add)("room", "jobs")
    async_to_sync(layer.group_send)("room", {"type": "note", "n": 1})
    async_to_sync(layer.send)(name, {"type": "note", "n": 2})
    assert [async_to_sync(layer.receive)(name)["n"] for _ in range(2)] == [1, 2]
    assert async_to_sync(layer.receive)("jobs")["n"] == 1
    async_to_sync(layer.group_discard)("room", name)
    async_to_sync(layer.group_send)("room", {"type": "note", "n": 3})
    assert async_to_sync(layer.receive)("jobs")["n"] == 3
    channel = str(name)
    del name
    gc.collect()
    with pytest.raises(InvalidName):
        async_to_sync(layer.receive)(channel)


def test_two_loops_one_after_another() -> None:
    app = App(Config())
    layer = app.layer
    hubs: list[Any] = []

    async def main(n: int) -> None:
        task = asyncio.create_task(layer.receive("jobs"))
        await settled()
        await layer.send("jobs", {"type": "note", "n": n})
        assert (await task)["n"] == n
        hubs.append(app.hub)
        await layer.send("left", {"type": "note", "n": n})

    for n in range(3):
        asyncio.run(main(n))
    assert len(set(hubs)) == 3

    async def last() -> list[int]:
        return [(await layer.receive("left"))["n"] for _ in range(3)]

    assert asyncio.run(last()) == [0, 1, 2]


# History

KEPT: dict[str, Any] = {"rules": {"kept:*": {"history_size": 3}}}


@on_jumping_loop
async def test_a_rule_keeps_the_newest_publications_and_history_reads_them() -> None:
    _, layer = await make_layer(**KEPT)
    positions = [await layer.publish("kept:a", {"n": n}) for n in range(1, 6)]
    page = await layer.history("kept:a")
    assert [publication.data for publication in page.publications] == [b'{"n":3}', b'{"n":4}', b'{"n":5}']
    assert page.top == positions[-1] == (positions[0].epoch, 5)
    assert [each.offset for each in (await layer.history("kept:a", since=positions[3])).publications] == [5]
    assert [each.offset for each in (await layer.history("kept:a", limit=2)).publications] == [3, 4]
    backwards = await layer.history("kept:a", since=positions[4], limit=1, reverse=True)
    assert [each.offset for each in backwards.publications] == [4]


@on_jumping_loop
async def test_history_may_be_removed_and_the_position_stays() -> None:
    _, layer = await make_layer(**KEPT)
    position = await layer.publish("kept:a", 1)
    await layer.remove_history("kept:a")
    assert await layer.history("kept:a") == ((), position)
    assert await layer.publish("kept:a", 2) == (position.epoch, 2)


@on_jumping_loop
async def test_members_of_a_group_that_is_kept_get_the_same_as_ever() -> None:
    app, layer = await make_layer(**KEPT)
    client = await make_client(app)
    await layer.group_add("kept:a", client.connection.channel_name)
    for n in range(5):
        await layer.publish("kept:a", n, tags={"kind": "number"}, info=ClientInfo("7", "c"), idempotency_key=f"{n}")
        await layer.publish("kept:a", "again", idempotency_key=f"{n}")
    await settled()
    assert client.messages == ["0", "1", "2", "3", "4"]
    await client.leave()


@pytest.mark.parametrize("group", ["kept:a", "unkept"])
@on_jumping_loop
async def test_a_second_publication_with_the_same_idempotency_key_is_not_made(group: str) -> None:
    app, layer = await make_layer(**KEPT)
    client = await make_client(app)
    await layer.group_add(group, client.connection.channel_name)
    first = await layer.publish(group, 1, idempotency_key="k")
    again = await layer.publish(group, 2, idempotency_key="k")
    other = await layer.publish(group, 3, idempotency_key="l")
    await settled()
    assert (type(first), type(again), type(other)) == (Position, Repeat, Position)
    assert (again, other) == (first, (first.epoch, 2))
    assert client.messages == ["1", "3"]
    await client.leave()


@on_jumping_loop
async def test_the_rule_says_for_how_long() -> None:
    rule = {"history_size": 3, "history_lifetime": 10, "idempotency_window": 20, "position_lifetime": 30}
    _, layer = await make_layer(rules={"a": rule})
    first = await layer.publish("a", 1, idempotency_key="k")
    seen = []
    for _ in range(4):
        page = await layer.history("a")
        seen.append((len(page.publications), page.top == first))
        await asyncio.sleep(9)
    assert seen == [(1, True), (1, True), (0, True), (0, True)]
    assert type(await layer.publish("a", 2, idempotency_key="k")) is Position
    await asyncio.sleep(31)
    assert (await layer.history("a")).top.epoch != first.epoch


@on_jumping_loop
async def test_tags_and_who_publishes_are_kept_and_not_shared_with_the_caller() -> None:
    _, layer = await make_layer(**KEPT)
    tags, info = {"kind": "note"}, ClientInfo("7", "c", b"1", b"2")
    await layer.publish("kept:a", 1, key="ada", tags=tags, info=info)
    tags["kind"] = "changed"
    (publication,) = (await layer.history("kept:a")).publications
    assert (publication.key, publication.tags, publication.info) == ("ada", {"kind": "note"}, info)


@on_jumping_loop
async def test_without_a_rule_and_its_like_the_engine_is_asked_for_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, layer = await make_layer(**KEPT)
    calls: list[Any] = []

    async def publish(group: str, data: bytes, key: str = "", publishing: Any = None) -> Position:
        calls.append(publishing)
        return Position("e", 1)

    assert app.hub is not None
    monkeypatch.setattr(app.hub.engine, "publish", publish)
    retention = app.hub.rule("kept:a").retention
    await layer.publish("unkept", 1)
    await layer.publish("kept:a", 1)
    await layer.publish("unkept", 1, idempotency_key="k", tags={"a": "b"})
    assert calls == [
        None,
        Publishing(retention),
        Publishing(retention._replace(size=0), "k", None, {"a": "b"}),
    ]


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"idempotency_key": ""}, InvalidName, "can't be a key"),
    ({"idempotency_key": 5}, InvalidName, "can't be a key"),
    ({"idempotency_key": "x" * 256}, InvalidName, "can't be a key"),
    ({"tags": {"a": 1}}, InvalidName, "can't be tags"),
    ({"tags": ["a"]}, InvalidName, "can't be tags"),
    ({"info": {"user": "7"}}, UsageError, "takes an antiphon.types.ClientInfo"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), WRONG, ids=lambda value: f"{value!r:.30}")
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("group", ["kept:a", "unkept"])
@on_jumping_loop
async def test_what_can_not_go_with_a_publication_is_refused_and_nothing_is_published(
    arguments: dict[str, Any], error: type[Exception], words: str, started: bool, group: str
) -> None:
    app = App(Config(**KEPT))
    if started:
        await app.start()
    with pytest.raises(error, match=words):
        await app.layer.publish(group, 1, **arguments)
    assert app.counters.publications == 0
    assert (await app.layer.publish(group, 1)).offset == 1


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("verb", ["history", "remove_history"])
@on_jumping_loop
async def test_a_group_that_keeps_nothing_has_no_history(verb: str, started: bool) -> None:
    app = App(Config(**KEPT))
    if started:
        await app.start()
    with pytest.raises(UsageError, match="'unkept' keeps no history: no rule"):
        await getattr(app.layer, verb)("unkept")
    with pytest.raises(InvalidName):
        await getattr(app.layer, verb)("bad\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"limit": -1}, "limit is -1; it takes a whole number"),
        ({"limit": 1.5}, "limit is 1.5"),
        ({"limit": True}, "limit is True"),
        ({"since": ("e", 1)}, "since is .*; it takes a Position"),
        ({"since": 5}, "since is 5"),
    ],
    ids=repr,
)
@on_jumping_loop
async def test_a_part_of_history_that_can_not_be_is_refused(arguments: dict[str, Any], words: str) -> None:
    _, layer = await make_layer(**KEPT)
    with pytest.raises(UsageError, match=words):
        await layer.history("kept:a", **arguments)


async def test_history_may_be_read_from_another_loop() -> None:
    app, layer = await make_layer(**KEPT)
    client = await make_client(app)
    first = await layer.publish("kept:a", 1, idempotency_key="k")

    async def elsewhere() -> list[Any]:
        again = await layer.publish("kept:a", 2, idempotency_key="k", tags={"a": "b"}, info=ClientInfo("7", "c"))
        await layer.publish("kept:a", 3, tags={"a": "b"}, info=ClientInfo("7", "c"))
        page = await layer.history("kept:a", since=again, limit=1)
        before = await layer.history("kept:a", limit=1, reverse=True)
        await layer.remove_history("kept:a")
        return [again, page, before]

    again, page, before = await asyncio.to_thread(asyncio.run, elsewhere())
    assert (type(again), again) == (Repeat, first)
    assert [(each.data, each.tags, each.info) for each in page.publications] == [
        (b"3", {"a": "b"}, ClientInfo("7", "c"))
    ]
    assert before.publications == page.publications
    assert (await layer.history("kept:a")).publications == ()
    await client.leave()
    await app.stop()


# Presence

NOTED: dict[str, Any] = {"rules": {"noted*": {"presence": "kept"}, "kept:*": {"history_size": 5}}}


async def member_of(app: App, *groups: str, user: str = "") -> Client:
    """Return an open client of a user, in groups."""
    assert app.hub is not None
    client = await Client(app.hub, Listener(), scope={"type": "websocket", "path": "/", "user": user}).opened()
    for group in groups:
        await app.hub.join(group, client.connection)
    return client


@on_jumping_loop
async def test_presence_tells_who_is_there_and_its_stats_how_many() -> None:
    app, layer = await make_layer(**NOTED)
    clients = [await member_of(app, "noted", user=user) for user in ("ann", "ann", "bob")]
    assert await layer.presence("noted") == {client.connection.client: client.connection.info for client in clients}
    assert await layer.presence_stats("noted") == PresenceStats(clients=3, users=2)
    assert (await layer.presence("noted:2"), await layer.presence_stats("noted:2")) == ({}, (0, 0))
    for client in clients:
        await client.leave()
    assert await layer.presence("noted") == {}
    await app.stop()


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("verb", ["presence", "presence_stats"])
@on_jumping_loop
async def test_who_is_in_a_group_is_not_known_where_no_rule_says_so(verb: str, started: bool) -> None:
    app = App(Config(**NOTED))
    if started:
        await app.start()
    with pytest.raises(UsageError, match="it is not noted who is in group 'kept:a': no rule that matches its name"):
        await getattr(app.layer, verb)("kept:a")
    with pytest.raises(InvalidName):
        await getattr(app.layer, verb)("bad\n")


# Connections, wherever they are

ORDERS: dict[str, Callable[..., Any]] = {
    "kick": lambda layer, *whom, **more: layer.kick(*whom, **more),
    "subscribe": lambda layer, *whom, **more: layer.subscribe("room", *whom, **more),
    "unsubscribe": lambda layer, *whom, **more: layer.unsubscribe("room", *whom, **more),
    "refresh": lambda layer, *whom, **more: layer.refresh(*whom, expires_at=None, **more),
}
orders = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)


@orders
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize(
    ("whom", "words"),
    [
        ({}, "it is not said whose connections are meant"),
        ({"user": ""}, "it is not said whose"),
        ({"session": "key"}, "it is not said whose"),
        ({"user": 7}, r"a user is str\(user.pk\)"),
        ({"user": None}, "are text"),
        ({"client": b"c"}, "are text"),
        ({"user": "7", "session": 5}, "are text"),
    ],
    ids=repr,
)
@on_jumping_loop
async def test_an_order_for_nobody_is_refused(order: Any, started: bool, whom: dict[str, Any], words: str) -> None:
    app = App(Config())
    if started:
        await app.start()
    with pytest.raises(UsageError, match=words):
        await order(app.layer, **whom)


@pytest.mark.parametrize("verb", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize("group", NAMES, ids=lambda name: f"{name!r:.12}")
@on_jumping_loop
async def test_an_order_checks_the_name_of_its_group(verb: str, group: Any) -> None:
    _, layer = await make_layer()
    with pytest.raises(InvalidName):
        await getattr(layer, verb)(group, "ann")


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 2999, 5000, "4000", 4000.0], ids=repr)
@on_jumping_loop
async def test_a_code_that_can_not_be_sent_kicks_nobody(code: Any) -> None:
    app, layer = await make_layer()
    client = await member_of(app, user="ann")
    with pytest.raises(InvalidCloseCode):
        await layer.kick("ann", code=code)
    assert client.connection.state is State.OPEN
    await client.leave()


@pytest.mark.parametrize("reason", [5, b"why", ["why"]], ids=repr)
@on_jumping_loop
async def test_a_reason_is_text(reason: Any) -> None:
    app, layer = await make_layer()
    with pytest.raises(UsageError, match="reason"):
        await layer.kick("ann", reason=reason)
    assert app.counters.orders_refused == 0


@pytest.mark.parametrize(
    "when", [float("nan"), float("inf"), -float("inf"), -1, 1.7e12, "soon", True, [1]], ids=lambda when: f"{when!r}"
)
@on_jumping_loop
async def test_an_end_that_can_not_be_is_refused(when: Any) -> None:
    app, layer = await make_layer()
    with pytest.raises(UsageError, match="it takes seconds since 1970"):
        await layer.refresh("ann", expires_at=when)
    assert app.counters.orders_refused == 0


@on_jumping_loop
async def test_orders_reach_those_they_name() -> None:
    app, layer = await make_layer(**NOTED)
    ann, also_ann, bob = [await member_of(app, user=user) for user in ("ann", "ann", "bob")]
    await layer.subscribe("noted", "ann")
    await settled()
    assert set(await layer.presence("noted")) == {ann.connection.client, also_ann.connection.client}
    await layer.unsubscribe("noted", client=ann.connection.client)
    assert set(await layer.presence("noted")) == {also_ann.connection.client}
    await layer.refresh("ann", expires_at=1.0)
    await layer.kick("ann", client=bob.connection.client)
    assert app.counters.kicked == 0
    await layer.kick("ann", code=4001, reason="logged out")
    await asyncio.gather(ann.task, also_ann.task)
    assert ann.transport.closings == also_ann.transport.closings == [("close", 4001, b"logged out")]
    assert bob.connection.state is State.OPEN
    assert await layer.presence("noted") == {}
    await bob.leave()


async def test_presence_and_orders_work_from_another_loop() -> None:
    app, layer = await make_layer(**NOTED)
    client = await member_of(app, "noted", user="ann")
    name = client.connection.client

    async def work() -> Any:
        presence, stats = await layer.presence("noted"), await layer.presence_stats("noted")
        await layer.unsubscribe("noted", "ann")
        left = await layer.presence("noted")
        await layer.subscribe("noted", client=name)
        await layer.refresh("ann")
        return presence, stats, left

    presence, stats, left = await elsewhere(work)
    assert presence == {name: ClientInfo("ann", name)}
    assert (stats, left) == ((1, 1), {})
    await until(lambda: app.hub is not None and app.hub.members("noted"))
    await elsewhere(lambda: layer.kick("ann"))
    await client.task
    assert client.consumer.disconnects == [1008]
    with pytest.raises(UsageError):
        await elsewhere(lambda: layer.kick(""))
    await app.stop()


@on_jumping_loop
async def test_what_is_sent_to_a_channel_of_another_process_opens_nothing_here() -> None:
    app, layer = await make_layer()
    assert app.hub is not None
    sent: list[str] = []

    async def send_direct_event(channel: str, event: Any) -> None:
        sent.append(channel)

    app.hub.engine.send_direct_event = send_direct_event  # type: ignore[method-assign]
    here = await layer.new_channel()
    for name in ("specific.another!1", here, "jobs", "undotted!1"):
        await layer.send(name, {"type": "note", "text": ""})
    assert sent == ["specific.another!1", here, "jobs", "undotted!1"]
    assert app.hub.inboxes.find("specific.another!1") is None
    assert app.hub.inboxes.find("jobs") is not None
    del here
    gc.collect()
    await app.stop()
