"""The protocol class for uvicorn, over a pair of sockets: handshake, ASGI conversation, frames, the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Close, Frame
from websockets.headers import parse_extension
from websockets.utils import accept_key

from antiphon import AsyncJsonWebsocketConsumer
from antiphon.app import App
from antiphon.server.gate import gate_of
from antiphon.server.protocol import EARLY_BYTES, WebSocketProtocol

from ..fakes import on_jumping_loop, parse_frames, run, settled, until
from .far import OP_BINARY, OP_CLOSE, OP_CONT, OP_PING, OP_PONG, OP_TEXT, Far, close_frame, configure, masked
from .test_handshake import KEY, parse_answer, parsed, request

Application = Callable[[Any, Any, Any], Any]


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> App:
    return configure(monkeypatch, max_connections=2, max_fragments=10, unfinished_limit=5000, control_rate=10)


class Server:
    """One connection of a server of uvicorn's, with the client's end at hand."""

    def __init__(self, app: Application, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "lifespan": "off",
            "log_config": None,
            "proxy_headers": False,
            "ws": "none",
            "ws_ping_interval": None,
        }
        self.faults: list[AssertionError] = []
        self.config = Config(self._checked(app), **{**defaults, **options})
        self.state = ServerState()
        self.state.default_headers = [(b"server", b"test")]
        self.far = Far()
        self.answer = b""

    def _checked(self, app: Application) -> Application:
        """Return an application that hands on what ``app`` asserts: the server would only log it."""

        async def checked(scope: Any, receive: Any, send: Any) -> Any:
            try:
                return await app(scope, receive, send)
            except AssertionError as fault:
                self.faults.append(fault)
                raise

        return checked

    async def connect(self, data: bytes | None = None) -> Server:
        """Send the request."""
        self.protocol = WebSocketProtocol(self.config, self.state, {"shared": 1})
        await self.far.connect(self.protocol)
        await self.far.send(request() if data is None else data)
        return self

    async def accepted(self) -> Server:
        """Wait for the answer that switches protocols."""
        await self.far.read_until(lambda data: b"\r\n\r\n" in data)
        assert self.far.data.startswith(b"HTTP/1.1 101")
        self.answer = self.far.data[: self.far.data.index(b"\r\n\r\n") + 4]
        return self

    async def refused(self) -> tuple[bytes, dict[bytes, bytes], bytes]:
        """Wait for the end and return the answer."""
        await self.far.read_until(lambda data: self.far.ended)
        return parse_answer(self.far.data)

    async def frames(self, count: int) -> list[Any]:
        return await self.far.frames(count, skip=len(self.answer))

    async def messages(self, count: int) -> list[str | bytes]:
        found = await self.frames(count)
        return [bytes(frame.data).decode() if frame.opcode is OP_TEXT else bytes(frame.data) for frame in found]

    async def closed_with(self) -> tuple[int, str]:
        """Wait for the server's close frame, which is the last that it sends."""
        await self.far.read_until(lambda data: any(frame.opcode == 8 for frame in self._frames(data)))
        frame = self._frames(self.far.data)[-1]
        assert frame.opcode == 8
        close = Close.parse(frame.data)
        return int(close.code), close.reason

    def _frames(self, data: bytes) -> list[Any]:
        try:
            return parse_frames(data[len(self.answer) :])
        except (AssertionError, EOFError):
            return []

    async def end(self) -> None:
        """Let the client go without a word and wait for the application; nothing may be left of them."""
        await self.far.end()
        await until(lambda: not self.state.tasks)
        assert (self.faults, self.state.connections) == ([], set())
        gate = gate_of(self.state, self.config)
        assert (gate._open, dict(gate._by_network), gate._unfinished.held) == (0, {}, 0)
        assert gate.keepalive is None or not any(gate.keepalive._slots)


async def accept_and_echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        kind = "text" if event.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: event[kind]})


