"""What the tests share: an event loop whose clock jumps, and stand-ins for a transport, a consumer and an engine."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import selectors
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from websockets.extensions import Extension
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from antiphon.config import Config
from antiphon.connection import Connection, Hooks, Turns
from antiphon.counters import Counters
from antiphon.engines.base import Engine
from antiphon.engines.memory import MemoryEngine
from antiphon.formats import FRAMES, MESSAGES, Chunk, Format
from antiphon.hub import Hub
from antiphon.lifecycle import State
from antiphon.rules import Rules
from antiphon.types import Message, Position, Retention, Scope

Result = TypeVar("Result")
Params = ParamSpec("Params")


# Time


class Deadlock(AssertionError):
    """Every task waits, and nothing will ever wake one."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never sleeps: where the loop would, its clock jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("every task waits for something that nothing will bring")
            self.now += max(timeout, 0)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop on which an hour is over at once, and a deadlock is an error."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        self.faults: list[str] = []
        super().__init__(self._jumping)
        self.set_exception_handler(self._take_fault)

    def time(self) -> float:
        return self._jumping.now

    def _take_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context['message']}: {context.get('exception')!r}")


async def _strictly(main: Coroutine[Any, Any, Result]) -> Result:
    result = await main
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert not tasks, f"tasks were left behind: {tasks}"
    return result


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run ``main`` on a loop whose clock jumps; fail for a callback that raised and a task that was left behind."""
    loops: list[JumpingLoop] = []

    def factory() -> JumpingLoop:
        loops.append(JumpingLoop())
        return loops[0]

    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(_strictly(main))
    assert not loops[0].faults, loops[0].faults
    return result


def on_jumping_loop(test: Callable[Params, Coroutine[Any, Any, None]]) -> Callable[Params, None]:
    """Make of an async test one that ``run`` runs."""

    @functools.wraps(test)
    def synchronous(*args: Params.args, **kwargs: Params.kwargs) -> None:
        run(test(*args, **kwargs))

    return synchronous


async def settled(rounds: int = 20) -> None:
    """Let the loop go round until everything that can go on without time or news has."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], rounds: int = 2000) -> None:
    """Go round the loop until ``condition`` holds, letting time go by; fail where it never does."""
    for number in range(rounds):
        if condition():
            return
        await asyncio.sleep(0 if number < 50 else 0.1)
    raise AssertionError("the condition never came to hold")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the least CPU time of several runs: what else the machine does only adds to it.

    For ratios: how much longer a task of eight times the size takes.
    """
    times = []
    for _ in range(5):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return min(times)


# Frames


def parse_frames(data: bytes, extensions: Sequence[Extension] = ()) -> list[Frame]:
    """Return the unmasked frames in ``data``, read by another implementation."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames = []
    while not _done(reader.at_eof()):
        frames.append(_returned(Frame.parse(reader.read_exact, mask=False, extensions=extensions)))
    return frames


def _done(generator: Any) -> bool:
    result: bool = _returned(generator)
    return result


def _returned(generator: Any) -> Any:
    """Return what a generator that never has to wait returns."""
    try:
        next(generator)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the parser waits for more bytes: a frame is cut off")


def messages_in(chunks: Iterable[Chunk]) -> list[str | bytes]:
    """Return the messages that ``chunks`` of either format hold."""
    found: list[str | bytes] = []
    for chunk in chunks:
        if isinstance(chunk, tuple):
            found.extend(chunk)
        else:
            for frame in parse_frames(chunk):
                assert frame.fin
                found.append(bytes(frame.data).decode() if frame.opcode is Opcode.TEXT else bytes(frame.data))
    return found


# Connections


