"""A connection on the Centrifuge wire: how it begins, what it is told, and how it ends."""

from __future__ import annotations

import asyncio
import json
import random
import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antiphon import AsyncJsonWebsocketConsumer, codes
from antiphon.centrifuge import first_ping
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import AcceptConnection, ClientError, DenyConnection, StopConsumer
from antiphon.lifecycle import State
from antiphon.types import ClientInfo, Position
from antiphon.wire.centrifuge import codes as wire
from antiphon.wire.centrifuge.encoding import JSON, PROTOBUF, Encoding

from .centrifugal import Echo, GatedEngine, Sdk, Service
from .fakes import FakeTransport, on_jumping_loop, run, settled, until

Step = Callable[[Any], Awaitable[Any]]


def consumer_that(connect: Step) -> Echo:
    """Return a consumer with this ``connect``."""

    class Scripted(Echo):
        async def connect(self) -> None:
            await connect(self)

    return Scripted()


@pytest.fixture(params=[JSON, PROTOBUF], ids=lambda encoding: encoding.NAME)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    """Each encoding in turn."""
    found: Encoding = request.param
    return found


# The first frame


def test_connect_is_answered_with_an_id_of_its_own_and_how_pings_are(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = Sdk(service, encoding=encoding)
        result = await sdk.ask("connect", name="js", token="t", data={"a": 1})
        assert result == {"client": sdk.connection.client, "ping": 25, "pong": True}
        other = Sdk(service, encoding=encoding)
        assert (await other.ask("connect"))["client"] != result["client"]
        assert sdk.transport.answers == [("accept", None, [])]
        await service.stop()

    run(main())


@on_jumping_loop
async def test_the_websocket_is_accepted_before_connect_runs() -> None:
    service = await Service.start()
    seen: list[Any] = []

    async def connect(consumer: Any) -> None:
        seen.append(consumer.scope["centrifuge"])
        await consumer.accept()

    sdk = Sdk(service, consumer_that(connect))
    await settled()
    assert sdk.transport.verbs("accept") == [("accept", None, [])]
    assert not seen
    await sdk.connected(name="js", headers={"a": "b"})
    assert (seen[0].name, seen[0].headers) == ("js", {"a": "b"})
    assert (service.hub.counters.connections_accepted, len(service.hub.connections)) == (1, 1)
    await service.stop()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "the frame is empty"),
        (b"{}", "the first command is not connect"),
        (b'{"rpc":{"method":"add"},"id":1}\n{"connect":{},"id":2}', "the first command is not connect"),
        (b"not json", "command 1 of the frame: "),
        (b"[]", "command 1 of the frame: "),
        (b'{"connect":{}}', "command 1 of the frame: it has no id"),
        (b'{"connect":{"token":1},"id":1}', "command 1 of the frame: "),
        (b'{"id":1}', "command 1 of the frame: it holds no command"),
        (b'{"subscribe":{"channel":"' + b"x" * 70_000 + b'"},"id":1}', "the first command is not connect"),
        (b"x" * 70_000, "command 1 of the frame"),
    ],
    ids=["empty", "pong", "rpc", "garbage", "list", "no id", "bad token", "no command", "too big", "big garbage"],
)
def test_a_first_frame_that_does_not_begin_with_connect_is_the_end(frame: bytes, reason: str) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = Sdk(service)
        sdk.raw(frame)
        code, words = await sdk.over()
        assert code == wire.CLOSE_BAD_REQUEST
        assert words.startswith(reason[:100])
        assert sdk.transport.chunks == []
        assert service.hub.counters.client_errors == 1
        assert sdk.consumer.disconnects == []
        assert service.hub.connections == []
        assert sdk.transport.verbs("finish"), "the transport's tasks end"

    run(main())


@pytest.mark.parametrize("encoding", [JSON, PROTOBUF], ids=lambda encoding: encoding.NAME)
def test_a_first_frame_of_the_wrong_kind_is_the_end(encoding: Encoding) -> None:
    async def main() -> None:
        sdk = Sdk(await Service.start(), encoding=encoding)
        sdk.raw(sdk.encode({"connect": {}, "id": 1}), text=not encoding.IS_TEXT)
        assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST

    run(main())


@on_jumping_loop
async def test_who_sends_nothing_is_stale_after_the_timeout() -> None:
    service = await Service.start(handshake_timeout=7)
    sdk = Sdk(service)
    began = service.hub.loop.time()
    assert await sdk.over() == (wire.CLOSE_STALE, "stale")
    assert 7 <= service.hub.loop.time() - began < 8
    assert service.hub.counters.handshakes_timed_out == 1
    assert sdk.transport.verbs("finish")


@on_jumping_loop
async def test_commands_behind_connect_in_its_frame_wait_for_its_answer() -> None:
    service = await Service.start()
    gate = asyncio.get_running_loop().create_future()

    async def connect(consumer: Any) -> None:
        await gate
        await consumer.accept()

    sdk = Sdk(service, consumer_that(connect))
    sdk.frame(
        {"connect": {}, "id": 1},
        {"subscribe": {"channel": "open"}, "id": 2},
        {"send": {"data": 5}},
        {"publish": {"channel": "open", "data": "x"}, "id": 3},
    )
    await settled()
    assert sdk.transport.chunks == []
    assert not service.hub.members("open")
    gate.set_result(None)
    await until(lambda: 3 in sdk.answers)
    assert [next(iter(reply)) if "push" in reply else reply["id"] for reply in sdk.replies] == [1, 2, "push", "push", 3]
    assert sdk.sent == [{"echo": 5}]
    assert sdk.published("open") == ["x"]
    await service.stop()


