"""Requests that are slow, huge, twisted, or never end: each is answered at once with the right status, or cut off."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.integration.clients import Wire, eventually, exchange, frame, upgrade_request
from tests.integration.servers import Server

from .attack import alive, cpu_time, in_order, press, release, to_end
from .conftest import Record, Start
from .witness import STALL, Witness

#: Seconds within which an answer came at once; what waits for handshake_timeout takes 10.
AT_ONCE = 3.0
#: Seconds of processor time that one request may cost.
CHEAP = 0.3

ECHO = frame(0x1, b'{"do": "echo", "value": 1}')
ECHOED = (0x1, b'{"echo":1}')


def headers(count: int, name: str = "X-{}") -> list[str]:
    """Return so many header lines beside the five that each request has."""
    return [f"{name.format(number)}: 1" for number in range(count - 5)]


def request(*lines: str, without: tuple[str, ...] = ()) -> bytes:
    """Return a request to open a room."""
    return upgrade_request("/room/handshakes/", *lines, without=without)


def replaced(old: bytes, new: bytes) -> bytes:
    """Return a request in which something is written differently."""
    whole = request()
    assert old in whole
    return whole.replace(old, new)


# Size

SIZES: dict[str, tuple[bytes, set[int]]] = {
    "100 headers": (request(*headers(100)), {101}),
    "101 headers": (request(*headers(101)), {431}),
    "129 headers": (request(*headers(129)), {431}),
    "3,000 headers": (request(*headers(3000)), {431}),
    "10,000 repeats of one header": (request(*headers(10_005, "X-A")), {431}),
    "10,000 repeats of Connection": (request(*headers(10_005, "Connection")), {431}),
    "60 cookies": (request(*["Cookie: a=b"] * 60), {101}),
    "cookie of 9 KB": (request("Cookie: " + "a=b; " * 1800), {101}),
    "cookie of 64 KB": (request("Cookie: " + "a=b; " * 13_000), {431}),
    "header of 33 KB": (request("X-A: " + "a" * 33_000), {431}),
    "name of 33 KB": (request("X" * 33_000 + ": a"), {431}),
    "header of 2 MB": (request("X-A: " + "a" * 2_000_000), {431}),
    "path of 9 KB": (upgrade_request("/room/" + "a" * 200 + "/?" + "q" * 9000), {101}),
    "path of 64 KB": (upgrade_request("/room/" + "a" * 64_000), {431, 414}),
    "path that never ends": (b"GET /" + b"a" * 2_000_000, {431, 414}),
    "method that never ends": (b"A" * 100_000, {400, 431}),
    "header that never ends": (b"GET / HTTP/1.1\r\nX: " + b"a" * 2_000_000, {431}),
    "headers that never end": (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 100_000, {431}),
    "empty lines that never end": (b"\r\n" * 100_000, {400, 431}),
}
for line in ("Key", "Version", "Extensions", "Protocol", "Accept"):
    value = "a" * 30_000
    expected = {"Key": {400}, "Version": {400, 426}}.get(line, {101})
    SIZES[f"Sec-WebSocket-{line} of 30 KB"] = request(f"Sec-WebSocket-{line}: {value}"), expected


@pytest.mark.parametrize("case", SIZES)
async def test_size_of_a_request_is_judged_at_once(target: Server, case: str, record_property: Record) -> None:
    data, expected = SIZES[case]
    await answered(target, data, expected, record_property)


async def answered(server: Server, data: bytes, expected: set[int], record_property: Record) -> None:
    """Check the status, that it comes at once, and that it was cheap; who is refused is shown the door."""
    used, asked = cpu_time(server), time.monotonic()
    async with await Wire.dial(server) as wire:
        await press(wire, data)
        try:
            await wire.read_head()
        except (
            ConnectionError
        ):  # it was still sending when it was refused, and what it had not sent took the answer along
            assert len(data) > 100_000
        else:
            assert wire.status in expected, wire.head
            record_property("status", wire.status)
            if wire.status == 101:
                await wire.write(ECHO)
                assert await wire.receive_frame() == ECHOED
            elif wire.status >= 400:
                assert (b"connection", b"close") in wire.headers
                await to_end(wire)
    took, cost = time.monotonic() - asked, cpu_time(server) - used
    record_property("seconds", round(took, 4))
    record_property("processor", round(cost, 3))
    assert took < AT_ONCE
    assert cost < CHEAP


# Spelling

TWISTED: dict[str, tuple[bytes, set[int]]] = {
    "no Host": (request(without=("host",)), {400}),
    "two Hosts": (request("Host: a", "Host: b"), {400}),
    "empty Host": (request("Host:"), {400}),
    "HTTP/1.0": (replaced(b"HTTP/1.1", b"HTTP/1.0"), {400, 426, 505}),
    "HTTP/0.9": (replaced(b"HTTP/1.1", b"HTTP/0.9"), {400, 505}),
    "HTTP/2.0": (replaced(b"HTTP/1.1", b"HTTP/2.0"), {400, 505}),
    "HTTP/1.2": (replaced(b"HTTP/1.1", b"HTTP/1.2"), {400, 505}),
    "no version": (replaced(b" HTTP/1.1", b""), {400}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 505}),
    "Content-Length with a body": (request("Content-Length: 5") + b"hello", {400, 413}),
    "Content-Length without the body": (request("Content-Length: 1000000"), {400, 413}),
    "Content-Length of 0": (request("Content-Length: 0"), {101}),
    "negative Content-Length": (request("Content-Length: -1"), {400}),
    "Content-Length with a plus": (request("Content-Length: +0"), {400}),
    "Content-Length with an underscore": (request("Content-Length: 0_0"), {400}),
    "hexadecimal Content-Length": (request("Content-Length: 0x0"), {400}),
    "Content-Length that is a list": (request("Content-Length: 0, 0"), {400, 413}),
    "header behind a bare carriage return": (request("X-A: \rxTransfer-Encoding: chunked"), {400}),
    "two Content-Lengths": (request("Content-Length: 0", "Content-Length: 5") + b"hello", {400, 413}),
    "chunked": (request("Transfer-Encoding: chunked") + b"0\r\n\r\n", {400, 413}),
    "chunked and Content-Length": (
        request("Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
        {400, 413},
    ),
    "chunked, spelled oddly": (request("Transfer-Encoding: xchunked", "Content-Length: 5") + b"hello", {400, 413}),
    "bare line feeds": (request().replace(b"\r\n", b"\n"), {400}),
    "one bare line feed": (replaced(b"\r\nupgrade", b"\nupgrade"), {400}),
    "bare carriage returns": (request().replace(b"\r\n", b"\r") + b"\r\n\r\n", {400}),
    "NUL in a value": (request("X-A: a\0b"), {400}),
    "NUL in a name": (request("X\0A: a"), {400}),
    "NUL in the path": (upgrade_request("/room/\0/"), {400}),
    "escape in a value": (request("X-A: \x1b[31m"), {400}),
    "folded header": (request("X-A: a\r\n b"), {400}),
    "folded header with tab": (request("X-A: a\r\n\tb"), {400}),
    "space before the colon": (request("Upgrade : websocket", without=("upgrade",)), {400}),
    "space in a name": (request("X A: a"), {400}),
    "no colon": (request("nonsense"), {400}),
    "nameless header": (request(": a"), {400}),
    "space in the path": (upgrade_request("/room/a b/"), {400}),
    "tab instead of spaces": (request().replace(b" HTTP", b"\tHTTP"), {400}),
    "method in lower case": (replaced(b"GET", b"get"), {400, 405}),
    "unknown method": (replaced(b"GET", b"SPY"), {400, 405}),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", {400, 405, 501}),
    "TRACE": (replaced(b"GET", b"TRACE"), {400, 405}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), {400}),
    "a frame without a handshake": (ECHO, {400}),
    "an HTTP answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {400}),
    "key that is not ASCII": (request("Sec-WebSocket-Key: \xe9" + "=" * 23), {400}),
    "version twice": (request("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"), {101, 400, 426}),
    "version with a zero": (request("Sec-WebSocket-Version: 013"), {400, 426}),
}


@pytest.mark.parametrize("case", TWISTED)
async def test_twisted_request_is_refused_at_once(target: Server, case: str, record_property: Record) -> None:
    data, expected = TWISTED[case]
    await answered(target, data, expected, record_property)


NAMES = {
    "dunder": "__class__",
    "constructor": "constructor",
    "prototype": "__proto__",
    "repeats": "; ".join(["a"] * 1000),
    "commas": "," * 5000,
    "open string": 'a; b="' + "\\" * 20_000,
    "strings": 'a; b="' + '\\"' * 10_000 + '"',
    "equals": "a; b" + "=" * 5000,
    "spaces": "permessage-deflate" + " " * 20_000 + "; x",
    "tabs": "permessage-deflate;" + "\t" * 20_000 + "server_no_context_takeover",
    "not ASCII": "permessage-déflate",
    "many offers": ", ".join(["permessage-deflate; server_max_window_bits=7"] * 500),
}


@pytest.mark.parametrize("header", ["Extensions", "Protocol"])
@pytest.mark.parametrize("case", NAMES)
async def test_name_of_an_extension_or_subprotocol_means_nothing_inside(
    target: Server, header: str, case: str, record_property: Record
) -> None:
    expected = {101} if header == "Extensions" else {101, 400}
    await answered(target, request(f"Sec-WebSocket-{header}: {NAMES[case]}"), expected, record_property)


# What comes behind the request, or before its answer


async def test_frame_glued_to_the_request_is_answered(target: Server) -> None:
    async with await exchange(target, request() + ECHO + ECHO[:5]) as wire:
        assert wire.status == 101
        assert await wire.receive_frame() == ECHOED
        await wire.write(ECHO[5:])
        assert await wire.receive_frame() == ECHOED


async def test_frames_before_and_behind_the_acceptance_keep_their_order(target: Server, name: str) -> None:
    """A client that talks on while it waits: more than is kept for it, so that some of it comes from the socket."""
    count = 3000
    numbered = [frame(0x2, b"%08d" % number + bytes(100)) for number in range(count)]
    async with await Wire.dial(target) as wire:
        await wire.write(upgrade_request(f"/spec/accept_late?client={name}"))
        await eventually(lambda: target.records(name), "the application to wait")
        writing = asyncio.create_task(wire.write(b"".join(numbered) + frame(0x8)))
        await eventually(lambda: unread(target) or writing.done(), "the server to read no more")
        target.get(f"/open?client={name}")
        await asyncio.wait([writing])
        await wire.read_head()
        assert wire.status == 101
        assert await wire.closed() == (1005, "")
    await eventually(lambda: "websocket.disconnect" in str(target.records(name)[-1]), "all messages")
    events = [line["event"] for line in target.records(name) if line["what"] == "event"]
    received = [int(event["bytes"][:8]) for event in events if event["type"] == "websocket.receive"]
    assert received == list(range(count))


def unread(server: Server) -> bool:
    """Tell whether bytes wait in the kernel for the server."""
    with open(f"/proc/{server.process.pid}/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            local, queues = fields[1], fields[4]
            if int(local.partition(":")[2], 16) == server.port and int(queues.partition(":")[2], 16) > 0:
                return True
    return False


async def test_websocket_behind_an_unanswered_request_does_not_overtake_it(target: Server, name: str) -> None:
    """Whose answer is whose: that of the first request comes first, or nothing more comes at all."""
    slow = f"GET /slow?client={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    async with await Wire.dial(target) as wire:
        await wire.write(slow)
        await eventually(lambda: target.records(name), "the application to wait")
        await wire.write(request() + ECHO)
        await alive(target)
        target.get(f"/open?client={name}")
        await wire.read_head()
        assert wire.status != 101, "the answer to the second request came first"


async def test_request_behind_a_refused_one_is_not_read(target: Server, name: str) -> None:
    smuggled = upgrade_request(f"/target/smuggled/?client={name}")
    for first in (request("X A: b"), request("Content-Length: 10"), request(*headers(200))):
        async with await exchange(target, first + smuggled) as wire:
            assert wire.status >= 400
            rest = await asyncio.wait_for(to_end(wire), 5)
            assert b"HTTP/1.1" not in rest
    assert target.records(name) == []


async def test_body_of_a_refused_request_is_no_request(target: Server, name: str) -> None:
    smuggled = upgrade_request(f"/target/smuggled/?client={name}")
    async with await exchange(target, request(f"Content-Length: {len(smuggled)}") + smuggled) as wire:
        assert wire.status in (400, 413)
        assert b"HTTP/1.1" not in await to_end(wire)
    assert target.records(name) == []


TARGETS = {
    "absolute": ("http://127.0.0.1/spec/scope_contents", "/spec/scope_contents"),
    "dots": ("/spec/../spec/scope_contents", "/spec/../spec/scope_contents"),
    "encoded slash": ("/spec%2Fscope_contents", "/spec/scope_contents"),
}


@pytest.mark.parametrize("case", TARGETS)
async def test_path_of_a_websocket_is_that_of_http(target: Server, case: str) -> None:
    written, path = TARGETS[case]
    http = await greeting(target, written)
    async with await exchange(target, upgrade_request(written)) as wire:
        assert wire.status == 101
        scope = (await wire.receive_frame())[1]
    assert b'"path": "%s"' % path.encode() in scope
    assert http == path


async def greeting(server: Server, written: str) -> str:
    """Return the path that the application sees over HTTP."""
    async with await exchange(
        server, f"GET {written} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    ) as wire:
        body = await wire.read_to_end()
    return str(json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["hello"])


# Slow ones


async def test_header_that_comes_byte_by_byte_is_cut_at_the_limit(start: Start, record_property: Record) -> None:
    server = start()
    used = cpu_time(server)
    async with await Wire.dial(server) as wire:
        await wire.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ")
        record_property("sent", await press(wire, b"a", 64 * 1024))
    record_property("processor", cpu_time(server) - used)
    assert cpu_time(server) - used < 3
    assert server.stats()["headers_too_large"] == 1


async def test_half_open_handshakes_are_cut_off(start: Start, record_property: Record) -> None:
    server = start(handshake_timeout=1.5, max_half_open=0)
    count = 1000
    began = time.monotonic()
    wires: list[Wire] = []

    async def dribble() -> None:
        wire = await Wire.dial(server)
        wires.append(wire)
        for byte in request():
            if not await press(wire, bytes([byte])):
                return
            await asyncio.sleep(0.4)

    async with Witness(server) as witness:
        dribbling = [asyncio.create_task(dribble()) for _ in range(count)]
        await eventually(lambda: server.stats()["handshakes_timed_out"] >= count, "all to be cut off")
        took = time.monotonic() - began
        for task in dribbling:
            task.cancel()
        await asyncio.gather(*dribbling, return_exceptions=True)
    record_property("seconds", took)
    record_property("worst", witness.latencies.worst)
    assert took < 10
    assert witness.latencies.worst < STALL
    release(wires)


async def test_silent_connections_are_cut_off(start: Start) -> None:
    server = start(handshake_timeout=1)
    wires = [await Wire.dial(server) for _ in range(100)]
    for wire in wires:
        assert await asyncio.wait_for(wire.read_to_end(), 10) == b""
    assert server.stats()["handshakes_timed_out"] == 100
    release(wires)


async def test_slow_request_is_told_before_it_is_cut_off(start: Start) -> None:
    server = start(handshake_timeout=1)
    async with await Wire.dial(server) as wire:
        await wire.write(b"GET / HTTP/1.1\r\n")
        await wire.read_head()
        assert wire.status == 408
        assert (b"connection", b"close") in wire.headers


async def test_slow_second_request_is_cut_off(start: Start) -> None:
    server = start(handshake_timeout=1)
    async with await exchange(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as wire:
        assert wire.status == 200
        began = time.monotonic()
        try:
            for byte in request():
                await wire.write(bytes([byte]))
                await asyncio.sleep(0.2)
        except ConnectionError:
            pass
        assert time.monotonic() - began < 10
    await eventually(lambda: server.stats()["handshakes_timed_out"] == 1, "the cut")


async def test_half_open_connections_keep_nobody_out(start: Start, record_property: Record) -> None:
    server = start(max_half_open=50)
    wires: list[Wire] = []

    async def knock() -> None:
        wire = await Wire.dial(server)
        wires.append(wire)
        await press(wire, request()[:-10])

    async with Witness(server) as witness:
        await in_order((knock() for _ in range(500)), 20)
        for _ in range(20):
            await alive(server)
        await eventually(lambda: server.stats()["half_open_dropped"] >= 450, "all over the limit to be cut off")
    record_property("worst", witness.latencies.worst)
    release(wires)


async def test_crowd_that_comes_at_once_is_let_in(start: Start) -> None:
    server = start(max_half_open=100)
    wires = await asyncio.gather(*(Wire.dial(server) for _ in range(500)))
    opened = await asyncio.gather(*(_open(wire) for wire in wires))
    assert set(opened) == {101}
    assert server.stats()["half_open_dropped"] == 0
    release(wires)


async def _open(wire: Wire) -> int:
    await wire.write(request())
    await wire.read_head()
    return wire.status


async def test_undecided_connections_are_not_for_ever(start: Start, name: str) -> None:
    server = start(handshake_timeout=1)
    async with await exchange(server, upgrade_request(f"/undecided/{name}/")) as wire:
        assert wire.status in (403, 408, 500, 503)
        await to_end(wire)
    await eventually(lambda: server.stats()["connections"] == 0, "the connection to be gone")


# What a careless application takes from its client


INJECTED = ["a%0d%0aX-Injected:%201", "a%0aX-Injected:%201", "a%0d", "a%00", "%0d%0a%0d%0a<script>"]


@pytest.mark.parametrize("what", ["protocol", "header"])
@pytest.mark.parametrize("value", INJECTED)
async def test_consumer_cannot_be_made_to_write_a_header(target: Server, name: str, what: str, value: str) -> None:
    async with await exchange(target, upgrade_request(f"/injector/{name}/?client={name}&{what}={value}")) as wire:
        rest = await to_end(wire)
    assert wire.status == 500
    assert b"njected" not in wire.head + rest
    assert b"<script>" not in wire.head + rest
    assert [line["what"] for line in target.records(name)] == ["refused"]


async def test_reason_of_a_refusal_is_not_in_the_head(target: Server, name: str) -> None:
    async with await exchange(target, upgrade_request(f"/denier/{name}/?reason=a%0d%0aX-Injected:%201")) as wire:
        rest = await wire.read_to_end()
    assert wire.status == 403
    assert b"njected" not in wire.head + rest


# The other ways to serve


@pytest.mark.parametrize("case", ["101 headers", "cookie of 64 KB", "Sec-WebSocket-Key of 30 KB"])
async def test_other_http_protocols_answer_too(direct_target: Server, case: str, record_property: Record) -> None:
    data, expected = SIZES[case]
    await answered(direct_target, data, expected | {400}, record_property)


@pytest.mark.parametrize("case", ["no Host", "two Hosts", "Content-Length with a body", "NUL in a value"])
async def test_other_http_protocols_refuse_too(direct_target: Server, case: str, record_property: Record) -> None:
    data, expected = TWISTED[case]
    await answered(direct_target, data, expected, record_property)
