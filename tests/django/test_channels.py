"""antiphon as a layer of Channels: its rules, its exceptions, and its own consumers and workers on it."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import gc
import logging
import re
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import channels.exceptions
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels.routing import ChannelNameRouter
from channels.testing import ApplicationCommunicator, WebsocketCommunicator
from channels.worker import Worker
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings
from hypothesis import given
from hypothesis import strategies as st

import antiphon
from antiphon import app, exceptions
from antiphon.channels import ChannelFull, ChannelLayer
from antiphon.exceptions import InvalidEvent, MessagesLost, NotEncodable

from ..fakes import ASGIClient

BACKEND = "antiphon.channels.ChannelLayer"


@pytest.fixture(autouse=True)
def fresh_antiphon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was never configured."""
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})


@pytest.fixture
def layer() -> Iterator[Any]:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": BACKEND}}):
        yield get_channel_layer()


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


async def until(condition: Callable[[], object]) -> None:
    """Go round the loop until ``condition`` holds: threads take part, so real time goes by."""
    for number in range(10_000):
        if condition():
            return
        await asyncio.sleep(0 if number < 50 else 0.001)
    raise AssertionError("the condition never came to hold")


def configured(**config: Any) -> Any:
    return override_settings(CHANNEL_LAYERS={"default": {"BACKEND": BACKEND, "CONFIG": config}})


# Settings


def test_the_layer_comes_from_the_settings() -> None:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": BACKEND}}):
        first = get_channel_layer()
        assert type(first) is ChannelLayer
        assert get_channel_layer() is first
        assert (first.expiry, first.group_expiry, first.capacity) == (60, 86400, None)
        assert first.extensions == ["groups", "flush"]
    with configured(expiry=5):
        second = get_channel_layer()
        assert second is not first
        assert second.expiry == 5
    assert get_channel_layer() is None


def test_every_option_of_channels_own_layers_is_taken() -> None:
    options = {"expiry": 7, "group_expiry": 8, "capacity": 9, "channel_capacity": {"jobs*": 10}}
    with configured(**options):
        layer = get_channel_layer()
        assert (layer.expiry, layer.group_expiry, layer.capacity) == (7, 8, 9)
        assert (layer.get_capacity("jobs-1"), layer.get_capacity("others")) == (10, 9)


@pytest.mark.parametrize("config", [{"hosts": [("redis", 6379)]}, {"prefix": "asgi", "symmetric_encryption_keys": []}])
def test_any_other_option_is_told(config: dict[str, Any]) -> None:
    with configured(**config), pytest.raises(ImproperlyConfigured, match=f"no {', '.join(sorted(config))} in CONFIG"):
        get_channel_layer()


async def test_aliases_are_one_layer_of_groups() -> None:
    layers = {"default": {"BACKEND": BACKEND}, "other": {"BACKEND": BACKEND, "CONFIG": {"capacity": 1}}}
    with override_settings(CHANNEL_LAYERS=layers):
        default, other = get_channel_layer(), get_channel_layer("other")
        await default.group_add("room", "jobs")
        await other.group_send("room", {"type": "note"})
        assert await other.receive("jobs") == {"type": "note"}
        for _ in range(2):
            await default.send("jobs", {"type": "note"})
        with pytest.raises(ChannelFull):
            await other.send("jobs", {"type": "note"})


async def test_the_layer_has_the_engine_and_the_limits_of_antiphons_settings(quiet: None) -> None:
    with configured(), override_settings(ANTIPHON={"mailbox_limit": 1000}):
        layer = get_channel_layer()
        await layer.send("jobs", {"type": "note", "padding": "x" * 900})
        with pytest.raises(ChannelFull, match="mailbox_limit"):
            await layer.send("jobs", {"type": "note", "padding": "x" * 900})


# Names


