"""The opening handshake of a server: pure code from the bytes of a request to the answer (RFC 6455 §4.2).

The HTTP parser of uvicorn has read the request before; what comes here is well-formed, with lower-case header names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http
import re
from typing import NamedTuple

__all__ = ["HandshakeError", "UpgradeRequest", "parse", "response", "switching_protocols"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class HandshakeError(Exception):
    """The request can't become a WebSocket: answer with ``status`` and ``reason``."""

    def __init__(self, status: int, reason: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class UpgradeRequest(NamedTuple):
    """A valid request to open a WebSocket."""

    target: bytes
    headers: list[tuple[bytes, bytes]]
    key: bytes
    subprotocols: list[str]


def parse(data: bytes) -> UpgradeRequest:
    """Return the request in ``data``, which ends with an empty line; raise ``HandshakeError`` (RFC 6455 §4.2.1)."""
    request_line, *lines = data.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    method, target, _ = request_line.split(b" ", 2)
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    if method != b"GET":
        raise HandshakeError(405, "a WebSocket is opened with GET", ((b"allow", b"GET"),))
    version = _single(headers, b"sec-websocket-version")
    if version != b"13":
        raise HandshakeError(426, "WebSocket version 13 is spoken here", ((b"sec-websocket-version", b"13"),))
    key = _single(headers, b"sec-websocket-key")
    if not _is_key(key):
        raise HandshakeError(400, "Sec-WebSocket-Key is missing or not 16 bytes in base64")
    offered = b",".join(value for name, value in headers if name == b"sec-websocket-protocol")
    subprotocols = [token.strip().decode("latin-1") for token in offered.split(b",") if token.strip()]
    return UpgradeRequest(target, headers, key, subprotocols)


def switching_protocols(key: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the answer that accepts (RFC 6455 §4.2.2); raise ``ValueError`` for a header that can't stand there."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-accept: " + accept,
    ]
    return b"\r\n".join(lines + _lines(headers)) + b"\r\n\r\n"


def response(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
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


def _lines(headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"header {name!r:.80}: {value!r:.80} has characters that a header can't have")
    return [b"%s: %s" % header for header in headers]


def _single(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the value of a header that must stand there once."""
    values = [value for header, value in headers if header == name]
    return values[0] if len(values) == 1 else b""


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
