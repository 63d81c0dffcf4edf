"""Who is present in a group: from when, until when, and in which order the members are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.events import make_event, shared
from antiphon.formats import Chunk, Format, FrameFormat
from antiphon.hub import Hub
from antiphon.types import ClientInfo, PresenceStats

from .fakes import Client, FakeConsumer, FakeTransport, SlowEngine, on_jumping_loop, run, settled, start_hub

RULES: dict[str, Any] = {
    "told*": {"presence": "kept", "join_leave": True},
    "noted*": {"presence": "kept"},
    "kept": {"presence": "kept", "join_leave": True, "history_size": 5},
    "droppable": {"presence": "kept", "join_leave": True, "slow": "drop_oldest"},
}


class TellingFormat(FrameFormat):
    """A wire that tells of joins and leaves, as text, and counts what it has made."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def presence(self, group: str, info: ClientInfo, *, joins: bool) -> bytes:  # type: ignore[override]
        self.made += 1
        return self.text(f"{'+' if joins else '-'}{info.user}".encode())


class Singer(FakeConsumer):
    async def note(self, event: dict[str, Any]) -> None:
        self.send(f'"{event["words"]}"')


class Choir(FakeConsumer):
    @shared
    def note(event: dict[str, Any]) -> str:
        return event["words"]  # type: ignore[no-any-return]


def client_of(hub: Hub, user: str, format: Format, consumer: FakeConsumer | None = None) -> Client:
    scope = {"type": "websocket", "path": "/", "user": user}
    return Client(hub, consumer or Singer(), FakeTransport(format), scope=scope)


async def member(hub: Hub, user: str, format: Format, *groups: str, consumer: FakeConsumer | None = None) -> Client:
    client = await client_of(hub, user, format, consumer).opened()
    for group in groups:
        await hub.join(group, client.connection)
    return client


async def users(hub: Hub, group: str) -> list[str]:
    return sorted(info.user for info in (await hub.engine.presence(group)).values())


async def publish(hub: Hub, group: str, text: str) -> None:
    await hub.engine.publish(group, text.encode(), "")


async def over(hub: Hub, *clients: Client) -> None:
    """Let everybody leave; nobody may be present any more, and nobody's name known."""
    for client in clients:
        await client.leave()
    await hub.close()
    assert not hub.groups
    assert list(hub.engine._roster) == []  # type: ignore[attr-defined]
    assert (hub.control._by_client, hub.control._by_user, hub.control._users) == ({}, {}, {})


# Who is present


@on_jumping_loop
async def test_a_member_is_present_from_joining_to_leaving() -> None:
    hub = await start_hub(rules=RULES)
    ann = await member(hub, "ann", FrameFormat(), "noted", "other")
    found = await hub.engine.presence("noted")
    assert found == {ann.connection.client: ClientInfo("ann", ann.connection.client)}
    assert await hub.engine.presence_stats("noted") == PresenceStats(clients=1, users=1)
    assert await hub.engine.presence("other") == {}, "its rule notes nothing"
    hub.leave("noted", ann.connection)
    assert await users(hub, "noted") == []
    await hub.join("noted", ann.connection)
    assert await users(hub, "noted") == ["ann"]
    await over(hub, ann)


@on_jumping_loop
async def test_a_connection_is_not_present_before_it_is_accepted() -> None:
    class Undecided(FakeConsumer):
        groups = ("noted",)

        async def connect(self) -> None:
            await gate
            await self.connection.accept(None, ())

    hub = await start_hub(rules=RULES)
    gate = hub.loop.create_future()
    ann = client_of(hub, "ann", FrameFormat(), Undecided())
    await settled()
    assert hub.members("noted") == 1
    assert await users(hub, "noted") == []
    gate.set_result(None)
    await ann.opened()
    assert await users(hub, "noted") == ["ann"]
    await over(hub, ann)


@pytest.mark.parametrize("how", ["refused", "lost", "failed"])
@on_jumping_loop
async def test_who_is_never_accepted_is_never_present_and_leaves_no_name_behind(how: str) -> None:
    class Undecided(FakeConsumer):
        groups = ("told",)

        async def connect(self) -> None:
            await gate
            if how == "refused":
                await self.connection.close(None, None)
            elif how == "failed":
                raise LookupError

    hub = await start_hub(rules=RULES)
    gate = hub.loop.create_future()
    listener = await member(hub, "bob", TellingFormat(), "told")
    ann = client_of(hub, "ann", FrameFormat(), Undecided())
    await settled()
    if how == "lost":
        ann.connection.lost(1001)
    gate.set_result(None)
    await asyncio.wait([ann.task])
    assert ann.connection.client_if_named == ""
    assert listener.messages == ["+bob"]
    await over(hub, listener)


