"""The commands of a client on the Centrifuge wire: what each is answered, allowed, refused, malformed or too late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any

import pytest

from antiphon import AsyncWebsocketConsumer, JsonWebsocketConsumer, WebsocketConsumer, rpc
from antiphon.commands import BYTES_PER_TURN, COMMANDS_PER_TURN, Commands
from antiphon.consumer import Consumer
from antiphon.exceptions import (
    ClientError,
    EngineUnavailable,
    LimitExceeded,
    NotEncodable,
    OutcomeUnknown,
    StopConsumer,
)
from antiphon.lifecycle import State
from antiphon.types import PublishRequest, SubscribeRequest
from antiphon.wire.centrifuge import codes as wire
from antiphon.wire.centrifuge import commands
from antiphon.wire.centrifuge.encoding import JSON, PROTOBUF, Encoding

from .centrifugal import Echo, GatedEngine, Sdk, Service
from .fakes import SlowEngine, on_jumping_loop, run, settled, until
from .wire.centrifuge import reference

DENIED = (wire.ERROR_PERMISSION_DENIED, "permission denied")
NOT_AVAILABLE = (wire.ERROR_NOT_AVAILABLE, "not available")


@pytest.fixture(params=[JSON, PROTOBUF], ids=lambda encoding: encoding.NAME)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    """Each encoding in turn."""
    found: Encoding = request.param
    return found


def with_service(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Make of an async test of a service one that runs on a loop whose clock jumps; the service is stopped then."""

    def synchronous() -> None:
        async def main() -> None:
            service = await Service.start()
            await test(service)
            await service.stop()

        run(main())

    synchronous.__name__, synchronous.__doc__ = test.__name__, test.__doc__
    return synchronous


def at_once(work: Coroutine[Any, Any, Any]) -> None:
    """Run what need not wait for anything."""
    with pytest.raises(StopIteration):
        work.send(None)


#: One command of each kind, as a client may send it.
EVERY: dict[str, dict[str, Any]] = {
    "connect": {},
    "subscribe": {"channel": "open"},
    "unsubscribe": {"channel": "open"},
    "publish": {"channel": "open", "data": 1},
    "presence": {"channel": "open"},
    "presence_stats": {"channel": "open"},
    "history": {"channel": "open"},
    "ping": {},
    "send": {"data": 1},
    "rpc": {"method": "add"},
    "refresh": {"token": "x"},
    "sub_refresh": {"channel": "open", "token": "x"},
}


def test_every_command_of_the_wire_has_a_handler() -> None:
    from antiphon.commands import _HANDLERS

    assert set(_HANDLERS) == set(commands.Command.__args__)
    assert all(getattr(Commands, handler.__name__) is handler for handler in _HANDLERS.values())


