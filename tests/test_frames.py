"""Frames and messages: RFC 6455 §5, checked by another implementation's parser."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from antiphon.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Assembler,
    ProtocolViolation,
    frame,
    lone_control_frame,
)

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
    assert len(frame(BINARY, bytes(length))) == header + length


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


# Control frames of a client


def from_client(opcode: Opcode, payload: bytes) -> bytes:
    return Frame(opcode, payload).serialize(mask=True)


close_payloads = st.builds(
    lambda code, reason: code.to_bytes(2, "big") + reason.encode()[:100].decode(errors="ignore").encode(),
    st.sampled_from([1000, 1001, 1011, 3000, 4999]),
    st.text(max_size=60),
)


@given(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))
def test_a_control_frame_that_comes_alone_is_read(opcode: Opcode, payload: bytes) -> None:
    assert lone_control_frame(from_client(opcode, payload)) == (int(opcode), payload)


@given(close_payloads | st.just(b""))
def test_a_close_frame_that_comes_alone_is_read(payload: bytes) -> None:
    assert lone_control_frame(from_client(Opcode.CLOSE, payload)) == (CLOSE, payload)


@pytest.mark.parametrize(
    "payload",
    [b"\x03", b"\x03\xed", b"\x00\x00", b"\x03\xe7", b"\x03\xee", b"\xff\xff", b"\x03\xe8\xff", b"\x03\xe8\xc3"],
)
def test_a_close_frame_that_breaks_the_rules_is_left_to_the_parser(payload: bytes) -> None:
    assert lone_control_frame(from_client(Opcode.CLOSE, payload)) is None


@given(
    st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE]),
    st.binary(max_size=40),
    st.binary(min_size=1, max_size=10),
)
def test_anything_before_or_behind_a_control_frame_is_left_to_the_parser(
    opcode: Opcode, payload: bytes, more: bytes
) -> None:
    payload = b"" if opcode is Opcode.CLOSE else payload
    data = from_client(opcode, payload)
    assert lone_control_frame(data + more) is None
    assert lone_control_frame(data[: -min(len(more), len(data))]) is None


@pytest.mark.parametrize("first", [0x09, 0x0A, 0xC9, 0xA9, 0x99, 0x81, 0x82, 0x80, 0x8B, 0x83])
def test_what_is_no_whole_control_frame_is_left_to_the_parser(first: int) -> None:
    assert lone_control_frame(bytes([first]) + from_client(Opcode.PING, b"abc")[1:]) is None


def test_a_control_frame_without_a_mask_is_left_to_the_parser() -> None:
    assert lone_control_frame(Frame(Opcode.PING, b"abcdef").serialize(mask=False)) is None


@given(st.binary(max_size=140))
def test_any_bytes_are_a_control_frame_or_left_to_the_parser(data: bytes) -> None:
    found = lone_control_frame(data)
    if found is not None:
        opcode, payload = found
        assert opcode in (CLOSE, PING, PONG)
        assert len(data) == 6 + len(payload)


# Messages from fragments


def fragments(message: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
    return [message[start:end] for start, end in pairwise(places)]


def feed_all(assembler: Assembler, opcode: int, parts: list[bytes]) -> tuple[int, bytes] | None:
    result = None
    for index, part in enumerate(parts):
        assert result is None, "nothing comes out before the last fragment"
        result = assembler.feed(CONTINUATION if index else opcode, index == len(parts) - 1, part)
    return result


@given(st.text(), st.lists(st.integers(0, 1000), max_size=10))
def test_text_is_the_same_however_it_was_cut(text: str, cuts: list[int]) -> None:
    assembler = Assembler(10_000)
    for _ in range(2):
        assert feed_all(assembler, TEXT, fragments(text.encode(), cuts)) == (TEXT, text.encode())


@given(st.binary(), st.lists(st.integers(0, 1000), max_size=10))
def test_binary_is_the_same_however_it_was_cut(data: bytes, cuts: list[int]) -> None:
    assert feed_all(Assembler(10_000), BINARY, fragments(data, cuts)) == (BINARY, data)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(
    st.one_of(st.binary(max_size=12), st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")[:-1])),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_text_is_refused_exactly_where_it_is_not_utf8(data: bytes, cuts: list[int]) -> None:
    if is_utf8(data):
        assert feed_all(Assembler(10_000), TEXT, fragments(data, cuts)) == (TEXT, data)
    else:
        with pytest.raises(ProtocolViolation) as caught:
            feed_all(Assembler(10_000), TEXT, fragments(data, cuts))
        assert caught.value.code == 1007


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe2\x28"])
def test_a_fault_in_the_text_is_found_in_the_fragment_that_has_it(bad: bytes) -> None:
    assembler = Assembler(1000)
    assembler.feed(TEXT, False, "κόσμε".encode())
    with pytest.raises(ProtocolViolation) as caught:
        assembler.feed(CONTINUATION, False, bad)
    assert caught.value.code == 1007


def test_a_character_may_be_cut_but_not_cut_off() -> None:
    assembler = Assembler(1000)
    euro = "€".encode()
    assembler.feed(TEXT, False, euro[:1])
    assembler.feed(CONTINUATION, False, euro[1:2])
    with pytest.raises(ProtocolViolation) as caught:
        assembler.feed(CONTINUATION, True, b"")
    assert caught.value.code == 1007


def test_binary_may_hold_what_is_not_utf8() -> None:
    assert Assembler(10).feed(BINARY, True, b"\xff") == (BINARY, b"\xff")


# Interleaving (§5.4)


@pytest.mark.parametrize("fin", [False, True])
def test_a_continuation_needs_a_message_to_continue(fin: bool) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        Assembler(10).feed(CONTINUATION, fin, b"")
    assert caught.value.code == 1002


def test_a_continuation_behind_a_whole_message_is_refused() -> None:
    assembler = Assembler(10)
    assembler.feed(TEXT, True, b"a")
    with pytest.raises(ProtocolViolation):
        assembler.feed(CONTINUATION, True, b"b")


@pytest.mark.parametrize("first", [TEXT, BINARY])
@pytest.mark.parametrize("second", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [False, True])
def test_a_new_message_inside_a_fragmented_one_is_refused(first: int, second: int, fin: bool) -> None:
    assembler = Assembler(10)
    assembler.feed(first, False, b"a")
    with pytest.raises(ProtocolViolation) as caught:
        assembler.feed(second, fin, b"b")
    assert caught.value.code == 1002


# Size


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_the_limit_is_taken_and_one_byte_more_is_not(opcode: int) -> None:
    assert Assembler(4).feed(opcode, True, b"abcd") == (opcode, b"abcd")
    with pytest.raises(ProtocolViolation, match="4 bytes") as caught:
        Assembler(4).feed(opcode, True, b"abcde")
    assert caught.value.code == 1009


def test_the_size_of_all_fragments_counts() -> None:
    assembler = Assembler(4)
    assembler.feed(TEXT, False, b"ab")
    assembler.feed(CONTINUATION, False, b"cd")
    with pytest.raises(ProtocolViolation) as caught:
        assembler.feed(CONTINUATION, False, b"e")
    assert caught.value.code == 1009


def test_each_message_is_counted_by_itself() -> None:
    assembler = Assembler(4)
    for _ in range(3):
        assert feed_all(assembler, BINARY, [b"ab", b"cd"]) == (BINARY, b"abcd")


def test_too_big_is_found_before_the_text_is_looked_at() -> None:
    with pytest.raises(ProtocolViolation) as caught:
        Assembler(1).feed(TEXT, True, b"\xff\xff")
    assert caught.value.code == 1009


@pytest.mark.parametrize(("size", "count"), [(0, 200_000), (1, 100_000), (2, 50_000)])
def test_what_fragments_cost_in_memory_is_bounded_by_the_limit(size: int, count: int) -> None:
    limit = 100_000
    assembler = Assembler(limit)
    assembler.feed(BINARY, False, b"")
    parts = [bytes([index % 256]) * size for index in range(256)]
    tracemalloc.start()
    try:
        for index in range(count):
            assembler.feed(CONTINUATION, False, bytes(bytearray(parts[index % 256])))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * limit
