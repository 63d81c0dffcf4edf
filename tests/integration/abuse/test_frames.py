"""Frames: lengths that can't be, a hundred megabytes, a million fragments, messages that never end, and noise."""

from __future__ import annotations

import asyncio
import random
import struct

import pytest

from tests.integration.clients import Closed, Wire, eventually, frame, upgrade_request
from tests.integration.servers import Server

from .attack import MiB, alive, cpu_time, crowd, opened, press, read_by_the_server, to_end
from .conftest import Record, Start
from .witness import STALL, worst_of

ECHO = b'{"do": "echo", "value": 1}'
ECHOED = (0x1, b'{"echo":1}')


# Lengths

LENGTHS = {2**63 - 1: 1009, 2**62: 1009, 2**32: 1009, 2**63: 1002, 2**64 - 1: 1002}


@pytest.mark.parametrize("length", LENGTHS, ids=hex)
@pytest.mark.parametrize("opcode", [0x1, 0x2, 0x0])
async def test_length_that_cannot_be_is_refused_from_the_header(target: Server, opcode: int, length: int) -> None:
    used, memory = cpu_time(target), target.memory()
    async with await Wire.open(target, "/room/lengths/") as wire:
        if opcode == 0x0:
            await wire.send_frame(0x1, b"the begin", final=False)
        await wire.write(struct.pack("!BBQ", 0x80 | opcode, 0xFF, length))
        assert (await wire.closed()).code == LENGTHS[length]
        await wire.read_to_end()
    assert cpu_time(target) - used < 0.5
    assert target.memory() - memory < MiB
    await alive(target)


@pytest.mark.parametrize("header", [b"\x81\xfe\x00\x05", b"\x81\xff" + (125).to_bytes(8, "big")], ids=["16", "64"])
async def test_length_that_is_not_written_in_the_shortest_way(target: Server, header: bytes) -> None:
    async with await Wire.open(target, "/room/lengths/") as wire:
        await wire.write(header + bytes(4 + 125))
        assert (await wire.closed()).code == 1002


@pytest.mark.parametrize(
    "header", [b"\x88\xfe\x00\x7e", b"\x89\xff" + (2**40).to_bytes(8, "big")], ids=["close", "ping"]
)
async def test_control_frame_that_announces_more_than_it_may(target: Server, header: bytes) -> None:
    async with await Wire.open(target, "/room/lengths/") as wire:
        await wire.write(header)
        assert (await wire.closed()).code == 1002


async def test_hundred_megabytes_are_refused_from_the_header(start: Start, record_property: Record) -> None:
    server = start()
    await alive(server)
    memory, worst = server.memory(), 0.0

    async def attack() -> None:
        async with await Wire.open(server, "/room/big/") as wire:
            await wire.write(b"\x81\xff" + (100 * MiB).to_bytes(8, "big") + bytes(4))
            sent = await press(wire, bytes(MiB), 100)
            record_property("megabytes", sent)
            assert (await wire.closed()).code in (1009, 1006)  # 1006: it was reset while it went on sending

    worst = (await worst_of(server, attack))[1]
    record_property("growth", server.memory() - memory)
    record_property("worst", worst)
    assert server.memory() - memory < 4 * MiB
    assert worst < STALL


async def test_who_asks_is_told_why_a_hundred_megabytes_are_refused(target: Server) -> None:
    async with await Wire.open(target, "/room/big/") as wire:
        await wire.write(b"\x81\xff" + (100 * MiB).to_bytes(8, "big") + bytes(4))
        assert await wire.closed() == Closed(1009, "message over 1048576 bytes")
        assert await wire.read_to_end() == b""


# Fragments


async def test_million_fragments_stall_nobody(start: Start, record_property: Record) -> None:
    server = start(max_fragments=0)
    await alive(server)
    memory = server.memory()
    tiny = frame(0x0, b"x", final=False) * 10_000

    async def attack() -> None:  # a third of a million
        async with await Wire.open(server, "/room/fragments/") as wire:
            await wire.send_frame(0x1, b"x", final=False)
            await press(wire, tiny, 34)
            await read_by_the_server(wire)

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    record_property("growth", server.memory() - memory)
    assert worst[1] < STALL
    assert server.memory() - memory < 8 * MiB


