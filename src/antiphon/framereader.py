"""Reads the frames of a client: bytes in, messages and control frames out (RFC 6455 §5, §8; RFC 7692 §6).

Pure code: no socket, no clock. What is read goes to a ``Receiver`` (messages) and a ``Controller`` (control frames).

Laws:
- which frame may follow which is ``_KINDS`` and ``_SEQUENCE``, and nothing else;
- a message is at most ``message_size`` bytes and ``fragments`` frames; a size is judged by what a header announces,
  before memory is spent on it, and decompression stops at the limit while it happens;
- text is UTF-8; a fault in it is found with the byte that makes it one, within a frame as well (fail fast, §8.1);
- what was valid before a fault has been delivered; behind it nothing is: ``feed`` raises ``ProtocolViolation`` once;
- memory is spent on payload only: a fragment costs its bytes and no object;
- a client's turn holds a bounded number of frames and bytes, so that it keeps no other waiting: see ``next_turn``.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple, Protocol

from antiphon import codes
from antiphon.deflate import Inflater, InflaterError
from antiphon.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

try:  # the compiled one of every usual platform; the other is as correct, and slow
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

__all__ = ["Controller", "FrameReader", "ProtocolViolation", "Receiver", "Unfinished"]


class ProtocolViolation(Exception):
    """The client broke the protocol or a limit: the connection ends with ``code`` and ``reason``.

    ``counter`` is the name of the one in ``Counters`` that counts it.
    """

    def __init__(self, code: int, reason: str, counter: str = "protocol_errors") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.counter = counter


class Receiver(Protocol):
    """Who takes the messages."""

    def receive_text(self, payload: bytes) -> None:
        """Take a text message; ``payload`` is UTF-8."""

    def receive_binary(self, payload: bytes) -> None:
        """Take a binary message."""


class Controller(Protocol):
    """Who takes the control frames (§5.5)."""

    def on_ping(self, payload: bytes) -> None:
        """Take a ping; it is to be answered with the same payload."""

    def on_pong(self) -> None:
        """Take a pong."""

    def on_close(self, code: int, reason: str) -> None:
        """Take a close frame; ``code`` is 1005 where it has none. Nothing is read behind it."""


class Unfinished:
    """Bytes of messages that are not complete, over all readers that share it; at most ``limit`` (0: no limit)."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    @property
    def is_full(self) -> bool:
        """Tell whether more is held than is allowed."""
        return 0 < self.limit < self.held


class _Kind(NamedTuple):
    """What the first byte of a frame says."""

    opcode: int
    is_final: bool
    is_compressed: bool


def _kind(byte: int, deflates: bool) -> _Kind | str:
    """Return what the first byte means, or what is wrong with it (RFC 6455 §5.2)."""
    opcode, reserved, is_final = byte & 0x0F, byte & 0x70, bool(byte & 0x80)
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        return f"reserved opcode {opcode:#x}"
    may_be_compressed = deflates and opcode in (TEXT, BINARY)  # RFC 7692 §6.1: the first frame of a message has the bit
    if reserved and not (reserved == 0x40 and may_be_compressed):
        return "reserved bits are set"
    if opcode >= CLOSE and not is_final:
        return "a fragmented control frame"
    return _Kind(opcode, is_final, bool(reserved))


#: By whether permessage-deflate was negotiated: what each first byte means.
_KINDS = {deflates: [_kind(byte, deflates) for byte in range(256)] for deflates in (False, True)}

#: By whether a message is unfinished, and the opcode of a data frame: what is wrong with it there, if anything (§5.4).
_SEQUENCE = {
    (False, TEXT): "",
    (False, BINARY): "",
    (False, CONTINUATION): "a continuation frame without a message to continue",
    (True, TEXT): "a new message inside a fragmented one",
    (True, BINARY): "a new message inside a fragmented one",
    (True, CONTINUATION): "",
}

