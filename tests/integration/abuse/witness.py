"""The witness: a well-behaved client in a process of its own, which tells how long it had to wait.

The law that it watches over: whatever one client does, the others wait less than 50 ms. Run as a script it is the
process; ``Witness`` is the test's side of it.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.integration.servers import PATIENCE, ROOT, Server

__all__ = ["STALL", "Latencies", "Witness", "worst_of"]

#: What a test allows, in seconds. The law says 0.05; the rest is for machines that do other work at the same time.
STALL = 0.25
#: Seconds between two questions.
PAUSE = 0.002


class Latencies(NamedTuple):
    """How long the witness waited for its answers, in seconds."""

    questions: int
    median: float
    p99: float
    worst: float

    def __str__(self) -> str:
        """Show them in milliseconds."""
        median, p99, worst = (f"{time * 1000:.1f} ms" for time in (self.median, self.p99, self.worst))
        return f"median {median}, p99 {p99}, worst {worst} of {self.questions}"


class Witness:
    """Asks ``server`` for echoes while the block runs; then ``latencies`` tells."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._process: asyncio.subprocess.Process
        self.latencies: Latencies

    async def __aenter__(self) -> Witness:
        command = (sys.executable, "-m", __name__, self._server.host, str(self._server.port))
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT)
        assert self._process.stdout is not None
        ready = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        assert ready == b"ready\n", "the witness could not connect"
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            output, _ = await asyncio.wait_for(self._process.communicate(b"stop"), PATIENCE)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise AssertionError("the witness waits in vain for an answer") from None
        self.latencies = Latencies(*json.loads(output))


async def worst_of(server: Server, attack: Callable[[], Awaitable[object]], times: int = 3) -> list[float]:
    """Return how long the witness waited at worst in each of several attacks, in seconds, shortest first."""
    worst = []
    for _ in range(times):
        async with Witness(server) as witness:
            await attack()
        worst.append(witness.latencies.worst)
    return sorted(worst)


# The process


def _main(host: str, port: int) -> None:
    connection = socket.create_connection((host, port), PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = (
        f"GET /room/witness/ HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    connection.sendall(request.encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    print("ready", flush=True)
    times = sorted(_ask(connection))
    print(json.dumps([len(times), times[len(times) // 2], times[int(len(times) * 0.99)], times[-1]]), flush=True)


def _ask(connection: socket.socket) -> list[float]:
    """Ask for echoes until the other side says stop."""
    question = b'{"do": "echo", "value": 1}'
    masked = struct.pack("!BB", 0x81, 0x80 | len(question)) + bytes(4) + question
    answer = b'\x81\x0a{"echo":1}'
    times: list[float] = []
    while not times or not _told_to_stop():
        asked = time.perf_counter()
        connection.sendall(masked)
        received = b""
        while len(received) < len(answer):
            data = connection.recv(4096)
            assert data, "the witness was closed"
            received = (received + data).replace(b"\x89\x00", b"")  # a ping may stand between
        assert received == answer
        times.append(time.perf_counter() - asked)
        time.sleep(PAUSE)
    return times


def _told_to_stop() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