class Recorder:
    """Accepts and remembers every event."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.scope: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.events.append(await receive())
        await send({"type": "websocket.accept"})
        while self.events[-1]["type"] != "websocket.disconnect":
            self.events.append(await receive())
        self.events.append(await receive())


async def start(app: Application, **options: Any) -> Server:
    return await (await Server(app, **options).connect()).accepted()


# The handshake


@pytest.mark.parametrize(
    ("data", "status"),
    [(request(method=b"POST"), b"405"), (request(version=b"8"), b"426"), (request(key=b"x"), b"400")],
)
def test_a_bad_request_is_answered_and_reaches_no_application(data: bytes, status: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no application")

    async def main() -> None:
        server = await Server(app).connect(data)
        line, headers, body = await server.refused()
        assert line.split()[1] == status
        assert headers[b"server"] == b"test"
        assert body
        server.protocol.data_received(request())
        await settled()
        assert not server.state.tasks, "it was refused"
        await server.end()

    run(main())


@on_jumping_loop
async def test_a_request_may_come_in_parts_that_were_read_already() -> None:
    recorder = Recorder()
    server = Server(recorder)
    protocol = server.protocol = WebSocketProtocol(server.config, server.state, {})
    await server.far.connect(protocol)
    protocol.open(b"GET", b"http://example.org/a?b", parsed(request(b"X-A: 1")).headers)
    await server.accepted()
    assert (recorder.scope["path"], recorder.scope["query_string"]) == ("/a", b"b")
    assert (b"x-a", b"1") in recorder.scope["headers"]
    await server.end()
    server = Server(recorder)
    protocol = server.protocol = WebSocketProtocol(server.config, server.state, {})
    await server.far.connect(protocol)
    protocol.open(b"PUT", b"/", parsed(request()).headers)
    assert (await server.refused())[0] == b"HTTP/1.1 405 Method Not Allowed"
    await server.end()


@on_jumping_loop
async def test_a_bad_request_is_counted(made: App) -> None:
    for data in (request(version=b"8"), request(key=b"x"), request(b"X: 1" * 20_000)):
        server = await Server(accept_and_echo).connect(data)
        await server.refused()
        await server.end()
    assert (made.counters.bad_requests, made.counters.headers_too_large) == (2, 1)


@on_jumping_loop
async def test_more_connections_than_may_be_are_refused_until_one_goes(made: App) -> None:
    first = await start(accept_and_echo)

    def another() -> Server:
        server = Server(accept_and_echo)
        server.state = first.state
        return server

    second = await (await another().connect()).accepted()
    third = await another().connect()
    line, headers, body = await third.refused()
    assert (line, headers[b"server"], bool(body)) == (b"HTTP/1.1 503 Service Unavailable", b"test", True)
    assert int(headers[b"retry-after"]) > 0
    third.protocol.data_received(request())
    await settled()
    assert len(first.state.tasks) == 2, "it was refused"
    assert made.counters.connections_over_limit == 1
    await second.far.end()
    await until(lambda: len(first.state.connections) == 1)
    fourth = await (await another().connect()).accepted()
    for server in (third, fourth):
        await server.far.end()
    await first.end()


@on_jumping_loop
async def test_nobody_is_let_in_while_the_server_stops() -> None:
    server = await start(accept_and_echo)
    server.protocol.shutdown()
    late = Server(accept_and_echo)
    late.state = server.state
    await late.connect()
    assert (await late.refused())[0] == b"HTTP/1.1 503 Service Unavailable"
    await late.far.end()
    await server.end()


@on_jumping_loop
async def test_the_log_shows_nothing_that_a_terminal_obeys(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        server = await Server(accept_and_echo).connect(request(target=b"/%1b[31m\x1b%0a?\x1b[0m%0d"))
        await server.accepted()
        await server.far.send(b"\x83\x80")
        await server.end()
    shown = [record.getMessage() for record in caplog.records if "WebSocket" in record.getMessage()]
    assert len(shown) == 2
    assert all(line.isprintable() for line in shown), shown


@on_jumping_loop
async def test_accept_answers_with_key_headers_and_subprotocol() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive()) == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1")]})
        await receive()

    server = await start(app)
    status, headers, _ = parse_answer(server.answer)
    assert status == b"HTTP/1.1 101 Switching Protocols"
    assert headers[b"sec-websocket-accept"].decode() == accept_key(KEY.decode())
    assert (headers[b"sec-websocket-protocol"], headers[b"x-a"], headers[b"server"]) == (b"chat", b"1", b"test")
    await server.end()


@on_jumping_loop
async def test_the_scope_is_that_of_the_request() -> None:
    recorder = Recorder()
    lines = [b"Sec-WebSocket-Protocol: a, b", b"Cookie: c=1"]
    server = await Server(recorder, root_path="/app").connect(request(*lines, target=b"/r%C3%A4ume/?a=1&b"))
    await server.accepted()
    scope = recorder.scope
    assert (scope["type"], scope["scheme"], scope["http_version"]) == ("websocket", "ws", "1.1")
    assert (scope["path"], scope["raw_path"]) == ("/app/räume/", b"/app/r%C3%A4ume/")
    assert (scope["query_string"], scope["root_path"]) == (b"a=1&b", "/app")
    assert scope["subprotocols"] == ["a", "b"]
    assert (b"cookie", b"c=1") in scope["headers"]
    assert scope["state"] == {"shared": 1}
    assert scope["asgi"]["spec_version"] == "2.4"
    assert set(scope["extensions"]) == {"websocket.http.response", "antiphon"}
    await server.end()


@on_jumping_loop
async def test_close_before_accept_is_403() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})
        assert (await receive())["type"] == "websocket.disconnect"

    server = await Server(app).connect()
    assert (await server.refused())[0] == b"HTTP/1.1 403 Forbidden"
    await server.end()


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ({"type": "websocket.close"}, "403"),
        ({"type": "websocket.http.response.start", "status": 401}, "401"),
        ({"type": "websocket.accept"}, "[accepted]"),
    ],
)
def test_the_answer_is_logged(message: Any, outcome: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(message)

    async def main() -> None:
        server = await Server(app).connect(request(target=b"/a?b=c"))
        await settled()
        await server.end()

    with caplog.at_level(logging.INFO):
        run(main())
    assert any(f'"WebSocket /a?b=c" {outcome}' in line for line in caplog.messages)


@on_jumping_loop
async def test_an_application_may_deny_with_a_response_in_parts() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"1")]}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"you"})
        assert (await receive())["type"] == "websocket.disconnect"

    server = await Server(app).connect()
    line, headers, body = await server.refused()
    assert (line, headers[b"x-a"], headers[b"content-length"], body) == (
        b"HTTP/1.1 401 Unauthorized",
        b"1",
        b"7",
        b"not you",
    )
    await server.end()


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"type": "websocket.send", "text": "a"}], "Expected ASGI message"),
        ([{"type": "websocket.http.response.start", "status": 99}], "Invalid HTTP status"),
        ([{"type": "websocket.http.response.start", "status": 401}, {"type": "websocket.accept"}], "response.body"),
        ([{"type": "websocket.accept"}, {"type": "websocket.accept"}], "websocket.send"),
        ([{"type": "websocket.close"}, {"type": "websocket.close"}], "after sending"),
        ([{"type": "websocket.accept"}, {"type": "websocket.close"}, {"type": "websocket.send", "text": ""}], "after"),
    ],
)
def test_an_event_without_a_place_is_an_error_of_the_application(messages: list[Any], words: str) -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages[:-1]:
            await send(message)
        try:
            await send(messages[-1])
        except RuntimeError as error:
            told.append(str(error))

    async def main() -> None:
        logging.disable()
        try:
            server = await Server(app).connect()
            await until(lambda: told)
            await server.end()
        finally:
            logging.disable(logging.NOTSET)

    run(main())
    assert words in told[0]


@pytest.mark.parametrize("fails", [True, False])
def test_an_application_that_ends_without_an_answer_is_500(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if fails:
            raise LookupError("the application is wrong")

    async def main() -> None:
        server = await Server(app).connect()
        assert (await server.refused())[0] == b"HTTP/1.1 500 Internal Server Error"
        await server.end()

    run(main())
    assert ("the application is wrong" if fails else "without completing handshake") in caplog.text


@on_jumping_loop
async def test_a_client_that_leaves_before_the_answer_is_told_to_the_application() -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        told.append(await receive())
        try:
            await send({"type": "websocket.accept"})
        except OSError as error:
            told.append(error)

    server = await Server(app).connect()
    await server.end()
    assert told[0] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert len(told) == 2


@on_jumping_loop
async def test_what_an_impatient_client_sends_is_kept_until_it_is_accepted() -> None:
    gate = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate
        await accept_and_echo(scope, receive, send)

    server = await Server(app).connect()
    await server.far.send(masked(OP_TEXT, "a")[:3], masked(OP_TEXT, "b"))
    server.far.sock.close()
    server = await Server(app).connect()
    await server.far.send(masked(OP_TEXT, "a"), masked(OP_TEXT, "b"))
    gate.set_result(None)
    await server.accepted()
    assert await server.messages(2) == ["a", "b"]
    await server.end()


@on_jumping_loop
async def test_what_an_impatient_client_may_send_is_bounded() -> None:
    gate = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate
        await accept_and_echo(scope, receive, send)

    server = await Server(app).connect()
    message = masked(OP_BINARY, bytes(60_000))
    await server.far.send(message)
    assert len(message) < EARLY_BYTES
    assert server.far.transport.is_reading()
    await server.far.send(message)
    assert not server.far.transport.is_reading()
    gate.set_result(None)
    await server.accepted()
    assert await server.messages(2) == [bytes(60_000)] * 2
    await server.end()


# Compression


def client_extension(server: Server) -> PerMessageDeflate:
    """The client's side of what the server has agreed to."""
    value = parse_answer(server.answer)[1][b"sec-websocket-extensions"].decode()
    ((_, parameters),) = parse_extension(value)
    return ClientPerMessageDeflateFactory().process_response_params(parameters, [])


