"""The channel layer."""

from __future__ import annotations

import pytest

from antiphon.doctor.project import ANTIPHON_LAYER

from ..conftest import Find

MEMORY = "channels.layers.InMemoryChannelLayer"
REDIS = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
THEIRS = """
    from channels.generic.websocket import AsyncWebsocketConsumer as Theirs

    class Chat(Theirs):
        async def connect(self):
            await self.channel_layer.group_add("a", self.channel_name)
"""
OURS = """
    from antiphon import AsyncWebsocketConsumer

    class News(AsyncWebsocketConsumer):
        groups = ["news"]
"""
VIEWS = {
    "views.py": """
        from channels.layers import get_channel_layer

        layer = get_channel_layer()
        layer.group_send("a", {"type": "x"})
        layer.send("channel", {"type": "x"})
    """
}


def test_no_layer(find: Find) -> None:
    text = THEIRS + '\n    class More(Theirs):\n        groups = ["a"]\n\n    class Other(Theirs):\n        pass\n'
    (spot,) = find("no-channel-layer", text)
    assert str(spot.place) == "consumers.py:5"
    assert "likewise in More:" in spot.problem
    assert spot.code == f'CHANNEL_LAYERS = {{"default": {{"BACKEND": "{ANTIPHON_LAYER}"}}}}'
    assert find("no-channel-layer", text, layer=MEMORY) == []
    assert find("no-channel-layer", OURS) == []


def test_a_layer_of_another_name(find: Find) -> None:
    text = THEIRS + '\n        channel_layer_alias = "other"\n'
    (spot,) = find("no-channel-layer", text, layer=MEMORY)
    assert 'of the name "other"' in spot.problem
    assert '{"other": ' in spot.code


def test_the_in_memory_layer(find: Find) -> None:
    (spot,) = find("in-memory-layer", THEIRS, layer=MEMORY, config={"capacity": 7})
    assert str(spot.place) == 'CHANNEL_LAYERS["default"]'
    assert "when 7 wait" in spot.problem
    assert "antiphon's groups" not in spot.problem
    assert find("in-memory-layer", THEIRS, layer=ANTIPHON_LAYER) == []
    (spot,) = find("in-memory-layer", OURS, layer=MEMORY)
    assert "News is in antiphon's groups, which InMemoryChannelLayer is not" in spot.problem
    (spot,) = find("in-memory-layer", OURS + THEIRS, layer=MEMORY)
    assert "when 100 wait" in spot.problem
    assert spot.problem.endswith("News is in antiphon's groups, which get_channel_layer() does not reach.")


def test_many_consumers_are_not_listed(find: Find) -> None:
    more = "".join(f"\n    class C{number}(AsyncWebsocketConsumer):\n        pass\n" for number in range(4))
    (spot,) = find("in-memory-layer", OURS + more, layer=MEMORY)
    assert "antiphon's consumers are in antiphon's groups" in spot.problem


@pytest.mark.parametrize(
    ("layer", "several", "words", "code"),
    [
        (REDIS, False, "drops a message when 100 wait", ANTIPHON_LAYER),
        (REDIS, True, "drops a message when 100 wait", '"capacity": 1000'),
        (PUBSUB, False, "while its connection to Redis is down", ANTIPHON_LAYER),
        (PUBSUB, True, "while its connection to Redis is down", ""),
    ],
)
def test_redis_layers(find: Find, layer: str, several: bool, words: str, code: str) -> None:
    (spot,) = find("redis-layer", THEIRS, layer=layer, workers=4 if several else None)
    assert words in spot.problem
    assert code in spot.code
    assert ("keep Redis" in spot.remedy) == several


def test_redis_is_not_kept_for_antiphons_consumers(find: Find) -> None:
    (spot,) = find("redis-layer", OURS, layer=REDIS, workers=4)
    assert "which RedisChannelLayer is not" in spot.problem
    assert ANTIPHON_LAYER in spot.code


@pytest.mark.parametrize(("layer", "words"), [(MEMORY, "is InMemoryChannelLayer"), ("", "None")])
def test_groups_that_are_not_reached(find: Find, layer: str, words: str) -> None:
    (spot,) = find("unreachable-groups", OURS, files=VIEWS, layer=layer)
    assert str(spot.place) == "views.py:4"
    assert words in spot.problem
    assert "News is in antiphon's groups" in spot.problem


def test_groups_that_somebody_may_be_in(find: Find) -> None:
    assert find("unreachable-groups", OURS, files=VIEWS, layer=ANTIPHON_LAYER) == []
    assert find("unreachable-groups", OURS, files=VIEWS, layer="mine.Layer") == []
    assert find("unreachable-groups", OURS + THEIRS, files=VIEWS, layer=MEMORY) == []
    assert find("unreachable-groups", OURS, files=VIEWS, layer=MEMORY, dark=("some.application",)) == []
    assert find("unreachable-groups", "", files=VIEWS, layer=MEMORY) == []
    unknown = {"views.py": "from channels.layers import get_channel_layer\nget_channel_layer(x).group_send('a', {})\n"}
    assert find("unreachable-groups", OURS, files=unknown, layer=MEMORY) == []


def test_options_of_antiphons_layer(find: Find) -> None:
    config = {"hosts": [], "prefix": "x", "group_expiry": 60, "capacity": 10, "expiry": 5}
    (spot,) = find("layer-option-refused", OURS, layer=ANTIPHON_LAYER, config=config)
    assert str(spot.place) == 'CHANNEL_LAYERS["default"]["CONFIG"]'
    assert "hosts and prefix" in spot.problem
    (spot,) = find("layer-option-unused", OURS, layer=ANTIPHON_LAYER, config=config)
    assert spot.problem.startswith("capacity and group_expiry have no effect")
    # send() to a channel has a capacity.
    (spot,) = find("layer-option-unused", OURS, files=VIEWS, layer=ANTIPHON_LAYER, config=config)
    assert spot.problem.startswith("group_expiry has no effect")
    assert find("layer-option-refused", OURS, layer=ANTIPHON_LAYER, config={"expiry": 5}) == []
    assert find("layer-option-unused", OURS, layer=ANTIPHON_LAYER, config={"expiry": 5}) == []
    assert find("layer-option-refused", OURS, layer=REDIS, config=config) == []
