"""Clients: ``websockets`` with bounded waiting, and a bare socket for what no client library does."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from .servers import PATIENCE, Server

__all__ = [
    "Client",
    "Closed",
    "Wire",
    "closed_with",
    "connect",
    "eventually",
    "exchange",
    "frame",
    "release_all",
    "upgrade_request",
]

#: What tests have opened and not closed; a test that fails leaves some.
_open: list[Client | Wire] = []

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class Closed(NamedTuple):
    """How a connection ended."""

    code: int
    reason: str


class Client:
    """A WebSocket of the ``websockets`` package."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        _open.append(self)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.wait_for(self.websocket.close(), PATIENCE)

    async def send(self, message: str | bytes | Iterable[str | bytes]) -> None:
        """Send a message; of an iterable, each item is a fragment."""
        await asyncio.wait_for(self.websocket.send(message), PATIENCE)

    async def send_json(self, content: Any) -> None:
        """Send a JSON document."""
        await self.send(json.dumps(content))

    async def receive(self) -> str | bytes:
        """Return the next message."""
        return await asyncio.wait_for(self.websocket.recv(), PATIENCE)

    async def receive_json(self) -> Any:
        """Return the next message, a JSON document in a text frame."""
        message = await self.receive()
        assert isinstance(message, str)
        return json.loads(message, parse_constant=_no_json)

    async def ask(self, content: Any) -> Any:
        """Send a JSON document and return the next message."""
        await self.send_json(content)
        return await self.receive_json()

    async def closed(self) -> Closed:
        """Wait for the end; a message before it is a failure."""
        try:
            message = await self.receive()
        except ConnectionClosed as end:
            return Closed(end.rcvd.code, end.rcvd.reason) if end.rcvd is not None else Closed(1006, "")
        raise AssertionError(f"a message instead of the end: {message!r}")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close from this side."""
        await asyncio.wait_for(self.websocket.close(code, reason), PATIENCE)

    def vanish(self) -> None:
        """End the TCP connection without a close frame."""
        self.websocket.transport.abort()

    def reset(self) -> None:
        """End the TCP connection with RST."""
        linger_zero(self.websocket.transport.get_extra_info("socket"))
        self.websocket.transport.abort()


async def release_all() -> None:
    """End every connection that a test has left open."""
    while _open:
        connection = _open.pop()
        if isinstance(connection, Wire):
            connection.close()
        else:
            connection.vanish()
            await asyncio.wait_for(connection.websocket.wait_closed(), PATIENCE)


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def closed_with(server: Server, end: Closed, code: int, reason: str | None = None) -> bool:
    """Tell whether ``end`` is what a client of this server sees of a close with ``code`` and ``reason``."""
    if server.kind is not None and not server.kind.sends_codes:
        return end.code != 1006 and (end.code == code or not (code == 1000 or code >= 3000))
    return end.code == code and reason in (None, end.reason)


async def connect(server: Server, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> Client:
    """Open a WebSocket."""
    options = {"open_timeout": PATIENCE, "close_timeout": PATIENCE, "ping_interval": None, "proxy": None, **options}
    return Client(await open_websocket(server.url(path), additional_headers=headers, **options))


async def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until ``condition()`` is true and return what it returned."""
    async with asyncio.timeout(PATIENCE):
        try:
            while not (result := condition()):
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}") from None
    return result


