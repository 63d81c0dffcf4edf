"""A small TCP proxy between a client and a server: it cuts, holds up and turns away what the test says."""

from __future__ import annotations

import asyncio
import socket

from .clients import linger_zero
from .servers import Server

__all__ = ["Proxy"]


class Proxy:
    """Passes bytes on. ``async with`` starts and ends it."""

    def __init__(self, server: Server, *, receive_buffer: int | None = None) -> None:
        self._server = server
        self._receive_buffer = receive_buffer
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_away = False
        self.accepted = 0
        """How many connections came."""
        self.turned_away = 0
        """How many came while the server was away."""

    async def __aenter__(self) -> Proxy:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._listener is not None
        self._listener.close()
        self.resume()
        self.go_away()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str) -> str:
        """Return the address of ``path`` behind this proxy."""
        assert self._listener is not None
        return f"ws://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}{path}"

    def cut(self) -> None:
        """End every connection with a reset, towards both sides."""
        for writer in self._writers:
            if not writer.transport.is_closing():
                linger_zero(writer.get_extra_info("socket"))
            writer.transport.abort()
        self._writers.clear()

    def go_away(self) -> None:
        """End every connection, and let no new one through."""
        self._is_away = True
        self.cut()

    def come_back(self) -> None:
        """Let connections through again."""
        self._is_away = False

    def turn_to(self, server: Server) -> None:
        """Pass new connections to another server."""
        self._server = server

    def hold(self) -> None:
        """Read nothing more from the server."""
        self._flows.clear()

    def resume(self) -> None:
        """Read from the server again."""
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        upstream = None if self._is_away else await self._dial()
        if upstream is None or self._is_away:
            self.turned_away += 1
        else:
            await self._pass_on(reader, writer, *upstream)
        for each in (writer, *(upstream or ())[1:]):
            each.transport.abort()
            await asyncio.gather(each.wait_closed(), return_exceptions=True)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        upstream = socket.socket()
        if self._receive_buffer is not None:
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        upstream.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(upstream, (self._server.host, self._server.port))
        except OSError:
            upstream.close()
            return None
        return await asyncio.open_connection(sock=upstream, limit=16 * 1024)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._writers |= {writer, to_server}
        await asyncio.gather(
            self._pump(reader, to_server, holds=False),
            self._pump(from_server, writer, holds=True),
        )
        self._writers -= {writer, to_server}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, holds: bool) -> None:
        try:
            while True:
                if holds:
                    await self._flows.wait()
                data = await reader.read(16 * 1024)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            writer.transport.abort()
        else:
            writer.close()
