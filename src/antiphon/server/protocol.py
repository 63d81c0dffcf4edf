"""The WebSocket protocol class for uvicorn: ``uvicorn --ws antiphon.server:WebSocketProtocol``.

The handshake is decided by ASGI events; then the socket is handed to picows, whose frames a ``Link`` takes. Any ASGI
application sees ordinary ``receive`` and ``send`` (ASGI WebSocket specification 2.4); antiphon's consumers find the
link in ``scope["extensions"]["antiphon"]`` and take the messages from there.

Options are uvicorn's: ``--ws-max-size``, ``--ws-ping-interval``, ``--ws-ping-timeout``, ``--root-path``, proxy headers.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections import deque
from typing import Any
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import (
    ClientDisconnected,
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from uvicorn.server import ServerState

from antiphon import codes, frames
from antiphon.server import handshake
from antiphon.server.keepalive import Keepalive
from antiphon.server.link import Link
from antiphon.types import Message, Scope

__all__ = ["WebSocketProtocol"]

logger = logging.getLogger("uvicorn.error")

#: How long a client may take to answer a close frame, in seconds (as uvicorn's own).
CLOSE_TIMEOUT = 10.0
#: What a client may send behind its request before it is accepted, in bytes.
EARLY_BYTES = 64 * 1024


class WebSocketProtocol(asyncio.Protocol):
    """One WebSocket connection of a uvicorn server, from the upgrade request to the end."""

    __slots__ = (
        "_accepted",
        "_closed",
        "_config",
        "_connect_received",
        "_denial",
        "_disconnected",
        "_early",
        "_events",
        "_key",
        "_link",
        "_loop",
        "_ping_slot",
        "_reading_paused",
        "_scope",
        "_server_state",
        "_state",
        "_task",
        "_transport",
        "_waiting",
        "_writable",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self._config = config
        self._server_state = server_state
        self._state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._key = b""
        self._scope: Scope
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._ping_slot: int | None = None
        self._early = b""
        # The ASGI conversation
        self._connect_received = False
        self._accepted = False
        self._closed = False
        self._disconnected = False
        self._denial: tuple[int, list[tuple[bytes, bytes]], bytes] | None = None
        self._events: deque[Message] | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reading_paused = False

    # asyncio.Protocol, until the connection is accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport from uvicorn's HTTP protocol."""
        self._transport = transport  # type: ignore[assignment]
        self._server_state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take the request; what a client sends before it is accepted; its first bytes after that."""
        if self._accepted and self._link is not None:
            self._link.data_received(data)
            return
        if self._link is not None:
            self._early += data
            if len(self._early) > EARLY_BYTES:
                self._transport.pause_reading()
            return
        try:
            request = handshake.parse(data)
        except handshake.HandshakeError as fault:
            self._closed = True
            headers = [*self._server_state.default_headers, *fault.headers]
            self._transport.write(handshake.response(fault.status, headers, fault.reason.encode()))
            self._transport.close()
            return
        self._start(request)

    def eof_received(self) -> None:
        """Let the transport close itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone."""
        if self._link is not None:
            self._link.lost(codes.ABNORMAL)
        else:
            self._server_state.connections.discard(self)

    def pause_writing(self) -> None:
        """Tell that the socket's buffer is full."""
        if self._accepted and self._link is not None:
            self._link.pause_writing()
        else:
            self.hold_sending()

    def resume_writing(self) -> None:
        """Tell that the socket's buffer has room."""
        if self._accepted and self._link is not None:
            self._link.resume_writing()
        else:
            self.resume_sending()

    # What uvicorn calls

    def shutdown(self) -> None:
        """Close because the server stops: 1012 for an open connection, 500 for one that is not accepted yet."""
        if self._link is not None and self._accepted:
            self._link.shut_down(codes.SERVICE_RESTART)
        elif not self._closed:
            self._respond(500, [], b"Internal Server Error")

    # The application

    def _start(self, request: handshake.UpgradeRequest) -> None:
        context = contextvars.copy_context()
        self._link = Link(self, context, max_message_size=self._config.ws_max_size, close_timeout=CLOSE_TIMEOUT)
        self._key = request.key
        self._scope = self._make_scope(request, self._link)
        self._task = self._loop.create_task(self._run(), context=context)
        self._server_state.tasks.add(self._task)
        self._task.add_done_callback(self._server_state.tasks.discard)

    def _make_scope(self, request: handshake.UpgradeRequest, link: Link) -> Scope:
        raw_path, _, query_string = request.target.partition(b"?")
        root_path = self._config.root_path
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root_path,
            "path": root_path + unquote(raw_path.decode("ascii")),
            "raw_path": root_path.encode("ascii") + raw_path,
            "query_string": query_string,
            "headers": request.headers,
            "subprotocols": request.subprotocols,
            "state": self._state.copy(),
            "extensions": {"websocket.http.response": {}, "antiphon": link},
        }

    async def _run(self) -> None:
        """Run the application and see to it that the connection ends with it."""
        try:
            result = await self._config.loaded_app(self._scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except Exception:
            logger.exception("Exception in ASGI application\n")
            self._end_application(500, codes.INTERNAL_ERROR)
        except BaseException:
            self._end_application(500, codes.SERVICE_RESTART)
            raise
        else:
            if not self._accepted and not self._closed and not self._disconnected:
                logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
            self._end_application(500, codes.NORMAL)

    def _end_application(self, status: int, code: int) -> None:
        if self._accepted and self._link is not None:
            self._link.close(code, codes.fit_reason(codes.default_reason(code)))
        elif not self._closed:
            self._respond(status, [], b"Internal Server Error")

    async def receive(self) -> Message:
        """Return the next ASGI event."""
        if not self._connect_received:
            self._connect_received = True
            return {"type": "websocket.connect"}
        while not self._events:
            self._waiting = self._loop.create_future()
            await self._waiting
        event = self._events[0] if self._events[0]["type"] == "websocket.disconnect" else self._events.popleft()
        if self._reading_paused and not self._events and self._link is not None:
            self._reading_paused = False
            self._link.resume_reading()
        return event

    async def send(self, message: Message) -> None:
        """Take an ASGI event from the application."""
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self._disconnected and not self._closed:
            raise ClientDisconnected
        kind = message["type"]
        if self._accepted and not self._closed:
            self._send_open(kind, message)
        elif self._closed:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        elif self._denial is not None:
            self._send_denial_body(kind, message)
        else:
            self._send_handshake(kind, message)

    def _send_handshake(self, kind: str, message: Message) -> None:
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._log(403)
            self._respond(403, [], b"")
        elif kind == "websocket.http.response.start":
            status = message["status"]
            if not 100 <= status < 600:
                raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
            self._log(status)
            self._denial = status, [(name, value) for name, value in message.get("headers", [])], b""
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' "
                f"but got '{kind}'."
            )

    def _send_denial_body(self, kind: str, message: Message) -> None:
        assert self._denial is not None
        if kind != "websocket.http.response.body":
            raise RuntimeError(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
        status, headers, body = self._denial
        self._denial = status, headers, body + message.get("body", b"")
        if not message.get("more_body", False):
            self._respond(*self._denial)

    def _send_open(self, kind: str, message: Message) -> None:
        assert self._link is not None
        if kind == "websocket.send":
            text, data = message.get("text"), message.get("bytes")
            if data is not None:
                self._link.write(frames.frame(frames.BINARY, bytes(data)))
            elif text is not None:
                self._link.write(frames.frame(frames.TEXT, text.encode()))
        elif kind == "websocket.close":
            code = message.get("code", codes.NORMAL)
            reason = message.get("reason") or ""
            self._closed = True
            self._link.close(code, codes.fit_reason(reason))
            self.lost(code, reason)
        else:
            raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")

    def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the handshake with an HTTP response, which ends the connection."""
        answer = handshake.response(status, [*self._server_state.default_headers, *headers], body)
        self._closed = True
        if not self._transport.is_closing():
            self._transport.write(answer)
            self._transport.close()
        self.lost(codes.ABNORMAL)

    def _log(self, outcome: int | str) -> None:
        logger.info(
            '%s - "WebSocket %s" %s',
            get_client_addr(self._scope),  # type: ignore[arg-type]
            get_path_with_query_string(self._scope),  # type: ignore[arg-type]
            outcome,
        )

    # Accepting

    def _accept(self, message: Message) -> None:
        assert self._link is not None
        headers = [*self._server_state.default_headers, *message.get("headers", [])]
        subprotocol = message.get("subprotocol")
        if subprotocol:
            headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        answer = handshake.switching_protocols(self._key, headers)
        self._log("[accepted]")
        if self._transport.is_closing():
            raise ClientDisconnected
        self._accepted = True
        self._transport.write(answer)
        self._link.open(self._transport)
        self._transport.resume_reading()
        if self._early:
            early, self._early = self._early, b""
            self._loop.call_soon(self.data_received, early)
        interval = self._config.ws_ping_interval
        if interval:
            self._ping_slot = _keepalive(self._server_state, interval, self._config.ws_ping_timeout).add(self._link)

    # link.Owner

    def link_ended(self) -> None:
        """Forget the connection: the link's socket is closed."""
        if self._ping_slot is not None and self._link is not None:
            _keepalives[self._server_state].remove(self._link, self._ping_slot)
        self._server_state.connections.discard(self)
        self.resume_sending()

    def hold_sending(self) -> None:
        """Let ``send`` wait."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_sending(self) -> None:
        """Let ``send`` go on."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def receive_text(self, payload: bytes) -> None:
        """Queue a text message for ``receive``; reading pauses until the application has taken it."""
        self._put({"type": "websocket.receive", "text": payload.decode()})

    def receive_binary(self, payload: bytes) -> None:
        """Queue a binary message for ``receive``."""
        self._put({"type": "websocket.receive", "bytes": payload})

    def lost(self, code: int, reason: str = "") -> None:
        """Queue the end for ``receive``, once."""
        if not self._disconnected:
            self._disconnected = True
            self._put({"type": "websocket.disconnect", "code": code, "reason": reason})

    def _put(self, event: Message) -> None:
        if self._events is None:
            self._events = deque()
        self._events.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        elif not self._reading_paused and self._link is not None:
            self._reading_paused = True
            self._link.pause_reading()


_keepalives: weakref.WeakKeyDictionary[ServerState, Keepalive] = weakref.WeakKeyDictionary()


def _keepalive(server_state: ServerState, interval: float, timeout: float | None) -> Keepalive:
    """Return the keepalive of a server, made when its first connection is accepted."""
    keepalive = _keepalives.get(server_state)
    if keepalive is None:
        keepalive = _keepalives[server_state] = Keepalive(interval, timeout)
    return keepalive
