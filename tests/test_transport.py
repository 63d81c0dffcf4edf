"""The two transports: order, bounds, and what they leave behind."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import json
import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.config import Config
from antiphon.connection import Connection
from antiphon.fanout import NO_DESCRIPTOR
from antiphon.formats import FRAMES
from antiphon.hub import Hub
from antiphon.lifecycle import State
from antiphon.outbox import APART
from antiphon.transport import BATCH, ASGITransport, DirectTransport, Transport
from antiphon.types import Message, Receive, Scope, Send

from .fakes import ASGIClient, FakeConsumer, messages_in, on_jumping_loop, parse_frames, run, settled, start_hub, until


def connect_over(
    hub: Hub, transport: Transport, consumer: FakeConsumer | None, config: Config, scope: Scope
) -> tuple[Connection, FakeConsumer]:
    consumer = consumer or FakeConsumer()
    connection = Connection(
        hub=hub, config=config, consumer=consumer, scope=scope, transport=transport, channel_name="specific.test!0"
    )
    consumer.connection = connection
    return connection, consumer


class Undecided(FakeConsumer):
    async def connect(self) -> None:
        """Decide later."""


class Guarded(FakeConsumer):
    """Accepts when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_accept: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        await self.connection._hub.join("room", self.connection)
        await self.may_accept
        await super().connect()


# Straight to the socket


class FakeLink:
    """What antiphon's server offers: a socket with a small buffer that the test empties."""

    descriptor = NO_DESCRIPTOR
    format = FRAMES

    def __init__(self, room: int = 10**9) -> None:
        self.context = contextvars.copy_context()
        self.room = room
        self.waiting = 0
        self.wire: list[bytes] = []
        self.calls: list[Any] = []
        self.transport: DirectTransport | None = None
        self.is_open = False
        self.limits: Any = None
        self._full = False

    def claim(self, transport: DirectTransport, *, max_message_size: int, close_timeout: float) -> None:
        assert not self.is_open, "claimed before it is accepted"
        self.transport = transport
        self.limits = (max_message_size, close_timeout)

    @property
    def write(self) -> Callable[[bytes], None]:
        return self._write

    def _write(self, data: bytes) -> None:
        assert self.is_open, "nothing is written before the connection is accepted"
        assert not self.closings, "nothing is written after the close frame"
        self.wire.append(data)
        self.waiting += len(data)
        if self.waiting > self.room and not self._full and self.transport is not None:
            self._full = True
            self.transport.pause_writing()

    def drained(self) -> None:
        """Let the client read everything."""
        self.waiting = 0
        if self._full and self.transport is not None:
            self._full = False
            self.transport.resume_writing()

    def close(self, code: int, reason: bytes) -> None:
        self.calls.append(("close", code, reason))

    def abort(self) -> None:
        self.calls.append(("abort",))

    def pause_reading(self) -> None:
        self.calls.append(("pause_reading",))

    def resume_reading(self) -> None:
        self.calls.append(("resume_reading",))

    @property
    def closings(self) -> list[Any]:
        return [call for call in self.calls if call[0] == "close"]


