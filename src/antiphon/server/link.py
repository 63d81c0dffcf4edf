"""The frames of one connection: between the socket and whoever takes the messages.

A link is the socket's protocol from the moment the handshake was answered. A ``FrameReader`` reads what comes; its
messages go to a ``Receiver``: the ASGI side of the protocol class, or a consumer's connection that claimed them.
It implements ``transport.Link``.

Laws:
- a close frame is written once and nothing after it;
- whoever receives is told of the end once, with the code: the client's, ours, or 1006 where there was none;
- a ping is answered; where the socket is full, only the last of several (RFC 6455 §5.5.3), so that pings that
  nobody reads the answers of cost nothing;
- after a fault of the client nothing is read: what comes is dropped until the client has seen our close frame;
- what a client sent before a fault is handled, and answered, before our close frame.

==========  ==========================================================  ====================================
stage       meaning                                                     what ends it
==========  ==========================================================  ====================================
OPEN        frames flow                                                 our close frame, the client's, a fault
FAULTY      the client broke the protocol; what came before is handled  our close frame, or ``close_timeout``
CLOSING     our close frame is out; the client's is awaited             the client's, or ``close_timeout``
LINGERING   our close frame is out; nothing is awaited                  the client's FIN, or ``LINGER``
ENDED       the socket is closed, or about to be                        nothing
==========  ==========================================================  ====================================
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import logging
from collections.abc import Callable
from typing import Protocol

from antiphon import codes, frames
from antiphon.connection import Connection
from antiphon.counters import Counters
from antiphon.deflate import Inflater
from antiphon.fanout import NO_DESCRIPTOR
from antiphon.formats import FrameFormat
from antiphon.framereader import FrameReader, ProtocolViolation, Receiver
from antiphon.server.gate import Gate
from antiphon.transport import DirectTransport

__all__ = ["Link", "Owner"]

logger = logging.getLogger("antiphon.server")

#: How long a client that broke the protocol may take to see why, in seconds.
LINGER = 2.0


class Stage(enum.Enum):
    """Where a link stands."""

    OPEN = "open"
    FAULTY = "faulty"
    CLOSING = "closing"
    LINGERING = "lingering"
    ENDED = "ended"


class Happening(enum.Enum):
    """What moves a link on."""

    CLOSE = "our close frame"
    CLOSED = "the client's close frame"
    FAULT = "the client broke the protocol"
    LOST = "the socket is closed"


_TABLE: dict[tuple[Stage, Happening], Stage] = {
    (Stage.OPEN, Happening.CLOSE): Stage.CLOSING,
    (Stage.OPEN, Happening.CLOSED): Stage.ENDED,
    (Stage.OPEN, Happening.FAULT): Stage.FAULTY,
    (Stage.OPEN, Happening.LOST): Stage.ENDED,
    (Stage.FAULTY, Happening.CLOSE): Stage.LINGERING,
    (Stage.FAULTY, Happening.LOST): Stage.ENDED,
    (Stage.CLOSING, Happening.CLOSED): Stage.ENDED,
    (Stage.CLOSING, Happening.FAULT): Stage.LINGERING,
    (Stage.CLOSING, Happening.LOST): Stage.ENDED,
    (Stage.LINGERING, Happening.LOST): Stage.ENDED,
    (Stage.ENDED, Happening.LOST): Stage.ENDED,
}


class Owner(Receiver, Protocol):
    """The protocol class of a link; it takes the messages where no consumer does."""

    def lost(self, code: int, reason: str = "") -> None:
        """Take note that the connection is over."""

    def drain(self, code: int, reason: str | None = None) -> None:
        """Close the link behind the messages that were received."""

    def link_ended(self) -> None:
        """The link's socket is closed."""

    def hold_sending(self) -> None:
        """The socket's buffer is full."""

    def resume_sending(self) -> None:
        """The socket's buffer has room."""


