"""A connection: its life, and what each way to end costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from antiphon import codes
from antiphon.config import Config
from antiphon.engines.memory import MemoryEngine
from antiphon.events import make_event
from antiphon.exceptions import (
    AcceptConnection,
    ClientError,
    DenyConnection,
    EngineUnavailable,
    InvalidCloseCode,
    NotAccepted,
    StopConsumer,
    UsageError,
)
from antiphon.formats import MESSAGES
from antiphon.hub import Hub
from antiphon.lifecycle import State
from antiphon.types import Position, Publishing, Retention

from .fakes import (
    Client,
    FakeConsumer,
    FakeTransport,
    SlowEngine,
    make_connection,
    on_jumping_loop,
    run,
    settled,
    start_hub,
    until,
)

Step = Callable[[Any], Awaitable[Any]]


def consumer_that(connect: Step | None = None, on_text: Step | None = None, disconnect: Step | None = None) -> Any:
    """Return a consumer whose methods are these functions of itself."""

    class Scripted(FakeConsumer):
        async def connect(self) -> None:
            await (connect(self) if connect is not None else super().connect())

        async def on_text(self, payload: bytes) -> None:
            await super().on_text(payload)
            if on_text is not None:
                await on_text(self)

        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            if disconnect is not None:
                await disconnect(self)

    return Scripted()


async def accept(consumer: Any) -> None:
    await consumer.connection.accept(None, ())


async def close(consumer: Any) -> None:
    await consumer.connection.close(None, None)


async def fail(consumer: Any) -> None:
    raise LookupError("the application is wrong")


async def wait_long(consumer: Any) -> None:
    await asyncio.sleep(100_000)


async def decide_nothing(consumer: Any) -> None:
    """Neither accept nor close."""


def in_turn(*steps: Step) -> Step:
    async def all_of_them(consumer: Any) -> None:
        for step in steps:
            await step(consumer)

    return all_of_them


def raising(error: Exception) -> Step:
    async def step(consumer: Any) -> None:
        raise error

    return step


# accept and close


@on_jumping_loop
async def test_accept_opens_and_tells_the_transport() -> None:
    async def connect(consumer: Any) -> None:
        await consumer.connection.accept("chat", [(b"x-a", b"1")])

    client = await Client(await start_hub(), consumer_that(connect)).opened()
    assert client.transport.verbs("accept") == [("accept", "chat", [(b"x-a", b"1")])]
    assert client.counters.connections_accepted == 1
    await client.leave()


@on_jumping_loop
async def test_accepting_twice_is_an_error_of_the_application() -> None:
    client = Client(await start_hub(), consumer_that(in_turn(accept, accept)))
    await client.task
    assert len(client.transport.verbs("accept")) == 1
    assert [call[1] for call in client.transport.closings] == [1011]
    assert client.consumer.disconnects == [1011]


@on_jumping_loop
async def test_close_before_accept_refuses_with_403() -> None:
    client = Client(await start_hub(), consumer_that(close))
    await client.task
    assert client.transport.answers == [("refuse", 403)]
    assert client.connection.state is State.REFUSED
    assert client.counters.connections_refused == 1
    assert client.consumer.disconnects == []


def test_what_a_refused_consumer_goes_on_to_do_joins_nothing_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def go_on(consumer: Any) -> None:
        for _ in range(2):
            assert not consumer.connection.may_join()
            await consumer.connection.accept(None, ())
        consumer.send("secret")

    async def main() -> None:
        client = Client(await start_hub(), consumer_that(in_turn(close, go_on)))
        await client.task
        assert client.transport.answers == [("refuse", 403)]
        assert client.transport.chunks == []
        assert not client.hub.groups
        counters = client.counters
        assert (counters.joins_refused, counters.usage_errors, counters.sends_after_close) == (2, 4, 1)
        assert counters.connections_accepted == 0

    run(main())
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Write 'return' after 'await self.close()'" in caplog.text


@on_jumping_loop
async def test_close_sends_what_waits_then_code_and_reason() -> None:
    async def on_text(consumer: Any) -> None:
        consumer.send("bye")
        await consumer.connection.close(4001, "enough")

    client = await Client(await start_hub(), consumer_that(on_text=on_text)).opened()
    client.receive("go")
    await client.task
    assert client.messages == ["bye"]
    assert client.transport.closings == [("close", 4001, b"enough")]
    assert client.transport.written_after_close == []
    assert client.consumer.disconnects == [4001]


@on_jumping_loop
async def test_close_sends_what_its_groups_were_sent_before() -> None:
    hub = await start_hub()
    client = await Client(hub).opened()
    await hub.join("room", client.connection)
    await hub.engine.publish("room", b"1")
    client.connection.send_text(b"2")
    await hub.engine.publish("room", b"3")
    await client.connection.close(None, None)
    await client.task
    assert client.messages == ["1", "2", "3"]


@on_jumping_loop
async def test_closing_twice_is_closing_once() -> None:
    client = await Client(await start_hub()).opened()
    await client.connection.close(4001, None)
    await client.connection.close(4002, None)
    await client.task
    assert [call[1] for call in client.transport.closings] == [4001]
    assert client.consumer.disconnects == [4001]


@on_jumping_loop
async def test_a_code_that_may_not_be_sent_is_refused_and_closes_nothing() -> None:
    client = await Client(await start_hub()).opened()
    with pytest.raises(InvalidCloseCode):
        await client.connection.close(1006, None)
    assert client.connection.state is State.OPEN
    await client.leave()


@on_jumping_loop
async def test_after_close_nothing_more_is_sent_although_the_handler_goes_on() -> None:
    hub = await start_hub()

    async def on_text(consumer: Any) -> None:
        await hub.join("room", consumer.connection)
        await close(consumer)
        consumer.send("late")
        await hub.engine.publish("room", b'"late"')
        await asyncio.sleep(10)
        await hub.engine.publish("room", b'"later"')
        await asyncio.sleep(10)

    client = await Client(hub, consumer_that(on_text=on_text)).opened()
    client.receive("go")
    await client.task
    assert client.messages == []
    assert client.counters.sends_after_close == 1


@on_jumping_loop
async def test_sending_before_accept_is_an_error_of_the_application() -> None:
    async def connect(consumer: Any) -> None:
        with pytest.raises(NotAccepted, match=r"accept\(\)"):
            consumer.send("early")
        with pytest.raises(NotAccepted):
            consumer.connection.send_binary(b"early")
        await accept(consumer)
        consumer.send("now")
        consumer.connection.send_binary(b"too")

    client = await Client(await start_hub(), consumer_that(connect)).opened()
    assert client.messages == ["now", b"too"]
    await client.leave()


@on_jumping_loop
async def test_a_client_that_left_before_it_was_accepted_was_never_open() -> None:
    joined: list[bool] = []

    async def connect(consumer: Any) -> None:
        await accept(consumer)
        joined.append(consumer.connection.may_join())

    client = Client(await start_hub(), consumer_that(connect))
    client.transport.accept_error = OSError("gone")
    await client.task
    assert joined == [False]
    assert client.consumer.disconnects == []
    assert (client.counters.connections_accepted, client.counters.connections_closed) == (0, 0)
    assert client.connection.state is State.CLOSED


# How it decides


@on_jumping_loop
async def test_accept_connection_accepts() -> None:
    client = await Client(await start_hub(), consumer_that(raising(AcceptConnection()))).opened()
    await client.leave()


@on_jumping_loop
async def test_deny_connection_refuses() -> None:
    client = Client(await start_hub(), consumer_that(raising(DenyConnection())))
    await client.task
    assert client.transport.answers == [("refuse", 403)]
    assert client.counters.handler_errors == 0


@on_jumping_loop
async def test_stop_consumer_in_connect_refuses_without_an_error() -> None:
    client = Client(await start_hub(), consumer_that(raising(StopConsumer())))
    await client.task
    assert [call[0] for call in client.transport.answers] == ["refuse"]
    assert client.counters.handler_errors == 0
    assert client.consumer.disconnects == []


def test_an_exception_in_connect_refuses_with_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = Client(await start_hub(), consumer_that(fail))
        await client.task
        assert client.transport.answers == [("refuse", 500)]
        assert client.counters.handler_errors == 1
        assert client.consumer.disconnects == []

    run(main())
    assert "exception in connect()" in caplog.text
    assert "the application is wrong" in caplog.text


@pytest.mark.parametrize("error", [AcceptConnection(), DenyConnection(), StopConsumer(), LookupError()], ids=repr)
def test_whatever_connect_raises_after_accept_disconnect_runs_once(error: Exception) -> None:
    async def main() -> None:
        client = Client(await start_hub(), consumer_that(in_turn(accept, raising(error))))
        await settled()
        if not client.task.done():
            client.connection.lost(1001)
        await client.task
        assert len(client.consumer.disconnects) == 1
        assert client.connection.state is State.CLOSED

    run(main())


@on_jumping_loop
async def test_a_decision_may_come_later() -> None:
    hub = await start_hub()
    client = Client(hub, consumer_that(decide_nothing))
    await settled()
    assert client.transport.calls == [("listen",)], "it has not been told anything yet"
    await client.connection.accept(None, ())
    client.receive("a")
    await until(lambda: client.consumer.received)
    # Past the time in which it had to decide:
    await asyncio.sleep(1000)
    assert client.connection.state is State.OPEN
    await client.leave()


def test_a_connection_that_nobody_decides_on_is_refused_after_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        hub = await start_hub()
        client = Client(hub, consumer_that(decide_nothing), config=Config(handshake_timeout=7.0))
        began = hub.loop.time()
        await client.task
        assert 7 <= hub.loop.time() - began < 8
        assert client.transport.verbs("refuse") == [("refuse", 503)]
        assert client.transport.verbs("finish"), "what listens has to end"
        assert (client.counters.usage_errors, client.counters.connections_refused) == (1, 1)
        assert client.counters.handshakes_timed_out == 1

    run(main())
    assert "neither accepted nor closed the connection within handshake_timeout (7 s)" in caplog.text


# Time for it


TIMED = Config(handshake_timeout=7.0)


def hanging(wind_up: Step | None = None) -> Step:
    """Wait forever; when that is cut short, note it, and do ``wind_up`` before the cancellation goes on."""

    async def connect(consumer: Any) -> None:
        consumer.cancellations = 0
        while True:
            try:
                await asyncio.sleep(100_000)
            except asyncio.CancelledError:
                consumer.cancellations += 1
                if wind_up is not None:
                    await wind_up(consumer)
                raise

    return connect


def test_a_connect_that_hangs_is_cancelled_and_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        hub = await start_hub()
        consumer = consumer_that(in_turn(lambda consumer: hub.join("room", consumer.connection), hanging()))
        client = Client(hub, consumer, config=TIMED)
        await client.task
        assert hub.loop.time() == 7
        assert consumer.cancellations == 1
        assert client.transport.answers == [("refuse", 503)]
        assert client.transport.verbs("finish")
        assert client.connection.state is State.REFUSED
        assert consumer.disconnects == []
        assert not hub.groups
        assert not hub.connections
        counters = client.counters
        assert (counters.handshakes_timed_out, counters.connections_refused) == (1, 1)
        assert (counters.handler_errors, counters.usage_errors) == (0, 0)
        assert client.task.cancelling() == 0

    run(main())
    (record,) = caplog.records
    assert "connect() took longer than handshake_timeout (7 s)" in record.getMessage()


@on_jumping_loop
async def test_joins_before_connect_that_hang_are_cancelled_too() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    consumer = FakeConsumer()
    consumer.groups = ["room"]
    client = Client(hub, consumer, config=TIMED)
    await client.task
    assert client.transport.answers == [("refuse", 503)]
    assert client.counters.handshakes_timed_out == 1
    engine.gates[0].set_result(None)
    await settled()
    assert not hub.groups


@on_jumping_loop
async def test_after_accept_connect_may_take_its_time() -> None:
    async def go_on(consumer: Any) -> None:
        await asyncio.sleep(100)
        consumer.send("at last")

    client = await Client(await start_hub(), consumer_that(in_turn(accept, go_on)), config=TIMED).opened()
    await until(lambda: client.messages)
    assert client.counters.handshakes_timed_out == 0
    await client.leave()


@on_jumping_loop
async def test_after_close_connect_may_take_its_time() -> None:
    client = Client(
        await start_hub(), consumer_that(in_turn(close, lambda consumer: asyncio.sleep(1000))), config=TIMED
    )
    await client.task
    assert client.transport.answers == [("refuse", 403)]
    assert client.counters.handshakes_timed_out == 0


@on_jumping_loop
async def test_the_time_is_for_connect_and_the_decision_together() -> None:
    hub = await start_hub()
    client = Client(hub, consumer_that(lambda consumer: asyncio.sleep(5)), config=TIMED)
    await client.task
    assert hub.loop.time() == 7
    assert (client.counters.handshakes_timed_out, client.counters.usage_errors) == (1, 1)


@pytest.mark.parametrize("wind_up", [accept, close, in_turn(close, accept)])
def test_a_connect_that_was_cancelled_decides_nothing_any_more(wind_up: Step, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = Client(await start_hub(), consumer_that(hanging(wind_up)), config=TIMED)
        await client.task
        assert client.transport.answers == [("refuse", 503)]
        assert client.counters.connections_accepted == 0
        assert client.counters.connections_refused == 1
        assert client.consumer.disconnects == []

    run(main())
    assert len(caplog.records) == 1, "the log has said what was wrong"


@on_jumping_loop
async def test_a_connect_that_takes_no_notice_of_being_cancelled_is_refused_when_it_ends() -> None:
    async def stubborn(consumer: Any) -> None:
        try:
            await asyncio.sleep(100_000)
        except asyncio.CancelledError:
            await asyncio.sleep(3)

    client = Client(await start_hub(), consumer_that(stubborn), config=TIMED)
    await client.task
    assert client.transport.answers == [("refuse", 503)]
    assert client.task.cancelling() == 0


def test_what_a_connect_raises_when_it_is_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = Client(await start_hub(), consumer_that(hanging(fail)), config=TIMED)
        await client.task
        assert client.transport.answers == [("refuse", 503)]
        assert client.counters.handler_errors == 1

    run(main())
    assert "exception in connect()" in caplog.text


@pytest.mark.parametrize(
    "error", [AcceptConnection(), DenyConnection(), StopConsumer(), ClientError("a", "b")], ids=repr
)
def test_nor_does_what_it_raises_decide(error: Exception) -> None:
    async def main() -> None:
        client = Client(await start_hub(), consumer_that(hanging(raising(error))), config=TIMED)
        await client.task
        assert client.transport.answers == [("refuse", 503)]

    run(main())


@pytest.mark.parametrize("server_first", [True, False])
def test_a_server_that_stops_in_the_same_moment_gets_its_cancellation(server_first: bool) -> None:
    async def main() -> None:
        hub = await start_hub()
        clients: list[Client] = []
        if server_first:
            hub.loop.call_at(7, lambda: clients[0].task.cancel())
        consumer = consumer_that(hanging())
        client = Client(hub, consumer, config=TIMED)
        clients.append(client)
        await settled()
        if not server_first:
            hub.loop.call_at(7, client.task.cancel)
        await asyncio.wait([client.task])
        assert client.task.cancelled()
        assert consumer.cancellations == 1
        assert client.counters.handshakes_timed_out == 1
        assert client.transport.verbs("finish")
        assert not hub.connections

    run(main())


@on_jumping_loop
async def test_a_connect_whose_client_has_left_is_cancelled_in_time() -> None:
    consumer = consumer_that(hanging())
    client = Client(await start_hub(), consumer, config=TIMED)
    await settled()
    client.connection.lost(1006)
    await client.task
    assert consumer.cancellations == 1
    assert client.transport.answers == []
    assert client.connection.state is State.CLOSED
    assert (client.counters.handshakes_timed_out, client.counters.connections_refused) == (1, 0)


def test_a_cancellation_that_connect_only_waited_for_is_an_error_of_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def connect(consumer: Any) -> None:
        waited_for = asyncio.get_running_loop().create_future()
        waited_for.cancel()
        await waited_for

    async def main() -> None:
        client = Client(await start_hub(), consumer_that(connect))
        await client.task
        assert client.transport.answers == [("refuse", 500)]
        assert client.counters.handler_errors == 1

    run(main())
    assert "exception in connect()" in caplog.text


@on_jumping_loop
async def test_a_client_that_leaves_before_the_decision_costs_nothing() -> None:
    client = Client(await start_hub(), consumer_that(decide_nothing))
    await settled()
    await client.leave()
    assert client.connection.state is State.CLOSED
    assert client.consumer.disconnects == []


@on_jumping_loop
async def test_the_groups_of_a_consumer_are_joined_before_connect() -> None:
    hub = await start_hub()

    async def connect(consumer: Any) -> None:
        assert hub.members("a") == hub.members("b") == 1
        await accept(consumer)

    consumer = consumer_that(connect)
    consumer.groups = ["a", "b"]
    client = await Client(hub, consumer).opened()
    await client.leave()


@pytest.mark.parametrize("groups", [None, (), []])
def test_a_consumer_may_have_no_groups(groups: Any) -> None:
    async def main() -> None:
        consumer = FakeConsumer()
        consumer.groups = groups
        await (await Client(await start_hub(), consumer).opened()).leave()

    run(main())


@on_jumping_loop
async def test_a_bad_name_among_the_groups_refuses() -> None:
    consumer = FakeConsumer()
    consumer.groups = ["bad\n"]
    client = Client(await start_hub(), consumer)
    await client.task
    assert client.transport.answers == [("refuse", 500)]


# The end: disconnect runs once


async def end_lost(client: Client) -> None:
    client.connection.lost(1001)


async def end_lost_twice(client: Client) -> None:
    client.connection.lost(1001)
    client.connection.lost(1006)


async def end_closed(client: Client) -> None:
    await client.connection.close(None, None)


async def end_closed_and_lost(client: Client) -> None:
    await client.connection.close(None, None)
    client.connection.lost(1006)


async def end_failed(client: Client) -> None:
    client.consumer.script = fail  # type: ignore[attr-defined]
    client.receive("x")


async def end_failed_later(client: Client) -> None:
    client.consumer.script = in_turn(lambda consumer: asyncio.sleep(1), fail)  # type: ignore[attr-defined]
    client.receive("x")


async def end_stopped(client: Client) -> None:
    client.consumer.script = raising(StopConsumer())  # type: ignore[attr-defined]
    client.receive("x")


async def end_cancelled(client: Client) -> None:
    client.task.cancel()


async def end_cancelled_in_a_handler(client: Client) -> None:
    client.consumer.script = wait_long  # type: ignore[attr-defined]
    client.receive("x")
    await until(lambda: client.consumer.received)
    client.task.cancel()


async def end_cancelled_before_a_handler(client: Client) -> None:
    client.consumer.script = wait_long  # type: ignore[attr-defined]
    client.outside(client.task.cancel)
    client.receive("x")


async def end_cancelled_after_lost(client: Client) -> None:
    client.connection.lost(1001)
    client.task.cancel()


async def end_drained(client: Client) -> None:
    client.connection.drain(codes.SERVICE_RESTART)


async def end_drained_and_lost(client: Client) -> None:
    client.connection.drain(codes.SERVICE_RESTART)
    client.connection.lost(1001)


async def end_slow_client(client: Client) -> None:
    client.connection.client_is_slow(100)


async def end_slow_consumer(client: Client) -> None:
    client.connection.mailbox_full()


ENDS: dict[str, tuple[Callable[[Client], Coroutine[Any, Any, None]], set[int]]] = {
    "lost": (end_lost, {1001}),
    "lost twice": (end_lost_twice, {1001}),
    "closed": (end_closed, {1000}),
    "closed, then lost": (end_closed_and_lost, {1000}),
    "an exception in a handler": (end_failed, {1011}),
    "an exception in a handler that waited": (end_failed_later, {1011}),
    "StopConsumer": (end_stopped, {1000}),
    "cancelled": (end_cancelled, {1012}),
    "cancelled in a handler": (end_cancelled_in_a_handler, {1012}),
    "cancelled, then a handler": (end_cancelled_before_a_handler, {1012}),
    "lost, then cancelled": (end_cancelled_after_lost, {1001}),
    "drained": (end_drained, {1012}),
    "drained and lost": (end_drained_and_lost, {1001, 1012}),
    "slow client": (end_slow_client, {1013}),
    "slow consumer": (end_slow_consumer, {1013}),
}


@pytest.mark.parametrize("way", ENDS)
def test_disconnect_runs_once_with_memberships_gone(way: str, caplog: pytest.LogCaptureFixture) -> None:
    end, expected = ENDS[way]

    async def main() -> None:
        async def on_text(consumer: Any) -> None:
            await consumer.script(consumer)

        hub = await start_hub()
        consumer = consumer_that(on_text=on_text)
        client = await Client(hub, consumer).opened()
        await hub.join("room", client.connection)
        await end(client)
        await asyncio.wait([client.task])
        assert len(client.consumer.disconnects) == 1
        assert client.consumer.disconnects[0] in expected
        assert client.connection.state is State.CLOSED
        assert not hub.groups
        assert not hub.connections
        assert hub.counters.connections_closed == 1
        assert client.transport.verbs("finish")
        if not client.task.cancelled():
            assert client.task.exception() is None

    run(main())


def test_an_exception_in_disconnect_is_logged_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = await Client(await start_hub(), consumer_that(disconnect=fail)).opened()
        await client.leave()
        assert client.counters.handler_errors == 1
        assert client.connection.state is State.CLOSED
        assert client.transport.verbs("finish")

    run(main())
    assert "exception in disconnect()" in caplog.text


@on_jumping_loop
async def test_stop_consumer_in_disconnect_is_no_error() -> None:
    client = await Client(await start_hub(), consumer_that(disconnect=raising(StopConsumer()))).opened()
    await client.leave()
    assert client.counters.handler_errors == 0


@on_jumping_loop
async def test_messages_before_the_end_are_handled_before_disconnect() -> None:
    gate = asyncio.get_running_loop().create_future()

    async def on_text(consumer: Any) -> None:
        await asyncio.shield(gate)
        assert consumer.disconnects == []

    client = await Client(await start_hub(), consumer_that(on_text=on_text)).opened()
    for text in "abc":
        client.receive(text)
    client.outside(client.connection.lost, 1001)
    client.receive("after the end")
    await settled()
    gate.set_result(None)
    await client.task
    assert client.consumer.received == [b"a", b"b", b"c"]


@on_jumping_loop
async def test_who_is_lost_has_left_its_groups_at_once_although_a_handler_is_busy() -> None:
    hub = await start_hub()
    client = await Client(hub, consumer_that(on_text=lambda consumer: asyncio.sleep(10))).opened()
    await hub.join("room", client.connection)
    client.receive("x")
    await until(lambda: client.consumer.received)
    client.connection.lost(1001)
    assert hub.members("room") == 0
    assert hub.find(client.connection.channel_name) is client.connection, "its consumer has yet to finish"
    await client.task


@on_jumping_loop
async def test_drain_handles_the_messages_that_were_received() -> None:
    async def on_text(consumer: Any) -> None:
        await asyncio.sleep(1)
        consumer.send("answer")

    client = await Client(await start_hub(), consumer_that(on_text=on_text)).opened()
    for text in "ab":
        client.receive(text)
    client.outside(client.connection.drain, 1012)
    await client.task
    assert client.messages == ["answer", "answer"]
    assert [call[1:] for call in client.transport.closings] == [(1012, b"the server restarts, come back")]


@on_jumping_loop
async def test_drain_of_an_undecided_connection_ends_it() -> None:
    client = Client(await start_hub(), consumer_that(decide_nothing))
    await settled()
    client.connection.drain(1012)
    await client.task
    assert client.connection.state is State.CLOSED


@on_jumping_loop
async def test_finished_waits_until_disconnect_has_run() -> None:
    gate = asyncio.get_running_loop().create_future()
    client = await Client(await start_hub(), consumer_that(disconnect=lambda consumer: gate)).opened()
    waiting = asyncio.ensure_future(client.connection.finished())
    await client.connection.close(None, None)
    await settled()
    assert not waiting.done()
    gate.set_result(None)
    await waiting
    await client.connection.finished()
    await client.task


@on_jumping_loop
async def test_what_is_sent_in_disconnect_is_counted_and_not_written() -> None:
    async def disconnect(consumer: Any) -> None:
        consumer.send("late")

    client = await Client(await start_hub(), consumer_that(disconnect=disconnect)).opened()
    await client.leave()
    await settled()
    assert client.messages == []
    assert client.counters.sends_after_close == 1


# Errors of handlers and clients


def test_an_exception_in_a_handler_closes_with_1011_and_is_logged_with_who_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        scope = {"type": "websocket", "path": "/chat/"}
        client = await Client(await start_hub(), consumer_that(on_text=fail), scope=scope).opened()
        client.receive("x")
        await client.task
        assert [call[1] for call in client.transport.closings] == [1011]

    run(main())
    assert "Scripted at '/chat/' (no user)" in caplog.text
    assert "the application is wrong" in caplog.text


@pytest.mark.parametrize(
    ("error_type", "expected"),
    [
        ("error", ['{"type":"error","code":"bad","reason":"it is bad"}']),
        ("problem", ['{"type":"problem","code":"bad","reason":"it is bad"}']),
        ("", []),
    ],
)
def test_a_client_error_is_answered_and_the_connection_lives(error_type: str, expected: list[str]) -> None:
    async def main() -> None:
        consumer = consumer_that(on_text=raising(ClientError("bad", "it is bad")))
        client = await Client(await start_hub(), consumer, config=Config(error_type=error_type)).opened()
        client.receive("x")
        await settled()
        assert client.messages == expected
        assert client.connection.state is State.OPEN
        assert (client.counters.client_errors, client.counters.handler_errors) == (1, 0)
        await client.leave()

    run(main())


def test_a_client_error_in_connect_refuses_and_the_log_has_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        client = Client(await start_hub(), consumer_that(raising(ClientError("no_room", "there is no such room"))))
        await client.task
        assert client.transport.answers == [("refuse", 403)]
        assert client.messages == []
        counters = client.counters
        assert (counters.connections_refused, counters.handler_errors, counters.client_errors) == (1, 0, 0)

    run(main())
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage().endswith("refused by connect(), no_room: there is no such room")


@on_jumping_loop
async def test_a_client_error_in_connect_behind_accept_is_an_error_frame() -> None:
    step = in_turn(accept, raising(ClientError("bad", "it is bad")))
    client = await Client(await start_hub(), consumer_that(step)).opened()
    assert client.messages == ['{"type":"error","code":"bad","reason":"it is bad"}']
    await client.leave()


def test_of_one_connection_s_bad_messages_the_log_has_the_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "antiphon.connection")

    async def main() -> None:
        hub = await start_hub()
        for _ in range(2):
            client = await Client(hub, consumer_that(on_text=raising(ClientError("bad", "it is bad")))).opened()
            for _ in range(3):
                client.receive("x")
            await until(lambda client=client: len(client.messages) == 3)  # type: ignore[misc]
            await client.leave()

    run(main())
    assert [record.levelname for record in caplog.records] == ["INFO", "DEBUG", "DEBUG"] * 2


@on_jumping_loop
async def test_a_usage_error_of_a_handler_is_an_error_of_the_application() -> None:
    client = await Client(await start_hub(), consumer_that(on_text=raising(UsageError("wrong")))).opened()
    client.receive("x")
    await client.task
    assert client.consumer.disconnects == [1011]


# Bounds


def test_a_slow_client_is_closed_with_1013_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = await Client(await start_hub()).opened()
        client.connection.send_text(b"lost with it")
        client.connection.client_is_slow(1000)
        client.connection.client_is_slow(1)
        await client.task
        assert [call[1] for call in client.transport.closings] == [1013]
        assert client.counters.slow_clients == 1
        assert client.counters.dropped_bytes >= 1000
        assert client.messages == []

    run(main())
    assert "outbox_limit" in caplog.text
    assert "1000 bytes dropped" in caplog.text


def test_a_client_that_is_too_slow_before_it_is_accepted_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = Client(await start_hub(), consumer_that(decide_nothing))
        await settled()
        client.connection.client_is_slow(1000)
        await settled()
        assert client.counters.dropped_bytes == 1000
        await client.leave()

    run(main())


def test_a_slow_consumer_is_closed_with_1013(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        consumer = consumer_that(on_text=lambda consumer: asyncio.sleep(10))
        client = await Client(await start_hub(), consumer, config=Config(mailbox_limit=100)).opened()
        for _ in range(4):
            client.receive("x" * 40)
        await client.task
        assert [call[1] for call in client.transport.closings] == [1013]
        assert client.counters.slow_consumers == 1
        assert client.consumer.received == [b"x" * 40]
        assert client.consumer.disconnects == [1013]

    run(main())
    assert "mailbox_limit" in caplog.text


@on_jumping_loop
async def test_reading_pauses_while_the_consumer_has_enough_to_do() -> None:
    gate = asyncio.get_running_loop().create_future()
    consumer = consumer_that(on_text=lambda consumer: asyncio.shield(gate))
    client = await Client(await start_hub(), consumer, config=Config(inbound_limit=3)).opened()
    for _ in range(3):
        client.receive("x")
    await settled()
    assert client.transport.verbs("pause_reading", "resume_reading") == []
    client.receive("x")
    await settled()
    assert client.transport.verbs("pause_reading", "resume_reading") == [("pause_reading",)]
    gate.set_result(None)
    await settled()
    assert client.transport.verbs("pause_reading", "resume_reading") == [("pause_reading",), ("resume_reading",)]
    await client.leave()


# Rates


@pytest.mark.parametrize(
    ("options", "size", "allowed", "name", "words"),
    [
        ({"message_rate": 2.0}, 0, 20, "message_rate", "more than 2 messages per second"),
        ({"byte_rate": 10.0}, 5, 20, "byte_rate", "more than 10 bytes per second"),
    ],
)
@pytest.mark.parametrize("binary", [False, True])
def test_over_a_rate_the_client_is_told_and_closed(
    options: dict[str, float],
    size: int,
    allowed: int,
    name: str,
    words: str,
    binary: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        config = Config(max_message_size=50, **{"message_rate": 0.0, "byte_rate": 0.0, **options})  # type: ignore[arg-type]
        client = await Client(await start_hub(), config=config).opened()
        receive = client.connection.receive_binary if binary else client.connection.receive_text
        for _ in range(allowed + 10):
            client.outside(receive, b"x" * size)
        await client.task
        assert client.consumer.received == [b"x" * size] * allowed
        assert client.messages == [f'{{"type":"error","code":"rate_limited","reason":"{words}"}}']
        assert client.transport.closings == [("close", 1008, f"rate limit: {words}".encode())]
        assert client.consumer.disconnects == [1008]
        assert (client.counters.rate_limited, client.counters.client_errors) == (1, 0)

    run(main())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{words} ({name}) and has used up rate_burst (10 s); closed with 1008" in record.getMessage()


@on_jumping_loop
async def test_who_is_over_its_rate_gets_nothing_more_to_the_consumer_although_it_waits() -> None:
    gate = asyncio.get_running_loop().create_future()
    consumer = consumer_that(on_text=lambda consumer: asyncio.shield(gate))
    client = await Client(await start_hub(), consumer, config=Config(message_rate=1.0)).opened()
    for number in range(11):
        client.receive(str(number))
    await until(lambda: client.transport.closings)
    assert client.counters.dropped_turns == 9
    gate.set_result(None)
    await client.task
    assert consumer.received == [b"0"]


@on_jumping_loop
async def test_who_keeps_to_the_rate_goes_on_forever() -> None:
    client = await Client(await start_hub(), config=Config(message_rate=2.0, byte_rate=200.0)).opened()
    for _ in range(500):
        client.connection.receive_text(b"x" * 100)
        await asyncio.sleep(0.5)
    assert len(client.consumer.received) == 500
    await client.leave()


@on_jumping_loop
async def test_an_allowed_message_passes_however_small_the_rate() -> None:
    config = Config(message_rate=0.001, byte_rate=1.0, max_message_size=5000)
    client = await Client(await start_hub(), config=config).opened()
    client.receive("x" * 5000)
    await until(lambda: client.consumer.received)
    assert client.connection.state is State.OPEN
    await client.leave()


@on_jumping_loop
async def test_without_error_frames_the_close_reason_tells() -> None:
    client = await Client(await start_hub(), config=Config(message_rate=0.1, error_type="")).opened()
    client.receive("a")
    client.receive("b")
    await client.task
    assert client.messages == []
    assert client.transport.closings == [("close", 1008, b"rate limit: more than 0.1 messages per second")]


@on_jumping_loop
async def test_without_rates_nothing_is_measured() -> None:
    client = await Client(await start_hub(), config=Config(message_rate=0.0, byte_rate=0.0)).opened()
    for _ in range(20_000):
        client.connection.receive_text(b"")
    await until(lambda: len(client.consumer.received) == 20_000)
    assert client.connection._meter is None
    await client.leave()


@on_jumping_loop
async def test_messages_count_only_while_the_connection_is_open() -> None:
    client = Client(await start_hub(), consumer_that(decide_nothing))
    await settled()
    client.connection.receive_text(b"early")
    client.connection.receive_binary(b"early")
    await client.connection.accept(None, ())
    client.connection.receive_text(b"a")
    client.connection.receive_binary(b"b")
    await until(lambda: len(client.consumer.received) == 2)
    await client.connection.close(None, None)
    client.connection.receive_text(b"late")
    await client.task
    assert client.consumer.received == [b"a", b"b"]


@on_jumping_loop
async def test_text_and_binary_go_to_their_turns() -> None:
    client = await Client(await start_hub()).opened()
    client.connection.receive_text(b"a")
    client.connection.receive_binary(b"\x00")
    await until(lambda: len(client.consumer.received) == 2)
    assert client.consumer.received == [b"a", b"\x00"]
    await client.leave()


# Before it is accepted


@pytest.mark.parametrize("format", ["frames", "messages"])
def test_what_its_groups_get_before_it_is_accepted_is_written(format: str) -> None:
    async def main() -> None:
        hub = await start_hub()
        gate = asyncio.get_running_loop().create_future()

        async def connect(consumer: Any) -> None:
            await hub.join("room", consumer.connection)
            await gate
            await accept(consumer)

        transport = FakeTransport(MESSAGES) if format == "messages" else FakeTransport()
        client = Client(hub, consumer_that(connect), transport)
        await settled()
        await hub.engine.publish("room", b"1")
        await settled()
        gate.set_result(None)
        await client.opened()
        await hub.engine.publish("room", b"2")
        await settled()
        assert client.messages == ["1", "2"]
        await client.leave()

    run(main())


@on_jumping_loop
async def test_events_before_it_is_accepted_are_handled_after_connect() -> None:
    class Listener(FakeConsumer):
        async def note(self, event: dict[str, Any]) -> None:
            self.send("noted")

    hub = await start_hub()
    consumer = Listener()
    gate = asyncio.get_running_loop().create_future()

    async def connect() -> None:
        await hub.join("room", consumer.connection)
        await gate
        await accept(consumer)
        consumer.send("welcome")

    consumer.connect = connect  # type: ignore[method-assign]
    client = Client(hub, consumer)
    await settled()
    await hub.engine.send_event("room", make_event({"type": "note"}))
    await settled()
    gate.set_result(None)
    await client.opened()
    await settled()
    assert client.messages == ["welcome", "noted"]
    await client.leave()


@on_jumping_loop
async def test_a_connection_cancelled_before_it_was_accepted_leaves_nothing_behind() -> None:
    hub = await start_hub()
    client = Client(hub, consumer_that(in_turn(lambda consumer: hub.join("room", consumer.connection), wait_long)))
    await settled()
    client.task.cancel()
    await asyncio.wait([client.task])
    assert client.task.cancelled()
    assert client.consumer.disconnects == []
    assert not hub.groups
    assert not hub.connections


# Who it is


class User:
    def __init__(self, *, known: bool) -> None:
        self.pk = 7
        self.is_authenticated = known


class BrokenUser:
    @property
    def is_authenticated(self) -> bool:
        raise LookupError


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (None, "no user"),
        (User(known=True), "user 7"),
        (User(known=False), "anonymous"),
        (BrokenUser(), "user unknown"),
    ],
)
def test_the_log_names_consumer_path_and_user(user: Any, words: str) -> None:
    async def main() -> None:
        connection = make_connection(await start_hub(), scope={"path": "/chat/", "user": user})
        assert str(connection) == f"FakeConsumer at '/chat/' ({words})"

    run(main())


def test_a_path_can_not_forge_a_line() -> None:
    async def main() -> None:
        connection = make_connection(await start_hub(), scope={"path": "/\x1b[31m\r\nERROR " + "x" * 10_000})
        text = str(connection)
        assert text.isprintable()
        assert text.startswith(r"FakeConsumer at '/\x1b[31m\r\nERROR xxx")
        assert text.endswith("'… (10014 characters) (no user)")
        assert len(text) < 300

    run(main())


@on_jumping_loop
async def test_turns_that_waited_for_a_consumer_that_closed_are_counted() -> None:
    gate = asyncio.get_running_loop().create_future()
    client = await Client(await start_hub(), consumer_that(on_text=lambda consumer: asyncio.shield(gate))).opened()
    for text in "abc":
        client.receive(text)
    await settled()
    await client.connection.close(None, None)
    assert client.counters.dropped_turns == 2
    gate.set_result(None)
    await client.task
    assert client.counters.dropped_turns == 2
    assert client.consumer.received == [b"a"]


@on_jumping_loop
async def test_a_limit_that_connect_runs_into_refuses() -> None:
    hub: Hub = await start_hub(groups_per_connection=1)

    async def connect(consumer: Any) -> None:
        for group in "ab":
            await hub.join(group, consumer.connection)

    client = Client(hub, consumer_that(connect))
    await client.task
    assert client.transport.answers == [("refuse", 500)]
    assert not hub.groups
    assert client.counters.handler_errors == 1


@on_jumping_loop
async def test_a_connection_that_ends_while_it_joins_in_connect_is_no_member() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)

    async def connect(consumer: Any) -> None:
        await accept(consumer)
        await hub.join("room", consumer.connection)

    client = Client(hub, consumer_that(connect))
    await until(lambda: engine.gates)
    client.connection.lost(1006)
    engine.gates[0].set_result(None)
    await client.task
    assert not hub.groups
    assert client.consumer.disconnects == [1006]


# The engine is away


class Away(MemoryEngine):
    async def publish(self, group: str, data: bytes, key: str = "", publishing: Publishing | None = None) -> Position:
        raise EngineUnavailable("it is away")

    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        raise EngineUnavailable("it is away")


@on_jumping_loop
async def test_an_engine_that_is_away_costs_a_message_and_not_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    class Speaker(FakeConsumer):
        async def on_text(self, payload: bytes) -> None:
            if payload == b"publish":
                await hub.engine.publish("room", b"1")
            self.send("heard")

    hub = await start_hub(Away())
    client = await Client(hub, Speaker()).opened()
    client.receive("publish")
    client.receive("listen")
    await settled()
    error, heard = client.messages
    assert json.loads(error) == {
        "type": "error",
        "code": "unavailable",
        "reason": "the server can't do this at the moment; try again later",
    }
    assert heard == "heard"
    assert (hub.counters.turns_unavailable, hub.counters.handler_errors) == (1, 0)
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == ["it is away"]
    await client.leave()
    await hub.close()


@on_jumping_loop
async def test_who_comes_while_the_engine_is_away_is_to_come_back() -> None:
    class Joins(FakeConsumer):
        groups = ("room",)

    hub = await start_hub(Away())
    client = Client(hub, Joins())
    await client.task
    assert client.transport.verbs("refuse") == [("refuse", 503)]
    await hub.close()
