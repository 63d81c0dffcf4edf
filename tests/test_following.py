"""Members that go by a group's stream, on an engine afar: history takes its time, and what is told gets lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.config import Config
from antiphon.counters import Counters
from antiphon.engines.base import EngineEvents
from antiphon.engines.memory import MemoryEngine
from antiphon.events import make_event, shared
from antiphon.exceptions import InvalidEvent, LimitExceeded, MessagesLost
from antiphon.formats import FRAMES, MESSAGES, Format, FrameFormat
from antiphon.hub import Hub
from antiphon.resumption import Resumption
from antiphon.rules import Rules
from antiphon.stream import BEGINNING, Recovery
from antiphon.types import ClientInfo, Event, Page, Position, Publication, Publishing, Retention

from .fakes import Client, FakeConsumer, FakeTransport, messages_in, on_jumping_loop, run, settled, until

Result = TypeVar("Result")

RULES: dict[str, Any] = {"kept:*": {"history_size": 5}, "room": {"history_size": 5}}

#: What the log says when streams can't be read, and when they can be again.
UNREADABLE = "group {!r}: its stream can't be read; this and others are tried until they can"
READABLE = "the streams of all groups could be read again"


def at_once(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    raise AssertionError("it waits")


class Read:
    """A call of ``history`` that is answered when the test says so."""

    def __init__(self, engine: Afar, group: str, arguments: dict[str, Any]) -> None:
        self._engine = engine
        self.group = group
        self._arguments = arguments
        self.page: Page | None = None
        self.answered: asyncio.Future[Page] = asyncio.get_running_loop().create_future()

    def look(self) -> None:
        """Let the engine read: what comes later is not in the answer."""
        self.page = at_once(self._engine.read(self.group, self._arguments))

    def answer(self) -> None:
        """Let the answer arrive."""
        if self.page is None:
            self.look()
        assert self.page is not None
        self._leave(lambda: self.answered.set_result(self.page or Page((), BEGINNING)))

    def fail(self) -> None:
        """Let the call fail."""
        self._leave(lambda: self.answered.set_exception(ConnectionError("the engine is away")))

    def _leave(self, end: Callable[[], None]) -> None:
        self._engine.reads.remove(self)
        if not self.answered.done():  # it may have been cancelled
            end()


class Afar(MemoryEngine):
    """A memory engine behind a distance, where everything takes as long as the test wants, and may get lost."""

    def __init__(self) -> None:
        super().__init__()
        self._hub: EngineEvents | None = None
        self.holds = False
        """Whether publications are on the way until they ``arrive``."""
        self.on_the_way: list[tuple[str, Publication]] = []
        self.is_slow = False
        """Whether calls of ``history`` wait in ``reads``."""
        self.reads: list[Read] = []
        self.readings = 0

    async def start(self, events: EngineEvents, process: str = "") -> None:
        self._hub = events
        await super().start(self, process)

    # What the memory engine tells

    def on_publication(self, group: str, publication: Publication) -> None:
        self.on_the_way.append((group, publication))
        if not self.holds:
            self.arrive()

    def on_event(self, group: str, event: Event) -> None:
        assert self._hub is not None
        self._hub.on_event(group, event)

    def on_direct_event(self, channel: str, event: Event) -> None:
        assert self._hub is not None
        self._hub.on_direct_event(channel, event)

    def on_join(self, group: str, info: ClientInfo) -> None:
        assert self._hub is not None
        self._hub.on_join(group, info)

    def on_leave(self, group: str, info: ClientInfo) -> None:
        assert self._hub is not None
        self._hub.on_leave(group, info)

    def on_control(self, control: bytes) -> None:
        assert self._hub is not None
        self._hub.on_control(control)

    def on_continuity_lost(self) -> None:
        assert self._hub is not None
        self._hub.on_continuity_lost()

    # What the test does

    def arrive(self, which: int = 0, *, again: bool = False) -> None:
        """Let what is on the way arrive; ``again``: and be on the way still."""
        assert self._hub is not None
        each = self.on_the_way[which] if again else self.on_the_way.pop(which)
        self._hub.on_publication(*each)

    def arrive_all(self) -> None:
        while self.on_the_way:
            self.arrive()

    def lose(self, which: int = 0) -> None:
        del self.on_the_way[which]

    def begin_anew(self, group: str) -> None:
        """Lose the stream, as a server does that was restarted without its data."""
        self._active.pop(group, None)
        self._lasting.pop(group, None)
        at_once(super().subscribe(group))

    async def read(self, group: str, arguments: dict[str, Any]) -> Page:
        return await super().history(group, **arguments)

    async def history(self, group: str, retention: Retention, **arguments: Any) -> Page:
        self.readings += 1
        arguments["retention"] = retention
        if not self.is_slow:
            return await self.read(group, arguments)
        read = Read(self, group, arguments)
        self.reads.append(read)
        return await read.answered

    async def answer_all(self) -> None:
        """Answer everything that is read, until nothing is read any more."""
        while self.reads:
            self.reads[0].answer()
            await settled()


class Singer(FakeConsumer):
    async def note(self, event: dict[str, Any]) -> None:
        self.send(f"own {event['n']}")


class Choir(FakeConsumer):
    @shared
    def note(event: dict[str, Any]) -> str:
        return f"shared {event['n']}"


class Deaf(FakeConsumer):
    pass


async def world(
    *, interval: float = 0, groups_per_connection: int = 128, rules: dict[str, Any] = RULES
) -> tuple[Hub, Afar]:
    """Return a hub on an engine afar."""
    engine = Afar()
    hub = Hub(
        engine,
        Counters(),
        groups_per_connection=groups_per_connection,
        rules=Rules(rules),
        position_check=interval,
    )
    await engine.start(hub)
    return hub, engine


async def publish(hub: Hub, *numbers: int, group: str = "room") -> Position:
    """Publish numbers; the first of a group is 1, so that each is its own offset."""
    position = BEGINNING
    for number in numbers:
        publishing = Publishing(hub.rule(group).retention)
        position = await hub.engine.publish(group, b"%d" % number, "", publishing)
    return position


async def client_of(hub: Hub, consumer: FakeConsumer | None = None, format: Format = FRAMES, **options: Any) -> Client:
    return await Client(hub, consumer or Singer(), FakeTransport(format), **options).opened()


async def plain_member(hub: Hub, consumer: FakeConsumer | None = None, group: str = "room", **options: Any) -> Client:
    client = await client_of(hub, consumer, **options)
    await hub.join(group, client.connection)
    return client


async def join_at(client: Client, since: Position | None, group: str = "room") -> Recovery | None:
    """Join at a position, and send the client what it missed, as its wire does."""
    recovery = await client.hub.join_at(group, client.connection, since)
    if recovery is not None:
        for publication in recovery.publications:
            client.connection.send_text(publication.data)
    return recovery


async def member_at(hub: Hub, since: Position | None, group: str = "room", **options: Any) -> Client:
    client = await client_of(hub, **options)
    assert await join_at(client, since, group) is not None
    return client


def got(client: Client) -> list[Any]:
    """What the client was sent: offsets, texts, and ``("gap", offset)``."""
    found: list[Any] = []
    for message in client.messages:
        text = str(message).strip('"')
        if text.startswith("{"):
            frame = json.loads(text)
            assert (frame["type"], frame["code"]) == ("error", "gap")
            found.append((frame["code"], frame["offset"]))
        else:
            found.append(int(text) if text.isdigit() else text)
    return found


async def over(hub: Hub, *clients: Client) -> None:
    """Let everybody leave; nothing may be left behind."""
    for client in clients:
        await client.leave()
    await hub.close()
    assert not hub.groups


def stands(hub: Hub, group: str = "room") -> int:
    position = hub.groups[group].position
    assert position is not None
    return position.offset


def epoch_of(hub: Hub, group: str = "room") -> str:
    position = hub.groups[group].position
    assert position is not None
    return position.epoch


# Joining at a position


@on_jumping_loop
async def test_who_joins_without_a_position_begins_at_the_top() -> None:
    hub, _ = await world()
    await publish(hub, 1, 2)
    client = await client_of(hub)
    recovery = await join_at(client, None)
    assert recovery is not None
    assert (recovery.recovered, recovery.publications, recovery.position.offset) == (True, (), 2)
    await publish(hub, 3)
    await settled()
    assert got(client) == [3]
    await over(hub, client)


@on_jumping_loop
async def test_who_joins_at_a_position_gets_what_is_behind_it_and_what_comes() -> None:
    hub, _ = await world()
    first = await publish(hub, 1)
    await publish(hub, 2, 3)
    client = await member_at(hub, first)
    await publish(hub, 4)
    await settled()
    assert got(client) == [2, 3, 4]
    assert not hub.groups["room"].followers
    await over(hub, client)


@pytest.mark.parametrize("since", [BEGINNING, Position("another", 2), Position("", 9)])
@on_jumping_loop
async def test_who_joins_where_something_is_missing_is_told_and_gets_what_comes(since: Position) -> None:
    hub, _ = await world()
    await publish(hub, *range(1, 9))
    client = await client_of(hub)
    recovery = await join_at(client, since)
    assert recovery is not None
    assert (recovery.recovered, recovery.publications, recovery.position.offset) == (False, (), 8)
    await publish(hub, 9)
    await settled()
    assert got(client) == [9]
    await over(hub, client)


@pytest.mark.parametrize("since", [0, 1, 2, None])
@pytest.mark.parametrize("held", [False, True], ids=["heard at once", "heard later"])
@pytest.mark.parametrize("alone", [False, True], ids=["with others", "alone"])
@on_jumping_loop
async def test_publications_before_during_and_after_the_reading_come_once(
    since: int | None, held: bool, alone: bool
) -> None:
    hub, engine = await world()
    position = await publish(hub, 1, 2)
    client = await client_of(hub)
    others = [] if alone else [await plain_member(hub, each) for each in (Singer(), Choir())]
    engine.holds, engine.is_slow = held, True
    joining = asyncio.create_task(join_at(client, None if since is None else Position(position.epoch, since)))
    await settled()
    if alone:  # the position of the group is read before
        engine.reads[0].answer()
        await settled()
    await publish(hub, 3)
    engine.reads[0].look()
    await publish(hub, 4)
    await settled()
    if held:
        engine.arrive()
    await publish(hub, 5)
    engine.reads[0].answer()
    recovery = await joining
    assert recovery is not None
    assert recovery.recovered
    await publish(hub, 6)
    engine.arrive_all()
    await settled()
    assert got(client) == list(range((3 if since is None else since) + 1, 7))
    assert [got(other) for other in others] == [[3, 4, 5, 6]] * len(others)
    assert not hub.groups["room"].followers
    assert not hub.groups["room"].catching
    assert (hub.counters.publications_repeated, hub.counters.gaps) == (0, 0)
    await over(hub, client, *others)


@on_jumping_loop
async def test_what_waits_behind_events_comes_once_to_who_joins_at_that_moment() -> None:
    hub, engine = await world()
    old, new = await plain_member(hub), await client_of(hub)
    first = await publish(hub, 1)
    await settled()
    await engine.send_event("room", make_event({"type": "note", "n": "a"}))
    await publish(hub, 2, 3)  # behind the event, in the next tick
    recovery = at_once(join_at(new, first))
    assert recovery is not None
    assert [each.offset for each in recovery.publications] == [2, 3]
    assert list(hub.groups["room"].followers) == [new.connection]
    await publish(hub, 4)
    await settled()
    assert got(old) == [1, "own a", 2, 3, 4]
    assert got(new) == ["own a", 2, 3, 4]
    assert not hub.groups["room"].followers
    assert len(hub.groups["room"].cohorts) == 1
    assert hub.counters.publications_repeated == 0
    await over(hub, old, new)


@on_jumping_loop
async def test_what_waits_behind_events_does_not_overtake_what_was_missed() -> None:
    hub, engine = await world()
    old, new = await plain_member(hub), await client_of(hub)
    first = await publish(hub, 1)
    await publish(hub, 2)
    await settled()
    engine.is_slow = True
    joining = asyncio.create_task(join_at(new, first))
    await settled()
    engine.reads[0].look()
    engine.reads[0].answer()
    await engine.send_event("room", make_event({"type": "note", "n": "a"}))
    await publish(hub, 3)
    await joining
    await settled()
    assert got(old) == [1, 2, "own a", 3]
    assert [each for each in got(new) if each != "own a"] == [2, 3]
    await over(hub, old, new)


@on_jumping_loop
async def test_what_waits_behind_events_is_not_lost_for_plain_members_when_another_joins_at_its_position() -> None:
    hub, engine = await world()
    old, new = await plain_member(hub), await client_of(hub)
    await engine.send_event("room", make_event({"type": "note", "n": "a"}))
    await publish(hub, 1, 2)
    at_once(join_at(new, None))
    await publish(hub, 3)
    await settled()
    assert got(old) == ["own a", 1, 2, 3]
    assert [each for each in got(new) if each != "own a"] == [3]
    await over(hub, old, new)


@pytest.mark.parametrize("format", [FRAMES, MESSAGES])
@on_jumping_loop
async def test_a_follower_becomes_one_of_the_others_where_they_are_as_far(format: Format) -> None:
    hub, engine = await world()
    others = [await plain_member(hub, format=FRAMES), await plain_member(hub, format=MESSAGES)]
    first = await publish(hub, 1)
    engine.holds = True
    await publish(hub, 2, 3)
    follower = await member_at(hub, first, format=format)
    group = hub.groups["room"]
    assert dict(group.followers) == {follower.connection: (first.epoch, 3)}
    assert hub.members("room") == 3
    assert follower.connection.channel_name in group.channels()
    engine.arrive()
    assert list(group.followers) == [follower.connection]
    engine.arrive()
    assert not group.followers
    assert follower.connection in group.members()
    await publish(hub, 4)
    engine.arrive()
    await settled()
    assert got(follower) == [2, 3, 4]
    assert [got(other) for other in others] == [[1, 2, 3, 4]] * 2
    await over(hub, follower, *others)


@pytest.mark.parametrize("consumer", [Singer, Choir])
@on_jumping_loop
async def test_a_follower_gets_events_like_everybody(consumer: type[FakeConsumer]) -> None:
    hub, engine = await world()
    other = await plain_member(hub, consumer())
    first = await publish(hub, 1)
    engine.holds = True
    await publish(hub, 2)
    follower = await member_at(hub, first, consumer=consumer())
    await engine.send_event("room", make_event({"type": "note", "n": "a"}))
    await settled()
    engine.arrive()
    await settled()
    word = "own a" if consumer is Singer else "shared a"
    assert (got(other), got(follower)) == ([1, word, 2], [2, word])
    await over(hub, other, follower)


@on_jumping_loop
async def test_who_only_follows_counts_for_what_can_be_handled(caplog: pytest.LogCaptureFixture) -> None:
    hub, engine = await world()
    other = await plain_member(hub, Deaf())
    first = await publish(hub, 1)
    engine.holds = True
    await publish(hub, 2)
    follower = await member_at(hub, first, consumer=Singer())
    event = make_event({"type": "note", "n": "a"})
    hub.delivery.check_handlers("room", event)
    hub.leave("room", other.connection)
    hub.delivery.check_handlers("room", event)
    await engine.send_event("room", event)
    with pytest.raises(InvalidEvent, match="Singer"):
        hub.delivery.check_handlers("room", make_event({"type": "unknown"}))
    await engine.send_event("room", make_event({"type": "unknown"}))
    await settled()
    assert got(follower) == [2, "own a"]
    assert hub.counters.events_unhandled == 2
    assert "its 1 members did not get it" in caplog.text
    await over(hub, other, follower)


@pytest.mark.parametrize("how", ["leaves", "is closed", "is lost"])
@on_jumping_loop
async def test_a_follower_that_goes_is_gone(how: str) -> None:
    hub, engine = await world()
    other = await plain_member(hub)
    first = await publish(hub, 1)
    engine.holds = True
    await publish(hub, 2, 3)
    follower = await member_at(hub, first)
    if how == "leaves":
        hub.leave("room", follower.connection)
    elif how == "is closed":
        follower.connection.end(1000)
    else:
        follower.connection.lost(1006)
    assert not hub.groups["room"].followers
    assert not follower.connection.memberships
    engine.arrive_all()
    await settled()
    assert got(other) == [1, 2, 3]
    assert got(follower) == ([] if how == "is lost" else [2, 3])
    await over(hub, other, *([follower] if how == "leaves" else []))


@on_jumping_loop
async def test_the_last_follower_takes_the_group_along() -> None:
    hub, engine = await world()
    other = await plain_member(hub)
    first = await publish(hub, 1)
    engine.holds = True
    await publish(hub, 2)
    follower = await member_at(hub, first)
    hub.leave("room", other.connection)
    assert hub.members("room") == 1
    hub.leave("room", follower.connection)
    assert not hub.groups
    engine.arrive()
    await settled()
    assert got(follower) == [2]
    await over(hub, other, follower)


@pytest.mark.parametrize("how", ["is closed", "is lost"])
@on_jumping_loop
async def test_who_goes_while_catching_up_is_no_member(how: str) -> None:
    hub, engine = await world()
    client = await client_of(hub)
    await publish(hub, 1)
    engine.is_slow = True
    joining = asyncio.create_task(hub.join_at("room", client.connection, BEGINNING))
    await settled()
    engine.reads[0].answer()
    await settled()
    assert hub.members("room") == 1, "it counts, so that the group stays"
    client.connection.end(1000) if how == "is closed" else client.connection.lost(1006)
    engine.reads[0].answer()
    assert await joining is None
    assert not hub.groups
    assert not client.connection.memberships
    assert not engine._active, "the engine was told"
    await hub.close()


@pytest.mark.parametrize("step", [1, 2], ids=["the group's", "its own"])
@pytest.mark.parametrize("how", ["is cancelled", "fails"])
@on_jumping_loop
async def test_a_join_that_fails_leaves_nothing(how: str, step: int) -> None:
    hub, engine = await world()
    client = await client_of(hub)
    position = await publish(hub, 1)
    engine.is_slow = True
    joining = asyncio.create_task(hub.join_at("room", client.connection, position))
    await settled()
    if step == 2:
        engine.reads[0].answer()
        await settled()
    if how == "fails":
        engine.reads[0].fail()
        with pytest.raises(ConnectionError):
            await joining
    else:
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        await engine.answer_all()
    await settled()
    assert not hub.groups
    assert not engine._active
    assert not client.connection.memberships
    engine.is_slow = False
    assert await join_at(client, position) is not None, "and the next try is like the first"
    await publish(hub, 2)
    await settled()
    assert got(client) == [2]
    await over(hub, client)


@on_jumping_loop
async def test_a_join_that_fails_costs_the_other_members_nothing() -> None:
    hub, engine = await world()
    other, client = await plain_member(hub), await client_of(hub)
    engine.is_slow = True
    joining = asyncio.create_task(hub.join_at("room", client.connection, BEGINNING))
    await settled()
    await publish(hub, 1)
    engine.reads[0].fail()
    with pytest.raises(ConnectionError):
        await joining
    await publish(hub, 2)
    await settled()
    assert (got(other), got(client)) == ([1, 2], [])
    assert not hub.groups["room"].catching
    await over(hub, other, client)


@pytest.mark.parametrize("first_fails", [False, True])
@on_jumping_loop
async def test_of_two_joins_of_one_connection_one_is_it_and_nothing_is_missed(first_fails: bool) -> None:
    hub, engine = await world()
    other, client = await plain_member(hub), await client_of(hub)
    first = await publish(hub, 1)
    engine.is_slow = True
    joins = [asyncio.create_task(join_at(client, first)) for _ in range(2)]
    await settled()
    (read,) = engine.reads  # one for both
    read.look()
    await publish(hub, 2)
    read.fail() if first_fails else read.answer()
    await settled()
    await publish(hub, 3)
    if first_fails:  # then the other reads by itself
        engine.reads[0].answer()
    results = await asyncio.gather(*joins, return_exceptions=True)
    assert [isinstance(result, Recovery) for result in results] == [not first_fails, first_fails]
    await publish(hub, 4)
    await settled()
    assert (got(client), got(other)) == ([2, 3, 4], [1, 2, 3, 4])
    assert hub.members("room") == 2
    await over(hub, other, client)


@pytest.mark.parametrize("since", [1, None])
@on_jumping_loop
async def test_for_those_who_come_from_one_position_at_the_same_time_it_is_read_once(since: int | None) -> None:
    hub, engine = await world()
    other, clients = await plain_member(hub), [await client_of(hub) for _ in range(5)]
    first = await publish(hub, 1)
    await publish(hub, 2)
    engine.is_slow = True
    joins = [asyncio.create_task(join_at(client, first if since else None)) for client in clients]
    await settled()
    (read,) = engine.reads
    read.answer()
    await asyncio.gather(*joins)
    await publish(hub, 3)
    await settled()
    assert [got(client) for client in clients] == [[2, 3] if since else [3]] * 5
    await over(hub, other, *clients)


@on_jumping_loop
async def test_who_has_not_heard_what_came_behind_the_reading_that_it_shares_reads_again() -> None:
    hub, engine = await world()
    other, early, late = await plain_member(hub), await client_of(hub), await client_of(hub)
    first = await publish(hub, 1)
    engine.is_slow = True
    joins = [asyncio.create_task(join_at(early, first))]
    await settled()
    (read,) = engine.reads
    read.look()
    await publish(hub, 2)
    joins.append(asyncio.create_task(join_at(late, first)))
    await settled()
    await publish(hub, 3)
    read.answer()
    await settled()
    assert [join.done() for join in joins] == [True, False]
    engine.reads[0].answer()
    assert all(recovery is not None and recovery.recovered for recovery in await asyncio.gather(*joins))
    await publish(hub, 4)
    await settled()
    assert (got(early), got(late)) == ([2, 3, 4], [2, 3, 4])
    await over(hub, other, early, late)


@pytest.mark.parametrize("anew", [False, True], ids=["behind a gap", "in another stream"])
@on_jumping_loop
async def test_who_read_history_before_the_group_went_on_reads_it_once_more(anew: bool) -> None:
    hub, engine = await world(rules={"room": {"history_size": 1}})
    other, client = await plain_member(hub), await client_of(hub)
    engine.holds = engine.is_slow = True
    first = await publish(hub, 1)
    joining = asyncio.create_task(join_at(client, first))
    await settled()
    engine.reads[0].look()
    if anew:
        engine.begin_anew("room")
    last = await publish(hub, 2, 3)
    engine.on_the_way.clear()
    checking = asyncio.create_task(hub.following.check())
    for _ in range(2):  # the check, and the hole that it finds
        await settled()
        engine.reads[1].answer()
    await checking
    await settled()
    assert (got(other), hub.groups["room"].position) == ([("gap", last.offset)], last)
    engine.reads[0].answer()
    await settled()
    assert not joining.done()
    engine.reads[0].answer()
    assert await joining == Recovery(False, (), last)
    assert not hub.groups["room"].followers
    await publish(hub, 9)
    engine.arrive()
    await settled()
    assert (got(other)[1:], got(client)) == ([9], [9])
    await over(hub, other, client)


@on_jumping_loop
async def test_who_reads_something_old_again_and_again_is_told() -> None:
    hub, engine = await world()
    other, client = await plain_member(hub), await client_of(hub)
    first = await publish(hub, 1)
    engine.is_slow = True
    joining = asyncio.create_task(join_at(client, first))
    await settled()
    engine.holds = True
    last = await publish(hub, 2, 3)
    engine.on_the_way.clear()
    hub.groups["room"].position = last  # as if it had been filled in
    for _ in range(2):
        engine.reads[0].page = Page((), first)
        engine.reads[0].answer()
        await settled()
    assert await joining == Recovery(False, (), last)
    await over(hub, other, client)


@on_jumping_loop
async def test_nobody_is_recovered_into_a_stream_that_is_over() -> None:
    hub, engine = await world()
    other, client = await plain_member(hub), await client_of(hub)
    first = await publish(hub, 1)
    engine.is_slow = True
    joining = asyncio.create_task(join_at(client, first))
    await settled()
    engine.reads[0].look()
    engine.begin_anew("room")
    second = await publish(hub, 1)
    engine.reads[0].answer()
    await settled()
    await engine.answer_all()
    assert await joining == Recovery(False, (), second)
    await settled()
    assert (got(other), got(client)) == ([1, ("gap", 1)], [])
    assert not hub.groups["room"].followers
    await over(hub, other, client)


@on_jumping_loop
async def test_who_begins_at_the_top_reads_no_publications() -> None:
    hub, engine = await world()
    client = await client_of(hub)
    await publish(hub, 1)
    engine.is_slow = True
    joining = asyncio.create_task(join_at(client, None))
    for _ in range(2):
        await settled()
        engine.reads[0].look()
        assert engine.reads[0].page is not None
        assert engine.reads[0].page.publications == ()
        engine.reads[0].answer()
    await joining
    await over(hub, client)


@on_jumping_loop
async def test_who_is_a_member_already_joins_nothing() -> None:
    hub, _ = await world()
    client = await plain_member(hub)
    assert await hub.join_at("room", client.connection, BEGINNING) is None
    await publish(hub, 1)
    await settled()
    assert got(client) == [1]
    await over(hub, client)


@on_jumping_loop
async def test_two_joins_of_one_group_are_one_also_at_the_limit() -> None:
    hub, engine = await world(groups_per_connection=1)
    client = await client_of(hub)
    engine.is_slow = True
    joins = [asyncio.create_task(hub.join_at("room", client.connection, None)) for _ in range(2)]
    await settled()
    await engine.answer_all()
    assert [type(result).__name__ for result in await asyncio.gather(*joins)] == ["Recovery", "NoneType"]
    await over(hub, client)


@on_jumping_loop
async def test_a_group_where_somebody_only_catches_up_handles_no_event_and_refuses_none() -> None:
    hub, engine = await world()
    client = await client_of(hub)
    engine.is_slow = True
    joining = asyncio.create_task(join_at(client, None))
    await settled()
    event = make_event({"type": "unknown"})
    hub.delivery.check_handlers("room", event)
    await engine.send_event("room", event)
    await engine.answer_all()
    await joining
    assert hub.counters.events_unhandled == 0
    await over(hub, client)


class Marking(FrameFormat):
    """Says of each publication whether it has a place in a stream."""

    def publication(self, group: str, publication: Publication, *, kept: bool) -> bytes:
        return self.text(b"%s %d" % (b"kept" if kept else b"unkept", publication.offset))


@on_jumping_loop
async def test_a_format_is_told_whether_a_publication_is_kept() -> None:
    hub, engine = await world()
    client = await plain_member(hub, format=Marking())
    await hub.join("unkept", client.connection)
    await publish(hub, 1)
    await engine.publish("unkept", b"1")
    await settled()
    assert got(client) == ["kept 1", "unkept 1"]
    await over(hub, client)


@on_jumping_loop
async def test_joins_at_the_same_time_keep_the_limit() -> None:
    hub, engine = await world(groups_per_connection=2)
    client = await client_of(hub)
    engine.is_slow = True
    joins = [asyncio.create_task(hub.join_at(f"kept:{number}", client.connection, None)) for number in range(4)]
    await settled()
    await engine.answer_all()
    results = await asyncio.gather(*joins, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LimitExceeded"] * 2 + ["Recovery"] * 2
    assert len(client.connection.memberships) == len(hub.groups) == len(engine._active) == 2
    with pytest.raises(LimitExceeded):
        await hub.join_at("kept:9", client.connection, None)
    await over(hub, client)


# Plain members of a group that keeps its history


@on_jumping_loop
async def test_the_first_publication_may_not_be_lost_either() -> None:
    hub, engine = await world()
    await publish(hub, 1)
    client = await plain_member(hub)
    assert stands(hub) == 1, "known before there is a member"
    engine.holds = True
    await publish(hub, 2, 3)
    engine.lose()
    engine.arrive()
    await settled()
    assert got(client) == [2, 3]
    assert (hub.counters.publications_recovered, hub.counters.gaps) == (1, 0)
    await over(hub, client)


@on_jumping_loop
async def test_what_comes_while_the_group_begins_is_followed() -> None:
    hub, engine = await world()
    client = await client_of(hub)
    engine.is_slow = True
    joining = asyncio.create_task(hub.join("room", client.connection))
    await settled()
    engine.reads[0].look()
    await publish(hub, 1, 2)
    engine.reads[0].answer()
    await joining
    assert stands(hub) == 2
    await publish(hub, 3)
    await settled()
    assert (got(client), engine.reads) == ([3], [])
    await over(hub, client)


@on_jumping_loop
async def test_a_group_that_keeps_nothing_reads_nothing() -> None:
    hub, engine = await world()
    client = await plain_member(hub, group="unkept")
    take = await inbox_in(hub, "jobs", "unkept")
    engine.holds = True
    for number in (1, 2, 3):
        await engine.publish("unkept", b"%d" % number)
    engine.lose(1)
    engine.arrive_all()
    await settled()
    assert (got(client), take(), engine.readings) == ([1, 3], [1, 3], 0)
    inbox = hub.inboxes.find("jobs")
    assert inbox is not None
    hub.leave_all(inbox)
    await over(hub, client)


@pytest.mark.parametrize("follows", [False, True])
@on_jumping_loop
async def test_who_is_closed_gets_what_waits_behind_events_once(follows: bool) -> None:
    hub, engine = await world()
    first = await publish(hub, 1)
    other = await plain_member(hub)
    engine.holds = True
    await publish(hub, 2)
    client = await member_at(hub, first) if follows else await plain_member(hub)
    await engine.send_event("room", make_event({"type": "note", "n": "a"}))
    engine.arrive(again=True)
    engine.arrive()
    await publish(hub, 3)
    engine.arrive(again=True)
    engine.arrive()
    client.connection.end(1000)
    await settled()
    assert (got(client), got(other)) == ([2, 3], ["own a", 2, 3])
    assert not client.transport.written_after_close
    await client.task
    await over(hub, other)


# Holes


@on_jumping_loop
async def test_what_was_lost_on_the_way_is_filled_in_before_what_comes(caplog: pytest.LogCaptureFixture) -> None:
    hub, engine = await world()
    clients = [await plain_member(hub, each) for each in (Singer(), Choir())] + [await member_at(hub, None)]
    engine.holds = True
    await publish(hub, 1, 2, 3, 4)
    engine.arrive()
    engine.lose()
    engine.lose()
    engine.arrive()
    await settled()
    assert [got(client) for client in clients] == [[1, 2, 3, 4]] * 3
    assert (hub.counters.publications_recovered, hub.counters.gaps, hub.counters.publications_repeated) == (2, 0, 0)
    await publish(hub, 5)
    engine.arrive()
    await settled()
    assert [got(client) for client in clients] == [[1, 2, 3, 4, 5]] * 3
    assert engine.readings == 3, "of the group's position, of the joining member, and of what was lost"
    assert not caplog.records
    await over(hub, *clients)


@on_jumping_loop
async def test_what_comes_twice_is_given_once_and_counted() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    engine.holds = True
    await publish(hub, 1, 2)
    for again in (True, True, False):
        engine.arrive(again=again)
    engine.arrive(again=True)
    engine.arrive()
    await settled()
    assert (got(client), hub.counters.publications_repeated) == ([1, 2], 3)
    await over(hub, client)


@on_jumping_loop
async def test_what_comes_out_of_order_is_given_in_order() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1, 2, 3, 4)
    engine.arrive(2)
    await settled()
    engine.arrive(1)
    engine.arrive(0)
    await settled()
    assert got(client) == []
    await engine.answer_all()
    engine.arrive_all()
    await settled()
    assert got(client) == [1, 2, 3, 4]
    assert (hub.counters.publications_recovered, hub.counters.gaps) == (1, 0), "4 had not come when history was read"
    await over(hub, client)


@on_jumping_loop
async def test_what_comes_out_of_order_needs_no_history() -> None:
    hub, engine = await world(rules={"room": {"history_size": 1}})
    client = await plain_member(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1, 2, 3)
    engine.arrive(2)
    await settled()
    engine.arrive(1)
    engine.arrive(0)
    await engine.answer_all()
    await settled()
    assert (got(client), hub.counters.gaps) == ([1, 2, 3], 0)
    await over(hub, client)


@on_jumping_loop
async def test_while_a_hole_is_filled_what_comes_waits() -> None:
    hub, engine = await world()
    client, joining = await plain_member(hub), await client_of(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1, 2)
    engine.lose()
    engine.arrive()
    await settled()
    engine.reads[0].look()
    await publish(hub, 3, 4)
    engine.arrive_all()
    await settled()
    assert got(client) == []
    assert len(engine.reads) == 1
    await hub.join("room", joining.connection)
    await engine.answer_all()
    await publish(hub, 5)
    engine.arrive_all()
    await settled()
    assert (got(client), got(joining)) == ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    await over(hub, client, joining)


@on_jumping_loop
async def test_who_catches_up_while_a_hole_is_filled_misses_nothing() -> None:
    hub, engine = await world()
    other, client = await plain_member(hub), await client_of(hub)
    first = await publish(hub, 1)
    engine.holds = engine.is_slow = True
    joining = asyncio.create_task(join_at(client, first))
    await settled()
    engine.reads[0].look()  # when there is nothing but the first
    await publish(hub, 2, 3)
    engine.lose()
    engine.arrive()
    await settled()
    engine.reads[1].answer()  # of the hole
    await settled()
    assert got(other) == [1, 2, 3]
    engine.reads[0].answer()
    recovery = await joining
    assert recovery is not None
    assert recovery.recovered
    await publish(hub, 4)
    engine.arrive()
    await settled()
    assert (got(other), got(client)) == ([1, 2, 3, 4], [2, 3, 4])
    await over(hub, other, client)


@on_jumping_loop
async def test_what_history_no_longer_has_is_a_gap_and_every_member_is_told(caplog: pytest.LogCaptureFixture) -> None:
    hub, engine = await world(rules={"room": {"history_size": 2}})
    clients = [
        await plain_member(hub),
        await plain_member(hub, format=MESSAGES),
        await plain_member(hub, Choir()),
        await member_at(hub, None),
    ]
    engine.holds = True
    await publish(hub, 1, 2, 3, 4, 5)
    engine.arrive()
    for _ in range(3):
        engine.lose()
    engine.arrive()
    await settled()
    assert [got(client) for client in clients] == [[1, ("gap", 5)]] * 4
    assert stands(hub) == 5
    assert hub.counters.gaps == 1
    assert "what came between" in caplog.text
    assert len(caplog.records) == 1
    await publish(hub, 6)
    engine.arrive()
    await settled()
    assert [got(client)[2:] for client in clients] == [[6]] * 4
    frame = json.loads(str(clients[0].messages[1]))
    assert frame == {
        "type": "error",
        "code": "gap",
        "group": "room",
        "epoch": epoch_of(hub),
        "offset": 5,
        "reason": "messages of this group are lost; what comes now is behind the gap",
    }
    await over(hub, *clients)


@on_jumping_loop
async def test_without_error_frames_a_gap_is_counted_and_logged_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    hub, engine = await world(rules={"room": {"history_size": 1}})
    client = await plain_member(hub, config=Config(error_type=""))
    engine.holds = True
    await publish(hub, 1, 2, 3)
    engine.lose()
    engine.lose()
    engine.arrive()
    await settled()
    assert (got(client), hub.counters.gaps, len(caplog.records)) == ([], 1, 1)
    await over(hub, client)


@on_jumping_loop
async def test_who_is_not_accepted_yet_is_told_of_a_gap_too() -> None:
    hub, engine = await world(rules={"room": {"history_size": 1}})
    consumer = Singer()
    consumer.connect = settled  # type: ignore[method-assign]
    client = Client(hub, consumer, FakeTransport(FRAMES))
    await settled()
    await hub.join("room", client.connection)
    engine.holds = True
    await publish(hub, 1, 2, 3)
    engine.lose()
    engine.lose()
    engine.arrive()
    await settled()
    await client.connection.accept(None, ())
    await settled()
    assert got(client) == [("gap", 3)]
    await over(hub, client)


@on_jumping_loop
async def test_a_gap_stands_behind_what_came_before_it_and_before_what_comes() -> None:
    hub, engine = await world(rules={"room": {"history_size": 1}, "kept:*": {"history_size": 5}})
    client = await plain_member(hub)
    await hub.join("kept:b", client.connection)
    engine.holds = engine.is_slow = True
    await publish(hub, 1, 2, 3)
    engine.arrive()
    engine.lose()
    engine.arrive()
    await settled()
    engine.reads[0].answer()
    await publish(hub, 100, group="kept:b")
    engine.arrive()
    client.connection.send_text(b"own")
    await settled()
    await publish(hub, 4)
    engine.arrive()
    await settled()
    assert got(client) == [1, 100, "own", ("gap", 3), 4]
    await over(hub, client)


@pytest.mark.parametrize("lost", [False, True])
@on_jumping_loop
async def test_a_hole_is_closed_behind_what_waits_already(lost: bool) -> None:
    hub, engine = await world(rules={"room": {"history_size": 1}})
    client = await plain_member(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1, 2)
    checking = asyncio.create_task(hub.following.check())
    await settled()
    engine.reads[0].answer()
    await settled()
    engine.reads[0].answer()
    if lost:
        engine.lose()
    await publish(hub, 3)
    await engine.send_event("room", make_event({"type": "note", "n": "a"}))
    engine.arrive_all()
    await settled()
    assert got(client) == (["own a", ("gap", 3)] if lost else ["own a", 1, 2, 3])
    await publish(hub, 4)
    engine.arrive()
    await settled()
    assert got(client)[-1] == 4
    await checking
    await over(hub, client)


@on_jumping_loop
async def test_another_stream_is_a_gap() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    await publish(hub, 1, 2)
    before = epoch_of(hub)
    engine.begin_anew("room")
    await publish(hub, 1)
    await settled()
    assert got(client) == [1, 2, ("gap", 1)]
    assert epoch_of(hub) != before
    await publish(hub, 2)
    await settled()
    assert got(client) == [1, 2, ("gap", 1), 2]
    await over(hub, client)


@on_jumping_loop
async def test_a_late_publication_of_the_stream_before_is_nothing(caplog: pytest.LogCaptureFixture) -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    await publish(hub, 1)
    engine.holds = True
    await publish(hub, 2)
    engine.begin_anew("room")
    await publish(hub, 1)
    engine.arrive(1)
    await settled()
    caplog.clear()
    engine.arrive()
    await settled()
    await publish(hub, 2)
    engine.arrive()
    await settled()
    assert got(client) == [1, ("gap", 1), 2]
    assert (hub.counters.gaps, caplog.records) == (1, [])
    await over(hub, client)


@pytest.mark.parametrize("with_followers", [False, True])
@on_jumping_loop
async def test_a_history_that_can_not_be_read_is_read_when_the_next_one_comes(
    with_followers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    hub, engine = await world()
    clients = [await plain_member(hub)]
    engine.holds = True
    first = await publish(hub, 1)
    engine.arrive()
    await publish(hub, 2, 3)
    if with_followers:
        clients.append(await member_at(hub, first))
    engine.is_slow = True
    engine.lose()
    engine.arrive()
    await settled()
    engine.reads[0].fail()
    await settled()
    assert [record.message for record in caplog.records] == [UNREADABLE.format("room")]
    assert hub.groups["room"].repair is None
    await publish(hub, 4)
    engine.arrive()
    await settled()
    await engine.answer_all()
    await settled()
    assert got(clients[0]) == [1, 2, 3, 4]
    assert [got(client) for client in clients[1:]] == [[2, 3, 4]] * with_followers
    await over(hub, *clients)


@pytest.mark.parametrize("has_a_gap", [False, True])
@on_jumping_loop
async def test_where_everybody_has_left_nothing_is_told_or_counted(
    has_a_gap: bool, caplog: pytest.LogCaptureFixture
) -> None:
    hub, engine = await world(rules={"room": {"history_size": 1 if has_a_gap else 5}})
    client = await plain_member(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1, 2)
    engine.lose()
    engine.arrive()
    await settled()
    hub.leave("room", client.connection)
    await engine.answer_all()
    assert (got(client), caplog.records) == ([], [])
    assert (hub.counters.publications_recovered, hub.counters.gaps) == (0, 0)
    engine.is_slow = False
    await hub.join("room", client.connection)
    await publish(hub, 3)
    engine.arrive()
    await settled()
    assert got(client) == [3]
    await over(hub, client)


@on_jumping_loop
async def test_at_a_gap_a_follower_is_told_what_it_has_missed_itself() -> None:
    hub, engine = await world(rules={"room": {"history_size": 3}})
    plain = await plain_member(hub)
    await publish(hub, 1)
    engine.holds = engine.is_slow = True
    clients = {name: await client_of(hub) for name in ("behind", "equal", "ahead")}
    positions = {"behind": 3, "equal": 5, "ahead": 6}
    await publish(hub, 2, 3)
    engine.lose()
    engine.lose()
    last = 3
    for name, top in positions.items():
        if top > last:
            await publish(hub, *range(last + 1, top + 1))
            last = top
        if name == "equal":
            engine.arrive(1)  # 5, and 2 to 4 are missing: history is being read
            await settled()
            engine.reads[0].look()
        joining = asyncio.create_task(join_at(clients[name], Position(epoch_of(hub), top - 1)))
        await settled()
        engine.reads[-1].answer()
        await joining
    group = hub.groups["room"]
    assert {name: group.followers[clients[name].connection].offset for name in clients} == positions
    await engine.answer_all()
    assert stands(hub) == 5
    assert list(group.followers) == [clients["ahead"].connection]
    await publish(hub, 7)
    engine.lose()  # 4
    engine.arrive_all()
    await settled()
    assert {name: got(client) for name, client in clients.items()} == {
        "behind": [3, ("gap", 5), 6, 7],
        "equal": [5, 6, 7],
        "ahead": [6, 7],
    }
    assert got(plain) == [1, ("gap", 5), 6, 7]
    assert (hub.counters.gaps, list(group.followers)) == (1, [])
    await over(hub, plain, *clients.values())


class Leaving(FakeTransport):
    """Tells a gap as the Centrifuge wire does: by ending the subscription, or the connection."""

    def __init__(self, *, ends: bool) -> None:
        super().__init__()
        self.ends = ends

    def gap(self, group: str, position: Position) -> None:
        self.calls.append(("gap", group, position))
        if self.ends:
            self.connection.end(3010)
        else:
            hub = self.connection._hub
            hub.leave(group, self.connection)


@pytest.mark.parametrize("ends", [False, True], ids=["leaves", "is closed"])
@pytest.mark.parametrize("follows", [False, True], ids=["member", "follower"])
@on_jumping_loop
async def test_who_leaves_because_of_a_gap_has_left(ends: bool, follows: bool) -> None:
    hub, engine = await world(rules={"room": {"history_size": 1}})
    other = await plain_member(hub)
    leaving = await Client(hub, Singer(), Leaving(ends=ends)).opened()
    engine.holds = True
    if follows:
        await publish(hub, 1)
        await join_at(leaving, BEGINNING)
        await publish(hub, 2, 3)
        engine.lose(1)
        engine.lose(0)
    else:
        await hub.join("room", leaving.connection)
        await publish(hub, 1, 2, 3)
        engine.lose(0)
        engine.lose(0)
    engine.arrive()
    await settled()
    assert [call[0] for call in leaving.transport.calls if call[0] == "gap"] == ["gap"]
    assert not leaving.connection.memberships
    assert hub.members("room") == 1
    await publish(hub, 4)
    engine.arrive()
    await settled()
    assert got(other) == [("gap", 3), 4]
    assert got(leaving) == ([1] if follows else [])
    await over(hub, other, *([] if ends else [leaving]))


@on_jumping_loop
async def test_who_follows_another_stream_already_is_not_told_that_it_begins() -> None:
    hub, engine = await world()
    other, client = await plain_member(hub), await client_of(hub)
    engine.holds = True
    await publish(hub, 1, 2)
    engine.begin_anew("room")
    await publish(hub, 1, 2)
    await join_at(client, BEGINNING)
    for _ in range(2):
        engine.arrive()
    await settled()
    assert (got(other), got(client)) == ([1, 2], [1, 2])
    assert list(hub.groups["room"].followers) == [client.connection]
    engine.lose()
    engine.arrive()
    await settled()
    assert not hub.groups["room"].followers
    await publish(hub, 3)
    engine.arrive()
    await settled()
    assert (got(other), got(client)) == ([1, 2, ("gap", 2), 3], [1, 2, 3])
    await over(hub, other, client)


# Channels that are read


async def inbox_in(hub: Hub, name: str, group: str = "room") -> Callable[[], list[Any]]:
    """Let a channel join; what is returned takes what has come."""
    inbox = hub.inboxes.reach(name, 60)
    assert inbox is not None
    await hub.join_inbox(group, inbox)
    found: list[Any] = []

    def take() -> list[Any]:
        while inbox.size:
            event = at_once(hub.inboxes.take(name, 60))
            found.append(event.content["offset"] if event.type == "publication" else event.type)
        return found

    return take


@pytest.mark.parametrize("alone", [False, True])
@on_jumping_loop
async def test_a_channel_that_is_read_gets_each_publication_once_and_in_order(alone: bool) -> None:
    hub, engine = await world()
    members = [] if alone else [await plain_member(hub)]
    await publish(hub, 1)
    take = await inbox_in(hub, "jobs")
    engine.holds = engine.is_slow = True
    await publish(hub, 2, 3, 4, 5)
    engine.arrive(again=True)
    engine.arrive()
    assert take() == [2]
    engine.lose()
    engine.arrive()
    assert take() == [2]
    await settled()
    engine.arrive()
    await engine.answer_all()
    assert take() == [2, 3, 4, 5]
    other = await inbox_in(hub, "more jobs")
    await publish(hub, 6)
    engine.arrive()
    assert (take(), other()) == ([2, 3, 4, 5, 6], [6])
    await settled()
    assert [got(member) for member in members] == [[1, 2, 3, 4, 5, 6]] * len(members)
    for name in ("jobs", "more jobs"):
        inbox = hub.inboxes.find(name)
        assert inbox is not None
        hub.leave_all(inbox)
    await over(hub, *members)


@on_jumping_loop
async def test_a_channel_that_is_read_waits_for_no_event() -> None:
    hub, engine = await world()
    member = await plain_member(hub)
    take = await inbox_in(hub, "jobs")
    await engine.send_event("room", make_event({"type": "note", "n": "a"}))
    await publish(hub, 1)
    await engine.send_event("room", make_event({"type": "note", "n": "b"}))
    assert take() == ["note", 1, "note"]
    await settled()
    assert (take(), got(member)) == (["note", 1, "note"], ["own a", 1, "own b"])
    inbox = hub.inboxes.find("jobs")
    assert inbox is not None
    hub.leave_all(inbox)
    await over(hub, member)


@on_jumping_loop
async def test_who_reads_a_channel_is_told_of_a_gap_and_has_left() -> None:
    hub, engine = await world(rules={"room": {"history_size": 1}})
    take = await inbox_in(hub, "jobs")
    inbox = hub.inboxes.find("jobs")
    assert inbox is not None
    await publish(hub, 1)
    engine.holds = True
    await publish(hub, 2, 3, 4)
    engine.lose()
    engine.lose()
    engine.arrive()
    await settled()
    with pytest.raises(MessagesLost, match="lost 2 messages"):
        at_once(hub.inboxes.take("jobs", 60))
    assert (hub.counters.gaps, hub.counters.channel_messages_dropped) == (1, 2)
    assert not inbox.memberships
    engine.on_the_way.clear()
    take = await inbox_in(hub, "jobs")
    await publish(hub, 5)
    engine.arrive()
    assert take() == [5]
    hub.leave_all(inbox)
    await over(hub)


# Two groups at a time


@on_jumping_loop
async def test_groups_that_speak_in_turn_keep_their_order_for_followers_too() -> None:
    hub, engine = await world()
    both = await plain_member(hub, group="kept:a")
    await hub.join("kept:b", both.connection)
    first = {name: await publish(hub, 1, group=name) for name in ("kept:a", "kept:b")}
    engine.holds = True
    for number in (2, 3):
        for name in ("kept:a", "kept:b"):
            await publish(hub, number + (100 if name == "kept:b" else 0), group=name)
    follower = await client_of(hub)
    for name in ("kept:a", "kept:b"):
        await join_at(follower, first[name], name)
    await settled()
    for _ in range(3):
        engine.arrive()
    await publish(hub, 4, group="kept:a")
    await publish(hub, 104, group="kept:b")
    follower.connection.send_text(b"own")
    engine.arrive_all()
    await settled()
    assert got(both) == [1, 1, 2, 102, 3, 103, 4, 104]
    assert got(follower) == [2, 3, 102, 103, "own", 4, 104]
    assert not any(group.followers for group in hub.groups.values())
    await over(hub, both, follower)


# The check


@on_jumping_loop
async def test_a_check_finds_what_a_lost_subscription_has_swallowed() -> None:
    hub, engine = await world()
    clients = [await plain_member(hub, group=name) for name in ("kept:a", "kept:b")]
    engine.holds = True
    for name in ("kept:a", "kept:b"):
        await publish(hub, 1, 2, group=name)
    engine.arrive()
    for _ in range(3):
        engine.lose()
    await hub.following.check()
    await settled()
    assert [got(client) for client in clients] == [[1, 2], [1, 2]]
    assert hub.counters.publications_recovered == 3
    readings = engine.readings
    await hub.following.check()
    await settled()
    assert engine.readings == readings + 2, "where nothing is missing, nothing more is read"
    await over(hub, *clients)


@on_jumping_loop
async def test_a_check_of_a_stream_that_begins_anew_is_a_gap() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    await publish(hub, 1)
    engine.begin_anew("room")
    await hub.following.check()
    await settled()
    assert got(client) == [1, ("gap", 0)]
    await publish(hub, 1)
    await settled()
    assert got(client) == [1, ("gap", 0), 1]
    await over(hub, client)


@on_jumping_loop
async def test_what_comes_while_it_is_checked_is_not_missing() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    engine.is_slow = True
    checking = asyncio.create_task(hub.following.check())
    await settled()
    await publish(hub, 1)
    engine.reads[0].answer()
    await checking
    engine.holds = True
    await publish(hub, 2)
    checking = asyncio.create_task(hub.following.check())
    await settled()
    engine.reads[0].look()
    engine.arrive()
    engine.reads[0].answer()
    await checking
    assert hub.groups["room"].repair is None
    assert engine.reads == []
    await settled()
    assert got(client) == [1, 2]
    await over(hub, client)


@on_jumping_loop
async def test_what_waits_behind_events_is_not_missing() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    await engine.send_event("room", make_event({"type": "note", "n": "a"}))
    await publish(hub, 1)
    checking = asyncio.create_task(hub.following.check())
    await checking
    engine.is_slow = True
    checking = asyncio.create_task(hub.following.check())
    await settled()
    engine.reads.pop().answered.set_result(Page((), Position(epoch_of(hub), 2)))
    await engine.send_event("room", make_event({"type": "note", "n": "b"}))
    await publish(hub, 2)  # which the engine had already when it was read
    await checking
    await settled()
    assert got(client) == ["own a", 1, "own b", 2]
    assert (engine.reads, hub.counters.publications_recovered, hub.counters.publications_repeated) == ([], 0, 0)
    await over(hub, client)


@on_jumping_loop
async def test_groups_that_are_left_or_repaired_meanwhile_are_not_checked() -> None:
    hub, engine = await world()
    names = ["kept:d", "kept:a", "kept:b", "kept:c"]
    clients = [await plain_member(hub, group=name) for name in names]
    engine.holds = engine.is_slow = True
    for name in names:
        await publish(hub, 1, 2, group=name)
        engine.lose(-2)
    engine.arrive(0)  # of d: its hole is being filled already
    await settled()
    checking = asyncio.create_task(hub.following.check())
    await settled()
    engine.arrive(0)  # of a: its hole is noticed while it is checked
    hub.leave("kept:b", clients[2].connection)
    await settled()
    assert [read.group for read in engine.reads] == ["kept:d", "kept:a", "kept:a"]
    engine.reads[1].answer()
    await settled()
    assert [read.group for read in engine.reads] == ["kept:d", "kept:a", "kept:c"]
    await engine.answer_all()
    await checking
    await settled()
    assert [got(client) for client in clients] == [[1, 2], [1, 2], [], [1, 2]]
    await over(hub, *clients)


@on_jumping_loop
async def test_a_group_that_is_left_while_it_is_checked_is_not_repaired() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1)
    engine.lose()
    checking = asyncio.create_task(hub.following.check())
    await settled()
    engine.reads[0].look()
    hub.leave("room", client.connection)
    engine.reads[0].answer()
    await checking
    await settled()
    await engine.answer_all()
    assert hub.counters.publications_recovered == 0
    await over(hub, client)


@on_jumping_loop
async def test_others_have_the_loop_while_many_groups_are_checked() -> None:
    hub, _ = await world()
    client = await client_of(hub)
    for number in range(120):
        await hub.join(f"kept:{number}", client.connection)
    rounds = 0

    def count() -> None:
        nonlocal rounds
        rounds += 1
        hub.loop.call_soon(count) if rounds < 1000 else None

    hub.loop.call_soon(count)
    await hub.following.check()
    assert 1 <= rounds < 100
    rounds = 1000
    await over(hub, client)


@on_jumping_loop
async def test_positions_are_checked_from_time_to_time() -> None:
    hub, engine = await world(interval=40)
    client = await plain_member(hub)
    engine.holds = True
    began = hub.loop.time()
    for number in (1, 2, 3):
        await publish(hub, number)
        engine.lose()
        await until(lambda number=number: len(got(client)) == number)  # type: ignore[misc]
        assert 40 * number <= hub.loop.time() - began < 40 * number + 2
    assert got(client) == [1, 2, 3]
    await over(hub, client)


@pytest.mark.parametrize("interval", [0, 40])
@on_jumping_loop
async def test_without_groups_that_keep_their_history_nothing_is_checked(interval: float) -> None:
    hub, _ = await world(interval=interval)
    client = await plain_member(hub, group="unkept")
    assert hub.following._check is None
    if not interval:
        await hub.join("room", client.connection)
        assert hub.following._check is None, "0: never"
    await over(hub, client)
    hub._begin("room")
    assert hub.following._check is None, "and after the end none begins any more"


@on_jumping_loop
async def test_the_checks_end_with_the_last_group_and_begin_again_with_the_next() -> None:
    hub, engine = await world(interval=40)
    client = await plain_member(hub)
    await hub.join("unkept", client.connection)
    hub.leave("room", client.connection)
    await asyncio.sleep(100)
    assert hub.following._check is None
    readings = engine.readings
    await hub.join("room", client.connection)
    await asyncio.sleep(100)
    assert engine.readings == readings + 1 + 2
    await over(hub, client)


@on_jumping_loop
async def test_a_check_that_takes_long_is_not_overtaken_by_the_next() -> None:
    hub, engine = await world(interval=40)
    clients = [await plain_member(hub, group="kept:a")]
    engine.is_slow = True
    await asyncio.sleep(1000)
    assert len(engine.reads) == 1
    clients.append(await client_of(hub))
    joining = asyncio.create_task(hub.join("kept:b", clients[1].connection))
    await settled()
    engine.reads[1].answer()
    await joining
    await asyncio.sleep(1000)
    assert len(engine.reads) == 1, "also where another group begins meanwhile"
    await engine.answer_all()
    await asyncio.sleep(41)
    assert len(engine.reads) == 1
    await engine.answer_all()
    await over(hub, *clients)


@on_jumping_loop
async def test_a_check_that_fails_is_one_line_in_the_log_and_the_next_is_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, engine = await world(interval=40)
    clients = [await plain_member(hub, group=name) for name in ("kept:a", "kept:b")]
    engine.holds = engine.is_slow = True
    await publish(hub, 1, group="kept:a")
    engine.lose()
    for number in (1, 2):
        await until(lambda: engine.reads)
        engine.reads[0].fail()
        await settled()
        assert [record.message for record in caplog.records] == [
            "the groups' positions can't be checked; the next try is in 40 s"
        ] * number
    engine.is_slow = False
    await until(lambda: got(clients[0]))
    assert [got(client) for client in clients] == [[1], []]
    await over(hub, *clients)


@pytest.mark.parametrize("when", ["it waits", "it reads"])
@on_jumping_loop
async def test_close_ends_the_checks(when: str) -> None:
    hub, engine = await world(interval=40)
    client = await plain_member(hub)
    engine.is_slow = True
    if when == "it reads":
        await until(lambda: engine.reads)
    check = hub.following._check
    assert check is not None
    await hub.close()
    await client.task
    assert check.cancelled() or when == "it reads"
    assert not hub._tasks
    assert len(engine.reads) == (when == "it reads")
    await asyncio.sleep(1000)
    assert engine.readings == 1 + (when == "it reads")


@on_jumping_loop
async def test_close_ends_what_is_being_repaired() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1, 2)
    engine.lose()
    engine.arrive()
    await settled()
    assert hub._tasks
    await hub.close()
    await client.task
    assert not hub._tasks


# Groups where each publication takes the place of those before it

CACHE: dict[str, Any] = {"room": {"history_size": 3, "recovery": "cache"}}


@pytest.mark.parametrize(
    ("since", "expected"),
    [(BEGINNING, [5]), (Position("", 3), [5]), (Position("", 5), []), (Position("another", 5), [5]), (None, [])],
)
@on_jumping_loop
async def test_who_comes_back_to_a_cache_gets_the_newest_alone(since: Position | None, expected: list[int]) -> None:
    hub, _ = await world(rules=CACHE)
    await publish(hub, *range(1, 6))
    client = await client_of(hub)
    recovery = await join_at(client, since)
    assert recovery is not None
    assert (recovery.recovered, recovery.position.offset) == (True, 5)
    await publish(hub, 6)
    await settled()
    assert got(client) == [*expected, 6]
    await over(hub, client)


@on_jumping_loop
async def test_where_the_newest_is_no_longer_kept_who_comes_back_to_a_cache_is_told() -> None:
    hub, engine = await world(rules=CACHE)
    position = await publish(hub, 1, 2)
    await engine.remove_history("room")
    client = await client_of(hub)
    recovery = await join_at(client, Position(position.epoch, 1))
    assert recovery == Recovery(False, (), position)
    await publish(hub, 3)
    await settled()
    assert got(client) == [3]
    await over(hub, client)


@on_jumping_loop
async def test_what_comes_while_the_newest_is_read_takes_its_place() -> None:
    hub, engine = await world(rules=CACHE)
    old = await plain_member(hub)
    await publish(hub, 1, 2)
    client = await client_of(hub)
    engine.is_slow = True
    joining = asyncio.create_task(join_at(client, BEGINNING))
    await settled()
    engine.reads[0].look()
    await publish(hub, 3, 4)
    engine.reads[0].answer()
    recovery = await joining
    assert recovery is not None
    assert [each.offset for each in recovery.publications] == [4]
    await publish(hub, 5)
    await settled()
    assert (got(client), got(old)) == ([4, 5], [1, 2, 3, 4, 5])
    await over(hub, old, client)


@on_jumping_loop
async def test_a_hole_in_a_cache_is_jumped_over_and_nobody_is_told() -> None:
    hub, engine = await world(rules=CACHE)
    client = await plain_member(hub)
    engine.holds = True
    await publish(hub, *range(1, 10))
    for _ in range(7):
        engine.lose(1)
    engine.arrive_all()  # 1 and 9: the other seven are lost, and history has three
    await settled()
    assert got(client) == [1, 9]
    assert (stands(hub), hub.counters.gaps, hub.counters.publications_recovered) == (9, 0, 0)
    await publish(hub, 10)
    engine.arrive_all()
    await settled()
    assert got(client) == [1, 9, 10]
    await over(hub, client)


@on_jumping_loop
async def test_what_arrives_behind_the_jump_is_old() -> None:
    hub, engine = await world(rules=CACHE)
    client = await plain_member(hub)
    engine.holds = True
    await publish(hub, 1, 2, 3)
    engine.arrive(2)
    await settled()
    engine.arrive_all()
    await settled()
    assert got(client) == [3]
    assert hub.counters.publications_repeated == 2
    await over(hub, client)


@on_jumping_loop
async def test_where_not_even_the_newest_is_kept_everybody_is_told() -> None:
    hub, engine = await world(rules=CACHE)
    client = await plain_member(hub)
    engine.holds = True
    await publish(hub, 1, 2, 3)
    for _ in range(3):
        engine.lose()
    await engine.remove_history("room")
    await hub.following.check()
    await settled()
    assert got(client) == [("gap", 3)]
    assert hub.counters.gaps == 1
    await over(hub, client)


@on_jumping_loop
async def test_a_follower_is_not_left_behind_where_the_others_jump_over_its_position() -> None:
    hub, engine = await world(rules=CACHE)
    old = await plain_member(hub)
    await publish(hub, 1)
    engine.holds = True
    await publish(hub, 2, 3)
    new = await member_at(hub, BEGINNING)
    assert list(hub.groups["room"].followers) == [new.connection]
    engine.lose()
    engine.lose()
    await publish(hub, 4)
    engine.arrive()
    await settled()
    assert (got(old), got(new)) == ([1, 4], [3, 4])
    assert not hub.groups["room"].followers
    await publish(hub, 5)
    engine.arrive_all()
    await settled()
    assert (got(old), got(new)) == ([1, 4, 5], [3, 4, 5])
    await over(hub, old, new)


@on_jumping_loop
async def test_a_follower_that_has_the_newest_is_not_given_it_again() -> None:
    hub, engine = await world(rules=CACHE)
    old = await plain_member(hub)
    engine.holds = True
    await publish(hub, 1, 2, 3)
    new = await member_at(hub, BEGINNING)
    for _ in range(3):
        engine.lose()
    await hub.following.check()
    await settled()
    assert (got(old), got(new)) == ([3], [3])
    assert not hub.groups["room"].followers
    await over(hub, old, new)


@on_jumping_loop
async def test_what_is_read_with_receive_jumps_too() -> None:
    hub, engine = await world(rules=CACHE)
    take = await inbox_in(hub, "jobs")
    engine.holds = True
    await publish(hub, 1, 2, 3)
    engine.arrive(2)
    await settled()
    engine.arrive_all()
    await publish(hub, 4)
    engine.arrive_all()
    assert take() == [3, 4]
    inbox = hub.inboxes.find("jobs")
    assert inbox is not None
    hub.leave_all(inbox)
    await over(hub)


@on_jumping_loop
async def test_a_cache_whose_stream_began_anew_goes_on_with_the_newest_of_the_new_one() -> None:
    hub, engine = await world(rules=CACHE)
    client = await plain_member(hub)
    await publish(hub, 1, 2)
    engine.holds = True
    engine.begin_anew("room")
    await publish(hub, 11, 12)
    engine.lose()
    engine.arrive()
    await settled()
    assert got(client) == [1, 2, 12]
    assert (stands(hub), hub.counters.gaps) == (2, 0)
    await over(hub, client)


# Continuity


@on_jumping_loop
async def test_when_the_engine_may_have_missed_something_every_group_is_checked_at_once() -> None:
    hub, engine = await world()
    names = ["kept:a", "kept:b"]
    clients = [await plain_member(hub, group=name) for name in names]
    engine.holds = True
    for name in names:
        await publish(hub, 1, 2, group=name)
    while engine.on_the_way:
        engine.lose()
    began, readings = hub.loop.time(), engine.readings
    engine.on_continuity_lost()
    await settled()
    assert [got(client) for client in clients] == [[1, 2], [1, 2]]
    assert (hub.counters.continuity_losses, hub.counters.publications_recovered) == (1, 4)
    assert hub.loop.time() == began
    assert engine.readings == readings + 4
    engine.on_continuity_lost()
    await settled()
    assert engine.readings == readings + 6, "each group once: they stand where their streams do"
    await over(hub, *clients)


@on_jumping_loop
async def test_who_is_in_a_group_that_keeps_nothing_is_told_that_something_may_be_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, engine = await world()
    client = await plain_member(hub, group="unkept")
    take = await inbox_in(hub, "jobs", "unkept")
    await publish(hub, 1, group="unkept")
    assert take() == [1]
    engine.holds = True
    await publish(hub, 2, group="unkept")
    engine.lose()
    engine.on_continuity_lost()
    await settled()
    engine.holds = False
    await publish(hub, 3, group="unkept")
    await settled()
    assert (got(client), hub.counters.gaps) == ([1, ("gap", 2), 3], 1)
    with pytest.raises(MessagesLost):
        at_once(hub.inboxes.take("jobs", 60))
    assert "'unkept': publications may be lost" in caplog.text
    await over(hub, client)


@on_jumping_loop
async def test_continuity_may_be_lost_twice_while_it_is_checked() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1, 2)
    engine.lose()
    engine.lose()
    engine.on_continuity_lost()
    await settled()
    engine.on_continuity_lost()
    await settled()
    await engine.answer_all()
    assert got(client) == [1, 2]
    assert hub.counters.continuity_losses == 2
    await over(hub, client)


@on_jumping_loop
async def test_a_check_that_fails_is_logged_and_the_next_finds_what_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, engine = await world(interval=40)
    client = await plain_member(hub)
    engine.holds = engine.is_slow = True
    await publish(hub, 1)
    engine.lose()
    engine.on_continuity_lost()
    await settled()
    engine.reads[0].fail()
    await settled()
    assert got(client) == []
    engine.is_slow = False
    await until(lambda: got(client))
    assert got(client) == [1]
    assert [record.message.partition(", after")[0] for record in caplog.records] == [
        UNREADABLE.format("room"),
        READABLE,
    ]
    await over(hub, client)


async def fail_reads(engine: Afar, times: int, clock: asyncio.AbstractEventLoop) -> list[float]:
    """Let so many reads fail, one after the other; return when each came."""
    came = []
    for _ in range(times):
        await until(lambda: engine.reads)
        came.append(clock.time())
        (read,) = engine.reads
        read.fail()
        await settled()
    return came


@on_jumping_loop
async def test_what_can_not_be_read_is_tried_until_it_can_be_also_without_checks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, engine = await world()
    names = ["unkept", "kept:a", "kept:b"]
    clients = [await plain_member(hub, group=name) for name in names]
    engine.holds = engine.is_slow = True
    for name in names:
        await publish(hub, 1, group=name)
    while engine.on_the_way:
        engine.lose()
    engine.on_continuity_lost()
    came = await fail_reads(engine, 9, hub.loop)
    pauses = [after - before for before, after in itertools.pairwise(came)]
    assert pauses[0] == pytest.approx(0.25, abs=0.1)
    assert pauses[-1] == pytest.approx(5, abs=0.2)
    assert [round(each) for each in pauses] == sorted(round(each) for each in pauses)
    assert [record.message for record in caplog.records] == [UNREADABLE.format("unkept")]
    engine.is_slow = False
    await until(lambda: all(got(client) for client in clients))
    assert [got(client) for client in clients] == [[("gap", 1)], [1], [1]]
    assert caplog.records[-1].message.startswith(READABLE)
    assert (hub.counters.position_outages, hub.counters.publications_recovered) == (1, 2)
    readings = engine.readings
    await asyncio.sleep(100)
    assert engine.readings == readings, "then it is over"
    await over(hub, *clients)


@on_jumping_loop
async def test_a_hole_that_can_not_be_filled_is_tried_again_and_not_without_a_pause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    engine.holds = True
    await publish(hub, 1, 2)
    engine.lose()
    engine.is_slow = True
    engine.arrive()
    came = []
    for _ in range(8):  # each time the position can be read, and what is missing can't be
        await until(lambda: engine.reads)
        came.append(hub.loop.time())
        engine.reads[0].fail()
        await until(lambda: engine.reads)
        engine.reads[0].answer()
        await settled()
    assert came[-1] - came[0] > 5
    assert len(caplog.records) == 1
    await until(lambda: engine.reads)
    await engine.answer_all()
    assert got(client) == [1, 2]
    assert hub.counters.position_outages == 1
    await over(hub, client)


@on_jumping_loop
async def test_a_group_that_everybody_has_left_is_not_tried_any_more() -> None:
    hub, engine = await world()
    client = await plain_member(hub)
    engine.is_slow = True
    engine.on_continuity_lost()
    await fail_reads(engine, 1, hub.loop)
    await client.leave()
    await asyncio.sleep(100)
    assert (engine.reads, hub.counters.position_outages) == ([], 1)
    engine.is_slow = False
    again = await plain_member(hub)
    engine.is_slow = True
    engine.on_continuity_lost()
    await fail_reads(engine, 1, hub.loop)
    assert hub.counters.position_outages == 2, "the first outage is over"
    engine.is_slow = False
    await over(hub, again)


@on_jumping_loop
async def test_continuity_may_be_lost_again_while_it_is_tried() -> None:
    hub, engine = await world()
    clients = [await plain_member(hub, group=name) for name in ("kept:a", "unkept")]
    engine.holds = engine.is_slow = True
    engine.on_continuity_lost()
    await fail_reads(engine, 2, hub.loop)
    for name in ("kept:a", "unkept"):
        await publish(hub, 1, group=name)
        engine.lose()
    engine.on_continuity_lost()
    await fail_reads(engine, 2, hub.loop)
    await until(lambda: engine.reads)
    engine.is_slow = False
    await engine.answer_all()
    await until(lambda: all(got(client) for client in clients))
    assert [got(client) for client in clients] == [[1], [("gap", 1)]]
    assert (hub.counters.continuity_losses, hub.counters.position_outages, hub.counters.gaps) == (2, 1, 1)
    await over(hub, *clients)


@on_jumping_loop
async def test_what_waits_behind_events_does_not_hide_what_is_lost_behind_it() -> None:
    hub, engine = await world()
    client = await plain_member(hub, group="kept:a")
    engine.holds = True
    await publish(hub, 1, 2, group="kept:a")
    engine.lose(1)
    engine.is_slow = True
    engine.on_continuity_lost()
    await until(lambda: engine.reads)
    engine.on_event("kept:a", make_event({"type": "note", "n": 1}))
    engine.arrive()
    assert hub.sends_wait
    engine.reads[0].look()
    engine.reads[0].answer()
    engine.is_slow = False
    await until(lambda: len(got(client)) == 3)
    assert got(client) == ["own 1", 1, 2]
    await over(hub, client)


@on_jumping_loop
async def test_a_loss_of_continuity_with_nobody_there_is_nothing() -> None:
    hub, engine = await world()
    engine.on_continuity_lost()
    await settled()
    assert (engine.readings, hub.counters.continuity_losses) == (0, 1)
    await over(hub)


# Any sequence of all that

GROUPS = ["kept:a", "kept:b", "unkept"]
KINDS: list[tuple[type[FakeConsumer], Format]] = [(Singer, FRAMES), (Choir, FRAMES), (Singer, MESSAGES)]

which = st.integers(0, 3)
members = st.integers(0, len(KINDS) - 1)
kept = st.sampled_from(["kept:a", "kept:a", "kept:b"])
steps = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from([*GROUPS, "kept:a", "kept:a"])),
    st.tuples(st.just("publish"), kept),
    st.tuples(st.just("event"), st.sampled_from(GROUPS)),
    st.tuples(st.just("join"), members, st.sampled_from(GROUPS)),
    st.tuples(st.just("join at"), members, kept, st.sampled_from(["where it was", "where it was", "top", "anywhere"])),
    st.tuples(st.just("leave"), members, st.sampled_from(GROUPS)),
    st.tuples(st.just("cancel"), members),
    st.tuples(st.just("close"), members),
    st.tuples(st.just("send"), members),
    st.tuples(st.just("tick"), st.integers(1, 3)),
    st.tuples(st.just("tick"), st.integers(1, 3)),
    st.tuples(st.just("arrive"), which, st.booleans()),
    st.tuples(st.just("arrive"), which, st.just(False)),
    st.tuples(st.just("lose"), which),
    st.tuples(st.just("look"), which),
    st.tuples(st.just("answer"), which),
    st.tuples(st.just("fail"), which),
    st.tuples(st.just("begin anew"), kept),
    st.tuples(st.just("check")),
)


class Seat:
    """One client of the plan, and what it may still be sent of each group."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.joins: dict[str, asyncio.Task[None]] = {}
        self.reached: dict[str, Position] = {}
        """How far it was brought in each group that it is in; what it is sent next is the next one."""
        self.known: dict[str, Position] = {}
        """The same for those that it has left."""
        self.taken = 0
        self.told = 0


