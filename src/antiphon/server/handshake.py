"""The opening handshake of a server: pure code from a request to the answer (RFC 6455 §4.2).

The HTTP parser of uvicorn has read the request before; what comes here is well-formed, with lower-case header names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http
import re
from typing import NamedTuple

__all__ = [
    "HandshakeError",
    "UpgradeRequest",
    "check",
    "headers_too_long",
    "parse",
    "response",
    "switching_protocols",
    "too_large",
]

Headers = list[tuple[bytes, bytes]]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://[^/?]*")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class HandshakeError(Exception):
    """The request can't become a WebSocket: answer with ``status`` and ``reason``.

    ``counter`` is the name of the one in ``Counters`` that counts it.
    """

    def __init__(
        self, status: int, reason: str, headers: tuple[tuple[bytes, bytes], ...] = (), counter: str = "bad_requests"
    ) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers
        self.counter = counter


class UpgradeRequest(NamedTuple):
    """A valid request to open a WebSocket."""

    target: bytes
    headers: Headers
    key: bytes
    subprotocols: list[str]
    extensions: bytes
    """The offers of ``Sec-WebSocket-Extensions``, joined by commas."""


def parse(data: bytes, *, max_size: int, max_headers: int) -> UpgradeRequest:
    """Return the request in ``data``, which ends with an empty line; raise ``HandshakeError``."""
    request_line, *lines = data.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    method, target, _ = request_line.split(b" ", 2)
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    return check(method, target, headers, max_size=max_size, max_headers=max_headers)


def check(method: bytes, target: bytes, headers: Headers, *, max_size: int, max_headers: int) -> UpgradeRequest:
    """Return the request if it opens a WebSocket (RFC 6455 §4.2.1), else raise ``HandshakeError``."""
    too_much = too_large(target, headers, max_size=max_size, max_headers=max_headers)
    if too_much is not None:
        raise too_much
    if method != b"GET":
        raise HandshakeError(405, "a WebSocket is opened with GET", ((b"allow", b"GET"),))
    if not _single(headers, b"host"):
        raise HandshakeError(400, "a request has one Host header")  # RFC 9112 §3.2
    if any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers):
        raise HandshakeError(413, "a request to open a WebSocket has no body")
    if _single(headers, b"sec-websocket-version") != b"13":
        raise HandshakeError(426, "WebSocket version 13 is spoken here", ((b"sec-websocket-version", b"13"),))
    key = _single(headers, b"sec-websocket-key")
    if not _is_key(key):
        raise HandshakeError(400, "Sec-WebSocket-Key is missing or not 16 bytes in base64")
    subprotocols = [name.strip(b" \t") for name in _all(headers, b"sec-websocket-protocol").split(b",")]
    subprotocols = [name for name in subprotocols if name]
    if not all(_TOKEN.fullmatch(name) for name in subprotocols):
        raise HandshakeError(400, "Sec-WebSocket-Protocol names something that is no subprotocol")
    names = [name.decode("ascii") for name in subprotocols]
    return UpgradeRequest(_origin_form(target), headers, key, names, _all(headers, b"sec-websocket-extensions"))


def _origin_form(target: bytes) -> bytes:
    """Return path and query of a request's target, which may be a whole URL (RFC 9112 §3.2.2)."""
    target = target.partition(b"#")[0]
    authority = _AUTHORITY.match(target)
    if authority is not None:
        target = target[authority.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    if not target.startswith(b"/"):
        raise HandshakeError(400, "the request's target is no path")
    return target


def too_large(target: bytes, headers: Headers, *, max_size: int, max_headers: int) -> HandshakeError | None:
    """Return the fault of a request with too many headers or too long ones, else None (RFC 6585 §5)."""
    if len(headers) > max_headers:
        return HandshakeError(431, f"more than {max_headers} headers", counter="headers_too_large")
    if len(target) + sum(len(name) + len(value) + 4 for name, value in headers) > max_size:
        return headers_too_long(max_size)
    return None


def headers_too_long(max_size: int) -> HandshakeError:
    """Return the fault of a request whose headers pass ``max_size`` bytes."""
    return HandshakeError(431, f"headers of more than {max_size} bytes", counter="headers_too_large")


def switching_protocols(key: bytes, headers: Headers) -> bytes:
    """Return the answer that accepts (RFC 6455 §4.2.2); raise ``ValueError`` for a header that can't stand there."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-accept: " + accept,
    ]
    return b"\r\n".join(lines + _lines(headers)) + b"\r\n\r\n"


def response(status: int, headers: Headers, body: bytes) -> bytes:
    """Return an HTTP response that ends the connection."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    present = {name.lower() for name, _ in headers}
    lines = [b"HTTP/1.1 %d %s" % (status, phrase.encode())]
    lines += _lines(headers)
    if b"content-length" not in present:
        lines.append(b"content-length: %d" % len(body))
    if b"content-type" not in present:
        lines.append(b"content-type: text/plain; charset=utf-8")
    if b"connection" not in present:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _lines(headers: Headers) -> list[bytes]:
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"header {name!r:.80}: {value!r:.80} has characters that a header can't have")
    return [b"%s: %s" % header for header in headers]


def _all(headers: Headers, name: bytes) -> bytes:
    """Return the values of a header that may be repeated, joined by commas (RFC 9110 §5.3)."""
    return b",".join(value for header, value in headers if header == name)


def _single(headers: Headers, name: bytes) -> bytes:
    """Return the value of a header that must stand there once."""
    values = [value for header, value in headers if header == name]
    return values[0] if len(values) == 1 else b""


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