#: What a turn holds: frames, and bytes of payload after decompression (and one frame more).
FRAMES_PER_TURN = 256
BYTES_PER_TURN = 128 * 1024

_FINAL_TEXT = 0x80 | TEXT
_FINAL_DATA = (_FINAL_TEXT, 0x80 | BINARY)
_NOT_UTF8 = codes.default_reason(codes.INVALID_DATA)
_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class FrameReader:
    """Reads one client. Feed it bytes as they come; it may be stopped, or paused, from within what it calls."""

    __slots__ = (
        "_bytes",
        "_controller",
        "_decoder",
        "_final",
        "_fragments",
        "_frames",
        "_held",
        "_inflater",
        "_inflating",
        "_is_compressed",
        "_key",
        "_kinds",
        "_left",
        "_max_fragments",
        "_message",
        "_opcode",
        "_packed",
        "_paused",
        "_stopped",
        "_unfinished",
        "limit",
        "receiver",
    )

    def __init__(
        self,
        receiver: Receiver,
        controller: Controller,
        *,
        message_size: int,
        fragments: int,
        unfinished: Unfinished,
        inflater: Inflater | None = None,
    ) -> None:
        self.receiver = receiver
        self.limit = message_size
        self._controller = controller
        self._max_fragments = fragments
        self._unfinished = unfinished
        self._inflater = inflater
        self._kinds = _KINDS[inflater is not None]
        self._paused = False
        self._stopped = False
        # What is left of the turn
        self._frames = FRAMES_PER_TURN
        self._bytes = BYTES_PER_TURN
        self._held = b""
        """Bytes that were fed and not read: the start of a header, what came while paused or is for another turn."""
        # The unfinished message
        self._opcode = 0
        """TEXT or BINARY while a message is unfinished, else 0."""
        self._message = bytearray()  # not a list: a fragment may be one byte
        self._fragments = 0
        self._is_compressed = False
        self._inflating = 0
        """Bytes that are held to decompress the message."""
        self._packed = 0
        """Compressed bytes of the message, announced."""
        self._decoder: codecs.IncrementalDecoder | None = None
        # The unfinished frame of it
        self._left = 0
        """Bytes of the frame's payload that are to come."""
        self._final = False
        self._key = b""

    # What moves it

    @property
    def is_paused(self) -> bool:
        """Tell whether what is fed is held."""
        return self._paused

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; return whether this client has used up its turn: then ``next_turn`` before it goes on.

        Raises ``ProtocolViolation``; then the reader is stopped.
        """
        if self._stopped:
            return False
        if self._held:
            data, self._held = self._held + data, b""
        position, end = 0, len(data)
        frames = self._frames
        try:
            while position < end and not self._paused and frames and self._bytes > 0:
                frames -= 1
                # The usual frame, written out: a short, final, uncompressed one of data that is here as a whole.
                first = data[position]
                if first in _FINAL_DATA and not self._opcode and end - position > 5:
                    start = position + 6
                    stop = start + data[position + 1] - 0x80
                    if start <= stop <= end and stop - start < 126 and stop - start <= self.limit:
                        payload = apply_mask(data[start:stop], data[start - 4 : start])
                        if first != _FINAL_TEXT:
                            position = stop
                            self.receiver.receive_binary(payload)
                            continue
                        if not payload.isascii():
                            _check_utf8(payload)
                        position = stop
                        self.receiver.receive_text(payload)
                        continue
                after = self._take(data, position, end)
                if after == position:
                    break
                position = after
        except ProtocolViolation:
            self.stop()
            raise
        if self._stopped:
            return False
        self._frames = frames
        if position < end:
            self._held = data[position:]
        return not self._paused and not (frames and self._bytes > 0)

    def next_turn(self) -> None:
        """Read a turn's worth again, from the next ``feed`` on."""
        self._frames, self._bytes = FRAMES_PER_TURN, BYTES_PER_TURN

    def pause(self) -> None:
        """Deliver nothing until ``resume``; what is fed is held."""
        self._paused = True

    def resume(self) -> None:
        """Deliver again, from the next ``feed`` on."""
        self._paused = False

    def stop(self) -> None:
        """Read nothing more and hold nothing."""
        self._stopped = True
        self._bytes = 0  # where ``feed`` is under way, this was its last frame
        self._held = b""
        self._left = 0
        self._forget()

    # Frames

    def _take(self, data: bytes, position: int, end: int) -> int:
        """Read at ``position``, a frame or more of the one that was begun; return where it ends.

        Where more bytes are needed to begin a frame, return ``position``.
        """
        if self._left:
            return self._take_payload(data, position, end)
        if end - position < 2:
            return position
        kind, announced = self._kinds[data[position]], data[position + 1]
        if isinstance(kind, str):
            raise ProtocolViolation(codes.PROTOCOL_ERROR, kind)
        if announced < 0x80:
            raise ProtocolViolation(codes.PROTOCOL_ERROR, "a frame without a mask")  # §5.1
        start, length = self._read_length(kind, data, position, end, announced & 0x7F)
        if kind.opcode >= CLOSE:
            return self._take_control(kind.opcode, data, position, start, length, end)
        self._admit(kind, length)
        if end < start:
            return position
        return self._take_data(kind, data, start, length, end)

    def _read_length(self, kind: _Kind, data: bytes, position: int, end: int, length: int) -> tuple[int, int]:
        """Return where the payload starts, behind the mask, and how long it is (§5.2).

        Where the length is not here as a whole, the start lies behind the end, and the length is 0.
        """
        if length < 126:
            return position + 6, length
        if kind.opcode >= CLOSE:
            raise ProtocolViolation(codes.PROTOCOL_ERROR, "a control frame over 125 bytes")  # §5.5
        size, shortest = (2, 126) if length == 126 else (8, 65536)
        start = position + 2 + size
        if end < start:
            return end + 1, 0
        length = int.from_bytes(data[position + 2 : start], "big")
        if not shortest <= length < 2**63:
            raise ProtocolViolation(codes.PROTOCOL_ERROR, "a length that is not written in the shortest way")
        return start + 4, length

    def _take_control(self, opcode: int, data: bytes, position: int, start: int, length: int, end: int) -> int:
        stop = start + length
        if end < stop:
            return position
        payload = apply_mask(data[start:stop], data[start - 4 : start])
        if opcode == PING:
            self._controller.on_ping(payload)
        elif opcode == PONG:
            self._controller.on_pong()
        else:
            code, reason = _read_close(payload)
            self.stop()
            self._controller.on_close(code, reason)
        return stop

    def _admit(self, kind: _Kind, length: int) -> None:
        """Raise where the data frame may not come here, or announces too much."""
        fault = _SEQUENCE[bool(self._opcode), kind.opcode]
        if fault:
            raise ProtocolViolation(codes.PROTOCOL_ERROR, fault)
        if kind.is_compressed or self._is_compressed:
            # What can't shrink grows: by an eighth at most, and by what ends each fragment.
            size, limit = self._packed + length, self.limit + self.limit // 8 + 16 * (self._fragments + 4)
        else:
            size, limit = len(self._message) + length, self.limit
        if size > limit:
            raise self._too_big()

    def _take_data(self, kind: _Kind, data: bytes, start: int, length: int, end: int) -> int:
        """Take a data frame whose header is here and allowed; return where it, or what is here of it, ends."""
        key = data[start - 4 : start]
        if kind.opcode != CONTINUATION:
            if kind.is_final and not kind.is_compressed and end - start >= length:
                payload = apply_mask(data[start : start + length], key)
                self._bytes -= length
                self._deliver(kind.opcode, payload)
                return start + length
            self._begin(kind)
        self._fragments += 1
        if 0 < self._max_fragments < self._fragments:
            reason = f"a message in more than {self._max_fragments} fragments"
            raise ProtocolViolation(codes.POLICY_VIOLATION, reason, "fragments_over_limit")
        self._key, self._left, self._final = key, length, kind.is_final
        self._packed += length
        return self._take_payload(data, start, end)

    def _take_payload(self, data: bytes, position: int, end: int) -> int:
        """Take what is here of the frame's payload."""
        stop = min(end, position + self._left)
        payload = apply_mask(data[position:stop], self._key)
        turned = (stop - position) % 4
        self._key = self._key[turned:] + self._key[:turned]
        self._left -= stop - position
        is_last = self._final and not self._left
        self._append(payload, is_last)
        if is_last:
            self._finish()
        return stop

    # Messages

    def _begin(self, kind: _Kind) -> None:
        self._opcode = kind.opcode
        self._is_compressed = kind.is_compressed
        self._decoder = _utf8_decoder() if kind.opcode == TEXT else None
        if self._inflater is not None and kind.is_compressed:
            self._inflater.begin()
            self._inflating = self._inflater.memory
            self._unfinished.held += self._inflating

    def _append(self, payload: bytes, is_last: bool) -> None:
        """Add to the message: inflated, checked for its size and for UTF-8."""
        if self._is_compressed and self._inflater is not None:
            payload = self._inflate(self._inflater, payload, is_last)
        if len(self._message) + len(payload) > self.limit:
            raise self._too_big()
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, is_last)
            except UnicodeDecodeError:
                raise ProtocolViolation(codes.INVALID_DATA, _NOT_UTF8) from None
            kept, _ = self._decoder.getstate()
            if kept[:1] == b"\xed" and kept[1:] >= b"\xa0":  # a surrogate: Python's decoder waits for its third byte
                raise ProtocolViolation(codes.INVALID_DATA, _NOT_UTF8)
        self._message += payload
        self._bytes -= len(payload)
        self._unfinished.held += len(payload)
        if self._unfinished.is_full and not is_last:
            reason = "the server holds too many unfinished messages; come back later"
            raise ProtocolViolation(codes.TRY_AGAIN_LATER, reason, "unfinished_over_limit")

    def _inflate(self, inflater: Inflater, payload: bytes, is_last: bool) -> bytes:
        room = self.limit - len(self._message)
        try:
            inflated = inflater.inflate(payload, room + 1, is_last)
        except InflaterError:
            raise ProtocolViolation(codes.INVALID_DATA, "a compressed message that can't be read") from None
        if inflated is None:
            raise self._too_big()
        return inflated

    def _finish(self) -> None:
        opcode, payload = self._opcode, bytes(self._message)
        self._forget()
        if opcode == TEXT:
            self.receiver.receive_text(payload)
        else:
            self.receiver.receive_binary(payload)

    def _forget(self) -> None:
        """Drop the unfinished message."""
        self._unfinished.held -= len(self._message) + self._inflating
        self._inflating = 0
        self._message = bytearray()
        self._opcode = self._fragments = self._packed = 0
        self._is_compressed = False
        self._decoder = None
        if self._inflater is not None:
            self._inflater.end()

    def _deliver(self, opcode: int, payload: bytes) -> None:
        """Deliver a message of one frame."""
        if opcode == BINARY:
            self.receiver.receive_binary(payload)
            return
        if not payload.isascii():
            _check_utf8(payload)
        self.receiver.receive_text(payload)

    def _too_big(self) -> ProtocolViolation:
        return ProtocolViolation(codes.MESSAGE_TOO_BIG, f"message over {self.limit} bytes", "messages_too_big")


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation(codes.INVALID_DATA, _NOT_UTF8) from None


def _read_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame's payload; raise ``ProtocolViolation`` (§5.5.1, §7.4)."""
    if not payload:
        return codes.NO_STATUS, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not codes.may_travel(code):
        raise ProtocolViolation(codes.PROTOCOL_ERROR, "a close frame with a code that can't be sent")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolViolation(codes.INVALID_DATA, "a close reason that is not UTF-8") from None
