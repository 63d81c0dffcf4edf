"""What attackers have in common: bytes made beforehand, sent as fast as the other side takes them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Iterable
from pathlib import Path
from typing import Any

from tests.integration.clients import Wire, connect, frame
from tests.integration.servers import Server

__all__ = [
    "MiB",
    "alive",
    "cpu_time",
    "crowd",
    "descriptors",
    "in_order",
    "opened",
    "press",
    "read_by_the_server",
    "release",
    "to_end",
]

MiB = 1024 * 1024


async def press(wire: Wire, data: bytes, times: int = 1) -> int:
    """Send ``data`` so many times, or until the other side ends the connection; return how often it went out."""
    for number in range(times):
        try:
            await wire.write(data)
        except ConnectionError:
            return number
    return times


async def read_by_the_server(wire: Wire) -> None:
    """Wait until all that was sent has been read, or the connection is closed."""
    await press(wire, frame(0x9, b"read"))
    try:
        while (await wire.receive_frame())[0] not in (0x8, 0xA):
            pass
    except (EOFError, ConnectionError):
        pass


async def to_end(wire: Wire) -> bytes:
    """Return what comes until the other side ends the connection, however it does."""
    try:
        return await wire.read_to_end()
    except ConnectionError:
        return b""


async def alive(server: Server) -> None:
    """Check that the server serves."""
    async with await connect(server, "/room/alive/") as client:
        assert await client.ask({"do": "echo", "value": 1}) == {"echo": 1}


async def crowd(server: Server, count: int, path: str, *headers: str) -> list[Wire]:
    """Open ``count`` WebSockets."""
    gate = asyncio.Semaphore(50)

    async def open_one() -> Wire:
        async with gate:
            return await Wire.open(server, path, *headers)

    return list(await asyncio.gather(*(open_one() for _ in range(count))))


def release(wires: Iterable[Wire], *, reset: bool = False) -> None:
    """End connections."""
    for wire in wires:
        if reset:
            wire.reset()
        else:
            wire.close()


@contextlib.asynccontextmanager
async def opened(server: Server, count: int, path: str, *headers: str) -> AsyncIterator[list[Wire]]:
    """Have a crowd for a while."""
    wires = await crowd(server, count, path, *headers)
    try:
        yield wires
    finally:
        release(wires)


async def in_order(jobs: Iterable[Awaitable[Any]], width: int) -> None:
    """Await jobs, ``width`` of them at a time."""
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await job

    await asyncio.gather(*(work() for _ in range(width)))


def cpu_time(server: Server) -> float:
    """Return the seconds of processor time that the server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(server: Server) -> int:
    """Return how many files and sockets the server has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))
