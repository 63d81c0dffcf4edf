"""Limits of a connection that hold on every server: rates, the time for connect(), what it can put into the log."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from .clients import Client, Wire, closed_with, connect, eventually, exchange, upgrade_request
from .servers import Kind, Server, Servers

APP = "tests.integration.apps.limits:app"
#: Ten messages, twenty thousand bytes at once.
OPTIONS = {
    "ANTIPHON_MESSAGE_RATE": "0.5",
    "ANTIPHON_BYTE_RATE": "1000",
    "ANTIPHON_RATE_BURST": "20",
    "ANTIPHON_MAX_MESSAGE_SIZE": "10000",
    "ANTIPHON_HANDSHAKE_TIMEOUT": "1",
}


@pytest.fixture(scope="session")
def shared() -> dict[Kind, Server]:
    """The servers of this module, by their kind."""
    return {}


@pytest.fixture
def limited(servers: Servers, kind: Kind, shared: dict[Kind, Server], visited: list[Server]) -> Server:
    """``apps/limits.py`` with tight limits on each kind of server."""
    if kind not in shared:
        shared[kind] = servers.start(kind, APP, env=OPTIONS)
    visited.append(shared[kind])
    return shared[kind]


@pytest.fixture
def direct_limited(servers: Servers, direct_kind: Kind, shared: dict[Kind, Server], visited: list[Server]) -> Server:
    """The same on each kind of server that runs antiphon's protocol class."""
    if direct_kind not in shared:
        shared[direct_kind] = servers.start(direct_kind, APP, env=OPTIONS)
    visited.append(shared[direct_kind])
    return shared[direct_kind]


async def what(server: Server, client: str, number: int) -> list[str]:
    """Wait for ``number`` records of a client; return what they say."""
    await eventually(lambda: len(server.records(client)) >= number, f"{number} records of {client}")
    return [line["what"] for line in server.records(client)]


# Rates


async def use_up(client: Client, message: str | bytes, allowed: int) -> Any:
    """Send a message so many times and get it back; send one more and return what comes next."""
    for _ in range(allowed):
        await client.send(message)
        assert await client.receive() == message
    await client.send(message)
    return await client.receive()


@pytest.mark.parametrize(
    ("message", "allowed", "words"),
    [
        ("x", 10, "more than 0.5 messages per second"),
        (b"\x00", 10, "more than 0.5 messages per second"),
        ("x" * 6000, 3, "more than 1000 bytes per second"),
        (b"\x00" * 6000, 3, "more than 1000 bytes per second"),
    ],
    ids=["texts", "binaries", "bytes of texts", "bytes of binaries"],
)
async def test_over_a_rate_a_client_is_told_and_closed(
    limited: Server, name: str, message: str | bytes, allowed: int, words: str
) -> None:
    before, printed = limited.stats()["rate_limited"], len(limited.log())
    async with await connect(limited, f"/echo/{name}/?client={name}", compression=None) as client:
        answer = await use_up(client, message, allowed)
        assert answer == f'{{"type":"error","code":"rate_limited","reason":"{words}"}}'
        assert closed_with(limited, await client.closed(), 1008, f"rate limit: {words}")
    assert await what(limited, name, allowed + 1) == ["received"] * allowed + ["disconnect"]
    assert limited.stats()["rate_limited"] == before + 1
    lines = [line for line in limited.log(printed).splitlines() if "rate_burst" in line]
    assert len(lines) == 1
    option = "message_rate" if "messages" in words else "byte_rate"
    assert f"Echo at '/echo/{name}/' (no user): the client sends {words} ({option})" in lines[0]


async def test_the_rate_is_each_client_s_own(limited: Server, name: str) -> None:
    async with await connect(limited, f"/echo/{name}/") as other, await connect(limited, f"/echo/{name}/") as client:
        await use_up(client, "x", 10)
        for _ in range(10):
            await other.send("y")
            assert await other.receive() == "y"
        again = await connect(limited, f"/echo/{name}/")
        await again.send("z")
        assert await again.receive() == "z"
        await again.close()


