"""Names of groups and types of events."""

from __future__ import annotations

import pytest

from antiphon.doctor.project import ANTIPHON_LAYER

from ..conftest import Find

MEMORY = "channels.layers.InMemoryChannelLayer"
REDIS = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"

CONSUMER = """
    from {module} import AsyncWebsocketConsumer

    class Chat(AsyncWebsocketConsumer):
        async def connect(self):
            await self.channel_layer.group_add({name}, self.channel_name)

        async def chat_message(self, event):
            pass
"""
THEIRS = "channels.generic.websocket"


@pytest.mark.parametrize("layer", [MEMORY, REDIS, ANTIPHON_LAYER])
@pytest.mark.parametrize(
    ("name", "repaired"),
    [
        ('"chat room"', "'chat_room'"),
        ('"chat:1"', "'chat_1'"),
        ('"a/b"', "'a_b'"),
        ('"caf\\u00e9"', "'caf_'"),
        ('"a\\n"', "'a_'"),
        ('f"chat:{self.room}"', "f'chat_{self.room}'"),
        ('"chat:%s" % self.room', ""),
        ('"chat:{}".format(self.room)', ""),
        ('"chat:" + self.room', ""),
    ],
)
def test_names_that_channels_layers_refuse(find: Find, layer: str, name: str, repaired: str) -> None:
    (spot,) = find("group-name-refused", CONSUMER.format(module=THEIRS, name=name), layer=layer)
    assert str(spot.place) == "consumers.py:5"
    assert "TypeError" in spot.problem
    assert spot.code == repaired


def test_long_and_empty_names(find: Find) -> None:
    (spot,) = find("group-name-refused", CONSUMER.format(module=THEIRS, name=f'"{"a" * 100}"'), layer=MEMORY)
    assert "it has 100 characters, and 99 are the most" in spot.problem
    assert spot.code == ""
    (spot,) = find("group-name-refused", CONSUMER.format(module=THEIRS, name='""'), layer=MEMORY)
    assert "it is empty" in spot.problem


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ('"chat-1_2.3"', MEMORY),
        (f'"{"a" * 99}"', MEMORY),
        ('f"chat_{self.room}"', MEMORY),
        ('f"{self.kind}{self.room}"', MEMORY),
        ("self.room", MEMORY),
        ('"chat room"', PUBSUB),
        ('"chat room"', "mine.Layer"),
        ('"chat room"', ""),
    ],
)
def test_names_that_may_be(find: Find, name: str, layer: str) -> None:
    assert find("group-name-refused", CONSUMER.format(module=THEIRS, name=name), layer=layer) == []


@pytest.mark.parametrize("layer", [MEMORY, ANTIPHON_LAYER, ""])
def test_antiphons_consumers_have_their_own_rule(find: Find, layer: str) -> None:
    assert find("group-name-refused", CONSUMER.format(module="antiphon", name='"caf\\u00e9: 1"'), layer=layer) == []
    (spot,) = find("group-name-refused", CONSUMER.format(module="antiphon", name='"a\\n"'), layer=layer)
    assert "printable text" in spot.problem
    (spot,) = find("group-name-refused", CONSUMER.format(module="antiphon", name='""'), layer=layer)
    assert "it is empty" in spot.problem


def test_names_elsewhere(find: Find) -> None:
    views = """
        from antiphon import sync
        from channels.layers import get_channel_layer

        get_channel_layer().group_send("a b", {"type": "chat.message"})
        get_channel_layer(alias).group_send("a b", {"type": "chat.message"})
        sync.group_send("a b", {"type": "chat.message"})
        sync.publish("a b", 1)
    """
    consumer = CONSUMER.format(module=THEIRS, name='"a"')
    (spot,) = find("group-name-refused", consumer, files={"views.py": views}, layer=MEMORY)
    assert str(spot.place) == "views.py:4"


def test_the_groups_of_a_class(find: Find) -> None:
    text = """
        from channels.generic.websocket import AsyncWebsocketConsumer

        class Chat(AsyncWebsocketConsumer):
            groups = ["fine", "not fine"]
    """
    (spot,) = find("group-name-refused", text, layer=MEMORY)
    assert (str(spot.place), spot.code) == ("consumers.py:3", "'not_fine'")
    assert find("group-name-refused", text) == []


def sends(event_type: str, verb: str = "group_send", name: str = "name") -> dict[str, str]:
    """Views that send an event."""
    layer = "from channels.layers import get_channel_layer\nlayer = get_channel_layer()\n"
    return {"views.py": f'{layer}layer.{verb}({name}, {{"type": "{event_type}"}})\n'}


