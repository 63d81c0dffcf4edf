"""A line between one client and the server, which can be cut, stall, and take its time."""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from tests.integration.clients import linger_zero

__all__ = ["Line"]

#: What the line takes from the server while the client does not read, or the line stalls.
_BUFFER = 8 * 1024


class Line:
    """Listens on a port of its own, and passes on what comes to the server and back."""

    def __init__(self, host: str, port: int) -> None:
        self._server_address = host, port
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self.port = 0
        self.delay = 0.0
        """Seconds that it takes each way."""
        self.stalls = False
        """Whether nothing is passed on from the server."""
        self.opened_at = self.broken_at = 0.0
        """When a connection last reached the server, and when the server last ended one, by the loop's clock."""

    async def open(self) -> None:
        """Begin to listen."""
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self.port = listening.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Link(self).near, sock=listening)

    def cut(self, *, reset: bool = False) -> bool:
        """End all connections without a word; tell whether there were any."""
        links, self._links = self._links, set()
        for link in links:
            link.cut(reset=reset)
        return bool(links)

    def stall(self, stalls: bool) -> None:
        """Pass on nothing from the server, or go on."""
        self.stalls = stalls
        for link in self._links:
            link.flow()

    def add(self, link: _Link) -> None:
        """Note a connection."""
        self._links.add(link)

    def discard(self, link: _Link) -> None:
        """Forget a connection that is over."""
        self._links.discard(link)

    async def close(self) -> None:
        """End everything."""
        self.cut()
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()

    async def reach_server(self, link: _Link) -> None:
        """Connect one of its connections to the server."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(connection, self._server_address)
            await loop.create_connection(lambda: link.far, sock=connection)
            self.opened_at = loop.time()
        except OSError:
            connection.close()
            link.cut()


class _Link:
    """One connection through the line, by its two ends."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.near = _End(self, is_near=True)
        self.far = _End(self, is_near=False)
        self.near.other, self.far.other = self.far, self.near
        self._task: asyncio.Task[None] | None = None
        self._is_cut = False

    def opened(self) -> None:
        """Reach for the server: a client is there."""
        self.line.add(self)
        self._task = asyncio.get_running_loop().create_task(self.line.reach_server(self))

    def flow(self) -> None:
        """Let it stall, or go on."""
        self.far.flow()
        self.near.flow()

    def cut(self, *, reset: bool = False) -> None:
        """End both ends without a word."""
        self._is_cut = True
        self.line.discard(self)
        for end in (self.near, self.far):
            if end.transport is not None:
                if reset and not end.transport.is_closing():
                    linger_zero(end.transport.get_extra_info("socket"))
                end.transport.abort()

    def ended(self, end: _End) -> None:
        """End the other end, behind what is on its way to it."""
        if end is self.far and not self.near.is_over and not self._is_cut:
            self.line.broken_at = asyncio.get_running_loop().time()
        if end.other.transport is None or end.other.is_over:
            self.line.discard(self)
        end.other.finish()


class _End(asyncio.Protocol):
    """One end: what comes here goes to the other."""

    other: _End

    def __init__(self, link: _Link, *, is_near: bool) -> None:
        self._link = link
        self._is_near = is_near
        self.transport: asyncio.Transport | None = None
        self._waiting: deque[bytes] = deque()
        """What is on its way from here to the other end."""
        self._other_is_full = False
        self.is_over = False
        self._finishes = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=_BUFFER)
        if self._is_near:
            transport.pause_reading()
            self._link.opened()
        elif self.other.is_over:
            transport.abort()
        else:
            self._link.flow()

    def data_received(self, data: bytes) -> None:
        """Pass it on, now or later."""
        delay = self._link.line.delay
        if delay or self._waiting:
            self._waiting.append(data)
            asyncio.get_running_loop().call_later(delay, self._release)
        else:
            self._pass_on(data)

    def _release(self) -> None:
        self._pass_on(self._waiting.popleft())
        if not self._waiting and self._finishes:
            self._link.ended(self)

    def _pass_on(self, data: bytes) -> None:
        transport = self.other.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def pause_writing(self) -> None:
        """Take nothing more at the other end."""
        self.other._other_is_full = True
        self.other.flow()

    def resume_writing(self) -> None:
        """Take again."""
        self.other._other_is_full = False
        self.other.flow()

    def flow(self) -> None:
        """Read, or leave it."""
        if self.transport is None or self.transport.is_closing():
            return
        stalls = self._link.line.stalls and not self._is_near
        if stalls or self._other_is_full or self.other.transport is None:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def finish(self) -> None:
        """End, behind what waits to be written."""
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other end too, when it has got what is on its way."""
        self.is_over = True
        if self._waiting:
            self._finishes = True
        else:
            self._link.ended(self)
