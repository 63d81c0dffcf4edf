"""How a connection's chunks reach the client: two siblings with the same methods in the same order.

``DirectTransport`` writes frames to the socket of antiphon's own server, through a *link* that the server passes in the
ASGI scope; ``ASGITransport`` uses ``send`` and ``receive`` of any ASGI server. Both do the handshake by ASGI events, so
that middleware sees it.

Laws:
- chunks reach the client in the order of ``write``; ``close`` comes after them;
- what waits for a slow client is bounded by the outbox; when that is full, ``client_is_slow`` is told, once;
- what the outbox leaves out is counted at once, and told to the client before it gets more of the same group;
- ``finish`` leaves no task behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import http
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from antiphon import codes
from antiphon.connection import Connection
from antiphon.droppable import Part, parts
from antiphon.formats import MESSAGES, Chunk, Format
from antiphon.outbox import Outbox
from antiphon.types import Position, Receive, Scope, Send

__all__ = ["ASGITransport", "DirectTransport", "Link", "Transport"]

logger = logging.getLogger("antiphon.transport")

#: How many bytes of what waited are handed to the socket at once: each write is a system call.
BATCH = 64 * 1024


class Link(Protocol):
    """What antiphon's server offers an application under ``scope["extensions"]["antiphon"]``."""

    context: contextvars.Context
    """The context that the application's task runs in."""

    @property
    def format(self) -> Format:
        """Return what chunks look like to this client: frames, compressed or not."""

    def claim(self, transport: DirectTransport, *, max_message_size: int, close_timeout: float) -> None:
        """Let ``transport`` have the messages, not ``receive``; call it before the connection is accepted."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Return the function that writes bytes to the socket; call it after the connection was accepted.

        It calls ``pause_writing`` before it returns where the socket did not take everything.
        """

    @property
    def descriptor(self) -> int:
        """Return the socket's file descriptor where plain bytes may be sent to it, else ``NO_DESCRIPTOR``."""

    def close(self, code: int, reason: bytes) -> None:
        """Write a close frame and end the connection when the client has answered it, or after a timeout."""

    def abort(self) -> None:
        """End the connection at once."""

    def pause_reading(self) -> None:
        """Stop reading from the socket."""

    def resume_reading(self) -> None:
        """Read from the socket again."""


class Transport(Protocol):
    """What a connection needs of its transport."""

    @property
    def format(self) -> Format:
        """What chunks look like."""

    context: contextvars.Context | None
    """The context of the task that runs the connection, where it is known."""

    def attach(self, connection: Connection) -> None:
        """Remember whom to tell."""

    async def accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Accept the handshake; raise ``OSError`` if the client is gone."""

    async def refuse(self, status: int) -> None:
        """Refuse the handshake with an HTTP status, unless it was answered already."""

    def listen(self) -> None:
        """Tell the connection from now on what comes in, and that the client is gone."""

    def write(self, chunk: Chunk) -> None:
        """Write ``chunk``, or keep it in the outbox."""

    def drop(self, chunk: Chunk) -> None:
        """Take the place of ``write`` for a client that is gone."""

    def close(self, code: int, reason: bytes) -> None:
        """Close behind all that was written."""

    async def finish(self) -> None:
        """Wait until what was written is out or the time for it is over, and end what is still running."""

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""

    def resume_reading(self) -> None:
        """Go on with taking."""

    def gap(self, group: str, position: Position) -> None:
        """Tell the client that publications of a group are lost, and where its stream is now."""


async def _refuse(scope: Scope, send: Send, status: int) -> None:
    """Answer the handshake with ``status``: plain ASGI knows 403 only, the denial extension any."""
    with contextlib.suppress(OSError):
        if status == 403 or "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1000, "reason": ""})
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": http.HTTPStatus(status).phrase.encode()})


class _Handshake:
    """What the siblings share: whom to tell, and the answer to the handshake."""

    __slots__ = ("_answered", "_connection", "_scope", "_send")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._answered = False
        self._connection: Connection | None = None

    def attach(self, connection: Connection) -> None:
        """Remember whom to tell."""
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """The connection that this transport serves."""
        assert self._connection is not None
        return self._connection

    async def refuse(self, status: int) -> None:
        """Refuse by ASGI's events."""
        if not self._answered:
            self._answered = True
            await _refuse(self._scope, self._send, status)

    def _keep(self, outbox: Outbox[Any], parts: list[Part]) -> None:
        """Put ``parts`` into the outbox; where it is full, drop everything and tell the connection."""
        size, left_out = self.connection.format.size, outbox.left_out
        kept = 0
        for chunk, source in parts:
            if not outbox.put(chunk, size(chunk), source):
                break
            kept += 1
        if outbox.left_out > left_out:
            self.connection.client_missed(outbox.left_out - left_out)
        if kept < len(parts):
            dropped = outbox.clear() + sum(size(chunk) for chunk, _ in parts[kept:])
            self.connection.client_is_slow(dropped)

    def _next(self, outbox: Outbox[Any]) -> Chunk | None:
        """Take what the client gets next out of the outbox: word of what it missed, or a chunk; None: nothing now."""
        missed = outbox.take_missed()
        return outbox.take() if missed is None else self.connection.missed_frame(*missed)

    def _caught_up(self, outbox: Outbox[Any]) -> None:
        """Tell the connection that nothing waits any more, if anything was left out until here."""
        if outbox.left_out:
            self.connection.client_caught_up(outbox.caught_up())

    def gap(self, group: str, position: Position) -> None:
        """Send an error frame."""
        self.connection.send_gap(group, position)

    async def _accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._answered = True
        try:
            await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers)})
        except BaseException:
            self._answered = False
            raise