class FakeTransport:
    """A transport that remembers. ``calls`` are the verbs in their order, ``chunks`` what was written."""

    def __init__(self, format: Format = FRAMES) -> None:
        self.format: Format = format
        self.context: contextvars.Context | None = None
        self.calls: list[Any] = []
        self.chunks: list[Chunk] = []
        self.written_after_close: list[Chunk] = []
        self.accept_error: Exception | None = None
        self.write_error: Exception | None = None
        self.accepting: Awaitable[Any] | None = None
        self.finishing: Awaitable[Any] | None = None
        self._connection: Connection | None = None

    @property
    def messages(self) -> list[str | bytes]:
        """Every message that was written."""
        return messages_in(self.chunks)

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def attach(self, connection: Connection) -> None:
        self._connection = connection

    async def accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.calls.append(("accept", subprotocol, list(headers)))
        if self.accepting is not None:
            await self.accepting
        if self.accept_error is not None:
            raise self.accept_error

    async def refuse(self, status: int) -> None:
        if not any(call[0] in ("accept", "refuse") for call in self.calls):
            self.calls.append(("refuse", status))

    def listen(self) -> None:
        self.calls.append(("listen",))

    def write(self, chunk: Chunk) -> None:
        assert isinstance(chunk, (bytes, tuple)), f"{chunk!r} is no chunk"
        if self.write_error is not None:
            raise self.write_error
        if self.closings:
            self.written_after_close.append(chunk)
        self.chunks.append(chunk)

    def drop(self, chunk: Chunk) -> None:
        assert isinstance(chunk, (bytes, tuple)), f"{chunk!r} is no chunk"

    def close(self, code: int, reason: bytes) -> None:
        self.calls.append(("close", code, reason))

    async def finish(self) -> None:
        self.calls.append(("finish",))
        if self.finishing is not None:
            await self.finishing

    def pause_reading(self) -> None:
        self.calls.append(("pause_reading",))

    def resume_reading(self) -> None:
        self.calls.append(("resume_reading",))

    def gap(self, group: str, position: Position) -> None:
        self.calls.append(("gap", group, position))
        self.connection.send_gap(group, position)

    def verbs(self, *names: str) -> list[Any]:
        """Return the calls of these names."""
        return [call for call in self.calls if call[0] in names]

    @property
    def answers(self) -> list[Any]:
        """What the client was told: accepted, refused, closed."""
        return self.verbs("accept", "refuse", "close")

    @property
    def closings(self) -> list[Any]:
        """The closes that were asked for."""
        return self.verbs("close")


class FakeConsumer:
    """What a connection calls: accepts, remembers what came, answers with what ``on_text`` says."""

    groups: Iterable[str] = ()

    def __init__(self) -> None:
        self.connection: Connection
        self.received: list[Any] = []
        self.disconnects: list[int] = []

    async def connect(self) -> None:
        await self.connection.accept(None, ())

    async def on_text(self, payload: bytes) -> None:
        self.received.append(payload)

    async def on_binary(self, payload: bytes) -> None:
        self.received.append(payload)

    def turns(self) -> Turns:
        async def connect(self: FakeConsumer, argument: None) -> None:
            await self.connect()

        return Turns(
            connect,
            lambda self, payload: self.on_text(payload),
            lambda self, payload: self.on_binary(payload),
            lambda self, code: self.disconnect(code),
        )

    client_info: Any = None

    def hooks(self) -> Hooks:
        return Hooks()

    async def disconnect(self, code: int) -> None:
        assert not self.connection.memberships, "disconnect runs after the memberships are gone"
        self.disconnects.append(code)

    def send(self, text: str) -> None:
        self.connection.send_text(text.encode())


_names = iter(range(sys.maxsize))


def make_hub(
    engine: Engine | None = None, *, groups_per_connection: int = 128, rules: Mapping[str, Any] | None = None
) -> Hub:
    """Return a hub on the running loop."""
    return Hub(
        engine or MemoryEngine(), Counters(), groups_per_connection=groups_per_connection, rules=Rules(rules or {})
    )


async def start_hub(
    engine: Engine | None = None, *, groups_per_connection: int = 128, rules: Mapping[str, Any] | None = None
) -> Hub:
    """Return a hub on the running loop whose engine was started."""
    hub = make_hub(engine, groups_per_connection=groups_per_connection, rules=rules)
    await hub.engine.start(hub)
    return hub


def make_connection(
    hub: Hub,
    consumer: FakeConsumer | None = None,
    transport: FakeTransport | None = None,
    *,
    config: Config | None = None,
    scope: Scope | None = None,
) -> Connection:
    """Return a connection over fakes; nothing runs yet."""
    consumer = consumer or FakeConsumer()
    connection = Connection(
        hub=hub,
        config=config or Config(),
        consumer=consumer,
        scope=scope or {"type": "websocket", "path": "/test/"},
        transport=transport or FakeTransport(),
        channel_name=f"specific.test!{next(_names)}",
    )
    consumer.connection = connection
    return connection


