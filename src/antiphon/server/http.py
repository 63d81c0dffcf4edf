"""The HTTP side of the fast server: ``uvicorn --http antiphon.server:HTTPProtocol``, as ``antiphon serve`` does.

It is uvicorn's own protocol over httptools, with a bound on what a client may cost before its request is here: the
time it takes, the size of its headers, how many others wait. What uvicorn answers, it answers.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from antiphon.server import handshake
from antiphon.server.front import front_of
from antiphon.server.gate import gate_of
from antiphon.server.link import LINGER
from antiphon.server.protocol import WebSocketProtocol

__all__ = ["HTTPProtocol"]

logger = logging.getLogger("antiphon.server")

#: Requests of one connection that may wait for the answer to an earlier one.
PIPELINE = 32


class HTTPProtocol(HttpToolsProtocol):
    """One connection of a uvicorn server, until it becomes a WebSocket."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._gate = gate_of(server_state, config)
        if self._gate.config.api_path:
            self.app = front_of(config, self._gate.config.api_path)
        self._refusal: handshake.HandshakeError | None = None
        """Why the parser was stopped from within, if it was."""
        self._waiting = False
        self._head = 0
        """Bytes that are neither body nor complete headers: of headers, of trailers, of what stands beside a chunk."""
        self._lingering: asyncio.TimerHandle | None = None
        """Set where the connection is over, and the client's bytes are dropped until it has seen why."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._gate.has_come(self)
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; those behind one that opens a WebSocket are its first frames."""
        if self._lingering is not None:
            return
        self._unset_keepalive_if_required()
        self._head += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._open_websocket(data[upgrade.args[0] :])
            else:
                self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            self._refuse(self._refusal or handshake.HandshakeError(400, "Invalid HTTP request received."))
        else:
            if self._waiting:
                self._head = max(self._head, 1)  # a request may have begun in the middle of ``data``
            if self._head > self._gate.config.max_header_size:
                self._refuse(handshake.headers_too_long(self._gate.config.max_header_size))

    def on_message_begin(self) -> None:
        """Expect the headers of a request: the first, or a further one on the same connection."""
        super().on_message_begin()
        if not self._waiting:
            self._wait()

    def on_headers_complete(self) -> None:
        """Refuse headers over the limits; let uvicorn have the others."""
        self._gate.has_come(self)
        self._waiting = False
        self._head = 0
        config = self._gate.config
        too_much = handshake.too_large(
            self.url, self.headers, max_size=config.max_header_size, max_headers=config.max_headers
        )
        if too_much is None and len(self.pipeline) >= PIPELINE:
            too_much = handshake.HandshakeError(429, f"more than {PIPELINE} requests before the first was answered")
        if too_much is not None:
            self._refusal = too_much
            raise too_much  # the parser stops, and data_received answers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Let uvicorn have it."""
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Let uvicorn know."""
        self._head = 0
        super().on_message_complete()

    def cut_off(self, status: int, reason: str) -> None:
        """End a connection whose request does not come (``gate.Waiting``)."""
        self._waiting = False
        if self._head:
            self._end_with(handshake.response(status, [], reason.encode()))
        else:
            self.transport.close()

    def _wait(self) -> None:
        self._waiting = True
        self._gate.wait_for(self)

    def _refuse(self, refusal: handshake.HandshakeError) -> None:
        """Answer a request that can't be had, and close."""
        self._gate.has_come(self)
        self._waiting = False
        counters = self._gate.counters
        setattr(counters, refusal.counter, getattr(counters, refusal.counter) + 1)
        if not self.transport.is_closing():
            logger.info("%s - request refused with %d: %s", self.client, refusal.status, refusal.reason)
            headers = [*self.server_state.default_headers, *refusal.headers]
            self._end_with(handshake.response(refusal.status, headers, refusal.reason.encode()))

    def _end_with(self, answer: bytes) -> None:
        """Write an answer and close. Bytes that are still unread would make that a reset: they are dropped first."""
        self.transport.write(answer)
        if self.transport.can_write_eof() and not self._is_answering:
            self.transport.write_eof()
            self._lingering = self.loop.call_later(LINGER, self.transport.abort)
        else:
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        """Tell whether an earlier request has no answer yet: the application may still write one."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn: None until the first request
        return bool(self.pipeline) or (cycle is not None and not cycle.response_complete)

    def _open_websocket(self, early: bytes) -> None:
        """Hand the connection over."""
        if self.scope["http_version"] != "1.1":
            self._refuse(handshake.HandshakeError(400, "a WebSocket is opened with HTTP/1.1"))  # RFC 6455 §4.2.1
            return
        if self._is_answering:
            self._refuse(handshake.HandshakeError(400, "an earlier request has no answer yet"))
            return
        if self.ws_protocol_class is not WebSocketProtocol:
            self.handle_websocket_upgrade()
            return
        self.connections.discard(self)
        websocket = WebSocketProtocol(self.config, self.server_state, self.app_state, self.loop)
        self.transport.set_protocol(websocket)
        websocket.connection_made(self.transport)
        headers = [(name, value.strip(b" \t")) for name, value in self.headers]  # the parser leaves trailing blanks
        websocket.open(self.scope["method"].encode(), self.url, headers)
        if early:
            websocket.data_received(early)
