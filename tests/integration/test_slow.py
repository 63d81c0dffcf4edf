"""Who is slow costs nobody else anything: a client that does not read, a handler that does not end."""

from __future__ import annotations

import asyncio
import contextlib
import functools

import pytest

from .clients import Client, Wire, connect, eventually
from .servers import Kind, Server, Servers

MESSAGES = 12_000
SIZE = 1000
OUTBOX_LIMIT = 1024 * 1024


@pytest.fixture
def fresh_rooms(servers: Servers, direct_kind: Kind, visited: list[Server]) -> Server:
    """A server of its own, whose memory no other test has touched."""
    server = servers.start(direct_kind, "tests.integration.apps.rooms:app")
    visited.append(server)
    return server


async def take_all(client: Client, first: int, count: int) -> None:
    """Receive publications ``first`` and on, each once and in order."""
    for number in range(first, first + count):
        assert (await client.receive_json())["number"] == number


async def test_client_that_never_reads_is_closed_and_nobody_else_notices(fresh_rooms: Server, name: str) -> None:
    server = fresh_rooms
    members = [await connect(server, f"/room/{name}/") for _ in range(5)]
    lazy = await Wire.open(server, f"/room/{name}/?client={name}", receive_buffer=8192)
    publisher = await connect(server, f"/room/{name}-elsewhere/")
    try:
        memory = server.memory()
        first, batch = 0, 1000
        while server.stats()["slow_clients"] == 0:
            assert first < MESSAGES, "the client that never reads is not closed"
            command = {"do": "flood", "group": name, "from": first, "count": batch, "size": SIZE, "burst": 4}
            floods = asyncio.create_task(publisher.ask(command))
            await asyncio.gather(*(take_all(member, first, batch) for member in members))
            assert await floods == {"flooded": batch}
            first += batch
        stats = server.stats()
        assert stats["slow_clients"] == 1
        assert stats["dropped_bytes"] > 0
        assert "the client does not read; closed with 1013 at outbox_limit" in server.log()
        assert server.memory() - memory < 8 * OUTBOX_LIMIT
        assert (await lazy.closed()).code in (1013, 1006)
        records = await eventually(lambda: server.records(name)[1:], "disconnect")
        assert [(line["what"], line["code"]) for line in records] == [("disconnect", 1013)]
    finally:
        lazy.close()
        for client in (*members, publisher):
            await client.close()


async def test_one_of_1000_that_never_reads_costs_its_outbox_and_the_others_nothing(
    servers: Servers, direct_kind: Kind, visited: list[Server], name: str
) -> None:
    # A member that is busy comparing could miss the time for a pong; and a ping would stand among what is compared.
    limit = OUTBOX_LIMIT // 2
    env = {"ANTIPHON_OUTBOX_LIMIT": str(limit)}
    server = servers.start(direct_kind, "tests.integration.apps.rooms:app", "--ws-ping-interval", "3600", env=env)
    visited.append(server)
    count, batch, size = 100_000, 5000, 45
    frames = [frame_of_flood(number, size) for number in range(count)]
    stream = b"".join(frames)
    lazy = await Wire.open(server, f"/room/{name}/?client={name}", receive_buffer=8192)
    members = [await Listener.open(server, f"/room/{name}/", stream) for _ in range(999)]
    publisher = await connect(server, f"/room/{name}-elsewhere/")
    try:
        memory, most, expected = server.memory(), 0, 0
        for first in range(0, count, batch):
            command = {"do": "flood", "group": name, "from": first, "count": batch, "size": size, "burst": 1000}
            assert await publisher.ask(command) == {"flooded": batch}
            expected += sum(map(len, frames[first : first + batch]))
            await eventually(functools.partial(all_have, members, expected), "the members")
            most = max(most, server.memory())
        assert most - memory < limit + 2 * OUTBOX_LIMIT, "its outbox, and noise"
        assert [each.received for each in members] == [len(stream)] * len(members)
        stats = server.stats()
        assert (stats["slow_clients"], stats["connections"]) == (1, 1000)
    finally:
        lazy.close()
        for member in members:
            member.close()
        await publisher.close()


def frame_of_flood(number: int, size: int) -> bytes:
    """Return the frame of one publication of ``flood``."""
    payload = b'{"number":%d,"filling":"%s"}' % (number, b"x" * size)
    return bytes((0x81, len(payload))) + payload


def all_have(members: list[Listener], expected: int) -> bool:
    """Tell whether so many bytes have come to each."""
    return all(member.has(expected) for member in members)


class Listener(asyncio.Protocol):
    """A member that compares what it gets with what it has to get, byte for byte, and keeps nothing."""

    def __init__(self, stream: bytes) -> None:
        self.received = 0
        self.fault = b""
        self._stream = stream
        self._transport: asyncio.BaseTransport

    @classmethod
    async def open(cls, server: Server, path: str, stream: bytes) -> Listener:
        """Open a WebSocket and listen."""
        wire = await Wire.open(server, path)
        _, listener = await asyncio.get_running_loop().create_connection(lambda: cls(stream), sock=wire.detach())
        return listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember what to close."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Compare."""
        if not self._stream.startswith(data, self.received):
            self.fault = self.fault or data
        self.received += len(data)

    def has(self, expected: int) -> bool:
        """Tell whether so many bytes have come; fail if they are not what they should be."""
        assert not self.fault, f"{self.fault[:100]!r} before byte {self.received}"
        return self.received >= expected

    def close(self) -> None:
        """End the connection."""
        self._transport.close()


