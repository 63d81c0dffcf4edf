"""Writing to many sockets at once: whatever way it takes, each gets every byte once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import fanout
from antiphon.config import Config
from antiphon.connection import Connection
from antiphon.fanout import NO_DESCRIPTOR, Targets
from antiphon.formats import FRAMES
from antiphon.transport import DirectTransport

from .fakes import FakeConsumer, run, settled, start_hub

compiled_only = pytest.mark.skipif(not fanout.COMPILED, reason="the package was built without a C compiler")


class FakeConnection:
    """A connection over a pair of sockets."""

    def __init__(self, *, direct: bool = True) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.descriptor = self.near.fileno() if direct else NO_DESCRIPTOR
        self.written: list[bytes] = []
        self.write_error: Exception | None = None

    def write(self, chunk: Any) -> None:
        if self.write_error is not None:
            raise self.write_error
        self.written.append(bytes(chunk))

    def received(self) -> bytes:
        return read_all(self.far)

    def fill(self) -> int:
        """Fill the socket, and return with how many bytes."""
        filled = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                filled += self.near.send(b"." * 4096)
        return filled

    def close(self) -> None:
        self.near.close()
        self.far.close()


def read_all(sock: socket.socket) -> bytes:
    data = b""
    try:
        while part := sock.recv(1 << 20):
            data += part
    except BlockingIOError:
        pass
    return data


@pytest.fixture
def connect() -> Iterator[Callable[..., FakeConnection]]:
    made: list[FakeConnection] = []

    def make(*, direct: bool = True) -> FakeConnection:
        made.append(FakeConnection(direct=direct))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


def targets(*connections: FakeConnection) -> Targets:
    return Targets(cast(list[Connection], list(connections)))


@compiled_only
@pytest.mark.parametrize("count", [1, 15, 16, 40])
def test_sockets_with_room_are_written_directly(connect: Callable[..., FakeConnection], count: int) -> None:
    connections = [connect() for _ in range(count)]
    assert targets(*connections).write(b"abc") == 0
    assert [connection.received() for connection in connections] == [b"abc"] * count
    assert not any(connection.written for connection in connections)


def test_without_the_compiled_loop_each_is_written_by_itself(
    connect: Callable[..., FakeConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "send_all", None)
    connections = [connect() for _ in range(3)]
    assert targets(*connections).write(b"abc") == 0
    assert [connection.written for connection in connections] == [[b"abc"]] * 3


def test_a_connection_without_a_descriptor_is_written_by_itself(connect: Callable[..., FakeConnection]) -> None:
    connections = [connect(direct=False), connect(), connect(direct=False)]
    targets(*connections).write(b"abc")
    for connection in connections:
        assert b"".join(connection.written) + connection.received() == b"abc"
    assert connections[0].written == connections[2].written == [b"abc"]


def test_chunks_of_another_format_are_written_as_they_are() -> None:
    written: list[Any] = []

    class Other:
        descriptor = NO_DESCRIPTOR
        write = staticmethod(written.append)

    Targets(cast(list[Connection], [Other(), Other()])).write(("a", b"b"))
    assert written == [("a", b"b"), ("a", b"b")]


@compiled_only
def test_what_a_socket_does_not_take_goes_to_its_write(connect: Callable[..., FakeConnection]) -> None:
    first, full, last = connect(), connect(), connect()
    filled = full.fill()
    chunk = bytes(range(256)) * 8
    assert targets(first, full, last).write(chunk) == 0
    assert first.received() == last.received() == chunk
    assert full.received()[filled:] + b"".join(full.written) == chunk
    assert full.written


@compiled_only
def test_what_a_socket_takes_in_part_is_not_sent_twice(connect: Callable[..., FakeConnection]) -> None:
    connection = connect()
    chunk = bytes(index * 7 % 251 for index in range(3_000_000))
    targets(connection).write(chunk)
    taken = connection.received()
    assert 0 < len(taken) < len(chunk)
    assert taken + b"".join(connection.written) == chunk


@compiled_only
@pytest.mark.parametrize("how", ["peer closed", "closed"])
def test_a_socket_that_is_gone_costs_the_others_nothing(connect: Callable[..., FakeConnection], how: str) -> None:
    first, gone, last = connect(), connect(), connect()
    (gone.far if how == "peer closed" else gone.near).close()
    assert targets(first, gone, last).write(b"abc") == 0
    assert gone.written == [b"abc"], "the transport's write finds the error"
    assert first.received() == last.received() == b"abc"


@pytest.mark.parametrize("direct", [False, True])
def test_who_can_not_be_written_to_is_counted(connect: Callable[..., FakeConnection], direct: bool) -> None:
    connections = [connect(direct=direct) for _ in range(3)]
    connections[1].far.close()
    connections[1].write_error = RuntimeError("the handler is closed")
    assert targets(*connections).write(b"abc") == 1
    for connection in (connections[0], connections[2]):
        assert b"".join(connection.written) + connection.received() == b"abc"


def test_nobody_is_written_to() -> None:
    assert targets().write(b"abc") == 0


# With the hub, transports and sockets that are full at times


class SocketLink:
    """A link over a real socket with little room, which buffers as a transport of asyncio does with ``high=0``."""

    format = FRAMES

    def __init__(self) -> None:
        self.context = contextvars.copy_context()
        self.near, self.far = socket.socketpair()
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for sock in (self.near, self.far):
            sock.setblocking(False)
        self.descriptor = self.near.fileno()
        self.transport: DirectTransport | None = None
        self.buffer = b""
        self.received = b""
        self.close_calls = 0

    def claim(self, transport: DirectTransport, **limits: Any) -> None:
        self.transport = transport

    @property
    def write(self) -> Callable[[Any], None]:
        return self._write

    def _write(self, data: Any) -> None:
        assert self.transport is not None
        was_paused = bool(self.buffer)
        self.buffer += bytes(data)
        self._push()
        if self.buffer and not was_paused:
            self.transport.pause_writing()

    def _push(self) -> None:
        try:
            while self.buffer:
                self.buffer = self.buffer[self.near.send(self.buffer) :]
        except BlockingIOError:
            pass

    def read(self) -> None:
        """Let the client read what is there."""
        self.received += read_all(self.far)

    def write_on(self) -> None:
        """Let the loop find that there is room again."""
        assert self.transport is not None
        if self.buffer:
            self._push()
            if not self.buffer:
                self.transport.resume_writing()

    def close(self, code: int, reason: bytes) -> None:
        self.close_calls += 1

    def abort(self) -> None:
        raise AssertionError("nothing aborts here")

    def pause_reading(self) -> None:
        raise AssertionError("nobody sends here")

    def resume_reading(self) -> None:
        raise AssertionError("nobody sends here")


steps = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from([1, 10, 3000, 60_000])),
    st.tuples(st.just("send"), st.integers(0, 2), st.sampled_from([1, 3000])),
    st.tuples(st.just("read"), st.integers(0, 2)),
    st.tuples(st.just("write on"), st.integers(0, 2)),
    st.tuples(st.just("tick")),
)


@settings(max_examples=150)
@given(st.lists(steps, min_size=10, max_size=30), st.sampled_from([{}, {"room": {"slow": "drop_oldest"}}]))
def test_every_byte_arrives_once_and_in_order_however_full_sockets_are(plan: list[Any], rules: dict[str, Any]) -> None:
    async def send(message: Any) -> None:
        """The handshake is of no interest here."""

    async def main() -> None:
        hub = await start_hub(rules=rules)  # there is room for all: a rule leaves nothing out
        links = [SocketLink() for _ in range(3)]
        connections, tasks = [], []
        expected = [b"", b"", b""]
        for number, link in enumerate(links):
            transport = DirectTransport(
                cast(Any, link), {}, send, outbox_limit=10**9, max_message_size=1, close_timeout=1.0
            )
            consumer = FakeConsumer()
            connection = Connection(
                hub=hub,
                config=Config(),
                consumer=consumer,
                scope={},
                transport=transport,
                channel_name=f"specific.test!{number}",
            )
            consumer.connection = connection
            connections.append(connection)
            tasks.append(asyncio.create_task(connection.run(), context=link.context))
        await settled(5)
        for connection in connections:
            await hub.join("room", connection)
        for number, (step, *arguments) in enumerate(plan):
            if step == "publish":
                payload = (b"%d " % number) * arguments[0]
                await hub.engine.publish("room", payload)
                expected = [so_far + FRAMES.text(payload) for so_far in expected]
            elif step == "send":
                payload = (b"%d own " % number) * arguments[1]
                connections[arguments[0]].send_text(payload)
                expected[arguments[0]] += FRAMES.text(payload)
            elif step == "read":
                links[arguments[0]].read()
            elif step == "write on":
                links[arguments[0]].write_on()
            else:
                await settled(2)
            for link, wanted in zip(links, expected, strict=True):
                assert wanted.startswith(link.received)
        await settled(2)
        for link, wanted in zip(links, expected, strict=True):
            for _ in range(10_000):
                if link.received == wanted:
                    break
                link.read()
                link.write_on()
            assert link.received == wanted
        for connection, task, link in zip(connections, tasks, links, strict=True):
            connection.lost(1001)
            await task
            link.near.close()
            link.far.close()

    run(main())
