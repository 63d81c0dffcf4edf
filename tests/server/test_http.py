"""The HTTP side over pairs of sockets: what a client may cost before its request is here, the way to a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from antiphon.app import App
from antiphon.server.gate import gate_of
from antiphon.server.http import PIPELINE, HTTPProtocol
from antiphon.server.link import LINGER
from antiphon.server.protocol import WebSocketProtocol

from ..fakes import on_jumping_loop, run, settled, until
from .far import OP_BINARY, OP_PING, OP_PONG, OP_TEXT, Far, close_frame, configure, masked
from .test_handshake import request

GET = b"GET /hello HTTP/1.1\r\nHost: example.org\r\n\r\n"


class Application:
    """Answers a request with its path, echoes on a WebSocket, and remembers."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.faults: list[BaseException] = []
        self.gate: asyncio.Event | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        try:
            await (self._answer if scope["type"] == "http" else self._echo)(scope, receive, send)
        except Exception as error:
            self.faults.append(error)
            raise

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        while (event := await receive())["type"] == "http.request" and event["more_body"]:
            pass
        if self.gate is not None:
            await self.gate.wait()
        body = scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def _echo(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            kind = "text" if event.get("text") is not None else "bytes"
            await send({"type": "websocket.send", kind: event[kind]})


class Server:
    """A server of uvicorn's without its listener."""

    def __init__(self, http: Callable[..., asyncio.Protocol] = HTTPProtocol, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "lifespan": "off",
            "log_config": None,
            "proxy_headers": False,
            "ws": WebSocketProtocol,
            "ws_ping_interval": None,
        }
        self.app = Application()
        self.config = Config(self.app, **{**defaults, **options})
        self.config.load()
        self.state = ServerState()
        self.state.default_headers = [(b"server", b"test")]
        self._http = http
        self.clients: list[Client] = []

    async def connect(self, *parts: bytes) -> Client:
        """Return a client that has sent ``parts``."""
        client = Client()
        self.clients.append(client)
        await client.connect(self._http(config=self.config, server_state=self.state, app_state={}))
        await client.send(*parts)
        return client

    @property
    def waiting(self) -> int:
        """How many requests are awaited."""
        return len(gate_of(self.state, self.config)._waiting)

    async def end(self) -> None:
        """Let all clients go; nothing may be left of them."""
        for client in self.clients:
            await client.end()
        await until(lambda: not self.state.tasks and not self.state.connections)
        gate = gate_of(self.state, self.config)
        assert (len(gate._waiting), gate._open, dict(gate._by_network)) == (0, 0, {})


class Client(Far):
    """The far end of one connection."""

    async def status(self) -> int:
        """Wait for the head of an answer; return its status."""
        await self.read_until(lambda data: b"\r\n\r\n" in data)
        return int(self.data.split()[1])

    async def refused(self) -> int:
        """Wait for an answer that ends the connection; return its status. Close, as a client does then."""
        await self.read_until(lambda data: self.ended)
        assert self.data.startswith(b"HTTP/1.1 "), self.data
        head, _, body = self.data.partition(b"\r\n\r\n")
        assert (b"connection: close" in head, bool(body)) == (True, True)
        return int(self.data.split()[1])

    @property
    def behind_head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    async def echoes(self, *messages: str) -> None:
        """Talk over the WebSocket."""
        start = len(self.data) - len(self.behind_head)
        for message in messages:
            await self.send(masked(OP_TEXT, message))
        found = await self.frames(len(messages), skip=start)
        assert [bytes(frame.data).decode() for frame in found[-len(messages) :]] == list(messages)


def single_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


async def drip(client: Client, data: bytes) -> None:
    """Send ``data`` byte by byte, as far as the connection lasts."""
    for byte in single_bytes(data):
        if client.transport.is_closing():
            return
        client.sock.sendall(byte)
        await settled(2)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> App:
    return configure(
        monkeypatch, handshake_timeout=10, max_half_open=3, max_header_size=1000, max_headers=20, max_connections=3
    )


# The way to a WebSocket


@pytest.mark.parametrize("http", [HTTPProtocol, HttpToolsProtocol, H11Protocol])
def test_a_request_becomes_a_websocket_over_any_http_protocol(http: Any, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server(http)
        client = await server.connect(request(b"Cookie: a=1", target=b"/r%C3%A4ume/?b"))
        assert await client.status() == 101
        await client.echoes("a", "ä")
        (scope,) = server.app.scopes
        assert (scope["path"], scope["query_string"], scope["type"]) == ("/räume/", b"b", "websocket")
        assert (b"cookie", b"a=1") in scope["headers"]
        await server.end()

    main()


@pytest.mark.parametrize("http", [HTTPProtocol, HttpToolsProtocol, H11Protocol])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(version=b"8"), 426),
        (request(key=b"x"), 400),
        (request(method=b"POST"), 405),
        (request().replace(b"Host: example.org\r\n", b""), 400),
        (request(b"Host: other.example.org"), 400),
        (request(b"Sec-WebSocket-Protocol: a b"), 400),
    ],
    ids=["version", "key", "method", "no host", "two hosts", "subprotocol"],
)
def test_a_bad_handshake_is_refused_over_any_http_protocol(http: Any, data: bytes, status: int, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server(http)
        client = await server.connect(data)
        assert await client.status() == status
        await client.read_until(lambda data: client.ended)
        assert server.app.scopes == []
        await server.end()

    main()


@on_jumping_loop
async def test_a_request_may_come_byte_by_byte(made: App) -> None:
    server = Server()
    client = await server.connect(*single_bytes(request()))
    assert await client.status() == 101
    await client.echoes("a")
    await server.end()


@pytest.mark.parametrize("cut", [0, 1, 3, 7, 10])
def test_frames_that_are_glued_to_the_request_are_the_first(cut: int, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server()
        frames = masked(OP_TEXT, "a") + masked(OP_PING, b"p") + masked(OP_TEXT, "b")
        client = await server.connect(request() + frames[:cut], frames[cut:])
        await client.status()
        found = await client.frames(3, skip=len(client.data) - len(client.behind_head))
        assert sorted(bytes(frame.data) for frame in found) == [b"a", b"b", b"p"]
        assert [bytes(frame.data) for frame in found if frame.opcode is not OP_PONG] == [b"a", b"b"]
        await client.send(close_frame(1000))
        await client.read_until(lambda data: client.ended)
        await server.end()

    main()


@on_jumping_loop
async def test_a_close_frame_that_is_glued_to_the_request_is_answered(made: App) -> None:
    server = Server()
    client = await server.connect(request() + masked(OP_BINARY, b"x") + close_frame(4000))
    await client.read_until(lambda data: client.ended)
    assert client.behind_head.endswith(b"\x88\x02\x0f\xa0")
    await server.end()


@on_jumping_loop
async def test_a_websocket_may_be_opened_behind_a_request_that_was_answered(made: App) -> None:
    server = Server()
    client = await server.connect(GET)
    await client.read_until(lambda data: data.endswith(b"/hello"))
    client.data = b""
    await client.send(request())
    assert await client.status() == 101
    await client.echoes("a")
    assert server.waiting == 0
    await asyncio.sleep(60)
    await client.echoes("b")
    await server.end()


@on_jumping_loop
async def test_no_websocket_is_opened_while_an_earlier_request_has_no_answer(made: App) -> None:
    server = Server()
    server.app.gate = asyncio.Event()
    client = await server.connect(GET + request())
    server.app.gate.set()
    await client.read_until(lambda data: client.ended)
    assert b"101 Switching" not in client.data
    assert [scope["type"] for scope in server.app.scopes] == ["http"]
    assert server.app.faults == []
    await server.end()


@on_jumping_loop
async def test_over_http_1_0_no_websocket_is_opened(made: App) -> None:
    server = Server()
    client = await server.connect(request().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert await client.refused() == 400
    assert (server.app.scopes, made.counters.bad_requests) == ([], 1)
    await server.end()


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5"],
        [b"Content-Length: 1000000000"],
        [b"Transfer-Encoding: chunked"],
    ],
)
def test_a_request_with_a_body_opens_no_websocket_and_the_body_is_not_awaited(lines: list[bytes], made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server()
        client = await server.connect(request(*lines))
        assert await client.refused() == 413
        assert server.app.scopes == []
        await server.end()

    main()


@on_jumping_loop
async def test_the_server_may_have_another_websocket_class(made: App) -> None:
    server = Server(ws=WebSocketsSansIOProtocol)
    client = await server.connect(request())
    assert await client.status() == 101
    await client.echoes("a")
    assert [type(each) for each in server.state.connections] == [WebSocketsSansIOProtocol]
    assert server.waiting == 0
    await server.end()


@on_jumping_loop
async def test_blanks_behind_a_value_are_no_part_of_it(made: App) -> None:
    server = Server()
    client = await server.connect(request(b"X: a b \t ").replace(b"Version: 13", b"Version:\t 13 \t"))
    assert await client.status() == 101
    assert (b"x", b"a b") in server.app.scopes[0]["headers"]
    await server.end()


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
def test_an_upgrade_that_is_not_spoken_here_is_an_ordinary_request(upgrade: bytes, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server(ws="none")
        client = await server.connect(request().replace(b"websocket", upgrade))
        assert await client.status() == 200
        await server.end()

    main()


@on_jumping_loop
async def test_more_websockets_than_may_be_are_told_to_come_back(made: App) -> None:
    server = Server()
    for _ in range(3):
        assert await (await server.connect(request())).status() == 101
    client = await server.connect(request())
    assert await client.refused() == 503
    assert b"retry-after: " in client.data
    assert made.counters.connections_over_limit == 1
    await server.clients[0].end()
    assert await (await server.connect(request())).status() == 101
    await server.end()


# Ordinary requests


@on_jumping_loop
async def test_what_is_no_websocket_is_answered_by_the_application(made: App) -> None:
    server = Server()
    client = await server.connect(GET)
    await client.read_until(lambda data: data.endswith(b"/hello"))
    assert (await client.status(), server.waiting) == (200, 0)
    await client.send(GET.replace(b"hello", b"again"))
    await client.read_until(lambda data: data.endswith(b"/again"))
    await server.end()


@on_jumping_loop
async def test_pipelined_requests_are_answered_in_order(made: App) -> None:
    server = Server()
    client = await server.connect(b"".join(GET.replace(b"hello", b"%d" % number) for number in range(5)))
    await client.read_until(lambda data: data.endswith(b"/4"))
    answers = client.data.split(b"HTTP/1.1 200 OK")
    assert [answer[-2:] for answer in answers[1:]] == [b"/%d" % number for number in range(5)]
    await server.end()


@on_jumping_loop
async def test_so_many_requests_may_wait_for_an_answer(made: App) -> None:
    server = Server()
    server.app.gate = asyncio.Event()
    client = await server.connect(GET * (PIPELINE + 1))
    await settled()
    assert len(server.app.scopes) == 1
    server.app.gate.set()
    await client.read_until(lambda data: data.count(b"200 OK") == PIPELINE + 1)
    server.app.gate.clear()
    client = await server.connect(GET * (PIPELINE + 2))
    server.app.gate.set()
    await client.read_until(lambda data: client.ended)
    assert b"HTTP/1.1 429 " in client.data
    assert server.app.faults == []
    await server.end()


# What is no HTTP


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo\x00st: a\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x81\x80mask",
        b"hello\r\n\r\n",
    ],
    ids=repr,
)
@pytest.mark.parametrize("upgrade", [False, True], ids=["request", "upgrade"])
def test_what_is_no_http_is_400_and_reaches_no_application(data: bytes, upgrade: bool, made: App) -> None:
    if upgrade:
        data = data.replace(b"\r\n\r\n", request().partition(b"example.org")[2], 1)

    @on_jumping_loop
    async def main() -> None:
        server = Server()
        client = await server.connect(data)
        assert await client.refused() in ((400, 413) if upgrade else (400,))
        assert server.app.scopes == []
        assert made.counters.bad_requests == 1
        await server.end()

    main()


@on_jumping_loop
async def test_what_is_no_http_behind_a_request_disturbs_no_answer(made: App) -> None:
    server = Server()
    server.app.gate = asyncio.Event()
    client = await server.connect(GET + b"\x00\r\n\r\n")
    server.app.gate.set()
    await client.read_until(lambda data: client.ended)
    await until(lambda: not server.state.tasks)
    assert server.app.faults == []
    await server.end()


@settings(max_examples=100)
@given(
    st.lists(
        st.binary(max_size=30) | st.sampled_from([GET, request(), request()[:-4], b"\r\n", b"X: 1\r\n"]), max_size=5
    )
)
def test_whatever_a_client_sends_nothing_is_left_of_it(parts: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        configure(monkeypatch, handshake_timeout=10)

        async def main() -> None:
            server = Server()
            client = await server.connect()
            for part in parts:
                if not client.transport.is_closing():
                    await client.send(part)
            await server.end()

        run(main())


# How large it may be


def heads(size: int) -> Iterable[bytes]:
    """Requests whose heads have ``size`` bytes and do not end."""
    yield GET[:-2] + b"X: " + b"x" * (size - len(GET) - 1)
    yield GET[:-2] + b"x" * (size - len(GET) + 2)
    yield b"GET /" + b"x" * (size - 5)
    yield (GET[:-2] + b"X: 1\r\nYY: 2\r\n" * 200)[:size]


@pytest.mark.parametrize("kind", range(4), ids=["value", "name", "target", "many"])
@pytest.mark.parametrize("byte_by_byte", [False, True], ids=["at once", "byte by byte"])
def test_headers_that_do_not_end_are_431(kind: int, byte_by_byte: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = configure(monkeypatch, max_header_size=1000, max_headers=2000)

    @on_jumping_loop
    async def main() -> None:
        server = Server()
        client = await server.connect()
        at_limit = list(heads(1000))[kind]
        await (drip(client, at_limit) if byte_by_byte else client.send(at_limit))
        assert client.read() == b""
        await client.send(b"x")
        assert await client.refused() == 431
        assert made.counters.headers_too_large == 1
        assert server.app.scopes == []
        await server.end()

    main()


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize("lines", [[b"X: 1"] * 1000, [b"X: " + b"1" * 2000], [b"x" * 2000 + b": 1"], [b"X:"] * 21])
def test_headers_that_are_too_many_or_too_long_are_431(upgrade: bool, lines: list[bytes], made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server()
        data = request(*lines) if upgrade else GET[:-2] + b"\r\n".join(lines) + b"\r\n\r\n"
        client = await server.connect(data)
        assert await client.refused() == 431
        assert (server.app.scopes, made.counters.headers_too_large) == ([], 1)
        await server.end()

    main()


@on_jumping_loop
async def test_a_body_is_no_header(made: App) -> None:
    server = Server()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 600 + b"\r\nContent-Length: 50000\r\n\r\n"
    client = await server.connect(head, *[b"x" * 500] * 100)
    assert await client.status() == 200
    await client.send(GET.replace(b"hello", b"more") + GET[:20])
    await client.read_until(lambda data: data.endswith(b"/more"))
    await client.send(GET[20:])
    await client.read_until(lambda data: data.endswith(b"/hello"))
    await server.end()


@on_jumping_loop
async def test_what_stands_beside_a_chunk_is_no_header(made: App) -> None:
    server = Server()
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 600 + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = await server.connect(head, b"5;a=" + b"x" * 600, b"\r\nhello\r\n0\r\n\r\n")
    await client.read_until(lambda data: data.endswith(b"/a"))
    await server.end()


@on_jumping_loop
async def test_trailers_are_no_header_of_the_next_request(made: App) -> None:
    server = Server()
    chunks = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"0\r\n"
    client = await server.connect(*chunks, b"X: " + b"x" * 600 + b"\r\n\r\n")
    await client.read_until(lambda data: data.endswith(b"/a"))
    await client.send(GET[:-2] + b"X: " + b"x" * 600, b"\r\n\r\n")
    await client.read_until(lambda data: data.endswith(b"/hello"))
    await server.end()


@on_jumping_loop
async def test_each_request_of_a_connection_is_measured(made: App) -> None:
    server = Server()
    client = await server.connect(GET)
    await client.read_until(lambda data: data.endswith(b"/hello"))
    client.data = b""
    await client.send(GET[:-2])
    await drip(client, b"X: " + b"x" * 2000)
    assert await client.refused() == 431
    await server.end()


@pytest.mark.parametrize("trailer", [b"X: " + b"x" * 100 + b"\r\n", b"x" * 100], ids=["many", "one without an end"])
def test_trailers_are_bounded_like_headers(trailer: bytes, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server()
        server.app.gate = asyncio.Event()
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
        client = await server.connect(head)
        for _ in range(100):
            if client.transport.is_closing() or client.ended:
                break
            await client.send(trailer)
            client.read()
        assert client.ended, "10,000 bytes of trailers came, where a thousand of headers are too many"
        server.app.gate.set()
        await server.end()
        assert made.counters.headers_too_large == 1

    main()


# How long it may take


@on_jumping_loop
async def test_who_sends_nothing_is_cut_off_without_a_word(made: App) -> None:
    server = Server()
    client = await server.connect()
    await asyncio.sleep(9.9)
    assert not client.transport.is_closing()
    await asyncio.sleep(0.2)
    await client.read_until(lambda data: client.ended)
    assert (client.data, made.counters.handshakes_timed_out) == (b"", 1)
    await server.end()


@pytest.mark.parametrize("part", [b"G", request()[:-1], GET[:30]])
def test_who_sends_a_part_is_cut_off_with_408_however_it_drips(part: bytes, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server()
        client = await server.connect()
        for byte in single_bytes(part)[:9]:
            await client.send(byte)
            await asyncio.sleep(1)
        await client.send(part[9:])
        assert not client.transport.is_closing()
        await asyncio.sleep(10.1 - len(part[:9]))
        assert await client.refused() == 408
        assert made.counters.handshakes_timed_out == 1
        await server.end()

    main()


@on_jumping_loop
async def test_a_request_that_begins_in_one_read_with_an_earlier_one_has_the_same_time(made: App) -> None:
    server = Server(timeout_keep_alive=60)
    client = await server.connect(GET + GET[:5])
    await client.read_until(lambda data: data.endswith(b"/hello"))
    client.data = b""
    await asyncio.sleep(10.1)
    assert await client.refused() == 408
    await server.end()


@pytest.mark.parametrize("parts", [[GET[:20]], [GET[:1]], [GET[:20], GET[20:30]]])
def test_a_later_request_of_a_connection_has_the_same_time(parts: list[bytes], made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = Server(timeout_keep_alive=60)
        client = await server.connect(GET)
        await client.read_until(lambda data: data.endswith(b"/hello"))
        client.data = b""
        await asyncio.sleep(30)
        assert server.waiting == 0
        await client.send(*parts)
        await asyncio.sleep(9.9)
        assert not client.transport.is_closing()
        await asyncio.sleep(0.2)
        assert await client.refused() == 408
        await server.end()

    main()


@on_jumping_loop
async def test_an_answered_request_or_an_open_websocket_is_not_cut_off(made: App) -> None:
    server = Server(timeout_keep_alive=60)
    server.app.gate = asyncio.Event()
    slow, socket = await server.connect(GET), await server.connect(request())
    await asyncio.sleep(30)
    server.app.gate.set()
    assert await slow.status() == 200
    await socket.status()
    await socket.echoes("still here")
    assert made.counters.handshakes_timed_out == 0
    await server.end()


@on_jumping_loop
async def test_the_oldest_of_too_many_is_cut_off(made: App) -> None:
    server = Server()
    first = await server.connect(GET[:10])
    second = await server.connect()
    done = await server.connect(GET)
    others = [await server.connect() for _ in range(2)]
    assert await first.refused() == 503
    assert made.counters.half_open_dropped == 1
    await server.connect()
    await second.read_until(lambda data: second.ended)
    assert second.data == b""
    assert await done.status() == 200
    assert not any(client.transport.is_closing() for client in others)
    assert server.waiting == 3
    await server.end()


@on_jumping_loop
async def test_who_leaves_is_awaited_no_longer(made: App) -> None:
    server = Server()
    for parts in ([], [GET[:10]], [b"\x00"]):
        await (await server.connect(*parts)).end()
        await until(lambda: not server.state.connections)
        assert server.waiting == 0
    assert made.counters.half_open_dropped == 0


# The end


@on_jumping_loop
async def test_what_comes_behind_a_refusal_is_dropped_until_the_client_has_read_it(made: App) -> None:
    server = Server()
    client = await server.connect(b"\x00")
    for _ in range(10):
        await client.send(GET * 100)
    assert not client.transport.is_closing()
    assert await client.refused() == 400
    assert (client.data.count(b"HTTP/1.1"), server.app.scopes, made.counters.bad_requests) == (1, [], 1)
    await server.end()
    await asyncio.sleep(0)
    timers: Any = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert [timer.when() for timer in timers if not timer.cancelled()] == [10.0], "that of the gate"


@on_jumping_loop
async def test_a_client_that_goes_on_behind_a_refusal_is_cut_off(made: App) -> None:
    server = Server()
    client = await server.connect(b"\x00")
    await asyncio.sleep(LINGER - 0.1)
    assert not client.transport.is_closing()
    await asyncio.sleep(0.2)
    assert client.transport.is_closing()
    await until(lambda: not server.state.connections)
    await server.end()