@pytest.mark.parametrize(
    ("event_type", "words"),
    [
        ("_private", "underscore"),
        (".private", "underscore"),
        ("send", "send is a method of the framework"),
        ("websocket.disconnect", "websocket_disconnect is a method"),
        ("receive.json", None),
        ("chat.message", None),
        ("nowhere", None),
    ],
)
def test_types_for_channels_consumers(find: Find, event_type: str, words: str | None) -> None:
    consumer = CONSUMER.format(module=THEIRS, name='"a"')
    found = find("event-type-refused", consumer, files=sends(event_type), layer=MEMORY)
    assert [str(spot.place) for spot in found] == (["views.py:3"] if words else [])
    if words:
        assert words in found[0].problem
        assert found[0].code.startswith('"type": "chat.')


@pytest.mark.parametrize(
    ("event_type", "words"),
    [
        ("send", "send is a method of the framework"),
        ("receive.json", "receive_json is a method of the framework"),
        ("not-a-name", "no name of a method"),
        ("chat.message", None),
    ],
)
def test_types_for_antiphons_consumers(find: Find, event_type: str, words: str | None) -> None:
    consumer = CONSUMER.format(module="antiphon", name='"a"')
    found = find("event-type-refused", consumer, files=sends(event_type), layer=ANTIPHON_LAYER)
    assert bool(found) == bool(words)
    assert all(str(words) in spot.problem for spot in found)


def test_a_type_that_reaches_nobody_has_no_handler_to_miss(find: Find) -> None:
    consumer = CONSUMER.format(module="antiphon", name='"a"')
    assert find("event-type-refused", consumer, files=sends("send"), layer=MEMORY) == []
    assert find("event-without-handler", consumer, files=sends("nothing"), layer=MEMORY) == []


@pytest.mark.parametrize(
    ("module", "layer"), [("antiphon", ANTIPHON_LAYER), (THEIRS, MEMORY), (THEIRS, ANTIPHON_LAYER)]
)
def test_an_event_without_a_handler(find: Find, module: str, layer: str) -> None:
    consumer = CONSUMER.format(module=module, name='"a"')
    (spot,) = find("event-without-handler", consumer, files=sends("chat.mesage"), layer=layer)
    assert str(spot.place) == "views.py:3"
    assert "There is chat_message" in spot.problem
    assert spot.code == "async def chat_mesage(self, event):"
    assert find("event-without-handler", consumer, files=sends("chat.message"), layer=layer) == []
    assert find("event-without-handler", consumer, files=sends("chat_message"), layer=layer) == []


def test_what_may_have_a_handler_somewhere(find: Find) -> None:
    consumer = CONSUMER.format(module=THEIRS, name='"a"')
    views = sends("other")
    assert find("event-without-handler", consumer, files=views, layer=MEMORY, dark=("some.application",)) == []
    own = consumer + "\n        async def dispatch(self, message):\n            pass\n"
    assert find("event-without-handler", own, files=views, layer=MEMORY) == []
    assert find("event-type-refused", own, files=sends("_x"), layer=MEMORY) == []
    assert find("event-without-handler", "", files=views, layer=MEMORY) == []
    to_a_worker = sends("make", "send", '"thumbnails"')
    assert find("event-without-handler", consumer, files=to_a_worker, layer=MEMORY) == []
    to_a_consumer = sends("make", "send", "channel_name")
    assert len(find("event-without-handler", consumer, files=to_a_consumer, layer=MEMORY)) == 1


def test_any_consumer_may_get_what_a_stranger_sends(find: Find) -> None:
    consumer = CONSUMER.format(module="antiphon", name='"a"')
    views = {"views.py": 'layer.group_send("a", {"type": "chat.message"})\nlayer.group_send("a", {"type": "x"})\n'}
    (spot,) = find("event-without-handler", consumer, files=views, layer=MEMORY)
    assert spot.place.line == 2


def test_many_consumers_are_counted(find: Find) -> None:
    classes = "".join(f"\n    class C{number}(AsyncWebsocketConsumer):\n        pass\n" for number in range(4))
    consumers = "\n    from channels.generic.websocket import AsyncWebsocketConsumer\n" + classes
    (spot,) = find("event-without-handler", consumers, files=sends("x"), layer=MEMORY)
    assert "the 4 consumers that may get it have no method x" in spot.problem


def test_sync_consumers_get_sync_handlers(find: Find) -> None:
    consumer = "from channels.generic.websocket import WebsocketConsumer\nclass Chat(WebsocketConsumer):\n    pass\n"
    (spot,) = find("event-without-handler", consumer, files=sends("x"), layer=MEMORY)
    assert spot.code == "def x(self, event):"