NAMES: list[Any] = ["", "a b", "ä", "a/b", "x" * 100, None, 5, b"jobs", ["jobs"], "jobs\n"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name!r:.12}")
async def test_a_name_that_breaks_channels_rules_is_a_type_error(layer: Any, name: Any) -> None:
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: layer.send(name, {"type": "note"}),
        lambda: layer.receive(name),
        lambda: layer.group_add("room", name),
        lambda: layer.group_discard("room", name),
        lambda: layer.group_add(name, "jobs"),
        lambda: layer.group_discard(name, "jobs"),
        lambda: layer.group_send(name, {"type": "note"}),
    ]
    for call in calls:
        words = "can't name|no channel name" if name == "jobs\n" else "name must be a valid unicode string"
        with pytest.raises(TypeError, match=words):
            await call()
    assert (layer.channels, layer.groups) == ({}, {})


@given(st.text(max_size=8) | st.from_regex(r"[a-z.\-_!]{1,8}"))
def test_what_channels_refuses_is_refused_and_in_ascii_nothing_else(name: str) -> None:
    theirs = InMemoryChannelLayer()
    ours = ChannelLayer()
    for check, same in (
        (ours._check_channel, theirs.require_valid_channel_name),
        (ours._check_group, theirs.require_valid_group_name),
    ):
        try:
            same(name)
        except TypeError:
            with pytest.raises(TypeError):
                check(name)
        else:
            if name.isascii() and not name.endswith("\n"):
                check(name)


async def test_a_new_channel_has_the_prefix_and_can_be_used_everywhere(layer: Any) -> None:
    for arguments, prefix in (((), "specific."), (("worker",), "worker.")):
        name = await layer.new_channel(*arguments)
        assert name.startswith(prefix)
        assert layer.require_valid_channel_name(name)
        await layer.send(name, {"type": "note"})
        assert await layer.receive(name) == {"type": "note"}


# Capacity


async def test_send_is_refused_at_the_capacity_of_the_channel() -> None:
    with configured(capacity=3, channel_capacity={"few*": 1, re.compile("many.*"): 5, "*": 2}):
        layer = get_channel_layer()
        for channel, capacity in (("few-1", 1), ("many", 5), ("jobs", 2)):
            for n in range(capacity):
                await layer.send(channel, {"type": "note", "n": n})
            with pytest.raises(ChannelFull, match=f"has {capacity} messages"):
                await layer.send(channel, {"type": "note", "n": capacity})
            await layer.receive(channel)
            await layer.send(channel, {"type": "note", "n": capacity})
    with configured(capacity=2):
        layer = get_channel_layer()
        name = await layer.new_channel()
        for _ in range(2):
            await layer.send(name, {"type": "note"})
        with pytest.raises(ChannelFull):
            await layer.send(name, {"type": "note"})


async def test_for_groups_there_is_no_capacity() -> None:
    with configured(capacity=3):
        layer = get_channel_layer()
        name = await layer.new_channel()
        await layer.group_add("room", name)
        for n in range(1000):
            await layer.group_send("room", {"type": "note", "n": n})
        assert [(await layer.receive(name))["n"] for n in range(1000)] == list(range(1000))


@pytest.mark.parametrize("caught", [channels.exceptions.ChannelFull, exceptions.ChannelFull, exceptions.LimitExceeded])
async def test_a_full_channel_is_caught_by_either_name(caught: type[Exception]) -> None:
    assert issubclass(ChannelFull, caught)
    with configured(capacity=1), override_settings(ANTIPHON={"mailbox_limit": 1000}):
        layer = get_channel_layer()
        await layer.send("jobs", {"type": "note"})
        with pytest.raises(caught):
            await layer.send("jobs", {"type": "note"})
        await layer.group_add("room", "others")
        await layer.group_send("room", {"type": "note", "padding": "x" * 900})
        with pytest.raises(caught):
            await layer.group_send("room", {"type": "note", "padding": "x" * 900})
        await asyncio.to_thread(tells_in_another_thread, layer, caught)