class Client:
    """A connection that runs, with its fakes at hand."""

    def __init__(
        self,
        hub: Hub,
        consumer: FakeConsumer | None = None,
        transport: FakeTransport | None = None,
        *,
        config: Config | None = None,
        scope: Scope | None = None,
    ) -> None:
        self.hub = hub
        self.consumer = consumer or FakeConsumer()
        self.transport = transport or FakeTransport()
        context = self.transport.context = contextvars.copy_context()
        self.connection = make_connection(hub, self.consumer, self.transport, config=config, scope=scope)
        self.task = asyncio.create_task(self.connection.run(), context=context)

    @property
    def messages(self) -> list[str | bytes]:
        return self.transport.messages

    @property
    def counters(self) -> Counters:
        return self.hub.counters

    async def opened(self) -> Client:
        """Wait until the connection is accepted."""
        await until(lambda: self.connection.state is State.OPEN)
        await settled(3)
        return self

    def receive(self, text: str) -> None:
        """Let a message come in as a socket would bring it: from the loop, outside of any task."""
        self.outside(self.connection.receive_text, text.encode())

    def outside(self, function: Callable[..., Any], *args: Any) -> None:
        """Call ``function`` from the loop in the next round."""
        self.hub.loop.call_soon(function, *args)

    async def leave(self, code: int = 1001) -> None:
        """Let the client go, and wait until the connection is over."""
        self.connection.lost(code)
        await self.task


# Engines


class SlowEngine(MemoryEngine):
    """A memory engine whose ``subscribe`` waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[asyncio.Future[None]] = []

    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        await super().subscribe(group, retention)


# ASGI


class ASGIClient:
    """The other side of an ASGI application: what a server is to it.

    As the specification says, ``send`` raises ``OSError`` after ``leave``; as servers do, ``RuntimeError`` for an event
    that has no place.
    """

    def __init__(self, app: Any, **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/chat/",
            "subprotocols": [],
            "headers": [],
            "extensions": {"websocket.http.response": {}},
            **scope,
        }
        self.sent: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.left = False
        self.writable = asyncio.Event()
        self.writable.set()
        self.misuse: list[str] = []
        self.task: asyncio.Task[None] = asyncio.create_task(app(self.scope, self.inbox.get, self._send))

    async def _send(self, message: Message) -> None:
        await self.writable.wait()
        if self.left:
            raise OSError("the client left")
        kinds = [sent["type"] for sent in self.sent]
        accepted, closed = "websocket.accept" in kinds, "websocket.close" in kinds
        fits = not closed and accepted == (message["type"] in ("websocket.send", "websocket.close"))
        if not fits and not (message["type"] == "websocket.close" or message["type"].startswith("websocket.http")):
            self.misuse.append(f"{message['type']} after {kinds}")
            raise RuntimeError(self.misuse[-1])
        self.sent.append(dict(message))

    async def opened(self) -> ASGIClient:
        """Wait until the application has accepted."""
        await until(lambda: self.kinds("websocket.accept"))
        return self

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one type that the application sent."""
        return [event for event in self.sent if event["type"] == kind]

    @property
    def texts(self) -> list[str]:
        return [event["text"] for event in self.kinds("websocket.send") if event.get("text") is not None]

    def say(self, text: str) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    def say_bytes(self, data: bytes) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "bytes": data})

    async def leave(self, code: int = 1001) -> None:
        """Disconnect as a client does, and wait for the end of the application."""
        self.left = True
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": code})
        await self.task


__all__ = [
    "MESSAGES",
    "ASGIClient",
    "Client",
    "Deadlock",
    "FakeConsumer",
    "FakeTransport",
    "JumpingLoop",
    "SlowEngine",
    "cpu_seconds",
    "make_connection",
    "make_hub",
    "messages_in",
    "on_jumping_loop",
    "parse_frames",
    "run",
    "settled",
    "start_hub",
    "until",
]
