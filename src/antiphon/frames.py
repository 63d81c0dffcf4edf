"""WebSocket frames of a server, as far as picows leaves them to us: pure code over bytes (RFC 6455 §5).

picows cuts frames out of the stream and unmasks them; it checks opcodes, masks, lengths and the form of control frames.
Putting messages together, reserved bits, UTF-8 and the size of a whole message are here.
"""

from __future__ import annotations

import codecs
import struct

from antiphon import codes

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "Assembler",
    "ProtocolViolation",
    "frame",
    "lone_control_frame",
]

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


def lone_control_frame(data: bytes) -> tuple[int, bytes] | None:
    """Return ``(opcode, payload)`` if ``data`` is one whole, valid control frame of a client and nothing else.

    A close frame with a code that may not be sent, or a reason that is not UTF-8, is not valid (RFC 6455 §5.5.1).
    """
    if not 6 <= len(data) <= 131 or data[0] not in _CONTROL or data[1] != 0x80 | (len(data) - 6):
        return None
    mask = data[2:6] * ((len(data) - 2) // 4 + 1)
    masked = data[6:]
    size = len(masked)
    payload = (int.from_bytes(masked, "big") ^ int.from_bytes(mask[:size], "big")).to_bytes(size, "big")
    opcode = data[0] & 0x0F
    return (opcode, payload) if opcode != CLOSE or _is_close_payload(payload) else None


_CONTROL = frozenset(0x80 | opcode for opcode in (CLOSE, PING, PONG))


def _is_close_payload(payload: bytes) -> bool:
    if not payload:
        return True
    try:
        codes.check_close_code(int.from_bytes(payload[:2], "big"))
        payload[2:].decode()
    except ValueError:
        return False
    return len(payload) > 1


class ProtocolViolation(Exception):
    """The peer broke RFC 6455: the connection ends with ``code`` and ``reason``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Assembler:
    """Turns data frames into messages.

    Laws: a fragmented message starts with TEXT or BINARY and goes on with CONTINUATION (§5.4); text is UTF-8, and a
    fault in it is found in the fragment that has it (§8.1); a message is at most ``limit`` bytes, counted before a
    fragment is kept.
    """

    __slots__ = ("_decoder", "_message", "_opcode", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._opcode = 0
        self._message = bytearray()  # not a list: a fragment may be one byte
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, opcode: int, fin: bool, payload: bytes) -> tuple[int, bytes] | None:
        """Take one data frame; return ``(TEXT or BINARY, message)`` when it completes one, else None.

        Raises ``ProtocolViolation``.
        """
        if opcode == CONTINUATION:
            if not self._opcode:
                raise ProtocolViolation(codes.PROTOCOL_ERROR, "a continuation frame without a message to continue")
        elif self._opcode:
            raise ProtocolViolation(codes.PROTOCOL_ERROR, "a new message inside a fragmented one")
        else:
            self._opcode = opcode
            self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None
        if len(self._message) + len(payload) > self.limit:
            raise ProtocolViolation(codes.MESSAGE_TOO_BIG, f"message over {self.limit} bytes")
        self._check_text(fin, payload)
        self._message += payload
        return self._finish() if fin else None

    def _check_text(self, fin: bool, payload: bytes) -> None:
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, fin)
            except UnicodeDecodeError:
                raise ProtocolViolation(codes.INVALID_DATA, codes.default_reason(codes.INVALID_DATA)) from None

    def _finish(self) -> tuple[int, bytes]:
        message = self._opcode, bytes(self._message)
        self._opcode, self._decoder = 0, None
        self._message.clear()
        return message
