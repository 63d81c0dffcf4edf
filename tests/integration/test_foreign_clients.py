"""Clients that other people wrote speak with antiphon's server, and those of other servers that run its consumers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from .clients import eventually
from .foreign import FOREIGN, Foreign, Node
from .servers import Kind, Server, Servers

UNICODE = "Grüße, 世界! 🎶 \u0000\u001f \U0010ffff"


@pytest.fixture(params=FOREIGN, ids=lambda client: client.__name__.lower())
async def foreign(request: pytest.FixtureRequest) -> AsyncIterator[Foreign]:
    """Each client library in turn; a test opens the one connection."""
    if request.param is Node:
        request.getfixturevalue("node_packages")
    client: Foreign = request.param()
    yield client
    await client.release()


async def test_text(direct_rooms: Server, foreign: Foreign) -> None:
    await foreign.open(direct_rooms, "/raw/")
    for text in ["", "a", UNICODE, "x" * 125, "x" * 126, "x" * 65535, "x" * 65536]:
        await foreign.send(text)
        assert await foreign.receive() == text


async def test_bytes(direct_rooms: Server, foreign: Foreign) -> None:
    await foreign.open(direct_rooms, "/raw/")
    for data in [b"", b"\x00\xff", bytes(range(256)) * 300]:
        await foreign.send(data)
        assert await foreign.receive() == data


async def test_large_messages(direct_rooms: Server, foreign: Foreign) -> None:
    await foreign.open(direct_rooms, "/raw/")
    for size in [200_000, 1_000_000]:
        text = "ü" * (size // 2)
        await foreign.send(text)
        assert await foreign.receive() == text


async def test_pipelined_messages_keep_their_order(direct_rooms: Server, foreign: Foreign) -> None:
    await foreign.open(direct_rooms, "/raw/")
    for number in range(500):
        await foreign.send(str(number))
    assert [await foreign.receive() for _ in range(500)] == [str(number) for number in range(500)]


async def test_fragments(direct_rooms: Server, foreign: Foreign) -> None:
    await foreign.open(direct_rooms, "/raw/")
    if foreign.fragments:
        await foreign.send_fragments(["Grü", "ße", "", " 🎶", "!" * 70_000])
        assert await foreign.receive() == "Grüße 🎶" + "!" * 70_000
    await foreign.send("whole")
    assert await foreign.receive() == "whole"


async def test_ping_is_answered_with_its_payload(direct_rooms: Server, foreign: Foreign) -> None:
    await foreign.open(direct_rooms, "/raw/")
    for payload in [b"are you there?", b"\x00" * 125]:
        assert await foreign.ping(payload) == payload


async def test_subprotocol_and_cookie(direct_rooms: Server, foreign: Foreign, name: str) -> None:
    await foreign.open(
        direct_rooms, f"/room/{name}/", headers={"Cookie": "a=1; b=zwei"}, subprotocols=["chat.v2", "chat.v1"]
    )
    assert foreign.subprotocol == "chat.v2"
    await foreign.send('{"do": "cookie"}')
    assert json.loads(await foreign.receive()) == {"cookie": "a=1; b=zwei"}


async def test_no_subprotocol(direct_rooms: Server, foreign: Foreign, name: str) -> None:
    await foreign.open(direct_rooms, f"/room/{name}/")
    assert foreign.subprotocol is None


async def test_compression_is_agreed_on_and_used(direct_rooms: Server, foreign: Foreign) -> None:
    before = direct_rooms.stats()["compressions"]
    await foreign.open(direct_rooms, "/raw/", compress=True)
    assert "permessage-deflate" in (foreign.extensions or "")
    for message in ("x" * 10_000, "short", UNICODE * 1000):
        await foreign.send(message)
        assert await foreign.receive() == message
    assert direct_rooms.stats()["compressions"] == before + 2  # one is under the threshold


async def test_compression_can_be_turned_off(servers: Servers, direct_kind: Kind, foreign: Foreign) -> None:
    server = servers.start(direct_kind, "tests.integration.apps.rooms:app", env={"ANTIPHON_COMPRESSION": "off"})
    await foreign.open(server, "/raw/", compress=True)
    assert foreign.extensions is None
    await foreign.send("x" * 10_000)
    assert await foreign.receive() == "x" * 10_000
    await foreign.close(1000, "")
    server.stop()


@pytest.mark.parametrize("code", [1000, 1001, 3999, 4000, 4999])
async def test_server_closes_with_code_and_reason(direct_rooms: Server, foreign: Foreign, name: str, code: int) -> None:
    await foreign.open(direct_rooms, f"/room/{name}/")
    await foreign.send(json.dumps({"do": "close", "code": code, "reason": "Feierabend – 🎶"}))
    assert await foreign.closed() == (code, "Feierabend – 🎶")


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_client_closes_with_code_and_reason(direct_rooms: Server, foreign: Foreign, name: str, code: int) -> None:
    await foreign.open(direct_rooms, f"/room/{name}/?client={name}")
    answer = await foreign.close(code, "bis morgen")
    assert answer == (code, "bis morgen")
    records = await eventually(lambda: direct_rooms.records(name)[1:], "disconnect")
    assert [(line["what"], line["code"]) for line in records] == [("disconnect", code)]


async def test_echo_and_close_on_every_server(rooms: Server, foreign: Foreign, name: str) -> None:
    await foreign.open(rooms, f"/room/{name}/?client={name}", subprotocols=["chat"], compress=True)
    assert foreign.subprotocol == "chat"
    await foreign.send(json.dumps({"do": "echo", "value": UNICODE + "x" * 200_000}))
    assert json.loads(await foreign.receive()) == {"echo": UNICODE + "x" * 200_000}
    await foreign.send(json.dumps({"do": "close", "code": 4001, "reason": ""}))
    assert (await foreign.closed()).code == 4001
