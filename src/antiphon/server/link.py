"""The frames of one connection: between picows, which cuts them out of the stream, and whoever takes the messages.

A link is picows' listener for one connection. Its messages go to a ``Receiver``: the ASGI side of the protocol class,
or a consumer's connection that claimed them. It implements ``transport.Link``.

picows' parser costs about 4 KiB and a good part of the time that a connection takes to open, so a connection gets one
when its client first sends a message. Until then the protocol class hands what comes to ``data_received``, which knows
the frames that a client who only listens does send: pongs, pings, a close frame.

Laws:
- a close frame is written once and nothing after it;
- whoever receives is told of the end once, with the code: the client's, ours, or 1006 where there was none.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Protocol

from picows.picows import WSFrame, WSListener, WSMsgType, WSTransport

from antiphon import codes, frames
from antiphon.fanout import NO_DESCRIPTOR
from antiphon.server import frameparser
from antiphon.transport import DirectTransport

__all__ = ["Link", "Owner", "Receiver"]

_TEXT = WSMsgType.TEXT
_BINARY = WSMsgType.BINARY
_CONTINUATION = WSMsgType.CONTINUATION
_CLOSE = WSMsgType.CLOSE
_PONG = WSMsgType.PONG
_OPCODES = {_TEXT: frames.TEXT, _BINARY: frames.BINARY, _CONTINUATION: frames.CONTINUATION}


class Receiver(Protocol):
    """Who takes the messages of a link."""

    def receive_text(self, payload: bytes) -> None:
        """Take a text message; ``payload`` is UTF-8."""

    def receive_binary(self, payload: bytes) -> None:
        """Take a binary message."""

    def lost(self, code: int, reason: str = "") -> None:
        """Take note that the connection is over."""


class Owner(Receiver, Protocol):
    """The protocol class of a link, an ``asyncio.Protocol``; it takes the messages where no consumer does."""

    def link_ended(self) -> None:
        """The link's socket is closed."""

    def hold_sending(self) -> None:
        """The socket's buffer is full."""

    def resume_sending(self) -> None:
        """The socket's buffer has room."""


