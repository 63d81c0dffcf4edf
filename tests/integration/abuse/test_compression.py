"""Compressed messages: bombs of every kind, streams that are none, and what decompression costs the others."""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest

from tests.integration.clients import Closed, Wire, connect, eventually, frame
from tests.integration.servers import Server

from .attack import MiB, cpu_time, opened, press, read_by_the_server
from .conftest import Record, Start
from .witness import STALL, worst_of

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
COMPRESSED = 0x40
#: ``max_message_size``
LIMIT = MiB


def deflated(data: bytes, *, bits: int = 12, level: int = 9) -> bytes:
    """Return a compressed message's payload (RFC 7692 §7.2.1)."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits)
    packed = deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return packed.removesuffix(b"\x00\x00\xff\xff")


def bomb(megabytes: int) -> bytes:
    """Return what inflates to so many MiB of zeros: one block that refers to no other, again and again."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflater.compress(bytes(MiB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes


def raw(opcode: int, payload: bytes, *, final: bool = True, compressed: bool = True) -> bytes:
    """Return a frame whose mask changes nothing: quick to make."""
    first = (0x80 if final else 0) | (COMPRESSED if compressed else 0) | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, 0x80 | len(payload)) + bytes(4) + payload
    return (
        struct.pack(
            "!BBQ" if len(payload) > 65535 else "!BBH",
            first,
            0x80 | (127 if len(payload) > 65535 else 126),
            len(payload),
        )
        + bytes(4)
        + payload
    )


async def alive(server: Server) -> None:
    """Check that the server serves."""
    async with await connect(server, "/room/alive/", compression="deflate") as client:
        assert await client.ask({"do": "echo", "value": "x" * 5000}) == {"echo": "x" * 5000}


def in_one_frame(payload: bytes) -> bytes:
    return raw(0x2, payload)


def in_fragments(payload: bytes) -> bytes:
    """Return it in fragments of 1,000 bytes."""
    parts = [payload[index : index + 1000] for index in range(0, len(payload), 1000)]
    first = raw(0x2, parts[0], final=False)
    return first + b"".join(raw(0x0, part, final=False, compressed=False) for part in parts[1:])


BOMBS = {
    "a megabyte that is a gigabyte": lambda: in_one_frame(bomb(1024)[:LIMIT]),
    "in fragments": lambda: in_fragments(bomb(1024)[:LIMIT]),
    "short": lambda: in_one_frame(bomb(2)),
    "a byte too much": lambda: in_one_frame(deflated(bytes(LIMIT + 1))),
    "of text": lambda: raw(0x1, deflated(b"[" * (2 * LIMIT))),
    "twice deflated": lambda: in_one_frame(deflated(bomb(1024)) + bomb(8)),
}


@pytest.mark.parametrize("kind", BOMBS)
async def test_bomb_is_stopped_at_the_limit(target: Server, kind: str, record_property: Record) -> None:
    server, data = target, BOMBS[kind]()
    await alive(server)
    memory, before = server.memory(), server.stats()["messages_too_big"]

    async def attack() -> None:
        for _ in range(3):
            async with await Wire.open(server, "/room/bombs/", DEFLATE) as wire:
                await press(wire, data)
                assert (await wire.closed()).code == 1009

    worst = (await worst_of(server, attack))[1]
    growth = server.memory() - memory
    record_property("growth", growth)
    record_property("worst", worst)
    assert growth <= 2 * LIMIT + MiB
    assert worst < STALL
    assert server.stats()["messages_too_big"] == before + 9
    await alive(server)


async def test_bomb_is_told_from_its_header_where_that_says_enough(target: Server) -> None:
    async with await Wire.open(target, "/room/bombs/", DEFLATE) as wire:
        await wire.write(b"\xc1\xff" + (8 * LIMIT).to_bytes(8, "big"))
        assert await wire.closed() == Closed(1009, f"message over {LIMIT} bytes")


async def test_message_of_exactly_the_limit_is_taken(target: Server) -> None:
    async with await Wire.open(target, "/spec/echo", DEFLATE) as wire:
        await wire.write(raw(0x2, deflated(bytes(LIMIT))))
        assert (await wire.receive_frame())[0] == 0x2


async def test_small_bombs_one_after_the_other_stall_nobody(start: Start, record_property: Record) -> None:
    server = start()
    small = raw(0x2, deflated(bytes(LIMIT)))  # a kilobyte that costs a megabyte, and is allowed
    memory = server.memory()

    async def attack() -> None:
        async with opened(server, 5, "/room/bombs/", DEFLATE) as wires:
            await asyncio.gather(*(press(wire, small * 40) for wire in wires))
            await asyncio.gather(*(read_by_the_server(wire) for wire in wires))

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    record_property("growth", server.memory() - memory)
    assert worst[1] < STALL
    assert server.memory() - memory < 16 * MiB


async def test_compressed_fragments_stall_nobody(start: Start, record_property: Record) -> None:
    server = start()
    empty = raw(0x0, b"", final=False, compressed=False) * 10_000
    tiny = raw(0x0, b"\x00", final=False, compressed=False) * 10_000

    async def attack() -> None:
        for filling in (empty, tiny):
            async with await Wire.open(server, "/room/bombs/", DEFLATE) as wire:
                await wire.write(raw(0x2, b"\x00", final=False))
                await press(wire, filling, 14)
                await read_by_the_server(wire)

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    assert worst[1] < STALL