def tells_in_another_thread(layer: Any, caught: type[Exception]) -> None:
    with pytest.raises(caught):
        async_to_sync(layer.send)("jobs", {"type": "note"})


async def test_expiry_holds_for_a_channel_that_was_only_sent_to(quiet: None) -> None:
    with configured(expiry=0.01):
        layer = get_channel_layer()
        await layer.group_add("room", "jobs")
        await layer.group_send("room", {"type": "note"})
        await layer.send("others", {"type": "note"})
        await until(lambda: not layer.channels)
        assert layer.groups == {}
        name = await layer.new_channel()
        await layer.send(name, {"type": "note"})
        hub = app.current_app().hub
        assert hub is not None
        assert [inbox.is_timed for inbox in hub.inboxes.all().values()] == [False]
        assert await layer.receive(name) == {"type": "note"}


# What may be sent


@pytest.mark.parametrize(
    "message", [{"type": "_x"}, {"type": ".x"}, {}, {"type": None}, {"type": 5}, {"n": 1}], ids=repr
)
async def test_any_type_is_carried_to_whoever_reads(layer: Any, message: dict[str, Any]) -> None:
    await layer.send("jobs", message)
    await layer.group_add("room", "jobs")
    await layer.group_send("room", message)
    assert [await layer.receive("jobs") for _ in range(2)] == [message] * 2


class Ours(antiphon.AsyncJsonWebsocketConsumer):
    groups = ["room"]
    names: list[str] = []

    async def connect(self) -> None:
        self.names.append(self.channel_name)
        await self.accept()

    async def note(self, event: dict[str, Any]) -> None:
        await self.send_json(event["n"])


BAD_TYPES: list[Any] = ["_x", "websocket.disconnect", "send.json", "close", "", None, 5]


@pytest.mark.parametrize("event_type", BAD_TYPES, ids=repr)
async def test_antiphons_own_consumers_are_safe_from_any_type(layer: Any, event_type: Any, quiet: None) -> None:
    client = await ASGIClient(Ours.as_asgi()).opened()
    with pytest.raises(InvalidEvent):
        await layer.group_send("room", {"type": event_type})
    await layer.group_add("room", "jobs")
    await layer.group_send("room", {"type": event_type})
    await layer.send(Ours.names[-1], {"type": event_type})
    await layer.group_send("room", {"type": "note", "n": 1})
    await until(lambda: client.texts)
    assert client.texts == ["1"]
    assert not client.kinds("websocket.close")
    assert app.current_app().counters.events_unhandled == 3
    await client.leave()


async def test_values_that_json_has_not_are_carried(layer: Any) -> None:
    moment = datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC)
    message = {
        "type": "note",
        "uuid": uuid.UUID(int=1),
        "moment": moment,
        "price": decimal.Decimal("1.50"),
        "set": {1},
        "tuple": (1, 2),
        "bytes": b"\xff",
        5: "five",
    }
    await layer.send("jobs", message)
    assert await layer.receive("jobs") == {
        "type": "note",
        "uuid": str(uuid.UUID(int=1)),
        "moment": moment,
        "price": "1.50",
        "set": [1],
        "tuple": [1, 2],
        "bytes": b"\xff",
        5: "five",
    }


async def test_what_can_not_be_carried_is_told_to_the_sender(layer: Any) -> None:
    for value in (object(), 2**64, "\ud800"):
        with pytest.raises(NotEncodable):
            await layer.send("jobs", {"type": "note", "value": value})
    for message in (None, "note", ["type"]):
        with pytest.raises(InvalidEvent):
            await layer.group_send("room", message)
    assert layer.channels == {}


async def test_a_sender_may_go_on_with_its_message(layer: Any) -> None:
    message: dict[str, Any] = {"type": "note", "list": [1]}
    await layer.send("jobs", message)
    message["list"].append(2)
    assert await layer.receive("jobs") == {"type": "note", "list": [1]}