class Link(WSListener):
    """picows' listener for one connection."""

    __slots__ = (
        "_assembler",
        "_close_sent",
        "_close_timeout",
        "_close_timer",
        "_direct",
        "_faulty",
        "_owner",
        "_receiver",
        "_socket",
        "_told",
        "awaits_pong",
        "context",
        "descriptor",
        "max_message_size",
        "write",
    )

    def __init__(
        self, owner: Owner, context: contextvars.Context, *, max_message_size: int, close_timeout: float
    ) -> None:
        self.context = context
        self.max_message_size = max_message_size
        self.awaits_pong = 0
        self.descriptor = NO_DESCRIPTOR
        self.write: Callable[[bytes], None] = _unopened
        self._owner = owner
        self._receiver: Receiver = owner
        self._direct: DirectTransport | None = None
        self._assembler: frames.Assembler | None = None
        self._socket: asyncio.Transport | None = None
        self._close_sent = 0
        self._faulty = False
        self._close_timeout = close_timeout
        self._close_timer: asyncio.TimerHandle | None = None
        self._told = False

    # transport.Link

    def claim(self, transport: DirectTransport, *, max_message_size: int, close_timeout: float) -> None:
        """Let a consumer's transport have the messages, within antiphon's limits instead of the server's."""
        self._direct = transport
        self.max_message_size = max_message_size
        self._close_timeout = close_timeout

    def close(self, code: int, reason: bytes) -> None:
        """Write a close frame; wait for the client's until the timeout (RFC 6455 §7.1.2)."""
        if self._close_sent or self._socket is None:
            return
        self._close_sent = code
        if not self._told:
            self.write(frames.frame(frames.CLOSE, code.to_bytes(2, "big") + reason))
        self.write = _unopened
        self._socket.resume_reading()
        self._close_timer = asyncio.get_running_loop().call_later(self._close_timeout, self.abort)

    def abort(self) -> None:
        """End the connection at once."""
        if self._socket is not None:
            self._socket.abort()

    def pause_reading(self) -> None:
        """Stop reading from the socket."""
        if self._socket is not None and not self._close_sent:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Read from the socket again."""
        if self._socket is not None and not self._socket.is_closing():
            self._socket.resume_reading()

    def shut_down(self, code: int) -> None:
        """Close because the server stops; a consumer first handles the messages that it has."""
        if self._direct is not None:
            self._direct.connection.drain(code)
        else:
            reason = codes.default_reason(code)
            self.close(code, codes.fit_reason(reason))
            self._tell(code, reason)

    @property
    def is_closing(self) -> bool:
        """Tell whether a close frame was written or the client is gone."""
        return bool(self._close_sent) or self._told

    def ping(self) -> None:
        """Write a ping frame; ``awaits_pong`` until the client answers."""
        if not self.is_closing:
            self.awaits_pong = 1
            self.write(_PING)

    def ping_unanswered(self) -> None:
        """End the connection: the client is gone without a word."""
        self._fail(codes.INTERNAL_ERROR, "keepalive ping timeout")

    # What the protocol class calls

    def open(self, socket: asyncio.Transport) -> None:
        """Take the socket, whose handshake was answered."""
        self._socket = socket
        self.write = socket.write
        if self._direct is not None:
            self._receiver = self._direct.connection
            # Whatever the socket does not take at once makes it pause: the descriptor is then left alone.
            socket.set_write_buffer_limits(high=0)
            if socket.get_extra_info("sslcontext") is None:
                self.descriptor = socket.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Take the first bytes of the client: a control frame, or the reason to have a parser from now on."""
        if self._socket is None or self._socket.is_closing() or self._faulty:
            return
        control = frames.lone_control_frame(data)
        if control is not None:
            self._take_control(*control)
            return
        parser = frameparser.open_parser(self._socket, self, self.max_message_size, self._parser_fault)
        self._socket.set_protocol(parser)
        frameparser.feed(parser, data)

    def lost(self, code: int, reason: str = "") -> None:
        """Take note that the socket is closed; ``code`` tells why where no close frame does."""
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        if self._direct is not None:
            self._receiver = self._direct.connection  # also where it was lost before it was accepted
        self._tell(self._close_sent or code, reason)
        self.write = _unopened
        self.descriptor = NO_DESCRIPTOR
        self._socket = None
        self._owner.link_ended()

    # picows.WSListener

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame; the shortest way is that of an unfragmented text message."""
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(codes.PROTOCOL_ERROR, "reserved bits are set")
        elif kind is _TEXT and frame.fin and self._assembler is None:
            payload = frame.get_payload_as_bytes()
            if not payload.isascii() and not _is_utf8(payload):
                self._fail(codes.INVALID_DATA, codes.default_reason(codes.INVALID_DATA))
            elif not self._close_sent:
                self._receiver.receive_text(payload)
        elif kind is _CLOSE:
            self._client_closes(frame.get_payload_as_bytes())
        elif kind is _PONG:
            self.awaits_pong = 0
        elif kind in _OPCODES:
            self._assemble(_OPCODES[kind], bool(frame.fin), frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell that the connection is over."""
        self.lost(codes.ABNORMAL)

    def pause_writing(self) -> None:
        """Tell that the socket's buffer is full."""
        if self._direct is not None:
            self._direct.pause_writing()
        else:
            self._owner.hold_sending()

    def resume_writing(self) -> None:
        """Tell that the socket's buffer has room."""
        if self._direct is not None:
            self._direct.resume_writing()
        else:
            self._owner.resume_sending()

    def _assemble(self, opcode: int, fin: bool, payload: bytes) -> None:
        if self._assembler is None:
            self._assembler = frames.Assembler(self.max_message_size)
        try:
            message = self._assembler.feed(opcode, fin, payload)
        except frames.ProtocolViolation as fault:
            self._fail(fault.code, fault.reason)
            return
        if message is None:
            return
        self._assembler = None
        if self._close_sent:
            return
        if message[0] == frames.TEXT:
            self._receiver.receive_text(message[1])
        else:
            self._receiver.receive_binary(message[1])

    def _take_control(self, opcode: int, payload: bytes) -> None:
        """Do what picows does for a client that has a parser."""
        if opcode == frames.CLOSE:
            self._client_closes(payload)
        elif opcode == frames.PONG:
            self.awaits_pong = 0
        elif not self._close_sent:
            self.write(frames.frame(frames.PONG, payload))

    def _client_closes(self, payload: bytes) -> None:
        """Answer the client's close frame, or end where it is the answer to ours (RFC 6455 §5.5.1)."""
        assert self._socket is not None
        if not self._close_sent:
            code = int.from_bytes(payload[:2], "big") if payload else codes.NO_STATUS
            self._tell(code, payload[2:].decode("utf-8", "replace"))
            self.write(frames.frame(frames.CLOSE, payload))
        self._close_sent = self._close_sent or codes.NORMAL
        self.write = _unopened
        self._socket.close()

    def _fail(self, code: int, reason: str) -> None:
        """End the connection because the client broke the protocol."""
        self.close(code, codes.fit_reason(reason))
        self._tell(code, reason)
        if self._socket is not None:
            self._socket.close()

    def _parser_fault(self, code: int, reason: str) -> None:
        """Let picows close: it writes a close frame next and ends the socket soon; what comes until then is dropped."""
        if self._socket is None:
            return
        self._faulty = True
        self._close_sent = self._close_sent or code
        self._tell(code, reason)
        self.write = _unopened
        self._socket.set_protocol(self._owner)  # type: ignore[arg-type]

    def _tell(self, code: int, reason: str = "") -> None:
        if not self._told:
            self._told = True
            self._receiver.lost(code, reason)


_PING = frames.frame(frames.PING, b"")


def _unopened(data: bytes) -> None:
    """Stand for ``write`` before the connection is open and after its close frame."""


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
