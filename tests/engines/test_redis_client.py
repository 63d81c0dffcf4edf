"""Where the server is; sentinels that fail over are in the tests of faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.counters import Counters
from antiphon.engines.redis import client as module
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.faults import Fault
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.scripts import RUN

from ..integration.redis_server import RedisServer, free_port
from .redis import shared_server
from .sqlite import until


@contextlib.asynccontextmanager
async def sentinel(*answers: bytes) -> AsyncIterator[tuple[str, int]]:
    """What answers as a sentinel does: the last answer again and again."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1000):
            writer.write(left[0] if len(left) == 1 else left.pop(0))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]


def named(port: int) -> bytes:
    return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)


def client_of(*sentinels: tuple[str, int]) -> Client:
    options = Options(sentinels, "talk", timeout=2.0)
    return Client(options, Counters(), lambda channel, message: None, lambda: None)


async def test_the_first_sentinel_that_knows_is_believed() -> None:
    server, _ = shared_server()
    async with sentinel(b"*-1\r\n") as ignorant, sentinel(named(server.port)) as knowing:
        client = client_of(("127.0.0.1", free_port()), ignorant, knowing)
        await client.start(["channel"])
        run, mode, version = await client.pipeline.call("x", "EVAL", RUN.text, 0)
        assert (mode, version[:1].isdigit()) == (b"standalone", True)
        assert client.pipeline._connection is not None
        assert client.pipeline._connection.run == run.decode()
        await client.stop()


async def test_no_sentinel_knows() -> None:
    async with sentinel(b"*-1\r\n") as ignorant, sentinel(b"-NOAUTH Authentication required.\r\n") as closed:
        client = client_of(("127.0.0.1", free_port()), ignorant, closed)
        with pytest.raises(Fault, match=r"can't be reached.*knows no master 'talk'.*wants a password"):
            await client.start(["channel"])
        await client.stop()


async def test_a_server_that_the_sentinels_have_replaced_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SENTINEL_INTERVAL", 0.05)
    server, _ = shared_server()
    nowhere = free_port()
    answers = [named(server.port)] * 2 + [b"*-1\r\n"] * 2 + [named(nowhere), named(server.port)]
    async with sentinel(*answers) as knowing:
        client = client_of(knowing)
        downs: list[Fault] = []
        on_down = client.pipeline.on_down

        def note(fault: Fault) -> None:
            downs.append(fault)
            on_down(fault)

        monkeypatch.setattr(client.pipeline, "on_down", note)
        await client.start(["channel"])
        await until(lambda: downs)
        assert "taken over" in str(downs[0])
        await until(lambda: client.pipeline.is_connected)
        await client.stop()


async def test_each_connection_that_leads_to_a_former_master_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "SENTINEL_INTERVAL", 0.05)
    server, _ = shared_server()
    with RedisServer(tmp_path) as former:
        async with sentinel(named(former.port), named(server.port)) as knowing:
            client = client_of(knowing)
            await client.start(["channel"])
            await until(lambda: {client.pipeline.address, client.subscription.address} == {("127.0.0.1", server.port)})
            assert former.call("CLIENT", "LIST", "TYPE", "pubsub") == b""
            await client.stop()
