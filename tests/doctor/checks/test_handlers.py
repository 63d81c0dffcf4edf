"""Whose class a consumer is built on, and what is async in it."""

from __future__ import annotations

import pytest

from ..conftest import Find


def consumer(body: str, base: str = "AsyncJsonWebsocketConsumer", module: str = "channels.generic.websocket") -> str:
    """A consumer with this body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"from {module} import {base}\n\n\nclass Chat({base}):\n{lines}"


SEND = {"views.py": 'layer.group_send("a", {"type": "chat.said"})\n'}


def test_channels_consumers_are_told_once_a_file(find: Find) -> None:
    text = """
        from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

        class Chat(AsyncJsonWebsocketConsumer):
            async def websocket_connect(self, message):
                self.dispatch(message)

        class More(Chat):
            pass

        class Sync(JsonWebsocketConsumer):
            channel_layer_alias = "other"
    """
    (spot,) = find("channels-consumer", text)
    assert str(spot.place) == "consumers.py:1"
    assert spot.code == "from antiphon import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer"
    assert "Chat and Sync are built on" in spot.problem
    assert "JSON that can't be read" in spot.problem
    assert "websocket_connect (consumers.py:4; override connect)" in spot.problem
    assert "channel_layer_alias (consumers.py:11;" in spot.problem
    assert "Redis" not in spot.problem


def test_the_class_is_the_place_where_the_import_is_not_seen(find: Find) -> None:
    text = "import channels.generic.websocket as ws\n\n\nclass Chat(ws.AsyncWebsocketConsumer):\n    pass\n"
    (spot,) = find("channels-consumer", text)
    assert spot.place.line == 4
    assert "JSON" not in spot.problem


def test_no_advice_that_can_not_be_followed(find: Find) -> None:
    text = consumer("pass")
    assert find("channels-consumer", text, workers=2) == []
    (spot,) = find("channels-consumer", text, layer="channels_redis.core.RedisChannelLayer")
    assert "antiphon's groups live in one process today" in spot.problem
    assert find("channels-consumer", consumer("pass", module="antiphon")) == []
    assert find("channels-consumer", consumer("pass", "SyncConsumer", "channels.consumer")) == []


@pytest.mark.parametrize("module", ["channels.generic.websocket", "antiphon"])
def test_async_in_a_sync_consumer(find: Find, module: str) -> None:
    body = (
        "async def connect(self):\n    pass\n"
        "async def receive_json(self, content):\n    pass\n"
        "async def chat_said(self, event):\n    pass\n"
        "async def helper(self, event):\n    pass\n"
        "@decorated\nasync def disconnect(self, code):\n    pass\n"
        "def receive(self, text_data):\n    pass\n"
    )
    text = "decorated = lambda f: f\n" + consumer(body, "JsonWebsocketConsumer", module)
    found = find("async-in-sync-consumer", text, files=SEND)
    assert [spot.place.line for spot in found] == [6, 8, 10]
    assert found[0].code == "def connect(self):"


@pytest.mark.parametrize("module", ["channels.generic.websocket", "antiphon"])
def test_sync_in_an_async_consumer(find: Find, module: str) -> None:
    body = (
        "def connect(self):\n    self.accept()\n"
        "def disconnect(self, code):\n    pass\n"
        "def chat_said(self, event):\n    return None\n"
        "async def receive_json(self, content):\n    pass\n"
    )
    found = find("sync-in-async-consumer", consumer(body, module=module), files=SEND)
    assert [spot.place.line for spot in found] == [5, 7, 9]
    assert found[1].code == "async def disconnect(self, code):"


@pytest.mark.parametrize(
    "body",
    [
        "def connect(self):\n    return self.accept()",
        "def connect(self):\n    raise DenyConnection()",
        "def connect(self):\n    ...",
        "def receive(self):\n    yield 1",
        "def receive(self):\n    yield from ()",
        "def chat_said(self, event, more):\n    pass",
        "def chat_said(self, event, *, more):\n    pass",
        "def chat_said(self, event):\n    pass\nasync def connect(self):\n    self.chat_said(1)",
        "def chat_heard(self, event):\n    pass",
        "@staticmethod\ndef chat_said(event):\n    pass",
        "def websocket_error(self, event):\n    pass",
    ],
)
def test_what_an_async_consumer_may_have(find: Find, body: str) -> None:
    assert find("sync-in-async-consumer", consumer(body), files=SEND) == []


def test_a_function_in_a_method_returns_for_itself(find: Find) -> None:
    body = "def connect(self):\n    def inner():\n        return 1\n    self.x = lambda: 1\n    inner()"
    assert len(find("sync-in-async-consumer", consumer(body))) == 1


def test_a_base_of_both_kinds_is_neither(find: Find) -> None:
    text = """
        from antiphon import AsyncWebsocketConsumer
        from channels.generic.websocket import WebsocketConsumer

        class Mixin:
            def disconnect(self, code):
                self.channel_layer.group_discard("a", self.channel_name)

        class Sync(Mixin, WebsocketConsumer):
            pass

        class Async(Mixin, AsyncWebsocketConsumer):
            pass
    """
    assert find("sync-in-async-consumer", text) == []
    assert find("async-in-sync-consumer", text) == []
    assert find("not-awaited", text) == []


@pytest.mark.parametrize("module", ["channels.generic.websocket", "antiphon"])
@pytest.mark.parametrize(
    ("statement", "remedy"),
    [
        ("self.accept()", "await self.accept()"),
        ("self.send_json({})", "await self.send_json({})"),
        ("super().close(code=4000)", "await super().close(code=4000)"),
        ("self.channel_layer.group_add('a', 'b')", "await self.channel_layer.group_add('a', 'b')"),
        ("await self.accept()", None),
        ("x = self.accept()", None),
        ("return self.accept()", None),
        ("create_task(self.accept())", None),
        ("self.other()", None),
        ("other.accept()", None),
        ("self.layer.group_add('a', 'b')", None),
        ("async_to_sync(self.accept)()", None),
    ],
)
def test_what_is_not_awaited(find: Find, module: str, statement: str, remedy: str | None) -> None:
    found = find("not-awaited", consumer(f"async def connect(self):\n    {statement}", module=module))
    assert [(spot.place.line, spot.code) for spot in found] == ([(6, remedy)] if remedy else [])


def test_an_override_may_be_no_coroutine(find: Find) -> None:
    body = "def accept(self):\n    return later()\nasync def connect(self):\n    self.accept()"
    assert find("not-awaited", consumer(body)) == []


@pytest.mark.parametrize("module", ["channels.generic.websocket", "antiphon"])
def test_a_sync_consumer_needs_an_adapter_for_the_layer(find: Find, module: str) -> None:
    body = "def connect(self):\n    self.accept()\n    self.channel_layer.group_add('a', self.channel_name)"
    (spot,) = find("not-awaited", consumer(body, "WebsocketConsumer", module))
    assert spot.code == "async_to_sync(self.channel_layer.group_add)('a', self.channel_name)"


def test_what_is_no_consumer_of_ours(find: Find) -> None:
    text = "class Chat:\n    as_asgi = 1\n    def connect(self):\n        self.accept()\n"
    assert find("not-awaited", text) == []
    assert find("sync-in-async-consumer", text) == []
