"""The reader of frames: RFC 6455 §5 in tables, laws as properties, and the ``websockets`` library to compare with."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from itertools import combinations, pairwise, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import EXTERNAL_CLOSE_CODES, Frame, Opcode

from antiphon.framereader import BYTES_PER_TURN, FRAMES_PER_TURN, FrameReader, ProtocolViolation, Unfinished
from antiphon.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from fuzz.frames import (
    Event,
    Outcome,
    Recorder,
    Settings,
    check,
    check_stream,
    client_frame,
    cut,
    feed,
    read,
    valid_stream,
)

from .fakes import cpu_seconds
from .server.far import OP_BINARY, OP_CONT, OP_PING, OP_TEXT, masked

FIN, RSV1 = 0x80, 0x40
PLAIN, DEFLATE = Settings(), Settings(deflates=True)

#: A message that is not finished.
BEGUN = client_frame(TEXT, b"a")


def single_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def code_of(*pieces: bytes, settings: Settings = PLAIN) -> int | None:
    return read(pieces, settings).code


def events_of(*pieces: bytes, settings: Settings = PLAIN) -> list[Event]:
    outcome = read(pieces, settings)
    assert outcome.code is None, outcome
    return outcome.events


def bytes_until_fault(data: bytes, settings: Settings = PLAIN) -> int | None:
    """How many bytes of ``data`` the reader has to see to find the fault in it."""
    reader = settings.reader(Recorder())
    for number, byte in enumerate(single_bytes(data), 1):
        try:
            reader.feed(byte)
        except ProtocolViolation:
            return number
    return None


# The first byte (§5.2, §5.4, §5.5; RFC 7692 §6)


def may_begin(byte: int, begun: bool, deflates: bool) -> bool:
    """Tell by the words of the RFC, byte by byte, whether a frame may begin so."""
    allowed = {0x88, 0x89, 0x8A} | ({0x00, 0x80} if begun else {0x01, 0x02, 0x81, 0x82})
    if deflates and not begun:
        allowed |= {0x41, 0x42, 0xC1, 0xC2}
    return byte in allowed


@pytest.mark.parametrize("begun", [False, True], ids=["between messages", "within one"])
@pytest.mark.parametrize("settings", [PLAIN, DEFLATE], ids=["plain", "deflate"])
def test_every_first_byte_is_judged_before_the_frame_is_there(begun: bool, settings: Settings) -> None:
    for byte in range(256):
        before = BEGUN if begun else b""
        fine = may_begin(byte, begun, settings.deflates)
        for length in (0x80, 0x85, 0xFD):
            assert (code_of(before, bytes((byte, length)), settings=settings) is None) is fine, hex(byte)
        outcome = read([before, client_frame(byte)], settings)
        assert outcome.code == (None if fine else 1002), hex(byte)


@pytest.mark.parametrize(
    ("first", "event"),
    [
        (0x81, [("text", "")]),
        (0x82, [("binary", b"")]),
        (0x01, []),
        (0x02, []),
        (0x88, [("close", (1005, ""))]),
        (0x89, [("ping", b"")]),
        (0x8A, [("pong", b"")]),
    ],
)
def test_an_empty_frame_of_each_kind(first: int, event: list[Event]) -> None:
    assert events_of(client_frame(first)) == event
    assert events_of(*single_bytes(client_frame(first))) == event


@pytest.mark.parametrize("first", [0x81, 0x82, 0x01, 0x02, 0x88, 0x89, 0x8A])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 127])
def test_a_frame_without_a_mask_is_refused_by_its_second_byte(first: int, length: int) -> None:
    assert code_of(bytes((first,))) is None
    outcome = read([bytes((first, length))], PLAIN)
    assert (outcome.code, "mask" in outcome.reason) == (1002, True)


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=40))
def test_any_mask_is_taken_off(key: bytes, payload: bytes) -> None:
    frame = client_frame(FIN | BINARY, payload, key)
    assert events_of(frame) == events_of(*single_bytes(frame)) == [("binary", payload)]


@given(st.sampled_from([OP_TEXT, OP_BINARY, OP_CONT, OP_PING]), st.binary(max_size=125), st.booleans())
def test_the_frames_of_these_tests_are_those_of_another_implementation(
    opcode: Opcode, payload: bytes, fin: bool
) -> None:
    fin = fin or opcode is OP_PING
    theirs = masked(opcode, payload, fin=fin)
    assert client_frame(theirs[0], payload, theirs[2:6]) == theirs


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 70_000])
def test_long_frames_of_these_tests_are_those_of_another_implementation(length: int) -> None:
    theirs = Frame(OP_BINARY, bytes(length)).serialize(mask=True)
    start = len(theirs) - length - 4
    assert client_frame(theirs[0], bytes(length), theirs[start : start + 4]) == theirs


# The length (§5.2)


@pytest.mark.parametrize("first", [FIN | TEXT, FIN | BINARY, TEXT, BINARY, RSV1 | FIN | TEXT])
@pytest.mark.parametrize(
    ("form", "length", "code"),
    [
        *((126, length, 1002) for length in (0, 1, 124, 125)),
        *((126, length, None) for length in (126, 127, 65535)),
        *((127, length, 1002) for length in (0, 125, 126, 65535)),
        (127, 65536, None),
        (127, 1 << 20, None),
        *((127, length, 1009) for length in ((1 << 20) * 5 // 4, 1 << 21, 1 << 32, 1 << 62, (1 << 63) - 1)),
        *((127, length, 1002) for length in (1 << 63, (1 << 63) + 1, (1 << 64) - 1)),
    ],
)
def test_a_length_is_judged_as_soon_as_it_is_there(first: int, form: int, length: int, code: int | None) -> None:
    size = 2 if form == 126 else 8
    header = bytes((first, 0x80 | form)) + length.to_bytes(size, "big")
    assert code_of(header, settings=DEFLATE) == code_of(*single_bytes(header), settings=DEFLATE) == code
    assert code_of(header[:-1], settings=DEFLATE) is None
    assert bytes_until_fault(header + b"mask", DEFLATE) == (len(header) if code else None)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_holds_125_bytes(opcode: int) -> None:
    payload = b"\x03\xe8" + b"x" * 123
    assert len(events_of(client_frame(FIN | opcode, payload))) == 1
    for form in (126, 127):
        assert bytes_until_fault(client_frame(FIN | opcode, payload, form=form)) == 2
        assert code_of(bytes((FIN | opcode, 0x80 | form))) == 1002


# Fragments (§5.4)


def test_fragments_are_one_message() -> None:
    assert events_of(
        client_frame(TEXT, b"a"), client_frame(CONTINUATION, b"b"), client_frame(FIN | CONTINUATION, b"c")
    ) == [("text", "abc")]
    assert events_of(client_frame(BINARY), client_frame(CONTINUATION), client_frame(FIN | CONTINUATION)) == [
        ("binary", b"")
    ]


@pytest.mark.parametrize("settings", [PLAIN, DEFLATE], ids=["plain", "deflate"])
def test_control_frames_stand_between_fragments(settings: Settings) -> None:
    stream = b"".join(
        [
            client_frame(TEXT, b"a"),
            client_frame(FIN | PING, b"1"),
            client_frame(FIN | PONG, b"2"),
            client_frame(CONTINUATION, b"b"),
            client_frame(FIN | PING, b"3" * 125),
            client_frame(FIN | CONTINUATION, b"c"),
        ]
    )
    expected = [("ping", b"1"), ("pong", b""), ("ping", b"3" * 125), ("text", "abc")]
    assert events_of(stream, settings=settings) == events_of(*single_bytes(stream), settings=settings) == expected


def test_a_close_frame_between_fragments_ends_all() -> None:
    stream = BEGUN + client_frame(FIN | CLOSE, b"\x03\xe8") + client_frame(FIN | CONTINUATION, b"b")
    assert events_of(stream) == events_of(*single_bytes(stream)) == [("close", (1000, ""))]


@pytest.mark.parametrize("first", [TEXT, BINARY])
@pytest.mark.parametrize("second", [TEXT, BINARY, FIN | TEXT, FIN | BINARY])
def test_a_new_message_inside_a_fragmented_one_is_refused(first: int, second: int) -> None:
    assert code_of(client_frame(first, b"a"), client_frame(second, b"b")) == 1002


@pytest.mark.parametrize("first", [CONTINUATION, FIN | CONTINUATION])
def test_a_continuation_needs_a_message_to_continue(first: int) -> None:
    assert code_of(client_frame(first, b"a")) == 1002
    outcome = read([BEGUN, client_frame(FIN | CONTINUATION, b"b"), client_frame(first, b"c")], PLAIN)
    assert (outcome.events, outcome.code) == ([("text", "ab")], 1002)


# Close frames (§5.5.1, §7.4)


def close(payload: bytes) -> bytes:
    return client_frame(FIN | CLOSE, payload)


def test_every_code_is_taken_that_may_travel_and_no_other() -> None:
    travelling = {*map(int, EXTERNAL_CLOSE_CODES), *range(3000, 5000)}
    for code in [*range(5001), 9999, 32768, 65535]:
        outcome = read([close(code.to_bytes(2, "big"))], PLAIN)
        expected = ([("close", (code, ""))], None) if code in travelling else ([], 1002)
        assert (outcome.events, outcome.code) == expected, code


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b"", (1005, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x0f\xa0bye", (4000, "bye")),
        (b"\x03\xe8" + "€".encode() * 41, (1000, "€" * 41)),
        (b"\x03\xe8\x00", (1000, "\x00")),
    ],
)
def test_code_and_reason_of_a_close_frame_are_read(payload: bytes, event: tuple[int, str]) -> None:
    assert events_of(close(payload)) == events_of(*single_bytes(close(payload))) == [("close", event)]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        *((bytes((byte,)), 1002) for byte in (0, 3, 0xFF)),
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8" + "€".encode()[:2], 1007),
        (b"\x03\xe8" + "€".encode() * 40 + b"\xe2\x82", 1007),
        (b"\x03\xe8\xed\xa0\x80", 1007),
        (b"\x03\xe8\xc0\x80", 1007),
    ],
)
def test_a_bad_close_frame_is_refused(payload: bytes, code: int) -> None:
    assert code_of(close(payload)) == code_of(*single_bytes(close(payload))) == code


# Text (§8.1)

WORDS = "aκό€🎵\x00\U0010ffff\ud7ff\ue000"


def test_text_may_be_cut_anywhere_by_reads() -> None:
    frame = client_frame(FIN | TEXT, WORDS.encode())
    for first, second in combinations(range(len(frame) + 1), 2):
        assert events_of(frame[:first], frame[first:second], frame[second:]) == [("text", WORDS)]


def test_text_may_be_cut_anywhere_by_fragments_and_each_anywhere_by_reads() -> None:
    data = WORDS.encode()
    for first, second in combinations(range(len(data) + 1), 2):
        stream = (
            client_frame(TEXT, data[:first])
            + client_frame(CONTINUATION, data[first:second])
            + client_frame(FIN | CONTINUATION, data[second:])
        )
        assert events_of(stream) == events_of(*single_bytes(stream)) == [("text", WORDS)]
    for place in range(len(data) + 1):
        stream = client_frame(TEXT, data[:place]) + client_frame(FIN | CONTINUATION, data[place:])
        for read_place in range(len(stream) + 1):
            assert events_of(stream[:read_place], stream[read_place:]) == [("text", WORDS)]


def follows(lead: int) -> list[range]:
    """The bytes that may follow ``lead``, one range for each: Table 3-7 of the Unicode Standard."""
    tail = range(0x80, 0xC0)
    if lead < 0x80:
        return []
    if 0xC2 <= lead <= 0xDF:
        return [tail]
    if 0xE0 <= lead <= 0xEF:
        return [{0xE0: range(0xA0, 0xC0), 0xED: range(0x80, 0xA0)}.get(lead, tail), tail]
    if 0xF0 <= lead <= 0xF4:
        return [{0xF0: range(0x90, 0xC0), 0xF4: range(0x80, 0x90)}.get(lead, tail), tail, tail]
    raise ValueError


def bad_sequences() -> Iterable[bytes]:
    """Sequences of bytes of which the last one is the first that no text can have there."""
    edges = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xED, 0xFF)
    for lead in range(256):
        try:
            ranges = follows(lead)
        except ValueError:
            yield bytes((lead,))
            continue
        good = bytes((lead,))
        for allowed in ranges:
            yield from (good + bytes((byte,)) for byte in edges if byte not in allowed)
            good += bytes((allowed[-1],))


@pytest.mark.parametrize("before", [b"", "aκ€🎵".encode()], ids=["at the start", "later"])
@pytest.mark.parametrize("fragmented", [False, True], ids=["one frame", "fragmented"])
def test_bad_text_is_found_with_the_byte_that_makes_it_bad(before: bytes, fragmented: bool) -> None:
    sequences = list(bad_sequences())
    assert len(sequences) > 400
    for bad in sequences:
        payload = before + bad + b"behind" * 5
        head = client_frame(TEXT, "é".encode()) if fragmented else b""
        frame = client_frame(FIN | (CONTINUATION if fragmented else TEXT), payload)
        expected = len(head) + 6 + len(before) + len(bad)
        assert bytes_until_fault(head + frame) == expected, bad
        assert code_of(head + frame) == code_of((head + frame)[:expected]) == 1007


@pytest.mark.parametrize("cut_off", [b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0\x9f", b"\xf0\x9f\x8e"])
def test_a_character_that_is_cut_off_by_the_end_of_the_message_is_bad_text(cut_off: bytes) -> None:
    for stream in (
        client_frame(FIN | TEXT, b"a" + cut_off),
        client_frame(TEXT, b"a" + cut_off) + client_frame(FIN | CONTINUATION),
        client_frame(TEXT, b"a") + client_frame(FIN | CONTINUATION, cut_off),
    ):
        assert code_of(stream) == 1007
        assert bytes_until_fault(stream) == len(stream), "not before the end: more might have come"


def test_binary_may_hold_what_is_no_text() -> None:
    data = bytes(range(256))
    assert events_of(client_frame(FIN | BINARY, data)) == [("binary", data)]
    assert events_of(client_frame(BINARY, data), client_frame(FIN | CONTINUATION, b"\xff")) == [
        ("binary", data + b"\xff")
    ]


# Limits


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("limit", [1, 4, 125, 126, 200, 65535, 65536, 70_000])
def test_a_message_of_the_limit_is_taken_and_one_byte_more_is_refused_by_its_header(opcode: int, limit: int) -> None:
    settings = Settings(message_size=limit)
    assert len(events_of(client_frame(FIN | opcode, b"x" * limit), settings=settings)) == 1
    too_long = client_frame(FIN | opcode, b"x" * (limit + 1))
    outcome = read([too_long], settings)
    assert (outcome.events, outcome.code, str(limit) in outcome.reason) == ([], 1009, True)
    header = len(too_long) - limit - 1 - 4
    assert bytes_until_fault(too_long, settings) == header


@pytest.mark.parametrize("parts", [[2, 3], [4, 1], [0, 5], [1, 1, 1, 1, 1], [5]])
def test_the_size_of_all_fragments_counts(parts: list[int]) -> None:
    settings = Settings(message_size=4)
    stream = client_frame(TEXT) + b"".join(client_frame(CONTINUATION, b"x" * part) for part in parts)
    assert code_of(stream, settings=settings) == 1009
    header = len(stream) - parts[-1] - 4
    assert bytes_until_fault(stream, settings) == header


def test_each_message_is_measured_by_itself() -> None:
    message = client_frame(TEXT, b"ab") + client_frame(FIN | CONTINUATION, b"cd")
    assert events_of(message * 3, settings=Settings(message_size=4)) == [("text", "abcd")] * 3


def test_too_big_is_found_before_the_text_is_looked_at() -> None:
    assert code_of(client_frame(FIN | TEXT, b"\xff\xff"), settings=Settings(message_size=1)) == 1009


@pytest.mark.parametrize("length", [1 << 20, (1 << 63) - 1])
def test_no_memory_is_spent_on_what_is_only_announced(length: int) -> None:
    header = bytes((FIN | BINARY, 0xFF)) + length.to_bytes(8, "big") + b"mask"
    reader = Settings(message_size=1 << 20).reader(Recorder())
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolViolation) if length > 1 << 20 else _nothing():
            reader.feed(header + b"a")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_message_has_so_many_fragments() -> None:
    settings = Settings(fragments=3)
    last = client_frame(FIN | CONTINUATION, b"c")
    message = client_frame(TEXT, b"a") + client_frame(FIN | PING) + client_frame(CONTINUATION, b"b") + last
    assert events_of(message * 2, settings=settings)[1::2] == [("text", "abc")] * 2
    begun = client_frame(TEXT) + client_frame(CONTINUATION) * 2
    for first in (CONTINUATION, FIN | CONTINUATION):
        recorder = Recorder()
        with pytest.raises(ProtocolViolation, match="3 fragments") as caught:
            settings.reader(recorder).feed(begun + client_frame(first))
        assert (caught.value.code, caught.value.counter) == (1008, "fragments_over_limit")
        assert recorder.events == []


def test_reads_are_no_fragments() -> None:
    for stream in (client_frame(FIN | TEXT, b"abc"), client_frame(FIN | BINARY, b"x" * 200)):
        assert len(events_of(*single_bytes(stream), settings=Settings(fragments=1))) == 1
    assert code_of(BEGUN, client_frame(FIN | CONTINUATION), settings=Settings(fragments=1)) == 1008


@pytest.mark.parametrize(("size", "count"), [(0, 50_000), (1, 50_000), (2, 25_000)])
def test_what_fragments_cost_in_memory_is_bounded_by_the_limit(size: int, count: int) -> None:
    limit = 50_000
    reader = Settings(message_size=limit).reader(Recorder())
    reader.feed(client_frame(BINARY))
    fragments = client_frame(CONTINUATION, b"x" * size) * 100
    tracemalloc.start()
    try:
        for _ in range(count // 100):
            feed(reader, fragments)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * limit


@pytest.mark.parametrize(
    ("pieces", "counter"),
    [
        ([b"\x83\x80"], "protocol_errors"),
        ([client_frame(FIN | TEXT, b"\xff")], "protocol_errors"),
        ([client_frame(FIN | TEXT, b"x" * 21)], "messages_too_big"),
        ([client_frame(TEXT)] * 1 + [client_frame(CONTINUATION)] * 3, "fragments_over_limit"),
        ([client_frame(TEXT, b"x" * 11)], "unfinished_over_limit"),
    ],
)
def test_a_violation_names_its_counter_and_has_words(pieces: list[bytes], counter: str) -> None:
    from antiphon.counters import Counters

    reader = Settings(message_size=20, fragments=3, unfinished=10).reader(Recorder())
    with pytest.raises(ProtocolViolation) as caught:
        reader.feed(b"".join(pieces))
    assert caught.value.counter == counter
    assert hasattr(Counters(), counter)
    assert 0 < len(caught.value.reason.encode()) < 124


# The limit of a compressed message


def compressed_frames(data: bytes, width: int, level: int, memory: int, strategy: int) -> bytes:
    """Compress ``data``, flushed after every ``width`` bytes, each part a fragment."""
    compressor = zlib.compressobj(level, wbits=-15, memLevel=memory, strategy=strategy)
    parts = [data[start : start + width] for start in range(0, len(data), width)]
    packed = [compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    packed[-1] = packed[-1][:-4]
    frames = client_frame(RSV1 | BINARY, packed[0]) + b"".join(client_frame(CONTINUATION, part) for part in packed[1:])
    return frames + client_frame(FIN | CONTINUATION)


@pytest.mark.parametrize("length", [1, 20, 3000])
def test_a_message_of_the_limit_is_taken_however_little_compression_helps(length: int) -> None:
    settings = Settings(deflates=True, message_size=length)
    high = bytes(random.Random(1).choices(range(144, 256), k=length))
    for width, level, memory, strategy in product((1, 2, 64, 5000), (0, 1, 9), (1, 9), (0, zlib.Z_FIXED)):
        stream = compressed_frames(high, width, level, memory, strategy)
        assert events_of(stream, settings=settings) == [("binary", high)]


@pytest.mark.parametrize("limit", [1, 20, 3000])
def test_one_byte_more_is_refused_before_it_is_kept(limit: int) -> None:
    settings = Settings(deflates=True, message_size=limit)
    for width in (1, 64, 5000):
        stream = compressed_frames(b"x" * (limit + 1), width, 6, 8, 0)
        for pieces in ([stream], single_bytes(stream)):
            outcome = read(pieces, settings)
            assert (outcome.events, outcome.code) == ([], 1009)


def test_each_compressed_message_is_measured_by_itself_and_so_is_what_follows() -> None:
    settings = Settings(deflates=True, message_size=300)
    noise = random.Random(1).randbytes(300)
    whole = client_frame(RSV1 | FIN | BINARY, deflated(noise))
    parts = compressed_frames(noise, 100, 6, 8, 0)
    assert events_of(whole * 5 + parts * 5, settings=settings) == [("binary", noise)] * 10
    for before in (whole, parts):
        for frame in (client_frame(FIN | BINARY, noise + b"x"), client_frame(BINARY, noise + b"x")):
            outcome = read([before + frame], settings)
            assert (outcome.events, outcome.code) == ([("binary", noise)], 1009)


def test_a_compressed_frame_that_no_message_of_the_limit_needs_is_refused_by_its_header() -> None:
    settings = Settings(deflates=True, message_size=1000)
    header = bytes((RSV1 | FIN | TEXT, 0xFE)) + (1500).to_bytes(2, "big")
    assert code_of(header, settings=settings) == 1009
    nothing = b"\0\0\0\xff\xff"
    endless = client_frame(RSV1 | BINARY, nothing) + client_frame(CONTINUATION, nothing * 20) * 200
    assert code_of(endless, settings=settings) == 1009


# Unfinished messages of all readers


def feed_to(reader: FrameReader, *pieces: bytes) -> int | None:
    try:
        for piece in pieces:
            reader.feed(piece)
    except ProtocolViolation as fault:
        return fault.code
    return None


@pytest.mark.parametrize(
    "ending",
    [
        [client_frame(FIN | CONTINUATION)],
        [client_frame(FIN | CONTINUATION, b"more")],
        [client_frame(FIN | PING), client_frame(FIN | CONTINUATION)],
        [close(b"\x03\xe8")],
        [close(b"")],
        [b"\x83\x80"],
        [client_frame(FIN | TEXT)],
        [client_frame(CONTINUATION, b"\xff")],
        [client_frame(CONTINUATION, b"x" * 1001)],
        [client_frame(CONTINUATION, b"x" * 100)[:50], b"\xff" * 50],
        [client_frame(CONTINUATION, b"x" * 60), client_frame(CONTINUATION, b"x" * 2000)[:8]],
        ["stop"],
    ],
    ids=str,
)
def test_what_is_unfinished_adds_up_and_is_given_back(ending: list[Any]) -> None:
    unfinished = Unfinished(0)
    settings = Settings(message_size=1000)
    first, second = (settings.reader(Recorder(), unfinished) for _ in range(2))
    first.feed(client_frame(TEXT, b"x" * 10) + client_frame(CONTINUATION, b"x" * 5) + client_frame(CONTINUATION))
    assert unfinished.held == 15
    second.feed(client_frame(FIN | BINARY, b"x" * 300)[:108])
    assert unfinished.held == 115
    if ending == ["stop"]:
        first.stop()
        first.stop()
    else:
        feed_to(first, *ending)
    assert unfinished.held == 100
    second.feed(b"x" * 200)
    assert unfinished.held == 0
    first.stop()
    second.stop()
    assert unfinished.held == 0


def test_who_goes_over_what_all_may_hold_is_closed_and_nobody_else() -> None:
    unfinished = Unfinished(100)
    readers = [PLAIN.reader(Recorder(), unfinished) for _ in range(3)]
    assert feed_to(readers[0], client_frame(BINARY, b"x" * 60)) is None
    assert feed_to(readers[1], client_frame(BINARY, b"x" * 40)) is None
    assert not unfinished.is_full
    assert feed_to(readers[2], client_frame(BINARY, b"x")) == 1013
    assert (unfinished.held, unfinished.is_full) == (100, False)
    assert feed_to(readers[0], client_frame(FIN | CONTINUATION, b"x" * 60)) is None, "it is finished by that"
    assert unfinished.held == 40


@pytest.mark.parametrize("bits", [8, 12, 15])
def test_what_decompression_holds_is_unfinished_too(bits: int) -> None:
    unfinished = Unfinished(100_000)
    settings = Settings(deflates=True, bits=bits)
    readers = [settings.reader(Recorder(), unfinished) for _ in range(2)]
    for number, reader in enumerate(readers):
        feed(reader, client_frame(RSV1 | BINARY, deflated(b"x" * 10) + b"\x00\x00\xff\xff"))
        assert unfinished.held >= (number + 1) * ((1 << bits) + 10)
    feed(readers[0], client_frame(FIN | CONTINUATION, b"\x00"))
    readers[1].stop()
    assert unfinished.held == 0
    crowd = [settings.reader(Recorder(), unfinished) for _ in range(20)]
    codes = [feed_to(reader, client_frame(RSV1 | BINARY, b"\x02")) for reader in crowd]
    let_in = codes.count(None)
    assert 0 < let_in <= 100_000 // (1 << bits)
    assert codes == [None] * let_in + [1013] * (20 - let_in), "those who come later are closed"


def test_stopping_in_the_middle_of_a_compressed_message_gives_back_the_memory() -> None:
    reader = DEFLATE.reader(Recorder())
    packed = deflated(random.Random(1).randbytes(40_000))
    tracemalloc.start()
    try:
        feed(reader, client_frame(RSV1 | BINARY, packed[:35_000]))
        within, _ = tracemalloc.get_traced_memory()
        reader.stop()
        afterwards, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert within > 60_000 > 5000 > afterwards, "the message, and zlib's window"


def test_a_message_that_comes_in_one_read_is_never_unfinished() -> None:
    reader = Settings(unfinished=1).reader(recorder := Recorder())
    assert feed_to(reader, client_frame(FIN | BINARY, b"x" * 1000) + client_frame(FIN | TEXT, b"y" * 100)) is None
    assert len(recorder.events) == 2
    reader = Settings(unfinished=1, deflates=True).reader(recorder)
    assert feed_to(reader, client_frame(RSV1 | FIN | TEXT, deflated(b"z" * 1000))) is None
    assert len(recorder.events) == 3


def test_nothing_is_full_without_a_limit() -> None:
    unfinished = Unfinished(0)
    unfinished.held = 1 << 60
    assert not unfinished.is_full


# Pausing, stopping, swapping the receiver, from within what is called

Action = Callable[[FrameReader], None]


class Acting(Recorder):
    """Does something to the reader when ``number`` events have come."""

    def __init__(self, action: Action, number: int) -> None:
        super().__init__()
        self._action, self._number = action, number
        self.reader: FrameReader

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        return self._acting(method) if name.startswith(("receive_", "on_")) else method

    def _acting(self, method: Callable[..., None]) -> Callable[..., None]:
        def act(*arguments: Any) -> None:
            method(*arguments)
            if len(self.events) == self._number:
                self._action(self.reader)

        return act


def acting(action: Action, number: int, settings: Settings = DEFLATE) -> Acting:
    recorder = Acting(action, number)
    recorder.reader = settings.reader(recorder)
    return recorder


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


#: One of each way in which something comes out.
ALL_WAYS = [
    client_frame(FIN | TEXT, b"short"),
    client_frame(FIN | TEXT, b"long" * 50),
    client_frame(FIN | BINARY, b"binary"),
    client_frame(TEXT, b"frag") + client_frame(FIN | CONTINUATION, b"ments"),
    client_frame(BINARY, b"\xff") + client_frame(FIN | CONTINUATION, b"\xfe"),
    client_frame(RSV1 | FIN | TEXT, deflated(b"compressed")),
    client_frame(FIN | PING, b"ping"),
    client_frame(FIN | PONG, b"pong"),
    client_frame(FIN | TEXT, "ä".encode()),
]
ALL_EVENTS = events_of(*ALL_WAYS, settings=DEFLATE)
ROUND = [*ALL_WAYS, *ALL_WAYS]


@pytest.mark.parametrize("number", range(1, len(ROUND)))
def test_nothing_comes_out_of_a_reader_that_was_stopped_from_within(number: int) -> None:
    for pieces in ([b"".join(ROUND)], ROUND, single_bytes(b"".join(ROUND))):
        recorder = acting(lambda reader: reader.stop(), number)
        for piece in pieces:
            feed(recorder.reader, piece)
        assert recorder.events == [*ALL_EVENTS, *ALL_EVENTS][:number]


@pytest.mark.parametrize("number", range(1, len(ROUND)))
def test_a_reader_that_was_paused_from_within_holds_the_rest(number: int) -> None:
    for pieces in ([b"".join(ROUND)], ROUND, single_bytes(b"".join(ROUND))):
        recorder = acting(lambda reader: reader.pause(), number)
        for piece in pieces:
            feed(recorder.reader, piece)
        assert recorder.events == [*ALL_EVENTS, *ALL_EVENTS][:number]
        assert recorder.reader.is_paused
        recorder.reader.resume()
        assert recorder.events == [*ALL_EVENTS, *ALL_EVENTS][:number]
        feed(recorder.reader, b"")
        assert recorder.events == [*ALL_EVENTS, *ALL_EVENTS]
        assert not recorder.reader.is_paused


@pytest.mark.parametrize("number", range(1, len(ROUND)))
def test_a_reader_that_was_paused_and_resumed_from_within_goes_on_in_order(number: int) -> None:
    def pause_and_resume(reader: FrameReader) -> None:
        reader.pause()
        reader.resume()

    for pieces in ([b"".join(ROUND)], ROUND):
        recorder = acting(pause_and_resume, number)
        for piece in pieces:
            feed(recorder.reader, piece)
        assert recorder.events == [*ALL_EVENTS, *ALL_EVENTS]


def test_each_message_may_pause() -> None:
    class Pausing(Recorder):
        reader: FrameReader

        def receive_text(self, payload: bytes) -> None:
            super().receive_text(payload)
            self.reader.pause()

    recorder = Pausing()
    reader = recorder.reader = PLAIN.reader(recorder)
    reader.feed(client_frame(FIN | TEXT, b"x") * 5)
    for count in range(1, 6):
        assert len(recorder.events) == count
        reader.resume()
        reader.feed(b"")
    assert len(recorder.events) == 5


def test_what_is_fed_while_it_is_paused_comes_out_in_order_when_it_is_resumed() -> None:
    reader = PLAIN.reader(recorder := Recorder())
    stream = b"".join(client_frame(FIN | TEXT, b"%d" % number) for number in range(20))
    reader.feed(stream[:10])
    reader.pause()
    for piece in single_bytes(stream[10:]):
        reader.feed(piece)
    assert recorder.events == [("text", "0")]
    reader.resume()
    assert not reader.feed(b"")
    assert recorder.events == [("text", str(number)) for number in range(20)]


def test_a_fault_that_is_held_is_found_when_it_is_resumed() -> None:
    reader = PLAIN.reader(recorder := Recorder())
    reader.pause()
    reader.feed(client_frame(FIN | TEXT, b"a") + b"\x83\x80")
    reader.resume()
    with pytest.raises(ProtocolViolation):
        reader.feed(b"")
    assert recorder.events == [("text", "a")]
    reader.resume()
    reader.feed(client_frame(FIN | TEXT, b"b"))
    assert recorder.events == [("text", "a")]


def test_a_reader_that_was_stopped_while_paused_has_forgotten_what_it_held() -> None:
    reader = PLAIN.reader(recorder := Recorder())
    reader.pause()
    reader.feed(client_frame(FIN | TEXT, b"a"))
    reader.stop()
    reader.resume()
    assert not reader.feed(b"")
    assert recorder.events == []


@pytest.mark.parametrize("number", range(1, len(ALL_WAYS)))
def test_messages_go_to_who_receives_when_they_are_complete(number: int) -> None:
    other = Recorder()

    def swap(reader: FrameReader) -> None:
        reader.receiver = other

    recorder = acting(swap, number)
    recorder.reader.feed(b"".join(ALL_WAYS))
    kinds = [event for event in ALL_EVENTS[number:] if event[0] in ("text", "binary")]
    assert other.events == kinds


# Turns


def test_a_turn_is_so_many_frames() -> None:
    reader = PLAIN.reader(recorder := Recorder())
    assert reader.feed(client_frame(FIN | TEXT, b"x") * (2 * FRAMES_PER_TURN + 1))
    assert len(recorder.events) == FRAMES_PER_TURN
    assert reader.feed(b""), "before the next turn nothing is read"
    assert reader.feed(client_frame(FIN | PING))
    assert len(recorder.events) == FRAMES_PER_TURN
    reader.next_turn()
    assert reader.feed(b"")
    assert len(recorder.events) == 2 * FRAMES_PER_TURN
    reader.next_turn()
    assert not reader.feed(b"")
    assert recorder.events[2 * FRAMES_PER_TURN :] == [("text", "x"), ("ping", b"")]


def test_a_turn_lasts_over_many_reads() -> None:
    reader = PLAIN.reader(recorder := Recorder())
    for _ in range(FRAMES_PER_TURN - 1):
        assert not reader.feed(client_frame(FIN | TEXT, b"x"))
    assert reader.feed(client_frame(FIN | TEXT, b"x"))
    assert len(recorder.events) == FRAMES_PER_TURN
    reader.next_turn()
    assert not reader.feed(client_frame(FIN | TEXT, b"x") * (FRAMES_PER_TURN - 1))


def test_a_reader_that_was_paused_by_the_last_frame_of_its_turn_needs_none_before_it_is_resumed() -> None:
    recorder = acting(lambda reader: reader.pause(), FRAMES_PER_TURN)
    assert not recorder.reader.feed(client_frame(FIN | TEXT, b"x") * (FRAMES_PER_TURN + 1))
    recorder.reader.resume()
    assert recorder.reader.feed(b"")
    recorder.reader.next_turn()
    assert not recorder.reader.feed(b"")
    assert len(recorder.events) == FRAMES_PER_TURN + 1


def test_a_reader_that_is_paused_or_stopped_needs_no_turn() -> None:
    reader = PLAIN.reader(recorder := Recorder())
    reader.pause()
    assert not reader.feed(client_frame(FIN | TEXT, b"x") * FRAMES_PER_TURN)
    reader.resume()
    assert reader.feed(b"")
    reader.stop()
    assert not reader.feed(b"")
    reader.next_turn()
    assert not reader.feed(client_frame(FIN | TEXT, b"x"))
    assert len(recorder.events) == FRAMES_PER_TURN


@pytest.mark.parametrize(
    "frame",
    [
        client_frame(FIN | BINARY, b"x" * 5000),
        client_frame(BINARY, b"x" * 3000) + client_frame(FIN | CONTINUATION, b"x" * 2000),
        client_frame(RSV1 | FIN | BINARY, deflated(b"x" * 5000)),
    ],
    ids=["whole", "fragmented", "compressed"],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["in one read", "in many"])
def test_a_turn_is_so_many_bytes_and_one_frame_more(frame: bytes, at_once: bool) -> None:
    reader = DEFLATE.reader(recorder := Recorder())
    pieces = [frame * 250] if at_once else [frame] * 250
    used_up = [reader.feed(piece) for piece in pieces]
    assert BYTES_PER_TURN - 5000 < 5000 * len(recorder.events) <= BYTES_PER_TURN + 5000
    assert used_up == [True] if at_once else used_up == sorted(used_up)
    feed(reader, b"")
    assert len(recorder.events) == 250


# Before and behind a fault


FAULTS = [
    b"\x83\x80",
    b"\x81\x01a",
    client_frame(FIN | TEXT, b"\xff"),
    client_frame(FIN | TEXT, b"x" * 200),
    client_frame(FIN | CONTINUATION),
    close(b"\x00"),
    client_frame(RSV1 | FIN | TEXT, b"\xff\xff\xff"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_what_is_valid_before_a_fault_is_delivered_and_nothing_behind_it(fault: bytes) -> None:
    settings = DEFLATE._replace(message_size=199)
    before, behind = client_frame(FIN | TEXT, b"fine"), client_frame(FIN | TEXT, b"late")
    stream = before + client_frame(FIN | PING, b"1") + fault + behind
    for pieces in ([stream], single_bytes(stream)):
        recorder = Recorder()
        reader = settings.reader(recorder)
        raised = 0
        for piece in pieces:
            try:
                feed(reader, piece)
            except ProtocolViolation:
                raised += 1
        assert (recorder.events, raised) == ([("text", "fine"), ("ping", b"1")], 1)


def test_nothing_is_read_behind_a_close_frame() -> None:
    for behind in (client_frame(FIN | TEXT, b"late"), client_frame(FIN | PING), close(b""), *FAULTS):
        stream = client_frame(FIN | TEXT, b"fine") + close(b"\x03\xe8") + behind
        expected = [("text", "fine"), ("close", (1000, ""))]
        assert events_of(stream) == events_of(*single_bytes(stream)) == expected


# Any stream, however it is cut

texts = st.text(max_size=40) | st.sampled_from(["x" * 125, "x" * 126, "€" * 100, "x" * 66_000])
payloads = st.tuples(st.just(OP_TEXT), texts.map(str.encode)) | st.tuples(st.just(OP_BINARY), st.binary(max_size=200))
controls = st.lists(st.binary(max_size=125), max_size=2)
messages = st.lists(st.tuples(payloads, st.lists(st.integers(0, 250), max_size=4), st.booleans(), controls), max_size=6)
cuts = st.lists(st.integers(0, 100_000), max_size=8)


def pieces_of(data: bytes, places: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def as_sent(messages: list[Any], deflate: bool) -> tuple[bytes, list[Event]]:
    """What another implementation sends, and what is to come out."""
    client = PerMessageDeflate(True, True, 12, 12, {"memLevel": 5})
    stream, events = b"", list[Event]()
    for (opcode, payload), places, compressed, pings in messages:
        parts = pieces_of(payload, places)
        for index, part in enumerate(parts):
            frame = Frame(OP_CONT if index else opcode, part, index == len(parts) - 1)
            stream += frame.serialize(mask=True, extensions=[client] if deflate and compressed else [])
            if not frame.fin:
                stream += b"".join(masked(OP_PING, ping) for ping in pings)
                events += [("ping", ping) for ping in pings]
        events.append(("text", payload.decode()) if opcode is OP_TEXT else ("binary", payload))
    return stream, events


@pytest.mark.parametrize("settings_", [PLAIN, DEFLATE], ids=["plain", "deflate"])
@settings(max_examples=150)
@given(messages=messages, places=cuts)
def test_what_another_implementation_sends_comes_out_the_same(
    messages: list[Any], places: list[int], settings_: Settings
) -> None:
    stream, events = as_sent(messages, settings_.deflates)
    assert events_of(stream, settings=settings_) == events
    assert events_of(*pieces_of(stream, places), settings=settings_) == events


@pytest.mark.parametrize("deflates", [False, True])
def test_any_valid_stream_comes_out_as_it_was_meant(deflates: bool) -> None:
    for seed in range(400):
        chance = random.Random(seed)
        bits = chance.randrange(9, 16)
        stream, events = valid_stream(chance, deflates=deflates, bits=bits)
        settings = Settings(deflates=deflates, bits=bits)
        assert check_stream(stream, settings, chance) == Outcome(events, None)


def headed(frame: tuple[int, bytes]) -> bytes:
    first, payload = frame
    return b"\0\1\2" + client_frame(first, payload, bytes(4))


@settings(max_examples=300)
@given(st.binary(max_size=80) | st.tuples(st.integers(0, 255), st.binary(max_size=60)).map(headed))
def test_any_bytes_are_read_the_same_however_they_are_cut(data: bytes) -> None:
    check(data)


@given(st.integers(0, 2**32), st.sampled_from([PLAIN, DEFLATE, Settings(message_size=100, fragments=4)]))
def test_a_stream_that_is_cut_off_has_no_fault(seed: int, settings: Settings) -> None:
    chance = random.Random(seed)
    stream, _ = valid_stream(chance)
    end = chance.randrange(len(stream) + 1)
    whole, cut_off = read([stream], settings), read(cut(stream[:end], chance), settings)
    assert cut_off.events == whole.events[: len(cut_off.events)]
    assert cut_off.code in (None, whole.code)


# Time


def feeding(settings: Settings, head: bytes, piece: bytes, count: int) -> Callable[[], None]:
    def work() -> None:
        reader = settings.reader(Recorder())
        reader.feed(head)
        for _ in range(count):
            feed(reader, piece)
        reader.stop()

    return work


BFINAL = zlib.compressobj(wbits=-12)
ENDED = BFINAL.compress(b"Hello") + BFINAL.flush(zlib.Z_FINISH)


@pytest.mark.parametrize(
    ("head", "piece", "count"),
    [
        (b"", client_frame(FIN | TEXT, b"x" * 20) * 10, 100),
        (bytes((FIN | TEXT, 0xFF)) + (1 << 20).to_bytes(8, "big") + b"mask", b"x", 2000),
        (bytes((FIN | TEXT, 0xFF)) + (1 << 20).to_bytes(8, "big") + b"mask", b"x" * 1000, 100),
        (client_frame(BINARY), client_frame(CONTINUATION, b"x"), 1000),
        (client_frame(BINARY), client_frame(CONTINUATION) * 10, 100),
        (client_frame(TEXT), client_frame(CONTINUATION, b"\0") + client_frame(FIN | PING), 500),
        (client_frame(RSV1 | BINARY), client_frame(CONTINUATION, b"\0\0\0\xff\xff") * 10, 100),
        (client_frame(RSV1 | BINARY, ENDED), client_frame(CONTINUATION) * 10, 200),
    ],
    ids=[
        "small messages",
        "single bytes of a long one",
        "reads of a long one",
        "fragments of one byte",
        "empty fragments",
        "fragments and pings",
        "compressed fragments of nothing",
        "fragments behind the last block",
    ],
)
def test_time_grows_with_the_bytes(head: bytes, piece: bytes, count: int) -> None:
    settings = Settings(deflates=True, message_size=1 << 21)
    little = cpu_seconds(feeding(settings, head, piece, count))
    much = cpu_seconds(feeding(settings, head, piece, 8 * count))
    assert much < 24 * little, "eight times as much takes about eight times as long; a square would be 64"
