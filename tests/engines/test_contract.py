"""The contract of an engine, case by case, on every engine of the list (``contract``)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.events import make_event
from antiphon.types import ClientInfo, Position, PresenceStats, Publication, Publishing, Repeat, Retention

from .contract import KINDS, Heard, Kind, Process, World, on_every_engine

EVENT = make_event({"type": "note", "n": 1, "deep": {"a": [1, None, "ü"]}})


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(request.param, lambda: tmp_path_factory.mktemp("engine"))


@pytest.fixture(params=[kind for kind in KINDS if kind.shared], ids=lambda kind: kind.name)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(request.param, lambda: tmp_path_factory.mktemp("engine"))


async def published(process: Process, group: str, count: int, retention: Retention) -> list[Position]:
    """Publish 1, 2, 3 …"""
    return [await process.publish(group, b"%d" % number, retention=retention) for number in range(1, count + 1)]


def is_suffix(publications: tuple[Publication, ...], top: Position) -> bool:
    """Tell whether nothing is there without what came behind it."""
    last = [each.offset for each in publications]
    return last == list(range(top.offset - len(last) + 1, top.offset + 1))


# Offsets, epochs, order


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("subscribed", [True, False], ids=["subscribed", "resting"])
@on_every_engine
async def test_offsets_count_from_one_within_an_epoch(world: World, subscribed: bool, kept: bool) -> None:
    process, retention = await world.process(), world.retention()
    if subscribed:
        await process.engine.subscribe("a", retention)
    if kept:
        positions = await published(process, "a", 5, retention)
    else:
        positions = [await process.engine.publish("a", b"1") for _ in range(5)]
    assert [position.offset for position in positions] == [1, 2, 3, 4, 5]
    assert len({position.epoch for position in positions}) == 1
    assert {type(position) for position in positions} == {Position}


@on_every_engine
async def test_an_epoch_is_text_that_no_client_takes_for_something_else(world: World) -> None:
    process = await world.process()
    epoch = (await process.engine.publish("a", b"1")).epoch
    assert isinstance(epoch, str)
    assert epoch.isascii()
    assert epoch not in ("", "_")
    assert len(epoch) <= 64


@on_every_engine
async def test_each_group_counts_for_itself_in_an_epoch_of_its_own(world: World) -> None:
    process, retention = await world.process(), world.retention()
    positions = {name: await published(process, name, 2, retention) for name in "abc"}
    assert [[position.offset for position in each] for each in positions.values()] == [[1, 2]] * 3
    assert len({each[0].epoch for each in positions.values()}) == 3


@on_every_engine
async def test_what_is_published_is_heard_in_the_order_of_the_offsets(world: World) -> None:
    process, retention = await world.process(), world.retention()
    for name in "ab":
        await process.engine.subscribe(name, retention)
    for number in range(20):
        await process.publish("ab"[number % 3 == 0], b"%d" % number, retention=retention)
    await process.hears(20)
    for name in "ab":
        assert process.heard.offsets(name) == list(range(1, len(process.heard.of(name)) + 1))
        assert [int(each.data) for each in process.heard.of(name)] == sorted(
            int(each.data) for each in process.heard.of(name)
        )


@on_every_engine
async def test_calls_at_the_same_time_each_get_an_offset_of_their_own(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    positions = await asyncio.gather(
        *(process.publish("a", b"%d" % number, retention=retention) for number in range(50))
    )
    await process.hears(50)
    assert sorted(position.offset for position in positions) == list(range(1, 51))
    assert process.heard.offsets("a") == list(range(1, 51))
    of_data = {each.data: each.position for each in process.heard.of("a")}
    assert [of_data[b"%d" % number] for number in range(50)] == positions


@on_every_engine
async def test_publish_returns_the_position_that_is_heard_and_stored(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    position = await process.publish("a", b'{"x":1}', retention=retention)
    await process.hears(1)
    (heard,) = process.heard.of("a")
    page = await process.page("a", retention)
    assert heard.position == page.publications[0].position == page.top == position


@on_every_engine
async def test_the_time_is_that_of_the_call_in_seconds_since_1970(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await published(process, "a", 2, retention)
    first, second = (await process.page("a", retention)).publications
    assert 1_600_000_000 < first.time <= second.time < 10_000_000_000


# What is kept


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("subscribed", [True, False], ids=["subscribed", "resting"])
@on_every_engine
async def test_the_newest_are_kept_as_many_as_the_retention_says(world: World, size: int, subscribed: bool) -> None:
    process, retention = await world.process(), world.retention(size)
    if subscribed:
        await process.engine.subscribe("a", retention)
    await published(process, "a", size + 3, retention)
    page = await process.page("a", retention)
    assert [each.offset for each in page.publications] == list(range(4, size + 4))
    assert [each.data for each in page.publications] == [b"%d" % number for number in range(4, size + 4)]
    assert page.top.offset == size + 3


@on_every_engine
async def test_a_size_of_zero_keeps_the_position_alone(world: World) -> None:
    process, retention = await world.process(), world.retention(0)
    last = (await published(process, "a", 3, retention))[-1]
    page = await process.page("a", retention)
    assert (page.publications, page.top) == ((), last)


@on_every_engine
async def test_where_the_size_shrinks_the_oldest_go(world: World) -> None:
    process = await world.process()
    await published(process, "a", 5, world.retention(5))
    await process.publish("a", b"6", retention=world.retention(2))
    assert await process.offsets("a", world.retention(2)) == [5, 6]


@on_every_engine
async def test_each_is_kept_for_its_lifetime(world: World) -> None:
    process, retention = await world.process(), world.retention(lifetime=10)
    await process.publish("a", b"1", retention=retention)
    await world.pass_time(5)
    last = await process.publish("a", b"2", retention=retention)
    found = []
    for _ in range(4):
        found.append(await process.offsets("a", retention))
        await world.pass_time(4)
    assert found == [[1, 2], [1, 2], [2], []]
    assert (await process.page("a", retention)).top == last


@on_every_engine
async def test_a_lifetime_that_is_over_is_over_also_for_who_reads_after_a_new_one(world: World) -> None:
    process, retention = await world.process(), world.retention(lifetime=10)
    await published(process, "a", 3, retention)
    await world.pass_time(12)
    await process.publish("a", b"4", retention=retention)
    assert await process.offsets("a", retention) == [4]


@pytest.mark.parametrize(("first", "second"), [(100, 10), (10, 100)])
@on_every_engine
async def test_nothing_is_kept_without_what_came_behind_it(world: World, first: int, second: int) -> None:
    process = await world.process()
    await process.publish("a", b"1", retention=world.retention(lifetime=first))
    await process.publish("a", b"2", retention=world.retention(lifetime=second))
    await world.pass_time(50)
    page = await process.page("a", world.retention())
    assert is_suffix(page.publications, page.top)
    kept = {offset for offset, lifetime in ((1, first), (2, second)) if lifetime == 100}
    assert kept <= {each.offset for each in page.publications}, "what is to be there longer is there"


@pytest.mark.parametrize("later", [0, 1, 3])
@on_every_engine
async def test_what_is_published_without_being_kept_leaves_no_hole(world: World, later: int) -> None:
    process, retention = await world.process(), world.retention()
    await published(process, "a", 3, retention)
    await process.engine.publish("a", b"not kept")
    await published(process, "a", later, retention)
    page = await process.page("a", retention)
    assert page.top.offset == 4 + later
    assert [each.offset for each in page.publications] == list(range(5, 5 + later))


@on_every_engine
async def test_publications_while_nobody_is_subscribed_are_kept(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    await process.publish("a", b"1", retention=retention)
    await process.hears(1)
    process.engine.unsubscribe("a")
    await world.settled()
    await process.publish("a", b"2", retention=retention)
    await process.engine.subscribe("a", retention)
    await process.publish("a", b"3", retention=retention)
    await process.hears(2)
    assert process.heard.offsets("a") == [1, 3]
    assert await process.offsets("a", retention) == [1, 2, 3]


# Reading


SINCE = [None, 0, 1, 3, 4, 7, 8, 9, 2**63]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("trimmed", [0, 3])
@on_every_engine
async def test_a_page_is_the_part_that_was_asked_for(
    world: World, since: int | None, reverse: bool, trimmed: int
) -> None:
    process, retention = await world.process(), world.retention(8 - trimmed)
    positions = await published(process, "a", 8, retention)
    place = None if since is None else Position(positions[-1].epoch, since)
    expected = list(range(1 + trimmed, 9))
    if reverse:
        expected = [offset for offset in reversed(expected) if since is None or offset < since]
    else:
        expected = [offset for offset in expected if since is None or offset > since]
    for limit in (None, 0, 1, 2, 7, 8, 100):
        page = await process.page("a", retention, since=place, limit=limit, reverse=reverse)
        assert [each.offset for each in page.publications] == expected[:limit]
        assert page.top == positions[-1]


@pytest.mark.parametrize("epoch", ["", "_", "another"])
@on_every_engine
async def test_the_epoch_of_since_is_not_looked_at(world: World, epoch: str) -> None:
    process, retention = await world.process(), world.retention()
    await published(process, "a", 3, retention)
    assert await process.offsets("a", retention, since=Position(epoch, 1)) == [2, 3]


@pytest.mark.parametrize("subscribed", [True, False], ids=["subscribed", "resting"])
@on_every_engine
async def test_a_page_of_a_new_group_is_empty_and_names_the_position_that_goes_on(
    world: World, subscribed: bool
) -> None:
    process, retention = await world.process(), world.retention()
    if subscribed:
        await process.engine.subscribe("a", retention)
    page = await process.page("a", retention)
    assert (page.publications, page.top.offset) == ((), 0)
    assert page.top.epoch
    assert await process.publish("a", retention=retention) == Position(page.top.epoch, 1)


@on_every_engine
async def test_reading_changes_nothing(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await published(process, "a", 4, retention)
    first = await process.page("a", retention)
    await process.page("a", retention, since=first.publications[1].position, limit=1, reverse=True)
    assert await process.page("a", retention) == first


@on_every_engine
async def test_a_page_is_what_it_was_when_it_was_read(world: World) -> None:
    process, retention = await world.process(), world.retention(3)
    await published(process, "a", 3, retention)
    page = await process.page("a", retention)
    await published(process, "a", 5, retention)
    await process.engine.remove_history("a")
    assert [each.offset for each in page.publications] == [1, 2, 3]


@on_every_engine
async def test_groups_share_nothing(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await published(process, "a", 3, retention)
    await published(process, "b", 1, retention)
    await process.engine.remove_history("b")
    assert await process.offsets("a", retention) == [1, 2, 3]
    assert await process.offsets("b", retention) == []


# How long a position is kept


@on_every_engine
async def test_a_position_is_kept_for_its_lifetime_after_the_last_publication(world: World) -> None:
    process, retention = await world.process(), world.retention(lifetime=10, position_lifetime=50, idempotency_window=1)
    first = await process.publish("a", retention=retention)
    await world.pass_time(40)
    assert await process.publish("a", retention=retention) == (first.epoch, 2)
    await world.pass_time(40)
    assert (await process.page("a", retention)).top == (first.epoch, 2)
    await world.pass_time(55)
    again = await process.publish("a", retention=retention)
    assert again.offset == 1
    assert again.epoch != first.epoch
    assert await process.offsets("a", retention) == [1]


@on_every_engine
async def test_a_position_is_kept_as_long_as_somebody_is_subscribed(world: World) -> None:
    process, retention = await world.process(), world.retention(lifetime=10, position_lifetime=50, idempotency_window=1)
    first = await process.publish("a", retention=retention)
    await process.engine.subscribe("a", retention)
    await world.pass_time(500)
    assert (await process.page("a", retention)).top == first
    process.engine.unsubscribe("a")
    await world.pass_time(45)
    assert await process.publish("a", retention=retention) == (first.epoch, 2)


@on_every_engine
async def test_a_position_that_a_page_named_is_kept_as_well(world: World) -> None:
    process, retention = await world.process(), world.retention(lifetime=10, position_lifetime=50, idempotency_window=1)
    top = (await process.page("a", retention)).top
    await world.pass_time(40)
    assert (await process.page("a", retention)).top == top
    await world.pass_time(40)
    assert await process.publish("a", retention=retention) == (top.epoch, 1)


@on_every_engine
async def test_publications_outlive_a_shorter_position_lifetime(world: World) -> None:
    process = await world.process()
    retention = world.retention(lifetime=100, position_lifetime=10, idempotency_window=10)
    await process.publish("a", retention=retention)
    await world.pass_time(80)
    assert await process.offsets("a", retention) == [1]


@on_every_engine
async def test_no_epoch_is_used_twice(world: World) -> None:
    process = await world.process()
    retention = world.retention(lifetime=1, position_lifetime=2, idempotency_window=1)
    epochs = set()
    for _ in range(10):
        for name in "abc":
            epochs.add((await process.publish(name, retention=retention)).epoch)
        await world.pass_time(5)
    assert len(epochs) == 30


# Removing


@pytest.mark.parametrize("subscribed", [True, False], ids=["subscribed", "resting"])
@on_every_engine
async def test_removing_drops_the_publications_and_keeps_the_position(world: World, subscribed: bool) -> None:
    process, retention = await world.process(), world.retention()
    if subscribed:
        await process.engine.subscribe("a", retention)
    last = (await published(process, "a", 3, retention))[-1]
    await process.engine.remove_history("a")
    page = await process.page("a", retention)
    assert (page.publications, page.top) == ((), last)
    assert await process.publish("a", retention=retention) == (last.epoch, 4)
    assert await process.offsets("a", retention) == [4]


@on_every_engine
async def test_removing_what_is_not_there_does_nothing(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.remove_history("a")
    await process.engine.remove_history("a")
    assert (await process.publish("a", retention=retention)).offset == 1


# Idempotency keys


@pytest.mark.parametrize("subscribed", [True, False], ids=["subscribed", "resting"])
@pytest.mark.parametrize("size", [0, 10])
@on_every_engine
async def test_a_second_publication_with_the_key_is_not_made(world: World, subscribed: bool, size: int) -> None:
    process, retention = await world.process(), world.retention(size)
    if subscribed:
        await process.engine.subscribe("a", retention)
    first = await process.publish("a", b"1", retention=retention, idempotency_key="k")
    again = await process.publish("a", b"2", retention=retention, idempotency_key="k")
    assert (type(first), type(again)) == (Position, Repeat)
    assert again == first
    await process.publish("a", b"3", retention=retention)
    await process.hears(2 if subscribed else 0)
    assert [each.data for each in process.heard.of("a")] == ([b"1", b"3"] if subscribed else [])
    page = await process.page("a", retention)
    assert [each.data for each in page.publications] == ([b"1", b"3"] if size else [])
    assert page.top == (first.epoch, 2)


@on_every_engine
async def test_the_position_is_that_of_the_first_whatever_came_since(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.publish("a", retention=retention)
    first = await process.publish("a", retention=retention, idempotency_key="k")
    await published(process, "a", 3, retention)
    assert await process.publish("a", retention=retention, idempotency_key="k") == first == (first.epoch, 2)


@on_every_engine
async def test_another_key_and_none_are_others(world: World) -> None:
    process, retention = await world.process(), world.retention()
    keys = ["k", "K", "k ", "", "", "ü", "u\u0308", "k\x00", "x" * 255]
    positions = [await process.publish("a", retention=retention, idempotency_key=key) for key in keys]
    assert [position.offset for position in positions] == list(range(1, len(keys) + 1))


@on_every_engine
async def test_a_key_is_one_groups(world: World) -> None:
    process, retention = await world.process(), world.retention()
    for name in "ab":
        assert type(await process.publish(name, retention=retention, idempotency_key="k")) is Position
    for name in "ab":
        assert type(await process.publish(name, retention=retention, idempotency_key="k")) is Repeat


@on_every_engine
async def test_a_key_is_remembered_for_its_window_from_the_first_on(world: World) -> None:
    process, retention = await world.process(), world.retention(idempotency_window=10)
    kinds = []
    for _ in range(5):
        kinds.append(type(await process.publish("a", retention=retention, idempotency_key="k")))
        await world.pass_time(4)
    assert kinds == [Position, Repeat, Repeat, Position, Repeat]
    assert (await process.page("a", retention)).top.offset == 2


@pytest.mark.parametrize(("long", "short"), [(100, 10), (10, 100)])
@on_every_engine
async def test_each_key_has_a_window_of_its_own(world: World, long: int, short: int) -> None:
    process = await world.process()
    windows = {"first": long, "second": short}
    for key, window in windows.items():
        await process.publish("a", retention=world.retention(idempotency_window=window), idempotency_key=key)
    await world.pass_time(50)
    for key, window in windows.items():
        again = await process.publish("a", retention=world.retention(idempotency_window=window), idempotency_key=key)
        assert type(again) is (Repeat if window == 100 else Position)


@on_every_engine
async def test_of_many_at_the_same_time_one_is_made(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    positions = await asyncio.gather(
        *(process.publish("a", b"%d" % n, retention=retention, idempotency_key="k") for n in range(30))
    )
    assert sorted(type(position).__name__ for position in positions) == ["Position"] + ["Repeat"] * 29
    assert set(positions) == {(positions[0].epoch, 1)}
    await process.hears(1)
    made = next(n for n, position in enumerate(positions) if type(position) is Position)
    assert process.heard.of("a")[0].data == b"%d" % made


@pytest.mark.parametrize("how", ["size", "lifetime", "removed", "left"])
@on_every_engine
async def test_a_key_is_remembered_when_its_publication_is_gone(world: World, how: str) -> None:
    process = await world.process()
    retention = world.retention(size=2, lifetime=10, position_lifetime=20, idempotency_window=100)
    await process.engine.subscribe("a", retention)
    first = await process.publish("a", retention=retention, idempotency_key="k")
    if how == "size":
        await published(process, "a", 5, retention)
    elif how == "lifetime":
        await world.pass_time(50)
    elif how == "removed":
        await process.engine.remove_history("a")
    else:
        process.engine.unsubscribe("a")
        await world.pass_time(50)
    assert 1 not in await process.offsets("a", retention)
    again = await process.publish("a", retention=retention, idempotency_key="k")
    assert (type(again), again) == (Repeat, first)


# What goes with a publication

INFO = ClientInfo("7", "client-1", b'{"name":"Ada"}', b'{"role":"host"}')


@pytest.mark.parametrize(
    ("key", "info", "tags"),
    [
        ("", None, None),
        ("key", None, None),
        ("ü key", INFO, {"kind": "note", "": "", "ü": "🎵"}),
        ("", ClientInfo("", ""), {}),
        ("", ClientInfo("ü", "c", b"null"), {"a": "b"}),
        ("", None, {str(number): "x" * 255 for number in range(64)}),
    ],
    ids=["nothing", "a key", "everything", "empty", "some", "many tags"],
)
@on_every_engine
async def test_what_goes_with_a_publication_is_heard_and_stored(
    world: World, key: str, info: ClientInfo | None, tags: dict[str, str] | None
) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    position = await process.engine.publish("a", b"1", key, Publishing(retention, "", info, tags))
    await process.hears(1)
    for each in (*process.heard.of("a"), *(await process.page("a", retention)).publications):
        assert (each.data, each.position, each.key, each.info) == (b"1", position, key, info)
        assert (each.tags or {}) == (tags or {})


@pytest.mark.parametrize(
    "data",
    [b"", b"null", bytes(range(256)), b"\r\n\x00\xff", b"\xed\xa0\x80", "🎵".encode(), b'{"a":"\\u0000"}'],
    ids=repr,
)
@on_every_engine
async def test_data_is_what_it_was_byte_for_byte(world: World, data: bytes) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    await process.publish("a", data, retention=retention)
    await process.engine.publish("a", data)
    await process.hears(2)
    assert [each.data for each in process.heard.of("a")] == [data, data]
    await process.publish("a", data, retention=retention)
    assert [each.data for each in (await process.page("a", retention)).publications] == [data]


@on_every_engine
async def test_a_publication_may_be_large(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    large = b'"' + b"x" * (1 << 20) + b'"'
    for _ in range(3):
        await process.publish("a", large, retention=retention)
    await process.hears(3)
    assert [each.data == large for each in process.heard.of("a")] == [True] * 3
    assert [each.data == large for each in (await process.page("a", retention)).publications] == [True] * 3


# Groups

NAMES = [
    "a",
    "A",
    "a ",
    " a",
    "x" * 255,
    "x" * 254,
    "é" * 127,
    "e\u0301",
    "部屋",
    "🎵",
    "*",
    "a*",
    "[a]",
    "{a}",
    "{a}b",
    "a:b",
    "a%b",
    "a/b",
    "..",
    "'; drop table streams; --",
    '"',
    "\\",
    "$1",
    "a.b",
    "a.>",
    "null",
    "0",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:30])
@on_every_engine
async def test_every_name_is_a_group(world: World, name: str) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe(name, retention)
    await published(process, name, 2, retention)
    await process.publish(name, retention=retention, idempotency_key="k")
    assert type(await process.publish(name, retention=retention, idempotency_key="k")) is Repeat
    await process.engine.send_event(name, EVENT)
    await process.hears(4)
    assert process.heard.offsets(name) == [1, 2, 3]
    assert await process.offsets(name, retention) == [1, 2, 3]
    await process.engine.remove_history(name)
    assert await process.offsets(name, retention) == []


@on_every_engine
async def test_every_name_is_a_group_of_its_own(world: World) -> None:
    process, retention = await world.process(), world.retention()
    for name in NAMES:
        await process.engine.subscribe(name, retention)
    positions = [await process.publish(name, name.encode(), retention=retention, idempotency_key="k") for name in NAMES]
    assert {(position.offset, type(position)) for position in positions} == {(1, Position)}
    assert len({position.epoch for position in positions}) == len(NAMES)
    await process.hears(len(NAMES))
    assert {name: each.data for name, each in process.heard.publications} == {name: name.encode() for name in NAMES}


@on_every_engine
async def test_ten_thousand_groups(world: World) -> None:
    process, retention = await world.process(), world.retention(1)
    names = [f"group {number}" for number in range(10_000)]
    for name in names[::2]:
        await process.engine.subscribe(name, retention)
    positions = [await process.publish(name, retention=retention) for name in names]
    assert {position.offset for position in positions} == {1}
    assert len({position.epoch for position in positions}) == 10_000
    await process.hears(5000)
    for name, position in list(zip(names, positions, strict=True))[::97]:
        assert (await process.page(name, retention)).top == position


# Who hears


@on_every_engine
async def test_who_is_not_subscribed_hears_nothing(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("b", retention)
    await process.publish("a", retention=retention)
    await process.engine.publish("a", b"1")
    await process.engine.send_event("a", EVENT)
    await world.settled()
    await process.hears(0)


@on_every_engine
async def test_who_subscribes_hears_what_is_published_from_then_on(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await published(process, "a", 3, retention)
    await process.engine.subscribe("a", retention)
    await process.publish("a", b"4", retention=retention)
    await process.hears(1)
    assert process.heard.offsets("a") == [4]


@on_every_engine
async def test_subscribing_twice_is_subscribing_once(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    await process.engine.subscribe("a", retention)
    await process.publish("a", retention=retention)
    await process.engine.send_event("a", EVENT)
    await process.hears(2)
    process.engine.unsubscribe("a")
    await process.publish("a", retention=retention)
    await world.settled()
    await process.hears(2)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
@on_every_engine
async def test_who_comes_back_hears_again_and_the_stream_has_gone_on(world: World, kept: bool) -> None:
    process = await world.process()
    retention = world.retention() if kept else None
    for _ in range(3):
        await process.engine.subscribe("a", retention)
        if retention is not None:
            await process.publish("a", retention=retention)
        else:
            await process.engine.publish("a", b"1")
        await world.settled()
        process.engine.unsubscribe("a")
    assert process.heard.offsets("a") == [1, 2, 3]
    assert len({each.epoch for each in process.heard.of("a")}) == 1


@on_every_engine
async def test_unsubscribing_from_what_was_not_subscribed_does_nothing(world: World) -> None:
    process, retention = await world.process(), world.retention()
    process.engine.unsubscribe("a")
    await process.engine.subscribe("a", retention)
    process.engine.unsubscribe("b")
    await process.publish("a", retention=retention)
    await process.hears(1)


@on_every_engine
async def test_subscribing_and_leaving_use_no_offset(world: World) -> None:
    process, retention = await world.process(), world.retention()
    first = await process.publish("a", retention=retention)
    for _ in range(3):
        await process.engine.subscribe("a", retention)
        process.engine.unsubscribe("a")
    assert await process.publish("a", retention=retention) == (first.epoch, 2)


# Events


@on_every_engine
async def test_an_event_is_heard_as_it_was_sent(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    await process.engine.send_event("a", EVENT)
    await process.hears(1)
    ((group, event),) = process.heard.events
    assert (group, event.type, event.content, event.copy()) == ("a", "note", EVENT.content, EVENT.content)


@on_every_engine
async def test_an_event_is_stored_nowhere_and_uses_no_offset(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    first = await process.publish("a", retention=retention)
    await process.engine.send_event("a", EVENT)
    assert await process.publish("a", retention=retention) == (first.epoch, 2)
    assert await process.offsets("a", retention) == [1, 2]


@on_every_engine
async def test_events_and_publications_of_a_group_are_heard_in_the_order_of_the_calls(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    for number in range(10):
        if number % 3:
            await process.publish("a", retention=retention)
        else:
            await process.engine.send_event("a", EVENT)
    await process.hears(10)
    assert process.heard.order == ["event" if number % 3 == 0 else "publication" for number in range(10)]


@on_every_engine
async def test_a_direct_event_reaches_its_process_without_a_subscription(world: World) -> None:
    process = await world.process()
    await process.engine.send_direct_event(f"specific.{process.name}!y", EVENT)
    await process.hears(1)
    ((channel, event),) = process.heard.direct
    assert (channel, event.type, event.content) == (f"specific.{process.name}!y", "note", EVENT.content)


@pytest.mark.parametrize("channel", ["thumbnails", "a.b.c", "specific!y"])
@on_every_engine
async def test_a_direct_event_for_a_channel_of_no_process_stays_in_this_one(world: World, channel: str) -> None:
    process = await world.process()
    await process.engine.send_direct_event(channel, EVENT)
    await process.hears(1)
    assert [name for name, _ in process.heard.direct] == [channel]


# Presence


ANN, BOB = ClientInfo("ann", "client-1", b'{"name":"Ann"}'), ClientInfo("bob", "client-2", b"", b'{"role":"guest"}')


@on_every_engine
async def test_who_entered_is_present_until_it_leaves(world: World) -> None:
    process = await world.process()
    process.engine.enter("a", ANN)
    process.engine.enter("a", BOB)
    process.engine.enter("b", BOB)
    assert await process.engine.presence("a") == {"client-1": ANN, "client-2": BOB}
    assert await process.engine.presence("b") == {"client-2": BOB}
    process.engine.leave("a", "client-2")
    assert await process.engine.presence("a") == {"client-1": ANN}
    assert await process.engine.presence("b") == {"client-2": BOB}
    assert await process.engine.presence("c") == {}


@on_every_engine
async def test_the_newest_info_is_what_others_see(world: World) -> None:
    process = await world.process()
    await process.engine.subscribe("a")
    process.engine.enter("a", ANN, announced=True)
    changed = ClientInfo("ann", "client-1", b'{"name":"Annie"}')
    process.engine.enter("a", changed, announced=True)
    assert await process.engine.presence("a") == {"client-1": changed}
    await process.hears(1)
    assert process.heard.joins == [("a", ANN)]


@on_every_engine
async def test_each_connection_counts_and_each_user_once(world: World) -> None:
    process = await world.process()
    for client, user in (("1", "ann"), ("2", "ann"), ("3", "bob"), ("4", "")):
        process.engine.enter("a", ClientInfo(user, client))
    assert await process.engine.presence_stats("a") == PresenceStats(clients=4, users=3)
    assert await process.engine.presence_stats("b") == PresenceStats(0, 0)


@on_every_engine
async def test_who_joins_and_leaves_is_announced_once_where_that_is_wanted(world: World) -> None:
    process = await world.process()
    await process.engine.subscribe("a")
    process.engine.enter("a", BOB)
    process.engine.enter("a", ANN, announced=True)
    process.engine.leave("a", "client-2")
    process.engine.leave("a", "client-1")
    process.engine.leave("a", "client-1")
    await process.hears(2)
    assert (process.heard.joins, process.heard.leaves) == ([("a", ANN)], [("a", ANN)])
    assert process.heard.order == ["join", "leave"]


@on_every_engine
async def test_nobody_hears_of_a_group_without_being_subscribed(world: World) -> None:
    process = await world.process()
    process.engine.enter("a", ANN, announced=True)
    process.engine.leave("a", "client-1")
    assert await process.engine.presence("a") == {}
    await world.settled()
    await process.hears(0)


@on_every_engine
async def test_presence_is_there_as_long_as_the_process_lives(world: World) -> None:
    process = await world.process()
    process.engine.enter("a", ANN)
    await world.pass_time(3.5 * world.kind.lease or 1000)
    assert await process.engine.presence("a") == {"client-1": ANN}


@on_every_engine
async def test_presence_needs_no_stream_and_leaves_none(world: World) -> None:
    process, retention = await world.process(), world.retention()
    first = await process.publish("a", retention=retention)
    process.engine.enter("a", ANN, announced=True)
    process.engine.leave("a", "client-1")
    assert await process.publish("a", retention=retention) == (first.epoch, 2)
    await process.engine.remove_history("a")
    process.engine.enter("a", BOB)
    await process.engine.subscribe("a")
    process.engine.unsubscribe("a")
    assert await process.engine.presence("a") == {"client-2": BOB}


@on_every_engine
async def test_many_come_and_go(world: World) -> None:
    process = await world.process()
    await process.engine.subscribe("a")
    infos = [ClientInfo(f"user-{number % 100}", f"client-{number}") for number in range(500)]
    for info in infos:
        process.engine.enter("a", info, announced=True)
    await process.hears(500)
    assert await process.engine.presence_stats("a") == PresenceStats(500, 100)
    for info in infos[:-1]:
        process.engine.leave("a", info.client)
    await process.hears(999)
    assert process.heard.joins == [("a", info) for info in infos]
    assert process.heard.leaves == [("a", info) for info in infos[:-1]]
    assert await process.engine.presence("a") == {infos[-1].client: infos[-1]}


# Control


@on_every_engine
async def test_control_is_heard_as_it_was_sent(world: World) -> None:
    process = await world.process()
    await process.engine.send_control(b"\x00\xff anything")
    await process.hears(1)
    assert process.heard.controls == [b"\x00\xff anything"]


# The end, and another beginning


@on_every_engine
async def test_after_stop_nothing_is_heard_and_stopping_twice_does_no_harm(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    await process.publish("a", retention=retention, idempotency_key="k")
    await process.hears(1)
    await process.engine.stop()
    await process.engine.stop()
    await world.pass_time(1000)
    await process.hears(1)


@on_every_engine
async def test_stopping_what_was_not_started_does_no_harm(world: World) -> None:
    process = await world.process()
    await process.engine.stop()
    await process.engine.stop()


@on_every_engine
async def test_an_engine_may_be_started_again(world: World) -> None:
    process, retention = await world.process(), world.retention()
    await process.engine.subscribe("a", retention)
    first = (await published(process, "a", 2, retention))[0]
    await process.hears(2)
    await process.engine.stop()
    second = Heard()
    await process.engine.start(second)
    position = await process.publish("a", retention=retention)
    await world.settled()
    assert len(second) == 0, "what was subscribed before is not any more"
    if world.kind.lasting:
        assert position == (first.epoch, 3)
        assert await process.offsets("a", retention) == [1, 2, 3]
    else:
        assert position.offset == 1
        assert position.epoch != first.epoch
    await process.engine.subscribe("a", retention)
    await process.publish("a", retention=retention)
    await world.settled()
    assert second.offsets("a") == [position.offset + 1]
    await process.hears(2)


# Any sequence of calls

verbs = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(["", "", "k", "l"])),
    st.tuples(st.just("pass"), st.integers(1, 12)),
    st.tuples(st.sampled_from(["subscribe", "unsubscribe", "remove", "unkept"]), st.none()),
    st.tuples(st.just("read"), st.tuples(st.none() | st.integers(0, 12), st.none() | st.integers(0, 4), st.booleans())),
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=120)
@given(st.lists(verbs, max_size=30), st.integers(0, 4))
def test_a_plain_model_says_the_same(
    kind: Kind, tmp_path_factory: pytest.TempPathFactory, plan: list[Any], size: int
) -> None:
    world = World(kind, lambda: tmp_path_factory.mktemp("engine"))

    async def case() -> None:
        process, retention = await world.process(), world.retention(size, 10, 1000, 20)
        now = 0.0
        published: list[tuple[int, float]] = []
        """Offsets, and until when they are kept."""
        top, kept_from = 0, 1
        keys: dict[str, tuple[int, float]] = {}
        subscribed, heard = False, 0
        epoch = (await process.page("a", retention)).top.epoch
        for verb, argument in plan:
            if verb == "publish":
                position = await process.publish("a", retention=retention, idempotency_key=argument)
                known = keys.get(argument)
                if argument and known is not None and known[1] > now:
                    assert (type(position), position) == (Repeat, (epoch, known[0]))
                    continue
                top += 1
                heard += subscribed
                published.append((top, now + 10))
                keys[argument] = top, now + 20
                kept_from = max(kept_from, top - size + 1)
                assert (type(position), position) == (Position, (epoch, top))
            elif verb == "unkept":
                top += 1
                heard += subscribed
                kept_from = top + 1
                assert await process.engine.publish("a", b"1") == (epoch, top)
            elif verb == "subscribe":
                await process.engine.subscribe("a", retention)
                subscribed = True
            elif verb == "unsubscribe":
                await world.settled()
                process.engine.unsubscribe("a")
                subscribed = False
            elif verb == "remove":
                await process.engine.remove_history("a")
                kept_from = top + 1
            elif verb == "pass":
                await world.pass_time(argument - 0.5)
                now += argument - 0.5
            else:
                since, limit, reverse = argument
                there = [offset for offset, expires in published if expires > now and offset >= kept_from]
                if reverse:
                    there = [offset for offset in reversed(there) if since is None or offset < since]
                else:
                    there = [offset for offset in there if since is None or offset > since]
                place = None if since is None else Position(epoch, since)
                page = await process.page("a", retention, since=place, limit=limit, reverse=reverse)
                assert [each.offset for each in page.publications] == there[:limit]
                assert page.top == (epoch, top)
        await process.hears(heard)

    world.run(case())


# Two processes


@on_every_engine
async def test_every_process_that_is_subscribed_hears_the_same(shared: World) -> None:
    first, second, third = [await shared.process() for _ in range(3)]
    retention = shared.retention()
    for process in (first, second):
        await process.engine.subscribe("a", retention)
    await asyncio.gather(
        *(
            process.publish("a", b"%d" % number, retention=retention)
            for number, process in enumerate([first, second, third] * 20)
        )
    )
    for process in (first, second):
        await process.hears(60)
        assert process.heard.offsets("a") == list(range(1, 61))
    assert first.heard.of("a") == second.heard.of("a")
    await third.hears(0)
    assert list((await third.page("a", retention)).publications) == first.heard.of("a")


@on_every_engine
async def test_an_event_reaches_every_process_that_is_subscribed(shared: World) -> None:
    first, second, third = [await shared.process() for _ in range(3)]
    for process in (first, second):
        await process.engine.subscribe("a")
    for process in (first, second, third):
        await process.engine.send_event("a", EVENT)
    for process in (first, second):
        await process.hears(3)
        assert [event.content for _, event in process.heard.events] == [EVENT.content] * 3
    await shared.settled()
    await third.hears(0)


@on_every_engine
async def test_a_direct_event_reaches_the_process_that_has_the_channel(shared: World) -> None:
    first, second = await shared.process(), await shared.process()
    name = f"specific.{second.name}!y"
    await first.engine.send_direct_event(name, EVENT)
    await second.hears(1)
    assert [channel for channel, _ in second.heard.direct] == [name]
    await shared.settled()
    await first.hears(0)


@on_every_engine
async def test_who_is_present_is_known_to_all_processes(shared: World) -> None:
    first, second, third = [await shared.process() for _ in range(3)]
    for process in (first, second):
        await process.engine.subscribe("a")
    first.engine.enter("a", ANN, announced=True)
    await second.hears(1)
    second.engine.enter("a", BOB, announced=True)
    await first.hears(2)
    for process in (first, second, third):
        assert await process.engine.presence("a") == {"client-1": ANN, "client-2": BOB}
        assert await process.engine.presence_stats("a") == PresenceStats(2, 2)
    second.engine.leave("a", "client-2")
    for process in (first, second):
        await process.hears(3)
        assert process.heard.joins == [("a", ANN), ("a", BOB)]
        assert process.heard.leaves == [("a", BOB)]
    assert await third.engine.presence("a") == {"client-1": ANN}
    await third.hears(0)


@on_every_engine
async def test_who_was_in_a_process_that_stops_is_gone(shared: World) -> None:
    first, second = await shared.process(), await shared.process()
    await second.engine.subscribe("a")
    first.engine.enter("a", ANN, announced=True)
    await second.hears(1)
    await first.engine.stop()
    await second.hears(2)
    assert second.heard.leaves == [("a", ANN)]
    assert await second.engine.presence("a") == {}


@on_every_engine
async def test_who_was_in_a_process_that_dies_is_gone_within_the_lease(shared: World) -> None:
    first, second, third = [await shared.process() for _ in range(3)]
    for process in (second, third):
        await process.engine.subscribe("a")
    first.engine.enter("a", ANN, announced=True)
    first.engine.enter("b", ANN)
    second.engine.enter("a", BOB)
    await second.hears(1)
    await shared.kill(first)
    await shared.pass_time(shared.kind.lease * 1.5)
    for process in (second, third):
        await process.hears(2)
        assert process.heard.leaves == [("a", ANN)]
        assert await process.engine.presence("a") == {"client-2": BOB}
        assert await process.engine.presence("b") == {}


@on_every_engine
async def test_control_reaches_every_process(shared: World) -> None:
    processes = [await shared.process() for _ in range(3)]
    await processes[0].engine.send_control(b"1")
    for process in processes:
        await process.hears(1)
        assert process.heard.controls == [b"1"]


@on_every_engine
async def test_control_for_one_process_reaches_that_one(shared: World) -> None:
    processes = [await shared.process() for _ in range(3)]
    await processes[0].engine.send_control(b"1", processes[1].name)
    await processes[1].engine.send_control(b"2", processes[1].name)
    await processes[1].hears(2)
    await processes[0].engine.send_control(b"3", "nobody")
    await shared.settled()
    assert [sorted(process.heard.controls) for process in processes] == [[], [b"1", b"2"], []]


@on_every_engine
async def test_a_key_is_remembered_for_all_processes(shared: World) -> None:
    processes = [await shared.process() for _ in range(3)]
    retention = shared.retention()
    positions = await asyncio.gather(
        *(process.publish("a", retention=retention, idempotency_key="k") for process in processes * 5)
    )
    assert sorted(type(position).__name__ for position in positions) == ["Position"] + ["Repeat"] * 14
    assert {position.offset for position in positions} == {1}


@on_every_engine
async def test_who_leaves_or_ends_takes_nothing_from_the_others(shared: World) -> None:
    first, second = await shared.process(), await shared.process()
    retention = shared.retention()
    for process in (first, second):
        await process.engine.subscribe("a", retention)
    await first.publish("a", retention=retention)
    await second.hears(1)
    await first.hears(1)
    first.engine.unsubscribe("a")
    await second.publish("a", retention=retention)
    await second.hears(2)
    await first.engine.stop()
    await second.publish("a", retention=retention)
    await second.hears(3)
    await first.hears(1)
    assert second.heard.offsets("a") == await second.offsets("a", retention) == [1, 2, 3]


@on_every_engine
async def test_a_history_that_one_process_removes_is_gone_for_all(shared: World) -> None:
    first, second = await shared.process(), await shared.process()
    retention = shared.retention()
    last = (await published(first, "a", 3, retention))[-1]
    await second.engine.remove_history("a")
    assert await first.page("a", retention) == ((), last)