@on_jumping_loop
async def test_who_goes_while_it_is_being_accepted_leaves_nothing_behind() -> None:
    hub = await start_hub(rules=RULES)
    transport = FakeTransport()
    transport.accepting = gate = hub.loop.create_future()

    class Early(FakeConsumer):
        groups = ("noted",)

    scope = {"type": "websocket", "path": "/", "user": "ann"}
    ann = Client(hub, Early(), transport, scope=scope)
    await settled()
    ann.connection.lost(1001)
    gate.set_result(None)
    await ann.task
    await over(hub)


@pytest.mark.parametrize("how", ["lost", "closed", "kicked", "stopped"])
@on_jumping_loop
async def test_however_a_connection_ends_it_is_no_longer_present(how: str) -> None:
    hub = await start_hub(rules=RULES)
    ann = await member(hub, "ann", FrameFormat(), "noted", "told", "kept")
    if how == "lost":
        ann.connection.lost(1001)
    elif how == "closed":
        await ann.connection.close(4000, None)
    elif how == "kicked":
        ann.connection.kick(0, "")
    else:
        ann.task.cancel()
    await asyncio.wait([ann.task])
    assert [await users(hub, group) for group in ("noted", "told", "kept")] == [[]] * 3
    await over(hub)


@on_jumping_loop
async def test_two_connections_of_a_user_are_present_twice_and_one_user() -> None:
    hub = await start_hub(rules=RULES)
    tabs = [await member(hub, "ann", FrameFormat(), "noted") for _ in range(2)]
    nobodies = [await member(hub, "", FrameFormat(), "noted") for _ in range(3)]
    assert await hub.engine.presence_stats("noted") == PresenceStats(clients=5, users=2)
    await tabs.pop().leave()
    assert await hub.engine.presence_stats("noted") == PresenceStats(clients=4, users=2)
    await over(hub, *tabs, *nobodies)


@on_jumping_loop
async def test_what_a_consumer_says_of_its_client_is_seen() -> None:
    class Named(Singer):
        client_info = {"name": "Ann"}

    hub = await start_hub(rules=RULES)
    ann = await member(hub, "ann", FrameFormat(), "noted", consumer=Named())
    (info,) = (await hub.engine.presence("noted")).values()
    assert info == ClientInfo("ann", ann.connection.client, b'{"name":"Ann"}')
    await over(hub, ann)


@on_jumping_loop
async def test_who_says_what_is_no_json_is_a_member_and_not_present(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Singer):
        client_info = object()

    hub = await start_hub(rules=RULES)
    odd = await member(hub, "odd", TellingFormat(), "told", consumer=Odd())
    await publish(hub, "told", "1")
    await settled()
    assert odd.messages == ["1"]
    assert await users(hub, "told") == []
    assert hub.counters.handler_errors == 1
    assert "exception in client_info()" in caplog.text
    await over(hub, odd)


@on_jumping_loop
async def test_who_joins_with_a_position_is_present_once() -> None:
    hub = await start_hub(rules=RULES)
    format = TellingFormat()
    ann = await member(hub, "ann", format)
    assert await hub.join_at("kept", ann.connection, None) is not None
    assert await hub.join_at("kept", ann.connection, None) is None
    await settled()
    assert await users(hub, "kept") == ["ann"]
    assert ann.messages == ["+ann"]
    await over(hub, ann)


@on_jumping_loop
async def test_who_leaves_while_the_engine_is_asked_is_not_present() -> None:
    engine = SlowEngine()
    hub = await start_hub(engine, rules=RULES)
    ann = await member(hub, "ann", FrameFormat())
    joining = asyncio.create_task(hub.join("told", ann.connection))
    await settled()
    await ann.leave()
    engine.gates.pop().set_result(None)
    await joining
    assert await users(hub, "told") == []
    await over(hub)


# Who is told, and when


@on_jumping_loop
async def test_members_are_told_who_joins_and_leaves_the_joiner_too_and_who_has_left_not() -> None:
    hub = await start_hub(rules=RULES)
    format = TellingFormat()
    ann = await member(hub, "ann", format, "told")
    await settled()
    bob = await member(hub, "bob", format, "told")
    await settled()
    await bob.leave()
    await settled()
    assert ann.messages == ["+ann", "+bob", "-bob"]
    assert bob.messages == ["+bob"]
    await over(hub, ann)


@on_jumping_loop
async def test_where_the_rule_does_not_say_so_nobody_is_told() -> None:
    hub = await start_hub(rules=RULES)
    format = TellingFormat()
    ann = await member(hub, "ann", format, "noted", "other")
    hub.leave("noted", ann.connection)
    await settled()
    assert (ann.messages, format.made) == ([], 0)
    await over(hub, ann)


