"""The frames that a server writes, read by another implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Opcode

from antiphon import frames
from antiphon.codes import REASON_BYTES
from antiphon.deflate import Deflater
from antiphon.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, compressed_frame, frame

from .fakes import parse_frames

LENGTHS = [0, 1, 124, 125, 126, 127, 65535, 65536, 70000]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_data_frame_of_any_length_is_read_back(opcode: int, length: int) -> None:
    payload = bytes(index % 251 for index in range(length))
    (parsed,) = parse_frames(frame(opcode, payload))
    assert (parsed.fin, parsed.opcode, bytes(parsed.data)) == (True, Opcode(opcode), payload)
    assert (parsed.rsv1, parsed.rsv2, parsed.rsv3) == (False, False, False)


@pytest.mark.parametrize(("length", "header"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_the_length_takes_the_shortest_form(length: int, header: int) -> None:
    for opcode in (TEXT, BINARY):
        assert len(frame(opcode, bytes(length))) == header + length
        assert len(compressed_frame(opcode, bytes(length))) == header + length


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("length", [0, 2, 125])
def test_a_control_frame_is_read_back(opcode: int, length: int) -> None:
    payload = b"\x03\xe8" + b"x" * (length - 2) if length else b""
    (parsed,) = parse_frames(frame(opcode, payload))
    assert (parsed.opcode, bytes(parsed.data)) == (Opcode(opcode), payload)


@given(st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=200)), max_size=8))
def test_frames_behind_one_another_stay_apart(messages: list[tuple[int, bytes]]) -> None:
    parsed = parse_frames(b"".join(frame(opcode, payload) for opcode, payload in messages))
    assert [(int(one.opcode), bytes(one.data)) for one in parsed] == messages


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_compressed_frame_differs_by_one_bit(opcode: int, length: int) -> None:
    plain, compressed = frame(opcode, b"x" * length), compressed_frame(opcode, b"x" * length)
    assert compressed[0] == plain[0] | 0x40
    assert compressed[1:] == plain[1:]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_compressed_frame_is_read_back(length: int) -> None:
    payload = bytes(index % 251 for index in range(length))
    (parsed,) = parse_frames(
        compressed_frame(BINARY, Deflater(12).deflate(payload)), [PerMessageDeflate(True, True, 12, 12)]
    )
    assert (parsed.opcode, bytes(parsed.data)) == (Opcode.BINARY, payload)


@pytest.mark.parametrize("code", [1000, 1011, 3000, 4999])
@pytest.mark.parametrize("reason", ["", "bye", "€" * (REASON_BYTES // 3), "x" * REASON_BYTES])
def test_a_close_frame_has_code_and_reason(code: int, reason: str) -> None:
    (parsed,) = parse_frames(close_frame(code, reason.encode()))
    assert (parsed.opcode, Close.parse(parsed.data)) == (Opcode.CLOSE, Close(code, reason))


def test_the_words_for_frames_are_those_of_the_specification() -> None:
    assert [int(opcode) for opcode in Opcode] == [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG]
    assert {name for name in frames.__all__ if name.isupper()} == {
        "CONTINUATION",
        "TEXT",
        "BINARY",
        "CLOSE",
        "PING",
        "PONG",
    }