# What there is to see, and to flush


async def test_channels_and_groups_can_be_looked_at(layer: Any) -> None:
    assert (layer.channels, layer.groups) == ({}, {})
    name = await layer.new_channel()
    await layer.group_add("room", name)
    await layer.group_add("room", "jobs")
    assert (layer.channels, layer.groups) == ({}, {"room": [name, "jobs"]})
    await layer.group_send("room", {"type": "note", "list": []})
    layer.channels["jobs"][0]["list"].append(1)
    layer.groups["room"].clear()
    waiting = [{"type": "note", "list": []}]
    assert layer.channels == {name: waiting, "jobs": waiting}
    assert await asyncio.to_thread(lambda: layer.groups) == {"room": [name, "jobs"]}
    await layer.receive("jobs")
    reader = asyncio.create_task(layer.receive("jobs"))
    await until(lambda: layer.channels.get("jobs") == [])
    reader.cancel()
    await asyncio.wait([reader])


async def test_flush_drops_messages_and_memberships_of_channels(layer: Any) -> None:
    client = await ASGIClient(Ours.as_asgi()).opened()
    name = await layer.new_channel()
    await layer.group_add("room", name)
    await layer.group_add("other", "jobs")
    await layer.send("jobs", {"type": "note"})
    await layer.send(name, {"type": "note"})
    reader = asyncio.create_task(layer.receive("others"))
    await until(lambda: "others" in layer.channels)
    await layer.flush()
    assert layer.channels == {"others": []}
    assert layer.groups == {"room": [Ours.names[-1]]}
    await layer.send("others", {"type": "note"})
    assert await reader == {"type": "note"}
    await layer.close()
    await layer.send(name, {"type": "note"})
    assert await layer.receive(name) == {"type": "note"}
    await client.leave()


def test_code_without_a_loop_uses_it_call_by_call(layer: Any) -> None:
    name = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("room", name)
    async_to_sync(layer.group_send)("room", {"type": "note", "n": 1})
    assert layer.groups == {"room": [name]}
    assert layer.channels == {name: [{"type": "note", "n": 1}]}
    assert async_to_sync(layer.receive)(name) == {"type": "note", "n": 1}
    async_to_sync(layer.send)("jobs", {"type": "note"})
    async_to_sync(layer.flush)()
    assert (layer.channels, layer.groups) == ({}, {})


async def test_views_and_other_threads_use_it_too(layer: Any) -> None:
    name = await layer.new_channel()

    def view() -> None:
        async_to_sync(layer.group_add)("room", name)
        async_to_sync(layer.group_send)("room", {"type": "note", "n": 1})
        async_to_sync(layer.flush)()
        async_to_sync(layer.group_add)("room", name)
        async_to_sync(layer.group_send)("room", {"type": "note", "n": 2})

    for place in (sync_to_async(view), lambda: asyncio.to_thread(view)):
        await place()
        assert await layer.receive(name) == {"type": "note", "n": 2}
        await layer.group_discard("room", name)


# Channels' own consumers


