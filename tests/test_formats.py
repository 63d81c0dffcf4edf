"""Formats: one chunk for all connections of a kind."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame

from antiphon.counters import Counters
from antiphon.formats import FRAMES, MESSAGES, Chunk, DeflateFormat, Format
from antiphon.types import ClientInfo, Publication

from .fakes import messages_in, parse_frames

both = pytest.mark.parametrize("format", [FRAMES, MESSAGES], ids=["frames", "messages"])
messages = st.lists(st.text() | st.binary(), min_size=1, max_size=6)


def chunk_of(format: Format, message: str | bytes) -> Chunk:
    return format.text(message.encode()) if isinstance(message, str) else format.binary(message)


@both
@given(messages=messages)
def test_joined_chunks_hold_the_messages_in_order(format: Format, messages: list[str | bytes]) -> None:
    chunks = [chunk_of(format, message) for message in messages]
    assert messages_in([format.join(chunks)]) == messages
    assert messages_in([format.join([format.join(chunks), format.join(chunks)])]) == messages * 2


@both
@given(messages=messages)
def test_the_size_of_joined_chunks_is_the_sum(format: Format, messages: list[str | bytes]) -> None:
    chunks = [chunk_of(format, message) for message in messages]
    assert format.size(format.join(chunks)) == sum(format.size(chunk) for chunk in chunks)


@both
def test_joining_one_chunk_makes_no_other(format: Format) -> None:
    chunk = format.text(b"a")
    assert format.join([chunk]) is chunk


def test_frames_are_sized_by_the_bytes_on_the_wire() -> None:
    assert FRAMES.size(FRAMES.text(b"abc")) == 5


def test_members_that_are_sent_the_same_text_share_the_frame() -> None:
    assert FRAMES.text(b"".join([b"same ", b"text"])) is FRAMES.text(b"".join([b"same", b" text"]))


@given(st.lists(st.sampled_from([b"", b"a", b"b"]), max_size=10))
def test_sharing_never_mixes_texts_up(payloads: list[bytes]) -> None:
    assert messages_in([FRAMES.text(payload) for payload in payloads]) == [payload.decode() for payload in payloads]


def test_binary_and_text_of_the_same_bytes_differ() -> None:
    assert FRAMES.text(b"a") != FRAMES.binary(b"a")
    assert MESSAGES.text(b"a") != MESSAGES.binary(b"a")


# Compression


def read_compressed(chunk: bytes, bits: int = 15) -> list[bytes]:
    """The messages in ``chunk``, read by a client that negotiated compression."""
    return [bytes(frame.data) for frame in parse_frames(chunk, [PerMessageDeflate(True, True, bits, 15)])]


def is_compressed(chunk: bytes) -> bool:
    return bool(chunk[0] & 0x40)


def make_format(bits: int = 12, threshold: int = 100) -> tuple[DeflateFormat, Counters]:
    counters = Counters()
    return DeflateFormat(bits, threshold, counters), counters


long_texts = st.text(max_size=20) | st.sampled_from(["x" * 99, "x" * 100, "x" * 70_000, "äöü" * 200])


@given(st.lists(long_texts | st.binary(max_size=300), min_size=1, max_size=5), st.integers(9, 15))
def test_a_client_that_negotiated_compression_reads_every_message(messages: list[str | bytes], bits: int) -> None:
    format, _ = make_format(bits)
    chunk = format.join([chunk_of(format, message) for message in messages])
    expected = [message.encode() if isinstance(message, str) else message for message in messages]
    assert read_compressed(chunk, bits) == expected


@pytest.mark.parametrize("make", [DeflateFormat.text, DeflateFormat.binary], ids=["text", "binary"])
def test_messages_are_compressed_from_the_threshold_on(make: Callable[[DeflateFormat, bytes], bytes]) -> None:
    format, counters = make_format(threshold=100)
    assert make(format, b"x" * 99) in (FRAMES.text(b"x" * 99), FRAMES.binary(b"x" * 99))
    assert counters.compressions == 0
    compressed = make(format, b"x" * 100)
    assert (is_compressed(compressed), len(compressed) < 50, counters.compressions) == (True, True, 1)


def test_a_message_that_gets_longer_is_sent_as_it_is() -> None:
    format, _ = make_format(threshold=1)
    noise = random.Random(1).randbytes(5000)
    for payload in (b"a", noise):
        assert format.binary(payload) == FRAMES.binary(payload)
    assert format.text(b"abc") == FRAMES.text(b"abc")


def test_a_message_is_compressed_once_for_all_who_are_sent_it() -> None:
    format, counters = make_format()
    first = format.text(b"same " * 100)
    for _ in range(100):
        assert format.text(b"".join([b"same "] * 100)) is first
    assert counters.compressions == 1
    format.text(b"other" * 100)
    format.text(b"same " * 100)
    assert counters.compressions == 3, "only the last message is remembered"


def test_binary_and_text_of_the_same_bytes_differ_when_compressed() -> None:
    format, _ = make_format()
    kinds: list[Frame] = []
    for chunk in (format.text(b"x" * 200), format.binary(b"x" * 200)):
        kinds += parse_frames(chunk, [PerMessageDeflate(True, True, 12, 15)])
    assert [frame.opcode.name for frame in kinds] == ["TEXT", "BINARY"]


def test_compressed_frames_are_sized_by_the_bytes_on_the_wire() -> None:
    format, _ = make_format()
    chunk = format.text(b"x" * 1000)
    assert format.size(chunk) == len(chunk) < 100
    assert format.size(format.join([chunk, chunk])) == 2 * len(chunk)


def test_the_formats_of_two_windows_share_nothing() -> None:
    narrow, wide = make_format(9)[0], make_format(15)[0]
    far = random.Random(1).randbytes(2000)
    assert len(wide.binary(far * 2)) < 2500 < len(narrow.binary(far * 2))


# Publications on the plain wire


@both
@pytest.mark.parametrize("kept", [True, False])
def test_a_publication_is_a_text_message_of_its_data_alone(format: Format, kept: bool) -> None:
    publication = Publication('{"ü":1}'.encode(), "e", 1, 0.0, "key", ClientInfo("7", "c"), {"a": "b"})
    chunk = format.publication("room", publication, kept=kept)
    assert messages_in([chunk]) == ['{"ü":1}']
    assert chunk == format.text(publication.data)


def test_a_publication_is_framed_and_compressed_once() -> None:
    publication = Publication(b"x" * 1000, "e", 1, 0.0)
    assert FRAMES.publication("room", publication, kept=True) is FRAMES.publication("room", publication, kept=True)
    format, counters = make_format()
    first = format.publication("room", publication, kept=True)
    assert format.publication("room", publication, kept=True) is first
    assert (read_compressed(first), counters.compressions) == ([publication.data], 1)


@both
@pytest.mark.parametrize("joins", [True, False])
def test_on_the_plain_wire_nobody_is_told_who_joins_or_leaves(format: Format, joins: bool) -> None:
    assert format.presence("room", ClientInfo("7", "c"), joins=joins) is None
    assert DeflateFormat(15, 0, Counters()).presence("room", ClientInfo("7", "c"), joins=joins) is None  # type: ignore[func-returns-value]