@pytest.mark.parametrize("method", [name for name in EVERY if name != "connect"])
def test_before_connect_every_command_is_the_end(method: str, encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = Sdk(service, encoding=encoding)
        sdk.frame({method: EVERY[method], "id": 1})
        assert await sdk.over() == (wire.CLOSE_BAD_REQUEST, "the first command is not connect")
        assert sdk.transport.chunks == []
        assert sdk.consumer.received == []
        assert not service.hub.groups

    run(main())


@pytest.mark.parametrize("method", EVERY)
def test_after_close_no_command_does_anything(method: str, encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        await sdk.consumer.close(4500, "enough")
        sdk.frame({method: EVERY[method], "id": 9})
        await sdk.over()
        sdk.frame({method: EVERY[method], "id": 10})
        await settled()
        assert list(sdk.answers) == [1]
        assert sdk.consumer.received == []
        assert not service.hub.groups

    run(main())


@pytest.mark.parametrize("method", [name for name in EVERY if name not in ("connect", "send", "refresh")])
def test_every_other_command_is_answered_once_with_its_number(method: str, encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        sdk.frame({method: EVERY[method], "id": 4_000_000_000})
        await until(lambda: 4_000_000_000 in sdk.answers)
        await settled()
        assert len(sdk.replies) == 2
        await service.stop()

    run(main())


def test_send_and_a_pong_are_not_answered(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, AsyncWebsocketConsumer(), encoding=encoding).connected()
        sdk.frame({"send": {"data": 1}, "id": 7}, {"send": {"data": 1}})
        await settled()
        await until(lambda: sdk.pings)
        sdk.raw(encoding.PING)
        await settled()
        assert [reply.get("id", 0) for reply in sdk.replies] == [1, 0]
        await service.stop()

    run(main())


# subscribe and unsubscribe


def test_subscribing_to_a_group_without_history(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        await service.publish("open", "before")
        sdk = await Sdk(service, encoding=encoding).connected()
        assert await sdk.subscribed("open") == {}
        await service.publish("open", {"a": 1})
        await until(lambda: sdk.pushes)
        assert sdk.pushes == [{"channel": "open", "pub": {"data": {"a": 1}}}], "no offset where nothing is kept"
        await service.stop()

    run(main())


def test_subscribing_to_a_group_with_history_begins_at_its_top(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        await service.publish("kept", "before")
        sdk = await Sdk(service, encoding=encoding).connected()
        result = await sdk.subscribed("kept")
        epoch = result.pop("epoch")
        assert epoch
        assert epoch != "_"
        assert result == {"recoverable": True, "positioned": True, "offset": 1}
        await service.publish("kept", "after")
        await until(lambda: sdk.pushes)
        assert sdk.pushes == [{"channel": "kept", "pub": {"data": "after", "offset": 2}}]
        await service.stop()

    run(main())


@with_service
async def test_the_first_publication_of_a_stream_tells_its_epoch(service: Service) -> None:
    sdk = await Sdk(service).connected()
    result = await sdk.subscribed("kept")
    await service.publish("kept", 1, 2)
    await until(lambda: len(sdk.pushes) == 2)
    first, second = (push["pub"] for push in sdk.pushes)
    assert first["offset"] == 1
    assert first["epoch"] == result["epoch"]
    assert "epoch" not in second


@pytest.mark.parametrize("group", ["kept", "open"])
@pytest.mark.parametrize("direct", [True, False], ids=["frames", "messages"])
def test_the_answer_to_subscribe_comes_before_its_publications(group: str, direct: bool) -> None:
    class Busy(Echo):
        async def noise(self, event: Any) -> None:
            await self.send_json("noise")

    async def main() -> None:
        service = await Service.start()
        other = await Sdk(service, Busy(), direct=direct).connected()
        await other.subscribed(group)
        sdk = await Sdk(service, Busy(), direct=direct).connected()

        def in_one_round_of_the_loop() -> None:
            at_once(service.app.layer.group_send(group, {"type": "noise"}))
            at_once(service.publish(group, "before"))  # both wait in the backlog
            sdk.connection.receive_text(b'{"subscribe":{"channel":"%b"},"id":9}' % group.encode())
            at_once(service.publish(group, "after"))

        sdk.outside(in_one_round_of_the_loop)
        await until(lambda: 9 in sdk.answers)
        await service.publish(group, "later")
        await until(lambda: "later" in sdk.published(group))
        kinds = [reply.get("id", "pub" if "pub" in reply.get("push", {}) else "message") for reply in sdk.replies]
        assert "pub" not in kinds[: kinds.index(9)]
        if group == "kept":
            offsets = [push["pub"]["offset"] for push in sdk.pushes if "pub" in push]
            assert offsets == list(range(sdk.answers[9]["subscribe"].get("offset", 0) + 1, 4))
        await service.stop()

    run(main())


@with_service
async def test_a_subscription_is_refused_without_hook_and_rule(service: Service) -> None:
    sdk = await Sdk(service).connected()
    assert await sdk.ask("subscribe", channel="secret") == DENIED
    await service.publish("secret", 1)
    assert not service.hub.groups
    assert sdk.pushes == []


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, "ä" * 128, "\x00"])
def test_what_can_not_name_a_group_is_107(name: str) -> None:
    async def main() -> None:
        service = await Service.start(rules={"*": {"subscribe": "allow", "publish": "allow", "history_size": 5}})
        sdk = await Sdk(service).connected()
        for method in ("subscribe", "publish", "history"):
            code, words = await sdk.ask(method, channel=name, **({"data": 1} if method == "publish" else {}))
            assert code == wire.ERROR_BAD_REQUEST
            assert "group" in words
        assert await sdk.ask("unsubscribe", channel=name) == {}
        assert not service.hub.groups
        await service.stop()

    run(main())


@pytest.mark.parametrize("name", ["kept/&*#$:1", "kept ä", "kept" + "x" * 251])
def test_names_of_centrifugo_and_printable_text_are_groups(name: str, encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        await sdk.subscribed(name)
        await service.publish(name, 1)
        await until(lambda: sdk.published(name))
        await service.stop()

    run(main())


@pytest.mark.parametrize("kind", [{"type": 1}, {"type": 4}])
def test_trap_11_newer_kinds_of_subscriptions_are_108(kind: dict[str, Any], encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        code, _ = await sdk.ask("subscribe", channel="open", **kind)
        assert code == wire.ERROR_NOT_AVAILABLE
        assert (await sdk.ask("publish", channel="open", data=1, type=1))[0] == wire.ERROR_NOT_AVAILABLE
        assert not service.hub.groups
        await service.stop()

    run(main())


@with_service
async def test_a_filter_by_tags_is_108(service: Service) -> None:
    sdk = await Sdk(service).connected()
    code, _ = await sdk.ask("subscribe", channel="open", tf={"key": "a", "cmp": "eq", "val": "b"})
    assert code == wire.ERROR_NOT_AVAILABLE


@with_service
async def test_trap_11_compaction_and_deltas_are_not_offered(service: Service) -> None:
    sdk = await Sdk(service).connected()
    result = await sdk.subscribed("kept", flag=1, delta="fossil", join_leave=True)
    assert set(result) == {"recoverable", "positioned", "epoch"}


@with_service
async def test_trap_5_only_who_subscribes_twice_is_told_105(service: Service) -> None:
    sdk = await Sdk(service).connected()
    for group in ("kept", "open"):
        await sdk.subscribed(group)
        assert await sdk.ask("subscribe", channel=group) == (wire.ERROR_ALREADY_SUBSCRIBED, "already subscribed")
        assert await sdk.ask("unsubscribe", channel=group) == {}
        await sdk.subscribed(group)
        await service.publish(group, 1)
        await until(lambda group=group: sdk.published(group))  # type: ignore[misc]
        await settled()
        assert sdk.published(group) == [1], "once"


@with_service
async def test_a_group_that_the_server_made_can_not_be_subscribed_to(service: Service) -> None:
    sdk = await Sdk(service).connected()
    for group in ("kept", "open"):
        await service.app.layer.group_add(group, sdk.consumer.channel_name)
        assert (await sdk.ask("subscribe", channel=group))[0] == wire.ERROR_ALREADY_SUBSCRIBED


@with_service
async def test_trap_10_unsubscribing_from_what_is_not_subscribed_succeeds(service: Service) -> None:
    sdk = await Sdk(service).connected()
    assert await sdk.ask("unsubscribe", channel="never") == {}
    await sdk.subscribed("open")
    assert await sdk.ask("unsubscribe", channel="open") == {}
    assert await sdk.ask("unsubscribe", channel="open") == {}
    await service.publish("open", 1)
    await settled()
    assert sdk.pushes == []
    assert not service.hub.groups


@with_service
async def test_what_was_published_before_unsubscribing_comes_before_its_answer(service: Service) -> None:
    sdk = await Sdk(service).connected()
    await sdk.subscribed("kept")

    def in_one_round_of_the_loop() -> None:
        at_once(service.publish("kept", 1))
        sdk.connection.receive_text(sdk.encode({"unsubscribe": {"channel": "kept"}, "id": 9}))
        at_once(service.publish("kept", 2))

    sdk.outside(in_one_round_of_the_loop)
    await until(lambda: 9 in sdk.answers)
    await settled()
    assert ["pub" if "push" in reply else reply["id"] for reply in sdk.replies] == [1, 2, "pub", 9]


def test_more_groups_than_the_limit_are_106() -> None:
    async def main() -> None:
        service = await Service.start(groups_per_connection=2)
        sdk = await Sdk(service).connected()
        await sdk.subscribed("open1")
        await sdk.subscribed("kept1")
        for group in ("open2", "kept2"):
            code, words = await sdk.ask("subscribe", channel=group)
            assert code == wire.ERROR_LIMIT_EXCEEDED
            assert "groups_per_connection" in words
        assert await sdk.ask("unsubscribe", channel="open1") == {}
        await sdk.subscribed("open2")
        assert sorted(service.hub.groups) == ["kept1", "open2"]
        await service.stop()

    run(main())


@with_service
async def test_the_application_may_join_what_a_client_is_subscribing_to(service: Service) -> None:
    engine = GatedEngine()
    await service.hub.engine.stop()
    service.hub.engine = engine
    await engine.start(service.hub)
    await (await Sdk(service).connected()).subscribed("kept")
    engine.is_gated = True
    sdk = await Sdk(service).connected()
    sdk.frame({"subscribe": {"channel": "kept", "recover": True}, "id": 9})  # so that both read by themselves
    await until(lambda: engine.gates)
    joining = asyncio.create_task(service.app.layer.group_add("kept", sdk.consumer.channel_name))
    await until(lambda: len(engine.gates) == 2)
    engine.gates.pop().set_result(None)
    await joining
    await engine.open()
    await until(lambda: 9 in sdk.answers)
    assert sdk.answers[9]["error"]["code"] == wire.ERROR_ALREADY_SUBSCRIBED
    await service.publish("kept", 1)
    await until(lambda: sdk.published("kept"))
    assert sdk.published("kept") == [1]


def test_who_leaves_while_it_subscribes_is_in_no_group() -> None:
    async def main() -> None:
        for engine in (GatedEngine(), SlowEngine()):
            service = await Service.start(engine)
            sdk = await Sdk(service).connected()
            engine.is_gated = True  # type: ignore[union-attr]
            sdk.frame({"subscribe": {"channel": "kept"}, "id": 9})
            await until(lambda engine=engine: engine.gates)  # type: ignore[misc]
            sdk.connection.lost(1006)
            await settled()
            engine.is_gated = False  # type: ignore[union-attr]
            engine.gates[0].set_result(None)
            await sdk.task
            await settled()
            assert not service.hub.groups
            assert sdk.consumer.disconnects == [1006]
            assert 9 not in sdk.answers
            await service.stop()

    run(main())


# Recovery


async def _position(sdk: Sdk, group: str) -> dict[str, Any]:
    result = await sdk.subscribed(group)
    return {"epoch": result["epoch"], "offset": result.get("offset", 0)}


def test_trap_4_a_recovered_subscription_has_the_offset_that_the_client_sent(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        position = await _position(sdk, "kept")
        await sdk.ask("unsubscribe", channel="kept")
        await service.publish("kept", *range(1, 6))
        result = await sdk.subscribed("kept", recover=True, epoch=position["epoch"], offset=2)
        assert (result["was_recovering"], result["recovered"], result["offset"]) == (True, True, 2)
        assert [(each["offset"], each["data"]) for each in result["publications"]] == [(3, 3), (4, 4), (5, 5)]
        await service.publish("kept", 6)
        await until(lambda: sdk.pushes)
        assert sdk.pushes[0]["pub"]["offset"] == 6
        await service.stop()

    run(main())


@with_service
async def test_recovering_where_nothing_was_missed(service: Service) -> None:
    sdk = await Sdk(service).connected()
    await service.publish("kept", 1)
    position = await _position(sdk, "kept")
    await sdk.ask("unsubscribe", channel="kept")
    result = await sdk.subscribed("kept", recover=True, **position)
    assert result == {
        "recoverable": True,
        "positioned": True,
        "epoch": position["epoch"],
        "recovered": True,
        "was_recovering": True,
        "offset": 1,
    }


@pytest.mark.parametrize(
    "asked",
    [
        {"epoch": "other", "offset": 150},
        {"epoch": "_", "offset": 0},
        {"offset": 20},
        {"offset": 0},
        {"offset": 1000},
    ],
)
def test_what_can_not_be_recovered_is_told_and_never_in_part(asked: dict[str, Any], encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        await service.publish("kept", *range(150))
        sdk = await Sdk(service, encoding=encoding).connected()
        result = await sdk.subscribed("kept", recover=True, **asked)
        assert result["was_recovering"] is True
        assert "recovered" not in result
        assert "publications" not in result
        assert result["offset"] == 150
        assert await sdk.ask("unsubscribe", channel="kept") == {}
        refused = await sdk.ask("subscribe", channel="kept", recover=True, flag=2, **asked)
        assert refused == (wire.ERROR_UNRECOVERABLE_POSITION, "unrecoverable position")
        assert not service.hub.members("kept")
        await service.publish("kept", "late")
        await settled()
        assert sdk.pushes == []
        await sdk.subscribed("kept", flag=2)
        await service.stop()

    run(main())


@with_service
async def test_from_the_beginning_is_recovered_while_all_is_there(service: Service) -> None:
    await service.publish("kept", 1, 2)
    sdk = await Sdk(service).connected()
    result = await sdk.subscribed("kept", recover=True)
    assert result["recovered"] is True
    assert "offset" not in result
    assert [each["data"] for each in result["publications"]] == [1, 2]


@with_service
async def test_recovering_in_a_group_without_history_recovers_nothing(service: Service) -> None:
    sdk = await Sdk(service).connected()
    assert await sdk.subscribed("open", recover=True, epoch="x", offset=5) == {"was_recovering": True}


def test_what_is_published_while_history_is_read_comes_once_and_in_order(encoding: Encoding) -> None:
    async def main() -> None:
        engine = GatedEngine()
        service = await Service.start(engine)
        await service.publish("kept", 1, 2, 3)
        await (await Sdk(service).connected()).subscribed("kept")
        engine.is_gated = True
        sdk = await Sdk(service, encoding=encoding).connected()
        sdk.frame({"subscribe": {"channel": "kept", "recover": True, "offset": 1}, "id": 9})
        await until(lambda: engine.gates)
        await service.publish("kept", 4, 5)
        await settled()
        await engine.open()
        await service.publish("kept", 6)
        await until(lambda: 9 in sdk.answers)
        await service.publish("kept", 7)
        await until(lambda: sdk.pushes)
        found = sdk.answers[9]["subscribe"]
        offsets = [each["offset"] for each in found["publications"]] + [push["pub"]["offset"] for push in sdk.pushes]
        assert offsets == [2, 3, 4, 5, 6, 7]
        assert found["offset"] == 1
        await service.stop()

    run(main())


def test_what_is_not_delivered_while_history_is_read_is_read_again() -> None:
    async def main() -> None:
        engine = GatedEngine()
        service = await Service.start(engine)
        await service.publish("kept", 1)
        await (await Sdk(service).connected()).subscribed("kept")
        engine.is_gated = True
        sdk = await Sdk(service).connected()
        sdk.frame({"subscribe": {"channel": "kept", "recover": True, "offset": 1, "flag": 2}, "id": 9})
        await until(lambda: engine.gates)
        engine._events, events = None, engine._events
        try:
            engine._events = type("Deaf", (), {"on_publication": lambda *_: None})()
            await service.publish("kept", 2)
        finally:
            engine._events = events
        await service.publish("kept", 3)
        await engine.open()
        await until(lambda: 9 in sdk.answers)
        found = sdk.answers[9]["subscribe"]
        assert found["recovered"] is True
        assert [each["offset"] for each in found["publications"]] == [2, 3]
        await service.stop()

    run(main())


# on_subscribe


class Doorkeeper(Echo):
    """Lets in whom it likes."""

    async def on_subscribe(self, request: SubscribeRequest) -> Any:
        """Decide."""
        self.received.append(request)
        if request.content == "why":
            raise ClientError("closed", "this room is closed")
        if request.content == "number":
            raise ClientError(1234, "this room is closed")
        if request.content == "fail":
            raise LookupError
        return request.content == "please"


def test_on_subscribe_decides_whatever_the_rule_says(encoding: Encoding, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, Doorkeeper(), encoding=encoding).connected()
        assert await sdk.ask("subscribe", channel="open") == DENIED
        assert await sdk.ask("subscribe", channel="secret", data="please") == {}
        assert await sdk.ask("subscribe", channel="open", data="why") == (400, "closed: this room is closed")
        assert await sdk.ask("subscribe", channel="open", data="number") == (1234, "this room is closed")
        assert await sdk.ask("subscribe", channel="open", data="fail") == (100, "internal server error")
        assert sdk.consumer.received[0] == SubscribeRequest("open", None)
        assert sdk.consumer.received[1] == SubscribeRequest("secret", "please")
        assert list(service.hub.groups) == ["secret"]
        assert sdk.connection.state is State.OPEN
        assert (service.hub.counters.client_errors, service.hub.counters.handler_errors) == (2, 1)
        await service.stop()

    run(main())
    assert "exception in subscribe()" in caplog.text


# publish


def test_publishing_by_rule(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        member = await Sdk(service, encoding=encoding).connected()
        sdk = await Sdk(service, encoding=encoding).connected()
        for group in ("open", "members", "kept", "shy"):
            await member.subscribed(group)
        assert await sdk.ask("publish", channel="open", data={"a": 1}) == {}
        for group in ("members", "kept", "shy", "secret"):
            assert await sdk.ask("publish", channel=group, data=1) == DENIED
        for group in ("members", "kept"):
            assert await member.ask("publish", channel=group, data=2) == {}
        assert await member.ask("publish", channel="shy", data=2) == DENIED
        await until(lambda: len(member.pushes) == 3)
        assert [(push["channel"], push["pub"]["data"]) for push in member.pushes] == [
            ("open", {"a": 1}),
            ("members", 2),
            ("kept", 2),
        ]
        assert member.pushes[0]["pub"]["info"]["client"] == sdk.connection.client
        assert service.hub.counters.publications == 3
        await service.stop()

    run(main())


class Editor(Echo):
    """Publishes what it makes of what came."""

    async def on_publish(self, request: PublishRequest) -> Any:
        """Decide."""
        if request.content == "no":
            raise ClientError("rude", "not here")
        if request.content == "fail":
            raise LookupError
        if request.content == "unwritable":
            return object()
        return {"group": request.group, "text": request.content}


def test_on_publish_says_what_is_published(encoding: Encoding, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        service = await Service.start()
        reader = await Sdk(service).connected()
        await reader.subscribed("shy")
        sdk = await Sdk(service, Editor(), encoding=encoding).connected()
        assert await sdk.ask("publish", channel="shy", data="hello") == {}
        assert await sdk.ask("publish", channel="shy", data="no") == (400, "rude: not here")
        assert await sdk.ask("publish", channel="shy", data="fail") == (100, "internal server error")
        assert await sdk.ask("publish", channel="shy", data="unwritable") == (100, "internal server error")
        await until(lambda: reader.pushes)
        await settled()
        assert reader.published("shy") == [{"group": "shy", "text": "hello"}]
        await service.stop()

    run(main())
    assert caplog.text.count("exception in publish()") == 2


@pytest.mark.parametrize("data", [b"\xff\xfe", b"", b"{", b"NaN", b"[" * 100 + b"]" * 100, b"1" * 30])
def test_a_payload_of_protobuf_that_is_not_json_is_107(data: bytes) -> None:
    async def main() -> None:
        service = await Service.start()
        reader = await Sdk(service).connected()
        await reader.subscribed("open")
        sdk = await Sdk(service, Doorkeeper(), encoding=PROTOBUF).connected()
        answer = await sdk.ask("publish", channel="open", data=data)
        if data:
            assert answer[0] == wire.ERROR_BAD_REQUEST
            assert (await sdk.ask("subscribe", channel="open", data=data))[0] == wire.ERROR_BAD_REQUEST
            assert (await sdk.ask("rpc", method="nothing", data=data))[0] == wire.ERROR_METHOD_NOT_FOUND
            assert reader.pushes == []
        else:  # nothing is null
            await until(lambda: reader.pushes)
            assert reader.published("open") == [None]
        assert sdk.connection.state is State.OPEN
        await service.stop()

    run(main())


@with_service
async def test_json_on_several_lines_reaches_json_clients_on_one(service: Service) -> None:
    reader = await Sdk(service).connected()
    await reader.subscribed("kept")
    sdk = await Sdk(service, encoding=PROTOBUF).connected()
    await sdk.subscribed("kept")
    assert await sdk.ask("publish", channel="kept", data=b'{\n "a": "b\\nc",\r\n "d": [\n1\n]}') == {}
    await until(lambda: reader.pushes and sdk.pushes)
    assert reader.published("kept") == sdk.published("kept") == [{"a": "b\nc", "d": [1]}]


# history


@with_service
async def test_history(service: Service) -> None:
    await service.publish("kept", *range(1, 6))
    sdk = await Sdk(service).connected()
    assert await sdk.ask("history", channel="kept", limit=10) == DENIED, "for those who are in the group"
    epoch = (await sdk.subscribed("kept"))["epoch"]

    async def ask(**asked: Any) -> list[Any]:
        answer = await sdk.ask("history", channel="kept", **asked)
        assert (answer["epoch"], answer["offset"]) == (epoch, 5)
        return [each["data"] for each in answer["publications"]]

    assert await ask() == []
    assert await ask(limit=2) == [1, 2]
    assert await ask(limit=-1) == [1, 2, 3, 4, 5]
    assert await ask(limit=2, reverse=True) == [5, 4]
    assert await ask(limit=-1, since={"epoch": epoch, "offset": 3}) == [4, 5]
    assert await ask(limit=1, since={"offset": 3}) == [4]
    assert await ask(limit=-1, since={"epoch": epoch, "offset": 3}, reverse=True) == [2, 1]
    assert await sdk.ask("history", channel="kept", since={"epoch": "other", "offset": 3}) == (
        wire.ERROR_UNRECOVERABLE_POSITION,
        "unrecoverable position",
    )
    assert (await sdk.ask("history", channel="kept", since={"offset": 0}, reverse=True))[0] == wire.ERROR_BAD_REQUEST
    assert await sdk.ask("history", channel="open", limit=1) == NOT_AVAILABLE
    await sdk.subscribed("shy")
    assert await sdk.ask("history", channel="shy", limit=1) == DENIED, "the rule does not say that they may"


def test_history_of_an_empty_group_has_everything_that_sdks_read(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        epoch = (await sdk.subscribed("kept"))["epoch"]
        answer = await sdk.ask("history", channel="kept", limit=10)
        expected = {"publications": [], "epoch": epoch, "offset": 0}
        assert answer == (expected if encoding is JSON else {"epoch": epoch})
        await service.stop()

    run(main())


# rpc


class Calculator(Echo):
    """Answers."""

    last: Any = None

    @rpc
    async def add(self, content: Any) -> Any:
        """Add two numbers."""
        return content["a"] + content["b"]

    @rpc
    async def echo(self, content: Any) -> Any:
        """Return it."""
        self.last = content
        return content

    @rpc
    async def slow(self, content: Any) -> Any:
        """Take a while."""
        await asyncio.sleep(content)
        return "done"

    @rpc
    async def wrong(self, content: Any) -> Any:
        """Raise what it is asked for."""
        if content == "cancelled":
            waiting = asyncio.get_running_loop().create_future()
            waiting.cancel()
            await waiting
        if content == "stop":
            raise StopConsumer
        raise {"client": ClientError("full", "no room"), "number": ClientError(1999, "no room")}.get(
            content, LookupError(content)
        )

    @rpc
    async def unwritable(self, content: Any) -> Any:
        """Return what is not JSON."""
        return object()

    async def unmarked(self, content: Any) -> Any:
        """No client gets here."""
        raise AssertionError


def test_rpc(encoding: Encoding, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, Calculator(), encoding=encoding).connected()
        assert await sdk.ask("rpc", method="add", data={"a": 1, "b": 2}) == {"data": 3}
        assert await sdk.ask("rpc", method="echo") == {"data": None}
        assert await sdk.ask("rpc", method="echo", data={"a\n": ["ü", None, 1.5]}) == {
            "data": {"a\n": ["ü", None, 1.5]}
        }
        assert await sdk.ask("rpc", method="wrong", data="client") == (400, "full: no room")
        assert await sdk.ask("rpc", method="wrong", data="number") == (1999, "no room")
        internal = (wire.ERROR_INTERNAL, "internal server error")
        assert await sdk.ask("rpc", method="wrong", data="other") == internal
        assert await sdk.ask("rpc", method="wrong", data="cancelled") == internal
        assert await sdk.ask("rpc", method="unwritable") == internal
        assert await sdk.ask("rpc", method="add", data="text") == internal
        assert service.hub.counters.handler_errors == 4
        assert sdk.connection.state is State.OPEN
        await service.stop()

    run(main())
    assert caplog.text.count("exception in rpc()") == 4


@pytest.mark.parametrize(
    "method",
    [
        *("", "nothing", "unmarked", "receive_json", "connect", "close", "send_json", "accept", "__init__"),
        *("_connection", "turns", "attach", "scope", "add.__call__", "publish"),
    ],
)
def test_a_method_that_is_not_marked_is_104(method: str) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, Calculator()).connected()
        assert await sdk.ask("rpc", method=method, data=1) == (wire.ERROR_METHOD_NOT_FOUND, "method not found")
        assert sdk.consumer.received == []
        await service.stop()

    run(main())


@with_service
async def test_stop_consumer_in_rpc_closes(service: Service) -> None:
    sdk = await Sdk(service, Calculator()).connected()
    sdk.frame({"rpc": {"method": "wrong", "data": "stop"}, "id": 9})
    assert (await sdk.over())[0] == wire.CLOSE_FORCE_DISCONNECT
    assert service.hub.counters.handler_errors == 0


@with_service
async def test_trap_6_the_commands_of_a_frame_are_handled_in_order_one_at_a_time(service: Service) -> None:
    sdk = await Sdk(service, Calculator()).connected()
    sdk.frame(
        {"rpc": {"method": "slow", "data": 5}, "id": 7},
        {"subscribe": {"channel": "open"}, "id": 8},
        {"rpc": {"method": "slow", "data": 1}, "id": 9},
    )
    sdk.frame({"rpc": {"method": "slow", "data": 0}, "id": 10})
    await until(lambda: 7 in sdk.answers)
    assert 8 in sdk.answers
    assert 9 not in sdk.answers
    await until(lambda: 10 in sdk.answers)
    assert [reply["id"] for reply in sdk.replies] == [1, 7, 8, 9, 10]


@with_service
async def test_publications_do_not_wait_for_a_command(service: Service) -> None:
    sdk = await Sdk(service, Calculator()).connected()
    await sdk.subscribed("open")
    sdk.frame({"rpc": {"method": "slow", "data": 20}, "id": 9})
    await settled()
    await service.publish("open", 1)
    await until(lambda: sdk.pushes)
    assert 9 not in sdk.answers
    await until(lambda: 9 in sdk.answers)


@with_service
async def test_a_client_that_leaves_while_a_command_runs(service: Service) -> None:
    sdk = await Sdk(service, Calculator()).connected()
    sdk.frame({"rpc": {"method": "slow", "data": 5}, "id": 9})
    await settled()
    await sdk.leave()
    assert 9 not in sdk.answers
    assert sdk.consumer.disconnects == [1001]


# send


@with_service
async def test_what_receive_json_raises_costs_the_message_and_is_logged(service: Service) -> None:
    class Picky(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            if content == "fail":
                raise LookupError
            if content == "client":
                raise ClientError("odd", "odd")
            await super().receive_json(content)

    sdk = await Sdk(service, Picky()).connected()
    for content in ("fail", "client", "good"):
        sdk.frame({"send": {"data": content}})
    await until(lambda: len(sdk.sent) == 2)
    assert sdk.sent == [{"type": "error", "code": "odd", "reason": "odd"}, {"echo": "good"}]
    assert (service.hub.counters.handler_errors, service.hub.counters.client_errors) == (1, 1)
    assert [reply for reply in sdk.replies if "error" in reply] == []


@pytest.mark.parametrize(
    ("error", "told", "counted"),
    [
        (ClientError("odd", "it is odd"), {"code": "odd", "reason": "it is odd"}, "client_errors"),
        (ClientError(1234, "it is odd"), {"code": 1234, "reason": "it is odd"}, "client_errors"),
        (EngineUnavailable("the cable is cut"), {"code": "unavailable"}, "turns_unavailable"),
        (OutcomeUnknown("no answer"), {"code": "unavailable"}, "turns_unavailable"),
    ],
)
def test_a_message_that_could_not_be_done_is_told_as_on_the_plain_wire(
    error: Exception, told: dict[str, Any], counted: str, encoding: Encoding
) -> None:
    class Raising(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            if content == "bad":
                raise error
            await super().receive_json(content)

    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, Raising(), encoding=encoding).connected()
        sdk.frame({"send": {"data": "bad"}})  # alone in its frame, and among others
        sdk.frame({"send": {"data": "bad"}}, {"send": {"data": "good"}})
        await until(lambda: len(sdk.sent) == 3)
        assert [frame.items() >= {"type": "error", **told}.items() for frame in sdk.sent] == [True, True, False]
        assert sdk.sent[2] == {"echo": "good"}
        assert "cable" not in str(sdk.sent), "what happens inside stays there"
        assert getattr(service.hub.counters, counted) == 2
        assert sdk.closed is None
        await service.stop()

    run(main())


@with_service
async def test_a_limit_that_a_message_reached_is_the_applications_fault(service: Service) -> None:
    sdk = await Sdk(service, Failing()).connected()
    sdk.frame({"send": {"data": "limit"}})
    assert await sdk.ask("ping") == NOT_AVAILABLE
    assert (sdk.sent, service.hub.counters.handler_errors) == ([], 1)


def test_a_message_that_could_not_be_done_is_not_told_where_error_frames_are_off() -> None:
    async def main() -> None:
        service = await Service.start(error_type="")
        sdk = await Sdk(service, Failing()).connected()
        sdk.frame({"send": {"data": "client"}}, {"send": {"data": "away"}})
        assert await sdk.ask("ping") == NOT_AVAILABLE
        assert (sdk.sent, service.hub.counters.client_errors, service.hub.counters.turns_unavailable) == ([], 1, 1)
        await service.stop()

    run(main())


@with_service
async def test_send_without_data_is_null(service: Service) -> None:
    sdk = await Sdk(service).connected()
    sdk.frame({"send": {}})
    await until(lambda: sdk.sent)
    assert sdk.sent == [{"echo": None}]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{", b"plain text"])
def test_a_message_of_protobuf_that_is_not_json_is_the_clients_fault(data: bytes) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=PROTOBUF).connected()
        sdk.frame({"send": {"data": data}}, {"send": {"data": 1}})
        await until(lambda: len(sdk.sent) == 2)
        assert (sdk.sent[0]["type"], sdk.sent[0]["code"]) in {("error", "invalid_json"), ("error", "unexpected_binary")}
        assert sdk.consumer.received == [1]
        assert (service.hub.counters.handler_errors, service.hub.counters.client_errors) == (0, 1)
        await service.stop()

    run(main())


class Texts(AsyncWebsocketConsumer):
    """Takes text and bytes, and sends them back."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []
        self.failures: list[Exception] = []

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send it back, or remember why that is not possible."""
        self.received.append(text_data if text_data is not None else bytes_data)
        try:
            await self.send(text_data=text_data, bytes_data=bytes_data)
        except NotEncodable as error:
            self.failures.append(error)


@with_service
async def test_a_consumer_of_text_gets_json_and_sends_json(service: Service) -> None:
    sdk = await Sdk(service, Texts()).connected()
    sdk.frame({"send": {"data": {"a": 1}}}, {"send": {"data": "text"}})
    await until(lambda: len(sdk.sent) == 2)
    assert sdk.consumer.received == ['{"a": 1}', '"text"']
    assert sdk.sent == [{"a": 1}, "text"]


@pytest.mark.parametrize("text", ["hello", "", "{", "{} {}", "[" * 100_000, "NaN"])
def test_text_that_is_not_json_never_reaches_a_json_client(text: str) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, Texts()).connected()
        with pytest.raises(NotEncodable, match="JSON"):
            await sdk.consumer.send(text_data=text)
        await sdk.consumer.send(text_data='{\n "a":\n 1}')
        await until(lambda: sdk.sent)
        assert sdk.sent == [{"a": 1}]
        with pytest.raises(NotEncodable, match="JSON"):
            await sdk.consumer.send(bytes_data=b"\x00")
        await service.stop()

    run(main())


@with_service
async def test_a_consumer_of_text_and_bytes_on_protobuf(service: Service) -> None:
    sdk = await Sdk(service, Texts(), encoding=PROTOBUF).connected()
    sdk.frame({"send": {"data": b"plain text"}}, {"send": {"data": b"\xff\xfe"}})
    await until(lambda: len(sdk.sent) == 2)
    assert sdk.consumer.received == ["plain text", b"\xff\xfe"]
    assert sdk.sent == [b"plain text", b"\xff\xfe"]


# presence, refresh and the others


def test_what_is_not_offered_is_refused(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        await sdk.subscribed("open")
        assert await sdk.ask("ping") == NOT_AVAILABLE
        assert sdk.connection.state is State.OPEN
        await service.stop()

    run(main())


# Frames


class Failing(Echo):
    """Fails in the way that the message names."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.received.append(content)
        ways = {
            "client": ClientError("odd", "odd"),
            "limit": LimitExceeded("too many"),
            "away": EngineUnavailable("it is away"),
            "stop": StopConsumer(),
            "wrong": LookupError("wrong"),
            "cancelled": asyncio.CancelledError(),
        }
        await asyncio.sleep(0)
        if content in ways:
            raise ways[content]


def lone_send(encoding: Encoding, data: bytes) -> bytes:
    """Return a frame that is one ``send``, as an SDK writes it."""
    if encoding is JSON:
        return b'{"send":{"data":%b}}' % data
    return reference.delimited([reference.command_of(0, commands.Send(data))])


async def what_becomes_of(
    encoding: Encoding, messages: list[bytes], caplog: pytest.LogCaptureFixture
) -> tuple[Any, ...]:
    """Return all that can be seen of messages that come one by one, each in a frame of its own."""
    caplog.clear()
    service = await Service.start()
    sdk = await Sdk(service, Failing(), encoding=encoding).connected()
    for message in messages:
        sdk.raw(lone_send(encoding, message))
    await settled(200)
    is_open = sdk.connection.state is State.OPEN
    if is_open:
        assert await sdk.ask("ping") == NOT_AVAILABLE
    seen = sdk.consumer.received, asdict(service.hub.counters), is_open, sdk.closed, len(sdk.replies), sdk.sent
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    await service.stop()
    return *seen, logged


@pytest.mark.parametrize(
    "messages",
    [
        [b'"client"', b"1"],
        [b'"limit"', b"1"],
        [b'"away"', b"1"],
        [b'"wrong"', b"1"],
        [b'"cancelled"', b"1"],
        [b"1", b'"stop"', b"2"],
        [b"1", b"2"] * 200,
        ['"ÄÖÜ 🎶"'.encode()],
        [b"[" * 100 + b"]" * 100, b"1"],
        [b"\xff", b"1"],
    ],
    ids=lambda messages: messages[0][:20].decode("latin-1"),
)
def test_a_message_alone_in_its_frame_is_treated_as_one_among_others(
    messages: list[bytes], encoding: Encoding, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        short = await what_becomes_of(encoding, messages, caplog)
        monkeypatch.setattr(encoding, "sent", lambda payload: None)
        assert await what_becomes_of(encoding, messages, caplog) == short

    run(main())


def test_a_message_alone_in_its_frame_is_not_read_as_a_frame(
    encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        monkeypatch.setattr(encoding, "decode_frame", None)
        sdk.raw(lone_send(encoding, b"1"))
        await until(lambda: sdk.consumer.received == [1])
        monkeypatch.undo()
        await service.stop()

    run(main())


def test_a_frame_of_ten_thousand_commands_is_handled_in_order(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, Calculator(), encoding=encoding).connected()
        sdk.frame(*({"rpc": {"method": "echo", "data": number}, "id": number + 2} for number in range(10_000)))
        await until(lambda: sdk.consumer.last == 9_999)
        await settled()
        assert [reply["id"] for reply in sdk.replies] == list(range(1, 10_002))
        assert sdk.replies[10_000]["rpc"] == {"data": 9_999}
        await service.stop()

    run(main())


@with_service
async def test_a_frame_of_more_is_the_end_behind_ten_thousand(service: Service) -> None:
    sdk = await Sdk(service).connected()
    sdk.raw(b"\n".join([b'{"send":{"data":1}}'] * 10_001))
    code, reason = await sdk.over()
    assert (code, reason) == (wire.CLOSE_BAD_REQUEST, "the frame has more than 10000 commands")
    assert len(sdk.consumer.received) == 10_000


async def most_in_one_round(sdk: Sdk, number: int) -> int:
    """Return how many messages reached the consumer in one round of the loop at most, until ``number`` have."""
    received, most, before = sdk.consumer.received, 0, 0
    for _ in range(number * 10):
        await asyncio.sleep(0)
        most, before = max(most, len(received) - before), len(received)
    assert len(received) == number
    return most


def test_a_frame_of_many_commands_lets_others_have_turns_in_between(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        sdk.frame(*({"send": {"data": number}} for number in range(1000)))
        assert await most_in_one_round(sdk, 1000) <= COMMANDS_PER_TURN
        assert sdk.consumer.received == list(range(1000))
        await service.stop()

    run(main())


@with_service
async def test_large_commands_let_others_have_turns_sooner(service: Service) -> None:
    sdk = await Sdk(service).connected()
    large = "x" * (BYTES_PER_TURN // 4)
    sdk.frame(*({"send": {"data": large}} for _ in range(16)))
    assert await most_in_one_round(sdk, 16) <= 4


@with_service
async def test_frames_that_waited_let_others_have_turns_as_well(service: Service) -> None:
    gate = asyncio.Event()

    class Slow(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await gate.wait()
            self.received.append(content)

    sdk = await Sdk(service, Slow()).connected()
    for number in range(0, 1000, 10):
        sdk.frame(*({"send": {"data": each}} for each in range(number, number + 10)))
    await until(lambda: len(sdk.connection.mailbox) == 99)
    gate.set()
    assert await most_in_one_round(sdk, 1000) <= COMMANDS_PER_TURN
    assert sdk.consumer.received == list(range(1000))


def test_what_a_client_said_before_it_left_is_handled_and_what_it_asked_for_is_not(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        listener = await Sdk(service).connected()
        await listener.subscribed("open")
        sdk.frame(*({"send": {"data": number}} for number in range(100)))
        sdk.frame({"subscribe": {"channel": "kept"}, "id": 90}, {"publish": {"channel": "open", "data": 1}, "id": 91})
        sdk.outside(sdk.connection.lost, 1001)
        await sdk.task
        assert sdk.consumer.received == list(range(100))
        assert sdk.consumer.disconnects == [1001]
        assert list(service.hub.groups) == ["open"]
        await until(lambda: listener.published("open"))
        await service.stop()

    run(main())


@with_service
async def test_when_the_server_closes_the_rest_of_the_frame_is_not_handled(service: Service) -> None:
    class Closing(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            self.received.append(content)
            if content == 40:
                await self.close()

    sdk = await Sdk(service, Closing()).connected()
    sdk.frame(*({"send": {"data": number}} for number in range(100)))
    await sdk.over()
    assert sdk.consumer.received == list(range(41))


def test_what_stands_behind_connect_is_not_read_before_it_is_accepted() -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = Sdk(service)
        sdk.raw(b'{"connect":{},"id":1}\n{"send":{"data":1}}\nrubbish')
        assert (await sdk.over())[0] == wire.CLOSE_BAD_REQUEST
        assert sdk.answers[1]["connect"]
        assert sdk.consumer.received == [1]

    run(main())


def test_a_command_over_64_kib_is_107_and_the_rest_of_its_frame_is_handled(encoding: Encoding) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, encoding=encoding).connected()
        await sdk.subscribed("open")
        big = "x" * (64 * 1024)
        sdk.frame(
            {"publish": {"channel": "open", "data": 1}, "id": 10},
            {"publish": {"channel": "open", "data": big}, "id": 11},
            {"publish": {"channel": "open", "data": 2}, "id": 12},
            {"send": {"data": big}},
            {"publish": {"channel": "open", "data": big}, "id": 13},
            {"publish": {"channel": "open", "data": 3}, "id": 14},
        )
        await until(lambda: 14 in sdk.answers)
        for number in (11, 13):
            assert sdk.answers[number]["error"]["code"] == wire.ERROR_BAD_REQUEST
            assert "65536" in sdk.answers[number]["error"]["message"]
        assert sdk.published("open") == [1, 2, 3]
        assert sdk.consumer.received == []
        assert service.hub.counters.client_errors == 3
        sdk.frame({"publish": {"channel": "open", "data": big}, "id": 15})
        await until(lambda: 15 in sdk.answers)
        await service.stop()

    run(main())


@with_service
async def test_trap_1_a_thousand_subscriptions_in_one_frame(service: Service) -> None:
    service.app.config = service.app.config.__class__(rules=service.app.config.rules, groups_per_connection=2000)
    service.hub._groups_per_connection = 2000
    sdk = await Sdk(service).connected()
    names = [f"kept:{'x' * 20}:{number:04}" for number in range(1000)]
    for name in names:
        await service.publish(name, 1, 2)
    frame = sdk.encode(
        *(
            {"subscribe": {"channel": name, "recover": True, "offset": 1, "flag": 1}, "id": number}
            for number, name in enumerate(names, 2)
        )
    )
    assert len(frame) > 64 * 1024
    sdk.raw(frame)
    await until(lambda: len(sdk.answers) == 1001)
    answers = sdk.answers
    results = [answers[number]["subscribe"] for number in range(2, 1002)]
    assert all(result["recovered"] and result["offset"] == 1 for result in results)
    assert all([each["data"] for each in result["publications"]] == [2] for result in results)


# Synchronous consumers


class Sync(JsonWebsocketConsumer):
    """A consumer whose handlers run in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Send it back."""
        self.send_json({"echo": content})

    @rpc
    def add(self, content: Any) -> Any:
        """Add two numbers."""
        return content["a"] + content["b"]

    @rpc
    def fail(self, content: Any) -> Any:
        """Raise."""
        raise ClientError("no", "no") if content else LookupError("the application is wrong")

    def on_subscribe(self, request: SubscribeRequest) -> Any:
        """Let in whom it likes."""
        return request.content == "please"

    def on_publish(self, request: PublishRequest) -> Any:
        """Shout."""
        return request.content.upper()


class SyncTexts(WebsocketConsumer):
    """The same for text."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send it back."""
        self.send(text_data=text_data, bytes_data=bytes_data)


async def _synchronously(consumer: Consumer, test: Callable[[Service, Sdk], Coroutine[Any, Any, None]]) -> None:
    service = await Service.start()
    sdk = Sdk(service, consumer)
    async with asyncio.timeout(20):
        sdk.frame({"connect": {}, "id": next(sdk.ids)})
        await _soon(lambda: sdk.answers)
        await test(service, sdk)
        await service.stop()


async def _soon(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_synchronous_hooks_and_rpc(caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service, sdk: Sdk) -> None:
        sdk.frame(
            {"rpc": {"method": "add", "data": {"a": 1, "b": 2}}, "id": 10},
            {"rpc": {"method": "fail", "data": True}, "id": 11},
            {"rpc": {"method": "fail"}, "id": 12},
            {"rpc": {"method": "receive_json"}, "id": 13},
            {"subscribe": {"channel": "open"}, "id": 14},
            {"subscribe": {"channel": "secret", "data": "please"}, "id": 15},
            {"publish": {"channel": "secret", "data": "hello"}, "id": 16},
            {"send": {"data": 1}},
            {"rpc": {"method": "add", "data": {"a": 3, "b": 4}}, "id": 17},
        )
        await _soon(lambda: 17 in sdk.answers and sdk.sent)
        assert sdk.answers[10]["rpc"] == {"data": 3}
        assert [sdk.answers[number]["error"]["code"] for number in range(11, 15)] == [400, 100, 104, 103]
        assert sdk.answers[15]["subscribe"] == {}
        assert sdk.answers[16]["publish"] == {}
        assert sdk.published("secret") == ["HELLO"]
        assert sdk.sent == [{"echo": 1}]
        assert [reply["id"] for reply in sdk.replies if "id" in reply] == [1, *range(10, 18)]

    await _synchronously(Sync(), test)
    assert "the application is wrong" in caplog.text


async def test_synchronous_text() -> None:
    async def test(service: Service, sdk: Sdk) -> None:
        sdk.frame({"send": {"data": {"a": 1}}})
        await _soon(lambda: sdk.sent)
        assert sdk.sent == [{"a": 1}]

    await _synchronously(SyncTexts(), test)


async def test_a_synchronous_hook_that_is_async_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Mixed(JsonWebsocketConsumer):
        async def on_subscribe(self, request: SubscribeRequest) -> Any:
            return True

    async def test(service: Service, sdk: Sdk) -> None:
        sdk.frame({"subscribe": {"channel": "open"}, "id": 9})
        await _soon(lambda: 9 in sdk.answers)
        assert sdk.answers[9]["error"]["code"] == wire.ERROR_INTERNAL

    await _synchronously(Mixed(), test)
    assert "is async" in caplog.text


async def _away(*arguments: Any, **options: Any) -> Any:
    raise EngineUnavailable("it is away")


@on_jumping_loop
async def test_a_command_that_the_engine_can_not_do_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    service = await Service.start()
    sdk = await Sdk(service).connected()
    monkeypatch.setattr(service.hub.engine, "publish", _away)
    monkeypatch.setattr(service.hub.engine, "subscribe", _away)
    internal = wire.ERRORS[wire.ERROR_INTERNAL]
    assert await sdk.ask("publish", channel="open", data=1) == (internal.code, internal.message)
    assert await sdk.ask("subscribe", channel="kept") == (internal.code, internal.message)
    assert (service.hub.counters.turns_unavailable, service.hub.counters.handler_errors) == (2, 0)
    assert sdk.closed is None
    await service.stop()


@on_jumping_loop
async def test_where_a_group_keeps_nothing_a_loss_of_continuity_makes_its_clients_subscribe_anew() -> None:
    service = await Service.start()
    sdk = await Sdk(service).connected()
    await sdk.subscribed("open")
    service.hub.on_continuity_lost()
    await until(lambda: sdk.pushes)
    (push,) = sdk.pushes
    assert (push["channel"], push["unsubscribe"]["code"]) == ("open", wire.UNSUBSCRIBE_INSUFFICIENT_STATE)
    assert "was_recovering" not in await sdk.subscribed("open")
    await service.stop()


@on_jumping_loop
async def test_a_consumer_knows_the_key_that_a_client_publishes_by() -> None:
    class Careful(Echo):
        keys: list[str] = []

        async def on_publish(self, request: PublishRequest) -> Any:
            self.keys.append(request.key)
            return request.content

    service = await Service.start()
    sdk = await Sdk(service, Careful(), scope={"user": "ann"}).connected()
    await sdk.ask("publish", channel="open", data=1)
    await sdk.ask("rpc", method="antiphon.publish", data={"channel": "open", "data": 1, "key": "mine"})
    assert Careful.keys == ["", "mine"]
    await service.stop()