class Direct:
    """A connection over a ``DirectTransport``."""

    def __init__(
        self,
        hub: Hub,
        consumer: FakeConsumer | None = None,
        *,
        room: int = 10**9,
        outbox_limit: int = 10**6,
        extensions: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.link = FakeLink(room)
        self.sent: list[Any] = []
        self.sending: asyncio.Future[None] | None = None
        self.scope: dict[str, Any] = {"type": "websocket", "path": "/", "extensions": extensions or {}}
        self.transport = DirectTransport(
            cast(Any, self.link),
            self.scope,
            self.send,
            outbox_limit=outbox_limit,
            max_message_size=77,
            close_timeout=3.0,
        )
        config = Config(outbox_limit=outbox_limit, **options)
        self.connection, self.consumer = connect_over(hub, self.transport, consumer, config, self.scope)
        self.task = asyncio.create_task(self.connection.run(), context=self.link.context)

    async def send(self, message: Any) -> None:
        if self.sending is not None:
            await self.sending
        self.sent.append(message)
        if message["type"] == "websocket.accept":
            self.link.is_open = True

    async def opened(self) -> Direct:
        await until(lambda: self.connection.state is State.OPEN and self.link.is_open)
        await settled(3)
        return self

    @property
    def messages(self) -> list[str | bytes]:
        return messages_in(self.link.wire)

    async def leave(self) -> None:
        self.connection.lost(1001)
        await self.task


@on_jumping_loop
async def test_direct_claims_the_link_before_it_is_accepted() -> None:
    direct = Direct(await start_hub())
    assert direct.link.transport is direct.transport
    assert direct.link.limits == (77, 3.0)
    await (await direct.opened()).leave()


@on_jumping_loop
async def test_direct_accepts_by_the_event_of_asgi() -> None:
    direct = Direct(await start_hub(), Undecided())
    await settled()
    await direct.connection.accept("chat", iter([(b"x-a", b"1")]))
    assert direct.sent == [{"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1")]}]
    await direct.leave()


@on_jumping_loop
async def test_direct_writes_frames_to_the_link_itself() -> None:
    direct = await Direct(await start_hub()).opened()
    direct.connection.send_text(b"a")
    direct.connection.send_binary(b"b")
    await settled()
    assert direct.link.wire == [FRAMES.join([FRAMES.text(b"a"), FRAMES.binary(b"b")])]
    assert direct.connection.write == direct.link.write, "no transport stands in between while the socket takes all"
    await direct.leave()


@on_jumping_loop
async def test_direct_keeps_what_comes_before_it_is_accepted_in_order() -> None:
    hub = await start_hub()
    consumer = Guarded()
    direct = Direct(hub, consumer)
    await settled()
    for n in b"12":
        await hub.engine.publish("room", bytes([n]))
        await settled()
    consumer.may_accept.set_result(None)
    await direct.opened()
    await hub.engine.publish("room", b"3")
    await settled()
    assert direct.messages == ["1", "2", "3"]
    await direct.leave()


@on_jumping_loop
async def test_direct_keeps_what_comes_while_accepting_takes_long() -> None:
    hub = await start_hub()
    consumer = Guarded()
    direct = Direct(hub, consumer)
    direct.sending = asyncio.get_running_loop().create_future()
    consumer.may_accept.set_result(None)
    await settled()
    await hub.engine.publish("room", b"1")
    await settled()
    direct.sending.set_result(None)
    await direct.opened()
    await hub.engine.publish("room", b"2")
    await settled()
    assert direct.messages == ["1", "2"]
    await direct.leave()


@on_jumping_loop
async def test_direct_keeps_in_the_outbox_what_a_full_socket_does_not_take() -> None:
    direct = await Direct(await start_hub(), room=5).opened()
    for n in b"123456":
        direct.connection.send_text(b"message " + bytes([n]))
        await settled()
    assert direct.messages == ["message 1"]
    direct.link.drained()
    assert direct.messages == [f"message {n}" for n in range(1, 7)]
    assert len(direct.link.wire) == 2, "what waited goes out with one write"
    direct.link.drained()
    direct.connection.send_text(b"message 7")
    await settled()
    assert direct.messages[-1] == "message 7"
    await direct.leave()


@on_jumping_loop
async def test_direct_writes_what_waited_in_pieces_that_fill_the_socket_and_no_more() -> None:
    direct = await Direct(await start_hub(), room=5).opened()
    for n in range(40):
        direct.connection.send_text(b"%d " % n * 1000)
        await settled(2)
    for _ in range(2):
        written = len(direct.link.wire)
        direct.link.drained()
        assert len(direct.link.wire) == written + 1, "it is full again"
        assert len(direct.link.wire[-1]) < BATCH + 5000
    assert len(direct.messages) == 40
    await direct.leave()


