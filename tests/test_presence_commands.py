"""Presence on the Centrifuge wire: who may ask, what everybody is told, and in which order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from antiphon import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer, Permission
from antiphon.consumer import Consumer
from antiphon.exceptions import ClientError
from antiphon.tokens import connection_token, subscription_token
from antiphon.types import ClientInfo, PresenceRequest, SubscribeRequest
from antiphon.wire.centrifuge import codes as wire
from antiphon.wire.centrifuge.commands import REJECT_UNRECOVERED
from antiphon.wire.centrifuge.encoding import JSON, PROTOBUF, Encoding

from .centrifugal import Echo, Sdk, Service
from .fakes import Client, FakeConsumer, run, settled, until
from .forge import SECRET, token

DENIED = (wire.ERROR_PERMISSION_DENIED, "permission denied")
NOT_AVAILABLE = (wire.ERROR_NOT_AVAILABLE, "not available")

RULES: dict[str, Any] = {
    "told*": {"subscribe": "allow", "publish": "allow", "presence": "members", "join_leave": True},
    "seen*": {"subscribe": "allow", "publish": "allow", "presence": "members"},
    "kept*": {"subscribe": "allow", "presence": "members", "join_leave": True, "history_size": 10},
    "hidden*": {"subscribe": "allow", "presence": "kept"},
    "open*": {"subscribe": "allow"},
}


@pytest.fixture(params=[JSON, PROTOBUF], ids=lambda encoding: encoding.NAME)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    found: Encoding = request.param
    return found


def served(test: Callable[[Service], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a test of a service, which is stopped then; nobody may be left in any group."""

    async def main() -> None:
        service = await Service.start(**{"rules": RULES, "ping_interval": 0, **options})
        await test(service)
        await service.stop()
        hub = service.hub
        assert list(hub.engine._roster) == []  # type: ignore[attr-defined]
        assert (hub.control._by_client, hub.control._by_user, hub.control._joining) == ({}, {}, {})

    run(main())


async def connected(
    service: Service, user: str = "", encoding: Encoding = JSON, consumer: Consumer | None = None, **connect: Any
) -> Sdk:
    sdk = Sdk(service, consumer, encoding=encoding, scope={"user": user} if user else None)
    return await sdk.connected(**connect)


def told(sdk: Sdk, group: str) -> list[Any]:
    """What a client was told of a group, in order: its answers are not among it."""
    return [told_of(push) for push in sdk.pushes if push.get("channel") == group]


def told_of(push: dict[str, Any]) -> str:
    kind = next(name for name in push if name != "channel")
    if kind in ("join", "leave"):
        return f"{'+' if kind == 'join' else '-'}{push[kind]['info'].get('user', '')}"
    return f"pub {push['pub']['data']}" if kind == "pub" else kind


def info_of(sdk: Sdk, **more: Any) -> dict[str, Any]:
    """What others see of a client, as it stands in replies and pushes."""
    found = {"user": sdk.connection.user_id, "client": sdk.connection.client}
    if sdk.encoding is PROTOBUF:
        found = {name: value for name, value in found.items() if value}
        more = {name: compact(value) for name, value in more.items()}
    return {**found, **more}


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# presence and presence_stats


