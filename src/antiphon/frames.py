"""WebSocket frames that a server writes, and the words for frames (RFC 6455 §5.2). ``framereader`` reads them."""

from __future__ import annotations

import struct

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "close_frame", "compressed_frame", "frame"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_SHORT = {
    opcode: [bytes((0x80 | opcode, length)) for length in range(126)] for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
}


def frame(opcode: int, payload: bytes) -> bytes:
    """Return ``payload`` as one unmasked, final frame (RFC 6455 §5.2)."""
    length = len(payload)
    if length < 126:
        return _SHORT[opcode][length] + payload
    if length < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, length) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, length) + payload


def compressed_frame(opcode: int, payload: bytes) -> bytes:
    """Return ``payload``, which was compressed, as one frame with the bit that says so (RFC 7692 §6)."""
    plain = frame(opcode, payload)
    return bytes((plain[0] | 0x40,)) + plain[1:]


def close_frame(code: int, reason: bytes) -> bytes:
    """Return a close frame; ``reason`` is UTF-8, at most ``codes.REASON_BYTES`` (RFC 6455 §5.5.1)."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)
