"""The HTTP API as an ASGI application.

Laws:
- without a good key nothing is told, not even which methods there are, and nothing is read of the body;
- what a request may hold is bounded, in bytes (``max_message_size``) and in depth (``max_json_depth``);
- what was understood is answered with 200, and an error of it stands in the body, as Centrifugo's clients expect.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from antiphon.app import App, current_app
from antiphon.exceptions import ClientError, UsageError
from antiphon.http_api.methods import METHODS, Methods
from antiphon.logs import shown
from antiphon.types import Receive, Scope, Send
from antiphon.wire import plain
from antiphon.wire.centrifuge.codes import ERROR_BAD_REQUEST, ERROR_METHOD_NOT_FOUND, ERROR_UNAUTHORIZED

__all__ = ["HTTPAPI"]

logger = logging.getLogger("antiphon.http_api")


class HTTPAPI:
    """The ASGI application; mount it wherever you like: the last part of the path is the method."""

    def __init__(self) -> None:
        self._is_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise UsageError(f"the HTTP API answers HTTP requests, and this is {scope['type']!r}")
        try:
            answer = await self._answer(current_app(), scope, receive)
        except _Fault as fault:
            await _respond(send, fault.status, fault.content, fault.headers)
        except ConnectionError:
            pass  # the caller is gone, before all of the request was here
        else:
            await _respond(send, 200, plain.encode(answer))

    async def _answer(self, app: App, scope: Scope, receive: Receive) -> dict[str, Any]:
        if not app.api_keys:
            self._warn()
            raise _Fault(404, ERROR_METHOD_NOT_FOUND, "not found")
        if not app.api_keys.have(_key(scope["headers"])):
            app.counters.api_refused += 1
            client = scope.get("client")
            logger.warning("%s asked for %s of the HTTP API without a good key", client and client[0], _shown(scope))
            raise _Fault(401, ERROR_UNAUTHORIZED, "unauthorized")
        method = scope["path"].rpartition("/")[2]
        if method not in METHODS:
            raise _Fault(404, ERROR_METHOD_NOT_FOUND, f"there is no method {method!r:.80}; there are: {_NAMES}")
        if scope["method"] != "POST":
            raise _Fault(405, ERROR_METHOD_NOT_FOUND, "a method is called by POST", [(b"allow", b"POST")])
        body = await _body(scope, receive, app.config.max_message_size)
        try:
            content = plain.decode(body or b"{}", app.config.max_json_depth)
        except ClientError as problem:
            raise _Fault(400, ERROR_BAD_REQUEST, problem.reason) from None
        return await Methods(app).answer(method, content)

    def _warn(self) -> None:
        if not self._is_warned:
            self._is_warned = True
            logger.warning("somebody asked for the HTTP API, which is off: set api_keys to turn it on")


_NAMES = ", ".join(METHODS)


class _Fault(Exception):
    """A request that no method gets to see: the status of HTTP, and an error of the same shape as a method's."""

    def __init__(self, status: int, code: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(status, message)
        self.status = status
        self.content = plain.encode({"error": {"code": code, "message": message}})
        self.headers = headers


def _key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the key that a request shows; empty: none."""
    found = {name.lower(): value.strip() for name, value in headers}
    if b"x-api-key" in found:
        return found[b"x-api-key"]
    scheme, _, key = found.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"apikey" else b""


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the body, once all of it is here; ``ConnectionError`` where it never will be."""
    too_large = _Fault(413, ERROR_BAD_REQUEST, f"the request has more than {limit} bytes (max_message_size)")
    length = dict(scope["headers"]).get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large
        if not message.get("more_body", False):
            return b"".join(parts)


def _shown(scope: Scope) -> str:
    return shown(scope["path"], 80)


async def _respond(send: Send, status: int, content: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    given = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": content})