@pytest.mark.parametrize("offer", [b"permessage-deflate", b"permessage-deflate; client_max_window_bits"])
@pytest.mark.parametrize("message", ["a", "hello " * 1000, b"", bytes(5000)])
def test_messages_come_and_go_compressed(offer: bytes, message: str | bytes, made: App) -> None:
    async def main() -> None:
        server = await Server(accept_and_echo).connect(request(b"Sec-WebSocket-Extensions: " + offer))
        await server.accepted()
        client = client_extension(server)
        data = message.encode() if isinstance(message, str) else message
        frame = Frame(OP_TEXT if isinstance(message, str) else OP_BINARY, data)
        await server.far.send(frame.serialize(mask=True, extensions=[client]), masked(OP_TEXT, "plain"))
        await server.far.read_until(lambda data: data.endswith(b"\x81\x05plain"))
        compressed, plain = parse_frames(server.far.data[len(server.answer) :], [client])
        assert (bytes(compressed.data), compressed.opcode, bytes(plain.data)) == (data, frame.opcode, b"plain")
        long = len(data) >= made.config.compression_threshold
        assert made.counters.compressions == long
        assert bool(server.far.data[len(server.answer)] & 0x40) is long
        await server.end()

    run(main())


@on_jumping_loop
async def test_a_message_for_many_is_compressed_once(made: App) -> None:
    for _ in range(5):
        server = await Server(accept_and_echo).connect(request(b"Sec-WebSocket-Extensions: permessage-deflate"))
        await server.accepted()
        await server.far.send(masked(OP_TEXT, "x" * 5000))
        await server.far.read_until(lambda data: len(data) > len(server.answer))  # noqa: B023
        await server.end()
    assert made.counters.compressions == 1


