"""Frames of the Centrifuge wire that hold as many commands as they can, or one that is made to be expensive."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.wire.centrifuge.wireformat import LENGTH, VARINT, prefixed, tag
from tests.integration.clients import Wire, frame
from tests.integration.servers import Server

from .attack import MiB, alive
from .conftest import Record
from .witness import STALL, worst_of

JSON, PROTOBUF = "/sdk/commands/", "/sdk/commands/?format=protobuf"
SIZE = MiB - 100
#: The id of a command in Protobuf, and a field that nobody knows.
ID, UNKNOWN = tag(1, VARINT) + b"\1", tag(100, VARINT) + b"\1"


def lines(line: bytes, count: int = 10_000) -> bytes:
    """Return a frame in JSON of so many equal commands."""
    return b"\n".join([line] * count)


def command(number: int, content: bytes = b"", padding: bytes = b"") -> bytes:
    """Return a command in Protobuf, by the field number of its content; ``padding`` are fields in front."""
    return prefixed(padding + ID + tag(number, LENGTH) + prefixed(content))


CONNECT = {JSON: b'{"connect":{},"id":1}', PROTOBUF: command(4)}
#: What ends a connection when all that came before has been handled.
END = {JSON: b"}", PROTOBUF: b"\xff"}

#: What clients do that are in: how, with what frame, and how they are closed.
FRAMES = {
    "messages": (JSON, lines(b'{"send":{"data":{"do":"echo","value":1}}}'), 3013),
    "subscriptions": (JSON, lines(b'{"subscribe":{"channel":"a"},"id":1}'), 3013),
    "calls": (JSON, lines(b'{"rpc":{"method":"a"},"id":1}'), 3013),
    "more commands than a frame may have": (JSON, lines(b'{"rpc":{},"id":1}', SIZE // 18), 3501),
    "ends of lines": (JSON, b"\n" * SIZE, 3501),
    "pongs": (JSON, lines(b"{}", SIZE // 3), 3501),
    "commands that are too big": (JSON, lines(b'{"rpc":{"data":"%b"},"id":1}' % (b"x" * 65_536), 15), 3501),
    "messages in Protobuf": (
        PROTOBUF,
        command(12, tag(1, LENGTH) + prefixed(b'{"do":"echo","value":1}')) * 10_000,
        3013,
    ),
    "subscriptions in Protobuf": (PROTOBUF, command(5, b"\n\1a") * 10_000, 3013),
    "fields": (PROTOBUF, command(13, padding=UNKNOWN * 9_900) * 34, 3501),
    "too many fields": (PROTOBUF, command(13, padding=ID * 30_000) * 17, 3501),
}

_ENTRIES = b",".join(b'"%x":{}' % number for number in range(SIZE // 12))
#: The same for those who send it first.
FIRST = {
    "rubbish": (JSON, b"x" * SIZE, 3501),
    "many subscriptions": (JSON, b'{"connect":{"subs":{%b}},"id":1}' % _ENTRIES, 3501),
    "fields": (PROTOBUF, command(4, padding=ID * (SIZE // 2 - 50)), 3501),
    "entries": (PROTOBUF, command(4, (tag(3, LENGTH) + prefixed(b"")) * (SIZE // 2 - 50)), 3501),
}


async def closed(server: Server, path: str, payloads: list[bytes]) -> int:
    """Send frames, and return with what code the server closed the connection."""
    async with await Wire.open(server, path) as wire:
        sending = asyncio.create_task(
            wire.write(b"".join(frame(0x1 if path == JSON else 0x2, each) for each in payloads))
        )
        code = (await wire.closed()).code
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return code


async def check(server: Server, path: str, payloads: list[bytes], expected: int, record_property: Record) -> None:
    """Let two clients send the frames; they are closed, and nobody waits."""
    await alive(server)

    async def attack() -> None:
        codes = await asyncio.gather(*(closed(server, path, payloads) for _ in range(2)))
        assert set(codes) <= {expected, 1006}, codes  # 1006: it was reset while it went on sending

    worst = await worst_of(server, attack)
    record_property("worst", worst)
    assert worst[1] < STALL
    await alive(server)


@pytest.mark.parametrize("kind", FRAMES)
async def test_frame_of_many_commands_stalls_nobody(target: Server, kind: str, record_property: Record) -> None:
    path, payload, expected = FRAMES[kind]
    assert len(payload) <= MiB
    await check(target, path, [CONNECT[path], payload, payload, END[path]], expected, record_property)


@pytest.mark.parametrize("kind", FIRST)
async def test_first_frame_stalls_nobody(target: Server, kind: str, record_property: Record) -> None:
    path, payload, expected = FIRST[kind]
    assert len(payload) <= MiB
    await check(target, path, [payload], expected, record_property)


async def test_first_frame_may_bring_commands_along_within_the_rate(target: Server, record_property: Record) -> None:
    first = CONNECT[JSON] + b"\n" + lines(b'{"send":{"data":{"do":"echo","value":1}}}', 9_999)
    await check(target, JSON, [first, first.partition(b"\n")[2]], 3013, record_property)


async def test_a_thousand_subscriptions_in_one_frame_are_answered(target: Server) -> None:
    async with await Wire.open(target, JSON) as wire:
        await wire.send_frame(0x1, CONNECT[JSON])
        await wire.send_frame(
            0x1, b"\n".join(b'{"subscribe":{"channel":"%d"},"id":%d}' % (n, n) for n in range(2, 1002))
        )
        answers = b""
        while answers.count(b'"id":') < 1001:
            opcode, payload = await wire.receive_frame()
            assert opcode == 0x1
            answers += payload
