"""Orders that reach connections: whom they are for, and what is done."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.control import Add, Discard, Expire, Join, Kick, Leave, Order, Whom, encode, session_digest
from antiphon.counters import Counters
from antiphon.credentials import GRACE
from antiphon.hub import Hub
from antiphon.lifecycle import State
from antiphon.tokens import connection_token
from antiphon.wire.centrifuge import codes as wire

from .centrifugal import Echo, Sdk, Service
from .fakes import Client, FakeConsumer, SlowEngine, on_jumping_loop, run, settled, start_hub, until

SECRET = "a secret that is long enough for HMAC with SHA-256"
RULES: dict[str, Any] = {"open*": {"subscribe": "allow"}, "kept": {"subscribe": "allow", "history_size": 5}}


def user(pk: object) -> Any:
    return types.SimpleNamespace(pk=pk, is_authenticated=True)


def session(key: str | None) -> Any:
    return types.SimpleNamespace(session_key=key)


async def client_of(hub: Hub, user: Any = None, **scope: Any) -> Client:
    return await Client(hub, scope={"type": "websocket", "path": "/", "user": user, **scope}).opened()


def take(hub: Hub, order: Order) -> None:
    hub.control.take(encode(order))


def found(hub: Hub, whom: Whom) -> set[Any]:
    return set(hub.control.find(whom))


async def all_leave(hub: Hub, *clients: Client) -> None:
    for client in clients:
        if client.connection.state is State.OPEN:
            await client.leave()
    await hub.close()
    assert (hub.control._by_client, hub.control._by_user, hub.control._users) == ({}, {}, {})


# Whom it is for


@on_jumping_loop
async def test_a_user_is_all_of_its_connections() -> None:
    hub = await start_hub()
    seven, also_seven = await client_of(hub, user(7)), await client_of(hub, user(7))
    eight, text, nobody = await client_of(hub, user(8)), await client_of(hub, "ann"), await client_of(hub)
    assert found(hub, Whom("7")) == {seven.connection, also_seven.connection}
    assert found(hub, Whom("8")) == {eight.connection}
    assert found(hub, Whom("ann")) == {text.connection}
    assert found(hub, Whom("9")) == set()
    await seven.leave()
    assert found(hub, Whom("7")) == {also_seven.connection}
    await all_leave(hub, also_seven, eight, text, nobody)


@on_jumping_loop
async def test_a_client_is_one_connection_and_of_another_user_none() -> None:
    hub = await start_hub()
    ann, bob = await client_of(hub, "ann"), await client_of(hub, "bob")
    assert found(hub, Whom(client="")) == set()
    name = ann.connection.client
    assert ann.connection.client == name
    assert found(hub, Whom(client=name)) == {ann.connection}
    assert found(hub, Whom("ann", client=name)) == {ann.connection}
    assert found(hub, Whom("bob", client=name)) == set()
    assert found(hub, Whom(client="another")) == set()
    await all_leave(hub, ann, bob)


@on_jumping_loop
async def test_with_a_session_only_what_was_opened_with_it_is_meant() -> None:
    hub = await start_hub()
    there = await client_of(hub, "ann", session=session("key"))
    elsewhere = await client_of(hub, "ann", session=session("other"))
    without = await client_of(hub, "ann", session=session(None))
    plain = await client_of(hub, "ann")
    assert found(hub, Whom("ann", session=session_digest("key"))) == {there.connection}
    assert found(hub, Whom("bob", session=session_digest("key"))) == set()
    assert found(hub, Whom("ann", there.connection.client, session_digest("key"))) == {there.connection}
    assert found(hub, Whom("ann", there.connection.client, session_digest("other"))) == set()
    await all_leave(hub, there, elsewhere, without, plain)


@on_jumping_loop
async def test_an_order_for_nobody_reaches_nobody() -> None:
    hub = await start_hub()
    clients = [await client_of(hub), await client_of(hub, "ann", session=session("key"))]
    for whom in (Whom(), Whom(session=session_digest("key"))):
        assert found(hub, whom) == set()
        take(hub, Kick(whom))
    assert {client.connection.state for client in clients} == {State.OPEN}
    assert hub.counters.kicked == 0
    await all_leave(hub, *clients)


class Undecided(FakeConsumer):
    """Accepts when the test lets it; or says before that who it really is."""

    def __init__(self, user: str = "") -> None:
        super().__init__()
        self.user = user
        self.gate = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        await self.gate
        if self.user:
            self.connection._scope["user"] = self.user
        await self.connection.accept(None, ())


@on_jumping_loop
async def test_who_is_not_accepted_yet_is_meant_and_who_is_over_is_not() -> None:
    hub = await start_hub()
    consumer = Undecided()
    ann = Client(hub, consumer, scope={"type": "websocket", "path": "/", "user": "ann"})
    await settled()
    assert found(hub, Whom("ann")) == {ann.connection}
    consumer.gate.set_result(None)
    await ann.opened()
    assert found(hub, Whom("ann")) == {ann.connection}
    await ann.leave()
    assert found(hub, Whom("ann")) == set()
    await all_leave(hub)


@on_jumping_loop
async def test_who_it_is_may_be_said_in_connect() -> None:
    hub = await start_hub()
    consumer = Undecided("bob")
    client = Client(hub, consumer, scope={"type": "websocket", "path": "/", "user": "ann"})
    await settled()
    consumer.gate.set_result(None)
    await client.opened()
    assert (found(hub, Whom("ann")), found(hub, Whom("bob"))) == (set(), {client.connection})
    await all_leave(hub, client)


@on_jumping_loop
async def test_who_is_kicked_before_it_is_accepted_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    hub = await start_hub()
    consumer = Undecided()
    ann = Client(hub, consumer, scope={"type": "websocket", "path": "/", "user": "ann"})
    await settled()
    take(hub, Kick(Whom("ann")))
    await ann.task
    assert consumer.gate.cancelled(), "nobody waits for connect() any more"
    assert (ann.transport.verbs("refuse"), ann.transport.verbs("accept")) == ([("refuse", 403)], [])
    assert (hub.counters.kicked, hub.counters.connections_refused, caplog.records) == (1, 1, [])
    await all_leave(hub)


def test_a_session_is_not_named_by_its_key() -> None:
    order = encode(Kick(Whom("ann", session=session_digest("the key"))))
    assert b"the key" not in order
    assert session_digest("the key") == session_digest("the key") != session_digest("the kez")
    assert len(session_digest("")) == 64


@pytest.mark.parametrize(
    "order",
    [
        Kick(Whom("ann")),
        Kick(Whom("ann", "id", "digest"), 4000, "why"),
        Join(Whom(client="id"), "räume"),
        Leave(Whom("ann"), "room"),
        Expire(Whom("ann"), None),
        Expire(Whom("ann"), 1.5),
    ],
)
def test_an_order_is_the_same_when_it_arrives(order: Order) -> None:
    assert msgspec.msgpack.decode(encode(order), type=Order) == order


# What is not understood


GOOD = encode(Kick(Whom("ann", "id"), 3500, "why"))


@given(st.binary(max_size=40) | st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)))
def test_whatever_comes_is_obeyed_or_counted(what: bytes | tuple[int, int]) -> None:
    async def main() -> None:
        hub = await start_hub()
        client = await client_of(hub, "bob")
        hub.control.take(what if isinstance(what, bytes) else GOOD[: what[0]] + bytes([what[1]]) + GOOD[what[0] + 1 :])
        assert hub.counters.orders_refused in (0, 1)
        assert client.connection.state is State.OPEN
        await all_leave(hub, client)

    run(main())


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xc1",
        GOOD[:-1],
        GOOD.replace(b"Kick", b"Sing"),
        GOOD.replace(b"ann", b"a\x80\x80"),
        msgspec.msgpack.encode({"type": "Join", "whom": {"user": "ann"}}),
        msgspec.msgpack.encode({"type": "Expire", "whom": {"user": "ann"}, "at": "soon"}),
    ],
)
def test_an_order_that_is_not_understood_is_counted_and_logged(bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        hub = await start_hub()
        ann = await client_of(hub, "ann")
        hub.control.take(bad)
        assert hub.counters.orders_refused == 1
        assert "an order of another process is not understood (is its version the same?)" in caplog.text
        assert ann.connection.state is State.OPEN
        await all_leave(hub, ann)

    run(main())


# What is done, on the plain wire


@pytest.mark.parametrize(
    ("order", "closing"),
    [
        (Kick(Whom("ann")), (1008, b"disconnected by the server")),
        (Kick(Whom("ann"), 4001, "you have logged out"), (4001, b"you have logged out")),
        (Kick(Whom("ann"), 1012), (1012, b"disconnected by the server")),
        (Kick(Whom("ann"), reason="x" * 200), (1008, b"x" * 123)),
    ],
)
def test_who_is_kicked_is_closed_with_a_code_and_words(order: Kick, closing: tuple[int, bytes]) -> None:
    async def main() -> None:
        hub = await start_hub()
        ann, bob = await client_of(hub, "ann"), await client_of(hub, "bob")
        take(hub, order)
        await ann.task
        assert ann.transport.closings == [("close", *closing)]
        assert ann.consumer.disconnects == [closing[0]]
        assert bob.connection.state is State.OPEN
        assert hub.counters.kicked == 1
        take(hub, order)
        assert hub.counters.kicked == 1
        await all_leave(hub, bob)

    run(main())


@on_jumping_loop
async def test_what_was_sent_before_reaches_the_client_before_it_is_kicked() -> None:
    hub = await start_hub()
    ann = await client_of(hub, "ann")
    await hub.join("room", ann.connection)
    await hub.engine.publish("room", b"1", "")
    await hub.engine.send_control(encode(Kick(Whom("ann"))))
    await hub.engine.publish("room", b"2", "")
    await ann.task
    assert ann.messages == ["1"]
    await all_leave(hub)


@on_jumping_loop
async def test_a_consumer_may_kick_its_own_user_and_itself_with_it() -> None:
    class Leaver(FakeConsumer):
        async def on_text(self, payload: bytes) -> None:
            await hub.engine.send_control(encode(Kick(Whom("ann"))))
            self.received.append(payload)

    hub = await start_hub()
    scope = {"type": "websocket", "path": "/", "user": "ann"}
    one, other = await Client(hub, Leaver(), scope=scope).opened(), await Client(hub, scope=scope).opened()
    one.receive("go")
    await one.task
    await other.task
    assert one.consumer.received == [b"go"]
    assert one.consumer.disconnects == other.consumer.disconnects == [1008]
    await all_leave(hub)


@on_jumping_loop
async def test_members_are_put_in_and_taken_out() -> None:
    hub = await start_hub(rules=RULES)
    ann, bob = await client_of(hub, "ann"), await client_of(hub, "bob")
    take(hub, Join(Whom("ann"), "kept"))
    take(hub, Join(Whom(client=bob.connection.client), "open"))
    await settled()
    assert (hub.members("kept"), hub.members("open")) == (1, 1)
    take(hub, Join(Whom("ann"), "kept"))
    take(hub, Leave(Whom("ann"), "open"))
    take(hub, Leave(Whom("bob"), "open"))
    await settled()
    assert (hub.members("kept"), hub.members("open")) == (1, 0)
    take(hub, Leave(Whom("ann"), "kept"))
    assert not hub.groups
    await all_leave(hub, ann, bob)


@on_jumping_loop
async def test_who_is_in_too_many_groups_already_is_not_put_in_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = await start_hub(groups_per_connection=1)
    ann = await client_of(hub, "ann")
    take(hub, Join(Whom("ann"), "one"))
    take(hub, Join(Whom("ann"), "two"))
    await settled()
    assert list(hub.groups) == ["one"]
    assert "was to be put into group 'two', but" in caplog.text
    assert "groups_per_connection" in caplog.text
    await all_leave(hub, ann)


@on_jumping_loop
async def test_an_engine_that_fails_to_subscribe_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hub = await start_hub()
    ann = await client_of(hub, "ann")

    async def subscribe(*_: Any) -> None:
        raise ConnectionError("the engine is away")

    hub.engine.subscribe = subscribe  # type: ignore[assignment, method-assign]
    take(hub, Join(Whom("ann"), "room"))
    await settled()
    assert not hub.groups
    assert "could not be put into group 'room'" in caplog.text
    await all_leave(hub, ann)


@on_jumping_loop
async def test_who_fails_to_obey_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    hub = await start_hub()
    clients = [await client_of(hub, "ann") for _ in range(3)]
    clients[0].connection.write_by(raising)
    clients[0].consumer.send("x")
    take(hub, Kick(Whom("ann")))
    assert [client.connection.state is State.OPEN for client in clients[1:]] == [False, False]
    assert "does not obey an order (kick)" in caplog.text
    for client in clients:
        client.task.cancel()
        await settled()


def raising(chunk: Any) -> None:
    raise LookupError


@on_jumping_loop
async def test_a_plain_connection_does_not_expire() -> None:
    hub = await start_hub()
    ann = await client_of(hub, "ann")
    take(hub, Expire(Whom("ann"), 0))
    await settled()
    assert (ann.connection.state, ann.messages) == (State.OPEN, [])
    await all_leave(hub, ann)


# What is done, on the Centrifuge wire


@pytest.mark.parametrize(
    ("order", "closing"),
    [
        (Kick(Whom("ann")), (wire.CLOSE_FORCE_DISCONNECT, "disconnected by the server")),
        (Kick(Whom("ann"), 4500, "enough"), (4500, "enough")),
        (Kick(Whom("ann"), 3011, "move"), (wire.CLOSE_FORCE_RECONNECT, "move")),
        (Kick(Whom("ann"), 1012), (wire.CLOSE_SHUTDOWN, "disconnected by the server")),
    ],
)
def test_who_is_kicked_from_the_centrifuge_wire_hears_its_words(order: Kick, closing: tuple[int, str]) -> None:
    async def main() -> None:
        service = await Service.start()
        sdk = await Sdk(service, scope={"user": "ann"}).connected()
        other = await Sdk(service, scope={"user": "bob"}).connected()
        take(service.hub, order)
        assert await sdk.over() == closing
        assert sdk.consumer.disconnects == [order.code or closing[0]]
        assert other.closed is None
        await service.stop()

    run(main())


@on_jumping_loop
async def test_the_client_id_of_connect_is_that_of_an_order() -> None:
    service = await Service.start()
    sdk = Sdk(service)
    client = (await sdk.ask("connect"))["client"]
    take(service.hub, Kick(Whom(client=client)))
    assert (await sdk.over())[0] == wire.CLOSE_FORCE_DISCONNECT
    await service.stop()
    assert service.hub.control._by_client == {}


@on_jumping_loop
async def test_who_is_kicked_from_the_centrifuge_wire_before_it_is_accepted_hears_why() -> None:
    class Slow(Echo):
        async def connect(self) -> None:
            await asyncio.get_running_loop().create_future()

    service = await Service.start()
    sdk = Sdk(service, Slow(), scope={"user": "ann"})
    sdk.frame({"id": 1, "connect": {}})
    await settled()
    take(service.hub, Kick(Whom("ann")))
    assert await sdk.over() == (wire.CLOSE_FORCE_DISCONNECT, "disconnected by the server")
    assert sdk.answers == {}
    await service.stop()


@on_jumping_loop
async def test_who_is_put_in_or_taken_out_is_told() -> None:
    service = await Service.start()
    sdk = await Sdk(service, scope={"user": "ann"}).connected()
    await service.publish("kept", 1)
    take(service.hub, Join(Whom("ann"), "kept"))
    await until(lambda: sdk.pushes)
    await service.publish("kept", 2)
    await until(lambda: sdk.published("kept"))
    take(service.hub, Leave(Whom("ann"), "kept"))
    await until(lambda: len(sdk.pushes) == 3)
    joined, published, left = sdk.pushes
    assert (joined["channel"], joined["subscribe"]["offset"], joined["subscribe"]["recoverable"]) == ("kept", 1, True)
    assert published["pub"]["offset"] == 2
    assert left == {"channel": "kept", "unsubscribe": {"code": wire.UNSUBSCRIBE_SERVER, "reason": "server unsubscribe"}}
    await service.stop()


@on_jumping_loop
async def test_who_subscribed_by_itself_may_be_taken_out_and_subscribe_again() -> None:
    service = await Service.start()
    sdk = await Sdk(service, scope={"user": "ann"}).connected()
    await sdk.subscribed("open")
    take(service.hub, Leave(Whom("ann"), "open"))
    await settled()
    assert [push["unsubscribe"]["code"] for push in sdk.pushes] == [wire.UNSUBSCRIBE_SERVER]
    await sdk.subscribed("open")
    await service.stop()


@given(st.lists(st.sampled_from(["join", "leave", "wait", "answer"]), max_size=10))
def test_the_last_order_decides_however_long_the_first_takes(steps: list[str]) -> None:
    async def main() -> None:
        engine = SlowEngine()
        hub = await start_hub(engine)
        ann = await client_of(hub, "ann")
        is_member = False
        for step in steps:
            if step == "join":
                take(hub, Join(Whom("ann"), "room"))
                is_member = True
            elif step == "leave":
                take(hub, Leave(Whom("ann"), "room"))
                is_member = False
            elif step == "wait":
                await settled(3)
            elif engine.gates:
                engine.gates.pop(0).set_result(None)
        await settled()
        while engine.gates:
            engine.gates.pop(0).set_result(None)
            await settled()
        assert (hub.members("room") == 1) is is_member
        assert not hub.control._joining
        await all_leave(hub, ann)

    run(main())


@on_jumping_loop
async def test_a_connection_can_be_made_to_expire_and_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.credentials.time.time", lambda: 1000.0)
    service = await Service.start(ping_interval=0)
    sdk = await Sdk(service, scope={"user": "ann"}).connected()
    take(service.hub, Expire(Whom("ann"), 1060.0))
    take(service.hub, Expire(Whom("ann"), None))
    take(service.hub, Expire(Whom("ann"), 1010.0))
    began = service.hub.loop.time()
    assert await sdk.over() == (wire.CLOSE_EXPIRED, "connection expired")
    assert round(service.hub.loop.time() - began) == 10 + GRACE
    assert [push["refresh"] for push in sdk.pushes] == [{"expires": True, "ttl": 60}, {}, {"expires": True, "ttl": 10}]
    await service.stop()


@on_jumping_loop
async def test_a_new_token_takes_the_place_of_the_end_that_was_ordered() -> None:
    service = await Service.start(token_secrets=[SECRET])
    sdk = await Sdk(service).connected(token=connection_token("ann", key=SECRET, expires_in=60))
    take(service.hub, Expire(Whom("ann"), 1.0))
    answer = await sdk.ask("refresh", token=connection_token("ann", key=SECRET, expires_in=3600))
    assert answer["ttl"] > 3000
    sdk.frame({"send": {"data": 1}})
    await settled()
    assert sdk.closed is None
    assert sdk.sent == [{"echo": 1}]
    await service.stop()


@on_jumping_loop
async def test_who_was_told_of_an_end_may_bring_a_new_token_though_the_end_was_taken_back() -> None:
    service = await Service.start(token_secrets=[SECRET], ping_interval=0)
    sdk = await Sdk(service).connected(token=connection_token("ann", key=SECRET, expires_in=60))
    take(service.hub, Expire(Whom("ann"), None))
    await asyncio.sleep(1000)
    assert sdk.closed is None
    # An SDK passes over the push: what makes it ask is the token that it has.
    answer = await sdk.ask("refresh", token=connection_token("ann", key=SECRET, expires_in=60))
    assert (answer["expires"], answer["ttl"] in (59, 60), sdk.closed) == (True, True, None)
    await service.stop()


@on_jumping_loop
async def test_who_subscribes_while_it_is_put_in_is_answered_once() -> None:
    engine = SlowEngine()
    service = await Service.start(engine)
    sdk = await Sdk(service, scope={"user": "ann"}).connected()
    sdk.frame({"subscribe": {"channel": "open"}, "id": 7})
    await settled()
    take(service.hub, Join(Whom("ann"), "open"))
    await settled()
    engine.gates.pop().set_result(None)
    await settled()
    assert (sdk.answers[7], sdk.pushes) == ({"id": 7, "subscribe": {}}, [])
    await service.stop()


@pytest.mark.parametrize("error", [ValueError("not ready"), RuntimeError("no database here")])
def test_a_user_that_can_not_be_asked_is_nobody(error: Exception) -> None:
    class Lazy:
        @property
        def is_authenticated(self) -> bool:
            raise error

    async def main() -> None:
        hub = await start_hub()
        client = await client_of(hub, Lazy())
        assert client.connection.state is State.OPEN
        assert client.connection.user_id == ""
        assert hub.control._users == {}
        await all_leave(hub, client)

    run(main())


def test_what_a_token_says_is_whose_connection_it_is() -> None:
    async def main() -> None:
        service = await Service.start(token_secrets=[SECRET])
        sdk = await Sdk(service, scope={"user": "bob"}).connected(token=connection_token("ann", key=SECRET))
        assert found(service.hub, Whom("bob")) == set()
        assert found(service.hub, Whom("ann")) == {sdk.connection}
        await service.stop()
        assert service.hub.control._by_user == {}

    run(main())


# Channels


@on_jumping_loop
async def test_a_channel_is_put_in_and_taken_out_whatever_reads_it() -> None:
    hub = await start_hub(rules=RULES)
    ann, name = await client_of(hub, "ann"), hub.inboxes.new("specific")
    for channel in (ann.connection.channel_name, name):
        take(hub, Add(str(channel), "open"))
        take(hub, Add(str(channel), "open"))
    await until(lambda: hub.members("open") == 2)
    for channel in (ann.connection.channel_name, name):
        take(hub, Discard(str(channel), "open"))
    assert hub.members("open") == 0
    assert hub.control._joining == {}
    await all_leave(hub, ann)


@on_jumping_loop
async def test_whether_a_channel_is_in_a_group_is_what_the_last_order_said() -> None:
    engine = SlowEngine()
    hub = Hub(engine, Counters(), groups_per_connection=10)
    await engine.start(hub)
    name = hub.inboxes.new("specific")
    kinds: list[tuple[type[Add | Discard], ...]] = [(Add, Discard), (Add, Discard, Add), (Discard, Add, Discard)]
    for orders in kinds:
        for order in orders:
            take(hub, order(str(name), "open"))
        await settled()
        for gate in engine.gates:
            gate.set_result(None)
        engine.gates.clear()
        await until(lambda: not hub.control._joining)
        assert hub.members("open") == (orders[-1] is Add)
        hub.control.discard("open", name)
    await hub.close()


@on_jumping_loop
async def test_a_channel_that_is_not_here_joins_nothing(caplog: pytest.LogCaptureFixture) -> None:
    hub = await start_hub()
    for channel in ("specific.here!1", "general"):
        take(hub, Add(str(channel), "open"))
        take(hub, Discard(str(channel), "open"))
    assert (hub.counters.joins_refused, hub.groups) == (2, {})
    assert caplog.text.count("has no such connection; nothing joined") == 2
    await hub.close()
