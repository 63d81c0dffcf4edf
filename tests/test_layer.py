"""``channel_layer``: what it checks, and on which loop its work is done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antiphon.app import App
from antiphon.config import Config
from antiphon.exceptions import InvalidEvent, InvalidName, LimitExceeded, NotEncodable
from antiphon.layer import ChannelLayer

from .fakes import Client, FakeConsumer, on_jumping_loop, settled


class Listener(FakeConsumer):
    async def note(self, event: dict[str, Any]) -> None:
        self.send(event["text"])


async def make_layer(**config: Any) -> tuple[App, ChannelLayer]:
    app = App(Config(**config))
    await app.start()
    return app, app.layer


async def make_client(app: App) -> Client:
    assert app.hub is not None
    return await Client(app.hub, Listener()).opened()


NAMES: list[Any] = ["", "bad\n", "x" * 256, None, 5, b"room", ["room"], {"room": 1}]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name!r:.12}")
@pytest.mark.parametrize("started", [True, False])
def test_every_verb_checks_the_name_of_the_group(name: Any, started: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        app = App(Config())
        if started:
            await app.start()
        for call in (
            lambda: app.layer.group_add(name, "specific.a!b"),
            lambda: app.layer.group_discard(name, "specific.a!b"),
            lambda: app.layer.group_send(name, {"type": "note"}),
            lambda: app.layer.publish(name, 1),
        ):
            with pytest.raises(InvalidName):
                await call()

    main()


@pytest.mark.parametrize("name", ["", "a b", "a!b\n", "a!b!c", "x" * 100, None, 5, ["a!b"]], ids=repr)
def test_every_verb_checks_the_name_of_the_channel(name: Any) -> None:
    @on_jumping_loop
    async def main() -> None:
        _, layer = await make_layer()
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: layer.group_add("room", name),
            lambda: layer.group_discard("room", name),
            lambda: layer.send(name, {"type": "note"}),
        ]
        for call in calls:
            with pytest.raises(InvalidName):
                await call()

    main()


@on_jumping_loop
async def test_members_get_events_and_publications() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    await layer.group_add("room", client.connection.channel_name)
    await layer.group_send("room", {"type": "note", "text": "a"})
    await layer.send(client.connection.channel_name, {"type": "note", "text": "b"})
    await settled()
    position = await layer.publish("room", {"c": 1})
    await settled()
    assert client.messages == ["a", "b", '{"c":1}']
    assert position.offset == 1
    assert (app.counters.events, app.counters.publications) == (2, 1)
    await layer.group_discard("room", client.connection.channel_name)
    await layer.publish("room", "after")
    await settled()
    assert len(client.messages) == 3
    await client.leave()


@on_jumping_loop
async def test_publish_returns_the_positions_of_one_stream() -> None:
    _, layer = await make_layer()
    positions = [await layer.publish("room", n) for n in range(3)]
    assert [position.offset for position in positions] == [1, 2, 3]
    assert len({position.epoch for position in positions}) == 1


@on_jumping_loop
async def test_what_was_refused_is_not_counted_as_published() -> None:
    app, layer = await make_layer()
    with pytest.raises(NotEncodable):
        await layer.publish("room", object())
    with pytest.raises(InvalidName):
        await layer.publish("room", 1, key="")
    assert app.counters.publications == 0


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("key", ["", "x" * 256, 5, b"key"], ids=lambda key: f"{key!r:.9}")
def test_a_key_that_can_not_be_is_told_to_the_caller(key: Any, started: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        app = App(Config())
        if started:
            await app.start()
        with pytest.raises(InvalidName, match="can't be a key"):
            await app.layer.publish("room", 1, key=key)

    main()


@pytest.mark.parametrize(("key", "expected"), [(None, ""), ("a", "a")])
def test_the_key_reaches_the_engine(key: str | None, expected: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        app, layer = await make_layer()
        client = await make_client(app)
        assert app.hub is not None
        await layer.group_add("room", client.connection.channel_name)
        heard: list[Any] = []
        app.hub.on_publication = lambda group, publication: heard.append(publication.key)  # type: ignore[method-assign]
        await layer.publish("room", 1, key=key)
        assert heard == [expected]
        await client.leave()

    main()


def test_joining_a_channel_that_is_not_here_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    @on_jumping_loop
    async def main() -> None:
        app, layer = await make_layer()
        await layer.group_add("room", "specific.elsewhere!1")
        await layer.group_discard("room", "specific.elsewhere!1")
        assert app.counters.joins_refused == 1

    main()
    assert "nothing joined" in caplog.text


@on_jumping_loop
async def test_a_connection_that_is_over_joins_nothing() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    name = client.connection.channel_name
    await client.leave()
    await layer.group_add("room", name)
    assert app.counters.joins_refused == 1
    assert app.hub is not None
    assert not app.hub.groups


@on_jumping_loop
async def test_the_limit_of_groups_is_told_to_the_caller() -> None:
    app, layer = await make_layer(groups_per_connection=1)
    client = await make_client(app)
    await layer.group_add("a", client.connection.channel_name)
    with pytest.raises(LimitExceeded):
        await layer.group_add("b", client.connection.channel_name)
    await client.leave()


@on_jumping_loop
async def test_a_bad_event_is_counted_and_told_to_the_sender() -> None:
    app, layer = await make_layer()
    for message in ({"type": "close"}, {"text": "no type"}, None):
        with pytest.raises(InvalidEvent):
            await layer.group_send("room", message)  # type: ignore[arg-type]
        with pytest.raises(InvalidEvent):
            await layer.send("specific.a!b", message)  # type: ignore[arg-type]
    assert (app.counters.events_refused, app.counters.events) == (6, 0)


@on_jumping_loop
async def test_an_event_that_no_member_handles_is_told_to_the_sender() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    await layer.group_add("room", client.connection.channel_name)
    with pytest.raises(InvalidEvent, match="Listener"):
        await layer.group_send("room", {"type": "nobody_has_this"})
    await client.leave()


@on_jumping_loop
async def test_an_event_for_a_group_without_members_is_no_error() -> None:
    _, layer = await make_layer()
    await layer.group_send("room", {"type": "note"})


def on_another_loop(work: Callable[[], Any]) -> Any:
    """Run ``work`` on a loop of its own in another thread and return what it returned."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work()))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(30)
    assert outcome, "the other loop never came back"
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def test_from_another_loop_the_work_is_done_at_home() -> None:
    app, layer = await make_layer()
    client = await make_client(app)
    home = asyncio.get_running_loop()
    threads: list[int] = []
    assert app.hub is not None
    original = app.hub.engine.publish

    async def publish(group: str, data: bytes, key: str = "") -> Any:
        threads.append(threading.get_ident())
        assert asyncio.get_running_loop() is home
        assert key == "of its own"
        return await original(group, data, key)

    app.hub.engine.publish = publish  # type: ignore[method-assign]
    name = client.connection.channel_name

    async def elsewhere() -> Any:
        await layer.group_add("room", name)
        await layer.group_send("room", {"type": "note", "text": "a"})
        return await layer.publish("room", 1, key="of its own")

    position = await asyncio.to_thread(on_another_loop, elsewhere)
    assert position.offset == 1
    assert threads == [threading.get_ident()]
    await settled()
    assert client.messages == ["a", "1"]
    await client.leave()


async def test_an_error_comes_back_to_the_other_loop() -> None:
    _, layer = await make_layer()
    with pytest.raises(NotEncodable):
        await asyncio.to_thread(on_another_loop, lambda: layer.publish("room", object()))