async def test_one_message_of_the_largest_size_passes(servers: Servers, kind: Kind, visited: list[Server]) -> None:
    env = {**OPTIONS, "ANTIPHON_BYTE_RATE": "1", "ANTIPHON_MAX_MESSAGE_SIZE": "50000"}
    server = servers.start(kind, APP, env=env)
    visited.append(server)
    async with await connect(server, "/echo/large/") as client:
        await client.send("x" * 50_000)
        assert await client.receive() == "x" * 50_000
        await client.send("y" * 1000)
        assert "rate_limited" in str(await client.receive())
        assert closed_with(server, await client.closed(), 1008)


def shows_information(server: Server) -> bool:
    """Tell whether antiphon's lines at INFO are in the server's log; the others show warnings and worse."""
    return server.name.startswith(("antiphon", "daphne"))


# The time for connect()


async def refused(server: Server, path: str) -> int:
    """Open a WebSocket, which is refused; return the status."""
    async with await exchange(server, upgrade_request(path)) as refusal:
        return refusal.status


async def test_connect_that_hangs_is_cancelled_and_its_client_refused(limited: Server, name: str) -> None:
    before, printed = limited.stats(), len(limited.log())
    status = await refused(limited, f"/hanging/{name}/?client={name}")
    assert status == (403 if limited.name.startswith("daphne") else 503)
    assert await what(limited, name, 2) == ["waiting", "cancelled"]
    await eventually(lambda: limited.stats()["connections"] == 0, "the connection to be forgotten")
    after = limited.stats()
    assert after["handshakes_timed_out"] == before["handshakes_timed_out"] + 1
    assert after["connections_refused"] == before["connections_refused"] + 1
    log = limited.log(printed)
    assert f"'/hanging/{name}/' (no user): connect() took longer than handshake_timeout (1 s)" in log
    assert "Traceback" not in log


async def test_connect_that_goes_on_behind_accept_has_all_the_time(limited: Server, name: str) -> None:
    async with await connect(limited, f"/lingering/{name}/?client={name}") as client:
        assert await what(limited, name, 1) == ["accepted"]
        # Who came later has had its time.
        await refused(limited, f"/hanging/{name}/?client={name}-later")
        async with await connect(limited, f"/opener/{name}/"):
            assert await client.receive() == "at last"


async def test_server_that_stops_cancels_a_hanging_connect_once(servers: Servers, direct_kind: Kind, name: str) -> None:
    server = servers.start(
        direct_kind, APP, env={"ANTIPHON_HANDSHAKE_TIMEOUT": "1000", "ANTIPHON_SHUTDOWN_TIMEOUT": "2"}
    )
    async with await Wire.dial(server) as wire:
        await wire.write(upgrade_request(f"/hanging/{name}/?client={name}"))
        await what(server, name, 1)
        server.signal(signal.SIGTERM)
        await wire.read_head()
        assert wire.status in (500, 503)
    await asyncio.to_thread(server.exit_code)
    assert [line["what"] for line in server.records(name)] == ["waiting", "cancelled"]


async def test_client_error_in_connect_is_a_refusal_with_its_reason_in_the_log(limited: Server, name: str) -> None:
    before, printed = limited.stats(), len(limited.log())
    with pytest.raises(InvalidStatus) as refusal:
        await connect(limited, f"/particular/{name}/?client={name}")
    assert refusal.value.response.status_code == 403
    after = limited.stats()
    assert after["connections_refused"] == before["connections_refused"] + 1
    assert after["handler_errors"] == before["handler_errors"]
    if shows_information(limited):
        line = f"'/particular/{name}/' (no user): refused by connect(), no_room: there is no room /particular/{name}/"
        assert line in limited.log(printed)


# The log

ESCAPE = "\x1b[31m"
FORGED = "%1b%5b31m%0d%0aERROR:%20forged%00%c2%85%e2%80%a8"


def unfit(log: str) -> list[str]:
    """What no line of a log may have: control characters, and lines that a client wrote."""
    controls = [character for character in log if not character.isprintable() and character != "\n"]
    return controls + [line for line in log.splitlines() if line.startswith(("ERROR: forged", "forged"))]


