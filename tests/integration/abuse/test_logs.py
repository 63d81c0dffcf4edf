"""The log under abuse: no client writes into it, and no client fills it."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.integration.clients import Wire, eventually, exchange, frame, upgrade_request
from tests.integration.servers import Server

from .attack import crowd, press, release
from .conftest import Record, Start


def unfit(server: Server, since: int) -> list[str]:
    """Return what the log may not have: control characters, and lines of a client's making."""
    log = server.log(since)
    controls = [repr(character) for character in log if not character.isprintable() and character != "\n"]
    return controls + [line for line in log.splitlines() if line.startswith(("ERROR: forged", "forged"))]


RAW = [
    b"GET /\x1b[31mforged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%1b%5b31m%0d%0aforged%c2%9b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xc2\x9b31mforged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\x9b31mforged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?\x9b31mforged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?\xc2\x85forged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?%1b%5b31m%0d%0aforged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /#\x9bforged HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \x9b31mforged\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \xc2\x9b31mforged, 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: a\x85forged\r\nX-Forwarded-Proto: \x9b\r\n\r\n",
    b"FORGED\x9b / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / FORGED\x1b[31m/1.1\r\nHost: a\r\n\r\n",
    b"GET http://\x9bforged/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x1b[31mforged\r\nERROR: forged\r\n\r\n",
    upgrade_request("/room/x/", "X-Forwarded-For: \x9b31mforged\x85"),
    upgrade_request("/room/x/", "X-Forwarded-For: \x9b31mforged\x85", "Sec-WebSocket-Version: \x9b"),
    upgrade_request("/room/\x9b31m\x85forged/?\x9b\x85"),
    upgrade_request("/early/\x9b31m\x85forged/?\x9b\x85"),
    upgrade_request("/spec/raise_before_accept?\x9b31m%0aforged"),
    upgrade_request("/missing/%0d%0aforged%1b"),
    upgrade_request("/room/x/", "Sec-WebSocket-Extensions: \x9bforged", "Cookie: \x9bforged", "Host: \x9bforged"),
]


@pytest.mark.parametrize("data", RAW, ids=lambda data: repr(data[:50]))
async def test_no_request_writes_into_the_log(target: Server, data: bytes) -> None:
    printed = len(target.log())
    async with await exchange(target, data) as wire:
        assert wire.status in (101, 200, 400, 403, 404, 405, 426, 500)
        if wire.status == 101:
            await wire.write(frame(0x8, b"\x0f\xa0" + "\x1b[31m\r\nforged\x9b\x85\u2028".encode()))
            await wire.read_to_end()
    await after(target)
    assert unfit(target, printed) == []


async def after(server: Server) -> None:
    """Wait until the server has written all that it had to write before."""
    before = len(re.findall("GET /rested", server.log()))
    server.get("/rested")
    await eventually(lambda: len(re.findall("GET /rested", server.log())) > before, "the log")


ODD_QUERY = [b"\x9b", b"\xff", b"a=\xc3\xa9"]


@pytest.mark.parametrize("query", ODD_QUERY, ids=repr)
async def test_odd_query_is_no_error_of_the_application(target: Server, query: bytes) -> None:
    printed = len(target.log())
    async with await exchange(target, b"GET /?" + query + b" HTTP/1.1\r\nHost: a\r\n\r\n") as wire:
        assert wire.status in (200, 400)
    await after(target)
    assert "Traceback" not in target.log(printed)


# How many lines


def lines(server: Server, since: int) -> int:
    """Return how many lines the server has printed, but those of HTTP requests that were answered."""
    return len([line for line in server.log(since).splitlines() if "GET /" not in line])


VIOLATIONS = {
    "bad frames": frame(0x3, b"x"),
    "bad text": frame(0x1, b"\xff"),
    "too big": b"\x82\xff" + (2**40).to_bytes(8, "big"),
    "bad JSON": frame(0x1, b"}") * 200,
    "binary": frame(0x2, b"x") * 200,
    "failing handlers": frame(0x1, b'{"do": "fail"}'),
    "wrong shape": frame(0x1, b"[1]"),
    "unknown events": frame(0x1, b'{"do": "event", "event": {"type": "no_such_handler"}}') * 200,
    "refused events": frame(0x1, b'{"do": "event", "event": {"type": "close"}}') * 200,
    "messages behind close": frame(0x1, b'{"do": "close"}') + frame(0x1, b'{"do": "echo", "value": 1}') * 200,
}


@pytest.mark.parametrize("kind", VIOLATIONS)
async def test_lines_about_bad_clients_are_bounded(target: Server, kind: str, record_property: Record) -> None:
    server, count = target, 200
    wires = await crowd(server, count, "/target/logs/")
    printed = len(server.log())
    await asyncio.gather(*(press(wire, VIOLATIONS[kind]) for wire in wires))
    await asyncio.gather(*(press(wire, frame(0x8)) for wire in wires))
    for wire in wires:
        await wire.closed()
    release(wires)
    await after(server)
    record_property("lines", lines(server, printed))
    record_property("bytes", len(server.log(printed)))
    assert lines(server, printed) <= 60 * 15  # a traceback has more than a line; they are of one second or two
    assert len(server.log(printed)) < 100_000


REQUESTS = {
    "nonsense": b"nonsense\r\n\r\n",
    "bad key": upgrade_request("/room/x/", "Sec-WebSocket-Key: x"),
    "many headers": upgrade_request("/room/x/", *["X: y"] * 200),
    "foreign page": upgrade_request("/room/x/", "Origin: http://evil.example"),
    "early failure": upgrade_request("/early/x/"),
    "no such room": upgrade_request("/nowhere/x/"),
    "unsupported upgrade": b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_lines_about_bad_requests_are_bounded(target: Server, kind: str, record_property: Record) -> None:
    server, count = target, 300
    printed = len(server.log())

    async def one() -> None:
        async with await exchange(server, REQUESTS[kind]) as wire:
            assert wire.status >= 200

    for _ in range(count // 50):
        await asyncio.gather(*(one() for _ in range(50)))
    await after(server)
    log = server.log(printed)
    record_property("lines", len(log.splitlines()))
    record_property("bytes", len(log))
    assert len(log.splitlines()) <= 3 * count
    assert len(log) < 1000 * count
    assert log.count("Traceback") <= 60


async def test_half_open_connections_leave_few_lines(start: Start) -> None:
    server = start(handshake_timeout=1)
    printed = len(server.log())
    wires = [await Wire.dial(server) for _ in range(200)]
    for wire in wires:
        await press(wire, b"GET /")
    await eventually(lambda: server.stats()["handshakes_timed_out"] == 200, "all to be cut off")
    release(wires)
    await after(server)
    assert lines(server, printed) <= 60


async def test_long_texts_of_a_client_are_cut_in_the_log(target: Server) -> None:
    printed = len(target.log())
    async with await Wire.open(target, "/room/" + "x" * 200 + "/?" + "q" * 20_000) as wire:
        await wire.send_frame(0x1, b'{"do": "%s"}' % (b"x" * 500_000))
        assert (await wire.closed()).code == 1011
    await after(target)
    assert max(len(line) for line in target.log(printed).splitlines()) < 32_000
    assert len(target.log(printed)) < 100_000
