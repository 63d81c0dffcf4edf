"""The one antiphon of a process: configuration, home loop, new starts."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from antiphon import app as module
from antiphon import configure
from antiphon.app import App, current_app
from antiphon.config import Config
from antiphon.consumer import AsyncWebsocketConsumer
from antiphon.exceptions import ConfigurationError, UsageError
from antiphon.formats import FRAMES
from antiphon.hub import Hub
from antiphon.transport import ASGITransport, DirectTransport

from .fakes import ASGIClient, Client, on_jumping_loop, run, settled, until


@pytest.fixture(autouse=True)
def fresh_antiphon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was never configured."""
    monkeypatch.setattr(module, "_app", None)
    monkeypatch.setattr(module, "_configured", {})
    for name in list(os.environ):
        if name.startswith("ANTIPHON_"):
            monkeypatch.delenv(name)


# configure


def test_a_process_has_one_antiphon() -> None:
    assert current_app() is current_app()
    assert current_app().config == Config()


def test_configure_sets_options_of_the_next_antiphon() -> None:
    before = current_app()
    configure(outbox_limit=5)
    assert current_app() is not before
    assert current_app().config.outbox_limit == 5


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_OUTBOX_LIMIT", "7")
    configure(outbox_limit=5)
    assert current_app().config.outbox_limit == 7


@pytest.mark.parametrize(
    "options", [{"no_such": 1}, {"outbox_limit": "lots"}, {"outbox_limit": 0}, {"rules": {"a": {"slow": "er"}}}]
)
def test_a_configuration_that_can_not_be_is_refused_and_changes_nothing(options: dict[str, Any]) -> None:
    configure(outbox_limit=5)
    with pytest.raises(ConfigurationError):
        configure(**options)
    assert current_app().config.outbox_limit == 5


@on_jumping_loop
async def test_groups_have_the_rules_of_the_configuration() -> None:
    configure(rules={"prices:*": {"slow": "drop_oldest"}})
    client = await ASGIClient(AsyncWebsocketConsumer.as_asgi()).opened()
    hub = await current_app().start()
    (connection,) = hub.connections
    await current_app().layer.group_add("prices:gold", connection.channel_name)
    assert hub.groups["prices:gold"].rule.slow == "drop_oldest"
    await client.leave()


@on_jumping_loop
async def test_configure_comes_too_late_while_connections_are_served() -> None:
    client = await ASGIClient(AsyncWebsocketConsumer.as_asgi()).opened()
    before = current_app()
    with pytest.raises(ConfigurationError, match="too late"):
        configure(outbox_limit=5)
    assert current_app() is before
    await client.leave()
    configure(outbox_limit=5)
    assert current_app().config.outbox_limit == 5


# Home


@on_jumping_loop
async def test_starting_twice_is_starting_once() -> None:
    app = App(Config())
    hubs = await asyncio.gather(*(app.start() for _ in range(5)))
    assert len({id(hub) for hub in hubs}) == 1
    assert app.hub is app.running_hub is hubs[0]
    assert app.home() is asyncio.get_running_loop()