def linger_zero(connection: Any) -> None:
    """Make closing ``connection`` a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def upgrade_request(path: str, *lines: str, without: Iterable[str] = ()) -> bytes:
    """Return a request to open a WebSocket; ``lines`` are further headers, which replace those of the same name."""
    headers = {
        "host": "127.0.0.1",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    replaced = {line.partition(":")[0].lower() for line in lines} | set(without)
    kept = [f"{name}: {value}" for name, value in headers.items() if name not in replaced]
    return "\r\n".join([f"GET {path} HTTP/1.1", *kept, *lines, "", ""]).encode("latin-1")


class Wire:
    """A bare TCP connection that reads only when told to."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self.head = b""
        _open.append(self)

    @classmethod
    async def dial(cls, server: Server, *, receive_buffer: int | None = None) -> Wire:
        """Open the TCP connection."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        wire = cls(connection)
        await asyncio.wait_for(wire._loop.sock_connect(connection, (server.host, server.port)), PATIENCE)
        return wire

    @classmethod
    async def open(cls, server: Server, path: str, *headers: str, receive_buffer: int | None = None) -> Wire:
        """Open a WebSocket; ``headers`` are lines of the request."""
        wire = await cls.dial(server, receive_buffer=receive_buffer)
        try:
            await wire.write(upgrade_request(path, *headers))
            await wire.read_head()
            assert wire.status == 101, wire.head
        except BaseException:
            wire.close()
            raise
        return wire

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._socket.close()

    @property
    def status(self) -> int:
        """The status of the HTTP answer."""
        return int(self.head.split(b" ", 2)[1])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the HTTP answer, names in lower case."""
        lines = [line.partition(b":") for line in self.head.split(b"\r\n")[1:] if line]
        return [(name.lower(), value.strip()) for name, _, value in lines]

    async def write(self, data: bytes) -> None:
        """Write bytes."""
        await asyncio.wait_for(self._loop.sock_sendall(self._socket, data), PATIENCE)

    async def send_frame(self, opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0) -> None:
        """Send one masked frame; ``reserved`` are the bits 0x40, 0x20, 0x10."""
        await self.write(frame(opcode, payload, final=final, reserved=reserved))

    async def read_head(self) -> None:
        """Read an HTTP answer up to its empty line."""
        while b"\r\n\r\n" not in self._buffer:
            assert await self._fill(), f"the connection ended within the answer: {self._buffer!r}"
        self.head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")

    async def receive_frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame; ``EOFError`` at the end of the connection."""
        first, second = await self._read(2)
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await self._read(2), "big")
        elif length == 127:
            length = int.from_bytes(await self._read(8), "big")
        return first & 0x0F, await self._read(length)

    async def closed(self) -> Closed:
        """Read up to the close frame, or the end (1006)."""
        try:
            while True:
                opcode, payload = await self.receive_frame()
                if opcode == CLOSE:
                    return Closed(int.from_bytes(payload[:2], "big") or 1005, payload[2:].decode())
        except (EOFError, ConnectionError):
            return Closed(1006, "")

    async def read_to_end(self) -> bytes:
        """Return all that comes until the other side ends the connection."""
        while await self._fill():
            pass
        data, self._buffer = self._buffer, b""
        return data

    def reset(self) -> None:
        """End the connection with RST."""
        linger_zero(self._socket)
        self._socket.close()

    def finish(self) -> None:
        """Tell that nothing more comes from this side."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side ended it before

    def detach(self) -> socket.socket:
        """Return the socket, for somebody else to read and close."""
        assert not self._buffer, "something was read already"
        _open.remove(self)
        return self._socket

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    async def _read(self, length: int) -> bytes:
        while len(self._buffer) < length:
            if not await self._fill():
                raise EOFError
        data, self._buffer = self._buffer[:length], self._buffer[length:]
        return data

    async def _fill(self) -> bool:
        data = await asyncio.wait_for(self._loop.sock_recv(self._socket, 65536), PATIENCE)
        self._buffer += data
        return bool(data)


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0) -> bytes:
    """Return one masked frame (RFC 6455 §5.2)."""
    key = os.urandom(4)
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    first = (0x80 if final else 0) | reserved | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, 0x80 | len(payload)) + key + masked
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 0x80 | 126, len(payload)) + key + masked
    return struct.pack("!BBQ", first, 0x80 | 127, len(payload)) + key + masked


async def exchange(server: Server, request: bytes) -> Wire:
    """Send a request and return the connection, whose HTTP answer was read."""
    wire = await Wire.dial(server)
    try:
        await wire.write(request)
        await wire.read_head()
    except BaseException:
        wire.close()
        raise
    return wire
