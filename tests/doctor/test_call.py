"""Calls of a layer, as they are written."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from antiphon.doctor.call import LayerCall, Text, Via, layer_calls, text_of
from antiphon.doctor.source import Source


def calls(text: str) -> list[LayerCall]:
    text = textwrap.dedent(text)
    return list(layer_calls(Source(Path("a.py"), "a.py", text, ast.parse(text))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'room'", Text("room", True)),
        ("f'room-{number}-{other}'", Text("room--", False)),
        ("f'room'", Text("room", True)),
        ("'room-' + name", Text("room-", False)),
        ("'a' + 'b'", Text("ab", True)),
        ("'room %s of %(x)d, 100%%' % name", Text("room  of , 100%", False)),
        ("'room {} {{of}} {name!r}'.format(1, name=2)", Text("room  {of} ", False)),
        ("name", None),
        ("a + b", None),
        ("1", None),
        ("b'room'", None),
        ("'-'.join(names)", None),
    ],
)
def test_what_can_be_said_of_a_text(text: str, expected: Text | None) -> None:
    assert text_of(ast.parse(text, mode="eval").body) == expected


IMPORTS = """
import antiphon
from antiphon import group_send, sync
from asgiref.sync import async_to_sync
from channels.layers import channel_layers, get_channel_layer
from functools import partial
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("self.channel_layer.group_send('a', {})", (Via.CONSUMER, None)),
        ("get_channel_layer().group_send('a', {})", (Via.CHANNELS, "default")),
        ("get_channel_layer('other').group_send('a', {})", (Via.CHANNELS, "other")),
        ("get_channel_layer(alias=name).group_send('a', {})", (Via.CHANNELS, None)),
        ("channel_layers['x'].group_send('a', {})", (Via.CHANNELS, "x")),
        ("antiphon.group_send('a', {})", (Via.ANTIPHON, None)),
        ("group_send('a', {})", (Via.ANTIPHON, None)),
        ("sync.group_send('a', {})", (Via.ANTIPHON, None)),
        ("layer.group_send('a', {})", (Via.UNKNOWN, None)),
        ("async_to_sync(get_channel_layer().group_send)('a', {})", (Via.CHANNELS, "default")),
        ("on_commit(partial(sync.group_send, 'a', {}))", (Via.ANTIPHON, None)),
        ("on_commit(lambda: sync.group_send('a', {}))", (Via.ANTIPHON, None)),
    ],
)
def test_who_speaks(text: str, expected: tuple[Via, str | None]) -> None:
    (call,) = calls(IMPORTS + text)
    assert (call.via, call.alias) == expected
    assert (call.verb, text_of(call.group)) == ("group_send", Text("a", True))
    assert isinstance(call.message, ast.Dict)


@pytest.mark.parametrize("text", ["mail.send('a', {})", "send()", "x.publish(1)", "other(1)", "get_channel_layer()"])
def test_what_is_no_call_of_a_layer(text: str) -> None:
    assert calls(IMPORTS + text) == []


def test_a_layer_by_another_name_is_known_where_it_was_assigned_once() -> None:
    once = IMPORTS + "layer = get_channel_layer()\ndef view():\n    layer.group_send('a', {})\n"
    assert [call.via for call in calls(once)] == [Via.CHANNELS]
    twice = IMPORTS + "layer = get_channel_layer()\nlayer = other\ndef view():\n    layer.group_send('a', {})\n"
    assert [call.via for call in calls(twice)] == [Via.UNKNOWN]
    hidden = IMPORTS + "layer = get_channel_layer()\ndef view(layer):\n    layer.group_send('a', {})\n"
    assert [call.via for call in calls(hidden)] == [Via.UNKNOWN]
    again = IMPORTS + "layer = layer\nlayer.group_send('a', {})\n"
    assert [call.via for call in calls(again)] == [Via.UNKNOWN]


NAMES = """
class Chat:
    async def connect(self):
        self.room = "chat " + self.name
        self.two = "one"
        for self.looped in ():
            pass
        await self.channel_layer.group_add(self.room, self.channel_name)

    async def receive(self, text):
        self.two = "other"
        await self.channel_layer.group_add(self.two, self.channel_name)
        await self.channel_layer.group_add(self.looped, self.channel_name)
        await self.channel_layer.group_add(text, self.channel_name)
        event = {"type": "said", **more}
        await self.channel_layer.group_send(self.room, event)
        changed = {"type": "said"}
        changed["type"] = "heard"
        await self.channel_layer.group_send(self.room, changed)
        first, second = "a b", "c d"
        await self.channel_layer.group_send(first, {**more, "type": "seen"})
        run(lambda room: self.channel_layer.group_send(room, {"type": kind}))
"""


def test_what_is_passed_is_looked_up() -> None:
    found = [(text_of(call.group), call.event_type) for call in calls(NAMES)]
    room = Text("chat ", False)
    assert found == [
        (room, None),
        (None, None),
        (None, None),
        (None, None),
        (room, None),
        (room, None),
        (None, "seen"),
        (None, None),
    ]
    assert {call.owner for call in calls(NAMES)} == {"Chat"}


def test_keywords() -> None:
    (call,) = calls("layer.group_send(message={'type': 'x'}, group='a')")
    assert (text_of(call.group), call.event_type) == (Text("a", True), "x")


def test_where_it_stands() -> None:
    text = """
    from celery import shared_task

    def make():
        class Inner:
            @shared_task
            def run(self):
                @other(1)
                def deeper():
                    layer.group_add("a", "b")
    """
    (call,) = calls(text)
    assert (str(call.place), call.owner) == ("a.py:10", "make.<locals>.Inner")
    assert call.decorators == ("celery.shared_task", "other")
