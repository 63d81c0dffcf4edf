"""picows behind a handshake of somebody else's: only frames go in, and nothing of its own comes out."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picows.picows import WSFrame, WSListener, WSTransport

from antiphon.server import frameparser

from ..fakes import on_jumping_loop, run, settled
from .far import OP_BINARY, OP_CLOSE, OP_CONT, OP_PING, OP_TEXT, Far, close_frame, masked


class Listener(WSListener):
    """Remembers what picows tells."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bool, bytes]] = []
        self.ends = 0
        self.faults: list[tuple[int, str]] = []

    def fault(self, code: int, reason: str) -> None:
        self.faults.append((code, reason))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames.append((frame.msg_type.value, bool(frame.fin), frame.get_payload_as_bytes()))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.ends += 1


async def open_far(max_frame_size: int = 10_000) -> tuple[Far, Listener, Any]:
    far, listener = Far(), Listener()
    await far.connect(asyncio.Protocol())
    parser = frameparser.open_parser(far.transport, listener, max_frame_size, listener.fault)
    far.transport.set_protocol(parser)
    return far, listener, parser


async def end(far: Far) -> None:
    far.transport.abort()
    await far.end()


@on_jumping_loop
async def test_opening_writes_nothing() -> None:
    far, listener, _ = await open_far()
    await settled()
    assert far.read() == b""
    assert listener.frames == []
    await end(far)
    assert listener.ends == 1


@on_jumping_loop
async def test_frames_from_the_socket_are_told() -> None:
    far, listener, _ = await open_far()
    await far.send(masked(OP_TEXT, "ä"), masked(OP_BINARY, b"\x00" * 300), masked(OP_TEXT, b"a", fin=False))
    await far.send(masked(OP_CONT, b"b"))
    assert listener.frames == [
        (1, True, "ä".encode()),
        (2, True, b"\x00" * 300),
        (1, False, b"a"),
        (0, True, b"b"),
    ]
    await end(far)


messages = st.lists(st.tuples(st.sampled_from([OP_TEXT, OP_BINARY]), st.binary(max_size=5000)), max_size=6)


@settings(max_examples=60)
@given(messages, st.lists(st.integers(0, 20_000), max_size=6))
def test_frames_are_the_same_however_the_bytes_are_cut(messages: list[Any], cuts: list[int]) -> None:
    async def main() -> None:
        far, listener, parser = await open_far()
        data = b"".join(masked(opcode, payload) for opcode, payload in messages)
        places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, stop in pairwise(places):
            frameparser.feed(parser, data[start:stop])
        assert [(opcode, payload) for opcode, _, payload in listener.frames] == [
            (int(opcode), payload) for opcode, payload in messages
        ]
        await end(far)

    run(main())


@on_jumping_loop
async def test_a_ping_is_answered_by_the_parser() -> None:
    far, _, _ = await open_far()
    await far.send(masked(OP_PING, b"hello"))
    (pong,) = await far.frames(1)
    assert (int(pong.opcode), bytes(pong.data)) == (10, b"hello")
    await end(far)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x01a",  # not masked
        b"\x83\x80\x00\x00\x00\x00",  # an opcode that does not exist
        masked(OP_PING, b"x", fin=True).replace(b"\x89", b"\x09", 1),  # a fragmented ping
        b"\x88\x81\x00\x00\x00\x00\x01",  # a close frame of one byte
        close_frame(1000).replace(b"\x88", b"\x08", 1),
    ],
    ids=["unmasked", "opcode", "fragmented ping", "short close", "fragmented close"],
)
def test_a_fault_of_the_client_ends_the_connection_and_is_no_error_of_ours(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        far, listener, _ = await open_far()
        await far.send(data)
        for _ in range(100):
            if listener.ends:
                break
            await asyncio.sleep(0.1)
        assert listener.ends == 1
        assert [opcode for opcode, _, _ in listener.frames if opcode != int(OP_CLOSE)] == []
        await far.end()

    with caplog.at_level(logging.INFO):
        run(main())
    assert not [record for record in caplog.records if record.levelno >= logging.INFO and "asyncio" not in record.name]


@on_jumping_loop
async def test_what_the_parser_does_not_need_is_not_kept() -> None:
    far, _, parser = await open_far()
    assert parser.transport.request.headers is None
    await end(far)
