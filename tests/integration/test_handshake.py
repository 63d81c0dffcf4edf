"""Requests to open a WebSocket, good and bad, byte for byte."""

from __future__ import annotations

import pytest

from .clients import Wire, eventually, exchange, upgrade_request
from .servers import Kind, Server, Servers

GOOD = [
    "Connection: keep-alive, Upgrade",  # Firefox
    "Connection: upgrade",
    "Upgrade: WebSocket",
    "Upgrade: WEBSOCKET",
    "Origin: http://127.0.0.1",
    "Sec-WebSocket-Key:   dGhlIHNhbXBsZSBub25jZQ==  ",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "Sec-WebSocket-Protocol: a, b , c",
    "Cookie: " + "c" * 6000,
    "User-Agent: Gr\xfc\xdfe",
]


@pytest.mark.parametrize("line", GOOD, ids=lambda line: line[:40])
async def test_request_that_is_accepted(spec: Server, line: str) -> None:
    async with await Wire.open(spec, "/echo", line) as wire:
        await wire.send_frame(0x1, b"hello")
        assert await wire.receive_frame() == (0x1, b"hello")


@pytest.mark.parametrize(
    "line",
    [
        "Sec-WebSocket-Key: ",
        "Sec-WebSocket-Key: not base64!",
        "Sec-WebSocket-Key: dG9vIHNob3J0",
        "Sec-WebSocket-Key: dGhpcyBpcyBmYXIgdG9vIGxvbmc=",
    ],
)
async def test_invalid_key_is_400(spec: Server, line: str) -> None:
    async with await exchange(spec, upgrade_request("/echo", line)) as wire:
        assert wire.status == 400
        assert b"Sec-WebSocket-Key" in await wire.read_to_end()


async def test_missing_key_is_400(spec: Server) -> None:
    async with await exchange(spec, upgrade_request("/echo", without=["sec-websocket-key"])) as wire:
        assert wire.status == 400
        await wire.read_to_end()


async def test_two_keys_are_400(spec: Server) -> None:
    lines = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="] * 2
    async with await exchange(spec, upgrade_request("/echo", *lines)) as wire:
        assert wire.status == 400


@pytest.mark.parametrize("line", ["Sec-WebSocket-Version: 12", "Sec-WebSocket-Version: x"])
async def test_wrong_version_is_426_and_names_the_right_one(spec: Server, line: str) -> None:
    async with await exchange(spec, upgrade_request("/echo", line)) as wire:
        assert wire.status == 426
        assert (b"sec-websocket-version", b"13") in wire.headers
        await wire.read_to_end()


async def test_missing_version_is_refused(spec: Server) -> None:
    async with await exchange(spec, upgrade_request("/echo", without=["sec-websocket-version"])) as wire:
        assert wire.status in (400, 426)


async def test_post_is_405(spec: Server) -> None:
    request = upgrade_request("/echo").replace(b"GET ", b"POST ", 1)
    async with await exchange(spec, request) as wire:
        assert wire.status == 405
        assert (b"allow", b"GET") in wire.headers


@pytest.mark.parametrize(
    "request_bytes",
    [
        upgrade_request("/x", without=["upgrade"]),
        upgrade_request("/x", "Connection: keep-alive"),
        upgrade_request("/x", "Upgrade: h2c"),
    ],
    ids=["no upgrade", "connection without upgrade", "other upgrade"],
)
async def test_request_for_something_else_is_http(spec: Server, request_bytes: bytes) -> None:
    async with await exchange(spec, request_bytes) as wire:
        assert wire.status == 200


async def test_bad_request_leaves_the_server_alone(spec: Server) -> None:
    async with await Wire.dial(spec) as wire:
        await wire.write(b"GET /echo HTTP/1.1\r\nUpgrade: websocket\r\nthis is no header\r\n\r\n")
        await wire.read_head()
        assert wire.status == 400
    async with await Wire.open(spec, "/echo") as wire:
        await wire.send_frame(0x1, b"hello")
        assert await wire.receive_frame() == (0x1, b"hello")


async def test_refusals_end_the_connection_and_are_forgotten(spec: Server) -> None:
    for _ in range(20):
        async with await exchange(spec, upgrade_request("/refuse")) as wire:
            assert await wire.read_to_end() == b""
            assert (b"connection", b"close") in wire.headers


async def test_request_in_single_bytes(spec: Server) -> None:
    async with await Wire.dial(spec) as wire:
        for byte in upgrade_request("/echo"):
            await wire.write(bytes([byte]))
        await wire.read_head()
        assert wire.status == 101
        await wire.send_frame(0x1, b"hello")
        assert await wire.receive_frame() == (0x1, b"hello")


async def test_date_and_server_headers(spec: Server) -> None:
    async with await Wire.open(spec, "/echo") as wire:
        names = [name for name, _ in wire.headers]
    assert names.count(b"date") == 1
    assert (b"server", b"uvicorn") in wire.headers


async def test_default_headers_of_the_server(servers: Servers, uvicorn_kind: Kind) -> None:
    options = ("--header", "x-everywhere:yes", "--no-server-header", "--no-date-header")
    server = servers.start(uvicorn_kind, "tests.integration.apps.spec:app", *options)
    async with await Wire.open(server, "/echo") as wire:
        assert (b"x-everywhere", b"yes") in wire.headers
        assert not {b"server", b"date"} & {name for name, _ in wire.headers}
    async with await exchange(server, upgrade_request("/refuse")) as wire:
        assert (b"x-everywhere", b"yes") in wire.headers
    async with await exchange(server, upgrade_request("/echo", "Sec-WebSocket-Version: 8")) as wire:
        assert (b"x-everywhere", b"yes") in wire.headers


async def test_access_is_logged(spec: Server) -> None:
    printed = len(spec.log())
    async with await Wire.open(spec, "/echo?a=1"):
        pass
    async with await exchange(spec, upgrade_request("/refuse")):
        pass
    await eventually(lambda: '"WebSocket /echo?a=1" [accepted]' in spec.log(printed), "the acceptance in the log")
    await eventually(lambda: '"WebSocket /refuse" 403' in spec.log(printed), "the refusal in the log")
