"""The client's side of a socket, in frames made and read by another implementation."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from websockets.frames import Close, Frame, Opcode

from antiphon import app, config

from ..fakes import parse_frames, settled

__all__ = [
    "OP_BINARY",
    "OP_CLOSE",
    "OP_CONT",
    "OP_PING",
    "OP_PONG",
    "OP_TEXT",
    "Far",
    "close_frame",
    "configure",
    "masked",
]

OP_CONT, OP_TEXT, OP_BINARY, OP_CLOSE, OP_PING, OP_PONG = Opcode


def masked(opcode: Opcode, payload: bytes | str, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """Return one frame as a client sends it."""
    data = payload.encode() if isinstance(payload, str) else payload
    frame = Frame(opcode, data, fin).serialize(mask=True)
    return bytes([frame[0] | 0x40]) + frame[1:] if rsv1 else frame


def close_frame(code: int, reason: str = "") -> bytes:
    return masked(OP_CLOSE, Close(code, reason).serialize())


def configure(monkeypatch: pytest.MonkeyPatch, **options: Any) -> app.App:
    """Give the process an antiphon with these options and no others, until the test is over."""
    made = app.App(config.load(options, environment={}))
    monkeypatch.setattr(app, "_app", made)
    return made


class Far:
    """The client's end of a pair of sockets; the near end belongs to a transport of the loop."""

    def __init__(self) -> None:
        self.near, self.sock = socket.socketpair()
        self.near.setblocking(False)
        self.sock.setblocking(False)
        self.data = b""
        self.ended = False
        self.transport: asyncio.Transport

    async def connect(self, protocol: asyncio.BaseProtocol) -> Far:
        """Give the near end to ``protocol``."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, self.near)
        self.transport = transport
        return self

    async def send(self, *parts: bytes) -> None:
        """Send each of ``parts`` by itself."""
        for part in parts:
            self.sock.sendall(part)
            await settled(5)

    def read(self) -> bytes:
        """Return everything that has come so far."""
        try:
            while part := self.sock.recv(1 << 20):
                self.data += part
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.ended = True
        return self.data

    async def read_until(self, condition: Callable[[bytes], Any]) -> bytes:
        """Go round the loop until ``condition`` holds for what has come."""
        for number in range(2000):
            if condition(self.read()):
                return self.data
            await asyncio.sleep(0 if number < 50 else 0.1)
        raise AssertionError(f"what came is {self.data!r}")

    async def frames(self, count: int, *, skip: int = 0) -> list[Frame]:
        """Wait for ``count`` frames behind the first ``skip`` bytes and return them."""
        await self.read_until(lambda data: _count(data[skip:]) >= count)
        return parse_frames(self.data[skip:])

    async def end(self) -> None:
        """Close the client's end, and let the loop notice."""
        self.sock.close()
        await settled()


def _count(data: bytes) -> int:
    try:
        return len(parse_frames(data))
    except (AssertionError, EOFError):
        return 0
