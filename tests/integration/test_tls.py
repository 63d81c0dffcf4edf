"""wss://: the same server behind TLS, with certificates made for the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket

from .clients import Client, eventually, frame, upgrade_request
from .servers import PATIENCE, Kind, Server, Servers

LISTENING = re.compile(r"running on https://([\d.]+):(\d+)")
ROOMS = "tests.integration.apps.rooms:app"
#: A ping would wake up what sleeps by mistake.
WITHOUT_PINGS = ("--ws-ping-interval", "3600")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who vouches for the server."""
    return trustme.CA()


@pytest.fixture
def secure(
    servers: Servers, direct_kind: Kind, authority: trustme.CA, trust: ssl.SSLContext, tmp_path: Path
) -> Iterator[Server]:
    """``apps/rooms.py`` behind TLS on each kind of server that runs antiphon's protocol class."""
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    options = ("--ssl-keyfile", str(key), "--ssl-certfile", str(chain), *WITHOUT_PINGS)
    server = servers.spawn(direct_kind, ROOMS, *options, env={"ANTIPHON_CLOSE_TIMEOUT": "1"}).listening(LISTENING)
    server.trust = trust
    yield server
    server.stop()


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """What a client trusts."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@contextlib.asynccontextmanager
async def connect(server: Server, path: str, trust: ssl.SSLContext, **options: Any) -> AsyncIterator[Client]:
    """Open a WebSocket over TLS."""
    url = server.url(path, "wss")
    options = {"proxy": None, "ping_interval": None, "open_timeout": PATIENCE, **options}
    websocket: ClientConnection = await open_websocket(url, ssl=trust, **options)
    async with Client(websocket) as client:
        yield client


@contextlib.asynccontextmanager
async def dial(server: Server, **options: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a bare connection."""
    reader, writer = await asyncio.open_connection(server.host, server.port, **options)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_messages_go_both_ways_and_to_the_group(secure: Server, trust: ssl.SSLContext, name: str) -> None:
    async with connect(secure, f"/room/{name}/", trust) as one, connect(secure, f"/room/{name}/", trust) as other:
        await one.send_json({"do": "echo", "value": "x" * 300_000})
        assert await one.receive_json() == {"echo": "x" * 300_000}
        for number in range(50):
            await one.send_json({"do": "publish", "value": number})
        for client in (one, other):
            assert [await client.receive_json() for _ in range(50)] == [{"published": n} for n in range(50)]


async def test_scheme_counts_for_the_origin(secure: Server, trust: ssl.SSLContext, name: str) -> None:
    async with connect(secure, f"/room/{name}/", trust, origin=secure.url("", "https")) as client:
        assert await client.ask({"do": "echo", "value": 1}) == {"echo": 1}


async def test_close_codes_arrive(secure: Server, trust: ssl.SSLContext, name: str) -> None:
    async with connect(secure, f"/room/{name}/", trust) as client:
        await client.send_json({"do": "close", "code": 4001, "reason": "enough"})
        assert await client.closed() == (4001, "enough")


async def test_a_broken_frame_is_answered_with_1002(secure: Server, trust: ssl.SSLContext, name: str) -> None:
    async with dial(secure, ssl=trust) as (reader, writer):
        writer.write(upgrade_request(f"/room/{name}/"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(0x1, b"{}", reserved=0x20))
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
    assert answer[0] == 0x88
    assert int.from_bytes(answer[2:4], "big") == 1002


async def test_a_member_who_does_not_read_is_closed_and_the_others_get_all(
    secure: Server, trust: ssl.SSLContext, name: str
) -> None:
    slow, quick = dial(secure, ssl=trust, limit=1024), connect(secure, f"/room/{name}/", trust, max_size=None)
    async with slow as (_, writer), quick as client:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(upgrade_request(f"/room/{name}/"))
        await eventually(lambda: secure.stats()["connections"] == 2, "both to be there")
        flood = {"do": "flood", "from": 0, "count": 600, "size": 20_000, "burst": 10, "group": name}
        await client.send_json(flood)
        numbers = [(await client.receive_json()).get("number") for _ in range(600)]
        assert numbers == list(range(600))
        assert await client.receive_json() == {"flooded": 600}
        await eventually(lambda: secure.stats()["slow_clients"] == 1, "the slow one to be closed")
        await eventually(lambda: secure.stats()["connections"] == 1, "the slow one to be gone")


async def test_bytes_that_are_no_tls_harm_nobody(secure: Server, trust: ssl.SSLContext, name: str) -> None:
    async with dial(secure) as (reader, writer):
        writer.write(os.urandom(4096))
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), PATIENCE)
    async with connect(secure, f"/room/{name}/", trust) as client:
        assert await client.ask({"do": "echo", "value": 1}) == {"echo": 1}