@given(st.lists(st.sampled_from(["send", "send", "drain"]), max_size=30), st.integers(0, 30))
def test_direct_keeps_the_order_whatever_the_socket_does(plan: list[str], room: int) -> None:
    async def main() -> None:
        direct = await Direct(await start_hub(), room=room).opened()
        sent = []
        for n, step in enumerate(plan):
            if step == "send":
                sent.append(f"message {n}")
                direct.connection.send_text(sent[-1].encode())
                await settled(2)
            else:
                direct.link.drained()
            assert direct.messages == sent[: len(direct.messages)]
        await direct.connection.close(4000, "end")
        assert direct.messages == sent, "what waits goes out before the close frame"
        assert direct.link.closings == [("close", 4000, b"end")]
        await direct.task

    run(main())


@on_jumping_loop
async def test_direct_offers_the_descriptor_only_while_nothing_waits_in_front_of_it() -> None:
    hub = await start_hub()
    consumer = Guarded()
    direct = Direct(hub, consumer, room=5)
    direct.link.descriptor = 7
    await settled()
    assert direct.connection.descriptor == NO_DESCRIPTOR, "it is not accepted yet"
    consumer.may_accept.set_result(None)
    await direct.opened()
    assert direct.connection.descriptor == 7
    direct.connection.send_text(b"more than there is room for")
    await settled()
    assert direct.connection.descriptor == NO_DESCRIPTOR
    direct.connection.send_text(b"waits in the outbox")
    await settled()
    direct.link.drained()
    assert direct.connection.descriptor == NO_DESCRIPTOR, "what waited has filled the socket again"
    direct.link.drained()
    assert direct.connection.descriptor == 7
    await direct.connection.close(None, None)
    assert direct.connection.descriptor == NO_DESCRIPTOR
    await direct.task


@on_jumping_loop
async def test_direct_tells_once_that_the_outbox_is_full_and_writes_nothing_more() -> None:
    direct = await Direct(await start_hub(), room=5, outbox_limit=40).opened()
    for _ in range(9):
        direct.connection.send_text(b"x" * 18)
        await settled()
    await direct.task
    assert [call[1] for call in direct.link.closings] == [1013]
    assert direct.connection._hub.counters.slow_clients == 1
    # One was written; two waited and a third came: none of them is on the wire.
    assert direct.messages == ["x" * 18]
    assert direct.connection._hub.counters.dropped_bytes == 60


@on_jumping_loop
async def test_direct_writes_nothing_after_close_although_the_socket_drains() -> None:
    direct = await Direct(await start_hub(), room=5).opened()
    direct.connection.send_text(b"message 1")
    await settled()
    await direct.connection.close(None, None)
    direct.link.drained()
    direct.connection.write(FRAMES.text(b"late"))
    assert direct.messages == ["message 1"]
    await direct.task


@on_jumping_loop
async def test_direct_passes_pauses_of_reading_on() -> None:
    direct = await Direct(await start_hub()).opened()
    direct.connection.mailbox_crowded()
    direct.connection.mailbox_relieved()
    assert direct.link.calls == [("pause_reading",), ("resume_reading",)]
    await direct.leave()


@pytest.mark.parametrize(
    ("status", "extensions", "expected"),
    [
        (403, {}, ["websocket.close"]),
        (403, {"websocket.http.response": {}}, ["websocket.close"]),
        (500, {}, ["websocket.close"]),
        (500, {"websocket.http.response": {}}, ["websocket.http.response.start", "websocket.http.response.body"]),
    ],
)
def test_both_refuse_once_and_with_a_status_where_the_server_can(
    status: int, extensions: dict[str, Any], expected: list[str]
) -> None:
    async def main() -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "websocket", "extensions": extensions}
        for transport in (
            DirectTransport(cast(Any, FakeLink()), scope, send, outbox_limit=1, max_message_size=1, close_timeout=1),
            ASGITransport(scope, cast(Receive, None), send, outbox_limit=1, close_timeout=1),
        ):
            sent.clear()
            await transport.refuse(status)
            await transport.refuse(403)
            assert [message["type"] for message in sent] == expected
            if len(expected) == 2:
                assert sent[0]["status"] == 500

    run(main())


