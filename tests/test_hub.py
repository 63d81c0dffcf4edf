"""The hub: who gets what, in which order, in how many writes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.droppable import Source, parts
from antiphon.engines.memory import MemoryEngine
from antiphon.events import make_event, shared
from antiphon.exceptions import InvalidEvent, LimitExceeded
from antiphon.formats import FRAMES, MESSAGES, Format, FrameFormat
from antiphon.hub import Hub

from .fakes import (
    Client,
    FakeConsumer,
    FakeTransport,
    SlowEngine,
    messages_in,
    on_jumping_loop,
    run,
    settled,
    start_hub,
    until,
)


class Singer(FakeConsumer):
    """Has a handler that runs for each member."""

    async def note(self, event: dict[str, Any]) -> None:
        self.send(f"own {event['n']}")

    async def fails(self, event: dict[str, Any]) -> None:
        raise LookupError

    async def sings_on(self, event: dict[str, Any]) -> None:
        await event_to(self.connection._hub, event["group"], "note", event["n"])

    async def publishes(self, event: dict[str, Any]) -> None:
        await publish(self.connection._hub, event["group"], event["n"])


class Choir(FakeConsumer):
    """Has a handler that runs once."""

    runs: list[int] = []

    @shared
    def note(event: dict[str, Any]) -> str:
        Choir.runs.append(event["n"])
        return f"shared {event['n']}"

    @shared
    def silent(event: dict[str, Any]) -> None:
        return None

    @shared
    def fails(event: dict[str, Any]) -> None:
        raise LookupError

    @shared
    def not_json(event: dict[str, Any]) -> object:
        return object()


class Deaf(FakeConsumer):
    """Has no handler."""


async def publish(hub: Hub, group: str, content: Any, key: str = "") -> None:
    hub.counters.publications += 1
    await hub.engine.publish(group, json.dumps(content).encode(), key)


async def event_to(hub: Hub, group: str, kind: str, n: Any, **more: Any) -> None:
    await hub.engine.send_event(group, make_event({"type": kind, "n": n, **more}))


async def event_to_one(hub: Hub, channel: str, kind: str, n: Any) -> None:
    await hub.engine.send_direct_event(channel, make_event({"type": kind, "n": n}))


async def clients_in(
    hub: Hub, group: str, *consumers: FakeConsumer, transports: Callable[[], FakeTransport] = FakeTransport
) -> list[Client]:
    """Return open clients of these consumers, members of ``group``."""
    clients = [Client(hub, consumer, transports()) for consumer in consumers]
    for client in clients:
        await client.opened()
        await hub.join(group, client.connection)
    return clients


async def all_leave(clients: list[Client]) -> None:
    for client in clients:
        await client.leave()
    assert not clients[0].hub.groups
    assert not clients[0].hub.connections


# The model

GROUPS = ["red", "green", "blue"]
KINDS: list[tuple[type[FakeConsumer], Format]] = [
    (Singer, FRAMES),
    (Singer, FRAMES),
    (Singer, MESSAGES),
    (Choir, FRAMES),
    (Choir, MESSAGES),
    (Deaf, FRAMES),
]

groups = st.sampled_from(GROUPS)
members = st.integers(0, len(KINDS) - 1)
keys = st.sampled_from(["", "a", "b"])
RULES = {"red": {"slow": "drop_oldest"}, "green": {"slow": "latest_by_key"}}

steps = st.one_of(
    st.tuples(st.just("publish"), groups, keys),
    st.tuples(st.just("publish"), groups, keys),
    st.tuples(st.just("event"), groups),
    st.tuples(st.just("direct"), members),
    st.tuples(st.just("send"), members),
    st.tuples(st.just("join"), members, groups),
    st.tuples(st.just("join"), members, groups),
    st.tuples(st.just("leave"), members, groups),
    st.tuples(st.just("tick")),
)


class Model:
    """What each member is sent, computed as plainly as can be: no cohorts, no pending, lists of lists.

    With each message goes what tells whether it may be left out.
    """

    def __init__(self, rules: dict[str, Any]) -> None:
        self.rules = rules
        self.groups: dict[str, list[int]] = {}
        self.sent: list[list[tuple[str, Source | None]]] = [[] for _ in KINDS]
        self.deferred: list[Callable[[], None]] = []
        self.late_publications = 0

    def join(self, member: int, group: str) -> None:
        members = self.groups.setdefault(group, [])
        if member not in members:
            members.append(member)

    def leave(self, member: int, group: str) -> None:
        members = self.groups.get(group, [])
        if member in members:
            members.remove(member)
            if not members:
                del self.groups[group]

    def source(self, group: str, key: str = "") -> Source | None:
        match self.rules.get(group):
            case {"slow": "drop_oldest"}:
                return Source(group, None)
            case {"slow": "latest_by_key"}:
                return Source(group, key)
        return None

    def send(self, member: int, n: int) -> None:
        if self.late_publications:  # what was published before comes before
            self.deferred.append(lambda: self.sent[member].append((f"send {n}", None)))
        else:
            self.sent[member].append((f"send {n}", None))

    def publish(self, group: str, key: str, n: int) -> None:
        members = self.groups.get(group)
        if members is None:
            return

        def deliver() -> None:
            for member in members:
                self.sent[member].append((f"publication {n}", self.source(group, key)))

        # Events run their handlers in the next tick, and nothing overtakes them.
        if self.deferred:
            self.deferred.append(deliver)
            self.late_publications += 1
        else:
            deliver()

    def event(self, group: str, n: int) -> None:
        members = self.groups.get(group)
        if members is not None:

            def deliver() -> None:
                for member in members:
                    self._handle(member, n, self.source(group))

            self.deferred.append(deliver)

    def direct(self, member: int, n: int) -> None:
        self.deferred.append(lambda: self._handle(member, n, None))

    def _handle(self, member: int, n: int, source: Source | None) -> None:
        kind, _ = KINDS[member]
        if kind is Singer:
            self.sent[member].append((f"own {n}", None))
        elif kind is Choir:
            self.sent[member].append((f"shared {n}", source))

    def tick(self) -> None:
        deferred, self.deferred = self.deferred, []
        self.late_publications = 0
        for deliver in deferred:
            deliver()


everybody_is_in_red = [("join", member, "red") for member in range(len(KINDS))]


@settings(max_examples=300)
@given(st.booleans(), st.sampled_from([{}, RULES]), st.lists(steps, min_size=25, max_size=60))
def test_every_member_gets_what_the_model_says_in_one_write_per_tick(
    crowded: bool, rules: dict[str, Any], plan: list[Any]
) -> None:
    logging.disable()  # unhandled events tell the log, thousands of times
    try:
        run(follow([*everybody_is_in_red, *plan] if crowded else plan, rules))
    finally:
        logging.disable(logging.NOTSET)


def written(client: Client) -> list[tuple[str, Source | None]]:
    """Every message that the client was written, with what tells whether it could have been left out."""
    found = [part for chunk in client.transport.chunks for part in parts(chunk)]
    return [(str(message).strip('"'), source) for chunk, source in found for message in messages_in([chunk])]


async def follow(plan: list[Any], rules: dict[str, Any]) -> None:
    hub, model = await start_hub(rules=rules), Model(rules)
    clients = [await Client(hub, kind(), FakeTransport(format)).opened() for kind, format in KINDS]
    writes = [0] * len(clients)
    for n, (step, *arguments) in enumerate([*plan, ("tick",)]):
        if step == "publish":
            await publish(hub, arguments[0], f"publication {n}", arguments[1])
            model.publish(arguments[0], arguments[1], n)
        elif step == "event":
            await event_to(hub, arguments[0], "note", n)
            model.event(arguments[0], n)
        elif step == "direct":
            await event_to_one(hub, clients[arguments[0]].connection.channel_name, "note", n)
            model.direct(arguments[0], n)
        elif step == "send":
            clients[arguments[0]].connection.send_text(f"send {n}".encode())
            model.send(arguments[0], n)
        elif step == "join":
            await hub.join(arguments[1], clients[arguments[0]].connection)
            model.join(*arguments)
        elif step == "leave":
            hub.leave(arguments[1], clients[arguments[0]].connection)
            model.leave(*arguments)
        else:
            await settled(4)
            model.tick()
            for number, client in enumerate(clients):
                assert len(client.transport.chunks) <= writes[number] + 1, "one write per member per tick"
                writes[number] = len(client.transport.chunks)
                assert written(client) == model.sent[number]
    assert {name: hub.members(name) for name in GROUPS} == {name: len(model.groups.get(name, [])) for name in GROUPS}
    assert set(hub.groups) == set(model.groups)
    await all_leave(clients)


# Fan-out


class CountingFormat(FrameFormat):
    def __init__(self) -> None:
        super().__init__()
        self.encodings = 0
        self.joins = 0

    def text(self, payload: bytes) -> bytes:
        self.encodings += 1
        return super().text(payload)

    def join(self, chunks: Any) -> bytes:
        self.joins += 1
        return super().join(chunks)


@on_jumping_loop
async def test_a_publication_is_framed_and_joined_once_for_a_cohort() -> None:
    hub, format = await start_hub(), CountingFormat()
    clients = await clients_in(hub, "room", *(Singer() for _ in range(30)), transports=lambda: FakeTransport(format))
    for n in range(3):
        await publish(hub, "room", n)
    await settled()
    assert (format.encodings, format.joins) == (3, 1)
    assert len({id(client.transport.chunks[0]) for client in clients}) == 1
    await all_leave(clients)


@on_jumping_loop
async def test_what_handlers_send_alike_is_joined_once() -> None:
    hub, format = await start_hub(), CountingFormat()
    clients = await clients_in(hub, "room", *(Singer() for _ in range(30)), transports=lambda: FakeTransport(format))
    for n in range(3):
        await event_to(hub, "room", "note", n)
    await settled()
    assert format.joins == 1
    assert all(client.messages == ["own 0", "own 1", "own 2"] for client in clients)
    await all_leave(clients)


@on_jumping_loop
async def test_a_shared_handler_runs_once_however_many_members_there_are() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", *(Choir() for _ in range(10)))
    clients += await clients_in(hub, "room", Choir(), transports=lambda: FakeTransport(MESSAGES))
    Choir.runs.clear()
    await event_to(hub, "room", "note", 1)
    await settled()
    assert Choir.runs == [1]
    assert all(client.messages == ['"shared 1"'] for client in clients)
    await all_leave(clients)


@on_jumping_loop
async def test_a_shared_handler_that_returns_none_sends_nothing() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Choir())
    await event_to(hub, "room", "silent", 1)
    await settled()
    assert clients[0].messages == []
    assert hub.counters.handler_errors == 0
    await all_leave(clients)


@pytest.mark.parametrize("kind", ["fails", "not_json"])
def test_a_shared_handler_that_fails_is_logged_once_and_closes_nobody(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    @on_jumping_loop
    async def main() -> None:
        hub = await start_hub()
        clients = await clients_in(hub, "room", Choir(), Choir())
        await event_to(hub, "room", kind, 1)
        await event_to(hub, "room", "note", 2)
        await settled()
        assert hub.counters.handler_errors == 1
        assert [client.messages for client in clients] == [['"shared 2"'], ['"shared 2"']]
        await all_leave(clients)

    main()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@on_jumping_loop
async def test_a_handler_that_fails_costs_its_own_connection_only() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Singer(), Singer(), Singer())
    clients[1].consumer.fail_on = 1  # type: ignore[attr-defined]

    async def note(self: Singer, event: dict[str, Any]) -> None:
        if getattr(self, "fail_on", None) == event["n"]:
            raise LookupError
        self.send(f"own {event['n']}")

    original, Singer.note = Singer.note, note  # type: ignore[method-assign]
    try:
        await event_to(hub, "room", "note", 1)
        await publish(hub, "room", "p")
        await event_to(hub, "room", "note", 2)
        await settled()
    finally:
        Singer.note = original  # type: ignore[method-assign]
    assert clients[0].messages == clients[2].messages == ["own 1", '"p"', "own 2"]
    assert [call[1] for call in clients[1].transport.closings] == [1011]
    await clients[1].task
    await all_leave([clients[0], clients[2]])


@pytest.mark.parametrize("sends", [False, True], ids=["nothing of its own", "something of its own"])
def test_a_member_whose_write_raises_harms_no_other(sends: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        hub = await start_hub()
        clients = await clients_in(hub, "room", Singer(), Singer(), Singer())
        clients[1].transport.write_error = RuntimeError("unable to perform operation; the handler is closed")
        if sends:
            for client in clients:
                client.connection.send_text(b"own")
        await publish(hub, "room", "p")
        await settled()
        expected = ["own", '"p"'] if sends else ['"p"']
        assert [client.messages for client in clients] == [expected, [], expected]
        assert hub.counters.sends_after_close == 1
        await all_leave(clients)

    main()


@on_jumping_loop
async def test_a_connection_whose_write_raises_alone_harms_no_other() -> None:
    hub = await start_hub()
    clients = [await Client(hub).opened() for _ in range(3)]
    clients[1].transport.write_error = RuntimeError("unable to perform operation; the handler is closed")
    for number, client in enumerate(clients):
        client.connection.send_text(b"%d" % number)
    await settled()
    assert [client.messages for client in clients] == [["0"], [], ["2"]]
    assert hub.counters.sends_after_close == 1
    await all_leave(clients)


def test_what_can_not_be_delivered_is_logged_and_harms_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FrameFormat):
        def text(self, payload: bytes) -> bytes:
            raise LookupError("a fault of ours")

    @on_jumping_loop
    async def main() -> None:
        hub = await start_hub()
        broken = await clients_in(hub, "room", Choir(), transports=lambda: FakeTransport(Broken()))
        clients = await clients_in(hub, "other room", Choir())
        await event_to(hub, "room", "note", 1)
        await event_to(hub, "other room", "note", 2)
        await settled()
        assert clients[0].messages == ['"shared 2"']
        await all_leave([*broken, *clients])

    main()
    assert "a fault of ours" in caplog.text


@on_jumping_loop
async def test_a_handler_may_change_its_event_without_another_member_noticing() -> None:
    seen: list[Any] = []

    class Changer(FakeConsumer):
        async def note(self, event: dict[str, Any]) -> None:
            seen.append((event["n"], list(event["list"])))
            event["n"] = "changed"
            event["list"].append("changed")

    hub = await start_hub()
    clients = await clients_in(hub, "room", Changer(), Changer(), Changer())
    await event_to(hub, "room", "note", 1, list=[1])
    await settled()
    assert seen == [(1, [1])] * 3
    await all_leave(clients)


@on_jumping_loop
async def test_a_member_whose_write_raises_while_it_closes_harms_no_other() -> None:
    class Leaver(FakeConsumer):
        async def note(self, event: dict[str, Any]) -> None:
            self.send("bye")
            await self.connection.close(None, None)

    hub = await start_hub()
    clients = await clients_in(hub, "room", Leaver(), Singer())
    clients[0].transport.write_error = RuntimeError("unable to perform operation; the handler is closed")
    await event_to(hub, "room", "note", 1)
    await event_to(hub, "room", "note", 2)
    await settled()
    assert clients[1].messages == ["own 1", "own 2"]
    clients[0].connection.lost(1006)
    await clients[0].task
    assert len(clients[0].consumer.disconnects) == 1
    await all_leave([clients[1]])


@pytest.mark.parametrize("format", [FRAMES, MESSAGES], ids=["frames", "messages"])
def test_a_member_that_sends_and_closes_in_one_tick_harms_no_other(format: Format) -> None:
    @on_jumping_loop
    async def main() -> None:
        hub = await start_hub()
        clients = await clients_in(hub, "room", Singer(), Singer(), transports=lambda: FakeTransport(format))
        clients[0].connection.send_text(b"bye")
        clients[1].connection.send_text(b"hello")
        await clients[0].connection.close(None, None)
        await settled()
        assert [client.messages for client in clients] == [["bye"], ["hello"]]
        await clients[0].task
        await all_leave([clients[1]])

    main()


@on_jumping_loop
async def test_a_message_may_be_caused_by_a_message() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Singer(), Choir())
    await clients_in(hub, "room")
    event = make_event({"type": "sings_on", "group": "room", "n": 7})
    await hub.engine.send_direct_event(clients[0].connection.channel_name, event)
    await until(lambda: clients[1].messages)
    assert [client.messages for client in clients] == [["own 7"], ['"shared 7"']]
    await all_leave(clients)


@on_jumping_loop
async def test_a_publication_of_a_handler_comes_behind_the_events_that_were_sent_before_it() -> None:
    hub = await start_hub()
    listener, speaker = await clients_in(hub, "room", Choir(), Singer())
    event = make_event({"type": "publishes", "group": "room", "n": "third"})
    await event_to(hub, "room", "note", "first")
    await hub.engine.send_direct_event(speaker.connection.channel_name, event)
    await event_to(hub, "room", "note", "second")
    await settled()
    assert listener.messages == ['"shared first"', '"shared second"', '"third"']
    await all_leave([listener, speaker])


@pytest.mark.parametrize("change", ["join", "leave"])
def test_publications_before_an_event_come_before_it_whoever_joins_and_leaves_meanwhile(change: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        hub = await start_hub()
        singer, choir, other = await clients_in(hub, "room", Singer(), Choir(), Deaf())
        if change == "join":
            hub.leave("room", other.connection)
        logging.disable()  # one member has no handler
        try:
            await publish(hub, "room", 1)
            await event_to(hub, "room", "note", 2)
            await publish(hub, "room", 3)
            if change == "join":
                await hub.join("room", other.connection)
            else:
                hub.leave("room", other.connection)
            await settled()
        finally:
            logging.disable(logging.NOTSET)
        assert singer.messages == ["1", "own 2", "3"]
        assert choir.messages == ["1", '"shared 2"', "3"]
        await all_leave([singer, choir, other])

    main()


# Memberships


@on_jumping_loop
async def test_joining_twice_is_joining_once() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Singer())
    await hub.join("room", clients[0].connection)
    await publish(hub, "room", 1)
    await settled()
    assert clients[0].messages == ["1"]
    await all_leave(clients)


@on_jumping_loop
async def test_a_group_over_the_limit_is_refused_with_the_limits_name() -> None:
    hub = await start_hub(groups_per_connection=2)
    client = await Client(hub).opened()
    for name in "ab":
        await hub.join(name, client.connection)
    await hub.join("a", client.connection)
    with pytest.raises(LimitExceeded, match="groups_per_connection"):
        await hub.join("c", client.connection)
    assert set(hub.groups) == {"a", "b"}
    hub.leave("a", client.connection)
    await hub.join("c", client.connection)
    await all_leave([client])


@on_jumping_loop
async def test_joins_that_wait_for_the_engine_keep_the_limit() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine, groups_per_connection=2)
    client = await Client(hub).opened()
    joins = [asyncio.ensure_future(hub.join(name, client.connection)) for name in "abc"]
    await settled()
    for gate in engine.gates:
        gate.set_result(None)
    outcomes = await asyncio.gather(*joins, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(LimitExceeded) == 1
    assert len(client.connection.memberships) == 2
    await all_leave([client])


@on_jumping_loop
async def test_leaving_what_was_not_joined_does_nothing() -> None:
    hub = await start_hub()
    client = await Client(hub).opened()
    hub.leave("room", client.connection)
    await all_leave([client])


@on_jumping_loop
async def test_who_leaves_gets_what_was_published_before_and_nothing_after() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Singer(), Singer())
    await publish(hub, "room", 1)
    hub.leave("room", clients[0].connection)
    await publish(hub, "room", 2)
    await settled()
    assert [client.messages for client in clients] == [["1"], ["1", "2"]]
    await all_leave(clients)


@on_jumping_loop
async def test_who_joins_gets_nothing_that_was_published_before() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Singer())
    late = await Client(hub).opened()
    await publish(hub, "room", 1)
    await hub.join("room", late.connection)
    await publish(hub, "room", 2)
    await settled()
    assert late.messages == ["2"]
    await all_leave([*clients, late])


# The engine's subscription


@on_jumping_loop
async def test_all_who_join_wait_for_one_subscription() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    clients = [await Client(hub).opened() for _ in range(3)]
    joins = [asyncio.ensure_future(hub.join("room", client.connection)) for client in clients]
    await settled()
    assert len(engine.gates) == 1
    assert not any(join.done() for join in joins)
    engine.gates[0].set_result(None)
    await asyncio.gather(*joins)
    await publish(hub, "room", 1)
    await settled()
    assert [client.messages for client in clients] == [["1"]] * 3
    await all_leave(clients)


@pytest.mark.parametrize("kind", ["connection", "channel"])
@on_jumping_loop
async def test_who_joins_in_the_moment_when_the_subscription_has_come_does_not_wait_in_vain(kind: str) -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    clients = [await Client(hub, Singer()).opened() for _ in range(2)]
    now = hub.loop.create_future()

    async def join_now() -> None:
        await now
        if kind == "connection":
            await hub.join("room", clients[1].connection)
        else:
            inbox = hub.inboxes.reach("jobs", 60)
            assert inbox is not None
            await hub.join_inbox("room", inbox)

    joins = [asyncio.create_task(hub.join("room", clients[0].connection)), asyncio.create_task(join_now())]
    await settled()
    # The hub takes note of a subscription one round after it has come: the second join runs in between.
    engine.gates[0].set_result(None)
    now.set_result(None)
    await settled()
    assert all(task.done() for task in joins)
    await asyncio.gather(*joins)
    assert hub.members("room") == 2
    if kind == "channel":
        hub.leave_all(hub.inboxes.find("jobs"))  # type: ignore[arg-type]
    await all_leave(clients)


@on_jumping_loop
async def test_a_failed_subscription_is_told_to_all_who_wait_and_the_next_tries_again() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    clients = [await Client(hub).opened() for _ in range(3)]
    joins = [asyncio.ensure_future(hub.join("room", client.connection)) for client in clients]
    await settled()
    engine.gates[0].set_exception(ConnectionError("the broker is gone"))
    outcomes = await asyncio.gather(*joins, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["the broker is gone"] * 3
    assert not hub.groups
    again = asyncio.ensure_future(hub.join("room", clients[0].connection))
    await settled()
    engine.gates[1].set_result(None)
    await again
    assert hub.members("room") == 1
    await all_leave(clients)


@pytest.mark.parametrize("how", ["leaves", "is lost"])
def test_who_waits_is_joined_although_the_first_has_gone(how: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        engine = SlowEngine()
        hub = await start_hub(engine)
        first, second = [await Client(hub).opened() for _ in range(2)]

        async def join_and_leave() -> None:
            await hub.join("room", first.connection)
            hub.leave("room", first.connection)

        joins = [asyncio.ensure_future(join_and_leave())]
        await settled()
        joins.append(asyncio.ensure_future(hub.join("room", second.connection)))
        await settled()
        if how == "is lost":
            await first.leave()
        for gate in engine.gates:
            gate.set_result(None)
        await settled()
        for gate in engine.gates[1:]:
            if not gate.done():
                gate.set_result(None)
        await asyncio.gather(*joins)
        await publish(hub, "room", 1)
        await settled()
        assert second.messages == ["1"], "when join returns, what is published reaches the member"
        assert hub.members("room") == 1
        await all_leave([second] if how == "is lost" else [first, second])

    main()


@on_jumping_loop
async def test_who_waits_is_joined_although_the_first_was_cancelled() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    clients = [await Client(hub).opened() for _ in range(2)]
    joins = [asyncio.ensure_future(hub.join("room", client.connection)) for client in clients]
    await settled()
    joins[0].cancel()
    await settled()
    for gate in engine.gates:
        if not gate.done():
            gate.set_result(None)
    outcomes = await asyncio.gather(*joins, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1] is None, "one client that leaves costs itself only"
    assert hub.members("room") == 1
    await all_leave(clients)


@on_jumping_loop
async def test_a_group_that_nobody_came_to_be_in_is_not_kept() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    client = await Client(hub).opened()
    join = asyncio.ensure_future(hub.join("room", client.connection))
    await settled()
    join.cancel()
    await settled()
    for gate in engine.gates:
        if not gate.done():
            gate.set_result(None)
    await settled()
    assert not hub.groups
    await all_leave([client])


@on_jumping_loop
async def test_a_connection_that_ended_while_it_joined_is_no_member() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    client = await Client(hub).opened()
    join = asyncio.ensure_future(hub.join("room", client.connection))
    await settled()
    await client.leave()
    engine.gates[0].set_result(None)
    await join
    assert not hub.groups
    assert not client.connection.memberships


@on_jumping_loop
async def test_the_engine_is_told_when_the_last_member_leaves() -> None:
    class Engine(MemoryEngine):
        left: list[str] = []

        def unsubscribe(self, group: str) -> None:
            self.left.append(group)
            super().unsubscribe(group)

    engine = Engine()
    hub = await start_hub(engine)
    clients = await clients_in(hub, "room", Singer(), Singer())
    hub.leave("room", clients[0].connection)
    assert engine.left == []
    await clients[1].leave()
    assert engine.left == ["room"]
    await all_leave([clients[0]])


# Nothing is silent


@on_jumping_loop
async def test_an_event_that_no_member_handles_is_refused_where_it_is_sent() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Deaf())
    with pytest.raises(InvalidEvent, match=r"room.*note.*Deaf"):
        hub.delivery.check_handlers("room", make_event({"type": "note"}))
    assert hub.counters.events_unhandled == 1
    hub.delivery.check_handlers("nobody's", make_event({"type": "note"}))
    await all_leave(clients)


@on_jumping_loop
async def test_an_event_that_some_handle_is_counted_for_those_who_do_not() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Deaf(), Deaf(), Singer())
    event = make_event({"type": "note", "n": 1})
    hub.delivery.check_handlers("room", event)
    await hub.engine.send_event("room", event)
    await settled()
    assert hub.counters.events_unhandled == 2
    assert [client.messages for client in clients] == [[], [], ["own 1"]]
    await all_leave(clients)


def test_unhandled_and_undeliverable_events_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    @on_jumping_loop
    async def main() -> None:
        hub = await start_hub()
        clients = await clients_in(hub, "room", Deaf(), Deaf())
        await event_to(hub, "room", "note", 1)
        await event_to_one(hub, clients[0].connection.channel_name, "note", 1)
        await event_to_one(hub, "specific.elsewhere!1", "note", 1)
        await settled()
        assert (hub.counters.events_unhandled, hub.counters.events_undeliverable) == (3, 1)
        await all_leave(clients)

    main()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "WARNING"]


@pytest.mark.parametrize("kind", ["group", "direct"])
def test_an_event_for_a_connection_that_is_closing_is_counted(kind: str) -> None:
    class Slow(Singer):
        async def on_text(self, payload: bytes) -> None:
            await self.connection.close(None, None)
            await asyncio.sleep(100)

    @on_jumping_loop
    async def main() -> None:
        hub = await start_hub()
        client = (await clients_in(hub, "room", Slow()))[0]
        client.receive("close")
        await until(lambda: client.transport.closings)
        if kind == "group":
            assert hub.members("room") == 0, "who closed gets nothing more"
        else:
            await event_to_one(hub, client.connection.channel_name, "note", 1)
            await settled()
            assert hub.counters.events_undeliverable == 1
        await client.task

    main()


# Direct events


@on_jumping_loop
async def test_a_direct_event_reaches_one_connection() -> None:
    hub = await start_hub()
    clients = [await Client(hub, kind()).opened() for kind in (Singer, Singer, Choir)]
    for client in clients[1:]:
        await event_to_one(hub, client.connection.channel_name, "note", 1)
    await settled()
    assert [client.messages for client in clients] == [[], ["own 1"], ['"shared 1"']]
    await all_leave(clients)


@on_jumping_loop
async def test_a_shared_handler_that_fails_on_a_direct_event_closes_that_connection() -> None:
    hub = await start_hub()
    client = await Client(hub, Choir()).opened()
    await event_to_one(hub, client.connection.channel_name, "fails", 1)
    await client.task
    assert [call[1] for call in client.transport.closings] == [1011]
    assert hub.counters.handler_errors == 1


@on_jumping_loop
async def test_a_shared_event_for_a_connection_that_has_yet_to_be_accepted_waits() -> None:
    class Thoughtful(Choir):
        async def connect(self) -> None:
            await self.may_accept
            await super().connect()

        may_accept: asyncio.Future[None]

    hub = await start_hub()
    consumer = Thoughtful()
    consumer.may_accept = asyncio.get_running_loop().create_future()
    client = Client(hub, consumer)
    await settled()
    await event_to_one(hub, client.connection.channel_name, "note", 1)
    await settled()
    consumer.may_accept.set_result(None)
    await client.opened()
    assert client.messages == ['"shared 1"']
    await all_leave([client])


# The end


@on_jumping_loop
async def test_close_ends_every_connection_with_1012_after_the_messages_it_has() -> None:
    hub = await start_hub()
    clients = await clients_in(hub, "room", Singer(), Singer())
    clients[0].connection.receive_text(b"before")
    await hub.close()
    assert clients[0].consumer.received == [b"before"]
    assert [client.transport.closings[0][1] for client in clients] == [1012, 1012]
    assert [client.consumer.disconnects for client in clients] == [[1012], [1012]]
    assert not hub.connections
    for client in clients:
        await client.task


@on_jumping_loop
async def test_a_connection_that_closes_is_sent_what_waited_behind_events_first() -> None:
    hub = await start_hub()
    client = await Client(hub, Singer()).opened()
    await hub.join("blue", client.connection)
    await event_to(hub, "blue", "note", 1)
    await publish(hub, "blue", "publication")
    client.connection.send_text(b"send")
    await client.connection.close(None, None)
    await settled()
    assert [str(message).strip('"') for message in client.messages] == ["publication", "send"]
    await all_leave([client])


# Rules


@on_jumping_loop
async def test_a_group_has_the_rule_that_its_name_matches() -> None:
    hub = await start_hub(rules={"prices:*": {"slow": "drop_oldest"}})
    client = await Client(hub).opened()
    for name in ("prices:gold", "room"):
        await hub.join(name, client.connection)
    assert {name: group.rule.slow for name, group in hub.groups.items()} == {
        "prices:gold": "drop_oldest",
        "room": "close",
    }
    await all_leave([client])


@on_jumping_loop
async def test_a_rule_costs_no_join_and_no_write_more() -> None:
    hub, format = await start_hub(rules=RULES), CountingFormat()
    clients = await clients_in(hub, "red", *(Singer() for _ in range(30)), transports=lambda: FakeTransport(format))
    for n in range(3):
        await publish(hub, "red", n)
    await settled()
    assert (format.encodings, format.joins) == (3, 1)
    assert len({id(client.transport.chunks[0]) for client in clients}) == 1
    assert all(client.messages == ["0", "1", "2"] for client in clients)
    await all_leave(clients)


@on_jumping_loop
async def test_the_same_text_sent_and_published_is_not_mixed_up() -> None:
    hub = await start_hub(rules=RULES)
    member, other, third = [await Client(hub).opened() for _ in range(3)]
    await hub.join("red", member.connection)
    await hub.join("elsewhere", third.connection)
    await publish(hub, "red", 1)
    await publish(hub, "elsewhere", 2)  # settles: what was pending for all is now the member's own
    other.connection.send_text(b"1")
    assert [messages_in(client.connection.pending) for client in (member, other)] == [["1"], ["1"]]
    await settled()
    assert written(member) == [("1", Source("red", None))]
    assert written(other) == [("1", None)]
    await all_leave([member, other, third])


@on_jumping_loop
async def test_what_waits_in_the_backlog_of_a_connection_that_closes_may_still_be_left_out() -> None:
    hub = await start_hub(rules=RULES)
    client = await Client(hub, Singer()).opened()
    await hub.join("green", client.connection)
    await event_to(hub, "green", "note", 1)
    await publish(hub, "green", "publication", "a")
    client.connection.send_text(b"send")
    await client.connection.close(None, None)
    assert written(client) == [("publication", Source("green", "a")), ("send", None)]
    await client.task
