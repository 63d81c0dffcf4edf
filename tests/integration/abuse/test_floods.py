"""Floods: pings nobody reads the answers of, messages without end, requests without end, members who never read."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.clients import Wire, eventually, frame, upgrade_request
from tests.integration.servers import Server

from .attack import MiB, alive, cpu_time, opened, press
from .conftest import Record, Start
from .witness import STALL, Witness, worst_of

CONTROLS = {"pings": frame(0x9, b"x" * 125), "empty pings": frame(0x9), "pongs": frame(0xA, b"x" * 125)}


@pytest.mark.parametrize("kind", CONTROLS)
async def test_control_frames_over_the_rate_close_the_connection(
    target: Server, kind: str, record_property: Record
) -> None:
    server, flood, before = target, CONTROLS[kind] * 1000, target.stats()["control_floods"]

    async def attack() -> None:
        async with await Wire.open(server, "/room/floods/") as wire:
            await press(wire, flood, 100)
            assert (await wire.closed()).code in (1008, 1006)  # 1006: it was reset while it went on sending

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    assert worst[1] < STALL
    assert server.stats()["control_floods"] == before + 3


async def test_who_sends_too_many_pings_is_told(start: Start) -> None:
    server = start(control_rate=10, rate_burst=1)
    async with await Wire.open(server, "/room/floods/") as wire:
        await wire.write(frame(0x9) * 11)
        end = await wire.closed()
        assert end.code == 1008
        assert "ping" in end.reason
    await alive(server)


@pytest.mark.parametrize("path", ["/room/floods/", "/spec/echo"])
async def test_pings_without_a_limit_whose_pongs_nobody_reads(start: Start, path: str, record_property: Record) -> None:
    server, flood = start(control_rate=0), frame(0x9, b"x" * 125) * 1000
    await alive(server)
    memory = server.memory()

    async def attack() -> None:
        async with await Wire.open(server, path, receive_buffer=8192) as wire:
            try:
                async with asyncio.timeout(3):
                    await press(wire, flood, 100)
                    await eventually(lambda: True, "the flood")
            except TimeoutError:
                pass  # the server reads no more: that is one way to be bounded

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    record_property("growth", server.memory() - memory)
    assert worst[1] < STALL
    assert server.memory() - memory < 4 * MiB


async def test_last_ping_is_answered_when_its_sender_reads_again(start: Start) -> None:
    server = start(control_rate=0)
    async with await Wire.open(server, "/room/floods/", receive_buffer=8192) as wire:
        await press(wire, frame(0x9, b"x" * 125) * 1000, 50)
        await wire.send_frame(0x9, b"last")
        while (await wire.receive_frame()) != (0xA, b"last"):
            pass


MESSAGES = {
    "echoes": b'{"do":"echo","value":1}',
    "bad JSON": b"}",
    "empty": b"",
    "numbers": b"1" * 18,
    "deep": b"[" * 60 + b"]" * 60,
    "huge floats": b'{"do":"echo","value":[' + b"1e308," * 999 + b"1]}",
    "lists": b'{"do":"echo","value":[' + b"[]," * 9999 + b"1]}",
}


@pytest.mark.parametrize("kind", MESSAGES)
async def test_flood_of_messages_stalls_nobody(target: Server, kind: str, record_property: Record) -> None:
    server, one = target, frame(0x1, MESSAGES[kind])
    flood = one * (30_000 if len(one) < 1000 else 30)
    await alive(server)

    async def attack() -> None:
        async with opened(server, 2, "/room/floods/") as wires:
            await asyncio.gather(*(spend(wire, flood) for wire in wires))

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    assert worst[1] < STALL
    await alive(server)


async def spend(wire: Wire, flood: bytes) -> None:
    """Send and read what comes, up to the last answer, or the end that the other side makes of it."""
    sending = asyncio.create_task(press(wire, flood + frame(0x9, b"last")))
    try:
        while (await wire.receive_frame())[0] not in (0x8, 0xA):
            pass
    except (EOFError, ConnectionError):
        pass
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_flood_whose_answers_nobody_reads_is_bounded(start: Start, record_property: Record) -> None:
    server = start(message_rate=0, byte_rate=0)
    await alive(server)
    memory = server.memory()
    flood = frame(0x1, b'{"do":"echo","value":"%s"}' % (b"x" * 1000)) * 1000

    async def attack() -> None:
        async with opened(server, 4, "/room/floods/") as wires:
            try:
                async with asyncio.timeout(2):
                    await asyncio.gather(*(press(wire, flood, 30) for wire in wires))
            except TimeoutError:
                pass

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    record_property("growth", server.memory() - memory)
    assert worst[1] < STALL
    assert server.memory() - memory < 32 * MiB
    await alive(server)


SIZE = MiB - 100
#: Seconds of processor time that no document of a mebibyte may cost; to make half a million lists takes 0.1 of it.
EXPENSIVE = 0.25
SHAPES = {
    "empty lists": b"[" + b"[]," * (SIZE // 3 - 1) + b"[]]",
    "empty objects": b"[" + b"{}," * (SIZE // 3 - 1) + b"{}]",
    "deep lists": b"[" + b",".join([b"[" * 60 + b"]" * 60] * (SIZE // 121)) + b"]",
    "deep objects": b"[" + b",".join([b'{"":' * 55 + b"1" + b"}" * 55] * (SIZE // 277)) + b"]",
    "small numbers": b"[" + b"1," * (SIZE // 2 - 1) + b"1]",
    "large numbers": b"[" + b"1000000000000000000," * (SIZE // 20 - 1) + b"1]",
    "a large number among lists": b"[1000000000000000000," + b"[]," * (SIZE // 3 - 20) + b"[]]",
    "floats": b"[" + b"1.7976931348623157e308," * (SIZE // 23 - 1) + b"1]",
    "huge floats": b"[" + b"1e308," * (SIZE // 6 - 1) + b"1]",
    "tiny floats": b"[" + b"4.9e-324," * (SIZE // 9 - 1) + b"1]",
    "long floats": b"[" + b"0.%s," % (b"0123456789" * 77) * (SIZE // 773 - 1) + b"1]",
    "empty texts": b"[" + b'"",' * (SIZE // 3 - 1) + b'""]',
    "names": b"{" + b",".join(b'"%x":0' % number for number in range(SIZE // 11)) + b"}",
    "escapes": b'"' + b"\\u0041" * (SIZE // 6 - 1) + b'"',
    "escaped quotes": b'"' + b'\\"' * (SIZE // 2 - 2) + b'"',
    "brackets in texts": b"[" + b'"[[[[",' * (SIZE // 7 - 1) + b"1]",
    "one number": b"9" * SIZE,
    "digits behind the point": b"0." + b"1" * (SIZE - 2),
    "blanks": b" " * (SIZE - 1) + b"1",
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_document_costs_little_whatever_its_shape(target: Server, shape: str, record_property: Record) -> None:
    server, count = target, 10
    document = b'{"do":"echo","value":%s}' % SHAPES[shape]
    assert len(document) <= MiB
    await alive(server)
    memory, used = server.memory(), cpu_time(server)
    async with await Wire.open(server, "/room/floods/") as wire, Witness(server) as witness:
        for _ in range(count):
            await wire.write(plain_frame(document))
            assert (await wire.receive_frame())[0] == 0x1
    cost = (cpu_time(server) - used) / count
    record_property("processor", round(cost, 4))
    record_property("witness", str(witness.latencies))
    record_property("growth", server.memory() - memory)
    assert cost < EXPENSIVE
    assert server.memory() - memory < 64 * MiB


def plain_frame(payload: bytes) -> bytes:
    """Return a text frame whose mask changes nothing: quick to make."""
    return b"\x81\xff" + len(payload).to_bytes(8, "big") + bytes(4) + payload


# HTTP


async def test_pipelined_requests_whose_answers_nobody_reads_are_bounded(start: Start, record_property: Record) -> None:
    server = start()
    await alive(server)
    memory = server.memory()
    flood = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000

    growth = []

    async def attack() -> None:
        wires = [await Wire.dial(server, receive_buffer=8192) for _ in range(10)]
        try:
            async with asyncio.timeout(1.5):
                await asyncio.gather(*(press(wire, flood, 40) for wire in wires))
        except TimeoutError:
            pass
        growth.append(server.memory() - memory)
        for wire in wires:
            wire.reset()

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    record_property("growth", growth)
    assert worst[1] < STALL
    assert max(growth) < 10 * MiB


async def test_endless_body_that_nobody_reads_is_bounded(start: Start, record_property: Record) -> None:
    server = start()
    await alive(server)
    memory = server.memory()
    async with await Wire.dial(server) as wire:
        await wire.write(b"POST /slow?client=endless HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n")
        try:
            async with asyncio.timeout(2):
                await press(wire, bytes(MiB), 100)
        except TimeoutError:
            pass
        record_property("growth", server.memory() - memory)
        assert server.memory() - memory < 8 * MiB
    server.get("/open?client=endless")


async def test_frames_before_the_acceptance_are_bounded(start: Start, record_property: Record) -> None:
    """A client may talk before it is accepted; what it says then waits in its own socket."""
    server = start(handshake_timeout=3)
    await alive(server)
    memory = server.memory()
    wires = [await Wire.dial(server) for _ in range(10)]
    flood = plain_frame(b'"%s"' % (b"x" * 1000)) * 1000
    for wire in wires:
        await wire.write(upgrade_request("/undecided/floods/"))
    await eventually(lambda: server.stats()["connections"] == 10, "the clients to knock")
    try:
        async with asyncio.timeout(2):
            await asyncio.gather(*(press(wire, flood, 30) for wire in wires))
    except TimeoutError:
        pass
    record_property("growth", server.memory() - memory)
    assert server.memory() - memory < 16 * MiB
    for wire in wires:
        wire.reset()
