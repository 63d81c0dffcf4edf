"""The verbs that need no consumer."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import pytest

import antiphon
from antiphon import app
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import UsageError
from antiphon.rules import Rule
from antiphon.types import ClientInfo, PresenceStats, Publishing, Repeat

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

    monkeypatch.setattr(app, "open_engine", lambda url, counters: Engine())
    await antiphon.publish("room", 1)
    await antiphon.publish("room", 1, key="ada")
    assert keys == ["", "ada"]


@on_jumping_loop
async def test_publish_passes_on_what_goes_with_a_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Engine(MemoryEngine):
        async def publish(self, group: str, data: bytes, key: str = "", publishing: Any = None) -> antiphon.Position:
            seen.append(publishing)
            return await super().publish(group, data, key, publishing)

    monkeypatch.setattr(app, "open_engine", lambda url, counters: Engine())
    info = ClientInfo("7", "c")
    first = await antiphon.publish("room", 1, idempotency_key="k", tags={"a": "b"}, info=info)
    again = await antiphon.publish("room", 2, idempotency_key="k")
    await antiphon.publish("room", 3)
    retention = Rule().retention
    assert seen == [Publishing(retention, "k", info, {"a": "b"}), Publishing(retention, "k"), None]
    assert isinstance(again, Repeat)
    assert again == first


@on_jumping_loop
async def test_history_reads_what_a_rule_keeps() -> None:
    antiphon.configure(rules={"room": {"history_size": 10}})
    client = await ASGIClient(Member.as_asgi()).opened()
    await settled()
    positions = [await antiphon.publish("room", n) for n in range(1, 5)]
    page = await antiphon.history("room", since=positions[0], limit=2)
    assert [publication.data for publication in page.publications] == [b"2", b"3"]
    assert page.top == positions[-1]
    backwards = await antiphon.history("room", since=positions[2], reverse=True)
    assert [publication.offset for publication in backwards.publications] == [2, 1]
    with pytest.raises(UsageError, match="keeps no history"):
        await antiphon.history("other")
    await until(lambda: len(client.texts) == 4)
    assert client.texts == ["1", "2", "3", "4"]
    await client.leave()
    await stop()


@on_jumping_loop
async def test_the_position_check_is_made_so_often_as_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    class Engine(MemoryEngine):
        async def history(self, group: str, retention: Any, **arguments: Any) -> Any:
            looks.append(asyncio.get_running_loop().time())
            return await super().history(group, retention, **arguments)

    monkeypatch.setattr(app, "open_engine", lambda url, counters: Engine())
    for seconds in (40.0, 7.0, 0):
        if seconds != 40:
            antiphon.configure(position_check=seconds, rules={"room": {"history_size": 10}})
        else:
            antiphon.configure(rules={"room": {"history_size": 10}})
        client = await ASGIClient(Member.as_asgi()).opened()
        await settled()
        looks.clear()
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(100)
        expected = int(100 // seconds) if seconds else 0
        assert [round(look - began) for look in looks] == [seconds * n for n in range(1, expected + 1)]
        await client.leave()
        await stop()


async def stop() -> None:
    """Stop the process's antiphon."""
    await app.current_app().stop()


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


class Noted(Member):
    client_info = {"name": "Ann"}


@on_jumping_loop
async def test_presence_and_orders_are_those_of_the_layer() -> None:
    antiphon.configure(rules={"room": {"presence": "kept", "history_size": 5}, "other": {"presence": "kept"}})
    client = await ASGIClient(Noted.as_asgi(), user="ann").opened()
    await settled()
    ((name, info),) = (await antiphon.presence("room")).items()
    assert info == ClientInfo("ann", name, b'{"name":"Ann"}')
    assert await antiphon.presence_stats("room") == PresenceStats(clients=1, users=1)
    await antiphon.subscribe("other", "ann")
    await antiphon.unsubscribe("room", client=name)
    await antiphon.refresh("ann", expires_at=None)
    await settled()
    assert (list(await antiphon.presence("other")), await antiphon.presence("room")) == ([name], {})
    await antiphon.publish("room", 1)
    await antiphon.remove_history("room")
    assert (await antiphon.history("room")).publications == ()
    await antiphon.kick("ann", client=name, code=4001, reason="enough")
    await asyncio.wait_for(client.task, 60)
    assert client.sent[-1] == {"type": "websocket.close", "code": 4001, "reason": "enough"}
    assert antiphon.stats()["kicked"] == 1
    await stop()


@on_jumping_loop
async def test_a_session_that_is_over_ends_its_connections_alone() -> None:
    clients = [
        await ASGIClient(Member.as_asgi(), user="ann", session=types.SimpleNamespace(session_key=key)).opened()
        for key in ("one", "two")
    ]
    await settled()
    await antiphon.kick("ann", session="one")
    await asyncio.wait_for(clients[0].task, 60)
    await settled()
    assert not clients[1].task.done()
    await clients[1].leave()
