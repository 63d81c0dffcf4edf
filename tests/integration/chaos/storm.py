"""A storm: thousands of clients come back at the same moment, and recover what was published while they were away.

The clients run in a process of their own, which this file is too: it takes orders on its standard input, and answers
in JSON on its standard output. They are sockets with no WebSocket library, so that what is measured is the server.
Meanwhile 20 others, in the process that gives the orders, get publications by the clock: that is the live traffic.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.integration.clients import Client, connect, frame, upgrade_request
from tests.integration.servers import DIRECT, ROOT, Server, Servers

from .plan import RULES
from .run import APPLICATION

__all__ = ["storm"]

GROUP, LIVE, AWAY = "long:a", "live:a", 10
#: Seconds between two publications of the live traffic, and how long that goes on before the storm, to compare.
TICK, CALM = 0.02, 5.0
#: Seconds for everybody to have connected, or come back.
PATIENCE = 120.0

TEXT, PING, PONG = 1, 9, 10


async def storm(servers: Servers, clients: int, say: Callable[[str], None]) -> int:
    """Let so many clients come back, say what was seen, and return 1 if anything was not as it should be."""
    server = servers.start(DIRECT[0], APPLICATION, env={"ANTIPHON_RULES": json.dumps(RULES)})
    crowd = await Crowd.start(server, clients)
    publisher = await connect(server, "/publisher", max_size=None)
    traffic = await Traffic.start(server)
    try:
        answer = await crowd.order("connect")
        say(f"{answer['done']:,} clients have connected and subscribed in {answer['seconds']:.1f} s")
        await traffic.measure(asyncio.sleep(CALM))
        say(f"live traffic in the calm: {traffic.figures()}")
        await crowd.order("vanish")
        await publisher.receive()  # which worker it is
        await publisher.ask(publish(GROUP, 1, AWAY))
        answer = await traffic.measure(crowd.order("return"))
        say(f"{answer['done']:,} clients are back in {answer['seconds']:.1f} s, {answer['recovered']:,} have recovered")
        say(f"that took {answer['attempts']:,} connections; who was cut off came back after up to 0.5, 1, 2 … s")
        say(f"live traffic meanwhile: {traffic.figures()}")
        say(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; server {server.memory() / 2**20:.0f} MiB")
    finally:
        await traffic.stop()
        await publisher.close()
        await crowd.stop()
    stats = await asyncio.to_thread(server.stats)
    say(f"half-open connections that the server cut off: {stats['half_open_dropped']:,}")
    faults = [*answer["wrong"][:5]] + [words for words in ("Traceback", "ERROR") if words in server.log()]
    faults += [f"{name} is {stats[name]}" for name in ("gaps", "slow_clients", "client_errors") if stats[name]]
    for fault in faults:
        say(f"WRONG  {fault}")
    passed = answer["recovered"] == clients and not faults
    print(f"PASSED: all {clients:,} have recovered {AWAY} publications each." if passed else "FAILED", flush=True)
    return 0 if passed else 1


def publish(group: str, first: int, count: int) -> dict[str, Any]:
    """Return the order to publish so many."""
    what = {"group": group, "first": first, "count": count}
    return {"do": "publish", "with": {**what, "turn": 1, "event": "", "keyed": False}}


class Traffic:
    """A connection that publishes by the clock, and others that get it."""

    def __init__(self, publisher: Client, listeners: list[Client]) -> None:
        self._publisher = publisher
        self._listeners = listeners
        self._delays: list[float] = []
        self._sent: dict[int, float] = {}
        self._tasks = [asyncio.create_task(self._listen(listener)) for listener in listeners]

    @classmethod
    async def start(cls, server: Server) -> Traffic:
        """Connect."""
        listeners = [await connect(server, f"/member?groups={LIVE}") for _ in range(20)]
        return cls(await connect(server, "/publisher"), listeners)

    async def measure(self, meanwhile: Any) -> Any:
        """Publish while ``meanwhile`` is awaited, and return what that returned."""
        self._delays.clear()
        publishing = asyncio.create_task(self._publish())
        try:
            return await meanwhile
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def _publish(self) -> None:
        due = time.perf_counter()
        while True:
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            self._sent[len(self._sent) + 1] = due  # when it was to be sent: a server that takes nothing is slow too
            await self._publisher.send_json(publish(LIVE, len(self._sent), 1))
            due += TICK

    async def _listen(self, listener: Client) -> None:
        async for message in listener.websocket:
            found = json.loads(message)
            if "filling" in found:
                self._delays.append(time.perf_counter() - self._sent[found["n"]])

    def figures(self) -> str:
        """Say how long publications took from the clock to their listeners."""
        if len(self._delays) < 100:
            return "too little to tell"
        cuts = statistics.quantiles(self._delays, n=100)
        half, most, longest = (f"{1000 * each:.1f} ms" for each in (cuts[49], cuts[98], max(self._delays)))
        return f"p50 {half}, p99 {most}, longest {longest}, {len(self._delays):,} deliveries"

    async def stop(self) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in (self._publisher, *self._listeners):
            client.vanish()


class Crowd:
    """The process of the many clients, as its master sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, server: Server, clients: int) -> Crowd:
        """Start it."""
        arguments = ("-m", __name__, str(server.port), str(clients))
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdin=pipe, stdout=pipe, cwd=ROOT, start_new_session=True
            )
        )

    async def order(self, order: str) -> Any:
        """Give an order, and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{order}\n".encode())
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), PATIENCE + 30))

    async def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


# The other process

#: Connections that are being made; held here so that they go on.
_trying: list[asyncio.Task[None]] = []


class Soul(asyncio.Protocol):
    """One of the many: connects, subscribes, and knows its position."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.epoch, self.offset = "", 0
        self.attempts = 0
        """To connect, since it was told to."""
        self.has_subscribed = False
        self.recovered = 0
        self.wrong = ""
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send all at once: the server reads the frame behind the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._buffer, self.has_subscribed = transport, b"", False
        subscribe: dict[str, Any] = {"channel": GROUP}
        if self.epoch:
            subscribe.update(recover=True, epoch=self.epoch, offset=self.offset)
        commands = [{"connect": {}, "id": 1}, {"subscribe": subscribe, "id": 2}]
        payload = "\n".join(json.dumps(command) for command in commands).encode()
        transport.write(upgrade_request("/connection") + frame(TEXT, payload))

    def data_received(self, data: bytes) -> None:
        """Take what has come whole."""
        self._buffer += data
        if self._buffer.startswith(b"HTTP"):
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                self.wrong = head.decode("latin-1")
            self._buffer = rest
        while (found := self._frame()) is not None:
            opcode, payload = found
            if opcode == PING:
                self._write(frame(PONG, payload))
            elif opcode == TEXT:
                for line in payload.split(b"\n"):
                    self._take(line)
            else:
                self.wrong = f"closed: {payload[2:].decode()}"

    def connection_lost(self, exc: Exception | None) -> None:
        """Come back, as SDKs do: after a random part of a time that doubles."""
        if self._transport is not None:
            self._transport = None
            self.come_later()

    def come_later(self) -> None:
        """Connect after a while."""
        loop = asyncio.get_running_loop()
        delay = random.uniform(0, min(0.5 * 2**self.attempts, 20))
        loop.call_later(delay, lambda: _trying.append(loop.create_task(self.come())))

    async def come(self) -> None:
        """Connect."""
        self.attempts += 1
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError:
            self.come_later()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, begin = buffer[1], 2
        if length == 126 and len(buffer) >= 4:
            (length,), begin = struct.unpack("!H", buffer[2:4]), 4
        if len(buffer) < begin + length:
            return None
        self._buffer = buffer[begin + length :]
        return buffer[0] & 0x0F, buffer[begin : begin + length]

    def _take(self, line: bytes) -> None:
        if line == b"{}":
            self._write(frame(TEXT, b"{}"))
            return
        reply = json.loads(line)
        if "error" in reply:
            self.wrong = str(reply["error"])
        elif "subscribe" in reply:
            self._subscribed(reply["subscribe"])
        elif "pub" in reply.get("push", {}):
            self._next(reply["push"]["pub"]["offset"])

    def _subscribed(self, result: dict[str, Any]) -> None:
        self.has_subscribed = True
        if result.get("recovered"):
            for publication in result.get("publications", ()):
                self._next(publication["offset"])
                self.recovered += 1
        elif self.epoch:
            self.wrong = f"not recovered: {result}"
        else:
            self.epoch, self.offset = result["epoch"], result.get("offset", 0)

    def _next(self, offset: int) -> None:
        if offset != self.offset + 1:
            self.wrong = f"behind offset {self.offset} came {offset}"
        self.offset = offset

    def vanish(self) -> None:
        """End the connection without a word."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()


async def _obey(port: int, clients: int) -> None:
    """Take orders until there are no more."""
    souls = [Soul(port) for _ in range(clients)]
    loop = asyncio.get_running_loop()
    while order := (await asyncio.to_thread(sys.stdin.readline)).strip():
        begun = loop.time()
        if order == "vanish":
            for soul in souls:
                soul.vanish()
        elif order == "connect":
            for first in range(0, clients, 200):
                await _come(souls[first : first + 200])
        else:
            await _come(souls)
        answer = {
            "done": sum(soul.has_subscribed for soul in souls),
            "recovered": sum(soul.recovered == AWAY for soul in souls),
            "attempts": sum(soul.attempts for soul in souls),
            "wrong": sorted({soul.wrong for soul in souls if soul.wrong}),
            "seconds": loop.time() - begun,
        }
        print(json.dumps(answer), flush=True)


async def _come(souls: list[Soul]) -> None:
    """Connect all of them at the same moment, and wait until they have subscribed."""
    for soul in souls:
        soul.attempts = 0
    await asyncio.gather(*(soul.come() for soul in souls))
    try:
        async with asyncio.timeout(PATIENCE):
            while not all(soul.has_subscribed or soul.wrong for soul in souls):
                await asyncio.sleep(0.01)
    except TimeoutError:
        pass  # who has not, is not counted


if __name__ == "__main__":
    asyncio.run(_obey(int(sys.argv[1]), int(sys.argv[2])))