@on_jumping_loop
async def test_both_refuse_a_client_that_is_gone_without_an_error() -> None:
    async def send(message: Any) -> None:
        raise OSError("gone")

    await DirectTransport(cast(Any, FakeLink()), {}, send, outbox_limit=1, max_message_size=1, close_timeout=1).refuse(
        403
    )
    await ASGITransport({}, cast(Receive, None), send, outbox_limit=1, close_timeout=1).refuse(500)


# By ASGI


class ASGI(ASGIClient):
    """A connection over an ``ASGITransport``."""

    connection: Connection
    consumer: FakeConsumer

    def __init__(
        self, hub: Hub, consumer: FakeConsumer | None = None, *, outbox_limit: int = 10**6, **config: Any
    ) -> None:
        settings = Config(outbox_limit=outbox_limit, **config)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            assert (await receive())["type"] == "websocket.connect"
            transport = ASGITransport(
                scope, receive, send, outbox_limit=outbox_limit, close_timeout=settings.close_timeout
            )
            self.connection, self.consumer = connect_over(hub, transport, consumer, settings, scope)
            await self.connection.run()

        super().__init__(app)


thread: contextvars.ContextVar[str] = contextvars.ContextVar("thread", default="none")


@on_jumping_loop
async def test_asgi_events_do_not_run_in_the_context_of_whoever_accepts_or_sends() -> None:
    seen: set[str] = set()

    async def receive() -> Message:
        seen.add(thread.get())
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never

    async def send(message: Message) -> None:
        if message["type"] == "websocket.send":
            seen.add(thread.get())

    scope: Scope = {"type": "websocket", "path": "/"}
    transport = ASGITransport(scope, receive, send, outbox_limit=1000, close_timeout=1)
    connect_over(await start_hub(), transport, None, Config(), scope)

    async def in_a_handlers_thread() -> None:
        thread.set("a handler's")
        await transport.accept(None, ())
        transport.write(("a",))

    await asyncio.create_task(in_a_handlers_thread())
    await settled()
    await transport.finish()
    assert seen == {"none"}


@on_jumping_loop
async def test_asgi_messages_go_both_ways() -> None:
    client = ASGI(await start_hub())
    await client.opened()
    client.say("a")
    client.say_bytes(b"b")
    client.say("")
    await until(lambda: len(client.consumer.received) == 3)
    assert client.consumer.received == [b"a", b"b", b""]
    client.connection.send_text("ä".encode())
    client.connection.send_binary(b"\x00")
    await until(lambda: len(client.kinds("websocket.send")) == 2)
    assert client.kinds("websocket.send") == [
        {"type": "websocket.send", "text": "ä"},
        {"type": "websocket.send", "bytes": b"\x00"},
    ]
    await client.leave()
    assert client.consumer.disconnects == [1001]


@on_jumping_loop
async def test_asgi_keeps_what_comes_before_it_is_accepted() -> None:
    hub = await start_hub()
    consumer = Guarded()
    client = ASGI(hub, consumer)
    await settled()
    await hub.engine.publish("room", b"1")
    await settled()
    consumer.may_accept.set_result(None)
    await client.opened()
    await hub.engine.publish("room", b"2")
    await until(lambda: len(client.texts) == 2)
    assert client.texts == ["1", "2"]
    assert not client.misuse
    await client.leave()


@on_jumping_loop
async def test_asgi_keeps_what_comes_while_accepting_takes_long() -> None:
    hub = await start_hub()
    consumer = Guarded()
    client = ASGI(hub, consumer)
    await settled()
    client.writable.clear()
    consumer.may_accept.set_result(None)
    await settled()
    await hub.engine.publish("room", b"1")
    await settled()
    client.writable.set()
    await client.opened()
    await until(lambda: client.texts)
    assert not client.misuse
    await client.leave()