class Chat(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    async def connect(self) -> None:
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send("room", {"type": "note", "n": content})

    async def note(self, event: dict[str, Any]) -> None:
        await self.send_json(event["n"])

    async def publication(self, event: dict[str, Any]) -> None:
        await self.send_json({"published": event["content"], "at": event["offset"]})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("room", self.channel_name)


class Text(AsyncWebsocketConsumer):  # type: ignore[misc]
    groups = ["room"]

    async def note(self, event: dict[str, Any]) -> None:
        await self.send(text_data=str(event["n"]))


class InThread(WebsocketConsumer):  # type: ignore[misc]
    groups = ["room"]

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        async_to_sync(self.channel_layer.group_send)("room", {"type": "note", "n": text_data})

    def note(self, event: dict[str, Any]) -> None:
        self.send(text_data=str(event["n"]))


async def connected(*consumers: Any) -> list[Any]:
    communicators = [WebsocketCommunicator(consumer.as_asgi(), "/") for consumer in consumers]
    for communicator in communicators:
        assert (await communicator.connect())[0]
    return communicators


async def test_consumers_of_channels_chat_with_each_other(layer: Any) -> None:
    chat, text, thread = communicators = await connected(Chat, Text, InThread)
    await chat.send_json_to(1)
    assert [await each.receive_from() for each in communicators] == ["1"] * 3
    await thread.send_to(text_data="2")
    assert [await each.receive_from() for each in communicators] == ['"2"', "2", "2"]
    await text.disconnect()
    await chat.send_json_to(3)
    assert [await each.receive_from() for each in (chat, thread)] == ["3"] * 2
    await chat.disconnect()
    await thread.disconnect()
    await until(lambda: not layer.groups)


async def test_both_kinds_of_consumers_are_in_one_group(layer: Any) -> None:
    (theirs,) = await connected(Chat)
    ours = await ASGIClient(Ours.as_asgi()).opened()
    await theirs.send_json_to(1)
    await until(lambda: ours.texts)
    assert await theirs.receive_json_from() == 1
    position = await antiphon.publish("room", {"a": 2})
    await antiphon.group_send("room", {"type": "note", "n": 3})
    await until(lambda: len(ours.texts) == 3)
    assert ours.texts == ["1", '{"a":2}', "3"]
    assert await theirs.receive_json_from() == {"published": {"a": 2}, "at": position.offset}
    assert await theirs.receive_json_from() == 3
    await theirs.disconnect()
    await ours.leave()


async def test_a_consumer_that_just_ends_leaves_its_groups(layer: Any) -> None:
    class Careless(Chat):
        async def disconnect(self, code: int) -> None:
            """Does not leave."""

    (communicator,) = await connected(Careless)
    assert len(layer.groups["room"]) == 1
    await communicator.disconnect()
    del communicator
    await until(lambda: gc.collect() >= 0 and not layer.groups)
    assert layer.channels == {}


async def test_a_consumer_that_falls_behind_is_ended_and_the_others_get_everything(quiet: None) -> None:
    with configured(), override_settings(ANTIPHON={"mailbox_limit": 10_000}):
        layer = get_channel_layer()
        held = asyncio.Event()

        class Slow(Chat):
            async def note(self, event: dict[str, Any]) -> None:
                await held.wait()

        slow, quick = await connected(Slow, Chat)
        for n in range(20):
            await layer.group_send("room", {"type": "note", "n": n, "padding": "x" * 900})
            assert await quick.receive_json_from() == n
        held.set()
        with pytest.raises(MessagesLost, match="channel specific"):
            await slow.wait()
        await quick.disconnect()
        assert app.current_app().counters.channel_overflows == 1


async def test_a_thousand_messages_in_a_row_reach_a_consumer_in_order(layer: Any) -> None:
    (communicator,) = await connected(Chat)
    for n in range(1000):
        await layer.group_send("room", {"type": "note", "n": n})
    assert [await communicator.receive_json_from() for _ in range(1000)] == list(range(1000))
    await communicator.disconnect()


@pytest.mark.parametrize(
    ("message", "words"),
    [({"type": "_x"}, "leading underscore"), ({"n": 1}, "no 'type'"), ({"type": "no"}, "No handler")],
)
async def test_a_type_that_no_consumer_of_channels_may_have_is_its_own_error(
    layer: Any, message: dict[str, Any], words: str
) -> None:
    (communicator,) = await connected(Chat)
    await layer.group_send("room", message)
    with pytest.raises(ValueError, match=words):
        await communicator.wait()
    del communicator
    await until(lambda: gc.collect() >= 0 and not layer.groups)  # a traceback holds the consumer until then


async def test_consumers_without_websockets(layer: Any) -> None:
    received: list[Any] = []

    class Listener(AsyncConsumer):  # type: ignore[misc]
        async def begin(self, message: Any) -> None:
            received.append((self.channel_name, message))
            await self.send({"type": "begun"})

        async def note(self, message: Any) -> None:
            await self.send({"type": "noted", "n": message["n"]})

    communicator = ApplicationCommunicator(Listener.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "begin"})
    assert await communicator.receive_output() == {"type": "begun"}
    await layer.send(received[0][0], {"type": "note", "n": 1})
    assert await communicator.receive_output() == {"type": "noted", "n": 1}
    communicator.stop()