@on_jumping_loop
async def test_plain_members_are_told_nothing_and_told_of() -> None:
    hub = await start_hub(rules=RULES)
    telling = await member(hub, "bob", TellingFormat(), "told")
    plain = await member(hub, "ann", FrameFormat(), "told")
    await settled()
    await plain.leave()
    await settled()
    assert plain.messages == []
    assert telling.messages == ["+bob", "+ann", "-ann"]
    await over(hub, telling)


@on_jumping_loop
async def test_members_of_all_kinds_get_it_in_its_place_and_it_is_made_once_for_a_format() -> None:
    hub = await start_hub(rules=RULES)
    format = TellingFormat()
    singer = await member(hub, "ann", format, "told")
    choir = await member(hub, "bob", format, "told", consumer=Choir())
    await settled()
    before = format.made
    await publish(hub, "told", '"1"')
    await hub.engine.send_event("told", make_event({"type": "note", "words": "2"}))
    carol = await member(hub, "carol", format, "told")
    await publish(hub, "told", '"3"')
    await hub.engine.send_event("told", make_event({"type": "note", "words": "4"}))
    await carol.leave()
    await publish(hub, "told", '"5"')
    await settled()
    expected = ['"1"', '"2"', "+carol", '"3"', '"4"', "-carol", '"5"']
    assert singer.messages[2:] == choir.messages[1:] == expected
    assert format.made - before == 2
    await over(hub, singer, choir)


@on_jumping_loop
async def test_what_is_published_before_a_join_comes_before_it_and_what_after_it_behind_it() -> None:
    hub = await start_hub(rules=RULES)
    format = TellingFormat()
    ann = await member(hub, "ann", format, "told")
    bob = await member(hub, "bob", format)
    await settled()
    await publish(hub, "told", "1")
    await hub.join("told", bob.connection)
    await publish(hub, "told", "2")
    hub.leave("told", bob.connection)
    await publish(hub, "told", "3")
    await settled()
    assert ann.messages == ["+ann", "1", "+bob", "2", "-bob", "3"]
    await over(hub, ann, bob)


@on_jumping_loop
async def test_a_group_that_was_empty_tells_nobody_of_the_last_who_left() -> None:
    hub = await start_hub(rules=RULES)
    format = TellingFormat()
    ann = await member(hub, "ann", format, "told")
    bob = await member(hub, "bob", format)
    await settled()
    hub.leave("told", ann.connection)
    await hub.join("told", bob.connection)
    await settled()
    assert ann.messages == ["+ann"]
    assert bob.messages == ["+bob"]
    await over(hub, ann, bob)


@on_jumping_loop
async def test_a_join_that_the_engine_tells_of_late_reaches_nobody_in_an_empty_group() -> None:
    hub = await start_hub(rules=RULES)
    hub.on_join("told", ClientInfo("ann", "1"))
    hub.on_leave("told", ClientInfo("ann", "1"))
    assert not hub._backlog
    await over(hub)


@on_jumping_loop
async def test_where_messages_may_be_left_out_for_slow_members_so_may_these() -> None:
    from antiphon.droppable import Source, parts

    hub = await start_hub(rules=RULES)
    ann = await member(hub, "ann", TellingFormat(), "droppable", "told")
    await settled()
    chunks: list[Chunk] = [part for chunk in ann.transport.chunks for part in parts(chunk)]
    assert [part.source for part in chunks] == [Source("droppable", None), None]
    await over(hub, ann)


# Any sequence of all that

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "publish", "event", "wait"]), st.sampled_from([0, 1, 2])), max_size=30
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_each_member_hears_of_joins_and_leaves_in_the_order_of_what_else_it_gets(steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        hub = await start_hub(rules=RULES)
        format = TellingFormat()
        clients = [await member(hub, str(number), format) for number in range(3)]
        watcher = await member(hub, "watcher", format, "told")
        await settled()
        expected = ["+watcher"]
        inside: set[int] = set()
        for number, (action, who) in enumerate(steps):
            if action == "join":
                await hub.join("told", clients[who].connection)
                if who not in inside:
                    expected.append(f"+{who}")
                inside.add(who)
            elif action == "leave":
                hub.leave("told", clients[who].connection)
                if who in inside:
                    expected.append(f"-{who}")
                inside.discard(who)
            elif action == "publish":
                await publish(hub, "told", f"p{number}")
                expected.append(f"p{number}")
            elif action == "event":
                await hub.engine.send_event("told", make_event({"type": "note", "words": f"e{number}"}))
                expected.append(f'"e{number}"')
            else:
                await settled(3)
        await settled()
        assert watcher.messages == expected
        assert await users(hub, "told") == sorted([*map(str, inside), "watcher"])
        assert all(is_part(client.messages, expected) for client in clients)
        await over(hub, *clients, watcher)

    run(main())


def is_part(messages: list[Any], of: list[str]) -> bool:
    """Tell whether ``messages`` stand in ``of`` in this order."""
    rest = iter(of)
    return all(message in rest for message in messages)