@on_jumping_loop
async def test_frames_that_come_while_connect_runs_are_handled_behind_it_in_order() -> None:
    service = await Service.start()
    gate = asyncio.get_running_loop().create_future()

    async def connect(consumer: Any) -> None:
        await gate
        await consumer.accept()

    sdk = Sdk(service, consumer_that(connect))
    sdk.frame({"connect": {}, "id": 1}, {"send": {"data": 0}})
    for number in range(1, 10):
        sdk.frame({"send": {"data": number}})
    await settled()
    for number in range(10, 20):
        sdk.frame({"send": {"data": number}})
    await settled()
    assert sdk.transport.verbs("pause_reading", "resume_reading") == [("pause_reading",)], "they need not be kept"
    gate.set_result(None)
    await until(lambda: len(sdk.consumer.received) == 20)
    assert sdk.consumer.received == list(range(20))
    assert ("resume_reading",) in sdk.transport.calls
    await service.stop()


@on_jumping_loop
async def test_a_frame_of_the_wrong_kind_while_connect_runs_is_the_end_behind_it() -> None:
    service = await Service.start()
    gate = asyncio.get_running_loop().create_future()

    async def connect(consumer: Any) -> None:
        await gate
        await consumer.accept()

    sdk = Sdk(service, consumer_that(connect))
    sdk.frame({"connect": {}, "id": 1})
    await settled()
    sdk.raw(b'{"send":{"data":1}}', text=False)
    await settled()
    gate.set_result(None)
    assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST
    assert sdk.consumer.received == []


@on_jumping_loop
async def test_a_command_that_is_too_big_behind_connect_costs_itself_only() -> None:
    service = await Service.start()
    sdk = Sdk(service)
    sdk.frame(
        {"connect": {}, "id": 1},
        {"publish": {"channel": "open", "data": "x" * 70_000}, "id": 2},
        {"subscribe": {"channel": "open"}, "id": 3},
    )
    await until(lambda: 3 in sdk.answers)
    assert sdk.answers[2]["error"]["code"] == wire.ERROR_BAD_REQUEST
    assert sdk.answers[3]["subscribe"] == {}
    await service.stop()


@on_jumping_loop
async def test_connect_may_be_big_for_it_names_every_group_that_the_server_made() -> None:
    service = await Service.start()
    groups = {
        f"kept:{'x' * 100}:{number}": {"recover": True, "epoch": "abcdefgh", "offset": 1} for number in range(500)
    }
    sdk = Sdk(service)
    sdk.frame({"connect": {"subs": groups}, "id": 1}, {"subscribe": {"channel": "open"}, "id": 2})
    await until(lambda: 2 in sdk.answers)
    assert len(sdk.connection.asked.subs) == 500
    await service.stop()


@on_jumping_loop
async def test_a_second_connect_is_the_end() -> None:
    sdk = await Sdk(await Service.start()).connected()
    sdk.frame({"connect": {}, "id": 2})
    assert await sdk.over() == (wire.CLOSE_BAD_REQUEST, "connect came a second time")
    assert sdk.consumer.disconnects == [wire.CLOSE_BAD_REQUEST]


@on_jumping_loop
async def test_connect_twice_in_one_frame_is_answered_once_and_is_the_end() -> None:
    sdk = Sdk(await Service.start())
    sdk.frame({"connect": {}, "id": 1}, {"connect": {}, "id": 2})
    assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST
    assert list(sdk.answers) == [1]


# Before the answer to connect


@pytest.mark.parametrize("direct", [True, False], ids=["frames", "messages"])
@pytest.mark.parametrize("group", ["kept", "open"])
def test_what_is_published_to_a_group_joined_before_accept_comes_behind_the_answer(group: str, direct: bool) -> None:
    async def main() -> None:
        service = await Service.start()

        async def connect(consumer: Any) -> None:
            await consumer.channel_layer.group_add(group, consumer.channel_name)
            await service.publish(group, 1)
            await asyncio.sleep(1)
            await service.publish(group, 2)
            await asyncio.sleep(1)
            assert sdk.transport.chunks == []
            await service.publish(group, 3)
            await consumer.accept()
            await service.publish(group, 4)

        sdk = Sdk(service, consumer_that(connect), direct=direct)
        result = await sdk.connected()
        await until(lambda: len(sdk.published(group)) == 4)
        assert list(sdk.replies[0]) == ["id", "connect"]
        assert list(result.answers[1]["connect"]["subs"]) == [group]
        assert sdk.published(group) == [1, 2, 3, 4]
        if group == "kept":
            offset = result.answers[1]["connect"]["subs"][group].get("offset", 0)
            assert [push["pub"]["offset"] for push in sdk.pushes] == [offset + number for number in range(1, 5)]
        await service.stop()

    run(main())


