"""Servers in a thread of this process."""

from __future__ import annotations

import asyncio
import logging
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from websockets.sync.client import connect

import antiphon
from antiphon import sync
from antiphon.app import current_app
from antiphon.exceptions import UsageError
from antiphon.testing import Closed, WebsocketCommunicator
from tests.integration.servers import until

from .apps import echo, scripted
from .conftest import Live


def get(url: str) -> tuple[int, bytes]:
    """Return the status and the body of an answer."""
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.status, response.read()


def test_it_serves_http_and_websockets(live_antiphon: Live) -> None:
    server = live_antiphon(echo)
    with server.connect("/") as client:
        client.send("hello")
        assert client.receive() == "hello"
    assert get(server.url) == (201, b"!")


def test_an_application_may_be_named(live_antiphon: Live) -> None:
    assert get(live_antiphon("tests.testing.apps:echo").url) == (201, b"!")
    with pytest.raises(Exception, match="Could not import module"):
        live_antiphon("tests.testing.nowhere:app")


def test_it_is_antiphon_s_server(live_antiphon: Live) -> None:
    before = antiphon.stats()["connections_accepted"]
    scopes = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await scripted(scope, receive, send)

    with live_antiphon(application).connect("/"):
        assert antiphon.stats()["connections_accepted"] == before + 1
    assert "antiphon" in scopes[-1]["extensions"], "the consumer writes straight to the socket"


# Groups are shared with the test


def test_what_the_test_publishes_reaches_its_clients(live_antiphon: Live) -> None:
    server = live_antiphon(scripted)
    with server.connect("/") as first, server.connect("/") as second:
        position = sync.publish("everybody", {"text": "tea"})
        assert first.receive_json() == second.receive_json() == {"text": "tea"}
        assert sync.publish("everybody", {}).offset == position.offset + 1


async def test_the_same_for_a_test_that_is_a_coroutine(live_antiphon: Live) -> None:
    server = live_antiphon(scripted)
    await antiphon.publish("everybody", {"text": "nobody is here"})
    async with server.aconnect("/") as client:
        await antiphon.publish("everybody", {"text": "tea"})
        assert await client.receive_json() == {"text": "tea"}


def test_two_at_a_time_share_their_groups_and_end_apart(live_antiphon: Live) -> None:
    first, second = live_antiphon(scripted), live_antiphon(scripted)
    with first.connect("/") as ada, second.connect("/") as alan:
        sync.publish("everybody", 1)
        assert ada.receive_json() == alan.receive_json() == 1
        first.stop()
        with pytest.raises(Closed):
            ada.receive()
        sync.publish("everybody", 2)
        assert alan.receive_json() == 2


def test_one_after_the_other(live_antiphon: Live) -> None:
    hubs = []
    for _ in range(2):
        server = live_antiphon(scripted)
        hubs.append(current_app().running_hub)
        with server.connect("/") as client:
            sync.publish("everybody", 1)
            assert client.receive_json() == 1
        server.stop()
        assert current_app().running_hub is None
    assert hubs[0] is not hubs[1]


async def test_communicators_come_before_and_after_but_not_beside(live_antiphon: Live) -> None:
    async with WebsocketCommunicator(scripted, "/"):
        with pytest.raises(UsageError, match="disconnect the test's communicators first"):
            live_antiphon(scripted)
    server = live_antiphon(scripted)
    async with server.aconnect("/") as client:
        with pytest.raises(UsageError, match="another event loop"):
            await WebsocketCommunicator(scripted, "/").connect()
        await client.send_json(1)
        assert await client.receive_json() == 1
    server.stop()
    async with WebsocketCommunicator(scripted, "/") as communicator:
        await communicator.send_json_to(1)
        assert await communicator.receive_json_from() == 1


# The end


def test_it_stops_in_good_order(live_antiphon: Live, left: list[int]) -> None:
    server = live_antiphon(scripted)
    with connect(f"{server.ws_url}/", proxy=None) as stranger:
        server.stop()
        server.stop()
        with pytest.raises(Exception, match="1012"):
            stranger.recv(30)
    assert left == [1012]


def test_clients_that_were_left_open_are_closed(live_antiphon: Live, left: list[int]) -> None:
    server = live_antiphon(scripted)
    client = server.connect("/")
    server.stop()
    with pytest.raises(Closed):
        client.receive()
    assert left == [1006]


def test_a_handler_that_hangs_does_not_keep_it(live_antiphon: Live, left: list[int]) -> None:
    server = live_antiphon(scripted)
    client = server.connect("/")
    client.send_json("hang")
    client.send_json("hang")
    server.stop()
    assert len(left) == 1


def test_the_lifespan_of_the_application(live_antiphon: Live) -> None:
    happened = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        happened.append("start")
        yield
        happened.append("end")

    server = live_antiphon(Starlette(lifespan=lifespan))
    assert happened == ["start"]
    server.stop()
    assert happened == ["start", "end"]


def test_a_lifespan_that_fails_is_told(live_antiphon: Live, caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise LookupError("no database")
        yield

    with pytest.raises(
        RuntimeError, match=r"the application's lifespan failed at its start; the log of 'uvicorn.error'"
    ):
        live_antiphon(Starlette(lifespan=lifespan))
    assert "LookupError: no database" in caplog.text
    assert current_app().running_hub is None
    live_antiphon(echo)


# The log


def test_the_log_is_the_test_s(live_antiphon: Live, caplog: pytest.LogCaptureFixture) -> None:
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "antiphon")]
    before = [(each.level, each.propagate, each.handlers[:]) for each in loggers]
    server = live_antiphon(scripted)
    assert [(each.level, each.propagate, each.handlers) for each in loggers] == before
    client = server.connect("/")
    client.send_json({"fail": "seen in the log"})
    with pytest.raises(Closed, match="1011"):
        client.receive()
    until(lambda: "LookupError: seen in the log" in caplog.text, "the traceback")


async def test_a_client_of_a_coroutine_that_was_left_open_is_no_matter(live_antiphon: Live) -> None:
    server = live_antiphon(scripted)
    client = await server.aconnect("/")
    await client.send_json(1)
    assert await client.receive_json() == 1
    assert asyncio.get_running_loop().is_running()