class Plan:
    """Follows a plan, and looks at every message whether it is the next one of its group."""

    def __init__(self, hub: Hub, engine: Afar) -> None:
        self.hub = hub
        self.engine = engine
        self.positions: list[Position] = []
        """Of each publication; what is published is the number of its place here."""
        self.seats: list[Seat] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.fresh: set[asyncio.Task[None]] = set()
        """Joins that began in this tick: their tasks are only about to take them over, and are not cancelled."""

    async def sit(self, number: int) -> None:
        kind, format = KINDS[number]
        self.seats[number : number + 1] = [Seat(await Client(self.hub, kind(), FakeTransport(format)).opened())]

    # Steps

    async def publish(self, group: str) -> None:
        publishing = Publishing(self.hub.rule(group).retention) if group != "unkept" else None
        data = f'"{group} {len(self.positions)}"'.encode()
        self.positions.append(at_once(self.engine.publish(group, data, "", publishing)))

    async def event(self, group: str) -> None:
        at_once(self.engine.send_event(group, make_event({"type": "note", "n": 0})))

    async def join(self, number: int, group: str) -> None:
        self._start_join(number, group, self._join(self.seats[number], group))

    async def join_at(self, number: int, group: str, where: str) -> None:
        seat = self.seats[number]
        since = None if where == "top" else seat.known.get(group, BEGINNING)
        if where == "anywhere":
            since = Position("", len(self.positions) % 7)
        self._start_join(number, group, self._join_at(seat, group, since))

    def _start_join(self, number: int, group: str, join: Coroutine[Any, Any, None]) -> None:
        seat = self.seats[number]
        if group in seat.joins or group in seat.reached:
            join.close()
            return
        try:
            waits_for = join.send(None)
        except (StopIteration, ConnectionError):
            return
        seat.joins[group] = task = asyncio.create_task(_go_on(join, waits_for))
        self.fresh.add(task)
        task.add_done_callback(lambda done: self._joined(seat, group, done))

    def _joined(self, seat: Seat, group: str, done: asyncio.Task[None]) -> None:
        del seat.joins[group]
        if not done.cancelled() and done.exception() is not None:
            assert isinstance(done.exception(), ConnectionError), done.exception()

    async def _join(self, seat: Seat, group: str) -> None:
        await self.hub.join(group, seat.client.connection)
        if self.hub.groups.get(group) in seat.client.connection.memberships:
            seat.reached[group] = self.hub.groups[group].position or BEGINNING

    async def _join_at(self, seat: Seat, group: str, since: Position | None) -> None:
        recovery = await self.hub.join_at(group, seat.client.connection, since)
        if recovery is None:
            return
        if not recovery.recovered:
            assert recovery.publications == ()
            since = recovery.position
        elif since is None:
            since = Position(recovery.position.epoch, recovery.position.offset - len(recovery.publications))
        seat.reached[group] = Position(recovery.position.epoch, since.offset)
        for publication in recovery.publications:
            seat.client.connection.send_text(publication.data)

    async def leave(self, number: int, group: str) -> None:
        seat = self.seats[number]
        if group in seat.reached:
            self.hub.leave(group, seat.client.connection)
            await settled(3)
            self.look_at(seat)
            seat.known[group] = seat.reached.pop(group)

    async def cancel(self, number: int) -> None:
        for task in list(self.seats[number].joins.values()):
            if task not in self.fresh:
                task.cancel()

    async def close(self, number: int) -> None:
        seat = self.seats[number]
        seat.client.connection.end(1000)
        await seat.client.task
        self.look_at(seat)
        assert not seat.client.transport.written_after_close
        await self.sit(number)

    async def send(self, number: int) -> None:
        self.seats[number].client.connection.send_text(b"own")

    async def tick(self, rounds: int) -> None:
        await settled(rounds)
        self.fresh.clear()

    async def arrive(self, number: int, again: bool) -> None:
        if self.engine.on_the_way:
            self.engine.arrive(number % len(self.engine.on_the_way), again=again)

    async def lose(self, number: int) -> None:
        if self.engine.on_the_way:
            self.engine.lose(number % len(self.engine.on_the_way))

    async def look(self, number: int) -> None:
        if self.engine.reads and self.engine.reads[number % len(self.engine.reads)].page is None:
            self.engine.reads[number % len(self.engine.reads)].look()

    async def answer(self, number: int) -> None:
        if self.engine.reads:
            self.engine.reads[number % len(self.engine.reads)].answer()

    async def fail(self, number: int) -> None:
        if self.engine.reads:
            self.engine.reads[number % len(self.engine.reads)].fail()

    async def begin_anew(self, group: str) -> None:
        if group in self.engine._active:
            self.engine.begin_anew(group)

    async def check(self) -> None:
        if all(task.done() for task in self.tasks):
            self.tasks.append(asyncio.create_task(self.hub.following.check()))

    # The law

    def look_at(self, seat: Seat) -> None:
        """Look at what the client was sent since the last time: of each group what comes next, or word of a gap."""
        chunks = seat.client.transport.chunks[seat.taken :]
        seat.taken += len(chunks)
        for message in messages_in(chunks):
            text = str(message).strip('"')
            if text.startswith("{"):
                frame = json.loads(text)
                seat.told += 1
                seat.reached[frame["group"]] = Position(frame["epoch"], frame["offset"])
            elif text.startswith("kept:"):
                group, number = text.split(" ")
                position = self.positions[int(number)]
                before = seat.reached[group]
                assert self.comes_next(position, before), f"{before} and then {position}"
                seat.reached[group] = position

    def comes_next(self, position: Position, before: Position) -> bool:
        return position == (before.epoch, before.offset + 1)

    async def follow(self, plan: list[Any]) -> None:
        for step, *arguments in plan:
            await getattr(self, step.replace(" ", "_"))(*arguments)
            for seat in self.seats:
                self.look_at(seat)

    async def end(self) -> None:
        """Let everything come to rest: everybody stands where the streams do."""
        self.engine.is_slow = False
        for _ in range(3):
            await self.engine.answer_all()
            self.engine.arrive_all()
            await settled()
        await self.hub.following.check()
        await settled()
        for seat in self.seats:
            self.look_at(seat)
            assert not seat.joins
            for group, reached in seat.reached.items():
                if group != "unkept":
                    stream = self.engine._active[group]
                    assert reached == self.hub.groups[group].position == (stream.epoch, stream.offset)
        for each in self.hub.groups.values():
            assert (each.catching, each.followers, each.repair) == (set(), {}, None)
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await over(self.hub, *(seat.client for seat in self.seats))
        assert not self.engine._active


