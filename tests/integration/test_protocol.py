"""RFC 6455 on the wire: what a client may not do, limits, pings, and the options of the server that concern them."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from websockets.asyncio.client import unix_connect

from .clients import Client, Wire, connect, eventually, frame
from .servers import Kind, Server, Servers, until

VIOLATIONS = {
    "reserved bit 1": (frame(0x1, b"x", reserved=0x40), 1002),
    "reserved bit 3": (frame(0x1, b"x", reserved=0x10), 1002),
    "reserved opcode": (frame(0x3, b"x"), 1002),
    "reserved control opcode": (frame(0xB, b"x"), 1002),
    "unmasked": (b"\x81\x01x", 1002),
    "fragmented ping": (frame(0x9, b"x", final=False), 1002),
    "long ping": (frame(0x9, b"x" * 126), 1002),
    "continuation of nothing": (frame(0x0, b"x"), 1002),
    "message within a message": (frame(0x1, b"x", final=False) + frame(0x1, b"y"), 1002),
    "not UTF-8": (frame(0x1, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"), 1007),
    "not UTF-8 across fragments": (frame(0x1, b"\xf0\x9f", final=False) + frame(0x0, b"\x28"), 1007),
    "cut off within a character": (frame(0x1, b"\xf0\x9f"), 1007),
    "overlong": (frame(0x1, b"\xc0\xaf"), 1007),
    "close with one byte": (frame(0x8, b"\x03"), 1002),
    "close with 1005": (frame(0x8, b"\x03\xed"), 1002),
    "close with 999": (frame(0x8, b"\x03\xe7"), 1002),
    "close with a reason that is not UTF-8": (frame(0x8, b"\x03\xe8\xff"), 1007),
}


async def completed(server: Server, client: str) -> None:
    """Wait until the application has finished with ``client``."""
    await eventually(
        lambda: any(line["what"] == "completed" for line in server.records(client)), "the application's end"
    )


@pytest.mark.parametrize("case", VIOLATIONS)
async def test_violation_closes_that_connection(spec: Server, name: str, case: str) -> None:
    data, code = VIOLATIONS[case]
    async with await Wire.open(spec, "/echo") as good, await Wire.open(spec, f"/listen?client={name}") as wire:
        await wire.write(data)
        end = await wire.closed()
        assert end.code == code
        assert await wire.read_to_end() == b""
        await completed(spec, name)
        await good.send_frame(0x1, b"hello")
        assert await good.receive_frame() == (0x1, b"hello")


async def test_fault_is_found_before_the_message_is_complete(spec: Server) -> None:
    async with await Wire.open(spec, "/echo") as wire:
        await wire.send_frame(0x1, b"\xff", final=False)
        assert (await wire.closed()).code == 1007


@pytest.mark.parametrize("payload", [b"", b"are you there?", bytes(125)], ids=len)
async def test_ping_is_answered_with_its_payload(spec: Server, payload: bytes) -> None:
    async with await Wire.open(spec, "/echo") as wire:
        await wire.send_frame(0x9, payload)
        assert await wire.receive_frame() == (0xA, payload)


async def test_pong_that_nobody_asked_for_is_ignored(spec: Server) -> None:
    async with await Wire.open(spec, "/echo") as wire:
        await wire.send_frame(0xA, b"unasked")
        await wire.send_frame(0x1, b"hello")
        assert await wire.receive_frame() == (0x1, b"hello")


async def test_frames_in_single_bytes(spec: Server) -> None:
    async with await Wire.open(spec, "/echo") as wire:
        for byte in frame(0x1, "Grüße".encode()):
            await wire.write(bytes([byte]))
        assert await wire.receive_frame() == (0x1, "Grüße".encode())


async def test_many_frames_in_one_segment(spec: Server) -> None:
    async with await Wire.open(spec, "/echo") as wire:
        await wire.write(b"".join(frame(0x1, b"%d" % number) for number in range(2000)))
        for number in range(2000):
            assert await wire.receive_frame() == (0x1, b"%d" % number)


async def test_frame_behind_the_close_frame_is_ignored(spec: Server, name: str) -> None:
    async with await Wire.open(spec, f"/listen?client={name}") as wire:
        await wire.write(frame(0x8, b"\x03\xe8") + frame(0x1, b"late") + frame(0xA))
        assert (await wire.closed()).code == 1000
        await completed(spec, name)
    assert [line["event"]["type"] for line in spec.records(name) if line["what"] == "event"] == ["websocket.disconnect"]


LIMIT = 1000


@pytest.fixture
def small(servers: Servers, direct_kind: Kind) -> Server:
    """A server that takes messages of 1,000 bytes."""
    if direct_kind.module == "uvicorn":
        return servers.start(direct_kind, "tests.integration.apps.spec:app", "--ws-max-size", str(LIMIT))
    return servers.start(direct_kind, "tests.integration.apps.spec:app", env={"ANTIPHON_MAX_MESSAGE_SIZE": str(LIMIT)})


async def test_message_size(small: Server) -> None:
    async with await connect(small, "/echo") as client:
        await client.send("x" * LIMIT)
        assert await client.receive() == "x" * LIMIT
        await client.send("x" * (LIMIT + 1))
        assert (await client.closed()).code == 1009
    async with await connect(small, "/echo") as client:
        await client.send(["x" * 500, "x" * 500])
        assert await client.receive() == "x" * LIMIT
        await client.send(["x" * 500, "x" * 500, "x"])
        assert (await client.closed()).code == 1009


async def test_size_is_refused_from_the_header_of_the_frame(spec: Server) -> None:
    memory = spec.memory()
    async with await Wire.open(spec, "/echo") as wire:
        await wire.write(b"\x82\xff" + (2**40).to_bytes(8, "big") + bytes(4))
        assert (await wire.closed()).code == 1009
    assert spec.memory() - memory < 8 * 1024 * 1024


async def test_million_tiny_fragments_stall_nobody_for_long(spec: Server) -> None:
    async with await Wire.open(spec, "/echo") as good, await Wire.open(spec, "/echo") as wire:
        tiny = frame(0x0, b"x", final=False) * 1000
        await wire.send_frame(0x1, b"x", final=False)

        async def flood() -> None:
            try:
                for _ in range(1000):
                    await wire.write(tiny)
            except ConnectionError:
                pass  # it was closed for that

        flooding = asyncio.create_task(flood())
        slowest = 0.0
        loop = asyncio.get_running_loop()
        while not flooding.done():
            asked = loop.time()
            await good.send_frame(0x1, b"hello")
            assert await good.receive_frame() == (0x1, b"hello")
            slowest = max(slowest, loop.time() - asked)
        await flooding
        assert slowest < 1.5


# Pings of the server


@pytest.fixture
def pinging(servers: Servers, uvicorn_kind: Kind) -> Server:
    """A server that pings often."""
    return servers.start(
        uvicorn_kind, "tests.integration.apps.spec:app", "--ws-ping-interval", "0.4", "--ws-ping-timeout", "0.4"
    )


async def test_client_that_answers_pings_stays(pinging: Server) -> None:
    async with await Wire.open(pinging, "/echo") as wire:
        for _ in range(4):
            opcode, payload = await wire.receive_frame()
            assert opcode == 0x9
            await wire.send_frame(0xA, payload)
        await wire.send_frame(0x1, b"hello")
        assert await wire.receive_frame() == (0x1, b"hello")


async def test_client_that_never_answers_pings_is_closed(pinging: Server, name: str) -> None:
    async with await Wire.open(pinging, f"/listen?client={name}") as silent, await connect(pinging, "/echo") as client:
        assert (await silent.receive_frame())[0] == 0x9
        assert (await silent.closed()).code == 1011
        await completed(pinging, name)
        await client.send("I answer")
        assert await client.receive() == "I answer"
    assert pinging.records(name)[0]["event"]["code"] in (1006, 1011)


async def test_ping_timeout_longer_than_the_interval(servers: Servers, uvicorn_kind: Kind) -> None:
    server = servers.start(
        uvicorn_kind, "tests.integration.apps.spec:app", "--ws-ping-interval", "0.05", "--ws-ping-timeout", "100"
    )
    async with await Wire.open(server, "/echo") as wire:
        assert (await wire.receive_frame())[0] == 0x9
        for _ in range(100):  # more round trips than an interval is long
            await wire.send_frame(0x9, b"still here")
            while (answer := await wire.receive_frame())[0] != 0xA:
                assert answer[0] == 0x9
            await asyncio.sleep(0.002)


# Where it listens


async def test_unix_socket(servers: Servers, direct_kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    arguments = tuple(argument for argument in direct_kind.arguments if argument not in ("--port", "0"))
    kind = direct_kind._replace(arguments=arguments)
    server = servers.spawn(kind, "tests.integration.apps.spec:app", "--uds", str(path))
    until(lambda: _answers(path), "the Unix socket to answer")
    async with Client(await unix_connect(str(path), "ws://localhost/scope_contents", ping_interval=None)) as client:
        scope = await client.receive_json()
        assert scope["path"] == "/scope_contents"
        assert scope["type"] == "websocket"
    async with Client(await unix_connect(str(path), "ws://localhost/echo", ping_interval=None)) as client:
        await client.send("x" * 100_000)
        assert await client.receive() == "x" * 100_000
    server.stop()
    assert "Traceback" not in server.log()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


async def test_root_path(servers: Servers, direct_kind: Kind) -> None:
    server = servers.start(direct_kind, "tests.integration.apps.spec:app", "--root-path", "/mounted")
    async with await Wire.open(server, "/scope_contents") as wire:
        scope = json.loads((await wire.receive_frame())[1])
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (
        "/mounted",
        "/mounted/scope_contents",
        "/mounted/scope_contents",
    )


async def test_proxy_headers(servers: Servers, direct_kind: Kind) -> None:
    server = servers.start(
        direct_kind, "tests.integration.apps.spec:app", "--proxy-headers", "--forwarded-allow-ips", "127.0.0.1"
    )
    lines = ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    async with await Wire.open(server, "/scope_contents", *lines) as wire:
        scope = json.loads((await wire.receive_frame())[1])
    assert scope["client"][0] == "203.0.113.7"
    assert scope["scheme"] == "wss"
