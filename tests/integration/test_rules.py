"""What a group's rule does for a member who reads too slowly, on every kind of server."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from .clients import Client, Wire, connect, eventually
from .servers import ALL, Kind, Server, Servers
from .test_slow import OUTBOX_LIMIT, take_all

MESSAGES = 20_000
#: Messages that are under way at once: fewer bytes than ``OUTBOX_LIMIT``, so that who reads misses nothing.
BATCH = 500
SIZE = 900
RULES = {"prices:*": {"slow": "drop_oldest"}, "cursors:*": {"slow": "latest_by_key"}}
#: Beside the outbox: what sockets and allocators keep, and what is under way.
NOISE = 3 * OUTBOX_LIMIT

#: Who does not read does not answer pings either.
_NO_PINGS = {
    "antiphon": ("--ws-ping-interval", "3600"),
    "uvicorn": ("--ws-ping-interval", "3600"),
    "daphne": ("--ping-interval", "3600"),
    "hypercorn": (),
}


def start(servers: Servers, kind: Kind, visited: list[Server]) -> Server:
    """Return a server of its own whose groups have rules."""
    env = {"ANTIPHON_RULES": json.dumps(RULES)}
    server = servers.start(kind, "tests.integration.apps.rooms:app", *_NO_PINGS[kind.module], env=env)
    visited.append(server)
    return server


@pytest.fixture
def ruled(servers: Servers, kind: Kind, visited: list[Server]) -> Server:
    """Each kind of server."""
    return start(servers, kind, visited)


@pytest.fixture(params=[kind for kind in ALL if kind.waits], ids=lambda kind: kind.name)
def waiting(request: pytest.FixtureRequest, servers: Servers, visited: list[Server]) -> Server:
    """Each kind of server that waits for a client who does not read."""
    return start(servers, request.param, visited)


class Received(NamedTuple):
    """What a member got up to the last message."""

    numbers: list[int]
    missed: int


def sort(contents: list[Any], group: str) -> Received:
    """Tell publications from words on what was missed."""
    missed = 0
    for content in contents:
        if "number" not in content:
            assert content.pop("reason")
            assert content.keys() == {"type", "code", "group", "missed"}
            assert (content["type"], content["code"], content["group"]) == ("error", "missed", group)
            assert content["missed"] > 0
            missed += content["missed"]
    return Received([content["number"] for content in contents if "number" in content], missed)


async def read_on(wire: Wire, group: str, last: int) -> Received:
    """Let a client that has not read do so, up to the message ``last``."""
    contents: list[Any] = []
    while not contents or contents[-1].get("number") != last:
        opcode, payload = await wire.receive_frame()
        assert opcode in (0x1, 0x9), f"closed: {payload!r}"
        if opcode == 0x1:
            contents.append(json.loads(payload))
    return sort(contents, group)


async def read(client: Client, group: str, last: int) -> Received:
    """Let a client read all the time, up to the message ``last``."""
    contents: list[Any] = []
    while not contents or contents[-1].get("number") != last:
        contents.append(await client.receive_json())
    return sort(contents, group)


async def flood(publisher: Client, group: str, first: int, **more: Any) -> None:
    """Publish a batch."""
    command = {"do": "flood", "group": group, "from": first, "count": BATCH, "size": SIZE, "burst": 10, **more}
    assert await publisher.ask(command) == {"flooded": BATCH}


async def test_the_oldest_are_left_out_for_who_does_not_read_and_for_nobody_else(ruled: Server, name: str) -> None:
    assert ruled.kind is not None
    group = f"prices:{name}"
    async with (
        await Wire.open(ruled, f"/room/{group}/", receive_buffer=8192) as slow,
        await connect(ruled, f"/room/{group}/") as first,
        await connect(ruled, f"/room/{group}/") as second,
        await connect(ruled, f"/room/{name}/") as publisher,
    ):
        memory = ruled.memory()
        for start in range(0, MESSAGES, BATCH):
            flooding = asyncio.create_task(flood(publisher, group, start))
            await asyncio.gather(*(take_all(member, start, BATCH) for member in (first, second)))
            await flooding
        grown = ruled.memory() - memory
        left_out = ruled.stats()["messages_missed"]
        received = await read_on(slow, group, MESSAGES - 1)
        assert received.numbers == sorted(set(received.numbers))
        assert received.missed == left_out == MESSAGES - len(received.numbers)
        if ruled.kind.waits:
            assert left_out > MESSAGES // 4, "sockets do not hold that much"
            assert grown < OUTBOX_LIMIT + NOISE or is_parent(ruled)
        else:
            assert left_out == 0
        await slow.send_frame(0x1, b'{"do": "echo", "value": "still there"}')
        assert await slow.receive_frame() == (0x1, b'{"echo":"still there"}')
        assert ruled.stats()["slow_clients"] == 0
        if ruled.kind.name == "antiphon":  # uvicorn and the others show their own lines only
            log = await eventually(lambda: caught_up(ruled), "the log to say so")
            assert len(log) == 1, "one line, not one for each message"
            assert f"missed {left_out} messages" in log[0]


def is_parent(server: Server) -> bool:
    """Tell whether another process than the one that is measured serves the clients."""
    return server.kind is not None and server.kind.module == "hypercorn"


def caught_up(server: Server) -> list[str]:
    """Return the lines of the log about members who have caught up."""
    return [line for line in server.log().splitlines() if "it has caught up" in line]


async def test_the_latest_of_each_key_reaches_who_does_not_read(ruled: Server, name: str) -> None:
    assert ruled.kind is not None
    group, keys = f"cursors:{name}", 50
    async with (
        await Wire.open(ruled, f"/room/{group}/", receive_buffer=8192) as slow,
        await connect(ruled, f"/room/{group}/") as member,
        await connect(ruled, f"/room/{name}/") as publisher,
    ):
        memory = ruled.memory()
        reading = asyncio.create_task(read(member, group, MESSAGES - 1))
        for start in range(0, MESSAGES, BATCH):
            await flood(publisher, group, start, keys=keys)
        grown = ruled.memory() - memory
        for received in (await reading, await read_on(slow, group, MESSAGES - 1)):
            assert received.numbers == sorted(set(received.numbers))
            assert received.missed == MESSAGES - len(received.numbers)
            assert set(range(MESSAGES - keys, MESSAGES)) <= set(received.numbers)
        if ruled.kind.waits:
            assert received.missed > MESSAGES // 4
            assert grown < OUTBOX_LIMIT + NOISE or is_parent(ruled)
        assert ruled.stats()["slow_clients"] == 0


async def test_without_a_rule_who_does_not_read_is_closed(waiting: Server, name: str) -> None:
    async with (
        await Wire.open(waiting, f"/room/{name}/?client={name}", receive_buffer=8192) as slow,
        await connect(waiting, f"/room/{name}-elsewhere/") as publisher,
    ):
        first = 0
        while waiting.stats()["slow_clients"] == 0:
            assert first < MESSAGES, "the client that never reads is not closed"
            await flood(publisher, name, first)
            first += BATCH
        assert (await slow.closed()).code in (1013, 1006)
        records = await eventually(lambda: waiting.records(name)[1:], "disconnect")
        assert [(line["what"], line["code"]) for line in records] == [("disconnect", 1013)]
        assert waiting.stats()["messages_missed"] == 0
