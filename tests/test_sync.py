"""The same verbs for code without a running loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async

import antiphon
from antiphon import app, sync
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import InvalidName, NotEncodable, UsageError
from antiphon.rules import Rule
from antiphon.types import ClientInfo, PresenceStats, Publishing, Repeat

from .fakes import ASGIClient, settled


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


def test_without_a_loop_one_is_run_for_the_call() -> None:
    assert sync.publish("room", 1).offset == 1
    sync.group_send("room", {"type": "note", "n": 1})
    assert antiphon.stats()["publications"] == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_event_for_nobody_is_counted() -> None:
    sync.send("specific.a!b", {"type": "note", "n": 1})
    assert antiphon.stats()["events"] == 1


async def test_from_a_thread_the_work_is_done_on_the_home_loop() -> None:
    client = await ASGIClient(Member.as_asgi()).opened()
    await settled()

    def view() -> antiphon.Position:
        position = sync.publish("room", 1)
        sync.group_send("room", {"type": "note", "n": 2})
        sync.send(Member.names[-1], {"type": "note", "n": 3})
        return position

    position = await asyncio.to_thread(view)
    await settled()
    assert client.texts == ["1", "2", "3"]
    assert position.offset == 1
    await client.leave()


@pytest.mark.parametrize(
    "call",
    [
        lambda: sync.publish("room", 1),
        lambda: sync.history("room"),
        lambda: sync.group_send("room", {"type": "note"}),
        lambda: sync.send("specific.a!b", {"type": "note"}),
        lambda: sync.remove_history("room"),
        lambda: sync.presence("room"),
        lambda: sync.presence_stats("room"),
        lambda: sync.kick("ann"),
        lambda: sync.subscribe("room", "ann"),
        lambda: sync.unsubscribe("room", "ann"),
        lambda: sync.refresh("ann"),
    ],
)
async def test_in_async_code_the_caller_is_told_what_to_await(call: Any) -> None:
    with pytest.raises(UsageError, match="await"):
        call()


def test_publish_passes_the_key_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []

    class Engine(MemoryEngine):
        async def publish(self, group: str, data: bytes, key: str = "", publishing: Any = None) -> antiphon.Position:
            keys.append(key)
            return await super().publish(group, data, key)

    monkeypatch.setattr(app, "open_engine", lambda url, counters: Engine())
    sync.publish("room", 1)
    sync.publish("room", 1, key="ada")
    assert keys == ["", "ada"]


def test_publish_passes_on_what_goes_with_a_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Engine(MemoryEngine):
        async def publish(self, group: str, data: bytes, key: str = "", publishing: Any = None) -> antiphon.Position:
            seen.append(publishing)
            return await super().publish(group, data, key, publishing)

    monkeypatch.setattr(app, "open_engine", lambda url, counters: Engine())
    info = ClientInfo("7", "c")
    sync.publish("room", 1, idempotency_key="k", tags={"a": "b"}, info=info)
    sync.publish("room", 1)
    assert seen == [Publishing(Rule().retention, "k", info, {"a": "b"}), None]


async def test_from_a_thread_history_is_that_of_the_home_loop() -> None:
    antiphon.configure(rules={"room": {"history_size": 10}})
    client = await ASGIClient(Member.as_asgi()).opened()
    await settled()

    def view() -> list[Any]:
        first = sync.publish("room", 1, idempotency_key="k")
        again = sync.publish("room", 2, idempotency_key="k")
        sync.publish("room", 3)
        page = sync.history("room", since=first, limit=5)
        newest = sync.history("room", limit=1, reverse=True)
        return [first, again, [each.data for each in page.publications], newest.publications == page.publications]

    first, again, data, same = await asyncio.to_thread(view)
    assert (type(again), again, data, same) == (Repeat, first, [b"3"], True)
    await client.leave()
    await app.current_app().stop()


def test_without_a_loop_what_was_published_is_there_for_the_next_call() -> None:
    antiphon.configure(rules={"room": {"history_size": 10}})
    sync.publish("room", 1)
    page = sync.history("room")
    assert [each.data for each in page.publications] == [b"1"]


def test_errors_come_back_to_the_caller() -> None:
    with pytest.raises(UsageError, match="keeps no history"):
        sync.history("room")
    with pytest.raises(InvalidName):
        sync.publish("room", 1, tags={"a": 1})  # type: ignore[dict-item]
    with pytest.raises(InvalidName):
        sync.publish("", 1)
    with pytest.raises(InvalidName):
        sync.publish("room", 1, key="")
    with pytest.raises(NotEncodable):
        sync.publish("room", object())


async def test_errors_come_back_to_the_thread() -> None:
    client = await ASGIClient(Member.as_asgi()).opened()
    with pytest.raises(NotEncodable):
        await asyncio.to_thread(sync.publish, "room", object())
    with pytest.raises(InvalidName):
        await asyncio.to_thread(sync.publish, "", 1)
    await client.leave()


async def test_from_a_thread_presence_and_orders_are_those_of_the_home_loop() -> None:
    antiphon.configure(rules={"room": {"presence": "kept", "history_size": 5}, "other": {"presence": "kept"}})
    client = await ASGIClient(Member.as_asgi(), user="ann").opened()
    await settled()

    def view() -> Any:
        ((name, info),) = sync.presence("room").items()
        stats = sync.presence_stats("room")
        sync.subscribe("other", "ann")
        sync.unsubscribe("room", client=name)
        sync.refresh("ann", expires_at=None)
        sync.publish("room", 1)
        sync.remove_history("room")
        kept = sync.history("room").publications
        return info == ClientInfo("ann", name), stats, sync.presence("room"), kept

    assert await asyncio.to_thread(view) == (True, PresenceStats(1, 1), {}, ())
    await settled()
    assert len(await asyncio.to_thread(sync.presence, "other")) == 1
    await asyncio.to_thread(sync.kick, "ann", code=4001, reason="enough")
    await asyncio.wait_for(client.task, 60)
    assert client.sent[-1] == {"type": "websocket.close", "code": 4001, "reason": "enough"}
    await app.current_app().stop()


def test_without_a_loop_an_order_reaches_nobody_and_is_checked_all_the_same() -> None:
    sync.kick("ann")
    sync.refresh("ann", expires_at=1.0)
    with pytest.raises(UsageError, match="whose connections"):
        sync.kick()
    with pytest.raises(InvalidName):
        sync.subscribe("", "ann")
    with pytest.raises(UsageError, match="it is not noted"):
        sync.presence("room")


@pytest.mark.filterwarnings("error")
async def test_in_a_synchronous_view_the_servers_loop_is_home_before_anybody_has_connected() -> None:
    antiphon.configure(rules={"room": {"history_size": 10}})
    first = await sync_to_async(sync.publish)("room", 1)
    client = await ASGIClient(Member.as_asgi()).opened()
    second = await sync_to_async(sync.publish)("room", 2)
    assert second == (first.epoch, 2), "the same stream"
    await settled()
    assert client.texts == ["2"]
    await client.leave()
    await app.current_app().stop()
