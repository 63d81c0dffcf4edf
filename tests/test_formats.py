"""Formats: one chunk for all connections of a kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.formats import FRAMES, MESSAGES, Format

from .fakes import messages_in

both = pytest.mark.parametrize("format", [FRAMES, MESSAGES], ids=["frames", "messages"])
messages = st.lists(st.text() | st.binary(), min_size=1, max_size=6)


def chunk_of(format: Format, message: str | bytes) -> object:
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