@on_jumping_loop
async def test_a_failed_start_is_told_and_the_next_tries_again() -> None:
    app = App(Config(engine="nosuch://"))
    for _ in range(2):
        outcomes = await asyncio.gather(*(app.start() for _ in range(3)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ConfigurationError}
    app.config = Config()
    await app.start()


def test_when_the_home_loop_has_ended_the_next_use_makes_a_new_start() -> None:
    app = App(Config())

    async def start() -> tuple[Hub, Any]:
        assert app.running_hub is None
        assert app.hub is None
        hub = await app.start()
        position = await app.layer.publish("room", 1)
        return hub, position

    first, first_position = run(start())
    second, second_position = run(start())
    assert first is not second
    assert first_position.epoch != second_position.epoch, "the earlier stream is gone, and that is told"
    assert app.counters.publications == 2


def test_without_a_loop_there_is_no_hub() -> None:
    app = App(Config())
    run(app.start())
    assert app.hub is None
    assert app.running_hub is None


class OtherThread:
    """A loop in another thread, home of an ``App``."""

    def __init__(self, app: App) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.hub = self.call(app.start())

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()


@pytest.fixture
def elsewhere() -> Iterator[tuple[App, OtherThread]]:
    app = App(Config())
    other = OtherThread(app)
    yield app, other
    other.end()


def test_home_is_where_the_hub_lives_whoever_asks(elsewhere: tuple[App, OtherThread]) -> None:
    app, other = elsewhere

    async def main() -> None:
        assert app.hub is None
        assert app.running_hub is other.hub
        assert app.home() is other.loop

    asyncio.run(main())


def test_connections_on_two_loops_are_refused(elsewhere: tuple[App, OtherThread]) -> None:
    app, other = elsewhere

    async def open_client() -> Client:
        return await Client(other.hub).opened()

    client = other.call(open_client())
    with pytest.raises(UsageError, match="another event loop"):
        asyncio.run(app.start())
    assert app.running_hub is other.hub
    other.call(client.leave())


def test_a_channel_that_is_read_on_another_loop_keeps_home_there(elsewhere: tuple[App, OtherThread]) -> None:
    app, other = elsewhere

    async def read() -> Any:
        reading = asyncio.ensure_future(app.layer.receive("jobs"))
        await until(lambda: other.hub.inboxes.are_read)
        return reading

    async def send() -> Any:
        await app.layer.send("jobs", {"type": "job"})

    reading = other.call(read())
    with pytest.raises(UsageError, match="another event loop"):
        asyncio.run(app.start())
    other.call(send())

    async def result() -> Any:
        return await reading

    assert other.call(result()) == {"type": "job"}


def test_without_connections_home_moves(elsewhere: tuple[App, OtherThread]) -> None:
    app, other = elsewhere

    async def main() -> None:
        hub = await app.start()
        assert hub is not other.hub
        assert app.hub is hub

    asyncio.run(main())


# Connections


@on_jumping_loop
async def test_every_connection_has_a_name_of_its_own() -> None:
    names: list[str] = []

    class Named(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            names.append(self.channel_name)
            await self.accept()

    clients = [await ASGIClient(Named.as_asgi()).opened() for _ in range(20)]
    assert len(set(names)) == 20
    assert len({name.partition("!")[0] for name in names}) == 1
    assert names[0].partition("!")[0] != f"specific.{App(Config())._process}"
    for client in clients:
        await client.leave()


@on_jumping_loop
async def test_the_transport_is_direct_where_the_server_offers_its_link() -> None:
    app = App(Config(outbox_limit=7, max_message_size=9, close_timeout=3.0))

    class Link:
        context = None
        format = FRAMES
        claimed: list[Any] = []

        def claim(self, transport: DirectTransport, *, max_message_size: int, close_timeout: float) -> None:
            self.claimed.append((max_message_size, close_timeout))

    send, receive = cast(Any, None), cast(Any, None)
    assert isinstance(app._transport({"extensions": {"antiphon": Link()}}, receive, send), DirectTransport)
    assert Link.claimed == [(9, 3.0)]
    scopes: list[dict[str, Any]] = [{}, {"extensions": {}}, {"extensions": {"websocket.http.response": {}}}]
    for scope in scopes:
        assert isinstance(app._transport(scope, receive, send), ASGITransport)


# The end


@on_jumping_loop
async def test_stop_ends_connections_and_engine() -> None:
    client = await ASGIClient(AsyncWebsocketConsumer.as_asgi()).opened()
    app = current_app()
    await app.stop()
    await client.task
    assert client.sent[-1]["code"] == 1012
    assert app.hub is None
    await app.stop()
    await until(lambda: client.task.done())
    await settled()
