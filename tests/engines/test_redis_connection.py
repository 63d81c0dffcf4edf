"""One connection to a server, plain and over TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import hiredis
import pytest

from antiphon.engines.redis.connection import Connection, dial, pack
from antiphon.engines.redis.options import Options

from ..integration.redis_server import Certificates, RedisServer
from .redis import shared_server
from .sqlite import until


async def connected(server: RedisServer, **options: Any) -> Connection:
    address = options.pop("host", server.host), server.port
    return await dial(Options((address,), **options), address, user="", password="")


async def test_a_question_is_answered_and_an_error_raised() -> None:
    connection = await connected(shared_server()[0])
    assert await connection.ask("ECHO", b"\x00\r\n") == b"\x00\r\n"
    with pytest.raises(hiredis.ReplyError, match="unknown command"):
        await connection.ask("NOSUCH")
    assert not connection.over.done()
    connection.abort()
    assert connection.over.result() is None
    with pytest.raises(ConnectionResetError):
        await connection.ask("PING")


async def test_answers_come_in_order_however_they_are_cut() -> None:
    connection = await connected(shared_server()[0])
    taken: list[Any] = []
    connection.begin(taken.append)
    large = b"x" * 3_000_000
    connection.write(b"".join(pack("ECHO", b"%d" % number) for number in range(1000)) + pack("ECHO", large))
    await until(lambda: len(taken) == 1001)
    assert taken == [*(b"%d" % number for number in range(1000)), large]
    connection.abort()


async def test_what_can_not_be_taken_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    connection = await connected(shared_server()[0])
    taken: list[Any] = []

    def take(reply: Any) -> None:
        taken.append(reply)
        if reply == b"1":
            raise ValueError("no")

    connection.begin(take)
    connection.write(pack("ECHO", "1") + pack("ECHO", "2"))
    await until(lambda: taken == [b"1", b"2"])
    assert "could not be taken" in caplog.text
    connection.abort()


async def test_it_is_over_when_the_server_has_gone(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        connection = await connected(server)
        asking = asyncio.ensure_future(connection.ask("BLPOP", "nothing", "0"))
        await asyncio.sleep(0.01)
        server.kill()
        with pytest.raises(ConnectionError):
            await asking
        assert connection.over.done()


async def test_it_is_full_where_the_server_does_not_read_and_tells_when_there_is_room(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        connection = await connected(server)
        connection.begin(lambda reply: None)
        room = asyncio.Event()
        connection.on_room = room.set
        server.freeze()
        for _ in range(20):
            connection.write(pack("SET", "a", b"x" * 1_000_000))
        await until(lambda: connection.is_full)
        server.thaw()
        await room.wait()
        assert not connection.is_full
        connection.abort()


async def test_a_server_that_takes_nobody_more_says_so(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--maxclients", "1", "--save", "") as server:
        first = await connected(server)
        await first.ask("PING")
        second = await connected(server)
        with pytest.raises((hiredis.ReplyError, ConnectionError)):
            await second.ask("PING")
        first.abort()


async def test_over_tls_the_certificate_has_to_be_right(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path, "localhost")
    ca = str(certificates.ca)
    with RedisServer(tmp_path, tls=certificates) as server:
        server.port = server.tls_port
        connection = await connected(server, host="localhost", tls=True, ca=ca)
        assert await connection.ask("PING") == b"PONG"
        connection.abort()
        for host, options in (("localhost", {}), ("127.0.0.1", {"ca": ca})):
            with pytest.raises(ssl.SSLCertVerificationError):
                await connected(server, host=host, tls=True, **options)
        connection = await connected(server, tls=True, verify="no")
        assert await connection.ask("PING") == b"PONG"
        connection.abort()
