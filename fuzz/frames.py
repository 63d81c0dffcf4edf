"""What a client sends once the connection is open, against antiphon's reader of frames.

``check`` takes any bytes: three say what is negotiated and how the stream is cut into reads, the rest is the stream.
It must be the same messages and the same close code however it is cut, and what the ``websockets`` library reads.

Run it: ``python -m fuzz.frames --runs 1000000 --seed 7``.
"""

from __future__ import annotations

import codecs
import logging
import random
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from antiphon import codes
from antiphon.deflate import Inflater
from antiphon.framereader import FrameReader, ProtocolViolation, Unfinished
from antiphon.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from fuzz.driver import Target, main

__all__ = [
    "TARGET",
    "Event",
    "Outcome",
    "Recorder",
    "Settings",
    "check",
    "check_stream",
    "client_frame",
    "cut",
    "feed",
    "generate",
    "peer",
    "read",
    "valid_stream",
]

FIN, RSV1, MASK = 0x80, 0x40, 0x80

#: What came out: its kind, and the payload; of a close frame code and reason.
Event = tuple[str, object]


class Settings(NamedTuple):
    """What a reader is made with."""

    deflates: bool = False
    message_size: int = 1 << 20
    fragments: int = 0
    unfinished: int = 0
    bits: int = 15

    def reader(self, recorder: Recorder, unfinished: Unfinished | None = None) -> FrameReader:
        """Return a reader that tells ``recorder``."""
        return FrameReader(
            recorder,
            recorder,
            message_size=self.message_size,
            fragments=self.fragments,
            unfinished=unfinished or Unfinished(self.unfinished),
            inflater=Inflater(self.bits) if self.deflates else None,
        )


class Outcome(NamedTuple):
    """What became of a stream: what came out, and the code that the connection is closed with, or None."""

    events: list[Event]
    code: int | None
    reason: str = ""


#: What a reader may hold besides the message itself, to decompress it.
INFLATING = Inflater(15).memory