@on_jumping_loop
async def test_what_waits_for_the_answer_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    service = await Service.start(outbox_limit=1000, handshake_timeout=3600)

    async def connect(consumer: Any) -> None:
        await consumer.channel_layer.group_add("open", consumer.channel_name)
        for _ in range(30):
            await service.publish("open", "x" * 100)
            await asyncio.sleep(0.1)
        await consumer.accept()

    sdk = Sdk(service, consumer_that(connect))
    sdk.frame({"connect": {}, "id": 1})
    assert (await sdk.over())[0] == wire.CLOSE_SLOW
    assert sdk.transport.chunks == []
    assert service.hub.counters.slow_consumers == 1
    assert "outbox_limit" in caplog.text
    assert not service.hub.groups


@on_jumping_loop
async def test_groups_of_the_class_are_subscriptions_of_the_server() -> None:
    class Member(Echo):
        groups = ["kept:all", "open:all"]

    service = await Service.start()
    await service.publish("kept:all", 1)
    sdk = Sdk(service, Member())
    subs = (await sdk.ask("connect"))["subs"]
    assert subs["open:all"] == {}
    assert (subs["kept:all"]["offset"], subs["kept:all"]["recoverable"]) == (1, True)
    await service.publish("kept:all", 2)
    await service.publish("open:all", 3)
    await until(lambda: len(sdk.pushes) == 2)
    assert (sdk.published("kept:all"), sdk.published("open:all")) == ([2], [3])
    await service.stop()


# Refusing


async def _close(consumer: Any) -> None:
    await consumer.close()


async def _close_4401(consumer: Any) -> None:
    await consumer.close(4401, "log in first")


async def _close_4500(consumer: Any) -> None:
    await consumer.close(4500)


async def _close_1008(consumer: Any) -> None:
    await consumer.close(1008, "no")


async def _close_1013(consumer: Any) -> None:
    await consumer.close(1013, "too many")


async def _deny(consumer: Any) -> None:
    raise DenyConnection


async def _stop(consumer: Any) -> None:
    raise StopConsumer


async def _client_error(consumer: Any) -> None:
    raise ClientError("not_yet", "come back tomorrow")


async def _fail(consumer: Any) -> None:
    raise LookupError("the application is wrong")


async def _undecided(consumer: Any) -> None:
    """Neither accept nor close."""


async def _hang(consumer: Any) -> None:
    await asyncio.sleep(100_000)


@pytest.mark.parametrize(
    ("connect", "code", "reason"),
    [
        (_close, 3507, "permission denied"),
        (_close_4401, 4401, "log in first"),
        (_close_4500, 4500, "closed with code 4500"),
        (_close_1008, 3507, "no"),
        (_close_1013, 3008, "too many"),
        (_deny, 3507, "permission denied"),
        (_stop, 3507, "permission denied"),
        (_client_error, 3507, "come back tomorrow"),
        (_fail, 3004, "internal server error"),
        (_undecided, 3004, "internal server error"),
        (_hang, 3004, "internal server error"),
    ],
)
def test_a_connection_that_is_not_accepted_gets_a_close_code(connect: Step, code: int, reason: str) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = Sdk(service, consumer_that(connect))
        sdk.frame({"connect": {}, "id": 1}, {"subscribe": {"channel": "open"}, "id": 2})
        assert await sdk.over() == (code, reason)
        assert sdk.transport.chunks == []
        assert sdk.consumer.disconnects == []
        assert sdk.transport.verbs("refuse") == []
        assert not service.hub.groups
        assert service.hub.counters.connections_refused == 1
        assert service.hub.counters.connections_accepted == 0

    run(main())


def test_an_exception_in_connect_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        sdk = Sdk(await Service.start(), consumer_that(_fail))
        sdk.frame({"connect": {}, "id": 1})
        await sdk.over()

    run(main())
    assert "exception in connect()" in caplog.text
    assert "the application is wrong" in caplog.text


@on_jumping_loop
async def test_accept_connection_accepts() -> None:
    async def connect(consumer: Any) -> None:
        raise AcceptConnection

    service = await Service.start()
    await Sdk(service, consumer_that(connect)).connected()
    await service.stop()


@on_jumping_loop
async def test_what_raises_behind_accept_closes_with_3004_and_runs_disconnect() -> None:
    async def connect(consumer: Any) -> None:
        await consumer.accept()
        raise LookupError

    sdk = Sdk(await Service.start(), consumer_that(connect))
    sdk.frame({"connect": {}, "id": 1})
    assert await sdk.over() == (wire.CLOSE_INTERNAL, "internal server error")
    assert 1 in sdk.answers
    assert sdk.consumer.disconnects == [codes.INTERNAL_ERROR]


def test_a_group_over_the_limit_in_connect_is_the_applications_fault() -> None:
    class Greedy(Echo):
        groups = ["a", "b", "c"]

    async def main() -> None:
        sdk = Sdk(await Service.start(groups_per_connection=2), Greedy())
        sdk.frame({"connect": {}, "id": 1})
        assert (await sdk.over())[0] == wire.CLOSE_INTERNAL

    run(main())


