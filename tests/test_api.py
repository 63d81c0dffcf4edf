"""The verbs that need no consumer."""

from __future__ import annotations

from typing import Any

import pytest

import antiphon
from antiphon import app
from antiphon.engines.memory import MemoryEngine

from .fakes import ASGIClient, on_jumping_loop, settled, until


@pytest.fixture(autouse=True)
def fresh_antiphon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})


class Member(antiphon.AsyncJsonWebsocketConsumer):
    groups = ["room"]
    names: list[str] = []

    async def connect(self) -> None:
        self.names.append(self.channel_name)
        await self.accept()

    async def note(self, event: dict[str, Any]) -> None:
        await self.send_json(event["n"])


@on_jumping_loop
async def test_publish_group_send_and_send_reach_the_members() -> None:
    client = await ASGIClient(Member.as_asgi()).opened()
    await settled()
    position = await antiphon.publish("room", 1)
    await settled()
    await antiphon.group_send("room", {"type": "note", "n": 2})
    await antiphon.send(Member.names[-1], {"type": "note", "n": 3})
    await until(lambda: len(client.texts) == 3)
    assert client.texts == ["1", "2", "3"]
    assert isinstance(position, antiphon.Position)
    await client.leave()


@on_jumping_loop
async def test_publish_passes_the_key_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []

    class Engine(MemoryEngine):
        async def publish(self, group: str, data: bytes, key: str = "", publishing: Any = None) -> antiphon.Position:
            keys.append(key)
            return await super().publish(group, data, key)

    monkeypatch.setattr(app, "open_engine", lambda url: Engine())
    await antiphon.publish("room", 1)
    await antiphon.publish("room", 1, key="ada")
    assert keys == ["", "ada"]


@on_jumping_loop
async def test_stats_tell_open_connections_and_every_counter() -> None:
    assert antiphon.stats()["connections"] == 0
    client = await ASGIClient(Member.as_asgi()).opened()
    await antiphon.publish("room", 1)
    stats = antiphon.stats()
    assert (stats["connections"], stats["connections_accepted"], stats["publications"]) == (1, 1, 1)
    assert set(stats) == {"connections", *app.current_app().counters.as_dict()}
    await client.leave()
    assert antiphon.stats()["connections"] == 0


def test_stats_may_be_asked_without_a_loop() -> None:
    assert antiphon.stats()["publications"] == 0


@pytest.mark.parametrize("name", antiphon.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(antiphon, name) is not None