@on_jumping_loop
async def test_asgi_closes_behind_what_was_sent() -> None:
    client = ASGI(await start_hub())
    await client.opened()
    client.writable.clear()
    for n in range(5):
        client.connection.send_text(b"%d" % n)
    await client.connection.close(4001, "enough")
    await settled()
    client.writable.set()
    await client.task
    assert client.texts == ["0", "1", "2", "3", "4"]
    assert client.sent[-1] == {"type": "websocket.close", "code": 4001, "reason": "enough"}
    assert not client.misuse


@on_jumping_loop
async def test_asgi_sends_and_closes_in_one_tick_beside_another_connection() -> None:
    hub = await start_hub()
    first, second = ASGI(hub), ASGI(hub)
    await first.opened()
    await second.opened()
    first.connection.send_text(b"bye")
    second.connection.send_text(b"hello")
    await first.connection.close(None, None)
    await first.task
    await until(lambda: second.texts)
    assert (first.texts, second.texts) == (["bye"], ["hello"])
    assert [event["type"] for event in first.sent[-2:]] == ["websocket.send", "websocket.close"]
    await second.leave()


@on_jumping_loop
async def test_asgi_gives_a_client_that_does_not_read_the_close_timeout() -> None:
    hub = await start_hub()
    client = ASGI(hub, close_timeout=3.0)
    await client.opened()
    client.writable.clear()
    client.connection.send_text(b"never read")
    await client.connection.close(None, None)
    began = hub.loop.time()
    await client.task
    assert 3 <= hub.loop.time() - began < 4
    assert client.consumer.disconnects == [1000]


@on_jumping_loop
async def test_asgi_bounds_what_waits_for_a_slow_client() -> None:
    client = ASGI(await start_hub(), outbox_limit=30, close_timeout=1.0)
    await client.opened()
    client.writable.clear()
    for _ in range(9):
        client.connection.send_text(b"x" * 12)
        await settled(4)
    await client.task
    counters = client.connection._hub.counters
    assert counters.slow_clients == 1
    assert counters.dropped_bytes == 36
    assert client.consumer.disconnects == [1013]


@on_jumping_loop
async def test_asgi_tells_a_slow_client_that_reads_again_why_it_was_closed() -> None:
    client = ASGI(await start_hub(), outbox_limit=30)
    await client.opened()
    client.writable.clear()
    for _ in range(5):
        client.connection.send_text(b"x" * 12)
        await settled(4)
    client.writable.set()
    await client.task
    assert client.sent[-1]["code"] == 1013
    assert not client.misuse


@on_jumping_loop
async def test_asgi_notes_a_client_that_is_gone_when_it_sends() -> None:
    client = ASGI(await start_hub())
    await client.opened()
    client.left = True
    client.connection.send_text(b"a")
    await client.task
    assert client.consumer.disconnects == [1006]


@pytest.mark.parametrize(("code", "expected"), [(1000, 1000), (4001, 4001), (None, 1005)])
def test_asgi_passes_the_clients_code_on(code: int | None, expected: int) -> None:
    async def main() -> None:
        client = ASGI(await start_hub())
        await client.opened()
        client.inbox.put_nowait({"type": "websocket.disconnect", **({"code": code} if code else {})})
        await client.task
        assert client.consumer.disconnects == [expected]

    run(main())


@on_jumping_loop
async def test_asgi_takes_nothing_while_reading_is_paused() -> None:
    client = ASGI(await start_hub())
    await client.opened()
    client.connection.mailbox_crowded()
    for text in "abc":
        client.say(text)
    await settled()
    assert client.inbox.qsize() == 2
    client.connection.mailbox_relieved()
    await until(lambda: len(client.consumer.received) == 3)
    await client.leave()


@on_jumping_loop
async def test_asgi_hears_of_a_client_that_left_although_reading_is_paused_by_then_relieved() -> None:
    class Slow(FakeConsumer):
        async def on_text(self, payload: bytes) -> None:
            await super().on_text(payload)
            await asyncio.sleep(1)

    client = ASGI(await start_hub(), Slow(), inbound_limit=1)
    await client.opened()
    for text in "abc":
        client.say(text)
    await client.leave()
    assert client.consumer.received == [b"a", b"b", b"c"]
    assert client.consumer.disconnects == [1001]


