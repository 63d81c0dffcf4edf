"""Protobuf below its messages: varints, tags and lengths (https://protobuf.dev/programming-guides/encoding).

What is read is a part of a frame, from ``position`` to ``end``; nothing is read behind ``end``. Each reader returns
where it stopped, and raises ``Malformed``.
"""

from __future__ import annotations

from antiphon.wire.centrifuge.exceptions import Malformed

__all__ = ["FIXED32", "FIXED64", "LENGTH", "VARINT", "length", "prefixed", "skip", "tag", "varint", "write_varint"]

#: The wire types in use; 3 and 4 are groups, which proto3 does not have.
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

_MOST = 2**64 - 1


def varint(payload: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the number that stands at ``position``, and where it ends: 64 bits, in at most ten bytes."""
    if position < end and payload[position] < 0x80:  # most are
        return payload[position], position + 1
    number = shift = 0
    for place in range(position, min(end, position + 10)):
        octet = payload[place]
        number |= (octet & 0x7F) << shift
        if octet < 0x80:
            if number > _MOST:
                break
            return number, place + 1
        shift += 7
    else:
        if end - position < 10:
            raise Malformed("a number is cut off")
    raise Malformed("a number has more than 64 bits")


def length(payload: bytes, position: int, end: int) -> tuple[int, int]:
    """Return where the bytes that a length at ``position`` announces begin, and where they end."""
    size, position = varint(payload, position, end)
    if size > end - position:
        raise Malformed(f"{size} bytes are announced, and {end - position} are there")
    return position, position + size


def skip(wire_type: int, payload: bytes, position: int, end: int) -> int:
    """Return where the value of an unknown field ends."""
    if wire_type == VARINT:
        return varint(payload, position, end)[1]
    if wire_type == LENGTH:
        return length(payload, position, end)[1]
    if wire_type not in (FIXED32, FIXED64):
        raise Malformed(f"wire type {wire_type} is not in use")
    position += 4 if wire_type == FIXED32 else 8
    if position > end:
        raise Malformed("a number is cut off")
    return position


def write_varint(number: int) -> bytes:
    """Return ``number``, from 0 to 2⁶⁴ - 1, as it is written."""
    if number < 0x80:
        return _SMALL[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:  # most offsets
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


_SMALL = [bytes((number,)) for number in range(0x80)]


def prefixed(payload: bytes) -> bytes:
    """Return ``payload`` behind its length."""
    return write_varint(len(payload)) + payload


def tag(number: int, wire_type: int) -> bytes:
    """Return what stands in front of a field's value."""
    return write_varint(number << 3 | wire_type)
