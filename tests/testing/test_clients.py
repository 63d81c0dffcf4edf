"""Clients of live servers: two siblings that do the same."""

from __future__ import annotations

import asyncio
import http
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antiphon.testing import AsyncClient, Client, Closed, LiveServer, Refused
from tests.integration.servers import until

from .apps import echo
from .conftest import Live


class Sibling:
    """One of the two, driven in the same way: what blocks is called in a thread."""

    def __init__(self, server: LiveServer, *, is_async: bool) -> None:
        self._server = server
        self._is_async = is_async
        self.client: Any = None

    async def connect(self, path: str = "/", **options: Any) -> Sibling:
        """Connect."""
        if self._is_async:
            self.client = await self._server.aconnect(path, **options)
        else:
            self.client = await asyncio.to_thread(self._server.connect, path, **options)
        return self

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self.client, name)
        return method if self._is_async else lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def sibling(request: pytest.FixtureRequest, server: LiveServer) -> Sibling:
    """Each of the two."""
    return Sibling(server, is_async=request.param)


async def test_messages_of_each_kind(sibling: Sibling, live_antiphon: Live) -> None:
    sibling._server = live_antiphon(echo)
    await sibling.connect()
    await sibling.send("text")
    assert await sibling.receive() == "text"
    await sibling.send(b"bytes")
    assert await sibling.receive() == b"bytes"
    await sibling.send_json({"a": 1})
    assert await sibling.receive_json() == {"a": 1}
    await sibling.send(b"{}")
    with pytest.raises(AssertionError, match="JSON comes in a text message, this one is binary"):
        await sibling.receive_json()


async def test_what_it_asks_for_and_what_it_is_answered(sibling: Sibling) -> None:
    origin = sibling._server.url
    await sibling.connect("/?v2.chat", subprotocols=["v1.chat", "v2.chat"], headers={"x-a": "b"}, origin=origin)
    assert sibling.client.subprotocol == "v2.chat"
    assert ("x-room", "kitchen") in sibling.client.headers


async def test_nothing_comes(sibling: Sibling) -> None:
    await sibling.connect()
    assert await sibling.receive_nothing()
    await sibling.send_json(1)
    await sibling.send_json(2)
    assert not await sibling.receive_nothing(timeout=20)
    assert not await sibling.receive_nothing(timeout=20)
    assert [await sibling.receive_json(), await sibling.receive_json()] == [1, 2]


async def test_a_timeout_is_told(sibling: Sibling) -> None:
    await sibling.connect()
    with pytest.raises(TimeoutError, match=r"receive\(\): no message came within 0.05 s"):
        await sibling.receive(timeout=0.05)
    await sibling.send_json(1)
    assert await sibling.receive_json() == 1


async def test_the_server_s_close_is_told_with_code_and_reason(sibling: Sibling) -> None:
    await sibling.connect()
    await sibling.send_json({"close": 4321})
    with pytest.raises(Closed, match="the connection was closed with 4321: as you wish") as closed:
        await sibling.receive()
    assert (closed.value.code, closed.value.reason) == (4321, "as you wish")
    with pytest.raises(Closed):
        await sibling.send("more")
    with pytest.raises(Closed):
        await sibling.receive_nothing()


async def test_a_refusal_is_told_with_its_status(sibling: Sibling) -> None:
    with pytest.raises(Refused, match=r"ws://127.0.0.1:\d+/\?refuse was refused with HTTP status 403") as refused:
        await sibling.connect("/?refuse")
    assert refused.value.status == http.HTTPStatus.FORBIDDEN
    with pytest.raises(Refused):
        await sibling.connect(origin="https://elsewhere.example")


async def test_an_answer_that_does_not_come_is_told(sibling: Sibling) -> None:
    with pytest.raises(TimeoutError, match=r"ws://127.0.0.1:\d+/\?hang was not answered within 0.05 s"):
        await sibling.connect("/?hang", timeout=0.05)


async def test_its_close_reaches_the_application(sibling: Sibling, left: list[int]) -> None:
    await sibling.connect()
    await sibling.close(4000, "bye")
    await sibling.close()
    await asyncio.to_thread(until, lambda: left, "the consumer to be left")
    assert left == [4000]


async def test_one_that_is_cut_off_says_nothing(sibling: Sibling, left: list[int]) -> None:
    await sibling.connect()
    if isinstance(sibling.client, Client):
        await sibling.cut_off()
    else:
        sibling.client.cut_off()
    await asyncio.to_thread(until, lambda: left, "the consumer to be left")
    assert left == [1006]
    with pytest.raises(Closed) as closed:
        await sibling.receive()
    assert closed.value.code == 1006


async def test_a_proxy_of_the_environment_is_not_asked(sibling: Sibling, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "https_proxy", "ws_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        await sibling.connect()
        await sibling.send_json(1)
        assert await sibling.receive_json() == 1


def test_the_sync_one_is_a_context_manager(server: LiveServer, left: list[int]) -> None:
    with server.connect("/") as client:
        assert isinstance(client, Client)
    until(lambda: left == [1000], "the consumer to be left")


async def test_the_async_one_is_a_context_manager_too(server: LiveServer, left: list[int]) -> None:
    async with server.aconnect("/") as client:
        assert isinstance(client, AsyncClient)
    await asyncio.to_thread(until, lambda: left == [1000], "the consumer to be left")


def test_one_that_goes_on_is_cut_off_from_another_thread(server: LiveServer, left: list[int]) -> None:
    clients: list[AsyncClient] = []

    def live() -> None:
        async def main() -> None:
            client = await server.aconnect("/")
            clients.append(client)
            with pytest.raises(Closed):
                await client.receive(timeout=30)

        asyncio.run(main())

    thread = threading.Thread(target=live)
    thread.start()
    until(lambda: clients, "the client to connect")
    clients[0].cut_off()
    thread.join(30)
    assert not thread.is_alive()
    until(lambda: left == [1006], "the consumer to be left")
    clients[0].cut_off()


def test_closed_without_a_reason() -> None:
    assert str(Closed(1006, "")) == "the connection was closed with 1006"