def plain(server: Server, since: int) -> str:
    """What the server has printed, without the colours of uvicorn's own."""
    return re.sub(r"\x1b\[\d+m(INFO|WARNING|ERROR|CRITICAL|DEBUG)\x1b\[0m", r"\1", server.log(since))


async def close_with_reason(wire: Wire) -> None:
    """Close, with a reason that is no word."""
    await wire.send_frame(0x8, (4000).to_bytes(2, "big") + f"{ESCAPE}\r\nforged".encode())
    await wire.read_to_end()


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        (f"/echo/{FORGED}/", ()),
        (f"/hanging/{FORGED}/", ()),
        (f"/particular/{FORGED}/", ()),
        (f"/failing/{FORGED}/", ()),
        (f"/echo/fine/?{FORGED}", ()),
        ("/echo/fine/", ("Sec-WebSocket-Protocol: \x1b[31mred, b",)),
        ("/echo/fine/", ("Sec-WebSocket-Protocol: caf\xe9",)),
        ("/echo/fine/", ("Origin: http://\x1b[31mforged",)),
        ("/echo/fine/", ("Origin: http://a\x85forged\xa0",)),
        ("/echo/fine/", ("Host: \x1b[31mforged", "Origin: http://a")),
        ("/echo/fine/", ("Host: a\x85forged", "Origin: http://a")),
        ("/echo/fine/", ("User-Agent: \x1b[31mred", "Cookie: \x1b[31mred\x85")),
    ],
)
async def test_nothing_that_a_client_writes_is_raw_in_the_log(
    direct_limited: Server, path: str, lines: tuple[str, ...]
) -> None:
    printed = len(direct_limited.log())
    async with await exchange(direct_limited, upgrade_request(path, *lines)) as wire:
        if wire.status == 101:
            await wire.send_frame(0x1, f'"{ESCAPE}"'.encode())
            await close_with_reason(wire)
    await eventually(lambda: direct_limited.stats()["connections"] == 0, "the end of the connection")
    assert unfit(plain(direct_limited, printed)) == []


@pytest.mark.parametrize("content", ['"\\u001b[31mred\\r\\nERROR: forged\\u0085"', '"\\ud83c\\udfb6 \\nforged"'])
async def test_what_an_exception_repeats_of_a_client_is_not_raw_either(
    direct_limited: Server, name: str, content: str
) -> None:
    printed = len(direct_limited.log())
    async with await connect(direct_limited, f"/failing/{name}/") as client:
        await client.send(content)
        assert (await client.closed()).code == 1011
    log = await eventually(
        lambda: "nobody knows" in direct_limited.log(printed) and plain(direct_limited, printed), "it"
    )
    assert unfit(log) == []
    assert "Traceback" in log
    assert "RuntimeError: nobody knows" in log


async def test_a_thousand_bad_messages_are_one_line(servers: Servers, kind: Kind, visited: list[Server]) -> None:
    server = servers.share(kind, "tests.integration.apps.rooms:app")
    visited.append(server)
    printed, count = len(server.log()), 1000
    async with await connect(server, "/room/bad/") as client:
        for _ in range(count):
            await client.send("}")
        for _ in range(count):
            assert (await client.receive_json())["code"] == "invalid_json"
    lines = [line for line in server.log(printed).splitlines() if "bad message" in line]
    assert len(lines) == (1 if shows_information(server) else 0)


async def test_a_hundred_failing_handlers_are_a_few_lines(limited: Server, name: str) -> None:
    before, printed = limited.stats(), len(limited.log())
    clients = [await connect(limited, f"/failing/{name}/") for _ in range(100)]
    await clients[0].send('"all"')
    for client in clients:
        assert closed_with(limited, await client.closed(), 1011)
        await client.close()
    after = limited.stats()
    assert after["handler_errors"] == before["handler_errors"] + 100
    suppressed = after["log_lines_suppressed"] - before["log_lines_suppressed"]
    log = limited.log(printed)
    assert log.count("exception in fail()") == 100 - suppressed
    assert suppressed >= 60, "they all failed in the same moment"
    assert "every member fails" in log