@pytest.mark.parametrize("end", ["timeout", "close", "leave"])
def test_asgi_leaves_no_task_behind_where_the_decision_came_late(end: str) -> None:
    async def main() -> None:
        client = ASGI(await start_hub(), Undecided())
        await settled()
        if end == "close":
            await client.connection.close(None, None)
        elif end == "leave":
            await client.leave()
        await client.task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


@on_jumping_loop
async def test_asgi_leaves_no_task_behind_where_it_is_cancelled() -> None:
    client = ASGI(await start_hub())
    await client.opened()
    client.task.cancel()
    await asyncio.wait([client.task])
    assert client.consumer.disconnects == [1012]


@on_jumping_loop
async def test_asgi_ends_where_receiving_fails() -> None:
    hub = await start_hub()
    consumer = FakeConsumer()

    async def receive() -> Any:
        raise LookupError("the server is wrong")

    async def send(message: Any) -> None:
        pass

    transport = ASGITransport({}, receive, send, outbox_limit=10, close_timeout=1)
    connection, _ = connect_over(hub, transport, consumer, Config(), {})
    await asyncio.wait_for(connection.run(), 1000)
    assert len(consumer.disconnects) == 1


# Both, where a rule allows to leave messages out

RULES = {"prices": {"slow": "drop_oldest"}, "cursors": {"slow": "latest_by_key"}}


class Slow:
    """A member of groups over one of the two transports; its client reads or does not, as the test says."""

    def __init__(self, kind: str, hub: Hub, consumer: FakeConsumer | None = None, **options: Any) -> None:
        self.hub = hub
        self.client: Direct | ASGI = (Direct if kind == "direct" else ASGI)(hub, consumer, **options)

    async def opened(self, *groups: str) -> Slow:
        await self.client.opened()
        await settled()
        for group in groups or RULES:
            await self.hub.join(group, self.client.connection)
        return self

    async def stall(self) -> None:
        """Read nothing from now on; one message is on its way and fills the socket."""
        if isinstance(self.client, Direct):
            self.client.link.room = 0
        else:
            self.client.writable.clear()
        self.client.connection.send_text(b'"fills the socket"')
        await settled()

    async def read_on(self) -> None:
        if isinstance(self.client, Direct):
            self.client.link.room = 10**9
            self.client.link.drained()
        else:
            self.client.writable.set()
        await settled(200)

    async def publish(self, group: str, content: Any, key: str = "") -> None:
        await self.hub.engine.publish(group, json.dumps(content).encode(), key)

    @property
    def received(self) -> list[Any]:
        """All that the client has read but for what filled its socket; a word on what it missed as a pair."""
        texts = self.client.messages if isinstance(self.client, Direct) else self.client.texts
        contents = [json.loads(text) for text in texts]
        return [
            (content["group"], content["missed"]) if isinstance(content, dict) else content
            for content in contents
            if content != "fills the socket"
        ]

    @property
    def closed_with(self) -> list[int]:
        if isinstance(self.client, Direct):
            return [call[1] for call in self.client.link.closings]
        return [event["code"] for event in self.client.kinds("websocket.close")]

    async def leave(self) -> None:
        await self.client.leave()


both = pytest.mark.parametrize("kind", ["direct", "asgi"])


@both
def test_both_leave_out_the_oldest_for_who_does_not_read(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "antiphon.connection")

    @on_jumping_loop
    async def main() -> None:
        member = await Slow(kind, await start_hub(rules=RULES), outbox_limit=10 * (APART + 20)).opened()
        await member.stall()
        for n in range(100):
            await member.publish("prices", n)
            if n % 7 == 0:  # several are joined
                await settled(3)
        assert member.hub.counters.messages_missed > 80, "it is counted when it happens"
        await member.read_on()
        (word, *contents) = member.received
        assert word == ("prices", member.hub.counters.messages_missed)
        assert contents == list(range(word[1], 100))
        await member.publish("prices", 100)
        await settled()
        assert member.received[-2:] == [99, 100]
        assert not member.closed_with
        assert member.hub.counters.slow_clients == 0
        await member.leave()

    main()
    (record,) = caplog.records
    assert re.search(r"the client read too slowly and missed (89|90) messages; it has caught up", record.message)


