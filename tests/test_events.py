"""Events: only handlers that the application defined are ever found, and each member's copy is its own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import decimal
import functools
import inspect
import json
import math
import string
import threading
import tracemalloc
import uuid
from collections import OrderedDict, UserDict
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from hypothesis import given
from hypothesis import strategies as st

from antiphon import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
    shared,
)
from antiphon.events import (
    carry_event,
    find_handler,
    framework,
    handler_name,
    is_async,
    make_event,
    publication_event,
)
from antiphon.exceptions import InvalidEvent, NotEncodable, UsageError
from antiphon.types import Publication
from antiphon.wire import plain


def awaits_late(function: Callable[..., Awaitable[Any]]) -> Any:
    """Decorate as the wild does it: what comes out is no coroutine function, but returns a coroutine."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Mixin:
    async def from_mixin(self, event: Any) -> str:
        return "mixin"


class Consumer(Mixin, AsyncJsonWebsocketConsumer):
    rooms: dict[str, Any] = {}
    names: list[str] = []
    setting = "text"
    nested = type("nested", (), {})

    async def chat_message(self, event: Any) -> str:
        return "chat"

    @shared
    def chat_shared(event: Any) -> str:
        return "shared"

    @awaits_late
    async def decorated(self, event: Any) -> str:
        return "decorated"

    def not_async(self, event: Any) -> None:
        """A helper of the application's."""

    @classmethod
    async def of_class(cls, event: Any) -> None:
        """No handler."""

    @staticmethod
    async def of_nothing(event: Any) -> None:
        """No handler."""

    @property
    def a_property(self) -> str:
        return "x"

    async def _private(self, event: Any) -> None:
        """No handler."""

    # Whatever an application does with the framework's names, no event gets there.

    async def connect(self) -> None:
        """Override."""

    async def disconnect(self, code: int) -> None:
        """Override."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Override."""

    async def send_json(self, content: Any, close: Any = False) -> None:
        """Override."""

    async def dispatch(self, message: Any) -> None:
        """A name of Channels'."""

    async def websocket_receive(self, message: Any) -> None:
        """A name of Channels'."""


class Child(Consumer):
    async def chat_message(self, event: Any) -> str:
        return "child"


class Hider(Consumer):
    chat_message = None  # type: ignore[assignment]


HANDLERS = {"chat_message", "chat_shared", "decorated", "from_mixin", "not_async"}

NASTY: list[Any] = [
    "websocket.receive",
    "websocket.disconnect",
    "websocket.connect",
    "send.json",
    "send_json",
    "close",
    "accept",
    "dispatch",
    "send",
    "connect",
    "disconnect",
    "receive",
    "receive_json",
    "channel_layer",
    "channel_name",
    "as_asgi",
    "scope",
    "groups",
    "encode_json",
    "decode_json",
    "attach",
    "turns",
    "__class__",
    "__init__",
    "__call__",
    "..class..",
    "_private",
    ".private",
    "_connection",
    "",
    ".",
    "a b",
    "a-b",
    "chat.message\n",
    "1a",
    5,
    0,
    None,
    True,
    1.5,
    [],
    ["chat.message"],
    {},
    {"a": 1},
    b"chat.message",
]


@pytest.mark.parametrize("event_type", NASTY, ids=repr)
def test_a_nasty_type_is_refused_where_it_is_sent(event_type: Any) -> None:
    with pytest.raises(InvalidEvent):
        make_event({"type": event_type})
    with pytest.raises(InvalidEvent):
        handler_name(event_type)


@pytest.mark.parametrize("consumer", [AsyncWebsocketConsumer, AsyncJsonWebsocketConsumer, Consumer, Child])
@pytest.mark.parametrize("event_type", NASTY, ids=repr)
def test_a_nasty_type_finds_no_handler(consumer: type, event_type: Any) -> None:
    assert find_handler(consumer, event_type) is None