@pytest.mark.parametrize(
    ("offer", "options"),
    [
        (b"", {}),
        (b"x-webkit-deflate-frame", {}),
        (b"permessage-deflate; server_max_window_bits=8", {}),
        (b"permessage-deflate; __class__", {}),
        (b'a; b="' + b"\\\\" * 1000, {}),
        (b"permessage-deflate", {"ws_per_message_deflate": False}),
    ],
)
def test_what_cannot_be_had_is_declined_and_the_connection_goes_on(offer: bytes, options: Any) -> None:
    async def main() -> None:
        server = await Server(accept_and_echo, **options).connect(request(b"Sec-WebSocket-Extensions: " + offer))
        await server.accepted()
        assert b"sec-websocket-extensions" not in server.answer
        await server.far.send(masked(OP_TEXT, "x" * 5000))
        assert await server.messages(1) == ["x" * 5000]
        await server.far.send(masked(OP_TEXT, "x", rsv1=True))
        assert (await server.closed_with())[0] == 1002
        await server.end()

    run(main())


def test_compression_may_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, compression=False)

    async def main() -> None:
        server = await Server(accept_and_echo).connect(request(b"Sec-WebSocket-Extensions: permessage-deflate"))
        await server.accepted()
        assert b"sec-websocket-extensions" not in server.answer
        await server.end()

    run(main())