class Link(asyncio.Protocol):
    """The WebSocket side of one connection, from the answered handshake on."""

    __slots__ = (
        "_close_code",
        "_close_timeout",
        "_controls_settled",
        "_direct",
        "_gate",
        "_inflater",
        "_max_message_size",
        "_owed_pong",
        "_owner",
        "_reader",
        "_reading_paused",
        "_resting",
        "_socket",
        "_stage",
        "_timer",
        "_told",
        "_writing_paused",
        "awaits_pong",
        "context",
        "descriptor",
        "format",
        "write",
    )

    def __init__(
        self,
        owner: Owner,
        gate: Gate,
        context: contextvars.Context,
        *,
        format: FrameFormat,
        inflater: Inflater | None,
        max_message_size: int,
        close_timeout: float,
    ) -> None:
        self.context = context
        self.format = format
        self.awaits_pong = 0
        self.descriptor = NO_DESCRIPTOR
        self.write: Callable[[bytes], None] = _unopened
        self._owner = owner
        self._gate = gate
        self._inflater = inflater
        self._max_message_size = max_message_size
        self._close_timeout = close_timeout
        self._direct: DirectTransport | None = None
        self._reader: FrameReader | None = None
        self._socket: asyncio.Transport | None = None
        self._stage = Stage.OPEN
        self._close_code = 0
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        self._resting = False
        """Whether bytes are held for the next turn of the loop."""
        self._reading_paused = False
        self._writing_paused = False
        self._owed_pong: bytes | None = None
        self._controls_settled = 0.0
        """When the pings and pongs that came would have come, had they come at ``control_rate``."""

    # transport.Link

    def claim(self, transport: DirectTransport, *, max_message_size: int, close_timeout: float) -> None:
        """Let a consumer's transport have the messages, within antiphon's limits instead of the server's."""
        self._direct = transport
        self._max_message_size = max_message_size
        self._close_timeout = close_timeout

    def close(self, code: int, reason: bytes) -> None:
        """Write a close frame; wait for the client's until the timeout (RFC 6455 §7.1.2)."""
        frame = frames.close_frame(code, reason)  # before anything else: an application may give what is no code
        if self._socket is None or not self._move(Happening.CLOSE):
            return
        self._close_code = code
        if not self._told:
            self.write(frame)
        self.write = _unopened
        if self._reader is not None:
            self._reader.receiver = _DEAF
        if self._stage is Stage.LINGERING:
            self._linger()
        else:
            self._set_timer(self._close_timeout)
            self._go_on()

    def abort(self) -> None:
        """End the connection at once."""
        if self._socket is not None:
            self._socket.abort()

    def pause_reading(self) -> None:
        """Deliver nothing more, and stop reading from the socket."""
        if self._socket is not None and self._stage is Stage.OPEN:
            self._reading_paused = True
            if self._reader is not None:
                self._reader.pause()
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Deliver what was held, and read from the socket again."""
        self._go_on()

    def shut_down(self, code: int) -> None:
        """Close because the server stops; a consumer first handles the messages that it has."""
        if self._direct is not None:
            self._direct.connection.drain(code)
        else:
            reason = codes.default_reason(code)
            self.close(code, codes.fit_reason(reason))
            self._tell(code, reason)

    # keepalive.Pinged

    @property
    def is_closing(self) -> bool:
        """Tell whether pinging is over."""
        return self._stage is not Stage.OPEN or self._told

    def ping(self) -> None:
        """Write a ping frame; ``awaits_pong`` until something comes from the client."""
        if not self.is_closing and not self._reading_paused:  # while nothing is read, no pong is
            self.awaits_pong = 1
            self.write(_PING)

    def ping_unanswered(self) -> None:
        """End the connection: the client is gone without a word."""
        if self._reading_paused:  # its pong may wait behind what is not read
            self.awaits_pong = 0
            return
        self._counters.pings_unanswered += 1
        self.close(codes.INTERNAL_ERROR, b"keepalive ping timeout")
        self._tell(codes.INTERNAL_ERROR, "keepalive ping timeout")
        if self._socket is not None:
            self._close_socket()

    # asyncio.Protocol

    def open(self, socket: asyncio.Transport, early: bytes) -> None:
        """Take the socket, whose handshake was answered; ``early`` is what came from it before that."""
        self._socket = socket
        self.write = socket.write
        socket.set_protocol(self)
        if self._direct is not None:
            # Whatever the socket does not take at once makes it pause: the descriptor is then left alone. TLS pauses
            # at the limit, not above it: with 0 it would at every write, and resume when the client says something.
            is_plain = socket.get_extra_info("sslcontext") is None
            socket.set_write_buffer_limits(high=0 if is_plain else 1, low=0)
            if is_plain:
                self.descriptor = socket.get_extra_info("socket").fileno()
        if early:
            socket.pause_reading()
            asyncio.get_running_loop().call_soon(self._take_early, early)
        else:
            socket.resume_reading()

    def _take_early(self, early: bytes) -> None:
        if self._socket is not None:
            self.data_received(early)
            self._listen()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        self.awaits_pong = 0
        self._read(self._reader or self._make_reader(), data)

    def eof_received(self) -> None:
        """Let the socket close itself."""

    def pause_writing(self) -> None:
        """Tell that the socket's buffer is full."""
        self._writing_paused = True
        if self._direct is not None:
            self._direct.pause_writing()
        else:
            self._owner.hold_sending()

    def resume_writing(self) -> None:
        """Tell that the socket's buffer has room."""
        self._writing_paused = False
        if self._owed_pong is not None:
            payload, self._owed_pong = self._owed_pong, None
            self.write(frames.frame(frames.PONG, payload))
        if self._direct is not None:
            self._direct.resume_writing()
        else:
            self._owner.resume_sending()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the socket is closed."""
        self.lost(codes.ABNORMAL)

    def lost(self, code: int, reason: str = "") -> None:
        """Note that the socket is closed; ``code`` tells why where no close frame does."""
        self._move(Happening.LOST)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell(self._close_code or code, reason)
        if self._reader is not None:
            self._reader.stop()
        self.write = _unopened
        self.descriptor = NO_DESCRIPTOR
        self._socket = None
        self._owner.link_ended()

    # framereader.Controller

    def on_ping(self, payload: bytes) -> None:
        """Answer with a pong, now or as soon as the socket has room."""
        if not self._is_flood():
            if self._writing_paused:
                self._owed_pong = payload
            else:
                self.write(frames.frame(frames.PONG, payload))

    def on_pong(self) -> None:
        """Count it: that the client is there was noted when it came."""
        self._is_flood()

    def on_close(self, code: int, reason: str) -> None:
        """Answer the client's close frame, or end where it is the answer to ours (RFC 6455 §5.5.1)."""
        assert self._socket is not None
        is_answer = self._stage is not Stage.OPEN
        if not is_answer:
            has_code = code != codes.NO_STATUS
            self.write(frames.close_frame(code, reason.encode()) if has_code else frames.frame(frames.CLOSE, b""))
        self._move(Happening.CLOSED)
        self.write = _unopened
        if not is_answer:
            self._tell(code, reason)
        self._close_socket()

    # How it goes on and ends

    @property
    def _receiver(self) -> Owner | Connection:
        return self._owner if self._direct is None else self._direct.connection

    @property
    def _counters(self) -> Counters:
        return self._gate.counters

    def _make_reader(self) -> FrameReader:
        receiver = _DEAF if self._stage is not Stage.OPEN else self._receiver
        self._reader = self._gate.reader(receiver, self, self._max_message_size, self._inflater)
        return self._reader

    def _read(self, reader: FrameReader, data: bytes) -> None:
        try:
            if reader.feed(data):
                self._rest()
        except ProtocolViolation as fault:
            self._fail(fault)

    def _rest(self) -> None:
        """Let others have a turn of the loop before this client's bytes are read on."""
        if not self._resting and self._socket is not None and not self._socket.is_closing():
            self._resting = True
            self._socket.pause_reading()
            asyncio.get_running_loop().call_soon(self._rested)

    def _rested(self) -> None:
        self._resting = False
        if self._reader is not None:
            self._reader.next_turn()
            if not self._reader.is_paused:
                self._go_on()

    def _go_on(self) -> None:
        """Read on: first what is held, then the socket."""
        self._reading_paused = False
        if self._reader is not None:
            self._reader.resume()
            if self._resting:
                return
            self._read(self._reader, b"")
        self._listen()

    def _listen(self) -> None:
        """Read from the socket, unless what came is not delivered yet."""
        held_up = self._resting or (self._reader is not None and self._reader.is_paused)
        if not held_up and self._socket is not None and not self._socket.is_closing():
            self._socket.resume_reading()

    def _move(self, happening: Happening) -> bool:
        following = _TABLE.get((self._stage, happening))
        if following is None:
            return False
        self._stage = following
        return True

    def _is_flood(self) -> bool:
        """Tell whether a control frame is one too many, or came too late; end the connection in the former case."""
        if self._stage is not Stage.OPEN:
            return True
        config = self._gate.config
        if not config.control_rate:
            return False
        now = asyncio.get_running_loop().time()
        self._controls_settled = max(self._controls_settled, now) + 1 / config.control_rate
        if self._controls_settled - now <= config.rate_burst:
            return False
        reason = f"more pings and pongs than {config.control_rate:g} per second"
        self._fail(ProtocolViolation(codes.POLICY_VIOLATION, reason, "control_floods"))
        return True

    def _fail(self, fault: ProtocolViolation) -> None:
        """End the connection because the client broke the protocol (§7.1.7)."""
        if self._socket is None or not self._move(Happening.FAULT):
            return
        setattr(self._counters, fault.counter, getattr(self._counters, fault.counter) + 1)
        logger.info("%s: closed with %d: %s", self._owner, fault.code, fault.reason)
        if self._reader is not None:
            self._reader.stop()
        if self._stage is Stage.LINGERING:
            self._linger()
            return
        self._close_code = fault.code
        self._set_timer(self._close_timeout, lambda: self.close(fault.code, codes.fit_reason(fault.reason)))
        self._receiver.drain(fault.code, fault.reason)

    def _linger(self) -> None:
        """Close when the client has seen why: with bytes unread it would be a reset, and the close frame be lost."""
        assert self._socket is not None
        if self._socket.can_write_eof():
            self._socket.write_eof()
            self._socket.resume_reading()
            self._set_timer(LINGER)
        else:
            self._close_socket()

    def _close_socket(self) -> None:
        """Close it behind what waits to be written, if the client takes that within ``close_timeout``."""
        assert self._socket is not None
        self._socket.close()
        if self._socket.get_write_buffer_size():
            self._set_timer(self._close_timeout)

    def _set_timer(self, seconds: float, action: Callable[[], None] | None = None) -> None:
        """Do ``action`` in ``seconds``, and not what was to be done before; without one, end the connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, action or self.abort)

    def _tell(self, code: int, reason: str = "") -> None:
        if not self._told:
            self._told = True
            self._receiver.lost(code, reason)


class _Deaf:
    """Takes the messages that come behind our close frame (RFC 6455 §1.4)."""

    def receive_text(self, payload: bytes) -> None:
        pass

    receive_binary = receive_text


_DEAF = _Deaf()
_PING = frames.frame(frames.PING, b"")


def _unopened(data: bytes) -> None:
    """Stand for ``write`` before the connection is open and after its close frame."""