@pytest.mark.parametrize(
    "event_type",
    ["unknown", "setting", "rooms", "names", "nested", "a_property", "of_class", "of_nothing", "mro", "class", "type"],
)
def test_what_is_no_handler_is_not_found(event_type: str) -> None:
    make_event({"type": event_type})
    assert find_handler(Consumer, event_type) is None


every_name = dir(Consumer)
types = st.one_of(
    st.text(),
    st.text(string.ascii_letters + "._", max_size=20),
    st.sampled_from(every_name),
    st.sampled_from([name.replace("_", ".") for name in every_name]),
    st.none(),
    st.integers(),
    st.lists(st.text()),
)


@given(types)
def test_only_handlers_of_the_application_are_ever_found(event_type: Any) -> None:
    handler = find_handler(Consumer, event_type)
    if handler is not None:
        assert handler.name in HANDLERS
        assert handler.name == event_type.replace(".", "_")
        assert (handler.turn is None) != (handler.shared is None)


@given(types)
def test_the_frameworks_classes_have_no_handlers(event_type: Any) -> None:
    assert find_handler(AsyncWebsocketConsumer, event_type) is None
    assert find_handler(AsyncJsonWebsocketConsumer, event_type) is None


@given(types)
def test_what_is_sent_is_an_invalid_event_or_names_a_possible_handler(event_type: Any) -> None:
    try:
        event = make_event({"type": event_type})
    except (InvalidEvent, NotEncodable):
        assert find_handler(Consumer, event_type) is None
    else:
        assert event.type == event_type
        assert not handler_name(event.type).startswith("_")


# Handlers


async def outcome(consumer: type, event_type: str) -> Any:
    handler = find_handler(consumer, event_type)
    assert handler is not None
    if handler.shared is not None:
        return handler.shared({})
    assert handler.turn is not None
    return await handler.turn(consumer(), {})


@pytest.mark.parametrize(
    ("consumer", "event_type", "expected"),
    [
        (Consumer, "chat.message", "chat"),
        (Consumer, "chat_message", "chat"),
        (Consumer, "chat.shared", "shared"),
        (Consumer, "from.mixin", "mixin"),
        (Child, "chat.message", "child"),
        (Child, "chat.shared", "shared"),
    ],
)
async def test_dots_and_inheritance_as_in_channels(consumer: type, event_type: str, expected: str) -> None:
    assert await outcome(consumer, event_type) == expected


async def test_a_decorated_handler_that_returns_an_awaitable_runs() -> None:
    await outcome(Consumer, "decorated")


async def test_a_handler_of_asgirefs_runs() -> None:
    calls = []

    class Threaded(AsyncJsonWebsocketConsumer):
        @sync_to_async
        def note(self, event: Any) -> None:
            calls.append((type(self), event))

    await outcome(Threaded, "note")
    assert calls == [(Threaded, {})]


async def test_a_handler_that_is_not_async_is_told_how_to_be() -> None:
    with pytest.raises(UsageError, match="async def not_async"):
        await outcome(Consumer, "not_async")


def test_a_name_that_a_subclass_hides_is_no_handler() -> None:
    assert find_handler(Hider, "chat_message") is None


def test_a_class_marked_as_framework_keeps_its_names_for_itself() -> None:
    @framework
    class Base:
        of_base: Any

        async def made_for_this_test(self, event: Any) -> None:
            """Of the framework."""

    class Sub(Base):
        async def made_for_this_test(self, event: Any) -> None:
            """Of the application."""

        async def of_base(self, event: Any) -> None:
            """Of the application."""

    for name in ("made.for_this_test", "of_base"):
        assert find_handler(Sub, name) is None
        with pytest.raises(InvalidEvent, match="method of the framework"):
            make_event({"type": name})


def test_every_public_name_of_the_consumers_is_out_of_reach() -> None:
    for cls in (AsyncWebsocketConsumer, AsyncJsonWebsocketConsumer):
        for name in (*vars(cls), *cls.__annotations__):
            with pytest.raises(InvalidEvent):
                handler_name(name)