class DirectTransport(_Handshake):
    """Frames straight to the socket of antiphon's server."""

    __slots__ = (
        "_closed",
        "_link",
        "_outbox",
        "_outbox_limit",
        "context",
        "format",
    )

    def __init__(
        self,
        link: Link,
        scope: Scope,
        send: Send,
        *,
        outbox_limit: int,
        max_message_size: int,
        close_timeout: float,
    ) -> None:
        super().__init__(scope, send)
        self.format: Format = link.format
        self.context: contextvars.Context | None = link.context
        self._link = link
        self._outbox_limit = outbox_limit
        self._outbox: Outbox[bytes] | None = None
        self._closed = False
        link.claim(self, max_message_size=max_message_size, close_timeout=close_timeout)

    async def accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Accept by ASGI's event; from then on chunks go to the socket."""
        await self._accept(subprotocol, headers)
        self.resume_writing()

    def listen(self) -> None:
        """Do nothing: a claimed link tells everything by itself."""

    def write(self, chunk: Chunk) -> None:
        """Keep ``chunk``: the socket takes no more at the moment. (While it does, the link's own write is used.)"""
        outbox = self._outbox
        if outbox is None:
            outbox = self._outbox = Outbox(self._outbox_limit)
        self._keep(outbox, parts(chunk))

    def drop(self, chunk: Chunk) -> None:
        """Do nothing; the connection is over."""

    def close(self, code: int, reason: bytes) -> None:
        """Write what waits, whatever the socket says, and the close frame behind it."""
        self._closed = True
        self._write_out()
        self._link.close(code, reason)

    async def finish(self) -> None:
        """Return at once: the link waits for the client's close frame by itself."""

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""
        self._link.pause_reading()

    def resume_reading(self) -> None:
        """Go on with taking."""
        self._link.resume_reading()

    def pause_writing(self) -> None:
        """Keep chunks in the outbox until ``resume_writing``; the link calls it when the socket's buffer is full."""
        if not self._closed:
            self.connection.write_by(self.write)

    def resume_writing(self) -> None:
        """Write what waits and go back to the socket."""
        if not self._closed:
            self.connection.write_by(self._link.write)
            self._write_out()
            if self.connection.write != self.write:
                self.connection.write_by(self._link.write, self._link.descriptor)

    def _write_out(self) -> None:
        """Hand the socket what waits, until it is full again."""
        outbox = self._outbox
        if outbox is None:
            return
        while outbox and self._is_writing:
            if batch := self._batch(outbox):
                self._link.write(self.format.join(batch))
        if self._is_writing:
            self._caught_up(outbox)

    @property
    def _is_writing(self) -> bool:
        """Whether what waits goes to the socket: it has room, or what it has not goes out before the end."""
        return self._closed or self.connection.write != self.write

    def _batch(self, outbox: Outbox[bytes]) -> list[bytes]:
        """Take chunks out of the outbox until they are worth a write."""
        batch: list[bytes] = []
        size = 0
        while outbox and size < BATCH:
            chunk = self._next(outbox)
            if chunk is not None:
                batch.append(chunk)
                size += len(chunk)
        return batch


