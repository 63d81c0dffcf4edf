"""One connection to a Redis server: bytes out, replies in.

It knows nothing of what is sent or answered; who opened it (``link``) takes the replies in their order, and is told
once when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import hiredis

from antiphon.engines.redis.options import Address, Options

__all__ = ["Connection", "dial", "pack"]

logger = logging.getLogger("antiphon.engines")

#: Bytes that the socket has not taken; over it nothing more is written, so that it is known not to have been sent.
_FULL = 1 << 20
_NOTHING = object()


def pack(*words: str | bytes | int) -> bytes:
    """Return a command as it is sent."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # what is declared means any number of words
    return packed


class Connection(asyncio.Protocol):
    """A connection that is open. ``run`` is the server's (``run.lua``), where it was asked for."""

    address: Address | None = None
    """Where it leads."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._reader.setmaxbuf(0)
        self._asked: asyncio.Future[Any] | None = None
        self._take: Callable[[Any], None] | None = None
        self.over: asyncio.Future[Exception | None] = self._loop.create_future()
        """Done when the connection is over."""
        self.heard_at = self._loop.time()
        """When something last came."""
        self.is_full = False
        self.on_room: Callable[[], None] | None = None
        """Called when it is no longer full."""
        self.run = ""

    def begin(self, take: Callable[[Any], None]) -> None:
        """Give every reply to ``take`` from now on."""
        self._take = take

    def write(self, data: bytes) -> None:
        """Send it; nothing happens where the connection is over."""
        if self._transport is not None and not self.over.done():
            self._transport.write(data)

    async def ask(self, *words: str | bytes) -> Any:
        """Send one command and return what is answered, before ``begin``; raise what Redis says is wrong."""
        if self.over.done():
            raise self.over.result() or ConnectionResetError()
        self._asked = self._loop.create_future()
        self.write(pack(*words))
        reply = await self._asked
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def abort(self, reason: Exception | None = None) -> None:
        """End it at once; ``over`` is done when this returns."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=_FULL)
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Take what is complete."""
        self.heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            while not self.over.done() and (reply := self._reader.gets()) is not _NOTHING:
                self._got(reply)
        except hiredis.ProtocolError as error:
            self.abort(ConnectionError(f"what it says is not Redis' protocol ({error})"))

    def _got(self, reply: Any) -> None:
        if self._take is not None:
            try:
                self._take(reply)
            except Exception:  # it is not to stop what comes behind it
                logger.exception("what Redis answered could not be taken: %.200r", reply)
        elif self._asked is not None and not self._asked.done():
            self._asked.set_result(reply)
        else:  # it speaks without being asked, such as "-DENIED …" and "-ERR max number of clients reached"
            self._end(reply if isinstance(reply, hiredis.ReplyError) else None)

    def pause_writing(self) -> None:
        """Take it that the socket takes no more."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Take it that it does again."""
        self.is_full = False
        if self.on_room is not None:
            self.on_room()

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(error)
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(error or ConnectionResetError())


async def dial(options: Options, address: Address, *, user: str, password: str) -> Connection:
    """Open a connection and say who we are; raise ``OSError``, ``hiredis.ReplyError``. It may take for ever."""
    loop = asyncio.get_running_loop()
    host, port = address
    if not port:
        _, connection = await loop.create_unix_connection(Connection, host)
    else:
        _, connection = await loop.create_connection(Connection, host, port, ssl=_context(options))
    connection.address = address
    try:
        if password:
            await connection.ask("AUTH", *([user] if user else []), password)
    except BaseException:
        connection.abort()
        raise
    return connection


def _context(options: Options) -> ssl.SSLContext | None:
    if not options.tls:
        return None
    context = ssl.create_default_context(cafile=options.ca or None)
    if options.verify == "no":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