def test_a_handler_that_a_subclass_gets_later_is_found() -> None:
    class Late(Consumer):
        pass

    async def from_mixin(self: Any, event: Any) -> None:
        """As mock.patch does it."""

    before = find_handler(Late, "from_mixin")
    Late.from_mixin = from_mixin  # type: ignore[assignment, method-assign]
    after = find_handler(Late, "from_mixin")
    assert before is not None
    assert after is not None
    assert (before.turn, after.turn) == (Mixin.from_mixin, from_mixin)
    del Late.from_mixin
    assert find_handler(Late, "from_mixin") == before


def test_long_types_are_not_kept_in_memory() -> None:
    tracemalloc.start()
    try:
        for letter in string.ascii_letters:
            with contextlib.suppress(InvalidEvent):
                make_event({"type": letter * 100_000})
            find_handler(Consumer, letter * 100_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000


# @shared


def test_a_shared_handler_is_a_plain_function_of_the_event() -> None:
    handler = find_handler(Consumer, "chat.shared")
    assert handler is not None
    assert handler.turn is None
    assert handler.shared is not None
    assert list(inspect.signature(handler.shared).parameters) == ["event"]


def test_a_shared_handler_may_not_be_async() -> None:
    with pytest.raises(UsageError, match="async"):

        @shared
        async def handler(event: Any) -> None:
            """Can't be."""


def test_a_shared_handler_may_be_called_like_any_static_method() -> None:
    assert Consumer.chat_shared({}) == "shared"


def test_a_subclass_may_replace_a_shared_handler_by_one_for_each_member() -> None:
    class Replaced(Consumer):
        async def chat_shared(self, event: Any) -> None:
            """For each member."""

    handler = find_handler(Replaced, "chat_shared")
    assert handler is not None
    assert handler.shared is None
    assert asyncio.iscoroutinefunction(handler.turn)


def test_classes_that_inherit_a_shared_handler_have_the_same_one() -> None:
    assert find_handler(Consumer, "chat.shared") == find_handler(Child, "chat.shared")


# make_event

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
surrogate_free = values.filter(lambda value: "\\ud" not in repr(value))


@given(st.dictionaries(st.text(min_size=1), surrogate_free, max_size=4))
def test_content_comes_out_as_it_went_in(content: dict[str, Any]) -> None:
    message = {**content, "type": "chat.message"}
    event = make_event(message)
    assert event.type == "chat.message"
    assert event.content == event.copy() == message


@given(st.dictionaries(st.text(min_size=1), surrogate_free, max_size=4))
def test_a_copy_may_be_changed_without_another_noticing(content: dict[str, Any]) -> None:
    def spoil(value: Any) -> None:
        if isinstance(value, dict):
            for child in value.values():
                spoil(child)
            value["spoilt"] = True
        elif isinstance(value, list):
            for child in value:
                spoil(child)
            value.append("spoilt")

    message = {**content, "type": "chat.message"}
    event = make_event(message)
    spoil(event.copy())
    assert event.copy() == message


def test_the_senders_later_changes_do_not_reach_the_event() -> None:
    message = {"type": "chat.message", "list": [1]}
    event = make_event(message)
    message["list"].append(2)  # type: ignore[attr-defined]
    assert event.copy()["list"] == [1]


class Text(str):
    pass


class Number(int):
    pass


class Ratio(float):
    pass


def test_subclasses_of_text_and_numbers_travel_as_what_they_are() -> None:
    event = make_event({"type": Text("chat.message"), Text("key"): [Text("a"), Number(1), Ratio(0.5)]})
    assert event.content == {"type": "chat.message", "key": ["a", 1, 0.5]}
    assert type(event.type) is str
    assert [type(value) for value in event.content["key"]] == [str, int, float]


@pytest.mark.parametrize("message", [None, "chat.message", 5, [("type", "chat.message")], b"type"], ids=repr)
def test_what_is_no_mapping_is_no_event(message: Any) -> None:
    with pytest.raises(InvalidEvent, match="dict"):
        make_event(message)


def test_an_event_needs_a_type() -> None:
    with pytest.raises(InvalidEvent, match="type"):
        make_event({"kind": "chat.message"})


@pytest.mark.parametrize("kind", [OrderedDict, UserDict, MappingProxyType])
def test_an_event_may_be_any_mapping(kind: Any) -> None:
    assert make_event(kind({"type": "chat.message", "n": 1})).content == {"type": "chat.message", "n": 1}


def circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "value", [object(), 2**64, -(2**63) - 1, lambda: None, circular(), "\ud800", Consumer], ids=lambda value: "value"
)
def test_what_can_not_travel_is_refused_where_it_is_sent(value: Any) -> None:
    with pytest.raises(NotEncodable, match="travel"):
        make_event({"type": "chat.message", "value": value})


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [*range(900, 1100, 7), 100_000])
def test_content_of_any_depth_travels_or_is_refused(depth: int) -> None:
    for make in (make_event, carry_event):
        try:
            event = make({"type": "chat.message", "value": nested(depth)})
        except NotEncodable:
            assert depth > 900
        else:
            assert event.content["value"] != []