async def test_fragments_over_many_connections_stall_nobody(start: Start, record_property: Record) -> None:
    server = start()
    tiny = frame(0x0, b"x", final=False) * 5_000

    async def attack() -> None:
        async with opened(server, 10, "/room/fragments/") as wires:
            for wire in wires:
                await wire.send_frame(0x1, b"x", final=False)
            await asyncio.gather(*(press(wire, tiny, 4) for wire in wires))
            await asyncio.gather(*(read_by_the_server(wire) for wire in wires))

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    assert worst[1] < STALL


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "one byte"])
async def test_message_in_too_many_fragments(start: Start, payload: bytes) -> None:
    server = start(max_fragments=1000)
    async with await Wire.open(server, "/spec/echo") as wire:
        await wire.write(frame(0x1, b'"', final=False) + frame(0x0, payload, final=False) * 998 + frame(0x0, b'"'))
        assert await wire.receive_frame() == (0x1, b'"%s"' % (payload * 998))
        await wire.write(frame(0x1, b'"', final=False) + frame(0x0, payload, final=False) * 1000)
        assert await wire.closed() == Closed(1008, "a message in more than 1000 fragments")
    assert server.stats()["fragments_over_limit"] == 1
    await alive(server)


async def test_unfinished_messages_hold_little_more_than_their_bytes(start: Start, record_property: Record) -> None:
    server = start()
    await alive(server)
    fragments, clients = 5_000, 100
    tiny = frame(0x0, b"x", final=False) * fragments
    async with opened(server, clients, "/room/unfinished/") as wires:
        memory = server.memory()
        await asyncio.gather(*(wire.send_frame(0x1, b"x", final=False) for wire in wires))
        await asyncio.gather(*(press(wire, tiny) for wire in wires))
        await asyncio.gather(*(read_by_the_server(wire) for wire in wires))
        growth = server.memory() - memory
        record_property("growth", growth)
        record_property("received", clients * len(tiny))
        assert growth < 2 * clients * len(tiny)
        assert growth < 8 * clients * fragments + 4 * MiB  # the payload counts, not the frames
        assert await finish(wires[0]) == 0x1


async def finish(wire: Wire) -> int:
    """Finish the message; return the opcode of the answer."""
    await wire.send_frame(0x0, b"x")
    return (await wire.receive_frame())[0]


