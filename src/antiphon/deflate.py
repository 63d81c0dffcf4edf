"""permessage-deflate (RFC 7692): the extension code of the ``websockets`` library, used for a server that fans out.

Neither side keeps a window between messages ("no context takeover"): a connection then costs no memory between its
messages, and one compressed message fits everybody who negotiated the same window. That is 4 KiB, as ``websockets``
chooses it, or less where a client asks for it.

Laws:
- what comes out of ``inflate`` is bounded while it is made, never after;
- what a client offers and can't be had is declined, and the connection goes on without compression (§5.1).
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

from websockets.exceptions import InvalidHeader, NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension

__all__ = ["WINDOW_BITS", "Agreement", "Deflater", "Inflater", "InflaterError", "negotiate"]

#: The logarithm of the window that messages to clients are compressed with; a client may ask for a smaller one.
WINDOW_BITS = 12
#: zlib's own memory while it compresses one message; with the window about 32 KiB.
_SETTINGS = {"memLevel": 5}

#: What a sender takes away from the end of a message (§7.2.1).
_TAIL = b"\x00\x00\xff\xff"
#: An empty block that says it is the last: whoever can read it stood between two blocks.
_LAST_BLOCK = b"\x03\x00"

_factory = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=WINDOW_BITS,
    client_max_window_bits=WINDOW_BITS,
    compress_settings=_SETTINGS,
)


class Agreement(NamedTuple):
    """What was negotiated: the response header's value, and the windows."""

    header: bytes
    server_bits: int
    client_bits: int


def negotiate(offers: bytes) -> Agreement | None:
    """Return the answer to ``Sec-WebSocket-Extensions`` (values joined by commas), or None: no compression (§5.1)."""
    try:
        parsed = parse_extension(offers.decode("ascii"))
    except (InvalidHeader, UnicodeDecodeError):
        return None
    for name, parameters in parsed:
        if name != _factory.name:
            continue
        try:
            agreed, extension = _factory.process_request_params(parameters, [])
        except NegotiationError:
            continue  # another offer of the same extension may do
        if extension.local_max_window_bits == 8:
            continue  # zlib can't; older versions of the library agree to it all the same
        header = build_extension([(name, agreed)]).encode()
        return Agreement(header, extension.local_max_window_bits, extension.remote_max_window_bits)
    return None


class InflaterError(Exception):
    """What a client sent as compressed is not."""


class Inflater:
    """Decompresses the messages of one client, a piece at a time."""

    __slots__ = ("_begun", "_behind", "_bits", "_extension", "_is_empty")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._extension: PerMessageDeflate | None = None
        self._begun = False
        self._is_empty = True
        """No byte has come: taken for an empty message, though §7.2.3.6 has a byte for it."""
        self._behind = b""
        """What came behind the last block (BFINAL)."""

    @property
    def memory(self) -> int:
        """Bytes that zlib holds from ``begin`` to ``end``: its state and the window."""
        return 7 * 1024 + (1 << self._bits)

    def begin(self) -> None:
        """Begin a message."""
        # As if its window went on to the next message: but this object does not, and its state can be looked at.
        self._extension = PerMessageDeflate(False, True, self._bits, WINDOW_BITS)
        self._begun = False
        self._is_empty = True
        self._behind = b""

    def inflate(self, piece: bytes, room: int, is_last: bool) -> bytes | None:
        """Return what ``piece`` of the message's compressed bytes stands for, or None for more than ``room`` bytes.

        ``room`` is 1 at least. Raises ``InflaterError``, also for a message that is cut off or goes on behind its end.
        """
        assert room > 0
        if self._extension is None:
            self._check_end(self._behind + piece)
            return b""
        opcode = Opcode.CONT if self._begun else Opcode.BINARY
        frame = Frame(opcode, piece, fin=is_last, rsv1=not self._begun)
        self._begun = True
        self._is_empty = self._is_empty and not piece
        try:
            inflated = bytes(self._extension.decode(frame, max_size=room).data)
        except PayloadTooBig:
            return None
        except ProtocolError as error:
            raise InflaterError(str(error)) from error
        decoder = self._extension.decoder
        if decoder.eof:  # zlib would keep all that follows, and copy it with every piece
            self._extension = None
            self._check_end(decoder.unused_data.removesuffix(_TAIL) if is_last else decoder.unused_data)
        elif is_last and not self._is_empty:
            _check_whole(decoder)
        return inflated

    def _check_end(self, behind: bytes) -> None:
        """Raise unless what stands behind the last block is nothing, or the zero of RFC 7692 §7.2.3.4."""
        if behind not in (b"", b"\0"):
            raise InflaterError("the message goes on behind its last block")
        self._behind = behind

    def end(self) -> None:
        """Give back the memory of the message."""
        self._extension = None


def _check_whole(decoder: Any) -> None:
    """Raise where a message ends in the middle of a block: zlib does not mind, and gives what there is."""
    try:
        decoder.decompress(_LAST_BLOCK, 1)
    except zlib.error:
        raise InflaterError("the message is cut off") from None
    if not decoder.eof:
        raise InflaterError("the message is cut off")


class Deflater:
    """Compresses messages for all clients with a window of ``bits``."""

    __slots__ = ("_extension",)

    def __init__(self, bits: int) -> None:
        self._extension = PerMessageDeflate(True, True, 15, bits, _SETTINGS)

    def deflate(self, payload: bytes) -> bytes:
        """Return ``payload`` compressed, without the end that RFC 7692 §7.2.1 leaves out."""
        return bytes(self._extension.encode(Frame(Opcode.BINARY, payload)).data)