async def _go_on(work: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await Resumption(work, waits_for)


def follow(kind: type[Plan], rules: dict[str, Any], plan: list[Any], *, loses: bool, crowded: bool) -> None:
    """Follow the plan on a carrier that loses, doubles and reorders, or on one that only delays."""

    async def main() -> None:
        hub, engine = await world(rules=rules)
        follower = kind(hub, engine)
        for number in range(len(KINDS)):
            await follower.sit(number)
        if crowded:
            await follower.follow([("join", number, group) for number in range(len(KINDS)) for group in GROUPS])
        engine.holds = engine.is_slow = True
        bad = ("lose", "fail", "begin anew") if not loses else ()
        await follower.follow(
            [
                (step, 0, False) if step == "arrive" and not loses else (step, *arguments)
                for step, *arguments in plan
                if step not in bad
            ]
        )
        await follower.end()
        if not loses:
            assert hub.counters.gaps == 0
            assert sum(seat.told for seat in follower.seats) == 0

    logging.disable()  # gaps and failed readings tell the log, hundreds of times
    try:
        run(main())
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("loses", [True, False], ids=["a bad carrier", "a good carrier"])
@settings(max_examples=300)
@given(st.lists(steps, min_size=10, max_size=70), st.integers(1, 6), st.booleans())
def test_whatever_happens_each_member_gets_what_comes_next_or_is_told(
    loses: bool, plan: list[Any], size: int, crowded: bool
) -> None:
    rules = {"kept:*": {"history_size": size if loses else 1000}}
    follow(Plan, rules, plan, loses=loses, crowded=crowded)


class NewestPlan(Plan):
    """The same for groups where each publication takes the place of those before it: what comes is newer."""

    async def _join_at(self, seat: Seat, group: str, since: Position | None) -> None:
        recovery = await self.hub.join_at(group, seat.client.connection, since)
        if recovery is None:
            return
        given = len(recovery.publications)
        assert since is None or given <= recovery.recovered, "the newest alone"
        seat.reached[group] = Position(recovery.position.epoch, recovery.position.offset - given)
        for publication in recovery.publications:
            seat.client.connection.send_text(publication.data)

    def comes_next(self, position: Position, before: Position) -> bool:
        return position.epoch != before.epoch or position.offset > before.offset


@pytest.mark.parametrize("loses", [True, False], ids=["a bad carrier", "a good carrier"])
@settings(max_examples=200)
@given(st.lists(steps, min_size=10, max_size=70), st.integers(1, 3), st.booleans())
def test_whatever_happens_each_member_of_a_cache_has_the_newest_in_the_end(
    loses: bool, plan: list[Any], size: int, crowded: bool
) -> None:
    follow(NewestPlan, {"kept:*": {"history_size": size, "recovery": "cache"}}, plan, loses=loses, crowded=crowded)