def test_who_is_in_a_group_may_ask_who_else_is(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        ann = await connected(service, "ann", encoding)
        tabs = [await connected(service, "bob", encoding) for _ in range(2)]
        for sdk in (ann, *tabs):
            await sdk.subscribed("seen")
        answer = await ann.ask("presence", channel="seen")
        assert answer == {"presence": {sdk.connection.client: info_of(sdk) for sdk in (ann, *tabs)}}
        assert await ann.ask("presence_stats", channel="seen") == {"num_clients": 3, "num_users": 2}
        await tabs[0].ask("unsubscribe", channel="seen")
        await tabs[1].leave()
        assert await ann.ask("presence_stats", channel="seen") == {"num_clients": 1, "num_users": 1}
        assert told(ann, "seen") == []

    served(main)


def test_nobodies_are_one_user(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdks = [await connected(service, encoding=encoding) for _ in range(3)]
        for sdk in sdks:
            await sdk.subscribed("seen")
        assert await sdks[0].ask("presence_stats", channel="seen") == {"num_clients": 3, "num_users": 1}
        answer = await sdks[0].ask("presence", channel="seen")
        assert answer["presence"][sdks[1].connection.client] == info_of(sdks[1])

    served(main)


@pytest.mark.parametrize("method", ["presence", "presence_stats"])
def test_who_may_not_ask_is_refused(method: str, encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding)
        for group in ("hidden", "open"):
            await sdk.subscribed(group)
        assert await sdk.ask(method, channel="seen") == DENIED
        assert await sdk.ask(method, channel="hidden") == DENIED
        assert await sdk.ask(method, channel="open") == NOT_AVAILABLE
        assert await sdk.ask(method, channel="nothing") == NOT_AVAILABLE
        assert (await sdk.ask(method, channel="bad\n"))[0] == wire.ERROR_BAD_REQUEST
        await sdk.subscribed("seen")
        assert isinstance(await sdk.ask(method, channel="seen"), dict)
        await sdk.ask("unsubscribe", channel="seen")
        assert await sdk.ask(method, channel="seen") == DENIED

    served(main)


def test_who_was_put_into_a_group_by_the_server_may_ask_too(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding)
        await sdk.connection.join("seen")
        assert await sdk.ask("presence_stats", channel="seen") == {"num_clients": 1, "num_users": 1}
        sdk.connection.leave("seen")
        assert await sdk.ask("presence_stats", channel="seen") == DENIED

    served(main)


class Guarded(Echo):
    """Asks for a word."""

    async def on_presence(self, request: PresenceRequest) -> bool:
        if request.group == "seen:why":
            raise ClientError(777, "not today")
        return request.group.endswith("please")


@pytest.mark.parametrize("method", ["presence", "presence_stats"])
def test_a_hook_decides_in_place_of_the_rule_where_presence_is_noted(method: str, encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding, Guarded())
        assert await sdk.ask(method, channel="seen:please") == DENIED, "it is not in the group"
        for group in ("seen", "seen:please", "seen:why", "hidden", "hidden:please", "open:please"):
            await sdk.subscribed(group)
        assert [isinstance(await sdk.ask(method, channel=f"{group}:please"), dict) for group in ("seen", "hidden")] == [
            True,
            True,
        ]
        assert [await sdk.ask(method, channel=group) for group in ("seen", "hidden")] == [DENIED] * 2
        assert await sdk.ask(method, channel="open:please") == NOT_AVAILABLE
        assert await sdk.ask(method, channel="seen:why") == (777, "not today")

    served(main)


def test_the_application_may_ask_where_the_rule_keeps_it_to_itself() -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann")
        await sdk.subscribed("hidden")
        assert await service.app.layer.presence("hidden") == {sdk.connection.client: sdk.connection.info}

    served(main)


def test_an_engine_that_is_away_is_error_100_and_the_connection_lives(
    encoding: Encoding, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(service: Service) -> None:
        async def presence(group: str) -> Any:
            raise ConnectionError("the engine is away")

        sdk = await connected(service, "ann", encoding)
        await sdk.subscribed("seen")
        service.hub.engine.presence = presence  # type: ignore[method-assign]
        assert (await sdk.ask("presence", channel="seen"))[0] == wire.ERROR_INTERNAL
        assert "exception in presence()" in caplog.text
        assert sdk.closed is None

    served(main)


# Joins and leaves, in their order


class Late(Echo):
    """Has a handler: publications behind its event wait for the tick."""

    async def note(self, event: dict[str, Any]) -> None:
        """Do nothing."""


def test_members_are_told_who_comes_and_goes(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        ann, bob = await connected(service, "ann", encoding), await connected(service, "bob", encoding)
        await ann.subscribed("told")
        await until(lambda: ann.pushes)
        await bob.subscribed("told")
        await until(lambda: bob.pushes)
        who = info_of(bob)
        await bob.ask("unsubscribe", channel="told")
        await bob.subscribed("told")
        await settled()
        await bob.leave()
        await settled()
        assert told(ann, "told") == ["+ann", "+bob", "-bob", "+bob", "-bob"]
        assert ann.pushes[1] == {"channel": "told", "join": {"info": who}}
        assert ann.pushes[2] == {"channel": "told", "leave": {"info": who}}

    served(main)


@pytest.mark.parametrize("group", ["told", "kept"])
def test_the_joiner_gets_its_own_join_behind_the_answer_to_subscribe(group: str, encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding)
        await service.publish(group, 1)
        sdk.frame({"subscribe": {"channel": group}, "id": 7}, {"rpc": {"method": "none"}, "id": 8})
        await until(lambda: sdk.pushes)
        await settled()
        kinds = [reply.get("id") or told_of(reply["push"]) for reply in sdk.replies]
        assert kinds in ([1, 7, "+ann", 8], [1, 7, 8, "+ann"])
        assert sdk.pushes == [{"channel": group, "join": {"info": info_of(sdk)}}]

    served(main)


def test_what_waits_in_the_backlog_does_not_overtake_the_answer(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        ann, bob = await connected(service, "ann", encoding, Late()), await connected(service, "bob", encoding, Late())
        await ann.subscribed("told")
        await settled()
        await service.app.layer.group_send("told", {"type": "note"})
        await service.publish("told", 1)
        bob.frame({"subscribe": {"channel": "told"}, "id": 7})
        await service.publish("told", 2)
        await until(lambda: 7 in bob.answers)
        await settled()
        assert told(ann, "told") == ["+ann", "pub 1", "pub 2", "+bob"]
        assert [reply.get("id") for reply in bob.replies][:2] == [1, 7]
        assert told(bob, "told")[-1] == "+bob"

    served(main)


def test_who_was_in_connect_is_told_behind_the_answer_to_connect(encoding: Encoding) -> None:
    class Early(Echo):
        groups = ("told", "kept")

        async def connect(self) -> None:
            await self.channel_layer.group_add("told:2", self.channel_name)
            await self.channel_layer.publish("told:2", 1)
            await self.accept()

    async def main(service: Service) -> None:
        other = await connected(service, "bob", encoding)
        await other.subscribed("told:2")
        await settled()
        sdk = await connected(service, "ann", encoding, Early())
        await settled()
        assert set(sdk.answers[1]["connect"]["subs"]) == {"told", "kept", "told:2"}
        assert sdk.replies[0]["id"] == 1
        assert [told(sdk, group) for group in ("told", "kept", "told:2")] == [["+ann"], ["+ann"], ["pub 1", "+ann"]]
        assert told(other, "told:2") == ["+bob", "pub 1", "+ann"]

    served(main)


def test_who_is_refused_was_never_there(encoding: Encoding) -> None:
    class Refusing(Echo):
        groups = ("told",)

        async def connect(self) -> None:
            await asyncio.sleep(1)
            await self.close()

    async def main(service: Service) -> None:
        ann = await connected(service, "ann", encoding)
        await ann.subscribed("told")
        await settled()
        bob = Sdk(service, Refusing(), encoding=encoding, scope={"user": "bob"})
        bob.frame({"connect": {}, "id": 1})
        await until(lambda: service.hub.members("told") == 2)
        assert await ann.ask("presence_stats", channel="told") == {"num_clients": 1, "num_users": 1}
        await bob.over()
        await settled()
        assert told(ann, "told") == ["+ann"]

    served(main)


def test_who_is_put_in_by_the_server_hears_its_join_behind_the_news(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding)
        for group in ("told", "kept"):
            await sdk.connection.join(group)
            await settled()
            assert told(sdk, group) == ["subscribe", "+ann"]
            sdk.connection.leave(group)
            await settled()
            assert told(sdk, group) == ["subscribe", "+ann", "unsubscribe"]

    served(main)


@pytest.mark.parametrize("group", ["told", "kept"])
def test_what_waits_does_not_overtake_the_news_of_a_subscription_of_the_server(group: str, encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        ann, bob = await connected(service, "ann", encoding, Late()), await connected(service, "bob", encoding, Late())
        await bob.subscribed(group)
        await settled()
        await service.app.layer.group_send(group, {"type": "note"})
        await service.publish(group, 1)  # waits behind the event
        await ann.connection.join(group)
        await service.publish(group, 2)
        await settled()
        heard = told(ann, group)
        assert heard[0] == "subscribe"
        assert heard[-2:] in (["pub 2", "+ann"], ["+ann", "pub 2"])
        assert told(bob, group)[-3:] in (["pub 1", "+ann", "pub 2"], ["pub 1", "pub 2", "+ann"])

    served(main)


def test_a_join_that_waits_makes_nobody_hear_of_its_own_too_early(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        ann, bob = await connected(service, "ann", encoding), await connected(service, "bob", encoding)
        await ann.subscribed("told:1")
        await settled()
        await bob.connection.join("told:2")  # its join waits for the tick
        await service.publish("told:1", 1)  # behind it
        await ann.connection.join("told:2")
        await settled()
        assert told(ann, "told:2")[0] == "subscribe"
        assert told(bob, "told:2") == ["subscribe", "+bob", "+ann"]

    served(main)


@pytest.mark.parametrize("how", ["unsubscribe", "left", "kicked", "closed", "taken out"])
def test_however_a_member_goes_the_others_are_told(how: str, encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        ann, bob = await connected(service, "ann", encoding), await connected(service, "bob", encoding)
        await ann.subscribed("told")
        await bob.subscribed("told")
        await settled()
        if how == "unsubscribe":
            await bob.ask("unsubscribe", channel="told")
        elif how == "left":
            await bob.leave()
        elif how == "kicked":
            await service.app.layer.kick("bob")
        elif how == "closed":
            await bob.consumer.close()
        else:
            await service.app.layer.unsubscribe("told", "bob")
        await settled()
        assert told(ann, "told") == ["+ann", "+bob", "-bob"]
        assert told(bob, "told") == (["+bob", "unsubscribe"] if how == "taken out" else ["+bob"])
        assert await ann.ask("presence_stats", channel="told") == {"num_clients": 1, "num_users": 1}

    served(main)


def test_plain_members_and_those_of_this_wire_are_in_one_group(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding)
        await sdk.subscribed("told")
        scope = {"type": "websocket", "path": "/", "user": "bob"}
        plain = await Client(service.hub, FakeConsumer(), scope=scope).opened()
        await service.hub.join("told", plain.connection)
        await settled()
        answer = await sdk.ask("presence", channel="told")
        assert set(answer["presence"]) == {sdk.connection.client, plain.connection.client}
        assert answer["presence"][plain.connection.client]["user"] == "bob"
        await service.publish("told", 1)
        await settled()
        await plain.leave()
        await settled()
        assert told(sdk, "told") == ["+ann", "+bob", "pub 1", "-bob"]
        assert plain.messages == ["1"]

    served(main)


def test_a_subscription_that_is_refused_for_what_is_lost_leaves_nobody_behind() -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann")
        await service.publish("kept", 1)
        lost = {"channel": "kept", "recover": True, "epoch": "other", "offset": 1, "flag": REJECT_UNRECOVERED}
        watcher = await connected(service, "bob")
        await watcher.subscribed("kept")
        assert (await sdk.ask("subscribe", **lost))[0] == wire.ERROR_UNRECOVERABLE_POSITION
        await settled()
        assert list(await service.app.layer.presence("kept")) == [watcher.connection.client]
        assert sdk.pushes == []
        assert told(watcher, "kept") == ["+bob"], "the others are not told of who was not let in"

    served(main)


def test_a_member_in_many_groups_is_told_of_each_by_its_name(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        ann, bob = await connected(service, "ann", encoding), await connected(service, "bob", encoding)
        for sdk in (ann, bob):
            for number in range(3):
                await sdk.subscribed(f"told:{number}")
        await bob.leave()
        await settled()
        assert [told(ann, f"told:{number}") for number in range(3)] == [["+ann", "+bob", "-bob"]] * 3

    served(main)


# What others see of a client


class Named(Echo):
    """Says who its client is, and what it may have."""

    async def connect(self) -> None:
        self.client_info = {"name": "Ann"}
        await self.accept()

    async def on_subscribe(self, request: SubscribeRequest) -> Any:
        if request.group == "told:odd":
            return Permission(info=object())
        if request.group == "told:no":
            return None
        if request.group == "told:why":
            raise ClientError(777, "not today")
        return Permission(info={"role": request.content}, content=["welcome"]) if request.content else True


def test_client_info_and_permission_are_seen_wherever_the_client_is(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        watcher = await connected(service, "bob", encoding)
        await watcher.subscribed("told")
        await settled()
        sdk = await connected(service, "ann", encoding, Named())
        answer = await sdk.subscribed("told", data="admin")
        await settled()
        who = info_of(sdk, conn_info={"name": "Ann"}, chan_info={"role": "admin"})
        assert answer["data"] == ["welcome"]
        assert watcher.pushes[-1] == {"channel": "told", "join": {"info": who}}
        assert (await watcher.ask("presence", channel="told"))["presence"][sdk.connection.client] == who
        await sdk.ask("publish", channel="told", data=1)
        await settled()
        assert watcher.pushes[-1] == {"channel": "told", "pub": {"data": 1, "info": who}}
        await sdk.leave()
        await settled()
        assert watcher.pushes[-1] == {"channel": "told", "leave": {"info": who}}

    served(main)


def test_what_was_said_of_one_subscription_is_not_seen_in_another(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding, Named())
        await sdk.subscribed("told:1", data="admin")
        answer = await sdk.subscribed("told:2")
        await sdk.ask("unsubscribe", channel="told:1")
        assert "data" not in answer
        again = await sdk.subscribed("told:1")
        assert "data" not in again
        await settled()
        joins = [push["join"]["info"] for push in sdk.pushes if "join" in push]
        assert ["chan_info" in info for info in joins] == [True, False, False]

    served(main)


def test_a_refused_subscription_leaves_nothing_of_its_permission(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding, Named())
        assert await sdk.ask("subscribe", channel="told:no") == DENIED
        assert await sdk.ask("subscribe", channel="told:why") == (777, "not today")
        assert (await sdk.ask("subscribe", channel="told:odd"))[0] == wire.ERROR_INTERNAL
        await sdk.subscribed("told:1")
        assert (await sdk.ask("subscribe", channel="told:2", data="x"))[0] == wire.ERROR_LIMIT_EXCEEDED
        assert list(service.hub.groups) == ["told:1"]
        assert sdk.connection._commands._grants == {}

    served(main, groups_per_connection=1)


def test_in_a_consumer_with_a_thread_it_is_the_same(encoding: Encoding) -> None:
    class Synchronous(JsonWebsocketConsumer):
        def connect(self) -> None:
            self.client_info = {"name": "Ann"}
            self.accept()

        def on_subscribe(self, request: SubscribeRequest) -> Any:
            return Permission(info="here", content=request.group)

    async def main() -> None:
        service = await Service.start(rules=RULES, ping_interval=0)
        sdk = Sdk(service, Synchronous(), encoding=encoding, scope={"user": "ann"})
        await sdk.connected()
        assert (await sdk.subscribed("told"))["data"] == "told"
        await settled()
        info = sdk.pushes[-1]["join"]["info"]
        assert info == info_of(sdk, conn_info={"name": "Ann"}, chan_info="here")
        await service.stop()

    asyncio.run(main())


def test_who_says_of_itself_what_is_no_json_is_subscribed_and_not_seen(
    encoding: Encoding, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Echo):
        client_info = object()

    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding, Odd())
        await sdk.subscribed("told")
        await service.publish("told", 1)
        await settled()
        assert told(sdk, "told") == ["pub 1"]
        assert await sdk.ask("presence_stats", channel="told") in ({"num_clients": 0, "num_users": 0}, {})
        assert "exception in client_info()" in caplog.text

    served(main)


# Tokens


def test_what_a_connection_token_says_is_seen_unless_the_consumer_says_more(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        shown = connection_token("ann", key=SECRET, info={"from": "token"})
        first = await connected(service, "bob", encoding, token=shown)
        second = await connected(service, "bob", encoding, Named(), token=shown)
        await first.subscribed("told")
        await second.subscribed("told")
        answer = await first.ask("presence", channel="told")
        assert answer["presence"] == {
            first.connection.client: info_of(first, conn_info={"from": "token"}),
            second.connection.client: info_of(second, conn_info={"name": "Ann"}),
        }
        assert first.connection.user_id == "ann"

    served(main, token_secrets=[SECRET])


def test_what_a_new_token_says_takes_the_place_of_the_old(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        shown = connection_token("ann", key=SECRET, info={"v": 1}, expires_in=60)
        sdk = await connected(service, encoding=encoding, token=shown)
        await sdk.subscribed("told", token=subscription_token("ann", "told", key=SECRET, info="a", expires_in=60))
        await sdk.ask("refresh", token=connection_token("ann", key=SECRET, info={"v": 2}, expires_in=60))
        new = subscription_token("ann", "told", key=SECRET, info="b", expires_in=60)
        await sdk.ask("sub_refresh", channel="told", token=new)
        answer = await sdk.ask("presence", channel="told")
        who = info_of(sdk, conn_info={"v": 2}, chan_info="b")
        assert answer["presence"] == {sdk.connection.client: who}
        await sdk.ask("publish", channel="told", data=1)
        await settled()
        assert told(sdk, "told") == ["+ann", "pub 1"], "it has not joined a second time"
        assert sdk.pushes[-1]["pub"]["info"] == who

    served(main, token_secrets=[SECRET])


def test_a_subscription_token_says_what_others_and_the_client_see(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding)
        shown = subscription_token("ann", "told", key=SECRET, info={"role": "admin"}, data=[1], expires_in=60)
        answer = await sdk.subscribed("told", token=shown)
        assert (answer["data"], answer["expires"], answer["ttl"] in (59, 60)) == ([1], True, True)
        await settled()
        assert sdk.pushes[-1]["join"]["info"] == info_of(sdk, chan_info={"role": "admin"})
        bare = await sdk.subscribed("told:2", token=subscription_token("ann", "told:2", key=SECRET, expires_in=None))
        assert {"data", "expires", "ttl"} & set(bare) == set()

    served(main, token_secrets=[SECRET])


def overriding(**options: bool) -> dict[str, Any]:
    return {name: {"value": value} for name, value in options.items()}


@pytest.mark.parametrize(
    ("options", "is_seen", "is_told"),
    [
        ({}, True, True),
        ({"presence": False}, False, False),
        ({"join_leave": False}, True, False),
        ({"presence": True, "join_leave": True}, True, True),
        ({"presence": False, "join_leave": True}, False, False),
        ({"force_push_join_leave": False, "force_recovery": False, "force_positioning": False}, True, True),
    ],
)
@pytest.mark.parametrize("kind", ["subscription", "connection"])
def test_a_token_can_have_its_client_left_out(
    options: dict[str, bool], is_seen: bool, is_told: bool, kind: str, encoding: Encoding
) -> None:
    async def main(service: Service) -> None:
        watcher = await connected(service, "bob", encoding)
        await watcher.subscribed("told")
        await settled()
        claims = {"override": overriding(**options)}
        if kind == "subscription":
            sdk = await connected(service, "ann", encoding)
            await sdk.subscribed("told", token=token({"sub": "ann", "channel": "told", **claims}))
        else:
            sdk = await connected(service, encoding=encoding, token=token({"sub": "ann", "subs": {"told": claims}}))
        await settled()
        stats = await watcher.ask("presence_stats", channel="told")
        assert stats == {"num_clients": 1 + is_seen, "num_users": 1 + is_seen}
        await sdk.leave()
        await settled()
        assert told(watcher, "told") == ["+bob", *(["+ann", "-ann"] if is_told else [])]

    served(main, token_secrets=[SECRET])


@pytest.mark.parametrize("kind", ["subscription", "connection"])
def test_a_token_gives_no_more_than_the_rule(kind: str, encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        claims = {"override": overriding(presence=True, join_leave=True, force_push_join_leave=True)}
        for group in ("open", "seen", "hidden"):
            if kind == "subscription":
                sdk = await connected(service, "ann", encoding)
                await sdk.subscribed(group, token=token({"sub": "ann", "channel": group, **claims}))
            else:
                sdk = await connected(service, encoding=encoding, token=token({"sub": "ann", "subs": {group: claims}}))
            await settled()
            assert told(sdk, group) == []
            answer = await sdk.ask("presence", channel=group)
            assert isinstance(answer, dict) == (group == "seen")
            await sdk.leave()

    served(main, token_secrets=[SECRET])


def test_what_a_connection_token_says_of_its_groups_goes_with_them(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        subs = {"told": {"info": {"role": "admin"}, "data": {"hello": 1}}, "seen": {}}
        sdk = Sdk(service, encoding=encoding)
        answer = await sdk.ask("connect", token=token({"sub": "ann", "subs": subs}))
        assert answer["subs"]["told"]["data"] == {"hello": 1}
        assert "data" not in answer["subs"]["seen"]
        await settled()
        assert sdk.pushes == [{"channel": "told", "join": {"info": info_of(sdk, chan_info={"role": "admin"})}}]
        sdk.connection.leave("told")
        await sdk.connection.join("told")
        await settled()
        assert "data" not in sdk.pushes[-2]["subscribe"]
        assert "chan_info" not in sdk.pushes[-1]["join"]["info"], "a token speaks of the groups of connect"

    served(main, token_secrets=[SECRET])


# What an application gives out itself


def test_a_publisher_that_the_application_names_is_seen(encoding: Encoding) -> None:
    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", encoding)
        await sdk.subscribed("told")
        await settled()
        await service.app.layer.publish("told", 1, info=ClientInfo("7", "c", b'{"a":1}', b'{"b":2}'))
        await settled()
        info = sdk.pushes[-1]["pub"]["info"]
        assert (info["user"], info["client"]) == ("7", "c")

    served(main)


def test_a_consumer_tells_its_plain_members_by_itself() -> None:
    class Chat(AsyncJsonWebsocketConsumer):
        groups = ("told",)

        async def connect(self) -> None:
            await self.accept()
            await self.channel_layer.publish("told", {"joined": self.scope["user"]})

    async def main(service: Service) -> None:
        sdk = await connected(service, "ann", consumer=Chat())
        await settled()
        assert told(sdk, "told") == ["+ann", "pub {'joined': 'ann'}"]

    served(main)
