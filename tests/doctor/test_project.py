"""A project as one value."""

from __future__ import annotations

import pytest

from antiphon.doctor.call import Via
from antiphon.doctor.consumer import Family
from antiphon.doctor.project import ANTIPHON_LAYER, LayerKind, layer_kind

from .conftest import Make

CONSUMERS = """
    from antiphon import AsyncWebsocketConsumer
    from channels.generic.websocket import AsyncWebsocketConsumer as Theirs

    class Mixin:
        async def join(self):
            await self.channel_layer.group_add("a", self.channel_name)

    class Ours(Mixin, AsyncWebsocketConsumer):
        pass

    class Chat(Mixin, Theirs):
        pass
"""


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([ANTIPHON_LAYER], LayerKind.ANTIPHON),
        (["channels.layers.InMemoryChannelLayer"], LayerKind.MEMORY),
        (["mine.Layer", "channels_redis.core.RedisChannelLayer", "channels.layers.BaseChannelLayer"], LayerKind.REDIS),
        (["channels_redis.pubsub.RedisPubSubChannelLayer"], LayerKind.REDIS_PUBSUB),
        (["mine.Layer", "channels.layers.BaseChannelLayer"], LayerKind.OTHER),
        ([], LayerKind.OTHER),
    ],
)
def test_kinds_of_layers(names: list[str], kind: LayerKind) -> None:
    assert layer_kind(*names) is kind


def test_consumers_and_their_classes(make: Make) -> None:
    project = make(CONSUMERS, layer="channels.layers.InMemoryChannelLayer")
    assert [each.name for each in project.consumers] == ["Ours", "Chat"]
    assert [each.name for each in project.of(Family.CHANNELS)] == ["Chat"]
    shared = {each.name: [consumer.name for consumer in consumers] for each, consumers in project.classes.items()}
    assert shared == {"Ours": ["Ours"], "Mixin": ["Ours", "Chat"], "Chat": ["Chat"]}


def test_calls_and_their_layer(make: Make) -> None:
    views = """
        from channels.layers import get_channel_layer

        get_channel_layer().group_send("a", {})
        get_channel_layer("b").group_send("a", {})
        get_channel_layer(name).group_send("a", {})
        layer.group_send("a", {})
    """
    project = make(CONSUMERS, files={"views.py": views}, layer="channels.layers.InMemoryChannelLayer")
    default = project.layers["default"]
    found = {(call.via, call.alias): project.layer_of(call) for call in project.calls}
    assert found == {
        (Via.CONSUMER, None): default,
        (Via.CHANNELS, "default"): default,
        (Via.CHANNELS, "b"): None,
        (Via.CHANNELS, None): None,
        (Via.UNKNOWN, None): None,
    }
    (call,) = (call for call in project.calls if call.via is Via.CONSUMER)
    assert [consumer.name for consumer in project.speakers(call)] == ["Ours", "Chat"]
    (call,) = (call for call in project.calls if call.via is Via.UNKNOWN)
    assert project.speakers(call) == ()


def test_installed_applications(make: Make) -> None:
    apps = ["a", "antiphon.django.apps.AntiphonConfig", "django.contrib.staticfiles", "daphneish"]
    project = make(settings={"INSTALLED_APPS": apps})
    assert project.installed("antiphon.django") == 1
    assert project.installed("django.contrib.staticfiles") == 2
    assert project.installed("daphne") is None


def test_options_are_read_where_somebody_reads_them(make: Make) -> None:
    settings = {"ANTIPHON": {"engine": "other://"}, "INSTALLED_APPS": []}
    assert make(settings=settings).is_in_memory
    assert not make(settings={**settings, "INSTALLED_APPS": ["antiphon.django"]}).is_in_memory
    assert not make(settings=settings, layer=ANTIPHON_LAYER).is_in_memory
    assert make(settings=settings, layer=ANTIPHON_LAYER, environment={"ANTIPHON_ENGINE": "memory://"}).is_in_memory


def test_options_that_can_not_be_make_no_configuration(make: Make) -> None:
    project = make(settings={"ANTIPHON": {"outbox": 5}}, layer=ANTIPHON_LAYER)
    assert project.config is None
    assert project.is_in_memory


def test_what_serves_it(make: Make) -> None:
    commands = {"Procfile": "a: daphne project.asgi:application\nb: daphne other.asgi:application\n"}
    assert [command.place.line for command in make(commands=commands).serving] == [1]
    assert make(commands=commands, application="").serving == []