async def test_slow_client_that_reads_again_in_time_gets_everything(direct_rooms: Server, name: str) -> None:
    async with (
        await Wire.open(direct_rooms, f"/room/{name}/", receive_buffer=8192) as slow,
        await connect(direct_rooms, f"/room/{name}-elsewhere/") as publisher,
    ):
        count = 600
        command = {"do": "flood", "group": name, "from": 0, "count": count, "size": SIZE, "burst": 10}
        assert await publisher.ask(command) == {"flooded": count}
        for number in range(count):
            opcode, payload = await slow.receive_frame()
            assert opcode == 0x1
            assert payload.startswith(b'{"number":%d,' % number)


async def test_client_that_never_reads_its_echoes(fresh_rooms: Server, name: str) -> None:
    async with (
        await Wire.open(fresh_rooms, f"/room/{name}/?client={name}", receive_buffer=8192) as lazy,
        await connect(fresh_rooms, f"/room/{name}/") as other,
    ):
        memory = fresh_rooms.memory()
        text = b'{"do": "echo", "value": "%s"}' % (b"x" * 60_000)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while fresh_rooms.stats()["slow_clients"] == 0:
                await asyncio.wait_for(lazy.send_frame(0x1, text), 5)
        assert await other.ask({"do": "echo", "value": 1}) == {"echo": 1}
        assert fresh_rooms.stats()["slow_clients"] == 1
        assert fresh_rooms.memory() - memory < 16 * OUTBOX_LIMIT
        records = await eventually(lambda: fresh_rooms.records(name)[1:], "disconnect")
        assert len(records) == 1


async def test_busy_handler_pauses_reading_and_loses_nothing(rooms: Server, name: str) -> None:
    count = 3000
    async with (
        await connect(rooms, f"/room/{name}/?client={name}") as busy,
        await connect(rooms, f"/room/{name}/") as other,
    ):
        await busy.send_json({"do": "wait", "for": name})
        sending = asyncio.create_task(send_many(busy, count))
        await eventually(lambda: rooms.records(name)[1:], "the handler to wait")
        assert await other.ask({"do": "echo", "value": "quick"}) == {"echo": "quick"}
        assert await other.ask({"do": "open", "gate": name}) == {"opened": name}
        assert await busy.receive_json() == {"waited": name}
        for number in range(count):
            assert await busy.receive_json() == {"echo": [number, "x" * SIZE]}
        await sending


async def send_many(client: Client, count: int) -> None:
    """Send ``count`` messages of about ``SIZE`` bytes."""
    for number in range(count):
        await client.send_json({"do": "echo", "value": [number, "x" * SIZE]})


async def test_reading_stops_while_the_handler_is_busy(direct_rooms: Server, name: str) -> None:
    async with (
        await Wire.open(direct_rooms, f"/room/{name}/?client={name}") as busy,
        await connect(direct_rooms, f"/room/{name}/") as other,
    ):
        memory = direct_rooms.memory()
        await busy.send_frame(0x1, b'{"do": "wait", "for": "%s"}' % name.encode())
        await eventually(lambda: direct_rooms.records(name)[1:], "the handler to wait")
        text = b'{"do": "echo", "value": "%s"}' % (b"x" * 10_000)
        sent = 0
        with contextlib.suppress(TimeoutError):  # the server's and our own socket buffers are full
            while sent < 4000:
                await asyncio.wait_for(busy.send_frame(0x1, text), 1)
                sent += 1
        assert sent < 4000, "the server read 40 MB for a handler that is busy"
        assert direct_rooms.memory() - memory < 16 * OUTBOX_LIMIT
        assert await other.ask({"do": "open", "gate": name}) == {"opened": name}
        assert await busy.receive_frame() == (0x1, b'{"waited":"%s"}' % name.encode())
        for _ in range(sent):
            await busy.receive_frame()


async def test_events_for_a_busy_consumer_are_bounded(fresh_rooms: Server, name: str) -> None:
    server = fresh_rooms
    busy = await connect(server, f"/room/{name}/?client={name}")
    async with await connect(server, f"/room/{name}/") as talker:
        await busy.send_json({"do": "wait", "for": name})
        await eventually(lambda: server.records(name)[1:], "the handler to wait")
        for number in range(120):
            assert await talker.ask({"do": "say", "value": f"{number} " + "x" * 50_000})
        assert server.stats()["slow_consumers"] == 1
        assert "a handler is so slow that" in server.log()
        assert (await busy.closed()).code == 1013
        await eventually(lambda: server.stats()["connections"] == 1, "the connection to be gone with its handler busy")
        await talker.ask({"do": "open", "gate": name})
    await busy.close()
