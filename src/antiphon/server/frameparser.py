"""picows as a frame parser behind a handshake that was done elsewhere.

picows' protocol class does a handshake of its own before it reads frames. It is fed a request of ours that it accepts,
and its answer is dropped, so that the application's answer, with its headers, is the only one on the wire.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from picows import WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import (  # type: ignore[attr-defined]
    WSAutoPingStrategy,
    WSListener,
    WSProtocol,
)

__all__ = ["feed", "open_parser"]

logger = logging.getLogger("antiphon.server")

#: picows pays this per connection, in bytes, 2048 at least; the buffer grows when a frame is larger.
READ_BUFFER = 2048

_REQUEST = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


#: Takes the close code and the reason.
FaultListener = Callable[[int, str], None]


class _NoAnswer(WSUpgradeResponse):
    """The answer to the request of ours: nothing. One object serves all connections."""

    __slots__ = ()

    def __init__(self) -> None:
        self.version = b"HTTP/1.1"
        self.status = HTTPStatus.SWITCHING_PROTOCOLS
        self.headers: Any = {}
        self.body = None

    def to_bytes(self) -> bytearray:
        return bytearray()


class _Log:
    """picows' logger. It tells each connection at INFO, which is too much, and each fault of the client at ERROR, just
    before it writes a close frame: that is passed on to the listener, who would hear of it when the socket is closed.

    It is no ``logging.Logger`` on purpose: picows would make one more for each connection.
    """

    __slots__ = ("_told",)

    def __init__(self, told: FaultListener) -> None:
        self._told = told

    def isEnabledFor(self, level: int) -> bool:
        return False

    def debug(self, message: str, *args: object) -> None:
        pass

    info = log = debug

    def warning(self, message: str, *args: object) -> None:
        logger.debug(message, *args)

    def error(self, message: str, *args: Any) -> None:
        logger.debug(message, *args)
        if message.startswith("WS parser error"):
            code, reason = args[0]
            self._told(getattr(code, "value", code), reason)

    def exception(self, message: str, *args: object) -> None:
        logger.exception(message, *args)


_no_answer = _NoAnswer()


def open_parser(
    transport: asyncio.Transport, listener: WSListener, max_frame_size: int, fault: FaultListener
) -> WSProtocol:
    """Return a protocol that reads frames from ``transport`` and tells ``listener``.

    ``fault`` is told code and reason when the parser finds a fault of the client, before it writes its close frame.
    """
    parser = WSProtocol(
        None,
        None,
        False,
        lambda request: WSUpgradeResponseWithListener(_no_answer, listener),
        _Log(fault),
        True,
        None,
        False,
        0,
        0,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        True,
        max_frame_size,
        None,
        READ_BUFFER,
    )
    made_of = transport.get_extra_info("socket")
    parser.connection_made(transport if made_of.family != _UNIX else _UnixTransport(transport))
    feed(parser, _REQUEST)
    request = parser.transport.request  # kept as long as the connection lives, and of no use
    request.method = request.path = request.version = request.headers = None
    return parser


def feed(parser: WSProtocol, data: bytes) -> None:
    """Hand ``data`` to the parser as if the socket had brought it."""
    while data:
        buffer = parser.get_buffer(-1)
        length = min(len(buffer), len(data))
        buffer[:length] = data[:length]
        parser.buffer_updated(length)
        data = data[length:]


_UNIX = getattr(socket, "AF_UNIX", None)


class _UnixSocket:
    """A Unix socket as picows sees it: it sets options of TCP, which such a socket does not have."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def setsockopt(self, *args: object) -> None:
        pass

    def getsockopt(self, *args: object) -> int:
        return 0


class _UnixTransport:
    """A transport whose socket takes TCP's options without an error."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return _UnixSocket(self._transport.get_extra_info("socket").fileno())
        return self._transport.get_extra_info(name, default)
