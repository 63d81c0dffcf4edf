"""The same chunk to many connections at once.

Where the package was built with a C compiler, connections whose sockets have room are written by one call that loops
over their descriptors (``_fanout.c``); a transport's ``write``, one by one, costs up to a third more. Everywhere else,
and for connections that are full, encrypted or on another server, each connection's own ``write`` is called.

Law: a descriptor is written only while nothing waits in front of it: no byte in the transport, no chunk in the outbox.
Whoever makes something wait sets ``connection.descriptor`` to ``NO_DESCRIPTOR`` first.
"""

from __future__ import annotations

import functools
import struct
from array import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.connection import Connection

__all__ = ["COMPILED", "NO_DESCRIPTOR", "Targets", "write_one"]

SendAll = Callable[[Any, Any], list[tuple[int, int]] | None]

send_all: SendAll | None
try:
    from antiphon._fanout import send_all
except ImportError:
    send_all = None

#: Whether the compiled loop is there.
COMPILED = send_all is not None

#: Stands in ``connection.descriptor`` where the socket may not be written directly.
NO_DESCRIPTOR = -1


class Targets:
    """Connections that are to be written at once, sorted by how that is done."""

    __slots__ = ("_descriptors", "_direct", "_others")

    def __init__(self, connections: Iterable[Connection]) -> None:
        self._direct: list[Connection] = []
        self._others: list[Connection] = []
        for connection in connections:
            ready = send_all is not None and connection.descriptor != NO_DESCRIPTOR
            (self._direct if ready else self._others).append(connection)
        self._descriptors = array("i", [connection.descriptor for connection in self._direct])

    def write(self, chunk: Any) -> int:
        """Write ``chunk`` to all; return how many could not be written to because they are gone."""
        gone = 0
        if self._direct and send_all is not None:
            for index, sent in send_all(self._descriptors, chunk) or ():
                gone += _write(self._direct[index], memoryview(chunk)[sent:])
        for connection in self._others:
            gone += _write(connection, chunk)
        return gone


def write_one(connection: Connection, chunk: Any) -> int:
    """Write ``chunk`` to one connection; return 1 if it is gone, else 0."""
    if send_all is not None and connection.descriptor != NO_DESCRIPTOR:
        incomplete = send_all(_buffer_of(connection.descriptor), chunk)
        if incomplete is None:
            return 0
        chunk = memoryview(chunk)[incomplete[0][1] :]
    return _write(connection, chunk)


@functools.lru_cache(maxsize=65_536)
def _buffer_of(descriptor: int) -> bytes:
    return struct.pack("i", descriptor)


def _write(connection: Connection, chunk: Any) -> int:
    try:
        connection.write(chunk)
    except RuntimeError:  # the loop's transport is closed; its connection_lost is on the way
        return 1
    return 0
