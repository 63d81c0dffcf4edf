"""Connections that come and go, as fast as they can: blocking sockets in threads, cheap for the attacker."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import NamedTuple

from tests.integration.clients import frame, upgrade_request
from tests.integration.servers import PATIENCE, Server

__all__ = ["Visit", "visit"]

_RESET = struct.pack("ii", 1, 0)
_THREADS = 3


class Visit(NamedTuple):
    """What each client does."""

    request: bytes
    says: bytes = b""
    """Behind the answer; then it waits for another answer."""
    resets: bool = False
    waits: bool = True
    """It reads the answer to its request."""


async def visit(server: Server, visits: list[Visit], count: int) -> None:
    """Let ``count`` clients come, each of the visits in turn, and go; each that waits for an answer gets one."""
    share, rest = divmod(count, _THREADS)
    numbers = [share + (number < rest) for number in range(_THREADS)]
    unanswered = await asyncio.gather(*(asyncio.to_thread(_visit, server, visits, number) for number in numbers))
    assert sum(unanswered) == 0


def _visit(server: Server, visits: list[Visit], count: int) -> int:
    """Visit, and return how many times nobody answered."""
    unanswered = 0
    for number in range(count):
        request, says, resets, waits = visits[number % len(visits)]
        with socket.create_connection((server.host, server.port), PATIENCE) as connection:
            connection.sendall(request)
            if waits and b"\r\n\r\n" not in connection.recv(65536):
                unanswered += 1
            if says:
                connection.sendall(says)
                unanswered += not connection.recv(65536)
            if resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return unanswered


#: How clients of a room come and go: politely, without a word, with a reset, with a reset before the answer, half-way,
#: and in the middle of a frame that is closed upon because what is there of it is not UTF-8.
ROOM = upgrade_request("/room/churn/")
ECHO = frame(0x1, b'{"do": "echo", "value": 1}')
CLOSE = frame(0x8, b"\x03\xe8")
GUESTS = [
    Visit(ROOM, CLOSE),
    Visit(ROOM, ECHO, resets=True),
    Visit(ROOM, ECHO),
    Visit(ROOM, resets=True),
    Visit(upgrade_request("/target/churn/", "Sec-WebSocket-Extensions: permessage-deflate"), ECHO),
    Visit(ROOM, resets=True, waits=False),
    Visit(ROOM, frame(0x1, b"{", final=False) + frame(0x9)),
    Visit(ROOM, frame(0x1, b"\xff" * 26)[:-20], resets=True),
]
#: Who is refused, in all the ways there are.
REFUSED = [
    Visit(upgrade_request("/refusing/churn/")),
    Visit(upgrade_request("/early/churn/")),
    Visit(upgrade_request("/room/churn/", "Sec-WebSocket-Key: no")),
    Visit(upgrade_request("/room/churn/", "Sec-WebSocket-Version: 8")),
    Visit(upgrade_request("/room/churn/", "Host: a", "Host: b")),
    Visit(upgrade_request("/room/churn/", *["X-A: a"] * 200)),
    Visit(upgrade_request("/room/churn/", "Origin: http://evil.example")),
    Visit(upgrade_request("/spec/deny")),
    Visit(upgrade_request("/spec/raise_before_accept")),
    Visit(b"nonsense\r\n\r\n"),
    Visit(ROOM[:60], waits=False),
    Visit(ROOM[:60], waits=False, resets=True),
    Visit(b"", waits=False, resets=True),
    Visit(b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n"),
]