# Close codes


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        (None, 3503),
        (1000, 3503),
        (1001, 3001),
        (1011, 3004),
        (1012, 3001),
        (1013, 3008),
        (1008, 3501),
        (3000, 3000),
        (4001, 4001),
        (4500, 4500),
        (4999, 4999),
    ],
)
@pytest.mark.parametrize("reason", [None, "", " ", "enough", "true", "123", '{"reconnect":true}', "ä" * 100])
def test_close_sends_a_code_of_the_wire_and_plain_words(code: int | None, sent: int, reason: str | None) -> None:
    async def main() -> None:
        sdk = await Sdk(await Service.start()).connected()
        await sdk.consumer.close(code, reason)
        found, words = await sdk.over()
        assert found == sent
        assert len(words.encode()) <= 123
        assert not re.fullmatch(r"\s*", words)
        with pytest.raises(ValueError):  # noqa: PT011 (whatever is wrong with it)
            json.loads(words)
        if reason == "enough":
            assert words == "enough"
        assert sdk.consumer.disconnects == [1000 if code is None else code]

    run(main())


@on_jumping_loop
async def test_close_writes_what_was_sent_before() -> None:
    class Parting(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json("bye")
            await self.close(4001, "enough")
            await self.send_json("late")

    sdk = await Sdk(await Service.start(), Parting()).connected()
    sdk.frame({"send": {"data": 1}})
    assert await sdk.over() == (4001, "enough")
    assert sdk.sent == ["bye"]
    assert sdk.transport.written_after_close == []


@on_jumping_loop
async def test_commands_behind_the_one_that_closes_are_not_handled() -> None:
    class Parting(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.close()

    service = await Service.start()
    sdk = await Sdk(service, Parting()).connected()
    sdk.frame({"send": {"data": 1}}, {"subscribe": {"channel": "open"}, "id": 9})
    await sdk.over()
    assert 9 not in sdk.answers
    assert not service.hub.groups


@on_jumping_loop
async def test_stop_consumer_in_a_handler_closes_without_an_error() -> None:
    class Stopping(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            raise StopConsumer

    sdk = await Sdk(await Service.start(), Stopping()).connected()
    sdk.frame({"send": {"data": 1}})
    assert (await sdk.over())[0] == wire.CLOSE_FORCE_DISCONNECT
    assert sdk.consumer.disconnects == [1000]
    assert sdk.counters.handler_errors == 0


@on_jumping_loop
async def test_an_exception_in_the_handler_of_an_event_closes_with_3004() -> None:
    class Failing(Echo):
        async def tick(self, event: Any) -> None:
            raise LookupError

    service = await Service.start()
    sdk = await Sdk(service, Failing()).connected()
    await service.app.layer.send(sdk.consumer.channel_name, {"type": "tick"})
    assert (await sdk.over())[0] == wire.CLOSE_INTERNAL


# Who is gone, and when


@pytest.mark.parametrize("stage", ["at once", "first frame", "connect", "open", "handler", "closing"])
@pytest.mark.parametrize("direct", [True, False], ids=["frames", "messages"])
def test_wherever_the_client_goes_disconnect_runs_once_if_it_was_accepted(stage: str, direct: bool) -> None:
    gates: list[asyncio.Future[None]] = []
    asked: list[str] = []

    class Slow(Echo):
        groups = ["kept", "open"]

        async def connect(self) -> None:
            asked.append(stage)
            if stage == "connect":
                gates.append(asyncio.get_running_loop().create_future())
                await gates[-1]
            await self.accept()

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            gates.append(asyncio.get_running_loop().create_future())
            await gates[-1]

    async def main() -> None:
        service = await Service.start()
        sdk = Sdk(service, Slow(), direct=direct)
        await settled()
        if stage == "first frame":  # in the same round of the loop
            sdk.frame({"connect": {}, "id": 1})
            sdk.outside(sdk.connection.lost, 1006)
            await settled()
        elif stage == "connect":
            sdk.frame({"connect": {}, "id": 1})
            await until(lambda: gates)
        elif stage != "at once":
            await sdk.connected()
        if stage in ("handler", "closing"):
            sdk.frame({"send": {"data": 1}})
            await until(lambda: gates)
        if stage == "closing":
            await sdk.consumer.close()
        sdk.connection.lost(1006)
        await settled()
        for gate in gates:
            gate.set_result(None)
        await sdk.task
        assert sdk.connection.state is State.CLOSED
        accepted = stage in ("open", "handler", "closing")
        assert sdk.consumer.disconnects == ([1000 if stage == "closing" else 1006] if accepted else [])
        assert service.hub.connections == []
        assert not service.hub.groups
        assert asked == ([] if stage in ("at once", "first frame") else [stage])
        assert sdk.transport.verbs("finish")
        assert sdk.connection._ping_timer is None
        await service.stop()

    run(main())


@on_jumping_loop
async def test_a_client_that_is_gone_at_the_handshake_costs_nothing() -> None:
    service = await Service.start()
    transport = FakeTransport()
    transport.accept_error = OSError("gone")
    sdk = Sdk(service, transport=transport)
    await sdk.task
    assert service.hub.connections == []
    assert service.hub.counters.connections_accepted == 0


@pytest.mark.parametrize("stage", ["at once", "connect", "open"])
def test_when_the_servers_task_is_cancelled_the_client_is_told_and_everything_ends(stage: str) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = Sdk(service, consumer_that(_hang) if stage == "connect" else None)
        if stage == "open":
            await sdk.connected()
        elif stage == "connect":
            sdk.frame({"connect": {}, "id": 1})
        await settled()
        sdk.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sdk.task
        assert sdk.closed is not None
        assert sdk.closed[0] == wire.CLOSE_SHUTDOWN
        assert sdk.consumer.disconnects == ([codes.SERVICE_RESTART] if stage == "open" else [])
        assert service.hub.connections == []

    run(main())


# When the server stops


@pytest.mark.parametrize("stage", ["at once", "first frame", "connect", "open", "handler"])
def test_at_every_stage_a_drain_tells_the_client_to_come_back(stage: str) -> None:
    gates: list[asyncio.Future[None]] = []

    class Slow(Echo):
        groups = ["kept"]

        async def connect(self) -> None:
            if stage == "connect":
                gates.append(asyncio.get_running_loop().create_future())
                await gates[-1]
            await self.accept()

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            gates.append(asyncio.get_running_loop().create_future())
            await gates[-1]
            await self.send_json("done")

    async def main() -> None:
        service = await Service.start()
        sdk = Sdk(service, Slow())
        await settled()
        if stage == "first frame":
            sdk.connection.receive_text(b'{"connect":{},"id":1}')
            sdk.connection.drain(codes.SERVICE_RESTART)  # before its task has seen the frame
        elif stage == "connect":
            sdk.frame({"connect": {}, "id": 1})
            await until(lambda: gates)
        elif stage != "at once":
            await sdk.connected()
        if stage == "handler":
            sdk.frame({"send": {"data": 1}})
            await until(lambda: gates)
        stopping = asyncio.create_task(service.stop())
        await settled()
        for gate in gates:
            gate.set_result(None)
        await stopping
        code, _ = await sdk.over()
        assert code == wire.CLOSE_SHUTDOWN
        assert wire.comes_back(code)
        assert sdk.consumer.disconnects == ([codes.SERVICE_RESTART] if stage in ("open", "handler") else [])
        assert sdk.sent == (["done"] if stage == "handler" else [])
        assert service.hub.connections == []

    run(main())


@on_jumping_loop
async def test_a_client_that_breaks_the_websocket_protocol_before_connect_is_over() -> None:
    service = await Service.start()
    sdk = Sdk(service)
    await settled()
    sdk.connection.drain(codes.PROTOCOL_ERROR, "a frame against RFC 6455")
    code, _ = await sdk.over()
    assert code == codes.PROTOCOL_ERROR


# Pings


@on_jumping_loop
async def test_each_ping_is_to_be_answered_with_one_pong() -> None:
    service = await Service.start()
    sdk = await Sdk(service).connected()
    expected = service.hub.loop.time() + first_ping(sdk.connection.client, 25)
    for number in range(1, 4):
        await until(lambda number=number: sdk.pings == number)  # type: ignore[misc]
        assert 0 <= service.hub.loop.time() - expected < 1
        sdk.raw(b"{}")
        await settled()
        expected += 25
    assert sdk.connection.state is State.OPEN
    await service.stop()


def test_those_who_come_at_once_are_pinged_evenly_over_half_of_the_interval() -> None:
    assert first_ping("00000000-0000-0000-0000-000000000000", 30) == 15
    assert first_ping("80000000-0000-0000-0000-000000000000", 30) == 22.5
    chance = random.Random(7)
    made = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(10_000)]
    moments = Counter(int(first_ping(client, 200)) for client in made)
    assert set(moments) == set(range(100, 200))
    assert max(moments.values()) < 150, "hundredths of them, more or less"


@on_jumping_loop
async def test_a_missing_pong_is_3012_and_the_client_comes_back() -> None:
    service = await Service.start()
    sdk = await Sdk(service).connected()
    began = service.hub.loop.time()
    expected = began + first_ping(sdk.connection.client, 25) + 8
    assert await sdk.over() == (wire.CLOSE_NO_PONG, "no pong")
    assert 0 <= service.hub.loop.time() - expected < 1
    assert service.hub.counters.pings_unanswered == 1
    assert sdk.pings == 1
    assert sdk.consumer.disconnects == [wire.CLOSE_NO_PONG]


def test_trap_3_a_pong_that_nobody_asked_for_is_3501(encoding: Encoding) -> None:
    async def main() -> None:
        sdk = await Sdk(await Service.start(), encoding=encoding).connected()
        sdk.raw(encoding.PING)
        assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST

    run(main())


@on_jumping_loop
async def test_a_second_pong_for_one_ping_is_3501() -> None:
    sdk = await Sdk(await Service.start()).connected()
    await until(lambda: sdk.pings)
    sdk.raw(b"{}")
    await settled()
    assert sdk.connection.state is State.OPEN
    sdk.raw(b"{}\n")
    assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST


def test_a_pong_waits_behind_no_handler(encoding: Encoding) -> None:
    class Slow(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await asyncio.sleep(200)
            await super().receive_json(content)

    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, Slow(), encoding=encoding).connected()
        sdk.frame({"send": {"data": 1}})
        sdk.frame({"send": {"data": 2}})
        for number in range(1, 8):
            await until(lambda number=number: sdk.pings == number)  # type: ignore[misc]
            sdk.raw(encoding.PING)
        assert sdk.consumer.received == []
        await until(lambda: sdk.consumer.received)
        await service.stop()

    run(main())


@on_jumping_loop
async def test_who_is_not_read_because_its_consumer_is_slow_owes_no_pong() -> None:
    class Slow(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            self.received.append(content)
            await asyncio.sleep(1000)

    service = await Service.start(inbound_limit=2)
    sdk = await Sdk(service, Slow()).connected()
    for number in range(4):
        sdk.frame({"send": {"data": number}})
    await until(lambda: sdk.transport.verbs("pause_reading")[1:])
    await asyncio.sleep(100)
    assert sdk.connection.state is State.OPEN
    await until(lambda: len(sdk.consumer.received) == 4, 100_000)  # it is read again, and silent
    assert (await sdk.over())[0] == wire.CLOSE_NO_PONG


@pytest.mark.parametrize(
    ("interval", "timeout", "told"),
    [(25, 8, (25, True)), (0.4, 0.1, (1, True)), (0, 8, (0, False)), (1.5, 1, (2, True)), (5, 0, (5, False))],
)
def test_the_client_is_told_whether_pings_come_and_pongs_are_wanted(
    interval: float, timeout: float, told: tuple[int, bool]
) -> None:
    async def main() -> None:
        service = await Service.start(ping_interval=interval, ping_timeout=timeout)
        sdk = Sdk(service)
        result = await sdk.ask("connect")
        assert (result.get("ping", 0), result.get("pong", False)) == told
        await asyncio.sleep(interval * 1.05)
        assert bool(sdk.pings) is bool(interval)
        await service.stop()

    run(main())


@on_jumping_loop
async def test_where_nobody_is_given_up_pings_go_on_without_pongs() -> None:
    service = await Service.start(ping_interval=5, ping_timeout=0)
    sdk = await Sdk(service).connected()
    await asyncio.sleep(101)
    assert 19 <= sdk.pings <= 20
    assert sdk.connection.state is State.OPEN
    await service.stop()


# Frames


@pytest.mark.parametrize(
    "payload",
    [b"", b"\n", b"not json", b'{"rpc":{"method":"add"}}', b'{"id":5}', b'{"unknown":{},"id":5}', b"{}\n\n{}"],
    ids=["empty", "empty line", "garbage", "no id", "nothing", "unknown", "empty line between"],
)
def test_a_frame_against_the_protocol_is_3501(payload: bytes) -> None:
    async def main() -> None:
        sdk = await Sdk(await Service.start()).connected()
        sdk.raw(payload)
        assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST
        assert sdk.counters.client_errors <= 1
        assert sdk.consumer.disconnects == [wire.CLOSE_BAD_REQUEST]

    run(main())


def test_a_frame_of_the_wrong_kind_is_3501(encoding: Encoding) -> None:
    async def main() -> None:
        sdk = await Sdk(await Service.start(), encoding=encoding).connected()
        sdk.raw(sdk.encode({"send": {"data": 1}}), text=not encoding.IS_TEXT)
        assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST
        assert sdk.consumer.received == []

    run(main())


@on_jumping_loop
async def test_what_stands_before_a_fault_is_still_handled() -> None:
    sdk = await Sdk(await Service.start()).connected()
    sdk.raw(b'{"send":{"data":1}}\n{"subscribe":{"channel":"open"},"id":7}\nrubbish\n{"send":{"data":2}}')
    assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST
    assert sdk.consumer.received == [1]
    assert sdk.answers[7]["subscribe"] == {}


@on_jumping_loop
async def test_a_client_over_its_rate_is_closed_and_nothing_more_reaches_the_consumer() -> None:
    service = await Service.start(message_rate=10, rate_burst=1)
    sdk = await Sdk(service).connected()
    for number in range(30):
        sdk.frame({"send": {"data": number}})
    assert await sdk.over() == (wire.CLOSE_TOO_MANY_REQUESTS, "rate limit: more than 10 messages per second")
    assert sdk.consumer.received == list(range(10))
    assert service.hub.counters.rate_limited == 1


def test_each_command_of_a_frame_is_a_message(encoding: Encoding, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        service = await Service.start(message_rate=10, rate_burst=1)
        sdk = await Sdk(service, encoding=encoding).connected()
        for number in range(0, 30, 4):
            sdk.frame(*({"send": {"data": each}} for each in range(number, number + 4)))
        code, _ = await sdk.over()
        assert code == wire.CLOSE_TOO_MANY_REQUESTS
        assert wire.comes_back(code)
        assert sdk.consumer.received == list(range(10))
        assert service.hub.counters.rate_limited == 1
        assert "(message_rate) and has used up rate_burst (1 s); closed with 3013" in caplog.text

    run(main())


@on_jumping_loop
async def test_commands_behind_connect_count_too() -> None:
    service = await Service.start(message_rate=10, rate_burst=1)
    sdk = Sdk(service)
    sdk.frame({"connect": {}, "id": 1}, *({"send": {"data": number}} for number in range(30)))
    assert (await sdk.over())[0] == wire.CLOSE_TOO_MANY_REQUESTS
    assert sdk.consumer.received == list(range(10))


@on_jumping_loop
async def test_where_no_rate_is_set_a_frame_may_hold_any_number() -> None:
    service = await Service.start(message_rate=0, byte_rate=0)
    sdk = await Sdk(service).connected()
    for _ in range(3):
        sdk.frame(*({"send": {"data": 1}} for _ in range(10_000)))
    await until(lambda: len(sdk.consumer.received) == 30_000)
    await service.stop()


# What the consumer sends


def test_what_a_consumer_sends_is_a_message_of_no_channel(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        sdk.frame({"send": {"data": {"a": [1, "ü"]}}})
        await until(lambda: sdk.pushes)
        assert sdk.pushes == [{"message": {"data": {"echo": {"a": [1, "ü"]}}}}]
        await service.stop()

    run(main())


# Groups that the application joins


@on_jumping_loop
async def test_joining_and_leaving_later_is_told_by_pushes() -> None:
    service = await Service.start()
    sdk = await Sdk(service).connected()
    layer, channel = service.app.layer, sdk.consumer.channel_name
    await service.publish("kept", 1)
    for group in ("open", "kept"):
        await layer.group_add(group, channel)
        await layer.group_add(group, channel)
        await service.publish(group, 2)
        await layer.group_discard(group, channel)
        await layer.group_discard(group, channel)
        await service.publish(group, 3)
    await until(lambda: len(sdk.pushes) == 6)
    kinds = [(push["channel"], next(key for key in push if key != "channel")) for push in sdk.pushes]
    assert kinds == [
        ("open", "subscribe"),
        ("open", "pub"),
        ("open", "unsubscribe"),
        ("kept", "subscribe"),
        ("kept", "pub"),
        ("kept", "unsubscribe"),
    ]
    subscribe = sdk.pushes[3]["subscribe"]
    assert (subscribe["offset"], subscribe["recoverable"], subscribe["positioned"]) == (1, True, True)
    assert sdk.pushes[2]["unsubscribe"] == {"code": 2000, "reason": "server unsubscribe"}
    await service.stop()


@on_jumping_loop
async def test_a_group_that_the_server_made_recovers_with_connect() -> None:
    class Member(Echo):
        groups = ["kept"]

    service = await Service.start()
    sdk = Sdk(service, Member())
    position = (await sdk.ask("connect"))["subs"]["kept"]
    await service.publish("kept", 1)
    await sdk.leave()
    await service.publish("kept", 2, 3)
    back = Sdk(service, Member())
    asked = {"kept": {"recover": True, "epoch": position["epoch"], "offset": 1}}
    found = (await back.ask("connect", subs=asked))["subs"]["kept"]
    assert (found["recovered"], found["was_recovering"], found["offset"]) == (True, True, 1)
    assert [(each["data"], each["offset"]) for each in found["publications"]] == [(2, 2), (3, 3)]
    await service.publish("kept", 4)
    await until(lambda: back.pushes)
    assert back.pushes[0]["pub"]["offset"] == 4
    await service.stop()


@on_jumping_loop
async def test_a_position_that_is_gone_is_told_with_connect() -> None:
    class Member(Echo):
        groups = ["kept"]

    service = await Service.start()
    await service.publish("kept", 1)
    for asked in ({"recover": True, "epoch": "_", "offset": 0}, {"recover": True, "epoch": "other", "offset": 1}):
        sdk = Sdk(service, Member())
        found = (await sdk.ask("connect", subs={"kept": asked}))["subs"]["kept"]
        assert (found.get("recovered", False), found["was_recovering"], found["offset"]) == (False, True, 1)
        assert "publications" not in found
    await service.stop()


@on_jumping_loop
async def test_a_gap_is_3010_for_a_group_of_the_server_and_2500_for_one_of_the_client() -> None:
    class Member(Echo):
        groups = ["kept:server"]

    service = await Service.start()
    sdk = await Sdk(service, Member()).connected()
    await sdk.subscribed("kept:client")
    sdk.connection.gap("kept:client", Position("e", 7))
    await until(lambda: sdk.pushes)
    assert sdk.pushes == [
        {"channel": "kept:client", "unsubscribe": {"code": 2500, "reason": "insufficient state"}},
    ]
    assert not service.hub.members("kept:client")
    assert isinstance(await sdk.ask("subscribe", channel="kept:client"), dict), "it may come back at once"
    sdk.connection.gap("kept:server", Position("e", 7))
    assert await sdk.over() == (wire.CLOSE_INSUFFICIENT_STATE, "insufficient state")


class Losing(MemoryEngine):
    """Delivers nothing to this process while it is ``deaf``."""

    deaf = False

    async def publish(self, *arguments: Any, **options: Any) -> Any:
        events = self._events
        if self.deaf:
            self._events = type("Deaf", (), {"on_publication": lambda *_: None})()
        try:
            return await super().publish(*arguments, **options)
        finally:
            self._events = events


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
def test_what_the_engine_lost_is_filled_in_or_told(server_side: bool) -> None:
    class Member(Echo):
        groups = ["kept"] if server_side else []

    async def main() -> None:
        engine = Losing()
        service = await Service.start(engine)
        sdk = await Sdk(service, Member()).connected()
        if not server_side:
            await sdk.subscribed("kept")
        await service.publish("kept", 1)
        engine.deaf = True
        await service.publish("kept", 2, 3)
        engine.deaf = False
        await service.publish("kept", 4)
        await until(lambda: len(sdk.published("kept")) == 4)
        assert sdk.published("kept") == [1, 2, 3, 4]
        engine.deaf = True
        await service.publish("kept", *range(200))
        engine.deaf = False
        await service.publish("kept", "behind")
        if server_side:
            assert (await sdk.over())[0] == wire.CLOSE_INSUFFICIENT_STATE
        else:
            await until(lambda: "unsubscribe" in sdk.pushes[-1])
            assert sdk.pushes[-1]["unsubscribe"]["code"] == 2500
            found = await sdk.subscribed("kept", recover=True, epoch=sdk.pushes[0]["pub"]["epoch"], offset=4)
            assert (found.get("recovered", False), found["offset"]) == (False, 205)
            await service.publish("kept", "again")
            await until(lambda: sdk.published("kept")[-1] == "again")
        assert sdk.published("kept")[:4] == [1, 2, 3, 4]
        assert service.hub.counters.gaps == 1
        await service.stop()

    run(main())


@on_jumping_loop
async def test_a_gap_while_connect_runs_ends_the_connection() -> None:
    service = await Service.start()
    gate = asyncio.get_running_loop().create_future()

    async def connect(consumer: Any) -> None:
        await consumer.channel_layer.group_add("kept", consumer.channel_name)
        await gate
        await consumer.accept()

    sdk = Sdk(service, consumer_that(connect))
    sdk.frame({"connect": {}, "id": 1})
    await until(lambda: service.hub.members("kept"))
    sdk.connection.gap("kept", Position("e", 7))
    gate.set_result(None)
    assert (await sdk.over())[0] == wire.CLOSE_INSUFFICIENT_STATE
    assert sdk.transport.chunks == []
    assert not service.hub.groups


@on_jumping_loop
async def test_who_leaves_while_its_group_is_read_is_in_no_group() -> None:
    class Member(Echo):
        groups = ["kept"]

    engine = GatedEngine()
    service = await Service.start(engine)
    engine.is_gated = True
    sdk = Sdk(service, Member())
    sdk.frame({"connect": {}, "id": 1})
    await until(lambda: engine.gates)
    sdk.connection.lost(1006)
    await engine.open()
    await sdk.task
    assert not service.hub.groups
    assert sdk.consumer.disconnects == []
    await service.stop()


# Who somebody is


class User:
    """Django's kind of user."""

    def __init__(self, pk: int, is_authenticated: bool = True) -> None:
        self.pk = pk
        self.is_authenticated = is_authenticated


@pytest.mark.parametrize(
    ("user", "name"),
    [(User(42), "42"), (User(0, is_authenticated=False), ""), (None, ""), ("ada", "ada")],
    ids=["user", "anonymous", "none", "text"],
)
def test_others_see_the_users_id(user: Any, name: str) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, scope={"user": user}).connected()
        assert sdk.connection.info == ClientInfo(name, sdk.connection.client)
        await sdk.subscribed("open")
        await sdk.ask("publish", channel="open", data=1)
        await until(lambda: sdk.pushes)
        assert sdk.pushes[0]["pub"]["info"] == {"user": name, "client": sdk.connection.client}
        await service.stop()

    run(main())


def test_a_consumer_that_is_plain_elsewhere_needs_nothing_new() -> None:
    class Chat(AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            await self.channel_layer.group_add("chat", self.channel_name)
            await self.accept()

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.channel_layer.group_send("chat", {"type": "said", "text": content["text"]})

        async def said(self, event: Any) -> None:
            await self.send_json({"text": event["text"]})

    async def main() -> None:
        service = await Service.start()
        first = await Sdk(service, Chat()).connected()
        second = await Sdk(service, Chat(), encoding=PROTOBUF).connected()
        first.frame({"send": {"data": {"text": "hello"}}})
        await until(lambda: first.sent and second.sent)
        assert first.sent == second.sent == [{"text": "hello"}]
        await service.stop()

    run(main())


@pytest.mark.parametrize("rule", [{}, {"presence": "kept", "join_leave": True}], ids=["silent", "announced"])
@pytest.mark.parametrize("before", ["joins a group", "sends an event"])
@on_jumping_loop
async def test_what_a_handler_sends_behind_a_publication_of_its_own_comes_behind_it(
    before: str, rule: dict[str, Any]
) -> None:
    class Speaker(Echo):
        groups = ("room",)

        async def note(self, event: dict[str, Any]) -> None:
            pass

        async def go(self, event: dict[str, Any]) -> None:
            if before == "joins a group":
                await self.channel_layer.group_add("other", self.channel_name)
            else:
                await self.channel_layer.group_send("room", {"type": "note"})
            await self.channel_layer.publish("room", 1)
            await self.send_json(2)

    service = await Service.start(rules={"other": rule} if rule else {}, ping_interval=0)
    sdk = await Sdk(service, Speaker()).connected()
    member = await Sdk(service, Speaker()).connected()
    await member.connection.join("other")
    await service.app.layer.send(sdk.connection.channel_name, {"type": "go"})
    await until(lambda: any("message" in push for push in sdk.pushes))
    assert [push["pub"]["data"] if "pub" in push else 2 for push in sdk.pushes if {"pub", "message"} & set(push)] == [
        1,
        2,
    ]
    await service.stop()