@both
def test_both_keep_the_latest_of_each_key_for_who_does_not_read(kind: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        member = await Slow(kind, await start_hub(rules=RULES)).opened()
        await member.stall()
        for n in range(30):
            await member.publish("cursors", ["abc"[n % 3], n], "abc"[n % 3])
            await settled(n % 3)
        await member.publish("cursors", "of no key")
        await member.publish("cursors", "of no key again")
        await settled()
        await member.read_on()
        expected = [("cursors", 28), ["a", 27], ["b", 28], ["c", 29], "of no key again"]
        assert member.received == expected
        assert member.hub.counters.messages_missed == 28
        await member.leave()

    main()


@both
def test_both_give_everything_to_who_reads(kind: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        member = await Slow(kind, await start_hub(rules=RULES), outbox_limit=10).opened()
        for n in range(20):
            await member.publish("cursors", n, "a")
            await member.publish("cursors", n, "a")
            await member.publish("prices", n)
            member.client.connection.send_text(b"%d" % n)
            await settled(10)
        assert member.received == [n for n in range(20) for _ in range(4)]
        assert member.hub.counters.messages_missed == 0
        await member.leave()

    main()


@both
def test_both_leave_out_nothing_that_is_the_consumers_own(kind: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        limit = 4 * (APART + 20)
        member = await Slow(kind, await start_hub(rules=RULES), outbox_limit=limit).opened("prices", "room")
        await member.stall()
        for n in range(40):
            await member.publish("prices", "price")
            if n % 2:
                member.client.connection.send_text(b"%d" % n)
            else:
                await member.publish("room", n)
            await settled(2)
        await member.read_on()
        own = [content for content in member.received if isinstance(content, int)]
        assert own == list(range(40))
        prices = [content for content in member.received if content == "price"]
        missed = [content[1] for content in member.received if isinstance(content, tuple)]
        assert len(prices) + sum(missed) == 40
        assert prices
        assert missed
        await member.leave()

    main()


@both
def test_both_close_where_what_may_not_be_left_out_is_over_the_limit(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "antiphon.connection")

    @on_jumping_loop
    async def main() -> None:
        member = await Slow(kind, await start_hub(rules=RULES), outbox_limit=1000, close_timeout=1.0).opened()
        await member.stall()
        await member.publish("prices", "p" * 500)
        for n in range(4):
            member.client.connection.send_text(b'"%s"' % (b"%d" % n * 300))
            await settled()
        await member.read_on()
        await member.client.task
        assert member.closed_with == [1013]
        assert member.received == []
        assert (member.hub.counters.slow_clients, member.hub.counters.messages_missed) == (1, 1)
        size = len('"' + "0" * 300 + '"') + (4 if kind == "direct" else 0)
        assert member.hub.counters.dropped_bytes == 4 * size

    main()
    assert [record.levelname for record in caplog.records] == ["WARNING"], "it has not caught up"


@both
def test_both_tell_of_a_group_before_it_goes_on_and_of_the_others_at_the_end(kind: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        rules = {"*": {"slow": "drop_oldest"}}
        member = await Slow(kind, await start_hub(rules=rules), outbox_limit=3 * (APART + 20)).opened("red", "blue")
        await member.stall()
        for group, n in (("red", 1), ("blue", 2), ("blue", 3), ("blue", 4), ("blue", 5)):
            await member.publish(group, n)
            await settled()
        await member.read_on()
        assert member.received == [("blue", 1), 3, 4, 5, ("red", 1)]
        await member.leave()

    main()


@both
def test_both_count_what_nobody_is_told_where_error_frames_are_off(kind: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        member = await Slow(kind, await start_hub(rules=RULES), error_type="").opened()
        await member.stall()
        for n in range(3):
            await member.publish("cursors", n, "a")
            await settled()
        await member.read_on()
        assert member.received == [2]
        assert member.hub.counters.messages_missed == 2
        await member.leave()

    main()


@both
def test_both_write_what_waits_and_what_was_missed_before_they_close(kind: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        member = await Slow(kind, await start_hub(rules=RULES)).opened()
        await member.stall()
        for n in range(3):
            await member.publish("cursors", n, "a")
            await settled()
        await member.publish("cursors", 3, "a")
        await member.publish("cursors", 4, "b")
        await member.client.connection.close(4000, "end")
        await member.read_on()
        await member.client.task
        assert member.received == [("cursors", 3), 3, 4]
        assert member.closed_with == [4000]

    main()


@both
def test_both_leave_messages_out_for_who_is_not_accepted_yet(kind: str) -> None:
    class Joining(Guarded):
        async def connect(self) -> None:
            await self.connection._hub.join("cursors", self.connection)
            await super().connect()

    @on_jumping_loop
    async def main() -> None:
        consumer = Joining()
        member = Slow(kind, await start_hub(rules=RULES), consumer)
        await settled()
        for n in range(5):
            await member.publish("cursors", n, "a")
            await settled()
        consumer.may_accept.set_result(None)
        await member.opened("cursors")
        assert member.received == [("cursors", 4), 4]
        await member.leave()

    main()


@both
def test_both_count_what_is_lost_when_a_closing_connection_overflows(kind: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        member = await Slow(kind, await start_hub(rules=RULES), outbox_limit=100, close_timeout=1.0).opened()
        await member.stall()
        member.client.connection.send_text(b'"%s"' % (b"x" * 60))
        await settled()
        member.client.connection.send_text(b'"%s"' % (b"y" * 60))
        await member.client.connection.close(4000, "end")
        await member.read_on()
        await member.client.task
        assert member.closed_with == [4000]
        assert member.hub.counters.dropped_bytes >= 120

    main()


members_steps = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(["prices", "cursors", "room"]), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("publish"), st.sampled_from(["prices", "cursors"]), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("send")),
    st.tuples(st.just("stall")),
    st.tuples(st.just("read on")),
    st.tuples(st.just("tick")),
)


@both
@settings(max_examples=100)
@given(st.lists(members_steps, max_size=50), st.integers(1, 6))
def test_both_give_or_tell_of_everything(kind: str, plan: list[Any], room: int) -> None:
    async def main() -> None:
        hub = await start_hub(rules=RULES)
        own_fits = 10**4
        member = await Slow(kind, hub, outbox_limit=own_fits + room * APART).opened("room", *RULES)
        published: collections.Counter[str] = collections.Counter()
        last: dict[tuple[str, str], int] = {}
        everything: dict[int, str] = {}
        for n, (step, *arguments) in enumerate([*plan, ("tick",), ("read on",)]):
            if step == "publish":
                group, key = arguments
                published[group] += 1
                last[group, key] = n
                everything[n] = group
                await member.publish(group, n, key)
            elif step == "send":
                everything[n] = "own"
                member.client.connection.send_text(b"%d" % n)
            elif step == "stall":
                await member.stall()
            elif step == "read on":
                await member.read_on()
            else:
                await settled(3)
        numbers = [content for content in member.received if isinstance(content, int)]
        missed: collections.Counter[str] = collections.Counter()
        for content in member.received:
            if isinstance(content, tuple):
                missed[content[0]] += content[1]
        assert numbers == sorted(set(numbers)), "in order, each once"
        came = collections.Counter(everything[n] for n in numbers)
        assert {group: came[group] + missed[group] for group in published} == published
        assert {n for n, group in everything.items() if group in ("own", "room")} <= set(numbers)
        assert {n for (group, _), n in last.items() if group == "cursors"} <= set(numbers)
        assert hub.counters.messages_missed == missed.total()
        assert not member.closed_with
        await member.leave()

    run(main())


def test_frames_are_read_by_another_implementation() -> None:
    assert [bytes(frame.data) for frame in parse_frames(FRAMES.text(b"a") + FRAMES.binary(b"b"))] == [b"a", b"b"]
