"""A consumer class as checks see it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer as Theirs
from channels.generic.websocket import WebsocketConsumer as TheirSync

import antiphon
from antiphon.doctor.consumer import Consumer, Family, describe
from antiphon.doctor.finding import Place
from antiphon.doctor.source import Library

LIBRARY = Library(Path(__file__).parent, Path(__file__).parent)


class Mixin:
    """Of the project, and no consumer."""

    def announce(self) -> None:
        """Do nothing."""


class Ours(Mixin, antiphon.AsyncJsonWebsocketConsumer):
    """antiphon's."""

    groups = ["a", "b"]

    async def chat_message(self, event: object) -> None:
        """Do nothing."""


class Sync(TheirSync):  # type: ignore[misc]
    """Channels', not async."""

    groups = None
    channel_layer_alias = "other"

    def __getattr__(self, name: str) -> object:
        """Have everything."""
        raise AttributeError(name)


class Worker(AsyncConsumer):  # type: ignore[misc]
    """No WebSocket."""

    async def dispatch(self, message: object) -> None:
        """Do it in its own way."""


def described(cls: type) -> Consumer:
    return describe(cls, LIBRARY)


def test_antiphons() -> None:
    found = described(Ours)
    assert (found.name, found.family, found.is_sync, found.is_websocket) == ("Ours", Family.ANTIPHON, False, True)
    assert [each.name for each in found.classes] == ["Ours", "Mixin"]
    assert found.classes[0].bases[1] == "antiphon.consumer.AsyncJsonWebsocketConsumer"
    assert found.place == found.classes[0].place
    assert Path(__file__).read_text().splitlines()[found.place.line - 1].startswith("class Ours")
    assert {"chat_message", "announce", "groups"} <= found.handlers
    assert {"connect", "receive_json", "accept"} <= found.framework
    assert not {"connect", "__init__"} & found.handlers
    assert found.groups == ("a", "b")
    assert found.alias == "default"
    assert found.speaks_to_groups
    assert not found.takes_all


def test_channels_sync() -> None:
    found = described(Sync)
    assert (found.family, found.is_sync, found.is_websocket) == (Family.CHANNELS, True, True)
    assert (found.groups, found.alias, found.takes_all) == ((), "other", True)
    assert not found.speaks_to_groups


def test_a_worker() -> None:
    found = described(Worker)
    assert (found.family, found.is_websocket, found.takes_all) == (Family.CHANNELS, False, True)


def test_a_class_that_is_installed_has_no_source_here() -> None:
    found = described(Theirs)
    assert found.classes == ()
    assert found.place == Place("channels.generic.websocket.AsyncJsonWebsocketConsumer")


def test_a_class_without_a_source() -> None:
    made = type("Made", (Theirs,), {"__module__": "nowhere"})
    assert described(made).classes == ()


def test_nobodys() -> None:
    assert described(Mixin).family is Family.OTHER


def test_a_class_in_a_function() -> None:
    class Local(Theirs):  # type: ignore[misc]
        """Defined where it is used."""

    (found,) = described(Local).classes
    assert found.name == "test_a_class_in_a_function.<locals>.Local"
    assert Path(__file__).read_text().splitlines()[found.place.line - 1].strip().startswith("class Local")


USES = {
    "no use": ("pass", None),
    "a use": ("self.channel_layer.group_add", 4),
    "a question": ("if self.channel_layer:\n            self.channel_layer.group_add", None),
    "a question for None": ("if self.channel_layer is not None:\n            self.channel_layer.group_add", None),
    "a question in an expression": ("self.channel_layer.group_add if self.channel_layer else None", None),
    "another question": ("if self.a:\n            self.channel_layer.group_add", 5),
    "a question to it": ("if self.channel_layer.group_add:\n            pass", 4),
}


@pytest.mark.parametrize("case", USES)
def test_use_of_the_layer(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body, line = USES[case]
    name = f"doctor_uses_{list(USES).index(case)}"
    (tmp_path / f"{name}.py").write_text(
        f"from channels.generic.websocket import WebsocketConsumer\nclass C(WebsocketConsumer):\n"
        f"    def connect(self):\n        {body}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    place = describe(importlib.import_module(name).C, Library(tmp_path, tmp_path)).uses_layer
    assert (place.line if place else None) == line
