"""Varints, tags and lengths, compared with Protobuf's own runtime."""

from __future__ import annotations

import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st

from antiphon.wire.centrifuge import wireformat
from antiphon.wire.centrifuge.exceptions import Malformed
from tests.wire.centrifuge import strategies


@given(strategies.uint64, st.binary(max_size=3), st.binary(max_size=3))
def test_a_number_is_written_and_read(number: int, before: bytes, behind: bytes) -> None:
    written = wireformat.write_varint(number)
    assert written == encoder._VarintBytes(number)
    payload = before + written + behind
    place = len(before) + len(written)
    assert wireformat.varint(payload, len(before), len(payload)) == (number, place)
    assert wireformat.varint(payload, len(before), place) == (number, place)


@given(strategies.uint64, st.data())
def test_nothing_is_read_behind_the_end(number: int, chance: st.DataObject) -> None:
    written = wireformat.write_varint(number)
    end = chance.draw(st.integers(0, len(written) - 1))
    with pytest.raises(Malformed, match="cut off"):
        wireformat.varint(written, 0, end)


@pytest.mark.parametrize("payload", [b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00", b"\xff" * 10, b"\x80" * 100])
def test_a_number_has_64_bits_in_ten_bytes(payload: bytes) -> None:
    with pytest.raises(Malformed, match="more than 64 bits"):
        wireformat.varint(payload, 0, len(payload))


def test_a_number_may_be_longer_than_it_has_to_be() -> None:
    assert wireformat.varint(b"\x81\x80\x80\x00", 0, 4) == (1, 4)
    assert wireformat.varint(b"\x80" * 9 + b"\x01", 0, 10) == (2**63, 10)


@given(st.binary(max_size=300), st.binary(max_size=3))
def test_what_is_written_behind_its_length_is_found_by_it(content: bytes, behind: bytes) -> None:
    payload = wireformat.prefixed(content) + behind
    start, stop = wireformat.length(payload, 0, len(payload))
    assert payload[start:stop] == content


@pytest.mark.parametrize("size", [3, 4, 2**31, 2**63, 2**64 - 1])
def test_a_length_over_the_end_is_refused(size: int) -> None:
    payload = wireformat.write_varint(size) + b"xy"
    with pytest.raises(Malformed, match=f"{size} bytes are announced, and 2 are there"):
        wireformat.length(payload, 0, len(payload))


@pytest.mark.parametrize(
    ("wire_type", "value"),
    [
        (wireformat.VARINT, b"\x80\x01"),
        (wireformat.FIXED64, b"12345678"),
        (wireformat.LENGTH, b"\x03abc"),
        (wireformat.FIXED32, b"1234"),
    ],
)
def test_a_value_is_skipped_by_its_wire_type(wire_type: int, value: bytes) -> None:
    payload = b"x" + value + b"y"
    assert wireformat.skip(wire_type, payload, 1, len(payload)) == 1 + len(value)
    for end in range(1, 1 + len(value)):
        with pytest.raises(Malformed):
            wireformat.skip(wire_type, payload, 1, end)


@pytest.mark.parametrize("wire_type", [3, 4, 6, 7])
def test_groups_and_wire_types_that_do_not_exist_are_refused(wire_type: int) -> None:
    with pytest.raises(Malformed, match=f"wire type {wire_type} is not in use"):
        wireformat.skip(wire_type, b"\x00" * 20, 0, 20)


@given(st.integers(1, 2**29 - 1), st.sampled_from([0, 1, 2, 5]))
def test_a_tag_is_number_and_wire_type(number: int, wire_type: int) -> None:
    assert wireformat.tag(number, wire_type) == encoder.TagBytes(number, wire_type)
