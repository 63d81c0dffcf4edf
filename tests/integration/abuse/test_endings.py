"""Clients that do not let go: who ignores a close frame, never reads it, or goes on talking, is gone all the same."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.integration.clients import Wire, connect, eventually, exchange, frame, upgrade_request
from tests.integration.servers import Server, Servers

from .attack import MiB, crowd, descriptors, press, release
from .conftest import APP, SERVE, Record, Start
from .witness import STALL, Witness

COUNT = 100
LARGE = frame(0x1, b'{"do": "echo", "value": "%s"}' % (b"x" * 50_000))
#: What makes the server close, and what it tells then.
CAUSES = {
    "application": (frame(0x1, b'{"do": "close", "code": 4000}'), 4000),
    "failure": (frame(0x1, b'{"do": "fail"}'), 1011),
    "violation": (b"\xff\xff", 1002),
    "too big": (b"\x82\xff" + (2**40).to_bytes(8, "big"), 1009),
}


@pytest.mark.parametrize("cause", CAUSES)
async def test_who_ignores_the_close_frame_is_gone_all_the_same(start: Start, cause: str) -> None:
    server = start(close_timeout=1)
    files = descriptors(server)
    data, code = CAUSES[cause]
    wires = await crowd(server, COUNT, "/room/endings/")
    for wire in wires:
        await wire.write(data)
    for wire in wires:
        assert (await wire.closed()).code == code
    await eventually(lambda: descriptors(server) <= files + 1, "their sockets to be closed")
    assert server.stats()["connections"] == 0
    release(wires)


@pytest.mark.parametrize("cause", CAUSES)
async def test_who_goes_on_talking_is_not_heard_for_long(start: Start, cause: str, record_property: Record) -> None:
    server = start(close_timeout=1)
    files, memory = descriptors(server), server.memory()
    data, _ = CAUSES[cause]
    flood = frame(0x1, b'{"do": "echo", "value": 1}') * 20_000
    wires = await crowd(server, 10, "/room/endings/")

    async def talk(wire: Wire) -> None:
        await wire.write(data)
        while await press(wire, flood):
            pass

    async with Witness(server) as witness:
        async with asyncio.timeout(15):
            await asyncio.gather(*(talk(wire) for wire in wires))
    record_property("worst", witness.latencies.worst)
    await eventually(lambda: descriptors(server) <= files + 1, "their sockets to be closed")
    assert witness.latencies.p99 < STALL
    assert server.memory() - memory < 8 * MiB
    release(wires)


async def test_who_never_reads_and_says_good_bye_is_gone(start: Start) -> None:
    """The answer to its close frame stands behind what it does not read."""
    server = start(close_timeout=1, outbox_limit=4 * MiB)
    files = descriptors(server)
    wires = [await Wire.open(server, "/room/endings/", receive_buffer=8192) for _ in range(10)]
    for wire in wires:
        await press(wire, LARGE, 20)
        await press(wire, frame(0x8, b"\x03\xe8"))
    await eventually(lambda: server.stats()["connections_closed"] == len(wires), "disconnect")
    await eventually(lambda: descriptors(server) <= files + 1, "their sockets to be closed")
    release(wires)


async def test_who_never_reads_is_gone_after_it_was_closed_for_that(start: Start, record_property: Record) -> None:
    server = start(close_timeout=1, message_rate=0, byte_rate=0)
    files, memory = descriptors(server), server.memory()
    wires = [await Wire.open(server, "/room/endings/", receive_buffer=8192) for _ in range(10)]
    sending = [asyncio.create_task(press(wire, LARGE, 1000)) for wire in wires]
    await eventually(lambda: server.stats()["slow_clients"] == len(wires), "all to be closed")
    record_property("growth", server.memory() - memory)
    assert server.memory() - memory < len(wires) * 8 * MiB
    await eventually(lambda: descriptors(server) <= files + 1, "their sockets to be closed")
    for task in sending:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*sending, return_exceptions=True)
    release(wires)


async def test_who_does_not_answer_pings_is_gone(start: Start) -> None:
    server = start(ping_interval=0.5, ping_timeout=0.5)
    files = descriptors(server)
    wires = await crowd(server, COUNT, "/room/endings/")
    await eventually(lambda: server.stats()["pings_unanswered"] == COUNT, "all to be given up")
    await eventually(lambda: descriptors(server) <= files + 1, "their sockets to be closed")
    await eventually(lambda: server.stats()["connections_closed"] == COUNT, "disconnect")
    release(wires)


async def test_who_answers_pings_with_anything_stays(start: Start) -> None:
    server = start(ping_interval=0.5, ping_timeout=0.5)
    async with await connect(server, "/room/endings/") as client:
        for number in range(12):
            assert await client.ask({"do": "echo", "value": number}) == {"echo": number}
            await asyncio.sleep(0.1)
    assert server.stats()["pings_unanswered"] == 0


# As many as there may be


async def refused(server: Server, *headers: str) -> int:
    """Return the status of a handshake."""
    async with await exchange(server, upgrade_request("/room/endings/", *headers)) as wire:
        return wire.status


async def test_connections_of_a_process_are_bounded(start: Start) -> None:
    server = start(max_connections=20)
    for _ in range(3):  # each place is given back, whoever had it, and however it ended
        wires = await crowd(server, 20, "/room/endings/")
        assert [await refused(server) for _ in range(5)] == [503] * 5
        release(wires[:10])
        release(wires[10:], reset=True)
        await eventually(lambda: server.stats()["connections"] == 0, "the clients to be gone")
        assert await refused(server, "Sec-WebSocket-Version: 8") == 426
    assert server.stats()["connections_over_limit"] == 15


ADDRESSES = {
    "one address": ["203.0.113.7"] * 8,
    "one network": [f"2001:db8:1:2::{number:x}" for number in range(8)],
    "one address, spelled differently": ["203.0.113.7", "::ffff:203.0.113.7"] * 4,
    "behind what the client wrote": [f"198.51.100.{number}, 203.0.113.7" for number in range(8)],
}


@pytest.mark.parametrize("case", ADDRESSES)
async def test_connections_of_an_address_are_bounded(start: Start, case: str) -> None:
    server = start(connections_per_address=5)
    wires = []
    statuses = []
    for address in ADDRESSES[case]:
        wire = await knock(server, address)
        wires.append(wire)
        statuses.append(wire.status)
    assert statuses == [101] * 5 + [429] * 3
    assert await refused(server, "X-Forwarded-For: 198.51.100.200") == 101
    release(wires)
    await eventually(lambda: server.stats()["connections"] == 0, "the clients to be gone")
    assert await refused(server, f"X-Forwarded-For: {ADDRESSES[case][0]}") == 101


async def test_client_does_not_choose_its_address_where_every_proxy_is_believed(
    servers: Servers, visited: list[Server]
) -> None:
    env = {"ANTIPHON_CONNECTIONS_PER_ADDRESS": "5"}
    server = servers.start(SERVE, APP, "--forwarded-allow-ips", "*", env=env)
    visited.append(server)
    wires = [await knock(server, f"198.51.100.{number}, 203.0.113.7") for number in range(8)]
    assert [wire.status for wire in wires] == [101] * 5 + [429] * 3
    release(wires)


async def knock(server: Server, address: str) -> Wire:
    """Return a connection as a proxy would make it for a client at ``address``."""
    return await exchange(server, upgrade_request("/room/endings/", f"X-Forwarded-For: {address}"))