class ASGITransport(_Handshake):
    """Messages by ``send`` and ``receive`` of any ASGI server."""

    format: Format = MESSAGES

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, outbox_limit: int, close_timeout: float) -> None:
        super().__init__(scope, send)
        self.context: contextvars.Context | None = None
        # Not that of whoever accepts or closes: a handler's thread, which asgiref notes there, does not stay.
        self._tasks_context = contextvars.copy_context()
        self._receive = receive
        self._outbox: Outbox[tuple[str | bytes, ...]] = Outbox(outbox_limit)
        self._close_timeout = close_timeout
        self._close: dict[str, Any] | None = None
        self._accepted = False
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()

    async def accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Accept by ASGI's event and begin to receive."""
        await self._accept(subprotocol, headers)
        self._accepted = True
        self.listen()
        if self._outbox:
            self._start_writer()

    def listen(self) -> None:
        """Start the task that receives."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), context=self._tasks_context.copy())

    def write(self, chunk: Chunk) -> None:
        """Keep ``chunk`` for the task that sends."""
        self._keep(self._outbox, [Part(chunk, None)] if self._is_idle else parts(chunk))
        if self._accepted:
            self._start_writer()

    def drop(self, chunk: Chunk) -> None:
        """Do nothing; the connection is over."""

    def close(self, code: int, reason: bytes) -> None:
        """Let the task that sends close when it has sent all."""
        self._close = {"type": "websocket.close", "code": code, "reason": reason.decode()}
        self._start_writer()

    async def finish(self) -> None:
        """Wait for the task that sends, for close_timeout at most; end the task that receives."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=self._close_timeout)
        tasks = [task for task in (self._reader, self._writer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def pause_reading(self) -> None:
        """Receive nothing more for now; the server then stops reading by itself."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Go on with receiving."""
        self._may_read.set()

    @property
    def _is_idle(self) -> bool:
        """Whether nothing waits: what is written now is sent at once, and there is nothing to choose."""
        return self._accepted and (self._writer is None or self._writer.done())

    def _start_writer(self) -> None:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_out(), context=self._tasks_context.copy())

    async def _write_out(self) -> None:
        try:
            while self._outbox:
                for payload in self._next(self._outbox) or ():
                    kind = "text" if isinstance(payload, str) else "bytes"
                    await self._send({"type": "websocket.send", kind: payload})
            self._caught_up(self._outbox)
            if self._close is not None:
                close, self._close = self._close, None
                await self._send_close(close)
        except (OSError, RuntimeError):  # the client is gone; which of the two it raises depends on the server
            self._outbox.clear()
            self.connection.lost(codes.ABNORMAL)

    async def _send_close(self, close: dict[str, Any]) -> None:
        try:
            await self._send(close)
        except (OSError, RuntimeError):
            raise
        except Exception:  # daphne sends 1000 and 3000–4999 only, and raises a bare Exception for 1011 and its like
            logger.debug("this server can't close with %d; the client sees %d", close["code"], close["code"] + 3000)
            await self._send({**close, "code": close["code"] + 3000})

    async def _read(self) -> None:
        try:
            await self._receive_all()
        except Exception:
            logger.exception("%s: the server's receive() failed", self.connection)
            self.connection.lost(codes.ABNORMAL)

    async def _receive_all(self) -> None:
        connection = self.connection
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                connection.lost(event.get("code") or codes.NO_STATUS)
                return
            if event["type"] == "websocket.receive":
                text = event.get("text")
                if text is not None:
                    connection.receive_text(text.encode("utf-8", "surrogatepass"))
                else:
                    connection.receive_binary(event["bytes"])
                await self._may_read.wait()