class Recorder:
    """Takes messages and control frames."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def receive_text(self, payload: bytes) -> None:
        assert type(payload) is bytes
        self.events.append(("text", payload.decode()))

    def receive_binary(self, payload: bytes) -> None:
        assert type(payload) is bytes
        self.events.append(("binary", payload))

    def on_ping(self, payload: bytes) -> None:
        self.events.append(("ping", payload))

    def on_pong(self) -> None:
        self.events.append(("pong", b""))

    def on_close(self, code: int, reason: str) -> None:
        self.events.append(("close", (code, reason)))


def read(pieces: Iterable[bytes], settings: Settings) -> Outcome:
    """Feed a reader; what it holds has to be within its limits, and nothing at the end."""
    recorder, unfinished = Recorder(), Unfinished(0)
    reader = settings.reader(recorder, unfinished)
    try:
        for piece in pieces:
            feed(reader, piece)
            assert 0 <= unfinished.held <= settings.message_size + INFLATING
    except ProtocolViolation as fault:
        assert unfinished.held == 0, "a fault gives back what was held"
        seen = len(recorder.events)
        reader.feed(client_frame(FIN | PING))
        assert len(recorder.events) == seen, "nothing is read behind a fault"
        return Outcome(recorder.events, fault.code, fault.reason)
    reader.stop()
    assert unfinished.held == 0, "stopping gives back what was held"
    return Outcome(recorder.events, None)


def feed(reader: FrameReader, data: bytes) -> None:
    """Feed ``data``, in as many turns as it takes."""
    while reader.feed(data):
        reader.next_turn()
        data = b""


# The other implementation


def peer(stream: bytes, settings: Settings, *, completed: bool = False) -> Outcome:
    """Return what the ``websockets`` library makes of ``stream``; ``completed`` lets no frame at its end be cut off."""
    # Its own limit is no measure: it counts a ping in the middle of a message, and compressed bytes.
    protocol = ServerProtocol(state=State.OPEN, max_size=_PEER_LIMIT, logger=_quiet)
    if settings.deflates:
        protocol.extensions = [PerMessageDeflate(True, True, settings.bits, 12)]
    protocol.receive_data(stream)
    frames = protocol.events_received()
    if completed:
        frames += _complete(protocol, settings.message_size)
    events: list[Event] = []
    try:
        _assemble(frames, events, settings)
    except ProtocolViolation as fault:
        return Outcome(events, fault.code, fault.reason)
    error = protocol.parser_exc
    if error is None:
        return Outcome(events, None)
    if isinstance(error, PayloadTooBig):
        return Outcome(events, codes.MESSAGE_TOO_BIG, str(error))
    bad_text = isinstance(error, UnicodeDecodeError)
    return Outcome(events, codes.INVALID_DATA if bad_text else codes.PROTOCOL_ERROR, str(error))


def _complete(protocol: ServerProtocol, longest: int) -> list[Any]:
    """Feed the rest of whatever frame the stream ends in, and what may stand behind it; return what came of that."""
    frames: list[Any] = []
    fed = 0
    while not frames and protocol.parser_exc is None:
        if fed > longest:
            protocol.parser_exc = PayloadTooBig(fed, longest)
            break
        protocol.receive_data(b"\x89" * 1500)  # that is a row of pings, too
        fed += 1500
        frames += protocol.events_received()
    return frames


def _assemble(frames: Iterable[object], events: list[Event], settings: Settings) -> None:
    """Put messages together and check their text, which the library leaves to its I/O layers."""
    parts: list[bytes] = []
    decoder: codecs.IncrementalDecoder | None = None
    for frame in frames:
        assert isinstance(frame, Frame)
        payload = bytes(frame.data)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                parts = []
                decoder = codecs.getincrementaldecoder("utf-8")() if frame.opcode is Opcode.TEXT else None
            parts.append(payload)
            if sum(map(len, parts)) > settings.message_size:
                raise ProtocolViolation(codes.MESSAGE_TOO_BIG, "too big")
            if decoder is not None:
                try:
                    decoder.decode(payload, frame.fin)
                except UnicodeDecodeError:
                    raise ProtocolViolation(codes.INVALID_DATA, "not UTF-8") from None
            if frame.fin:
                message = b"".join(parts)
                events.append(("binary", message) if decoder is None else ("text", message.decode()))
        elif frame.opcode is Opcode.CLOSE:
            close = Close.parse(payload)
            events.append(("close", (int(close.code), close.reason)))
        else:
            events.append(("ping", payload) if frame.opcode is Opcode.PING else ("pong", b""))


_PEER_LIMIT = 1 << 26
_quiet = logging.getLogger("fuzz.websockets")
_quiet.disabled = True


# The check


def check(data: bytes) -> None:
    """Check the stream that ``data`` stands for; raise ``AssertionError`` where something is wrong."""
    if len(data) < 3:
        return
    sizes = (20, 125, 1000, 1 << 20)
    # With a smaller window, zlib looks back further than that as long as it is within one read: no oracle.
    settings = Settings(deflates=bool(data[0] & 1), message_size=sizes[data[0] >> 1 & 3])
    check_stream(data[3:], settings, random.Random(data[:3]))  # noqa: S311


def check_stream(stream: bytes, settings: Settings, chance: random.Random) -> Outcome:
    """Check ``stream``: the same in one piece, in single bytes and cut by ``chance``, and what the peer reads."""
    whole = read([stream], settings)
    pieces = [stream[index : index + 1] for index in range(len(stream))] if len(stream) < 1500 else []
    for cuts in (pieces, list(cut(stream, chance)), list(cut(stream, chance))):
        if cuts or not stream:
            _check_same(whole, read(cuts, settings), settings)
    _check_peer(whole, stream, settings)
    return whole


def cut(stream: bytes, chance: random.Random) -> Iterator[bytes]:
    """Cut ``stream`` into pieces at random places; some are empty."""
    places = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.choice((1, 2, 5, 30))))
    for start, end in pairwise([0, *places, len(stream)]):
        yield stream[start:end]


def _check_same(whole: Outcome, pieces: Outcome, settings: Settings) -> None:
    assert whole.events == pieces.events, f"in one read {whole}, in several {pieces}"
    # A compressed message may be both too big and no text: which of the two is seen first depends on the reads.
    both = {codes.INVALID_DATA, codes.MESSAGE_TOO_BIG}
    if not (settings.deflates and {whole.code, pieces.code} <= both):
        assert whole.code == pieces.code, f"in one read {whole}, in several {pieces}"


def _check_peer(ours: Outcome, stream: bytes, settings: Settings) -> None:
    theirs = peer(stream, settings)
    if theirs.reason == "incomplete fragmented message" and ours.code is None:  # RFC 6455 §5.4 allows it
        theirs = Outcome([*theirs.events, ours.events[-1]], None)
    if any(words in ours.reason for words in _STRICTER):
        theirs = Outcome(theirs.events[: len(ours.events)], ours.code)
    assert ours.events == theirs.events, f"antiphon {ours}, websockets {theirs}"
    if ours.code is None:
        assert theirs.code is None, f"antiphon {ours}, websockets {theirs}"
    elif theirs.code is not None:
        assert _agree(ours, theirs, settings), f"antiphon {ours}, websockets {theirs}"
    elif ours.code != codes.MESSAGE_TOO_BIG:
        completed = peer(stream, settings, completed=True)
        assert completed.code is not None, f"antiphon {ours}, websockets sees nothing wrong: {completed}"


#: What antiphon says where the library may read on: lengths that are not written in the shortest way, and compressed
#: messages that are cut off, or go on behind their end.
_STRICTER = ("shortest way", "over 125 bytes", "a compressed message that can't be read")


def _agree(ours: Outcome, theirs: Outcome, settings: Settings) -> bool:
    """Tell whether both may be meant: a frame can have several faults, and each looks for them in its own order."""
    if ours.code == theirs.code:
        return True
    if theirs.code == codes.MESSAGE_TOO_BIG and ours.code == codes.PROTOCOL_ERROR:
        return True  # it looks at the length before all else
    if theirs.code == codes.INVALID_DATA and "close frame" in ours.reason:
        return True  # it looks at the reason before the code
    return settings.deflates and ours.code in (codes.INVALID_DATA, codes.MESSAGE_TOO_BIG)


# Making streams up


def client_frame(first: int, payload: bytes = b"", key: bytes = b"\x37\xfa\x21\x3d", *, form: int = 0) -> bytes:
    """Return a masked frame whose first byte is ``first``; ``form`` 126 or 127 writes the length the longer way."""
    length = len(payload)
    form = form or (length if length < 126 else 126 if length < 1 << 16 else 127)
    size = {126: struct.pack("!H", length & 0xFFFF), 127: struct.pack("!Q", length)}.get(form, b"")
    pad = (key * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")
    return bytes((first, MASK | form)) + size + key + masked


def generate(chance: random.Random) -> bytes:
    """Return an input of ``check``: a valid stream, or one with a few faults, or noise."""
    head = bytes(chance.randrange(256) for _ in range(3))
    if chance.random() < 0.05:
        return head + chance.randbytes(chance.randrange(200))
    stream, _ = valid_stream(chance, deflates=bool(head[0] & 1), bits=8 + (head[0] >> 3) % 8)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        stream = _mutated(stream, chance)
    return head + stream


def valid_stream(chance: random.Random, *, deflates: bool = False, bits: int = 15) -> tuple[bytes, list[Event]]:
    """Return messages and control frames of a client that keeps to the rules, and what is to come out."""
    stream = bytearray()
    events: list[Event] = []
    for _ in range(chance.randrange(6)):
        payload = _payload(chance)
        is_text = chance.random() < 0.6
        data = payload.encode() if is_text else payload.encode("utf-16-le") + chance.randbytes(chance.randrange(9))
        compressed = deflates and chance.random() < 0.6
        parts = _compressed_parts(data, chance, max(bits, 9)) if compressed else list(_split(data, chance))
        first = (TEXT if is_text else BINARY) | (RSV1 if compressed else 0)
        for index, part in enumerate(parts):
            fin = FIN if index == len(parts) - 1 else 0
            stream += client_frame(fin | (CONTINUATION if index else first), part, chance.randbytes(4))
            if not fin:
                events.extend(_controls(chance, stream))
        events.append(("text", payload) if is_text else ("binary", data))
        events.extend(_controls(chance, stream))
    if chance.random() < 0.2:
        code = chance.choice((1000, 1001, 1011, 3000, 4999))
        reason = chance.choice(("", "bye", "€" * 41))
        stream += client_frame(FIN | CLOSE, code.to_bytes(2, "big") + reason.encode(), chance.randbytes(4))
        events.append(("close", (code, reason)))
    return bytes(stream), events


_TEXTS = ("", "a", "hello", "ä", "€uro", "🎵", "\x00", "日本語", "é" * 30, "x" * 124, "🎵" * 40, "€" * 200)


def _payload(chance: random.Random) -> str:
    return "".join(chance.choice(_TEXTS) for _ in range(chance.choice((0, 1, 1, 2, 3, 8))))


def _split(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """Cut ``data`` into fragments, often none."""
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 0, 1, 2, 6))))
    for start, end in pairwise([0, *places, len(data)]):
        yield data[start:end]


def _compressed_parts(data: bytes, chance: random.Random, bits: int) -> list[bytes]:
    """Compress ``data``, and cut it into fragments before or after."""
    level, strategy = chance.choice((0, 1, 6, 9)), chance.choice((0, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED))
    compressor = zlib.compressobj(level, wbits=-bits, memLevel=chance.choice((1, 5, 9)), strategy=strategy)
    if chance.random() < 0.5:
        packed = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return list(_split(packed[:-4], chance))
    parts = [compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH) for part in _split(data, chance)]
    if not parts[-1].endswith(b"\x00\x00\xff\xff"):  # zlib writes nothing where nothing is new
        parts[-1] += b"\x00\x00\x00\xff\xff"
    return [*parts[:-1], parts[-1][:-4]]


def _controls(chance: random.Random, stream: bytearray) -> list[Event]:
    """Add control frames to ``stream``, mostly none; return what is to come out of them."""
    events: list[Event] = []
    while chance.random() < 0.25:
        payload = chance.randbytes(chance.choice((0, 4, 125)))
        is_ping = chance.random() < 0.5
        stream += client_frame(FIN | (PING if is_ping else PONG), payload, chance.randbytes(4))
        events.append(("ping", payload) if is_ping else ("pong", b""))
    return events


def _mutated(stream: bytes, chance: random.Random) -> bytes:
    """Return ``stream`` with one fault in it, which may turn out not to be one."""
    place = chance.randrange(len(stream) + 1)
    before, behind = stream[:place], stream[place:]
    width = chance.choice((1, 1, 2, 8))
    kind = chance.randrange(7)
    if kind == 0:
        return before
    if kind == 1:
        return before + bytes(byte ^ 1 << chance.randrange(8) for byte in behind[:width]) + behind[width:]
    if kind == 2:
        return before + behind[width:]
    if kind == 3:
        return before + chance.randbytes(width) + behind
    if kind == 4:
        return before + behind[:width] + behind
    if kind == 5:
        return before + client_frame(chance.randrange(256), chance.randbytes(chance.choice((0, 1, 2, 20)))) + behind
    form = chance.choice((126, 127))
    return before + client_frame(chance.choice((0x81, 0x82, 0x01, 0x88)), b"x" * width, form=form) + behind


TARGET = Target("fuzz.frames", generate, check)

if __name__ == "__main__":
    sys.exit(main(TARGET))