# carry_event


@pytest.mark.parametrize("event_type", NASTY, ids=repr)
def test_any_type_is_carried_and_reaches_no_consumer_of_antiphons(event_type: Any) -> None:
    event = carry_event({"type": event_type, "n": 1})
    assert event.type == (event_type if isinstance(event_type, str) else "")
    assert event.copy() == {"type": event_type, "n": 1}
    for consumer in (AsyncWebsocketConsumer, AsyncJsonWebsocketConsumer, Consumer, WebsocketConsumer, SyncConsumer):
        assert find_handler(consumer, event.type) is None


@given(types)
def test_a_type_that_is_carried_is_what_make_event_would_have_made_or_names_no_handler(event_type: Any) -> None:
    try:
        carried = carry_event({"type": event_type})
    except NotEncodable:
        assert find_handler(Consumer, event_type) is None
        return
    try:
        assert make_event({"type": event_type}) == carried
    except InvalidEvent:
        assert find_handler(Consumer, carried.type) is None


def test_an_event_without_a_type_is_carried() -> None:
    for message in ({}, {"kind": 1}, {5: "type"}):
        event = carry_event(message)
        assert (event.type, event.copy()) == ("", message)


@pytest.mark.parametrize("message", [None, "chat.message", 5, [("type", "chat.message")], b"type"], ids=repr)
def test_what_is_no_mapping_is_not_carried(message: Any) -> None:
    with pytest.raises(InvalidEvent, match="dict"):
        carry_event(message)


@pytest.mark.parametrize("kind", [OrderedDict, UserDict, MappingProxyType])
def test_any_mapping_is_carried(kind: Any) -> None:
    assert carry_event(kind({"type": "_any", "n": 1})).copy() == {"type": "_any", "n": 1}


def test_content_that_can_not_travel_is_not_carried() -> None:
    for value in (object(), 2**64, circular(), "\ud800"):
        with pytest.raises(NotEncodable):
            carry_event({"type": "chat.message", "value": value})


moment = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (moment, moment),
        (moment.replace(tzinfo=None), "2024-02-29T12:30:00"),
        (moment.date(), "2024-02-29"),
        (moment.time(), "12:30:00"),
        (datetime.timedelta(days=1), "P1D"),
        (decimal.Decimal("1.50"), "1.50"),
        ({1}, [1]),
        (frozenset({1}), [1]),
        ((1, (2,)), [1, [2]]),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        ({1: {2.5: 3}, None: 4, False: 5, b"a": 6, (7, 8): 9}, {1: {2.5: 3}, None: 4, False: 5, b"a": 6, (7, 8): 9}),
        ({uuid.UUID(int=1): 1}, {"00000000-0000-0000-0000-000000000001": 1}),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_values_that_json_has_not_travel(value: Any, expected: Any) -> None:
    for make in (make_event, carry_event):
        event = make({"type": "chat.message", "value": value})
        assert event.copy()["value"] == event.content["value"] == expected
        assert type(event.copy()["value"]) is type(expected)