@on_jumping_loop
async def test_a_compressed_message_over_the_limit_is_1009() -> None:
    recorder = Recorder()
    server = Server(recorder, ws_max_size=1000)
    await (await server.connect(request(b"Sec-WebSocket-Extensions: permessage-deflate"))).accepted()
    for length in (1000, 1001):
        frame = Frame(OP_BINARY, bytes(length)).serialize(mask=True, extensions=[client_extension(server)])
        await server.far.send(frame)
    assert (await server.closed_with())[0] == 1009
    await until(lambda: not server.state.tasks)
    assert [event.get("bytes") for event in recorder.events[1:]] == [bytes(1000), None, None]
    await server.end()


# The conversation


@pytest.mark.parametrize("message", ["", "a", "ä€🎵", "x" * 126, "x" * 70_000, b"", b"\xff\x00", bytes(70_000)])
def test_messages_of_any_length_come_and_go(message: str | bytes) -> None:
    async def main() -> None:
        server = await start(accept_and_echo)
        await server.far.send(masked(OP_TEXT if isinstance(message, str) else OP_BINARY, message))
        assert await server.messages(1) == [message]
        await server.end()

    run(main())


@on_jumping_loop
async def test_fragments_with_a_ping_between_them_are_one_message() -> None:
    server = await start(accept_and_echo)
    await server.far.send(masked(OP_TEXT, "€".encode()[:1], fin=False), masked(OP_PING, "between"))
    await server.far.send(masked(OP_CONT, "€".encode()[1:], fin=False), masked(OP_CONT, b""))
    pong, message = await server.frames(2)
    assert (pong.opcode, bytes(pong.data)) == (OP_PONG, b"between")
    assert (message.opcode, bytes(message.data).decode()) == (OP_TEXT, "€")
    await server.end()


@on_jumping_loop
async def test_messages_of_one_write_keep_their_order() -> None:
    server = await start(accept_and_echo)
    await server.far.send(b"".join(masked(OP_TEXT, str(number)) for number in range(50)))
    assert await server.messages(50) == [str(number) for number in range(50)]
    await server.end()


@on_jumping_loop
async def test_reading_pauses_until_the_application_has_taken_what_came() -> None:
    gate = asyncio.get_running_loop().create_future()
    taken: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await gate
        while (event := await receive())["type"] == "websocket.receive":
            taken.append(event["text"])

    server = await start(app)
    await server.far.send(masked(OP_TEXT, "a"))
    assert not server.far.transport.is_reading()
    await server.far.send(masked(OP_TEXT, "b"))
    gate.set_result(None)
    await until(lambda: taken == ["a", "b"])
    assert server.far.transport.is_reading()
    await server.end()