async def test_unfinished_compressed_messages_hold_little(start: Start, record_property: Record) -> None:
    server, clients = start(), 200
    await alive(server)
    async with opened(server, clients, "/room/bombs/", DEFLATE) as wires:
        memory = server.memory()
        for wire in wires:
            await wire.write(raw(0x2, deflated(b"x" * 100), final=False))
            await read_by_the_server(wire)
        growth = server.memory() - memory
        record_property("growth per client", growth // clients)
        assert growth < clients * 128 * 1024
    await eventually(lambda: server.stats()["connections"] == 0, "the clients to be gone")


async def test_inflated_bytes_count_as_unfinished(start: Start) -> None:
    server = start(unfinished_limit=4 * MiB)
    part = raw(0x2, deflated(bytes(LIMIT - 1)), final=False)
    async with opened(server, 8, "/room/bombs/", DEFLATE) as wires:
        codes = []
        for wire in wires:
            await press(wire, part + frame(0x9, b"read"))
            opcode, payload = await wire.receive_frame()
            codes.append(0 if opcode == 0xA else int.from_bytes(payload[:2], "big"))
    assert codes.count(1013) >= 3
    assert server.stats()["unfinished_over_limit"] == codes.count(1013)


# Streams that are none

BROKEN = {
    "noise": (raw(0x1, b"\xff" * 50), {1007}),
    "block of an unknown kind": (raw(0x1, b"\x07"), {1007}),
    "stored block with a wrong length": (raw(0x1, b"\x00\x05\x00\x00\x00hello"), {1007}),
    "reference before the beginning": (raw(0x1, b"\x02\x13\x00\x00"), {1007, 1011}),
    "what is inflated is not UTF-8": (raw(0x1, deflated(b"\xff\xfe")), {1007}),
    "reserved bit 2": (raw(0x1 | 0x20, deflated(b"{}")), {1002}),
    "compressed ping": (raw(0x9, deflated(b"x")), {1002}),
    "compressed continuation": (raw(0x1, b"\x00", final=False) + raw(0x0, b"\x00"), {1002}),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_broken_compression_closes_that_connection(target: Server, case: str) -> None:
    data, codes = BROKEN[case]
    async with await Wire.open(target, "/room/broken/", DEFLATE) as wire:
        await wire.write(data)
        assert (await wire.closed()).code in codes
    await alive(target)


async def test_window_of_the_message_before_is_not_there(target: Server) -> None:
    """Without context takeover a message may not refer to the one before it: nobody reads what is left in memory."""
    async with await Wire.open(target, "/spec/echo", DEFLATE) as wire:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -12)
        secret = b"nobody may read this again; " * 10
        first = deflater.compress(secret) + deflater.flush(zlib.Z_SYNC_FLUSH)
        second = deflater.compress(secret) + deflater.flush(zlib.Z_SYNC_FLUSH)
        await wire.write(raw(0x1, first[:-4]))
        assert (await wire.receive_frame())[0] == 0x1
        await wire.write(raw(0x1, second[:-4]))
        assert (await wire.closed()).code == 1007


async def test_compressed_frame_where_nothing_was_agreed_on(target: Server) -> None:
    async with await Wire.open(target, "/room/broken/") as wire:
        await wire.write(raw(0x1, deflated(b"{}")))
        assert (await wire.closed()).code == 1002


async def test_bytes_behind_the_last_block_are_not_a_way_in(target: Server) -> None:
    final = zlib.compressobj(9, zlib.DEFLATED, -12)
    whole = final.compress(b'"x"') + final.flush()  # a stream that says that it ends
    used = cpu_time(target)
    async with await Wire.open(target, "/spec/echo", DEFLATE) as wire:
        await wire.write(raw(0x2, whole + bomb(64)))
        opcode, payload = await wire.receive_frame()
        assert payload == b'"x"' if opcode == 0x2 else payload[:2] in (b"\x03\xef", b"\x03\xf1")
    assert cpu_time(target) - used < 0.5
    await alive(target)


OFFERS = [
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=-1",
    "permessage-deflate; server_max_window_bits=99999999999999999999",
    "permessage-deflate; server_max_window_bits=1e1",
    "permessage-deflate; server_max_window_bits=٩",
    "permessage-deflate; client_max_window_bits=0",
    "permessage-deflate; client_no_context_takeover=1",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; mode=fast",
    "permessage-deflate; __class__=1",
    "permessage-deflate; " + "; ".join(["server_no_context_takeover"] * 500),
]


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer[20:60])
async def test_offer_that_cannot_be_taken_is_declined(target: Server, offer: str) -> None:
    line = f"Sec-WebSocket-Extensions: {offer}".encode().decode("latin-1")
    async with await Wire.open(target, "/room/offers/", line) as wire:
        assert not [value for name, value in wire.headers if name == b"sec-websocket-extensions"]
        await wire.send_frame(0x1, b'{"do": "echo", "value": 1}')
        assert await wire.receive_frame() == (0x1, b'{"echo":1}')


async def test_second_offer_is_taken_where_the_first_cannot_be(target: Server) -> None:
    line = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7, permessage-deflate"
    async with await Wire.open(target, "/room/offers/", line) as wire:
        assert [value for name, value in wire.headers if name == b"sec-websocket-extensions"]