# publication_event


@pytest.mark.parametrize(
    ("document", "content"),
    [
        ('{"a":[1,-2.5,null,true,"ä"]}', {"a": [1, -2.5, None, True, "ä"]}),
        ("null", None),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("[18446744073709551616,-9223372036854775809,1]", [2.0**64, -(2.0**63), 1]),
        ("1" + "0" * 400, math.inf),
        ('"\\ud83d\\ude00"', "😀"),
        ('["\\ud83d", "\\ude00\\ud83d x", {"\\udfff": 1}]', ["?", "?? x", {"?": 1}]),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_a_publication_becomes_an_event(document: str, content: Any) -> None:
    event = publication_event("room", Publication(document.encode(), "e1", 7, 0.0, "key"))
    assert event.type == "publication"
    expected = {"type": "publication", "group": "room", "content": content, "epoch": "e1", "offset": 7}
    assert event.copy() == event.content == expected
    assert type(event.copy()["content"]) is type(content)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
        max_leaves=12,
    )
    | st.text(st.characters(categories=["Cs", "L"]))
)
def test_whatever_can_be_published_becomes_an_event(content: Any) -> None:
    data = plain.encode(content)
    event = publication_event("room", Publication(data, "e1", 1, 0.0))
    assert json.dumps(event.copy()["content"]).count("[") == json.dumps(json.loads(data)).count("[")


# Handlers that are not coroutines


class SyncConsumer(WebsocketConsumer):
    threads: list[int] = []

    def chat_message(self, event: Any) -> str:
        self.threads.append(threading.get_ident())
        return "chat"

    @shared
    def chat_shared(event: Any) -> str:
        return "shared"

    async def is_async(self, event: Any) -> None:
        """Can't be run."""

    @sync_to_async
    def in_a_thread(self, event: Any) -> None:
        """Can't be run either."""

    @awaits_late
    async def decorated(self, event: Any) -> None:
        """Looks like any function."""

    chat_missing = None


async def test_a_handler_of_a_sync_consumer_is_run_in_a_thread() -> None:
    handler = find_handler(SyncConsumer, "chat.message")
    assert handler is not None
    assert handler.turn is not None
    assert handler.turn.__name__ == "chat_message"
    assert is_async(handler.turn)
    assert await handler.turn(SyncConsumer(), {}) == "chat"
    assert SyncConsumer.threads == [await sync_to_async(threading.get_ident)()]
    assert SyncConsumer.threads != [threading.get_ident()]


@pytest.mark.parametrize("event_type", ["is_async", "in_a_thread"])
async def test_an_async_handler_of_a_sync_consumer_is_found_and_told_how_to_be(event_type: str) -> None:
    for _ in range(2):
        handler = find_handler(SyncConsumer, event_type)
        assert handler is not None
        assert handler.turn is not None
        with pytest.raises(UsageError, match=f"write 'def {event_type}', or use AsyncWebsocketConsumer"):
            await handler.turn(SyncConsumer(), {})


def test_sync_consumers_have_shared_handlers_too_and_hide_names_as_others_do() -> None:
    handler = find_handler(SyncConsumer, "chat.shared")
    assert handler is not None
    assert (handler.turn, handler.shared is not None) == (None, True)
    assert find_handler(SyncConsumer, "chat_missing") is None


def test_every_public_name_of_the_sync_consumers_is_out_of_reach() -> None:
    for cls in (WebsocketConsumer, JsonWebsocketConsumer):
        for name in vars(cls):
            with pytest.raises(InvalidEvent):
                handler_name(name)


def test_what_is_async_is_told_whoever_made_it() -> None:
    async def coroutine(self: Any, event: Any) -> None:
        """One."""

    def function(self: Any, event: Any) -> None:
        """None."""

    assert is_async(coroutine)
    assert is_async(sync_to_async(function))
    assert not is_async(function)
    assert not is_async(None)
