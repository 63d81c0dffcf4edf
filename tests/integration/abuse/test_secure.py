"""The same server behind its own TLS: what comes before the request, and floods inside of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from pathlib import Path

import pytest
import trustme

from tests.integration.clients import Wire, eventually, frame, upgrade_request
from tests.integration.servers import PATIENCE, Server, Servers

from .attack import descriptors, press, release
from .conftest import APP, SERVE, Record

LISTENING = re.compile(r"running on https://([\d.]+):(\d+)")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who vouches for the server."""
    return trustme.CA()


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """What a client trusts."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def secure(servers: Servers, authority: trustme.CA, tmp_path: Path) -> Server:
    """A server behind TLS."""
    certificate = authority.issue_cert("127.0.0.1")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    options = ("--ssl-keyfile", str(key), "--ssl-certfile", str(chain))
    env = {"ANTIPHON_HANDSHAKE_TIMEOUT": "1", "ANTIPHON_MAX_FRAGMENTS": "0"}
    return servers.spawn(SERVE, APP, *options, env=env).listening(LISTENING)


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.mark.parametrize("said", [b"", HELLO], ids=["silent", "begins to greet"])
async def test_half_open_tls_handshakes_are_cut_off(secure: Server, said: bytes, record_property: Record) -> None:
    files, began = descriptors(secure), time.monotonic()
    wires = [await Wire.dial(secure) for _ in range(50)]
    for wire in wires:
        await press(wire, said)
    await eventually(lambda: descriptors(secure) >= files + 50, "the server to take them")
    async with asyncio.timeout(10):
        for wire in wires:
            with contextlib.suppress(ConnectionError):
                assert await wire.read_to_end() == b""
    record_property("seconds", time.monotonic() - began)
    release(wires)


async def test_silence_inside_of_tls_is_cut_off(secure: Server, trust: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection(secure.host, secure.port, ssl=trust)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    await close(writer)


async def test_tiny_fragments_inside_of_tls_stall_nobody(
    secure: Server, trust: ssl.SSLContext, record_property: Record
) -> None:
    good_reader, good = await open_room(secure, trust)
    reader, writer = await open_room(secure, trust)
    writer.write(frame(0x1, b"x", final=False))
    tiny = frame(0x0, b"x", final=False) * 10_000
    times = []

    async def flood() -> None:
        for _ in range(20):
            writer.write(tiny)
            await writer.drain()
        writer.write(frame(0x9, b"read"))
        assert await asyncio.wait_for(reader.readexactly(6), PATIENCE) == b"\x8a\x04read"

    flooding = asyncio.create_task(flood())
    while not flooding.done():
        asked = time.monotonic()
        good.write(frame(0x1, b'{"do": "echo", "value": 1}'))
        assert await asyncio.wait_for(good_reader.readexactly(12), PATIENCE) == b'\x81\x0a{"echo":1}'
        times.append(time.monotonic() - asked)
        await asyncio.sleep(0.002)
    await flooding
    record_property("worst", max(times))
    assert max(times) < 0.5  # this client shares its process with the flood
    await close(writer)
    await close(good)


async def close(writer: asyncio.StreamWriter) -> None:
    """End a connection."""
    writer.transport.abort()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


async def open_room(server: Server, trust: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket over TLS."""
    reader, writer = await asyncio.open_connection(server.host, server.port, ssl=trust)
    writer.write(upgrade_request("/room/secure/"))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    assert b" 101 " in head
    return reader, writer