async def test_unfinished_messages_of_all_clients_are_bounded(start: Start) -> None:
    server = start(unfinished_limit=8 * MiB)
    part = frame(0x2, bytes(MiB // 2), final=False)
    for _ in range(3):  # what was counted is given back
        codes = []
        async with opened(server, 30, "/room/unfinished/") as wires:
            await asyncio.gather(*(press(wire, part) for wire in wires))
            for wire in wires:
                await press(wire, frame(0x9, b"read"))
                opcode, payload = await wire.receive_frame()
                codes.append(0 if opcode == 0xA else int.from_bytes(payload[:2], "big"))
            await alive(server)
        assert codes.count(0) == 16
        assert codes.count(1013) == 14
        await eventually(lambda: server.stats()["connections"] == 0, "the clients to be gone")
    assert server.stats()["unfinished_over_limit"] == 3 * 14


async def test_message_that_comes_byte_by_byte_costs_its_length(target: Server, record_property: Record) -> None:
    text = b'{"do": "echo", "value": "%s"}' % (b"x" * 20_000)
    used = cpu_time(target)
    async with await Wire.open(target, "/room/dribble/") as wire:
        for byte in frame(0x1, text):
            await wire.write(bytes([byte]))
        assert (await wire.receive_frame())[0] == 0x1
    record_property("cpu", cpu_time(target) - used)
    assert cpu_time(target) - used < 5


async def test_pings_between_all_fragments_are_answered(start: Start) -> None:
    server = start(control_rate=0)
    async with await Wire.open(server, "/room/fragments/") as wire:
        text = b'{"do": "echo", "value": 1}'
        parts = [frame(0x1, b"", final=False)]
        for index in range(len(text)):
            parts += [frame(0x9, b"%d" % index), frame(0x0, text[index : index + 1], final=False)]
        await wire.write(b"".join(parts) + frame(0x0))
        pongs = [await wire.receive_frame() for _ in text]
        assert pongs == [(0xA, b"%d" % index) for index in range(len(text))]
        assert await wire.receive_frame() == ECHOED


async def test_nothing_behind_a_close_frame_is_answered(target: Server) -> None:
    async with await Wire.open(target, "/room/after/") as wire:
        await wire.write(frame(0x8, b"\x0f\xa0bye") + frame(0x9, b"?") + frame(0x1, ECHO) + frame(0x8, b"\x0f\xa1"))
        assert (await wire.closed()).code == 4000
        assert await wire.read_to_end() == b""


async def test_violation_behind_a_valid_message_is_told(target: Server) -> None:
    async with await Wire.open(target, "/room/after/") as wire:
        await wire.write(frame(0x1, ECHO) + b"\xff\xff" + bytes(100))
        assert (await wire.closed()).code == 1002


# Noise

SEED = 6455
SPEECH = [
    frame(0x1, ECHO),
    frame(0x1, b'{"do": "say", "value": "hello"}'),
    frame(0x2, bytes(range(256))),
    frame(0x1, b'{"do": "echo", ', final=False) + frame(0x9, b"ping") + frame(0x0, b'"value": 1}'),
    frame(0x1, "„Grüße“ 🎵".encode()),
    frame(0x8, b"\x03\xe8bye"),
    frame(0xA, b"pong"),
]


def noise(random: random.Random) -> bytes:
    """Return bytes that a broken client might send: random ones, or frames in which something was changed."""
    if random.random() < 0.25:
        return random.randbytes(random.randrange(1, 400))
    data = bytearray(b"".join(random.choices(SPEECH, k=random.randrange(1, 5))))
    for _ in range(random.randrange(1, 6)):
        place = random.randrange(len(data))
        match random.randrange(4):
            case 0:
                data[place] ^= 1 << random.randrange(8)
            case 1:
                del data[place : place + random.randrange(1, 8)]
            case 2:
                data[place:place] = random.randbytes(random.randrange(1, 8))
            case 3:
                data[place] = random.randrange(256)
        if not data:
            return b"\x00"
    return bytes(data)


async def test_noise_ends_nothing_but_its_own_connection(start: Start, record_property: Record) -> None:
    server = start()
    rnd = random.Random(SEED)
    await noises(server, [noise(rnd) for _ in range(1500)])
    memory = server.memory()
    await noises(server, [noise(rnd) for _ in range(1500)])
    record_property("growth", server.memory() - memory)
    assert server.memory() - memory < 4 * MiB
    stats = server.stats()
    assert stats["connections_accepted"] == 3000
    assert stats["handler_errors"] < 300  # the room's own, for JSON of a shape that it does not expect
    tracebacks = {line for line in server.log().splitlines() if line.startswith("ERROR")}
    assert all("exception in receive_json()" in line for line in tracebacks), tracebacks
    await alive(server)


async def noises(server: Server, all_data: list[bytes]) -> None:
    """Send each to a connection of its own, and see that it ends when we do."""
    for batch in (all_data[index : index + 50] for index in range(0, len(all_data), 50)):
        wires = await crowd(server, len(batch), "/room/noise/")
        for wire, data in zip(wires, batch, strict=True):
            await press(wire, data)
            wire.finish()
        for wire in wires:
            async with wire:
                await asyncio.wait_for(to_end(wire), 10)
    await eventually(lambda: server.stats()["connections"] == 0, "the clients to be gone")


async def test_random_requests_end_nothing_but_their_own_connection(start: Start) -> None:
    server = start(handshake_timeout=1)
    rnd = random.Random(SEED)
    whole = upgrade_request("/room/noise/", "Origin: http://127.0.0.1", "Sec-WebSocket-Extensions: permessage-deflate")

    async def one() -> None:
        data = bytearray(whole)
        for _ in range(rnd.randrange(1, 6)):
            place = rnd.randrange(len(data))
            data[place : place + rnd.randrange(2)] = rnd.randbytes(rnd.randrange(1, 4))
        async with await Wire.dial(server) as wire:
            await press(wire, bytes(data))
            wire.finish()
            await asyncio.wait_for(to_end(wire), 10)

    for _ in range(20):
        await asyncio.gather(*(one() for _ in range(50)))
    assert "Traceback" not in server.log()
    await alive(server)