@on_jumping_loop
async def test_reading_pauses_again_and_again() -> None:
    steps = [asyncio.Event() for _ in range(4)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for step in steps:
            await step.wait()
            await receive()

    server = await start(app)
    for step in steps:
        assert server.far.transport.is_reading()
        await server.far.send(masked(OP_TEXT, "a"))
        assert not server.far.transport.is_reading()
        step.set()
        await settled()
    await server.end()


@on_jumping_loop
async def test_send_waits_while_the_client_does_not_read() -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for number in range(200):
            await send({"type": "websocket.send", "bytes": bytes(20_000)})
            sent.append(number)

    server = await start(app)
    await settled(100)
    stopped_at = len(sent)
    assert stopped_at < 200
    await settled(100)
    assert len(sent) == stopped_at
    await server.far.read_until(lambda data: len(sent) == 200)
    await server.end()


# The end


@pytest.mark.parametrize(
    ("frame", "code", "reason"),
    [
        (close_frame(1000, "bye"), 1000, "bye"),
        (close_frame(4321), 4321, ""),
        (masked(OP_TEXT, "x") + close_frame(1001, "gone"), 1001, "gone"),
        (b"\x88\x80\x00\x00\x00\x00", 1005, ""),
    ],
)
def test_the_clients_close_frame_is_answered_and_told(frame: bytes, code: int, reason: str) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = await start(recorder)
        await server.far.send(frame)
        await server.far.read_until(lambda data: server.far.ended)
        (answer,) = await server.frames(1)
        assert bytes(answer.data)[:2] == (b"" if code == 1005 else code.to_bytes(2, "big"))
        await until(lambda: not server.state.tasks)
        expected = {"type": "websocket.disconnect", "code": code, "reason": reason}
        assert recorder.events[-2:] == [expected, expected], "told again and again to who asks again"
        await server.end()

    run(main())


@on_jumping_loop
async def test_a_client_that_vanishes_is_1006() -> None:
    recorder = Recorder()
    server = await start(recorder)
    await server.end()
    assert recorder.events[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


@on_jumping_loop
async def test_sending_to_a_client_that_is_gone_is_an_oserror() -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        try:
            await send({"type": "websocket.send", "text": "late"})
        except OSError as error:
            told.append(error)

    server = await start(app)
    await server.end()
    assert len(told) == 1


@on_jumping_loop
async def test_the_applications_close_is_sent_and_the_clients_answer_awaited() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
        assert await receive() == {"type": "websocket.disconnect", "code": 4000, "reason": "enough"}

    server = await start(app)
    assert await server.closed_with() == (4000, "enough")
    assert not server.far.ended
    await server.far.send(close_frame(4000))
    await server.far.read_until(lambda data: server.far.ended)
    await server.end()


@on_jumping_loop
async def test_a_client_that_does_not_answer_the_close_frame_is_cut_off() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    server = await start(app)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await server.far.read_until(lambda data: server.far.ended)
    assert 9 < loop.time() - began < 11
    await server.end()


@pytest.mark.parametrize(("fails", "code"), [(True, 1011), (False, 1000)])
def test_the_end_of_the_application_closes(fails: bool, code: int, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if fails:
            raise LookupError("the application is wrong")

    async def main() -> None:
        server = await start(app)
        assert (await server.closed_with())[0] == code
        await server.end()

    run(main())
    assert ("the application is wrong" in caplog.text) is fails


@pytest.mark.parametrize("accepts", [True, False])
def test_an_application_that_is_cancelled_tells_its_client_to_come_back(accepts: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if accepts:
            await send({"type": "websocket.accept"})
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        server = await Server(app).connect()
        await settled()
        (task,) = server.state.tasks
        task.cancel()
        if accepts:
            await server.accepted()
            assert (await server.closed_with())[0] == 1012
        else:
            assert (await server.refused())[0] == b"HTTP/1.1 500 Internal Server Error"
        await server.end()

    run(main())


def test_what_an_application_returns_is_none(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> str:
        await receive()
        await send({"type": "websocket.accept"})
        return "something"

    async def main() -> None:
        server = await start(app)
        assert (await server.closed_with())[0] == 1000
        await server.end()

    run(main())
    assert "should return None, but returned 'something'" in caplog.text


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(OP_TEXT, b"\xff"), 1007),
        (masked(OP_TEXT, b"\xff", fin=False), 1007),
        (masked(OP_TEXT, b"x", rsv1=True), 1002),
        (masked(OP_CONT, b"x"), 1002),
        (masked(OP_TEXT, b"x", fin=False) + masked(OP_TEXT, b"x"), 1002),
        (masked(OP_BINARY, b"x" * 60, fin=False) + masked(OP_CONT, b"x" * 60), 1009),
        (masked(OP_BINARY, b"x" * 101), 1009),
        (b"\x81\x01a", 1002),
        (b"\x83\x80\x00\x00\x00\x00", 1002),
        (b"\x88\x81\x00\x00\x00\x00\x01", 1002),
    ],
)
def test_a_broken_protocol_closes_with_its_code_and_the_application_is_told(data: bytes, code: int) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = await start(recorder, ws_max_size=100)
        await server.far.send(data)
        await server.far.read_until(lambda data: server.far.ended)
        assert (await server.closed_with())[0] == code
        await until(lambda: not server.state.tasks)
        assert recorder.events[-1]["code"] == code
        assert [event["type"] for event in recorder.events].count("websocket.receive") == 0
        await server.end()

    run(main())


@pytest.mark.parametrize(
    ("data", "code", "counter"),
    [
        (b"\x83\x80", 1002, "protocol_errors"),
        (masked(OP_TEXT, b"\xff"), 1007, "protocol_errors"),
        (masked(OP_BINARY, b"x" * 10_001), 1009, "messages_too_big"),
        (masked(OP_BINARY, b"x", fin=False) + masked(OP_CONT, b"x", fin=False) * 10, 1008, "fragments_over_limit"),
        (masked(OP_BINARY, b"x" * 5001, fin=False), 1013, "unfinished_over_limit"),
        (masked(OP_PING, b"") * 102, 1008, "control_floods"),
    ],
)
def test_a_client_that_goes_too_far_is_counted_and_told_why(data: bytes, code: int, counter: str, made: App) -> None:
    async def main() -> None:
        server = await start(accept_and_echo, ws_max_size=10_000)
        await server.far.send(data)
        found, reason = await server.closed_with()
        assert (found, bool(reason), getattr(made.counters, counter)) == (code, True, 1)
        await server.far.read_until(lambda data: server.far.ended)
        await server.end()

    run(main())


@on_jumping_loop
async def test_what_a_client_sent_before_a_fault_is_answered_before_the_close_frame() -> None:
    async def slow_echo(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await asyncio.sleep(1)
            await send({"type": "websocket.send", "text": event["text"]})

    server = await start(slow_echo)
    await server.far.send(b"".join(masked(OP_TEXT, str(number)) for number in range(5)) + b"\x83\x80")
    await server.far.read_until(lambda data: server.far.ended)
    frames = parse_frames(server.far.data[len(server.answer) :])
    assert [bytes(frame.data) for frame in frames[:-1]] == [b"0", b"1", b"2", b"3", b"4"]
    assert Close.parse(frames[-1].data).code == 1002
    await server.end()


@on_jumping_loop
async def test_nothing_is_left_of_a_message_whose_client_vanishes_in_the_middle_of_it() -> None:
    server = await start(accept_and_echo)
    await server.far.send(masked(OP_BINARY, b"x" * 300, fin=False), masked(OP_CONT, b"x" * 300)[:108])
    assert gate_of(server.state, server.config)._unfinished.held == 400
    await server.end()


@pytest.mark.parametrize("code", [-1, 70_000, "1000"])
def test_a_code_that_cannot_be_sent_is_an_error_of_the_application(code: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": code})

    async def main() -> None:
        server = await start(app)
        assert (await server.closed_with())[0] == 1011
        await server.end()

    run(main())
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize("opcode", [OP_TEXT, OP_BINARY])
@pytest.mark.parametrize("length", [101, 125, 126, 3000, 70_000])
@pytest.mark.parametrize("first", [b"", masked(OP_TEXT, "a")], ids=["first", "later"])
def test_a_message_over_the_limit_is_1009_and_reaches_nobody(opcode: Any, length: int, first: bytes) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = await start(recorder, ws_max_size=100)
        await server.far.send(*([first] if first else []), masked(opcode, b"x" * length))
        assert (await server.closed_with())[0] == 1009
        await until(lambda: not server.state.tasks)
        received = [event for event in recorder.events if event["type"] == "websocket.receive"]
        assert received == ([{"type": "websocket.receive", "text": "a"}] if first else [])
        assert recorder.events[-1]["code"] == 1009
        await server.end()

    run(main())


@pytest.mark.parametrize(
    "data",
    [b"\x81\x01a", masked(OP_TEXT, b"\xff"), masked(OP_TEXT, b"x" * 101)],
    ids=["unmasked", "not UTF-8", "too big"],
)
def test_nothing_comes_behind_the_close_frame_of_a_broken_protocol(data: bytes) -> None:
    async def talk(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        with contextlib.suppress(OSError):
            while True:
                await send({"type": "websocket.send", "text": "x"})
                await asyncio.sleep(0.001)

    async def main() -> None:
        server = await start(talk, ws_max_size=100)
        await server.far.send(data)
        await server.far.read_until(lambda data: server.far.ended)
        await until(lambda: not server.state.tasks)
        frames = parse_frames(server.far.data[len(server.answer) :])
        assert [frame.opcode for frame in frames].count(OP_CLOSE) == 1
        assert frames[-1].opcode is OP_CLOSE
        await server.end()

    run(main())


@on_jumping_loop
async def test_a_shutdown_closes_an_open_connection_with_1012() -> None:
    recorder = Recorder()
    server = await start(recorder)
    server.protocol.shutdown()
    assert (await server.closed_with())[0] == 1012
    await until(lambda: not server.state.tasks)
    assert recorder.events[-1]["code"] == 1012
    await server.end()


@on_jumping_loop
async def test_a_shutdown_answers_an_open_handshake_with_503() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    server = await Server(app).connect()
    server.protocol.shutdown()
    assert (await server.refused())[0] == b"HTTP/1.1 503 Service Unavailable"
    await server.end()


# Pings


@on_jumping_loop
async def test_a_client_is_pinged_and_lives_while_it_answers() -> None:
    server = await start(accept_and_echo, ws_ping_interval=20.0, ws_ping_timeout=20.0)
    for count in range(1, 4):
        frames = await server.frames(count)
        assert {frame.opcode for frame in frames} == {OP_PING}
        await server.far.send(masked(OP_PONG, bytes(frames[-1].data)))
    await server.far.send(masked(OP_TEXT, "still here"))
    await server.frames(4)
    assert not server.far.ended
    await server.end()


@pytest.mark.parametrize("has_sent", [False, True])
def test_a_client_that_answers_no_ping_is_closed(has_sent: bool) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = await start(recorder, ws_ping_interval=20.0, ws_ping_timeout=20.0)
        if has_sent:
            await server.far.send(masked(OP_TEXT, "a"))
        assert (await server.closed_with())[0] == 1011
        await until(lambda: not server.state.tasks)
        assert recorder.events[-1]["code"] == 1011
        await server.end()

    run(main())


# A consumer that takes the messages itself


class Echo(AsyncJsonWebsocketConsumer):
    ends: list[int] = []

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        self.ends.append(code)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(Echo, "ends", [])
    return Echo.ends


@pytest.mark.parametrize(
    ("data", "code", "sent"),
    [
        (close_frame(1000), 1000, 1000),
        (masked(OP_TEXT, "{}") + close_frame(4001), 4001, 4001),
        (masked(OP_TEXT, b"\xff"), 1007, 1007),
        (b"\x81\x01a", 1002, 1002),
    ],
)
def test_a_consumer_on_the_socket_is_told_the_end_once(data: bytes, code: int, sent: int, ends: list[int]) -> None:
    async def main() -> None:
        server = await start(Echo.as_asgi())
        await server.far.send(masked(OP_TEXT, '{"a":1}'))
        assert await server.messages(1) == ['{"a":1}']
        await server.far.send(data)
        await until(lambda: not server.state.tasks)
        assert (await server.closed_with())[0] == sent
        assert ends == [code]
        await server.end()

    run(main())


@on_jumping_loop
async def test_a_consumer_answers_bad_json_and_lives() -> None:
    server = await start(Echo.as_asgi())
    await server.far.send(masked(OP_TEXT, "{"), masked(OP_BINARY, b"x"), masked(OP_TEXT, "1"))
    first, second, third = await server.messages(3)
    assert ("invalid_json" in str(first), "unexpected_binary" in str(second), third) == (True, True, "1")
    await server.end()


def test_a_consumer_handles_what_it_has_when_the_server_stops(ends: list[int]) -> None:
    async def main() -> None:
        server = await start(Echo.as_asgi())
        await server.far.send(masked(OP_TEXT, "1"))
        server.protocol.shutdown()
        assert (await server.closed_with())[0] == 1012
        await until(lambda: not server.state.tasks)
        assert ends == [1012]
        assert (await server.messages(2))[0] == "1"
        await server.end()

    run(main())
