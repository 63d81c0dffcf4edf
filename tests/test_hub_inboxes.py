"""The hub, where members of groups read their channel by themselves: alone, and among connections."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.counters import Counters
from antiphon.engines.memory import MemoryEngine
from antiphon.events import make_event
from antiphon.exceptions import ChannelFull, InvalidEvent, MessagesLost
from antiphon.hub import Hub
from antiphon.inbox import EXPIRY, ChannelName, Inbox

from .fakes import Client, FakeConsumer, SlowEngine, on_jumping_loop, run, settled, start_hub, until


class Singer(FakeConsumer):
    async def note(self, event: dict[str, Any]) -> None:
        self.send(f"own {event['n']}")


class Deaf(FakeConsumer):
    """Has no handler."""


async def hub_with_limit(limit: int) -> Hub:
    hub = Hub(MemoryEngine(), Counters(), groups_per_connection=128, inbox_limit=limit)
    await hub.engine.start(hub)
    return hub


async def group_send(hub: Hub, group: str, n: Any, padding: int = 0, kind: str = "note") -> None:
    """Do what the layer does for ``group_send``."""
    event = make_event({"type": kind, "n": n, "padding": "x" * padding})
    hub.delivery.check_handlers(group, event)
    hub.delivery.check_room(group, event)
    await hub.engine.send_event(group, event)


async def publish(hub: Hub, group: str, content: Any) -> None:
    await hub.engine.publish(group, json.dumps(content).encode())


async def join(hub: Hub, group: str, channel: str) -> Inbox:
    inbox = hub.inboxes.reach(channel)
    assert inbox is not None
    await hub.join_inbox(group, inbox)
    return inbox


async def take(hub: Hub, channel: str) -> Any:
    """Take a message and return what is in it."""
    event = (await hub.inboxes.take(channel)).copy()
    return event["content"] if event["type"] == "publication" else event["n"]


async def waiting(hub: Hub, channel: str) -> list[Any]:
    inbox = hub.inboxes.find(channel)
    return [await take(hub, channel) for _ in range(len(inbox.messages) if inbox is not None else 0)]


async def client_in(hub: Hub, group: str, consumer: FakeConsumer | None = None) -> Client:
    client = await Client(hub, consumer or Singer()).opened()
    await hub.join(group, client.connection)
    return client


# What members get


@on_jumping_loop
async def test_an_inbox_gets_events_and_publications_in_the_order_of_the_calls() -> None:
    hub = await start_hub()
    await join(hub, "room", "reader")
    for n in range(0, 100, 2):
        await group_send(hub, "room", n)
        await publish(hub, "room", n + 1)
    assert await waiting(hub, "reader") == list(range(100))


@on_jumping_loop
async def test_a_thousand_events_in_a_row_arrive_though_nobody_reads() -> None:
    hub = await start_hub()
    name = hub.inboxes.new("specific")
    await join(hub, "room", name)
    for n in range(1000):
        await group_send(hub, "room", n)
    assert await waiting(hub, name) == list(range(1000))


@on_jumping_loop
async def test_a_publication_is_an_event_that_says_where_it_stands() -> None:
    hub = await start_hub()
    await join(hub, "room", "reader")
    for content in ({"a": [1]}, None):
        position = await hub.engine.publish("room", json.dumps(content).encode())
        assert (await hub.inboxes.take("reader")).copy() == {
            "type": "publication",
            "group": "room",
            "content": content,
            "epoch": position.epoch,
            "offset": position.offset,
        }


@on_jumping_loop
async def test_both_kinds_of_members_get_what_is_sent_to_their_group() -> None:
    hub = await start_hub()
    client = await client_in(hub, "room")
    await join(hub, "room", "reader")
    await group_send(hub, "room", 1)
    await publish(hub, "room", 2)
    await group_send(hub, "room", 3)
    await settled()
    assert client.messages == ["own 1", "2", "own 3"]
    assert await waiting(hub, "reader") == [1, 2, 3]
    assert hub.members("room") == 2
    assert set(hub.groups["room"].channels()) == {"reader", client.connection.channel_name}
    await client.leave()
    assert hub.groups["room"].channels() == ["reader"]
    await publish(hub, "room", 4)
    assert await waiting(hub, "reader") == [4]


@on_jumping_loop
async def test_readers_of_several_members_do_not_share_what_they_get() -> None:
    hub = await start_hub()
    for channel in ("a", "b"):
        await join(hub, "room", channel)
    await hub.engine.send_event("room", make_event({"type": "note", "n": [1]}))
    first = (await hub.inboxes.take("a")).copy()
    first["n"].append("spoilt")
    assert (await hub.inboxes.take("b")).copy()["n"] == [1]


@on_jumping_loop
async def test_joining_twice_is_joining_once() -> None:
    hub = await start_hub()
    for _ in range(2):
        await join(hub, "room", "reader")
    await group_send(hub, "room", 1)
    assert await waiting(hub, "reader") == [1]
    assert hub.members("room") == 1
    hub.leave("room", await join(hub, "room", "reader"))
    assert hub.groups == {}


def test_content_that_an_event_can_not_carry_reaches_every_member(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        hub = await start_hub()
        client = await client_in(hub, "room")
        await join(hub, "room", "reader")
        documents = [b'"\\ud800"', b'{"\\udfff":["\\ud83d\\ude00"]}', b"18446744073709551616", b"[-1e5, 12]"]
        for document in documents:
            await hub.engine.publish("room", document)
        await settled()
        assert [str(message).encode() for message in client.messages] == documents
        assert await waiting(hub, "reader") == ["?", {"?": ["😀"]}, 18446744073709551616.0, [-1e5, 12]]
        await client.leave()

    run(main())
    assert caplog.records == []


@on_jumping_loop
async def test_who_joins_a_group_of_readers_gets_no_publication_from_before() -> None:
    hub = await start_hub()
    client = await client_in(hub, "another room")
    await join(hub, "room", "reader")
    await group_send(hub, "another room", 1)
    await publish(hub, "room", 2)  # behind an event
    await hub.join("room", client.connection)
    await publish(hub, "room", 3)
    await settled()
    assert client.messages == ["own 1", "3"]
    assert await waiting(hub, "reader") == [2, 3]
    await client.leave()


# The model: what connections get does not depend on inboxes, and an inbox gets everything

members = st.integers(0, 1)
groups = st.sampled_from(["red", "green"])
steps = st.one_of(
    st.tuples(st.just("publish"), groups),
    st.tuples(st.just("event"), groups),
    st.tuples(st.just("join"), members, groups),
    st.tuples(st.just("leave"), members, groups),
    st.tuples(st.just("connection joins"), members, groups),
    st.tuples(st.just("connection leaves"), members, groups),
    st.just(("tick",)),
)


@settings(max_examples=150)
@given(st.lists(steps, min_size=10, max_size=50))
def test_inboxes_get_all_and_change_nothing_for_the_others(plan: list[Any]) -> None:
    with_inboxes, expected, got = run(follow(plan, inboxes=True))
    without, _, _ = run(follow(plan, inboxes=False))
    assert with_inboxes == without
    assert got == expected


async def follow(plan: list[Any], *, inboxes: bool) -> tuple[list[Any], list[Any], list[Any]]:
    hub = await start_hub()
    clients = [await Client(hub, Singer()).opened() for _ in range(3)]
    for group in ("red", "green"):
        await hub.join(group, clients[2].connection)  # a group that ends and begins again forgets what is on its way
    names: list[ChannelName] = [hub.inboxes.new("specific") for _ in range(2)]
    joined: list[set[str]] = [set(), set()]
    expected: list[list[int]] = [[], []]
    for n, (step, *arguments) in enumerate([*plan, ("tick",)]):
        if step in ("publish", "event"):
            await (publish if step == "publish" else group_send)(hub, arguments[0], n)
            for number, groups_of_one in enumerate(joined):
                if arguments[0] in groups_of_one:
                    expected[number].append(n)
        elif step == "connection joins":
            await hub.join(arguments[1], clients[arguments[0]].connection)
        elif step == "connection leaves":
            hub.leave(arguments[1], clients[arguments[0]].connection)
        elif step == "tick":
            await settled(4)
        elif inboxes:
            inbox = await join(hub, arguments[1], names[arguments[0]])
            joined[arguments[0]].add(arguments[1])
            if step == "leave":
                hub.leave(arguments[1], inbox)
                joined[arguments[0]].discard(arguments[1])
    for group in ("red", "green"):
        inside = sum(1 for each in joined if group in each)
        assert sum(1 for channel in channels(hub, group) if channel in names) == inside
    messages = [client.messages for client in clients]
    got = [await waiting(hub, name) for name in names]
    for client in clients:
        await client.leave()
    names.clear()
    await settled()
    assert (hub.groups, hub.inboxes.all()) == ({}, {})
    return messages, expected, got


def channels(hub: Hub, group: str) -> list[str]:
    return hub.groups[group].channels() if group in hub.groups else []


# Handlers


@on_jumping_loop
async def test_an_event_without_a_handler_is_told_to_the_sender_unless_a_reader_may_have_one() -> None:
    hub = await start_hub()
    client = await client_in(hub, "room", Deaf())
    with pytest.raises(InvalidEvent, match="Deaf"):
        await group_send(hub, "room", 1)
    inbox = await join(hub, "room", "reader")
    logging.disable()
    try:
        await group_send(hub, "room", 2)
        await settled()
    finally:
        logging.disable(logging.NOTSET)
    assert await waiting(hub, "reader") == [2]
    assert hub.counters.events_unhandled == 2
    hub.leave("room", inbox)
    with pytest.raises(InvalidEvent):
        await group_send(hub, "room", 3)
    await client.leave()


@on_jumping_loop
async def test_a_group_of_readers_alone_takes_any_event_and_costs_no_tick() -> None:
    hub = await start_hub()
    await join(hub, "room", "reader")
    await group_send(hub, "room", 1, kind="nobody_has_this")
    assert not hub._scheduled
    assert await waiting(hub, "reader") == [1]
    assert hub.counters.events_unhandled == 0


# Straight to a channel


@on_jumping_loop
async def test_an_event_for_one_channel_waits_there() -> None:
    hub = await start_hub()
    name = hub.inboxes.new("specific")
    for channel in (name, "jobs"):
        await hub.engine.send_direct_event(channel, make_event({"type": "note", "n": channel}))
        assert await take(hub, channel) == channel


@on_jumping_loop
async def test_a_connection_has_no_inbox() -> None:
    hub = await start_hub()
    client = await Client(hub, Singer()).opened()
    await hub.engine.send_direct_event(client.connection.channel_name, make_event({"type": "note", "n": 1}))
    await settled()
    assert client.messages == ["own 1"]
    assert hub.inboxes.all() == {}
    await client.leave()


def test_an_event_for_a_channel_that_is_over_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        hub = await start_hub()
        channel = str(hub.inboxes.new("specific"))
        await settled()
        await hub.engine.send_direct_event(channel, make_event({"type": "note", "n": 1}))
        await settled()
        assert hub.counters.events_undeliverable == 1
        assert hub.inboxes.all() == {}

    run(main())
    assert "came to nobody" in caplog.text


# Bounds


def test_a_reader_that_is_slow_leaves_its_groups_and_the_others_do_not_notice(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        hub = await hub_with_limit(1000)
        client = await client_in(hub, "room")
        slow = hub.inboxes.new("slow")
        quick = hub.inboxes.new("quick")
        for name in (slow, quick):
            await join(hub, "room", name)
            await join(hub, "other room", name)
            await hub.engine.send_direct_event(name, make_event({"type": "note", "n": "first"}))
            assert await take(hub, name) == "first"  # from here on it has a reader
        got = []
        for n in range(8):
            await group_send(hub, "room", n, 250)
            got.append(await take(hub, quick))
        await settled()
        assert got == list(range(8))
        assert client.messages == [f"own {n}" for n in range(8)]
        assert set(channels(hub, "room")) == {client.connection.channel_name, quick}
        assert channels(hub, "other room") == [quick]
        with pytest.raises(MessagesLost, match=" 4 messages"):
            await take(hub, slow)
        await join(hub, "room", slow)
        await group_send(hub, "room", "again")
        assert await take(hub, slow) == "again"
        counters = hub.counters
        assert (counters.channel_overflows, counters.channel_messages_dropped, counters.channels_full) == (1, 4, 0)
        await client.leave()

    run(main())
    assert sum("its reader is so slow" in record.getMessage() for record in caplog.records) == 1


def test_where_nobody_ever_read_the_sender_is_told_and_nobody_got_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        hub = await hub_with_limit(1000)
        client = await client_in(hub, "room")
        names = {kind: hub.inboxes.new(kind) for kind in ("read", "unread", "unread-too")}
        for name in names.values():
            await join(hub, "room", name)
        await join(hub, "other room", names["unread"])
        for n in range(3):
            await group_send(hub, "room", n, 250)
            assert await take(hub, names["read"]) == n
        with pytest.raises(ChannelFull, match=f"channel {names['unread']} has .* bytes in 3 messages"):
            await group_send(hub, "room", 3, 250)
        await settled()
        assert client.messages == ["own 0", "own 1", "own 2"]
        assert await waiting(hub, names["read"]) == []
        assert set(channels(hub, "room")) == {client.connection.channel_name, names["read"]}
        assert "other room" not in hub.groups
        await group_send(hub, "room", 4, 250)  # the next one works, however many were full
        await settled()
        assert client.messages[-1] == "own 4"
        for kind in ("unread", "unread-too"):
            assert await waiting(hub, names[kind]) == [0, 1, 2], "what was accepted is kept"
        assert (hub.counters.channels_full, hub.counters.channel_overflows) == (2, 0)
        await client.leave()

    run(main())


@on_jumping_loop
async def test_a_group_whose_only_member_overflows_is_gone_and_unsubscribed() -> None:
    left: list[str] = []

    class Engine(MemoryEngine):
        def unsubscribe(self, group: str) -> None:
            left.append(group)
            super().unsubscribe(group)

    hub = Hub(Engine(), Counters(), groups_per_connection=128, inbox_limit=100)
    await hub.engine.start(hub)
    await join(hub, "room", "reader")
    logging.disable()
    try:
        for n in range(2):
            await publish(hub, "room", f"{n}{'x' * 80}")
        await settled()
    finally:
        logging.disable(logging.NOTSET)
    assert (left, hub.groups) == (["room"], {})
    with pytest.raises(MessagesLost):
        await take(hub, "reader")


# Leaving


@on_jumping_loop
async def test_a_channel_that_has_left_its_groups_is_forgotten() -> None:
    hub = await start_hub()
    for n in range(100):
        inbox = await join(hub, "room", f"reader-{n}")
        hub.leave("room", inbox)
        hub.leave("room", inbox)
        hub.leave("another room", inbox)
    assert (hub.groups, hub.inboxes.all()) == ({}, {})


@on_jumping_loop
async def test_a_channel_with_messages_that_leaves_a_group_keeps_them() -> None:
    hub = await start_hub()
    inbox = await join(hub, "room", "reader")
    await group_send(hub, "room", 1)
    hub.leave("room", inbox)
    assert await waiting(hub, "reader") == [1]


@on_jumping_loop
async def test_when_a_name_is_let_go_its_memberships_are_gone() -> None:
    hub = await start_hub()
    name = hub.inboxes.new("specific")
    for group in ("room", "another room"):
        await join(hub, group, str(name))
    await group_send(hub, "room", 1)
    assert hub.members("room") == 1
    del name
    await settled()
    assert (hub.groups, hub.inboxes.all()) == ({}, {})
    await group_send(hub, "room", 2)
    assert hub.counters.dropped_turns == 1


def test_what_expires_leaves_its_groups_as_in_channels(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        hub = await start_hub()
        client = await client_in(hub, "room")
        await join(hub, "room", "reader")
        await group_send(hub, "room", 1)
        await asyncio.sleep(EXPIRY)
        assert channels(hub, "room") == [client.connection.channel_name]
        assert hub.inboxes.all() == {}
        await client.leave()

    run(main())
    assert "it has left its groups" in caplog.text


@on_jumping_loop
async def test_flush_takes_channels_out_of_their_groups_and_leaves_connections_there() -> None:
    hub = await start_hub()
    client = await client_in(hub, "room")
    await join(hub, "room", "reader")
    await join(hub, "another room", "reader")
    await group_send(hub, "room", 1)
    hub.inboxes.flush()
    await settled()
    assert client.messages == ["own 1"]
    assert list(hub.groups) == ["room"]
    assert channels(hub, "room") == [client.connection.channel_name]
    await client.leave()


@on_jumping_loop
async def test_closing_the_hub_leaves_no_timer_whatever_is_sent_meanwhile() -> None:
    hub = await start_hub()

    class Last(FakeConsumer):
        async def disconnect(self, code: int) -> None:
            await hub.engine.send_direct_event("others", make_event({"type": "note", "n": 1}))

    client = await Client(hub, Last()).opened()
    await hub.engine.send_direct_event("jobs", make_event({"type": "note", "n": 0}))
    await hub.close()
    await client.task
    assert hub.inboxes.all().keys() == {"jobs", "others"}
    loop: Any = hub.loop
    assert [handle for handle in loop._scheduled if not handle.cancelled()] == []


# An engine that takes its time


@on_jumping_loop
async def test_a_channel_joins_when_the_engine_knows() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    task = asyncio.create_task(join(hub, "room", "reader"))
    await settled()
    assert hub.members("room") == 0
    engine.gates[0].set_result(None)
    await task
    assert channels(hub, "room") == ["reader"]


@on_jumping_loop
async def test_a_name_that_is_let_go_while_the_engine_takes_its_time_joins_nothing() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    name = hub.inboxes.new("specific")
    task = asyncio.create_task(hub.join_inbox("room", hub.inboxes.all()[name]))
    await settled()
    del name
    await settled()
    assert hub.inboxes.all() == {}
    engine.gates[0].set_result(None)
    await task
    assert (hub.groups, hub.inboxes.all()) == ({}, {})


@on_jumping_loop
async def test_a_channel_that_is_read_and_cancelled_meanwhile_joins_all_the_same() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    task = asyncio.create_task(join(hub, "room", "reader"))
    reader = asyncio.create_task(take(hub, "reader"))
    await settled()
    reader.cancel()
    await asyncio.wait([reader])
    engine.gates[0].set_result(None)
    await task
    await group_send(hub, "room", 1)
    assert await waiting(hub, "reader") == [1]


@on_jumping_loop
async def test_a_channel_whose_join_fails_or_is_cancelled_is_forgotten() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    task = asyncio.create_task(join(hub, "room", "reader"))
    await until(lambda: engine.gates)
    engine.gates[0].set_exception(ConnectionError("no engine"))
    with pytest.raises(ConnectionError):
        await task
    assert (hub.groups, hub.inboxes.all()) == ({}, {})
    task = asyncio.create_task(join(hub, "room", "reader"))
    await until(lambda: len(engine.gates) == 2)
    task.cancel()
    await asyncio.wait([task])
    assert hub.inboxes.all() == {}
    engine.gates[1].set_result(None)
    await settled()
    assert hub.groups == {}


@on_jumping_loop
async def test_a_connection_and_a_channel_join_with_one_subscription() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine)
    client = await Client(hub, Singer()).opened()
    tasks = [asyncio.create_task(hub.join("room", client.connection)), asyncio.create_task(join(hub, "room", "reader"))]
    await settled()
    (gate,) = engine.gates
    gate.set_result(None)
    await asyncio.gather(*tasks)
    assert hub.members("room") == 2
    await client.leave()