# Workers


class Thumbnails(SyncConsumer):  # type: ignore[misc]
    made: list[Any] = []

    def make(self, message: dict[str, Any]) -> None:
        self.made.append((self.scope["channel"], message["n"], threading.get_ident()))


class Mails(AsyncConsumer):  # type: ignore[misc]
    sent: list[Any] = []

    async def send_mail(self, message: dict[str, Any]) -> None:
        self.sent.append(message["n"])
        await self.channel_layer.group_send("room", {"type": "note", "n": message["n"]})


@pytest.mark.filterwarnings("ignore:async_to_sync was passed:UserWarning")  # by Channels' worker, of its own consumers
async def test_workers_take_what_is_sent_to_their_channels(layer: Any) -> None:
    (chat,) = await connected(Chat)
    await layer.send("thumbnails", {"type": "make", "n": 0})  # before there is a worker
    router = ChannelNameRouter({"thumbnails": Thumbnails.as_asgi(), "mails": Mails.as_asgi()})
    workers = [Worker(router, ["thumbnails", "mails"], layer) for _ in range(2)]
    listeners = [asyncio.create_task(worker.listener(channel)) for worker in workers for channel in worker.channels]
    for n in range(1, 10):
        await layer.send("thumbnails", {"type": "make", "n": n})
    await layer.send("mails", {"type": "send.mail", "n": 10})
    assert await chat.receive_json_from() == 10
    await until(lambda: len(Thumbnails.made) == 10)
    assert sorted(n for _, n, _ in Thumbnails.made) == list(range(10))
    assert {channel for channel, _, _ in Thumbnails.made} == {"thumbnails"}
    assert threading.get_ident() not in {thread for _, _, thread in Thumbnails.made}
    assert Mails.sent == [10]
    instances = [each["future"] for worker in workers for each in worker.application_instances.values()]
    for task in (*listeners, *instances):
        task.cancel()
    await asyncio.wait([*listeners, *instances])
    await chat.disconnect()
    await until(lambda: not layer.channels)


async def test_a_worker_in_a_process_that_nothing_reaches_is_told_once(
    layer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for channel in ("jobs", "jobs", await layer.new_channel()):
        await layer.send(channel, {"type": "note"})
        await layer.receive(channel)
    (record,) = caplog.records
    assert "receive('jobs') was called in a process without connections" in record.getMessage()


async def test_a_worker_in_the_servers_process_is_told_nothing(layer: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = await ASGIClient(Ours.as_asgi()).opened()
    await layer.send("jobs", {"type": "note"})
    await layer.receive("jobs")
    assert caplog.records == []
    await client.leave()


async def test_a_worker_in_a_thread_of_its_own_takes_from_the_servers_loop(layer: Any) -> None:
    (chat,) = await connected(Chat)
    taken: list[Any] = []
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        asyncio.get_running_loop().call_soon(begun.set)
        while not taken:
            message = await layer.receive("jobs")
            taken.append(message["n"])
            await layer.group_send("room", {"type": "note", "n": "done"})
        ended.set()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert await asyncio.to_thread(begun.wait, 30)
    await layer.send("jobs", {"type": "note", "n": 1})
    assert await chat.receive_json_from() == "done"
    assert await asyncio.to_thread(ended.wait, 30)
    thread.join(30)
    assert taken == [1]
    await chat.disconnect()
