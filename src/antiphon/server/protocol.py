"""The WebSocket protocol class for uvicorn: ``uvicorn --ws antiphon.server:WebSocketProtocol``.

The handshake is decided by ASGI events; then the socket is handed to a ``Link``, which reads and writes frames. Any
ASGI application sees ordinary ``receive`` and ``send`` (ASGI WebSocket specification 2.4); antiphon's consumers find
the link in ``scope["extensions"]["antiphon"]`` and take the messages from there.

Options are uvicorn's: ``--ws-max-size``, ``--ws-ping-interval``, ``--ws-ping-timeout``, ``--ws-per-message-deflate``,
``--root-path``, proxy headers; and antiphon's own for what a client may cost (``antiphon.config``).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from typing import Any
from urllib.parse import quote, unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected, get_client_addr, get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from antiphon import codes, deflate
from antiphon.app import current_app
from antiphon.formats import FRAMES
from antiphon.server import handshake
from antiphon.server.drain import drain_of, is_stopping
from antiphon.server.gate import gate_of
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
        "_agreement",
        "_closed",
        "_config",
        "_connect_received",
        "_denial",
        "_disconnected",
        "_early",
        "_ending",
        "_events",
        "_gate",
        "_is_in",
        "_key",
        "_link",
        "_loop",
        "_network",
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
        self._gate = gate_of(server_state, config)
        self._transport: asyncio.Transport
        self._key = b""
        self._agreement: deflate.Agreement | None = None
        self._scope: Scope
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._network: str | None = None
        self._is_in = False
        self._ping_slot: int | None = None
        self._early = b""
        # The ASGI conversation
        self._connect_received = False
        self._accepted = False
        self._closed = False
        self._disconnected = False
        self._denial: tuple[int, list[tuple[bytes, bytes]], bytes] | None = None
        self._events: deque[Message] | None = None
        self._ending: tuple[int, str] | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reading_paused = False

    def __str__(self) -> str:
        """Say which connection this is, as the log shows it."""
        return f"{get_client_addr(self._scope)} - WebSocket {_shown(self._scope)}"  # type: ignore[arg-type]

    # asyncio.Protocol, until the connection is accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport from uvicorn's HTTP protocol."""
        self._transport = transport  # type: ignore[assignment]
        self._server_state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take the request, from any HTTP protocol of uvicorn; then what a client sends before it is accepted."""
        if self._link is not None:
            self._early += data
            if len(self._early) > EARLY_BYTES:
                self._transport.pause_reading()
        elif not self._closed:
            config = self._gate.config
            try:
                request = handshake.parse(data, max_size=config.max_header_size, max_headers=config.max_headers)
            except handshake.HandshakeError as fault:
                self._refuse(fault)
            else:
                self._start(request)

    def open(self, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the request, from antiphon's HTTP protocol."""
        config = self._gate.config
        try:
            request = handshake.check(
                method, target, headers, max_size=config.max_header_size, max_headers=config.max_headers
            )
        except handshake.HandshakeError as fault:
            self._refuse(fault)
        else:
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
        self.hold_sending()

    def resume_writing(self) -> None:
        """Tell that the socket's buffer has room."""
        self.resume_sending()

    # What uvicorn calls

    def shutdown(self) -> None:
        """Close because the server stops: 1012 for an open one when its turn comes, 503 for one not accepted yet."""
        if self._link is not None and self._accepted:
            drain_of(self._server_state, self._config).add(self._link)
        elif not self._closed:
            self._respond(503, [], b"the server restarts, come back")

    # The application

    def _refuse(self, fault: handshake.HandshakeError) -> None:
        """Answer a request that opens no WebSocket."""
        counters = self._gate.counters
        setattr(counters, fault.counter, getattr(counters, fault.counter) + 1)
        self._closed = True
        headers = [*self._server_state.default_headers, *fault.headers]
        self._transport.write(handshake.response(fault.status, headers, fault.reason.encode()))
        self._transport.close()

    def _start(self, request: handshake.UpgradeRequest) -> None:
        if is_stopping(self._server_state):
            self._respond(503, [], b"the server restarts, come back")
            return
        self._scope = self._make_scope(request)
        self._network, refusal = self._gate.admit(self._scope)
        if refusal is not None:
            self._log(refusal.status)
            self._closed = True
            headers = [*self._server_state.default_headers, (b"retry-after", b"10")]
            self._transport.write(handshake.response(refusal.status, headers, refusal.reason.encode()))
            self._transport.close()
            return
        self._is_in = True
        self._key = request.key
        context = contextvars.copy_context()
        self._link = self._scope["extensions"]["antiphon"] = self._make_link(request, context)
        self._task = self._loop.create_task(self._run(), context=context)
        self._server_state.tasks.add(self._task)
        self._task.add_done_callback(self._server_state.tasks.discard)

    def _make_scope(self, request: handshake.UpgradeRequest) -> Scope:
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
            "path": root_path + unquote(raw_path.decode("latin-1")),
            "raw_path": root_path.encode("ascii") + raw_path,
            "query_string": query_string,
            "headers": request.headers,
            "subprotocols": request.subprotocols,
            "state": self._state.copy(),
            "extensions": {"websocket.http.response": {}},
        }

    def _make_link(self, request: handshake.UpgradeRequest, context: contextvars.Context) -> Link:
        """Return the link, for which compression is agreed on now: who joins groups has to know."""
        format, inflater = FRAMES, None
        if request.extensions and self._config.ws_per_message_deflate and self._gate.config.compression:
            self._agreement = deflate.negotiate(request.extensions)
            if self._agreement is not None:
                format = current_app().deflate_format(self._agreement.server_bits)
                inflater = deflate.Inflater(self._agreement.client_bits)
        return Link(
            self,
            self._gate,
            context,
            format=format,
            inflater=inflater,
            max_message_size=self._config.ws_max_size,
            close_timeout=CLOSE_TIMEOUT,
        )

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
            if self._ending is not None:  # all that came before the end is handled
                self._end(*self._ending)
                continue
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
                self._link.write(self._link.format.binary(bytes(data)))
            elif text is not None:
                self._link.write(self._link.format.text(text.encode()))
        elif kind == "websocket.close":
            code = message.get("code", codes.NORMAL)
            reason = message.get("reason") or ""
            self._link.close(code, codes.fit_reason(reason))
            self._closed = True
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
        logger.info('%s - "WebSocket %s" %s', get_client_addr(self._scope), _shown(self._scope), outcome)  # type: ignore[arg-type]

    # Accepting

    def _accept(self, message: Message) -> None:
        assert self._link is not None
        headers = [*self._server_state.default_headers, *message.get("headers", [])]
        subprotocol = message.get("subprotocol")
        if subprotocol:
            headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        if self._agreement is not None:
            headers.append((b"sec-websocket-extensions", self._agreement.header))
        answer = handshake.switching_protocols(self._key, headers)
        self._log("[accepted]")
        if self._transport.is_closing():
            raise ClientDisconnected
        self._accepted = True
        self._transport.write(answer)
        early, self._early = self._early, b""
        self._link.open(self._transport, early)
        keepalive = self._gate.keepalive
        if keepalive is not None:
            self._ping_slot = keepalive.add(self._link)

    # link.Owner

    def link_ended(self) -> None:
        """Forget the connection: the link's socket is closed."""
        keepalive = self._gate.keepalive
        if keepalive is not None and self._ping_slot is not None and self._link is not None:
            keepalive.remove(self._link, self._ping_slot)
        if self._is_in:
            self._is_in = False
            self._gate.leave(self._network)
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

    def drain(self, code: int, reason: str | None = None) -> None:
        """Close behind what is queued: when the application asks for more, it has handled what there was."""
        self._ending = code, reason or codes.default_reason(code)
        if not self._events and self._waiting is not None and not self._waiting.done():
            self._end(*self._ending)

    def _end(self, code: int, reason: str) -> None:
        self._ending = None
        if self._link is not None:
            self._link.close(code, codes.fit_reason(reason))
        self.lost(code, reason)

    def _put(self, event: Message) -> None:
        if self._events is None:
            self._events = deque()
        self._events.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        elif not self._reading_paused and self._link is not None:
            self._reading_paused = True
            self._link.pause_reading()


def _shown(scope: Scope) -> str:
    """Return path and query as a log may show them: nothing in them that a terminal obeys."""
    query = scope["query_string"]
    return quote(scope["path"]) + ("?" + quote(query, safe="/?:@!$&'()*+,;=%-._~") if query else "")
