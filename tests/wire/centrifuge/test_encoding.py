"""What the two encodings have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.wire.centrifuge import commands, encoding, json, protobuf
from antiphon.wire.centrifuge.encoding import JSON, PROTOBUF, Encoding
from antiphon.wire.centrifuge.frame import MAX_COMMAND_SIZE
from antiphon.wire.centrifuge.publication import Publication
from tests.wire.centrifuge import reference, strategies
from tests.wire.centrifuge.reading import read

encodings = pytest.mark.parametrize("encoding", [JSON, PROTOBUF], ids=lambda encoding: encoding.NAME)

#: Lengths around those where the length of a length changes, for what is two or three fields deep as well.
SIZES = [*range(1, 20), *range(90, 140), *range(16_340, 16_400)]


def functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    found = {name: value for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"}
    return {name: value for name, value in found.items() if value.__module__ == module.__name__}


def test_the_encodings_are_siblings() -> None:
    assert list(functions(json)) == list(functions(protobuf))
    for name, function in functions(json).items():
        other = functions(protobuf)[name]
        assert inspect.signature(function) == inspect.signature(other)
        assert inspect.getdoc(function) == inspect.getdoc(other)
    assert json.__all__ == protobuf.__all__


def test_an_encoding_has_what_the_protocol_class_names() -> None:
    wanted = {name for name in dir(Encoding) if name[0] != "_"} | set(Encoding.__annotations__)
    assert wanted == set(json.__all__)


def test_one_is_text_and_the_other_is_not() -> None:
    assert (JSON.IS_TEXT, PROTOBUF.IS_TEXT) == (True, False)
    JSON.PING.decode()


@given(strategies.ids, strategies.command)
def test_both_decode_the_same(id: int, command: Any) -> None:
    [(number, found)] = PROTOBUF.decode_frame(reference.delimited([reference.command_of(id, command)]))
    assert (number, found) == (id, command)


# What goes a shorter way, and says the same


def sending(encoding: Encoding, data: bytes, id: int = 0) -> bytes:
    """Return a frame that is one ``send``, as the SDKs write it."""
    if encoding is JSON:
        return b'{"send":{"data":%b}%b}' % (data, b',"id":%d' % id if id else b"")
    return reference.delimited([reference.command_of(id, commands.Send(data))])


@encodings
@given(strategies.text, strategies.data | st.sampled_from(SIZES).map(lambda size: b"7" * size), strategies.uint64)
def test_a_publication_of_data_and_offset_alone_is_pushed_as_any_other(
    encoding: Encoding, channel: str, data: bytes, offset: int
) -> None:
    for _ in range(2):  # also by what was made for another one
        pushed = encoding.encode_publication(channel, data, offset)
        assert pushed == encoding.encode_push(channel, Publication(data, offset=offset))


@encodings
@pytest.mark.parametrize("offset", [0, 2, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**64 - 1])
def test_it_is_however_long_it_is(encoding: Encoding, offset: int) -> None:
    for size in SIZES:
        data = b"7" * size
        pushed = encoding.encode_publication("group", data, offset)
        assert pushed == encoding.encode_push("group", Publication(data, offset=offset)), size


@encodings
def test_of_a_frame_that_is_one_send_the_data_is_found_at_once(encoding: Encoding) -> None:
    for size in (*SIZES, MAX_COMMAND_SIZE - 100):
        data = b"7" * size
        frame = sending(encoding, data)
        assert encoding.sent(frame) == data, size
        assert read(encoding.decode_frame(frame)) == ([(0, commands.Send(data))], None)


@encodings
def test_of_one_that_is_too_big_or_has_no_data_or_an_id_it_is_not(encoding: Encoding) -> None:
    for frame in (
        sending(encoding, b"7" * MAX_COMMAND_SIZE),
        sending(encoding, b"7" * (MAX_COMMAND_SIZE - 100)) + b"7" * 100,
        sending(encoding, b""),
        sending(encoding, b"1", id=7),
        encoding.join([sending(encoding, b"1")] * 2),
        encoding.PING,
        b"",
    ):
        assert encoding.sent(frame) is None


def changed(frame: bytes, place: int, by: bytes, without: int) -> bytes:
    place %= len(frame) + 1
    return frame[:place] + by + frame[place + without :]


pieces = st.sampled_from([b"", b" ", b"\n", b"}", b'"', b",", b"\xff", b"1", b"\x0a\x00", b"\x80", b'},"x":{"y":1'])


@encodings
@given(strategies.maybe_data, st.integers(0, 10_000), pieces, st.integers(0, 2))
def test_what_is_found_at_once_is_what_the_frame_says(
    encoding: Encoding, data: bytes, place: int, piece: bytes, without: int
) -> None:
    frame = changed(sending(encoding, data), place, piece, without)
    found = encoding.sent(frame)
    if found is not None:
        assert read(encoding.decode_frame(frame)) == ([(0, commands.Send(found))], None)


@pytest.mark.parametrize(
    "line",
    [
        b'{"send":{"data":1},"x":{"y":1}}',
        b'{"send":{"data":1},"send":{}}',
        b'{"send":{"data":1},"send":null}',
        b'{"send":{"data":1,"data":2},"id":null}',
        b'{"send":{"data":{}}',
        b'{"send":{"data":}}',
        b'{"send":{"data":"\xff"}}',
        b'{"send":{"data":\n1}}',
        b'{"send":{"data":%b1%b}}' % (b"[" * 20_000, b"]" * 20_000),
    ],
)
def test_in_doubt_a_line_is_read_as_a_whole(line: bytes) -> None:
    assert JSON.sent(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b'{"send": {"data": [1, 2]\t}} ',
        b'{"send":{"data":1},"send":{"data":[1, 2]}}',
        b'{"send":{"data":1,"data":[1, 2]}}',
    ],
)
def test_a_line_may_have_spaces_and_of_two_with_one_name_the_last_counts(line: bytes) -> None:
    assert JSON.sent(line) == b"[1, 2]"
    assert read(JSON.decode_frame(line)) == ([(0, commands.Send(b"[1, 2]"))], None)


@pytest.mark.parametrize("frame", [b"\x06\x62\x83\x00\x0a\x01x", b"\x05\x62\x03\x0a\x02x", b"\x05\x62\x03\x0b\x01x"])
def test_a_length_that_is_written_in_another_way_is_in_doubt_and_a_wrong_one_too(frame: bytes) -> None:
    assert PROTOBUF.sent(frame) is None


@pytest.mark.parametrize(
    ("offered", "query", "expected"),
    [
        ([], b"", (JSON, None)),
        (["centrifuge-protobuf"], b"", (PROTOBUF, "centrifuge-protobuf")),
        (["centrifuge-json"], b"", (JSON, "centrifuge-json")),
        (["chat", "centrifuge-protobuf"], b"", (PROTOBUF, "centrifuge-protobuf")),
        (["centrifuge-json", "centrifuge-protobuf"], b"", (JSON, "centrifuge-json")),
        (["centrifuge-protobuf", "centrifuge-json"], b"", (PROTOBUF, "centrifuge-protobuf")),
        (["chat"], b"", (JSON, None)),
        ([], b"format=protobuf", (PROTOBUF, None)),
        ([], b"a=b&cf_protocol=protobuf&c", (PROTOBUF, None)),
        (["chat"], b"format=protobuf", (PROTOBUF, None)),
        (["centrifuge-json"], b"format=protobuf", (JSON, "centrifuge-json")),
        ([], b"format=json", (JSON, None)),
        ([], b"other=protobuf", (JSON, None)),
        ([], b"format=%ff&\xff=;%", (JSON, None)),
        ([], b"format=proto%62uf", (PROTOBUF, None)),
    ],
)
def test_the_first_that_says_so_chooses(
    offered: list[str], query: bytes, expected: tuple[Encoding, str | None]
) -> None:
    assert encoding.choose(offered, query) == expected
