"""The memory engine: positions, epochs, and how many idle groups it remembers."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines import memory
from antiphon.engines.memory import MemoryEngine
from antiphon.events import make_event
from antiphon.types import ClientInfo, Event, Position, Publication, Publishing, Retention

from ..fakes import on_jumping_loop, run


class Listener:
    """Hears what an engine tells."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, Publication]] = []
        self.events: list[tuple[str, Event]] = []
        self.direct: list[tuple[str, Event]] = []

    def on_publication(self, group: str, publication: Publication) -> None:
        self.publications.append((group, publication))

    def on_event(self, group: str, event: Event) -> None:
        self.events.append((group, event))

    def on_direct_event(self, channel: str, event: Event) -> None:
        self.direct.append((channel, event))

    def on_join(self, group: str, info: ClientInfo) -> None:
        raise AssertionError("nobody joins here")

    on_leave = on_join

    def on_control(self, control: bytes) -> None:
        raise AssertionError("nobody orders anything here")

    def on_continuity_lost(self) -> None:
        raise AssertionError("a process does not lose itself")


async def start(**options: Any) -> tuple[MemoryEngine, Listener]:
    engine, listener = MemoryEngine(**options), Listener()
    await engine.start(listener)
    return engine, listener


@pytest.mark.parametrize("subscribed", [False, True])
async def test_offsets_count_from_one_within_an_epoch(subscribed: bool) -> None:
    engine, _ = await start()
    if subscribed:
        await engine.subscribe("a")
    positions = [await engine.publish("a", b"1") for _ in range(5)]
    assert [position.offset for position in positions] == [1, 2, 3, 4, 5]
    assert len({position.epoch for position in positions}) == 1
    assert all(isinstance(position, Position) for position in positions)


async def test_each_group_counts_for_itself_in_an_epoch_of_its_own() -> None:
    engine, _ = await start()
    first, second = await engine.publish("a", b"1"), await engine.publish("b", b"1")
    assert first.offset == second.offset == 1
    assert first.epoch != second.epoch


async def test_a_publication_reaches_the_process_with_the_position_that_publish_returns() -> None:
    engine, listener = await start()
    await engine.subscribe("a")
    position = await engine.publish("a", b'{"x":1}')
    ((group, publication),) = listener.publications
    assert (group, publication.data, publication.position) == ("a", b'{"x":1}', position)
    assert publication.time > 1_600_000_000


async def test_the_key_travels_with_the_publication() -> None:
    engine, listener = await start()
    await engine.subscribe("a")
    await engine.publish("a", b"1", "key")
    await engine.publish("a", b"1")
    assert [publication.key for _, publication in listener.publications] == ["key", ""]


async def test_who_is_not_subscribed_hears_nothing() -> None:
    engine, listener = await start()
    event = make_event({"type": "note"})
    await engine.publish("a", b"1")
    await engine.send_event("a", event)
    await engine.subscribe("a")
    engine.unsubscribe("a")
    await engine.publish("a", b"1")
    await engine.send_event("a", event)
    assert not listener.publications
    assert not listener.events


async def test_events_reach_the_process_and_use_no_offset() -> None:
    engine, listener = await start()
    await engine.subscribe("a")
    event = make_event({"type": "note"})
    await engine.send_event("a", event)
    await engine.send_direct_event("specific.x!y", event)
    assert listener.events == [("a", event)]
    assert listener.direct == [("specific.x!y", event)]
    assert (await engine.publish("a", b"1")).offset == 1


async def test_the_position_is_kept_while_subscribed_and_while_idle() -> None:
    engine, _ = await start()
    first = await engine.publish("a", b"1")
    await engine.subscribe("a")
    second = await engine.publish("a", b"1")
    await engine.subscribe("a")
    engine.unsubscribe("a")
    third = await engine.publish("a", b"1")
    await engine.subscribe("a")
    fourth = await engine.publish("a", b"1")
    assert [position.offset for position in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert {position.epoch for position in (first, second, third, fourth)} == {first.epoch}


async def test_a_group_that_was_forgotten_begins_a_new_epoch() -> None:
    engine, _ = await start(idle_groups=2)
    first = await engine.publish("a", b"1")
    for other in "bc":
        await engine.publish(other, b"1")
    again = await engine.publish("a", b"1")
    assert again.offset == 1
    assert again.epoch != first.epoch


async def test_the_group_that_was_left_longest_ago_is_forgotten_first() -> None:
    engine, _ = await start(idle_groups=2)
    for group in "abab":
        await engine.publish(group, b"1")
    await engine.publish("c", b"1")
    assert (await engine.publish("b", b"1")).offset == 3


async def test_a_group_with_members_is_not_forgotten_however_many_are_idle() -> None:
    engine, _ = await start(idle_groups=2)
    await engine.subscribe("a")
    first = await engine.publish("a", b"1")
    for number in range(10):
        await engine.publish(f"other {number}", b"1")
    assert await engine.publish("a", b"1") == (first.epoch, 2)


async def test_groups_that_nobody_published_to_are_not_remembered() -> None:
    engine, _ = await start(idle_groups=2)
    first = await engine.publish("a", b"1")
    for number in range(10):
        await engine.subscribe(f"silent {number}")
        engine.unsubscribe(f"silent {number}")
    assert await engine.publish("a", b"1") == (first.epoch, 2)


async def test_unsubscribing_from_what_was_not_subscribed_does_nothing() -> None:
    engine, _ = await start()
    engine.unsubscribe("a")


async def test_after_stop_nothing_is_heard_and_stopping_twice_does_no_harm() -> None:
    engine, listener = await start()
    await engine.subscribe("a")
    await engine.stop()
    await engine.stop()
    await engine.publish("a", b"1")
    await engine.send_event("a", make_event({"type": "note"}))
    await engine.send_direct_event("specific.x!y", make_event({"type": "note"}))
    assert (listener.publications, listener.events, listener.direct) == ([], [], [])


async def test_two_engines_never_share_an_epoch() -> None:
    engines = [(await start())[0] for _ in range(20)]
    assert len({(await engine.publish("a", b"1")).epoch for engine in engines}) == 20


steps = st.lists(
    st.tuples(st.sampled_from(["publish", "publish", "subscribe", "unsubscribe"]), st.sampled_from("abcd")), max_size=60
)


@given(steps, st.integers(0, 3))
def test_offsets_have_no_holes_and_no_epoch_is_used_twice(plan: list[tuple[str, str]], idle_groups: int) -> None:
    async def main() -> None:
        engine, listener = await start(idle_groups=idle_groups)
        last: dict[str, Position] = {}
        epochs: set[str] = set()
        active: set[str] = set()
        heard = 0
        for verb, group in plan:
            if verb == "subscribe":
                await engine.subscribe(group)
                active.add(group)
            elif verb == "unsubscribe":
                engine.unsubscribe(group)
                active.discard(group)
            else:
                position = await engine.publish(group, b"1")
                heard += group in active
                known = last.get(group)
                if known is not None and position.epoch == known.epoch:
                    assert position.offset == known.offset + 1
                else:
                    assert position.offset == 1
                    assert position.epoch not in epochs
                    epochs.add(position.epoch)
                last[group] = position
            assert len(listener.publications) == heard

    run(main())


# Memory is given back

KEPT = Publishing(Retention(size=10, lifetime=60, position_lifetime=3600, idempotency_window=300))
KEYED = KEPT._replace(idempotency_key="k")


def streams(engine: MemoryEngine) -> int:
    return len(engine._active) + len(engine._idle) + len(engine._lasting)


@on_jumping_loop
async def test_when_everything_is_beyond_its_lifetime_nothing_is_left() -> None:
    engine, _ = await start()
    for number in range(300):
        group = f"group {number}"
        if number % 3 == 0:
            await engine.subscribe(group, KEPT.retention)
        for publishing in (KEPT, KEYED, KEPT):
            await engine.publish(group, b"1", "", publishing)
        if number % 2:
            await engine.history(group, KEPT.retention)
        engine.unsubscribe(group)
    assert streams(engine) == 300
    await asyncio.sleep(61)
    assert not any(stream.kept for stream in engine._lasting.values())
    assert all(stream.keys for stream in engine._lasting.values())
    await asyncio.sleep(300)
    assert not any(stream.keys for stream in engine._lasting.values())
    assert streams(engine) == 300
    await asyncio.sleep(3300)
    assert (streams(engine), engine._queue.first(), engine._sweeper) == (0, math.inf, None)


@pytest.mark.parametrize("before", ["history", "a publication that is over"])
def test_what_a_resting_group_keeps_is_given_back_in_time(before: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        engine, _ = await start()
        await engine.history("other", KEPT.retention)  # ends late, and is looked for
        if before == "history":
            await engine.history("a", KEPT.retention)
        else:
            await engine.publish("a", b"1", "", KEYED)
            await asyncio.sleep(400)
        await engine.publish("a", b"2", "", KEPT)
        assert len(engine._lasting["a"].kept) == 1
        await asyncio.sleep(62)
        assert engine._lasting["a"].kept is memory._NOTHING
        await engine.stop()

    main()


@on_jumping_loop
async def test_what_ends_first_is_given_back_first_whatever_was_kept_before_it() -> None:
    engine, _ = await start()
    for lifetime in (1000.0, 100.0, 10.0):
        publishing = Publishing(Retention(1, lifetime, lifetime, lifetime))
        await engine.publish(f"for {lifetime:g}", b"1", "", publishing)
    left = []
    for seconds in (12, 100, 1000):
        await asyncio.sleep(seconds)
        left.append(sorted(engine._lasting))
    assert left == [["for 100", "for 1000"], ["for 1000"], []]
    assert engine._sweeper is None


@on_jumping_loop
async def test_a_group_with_members_gives_back_what_it_kept() -> None:
    engine, _ = await start()
    await engine.subscribe("a", KEPT.retention)
    await engine.publish("a", b"1", "", KEYED)
    await asyncio.sleep(400)
    stream = engine._active["a"]
    assert (stream.kept, stream.keys, stream.due, engine._sweeper) == (memory._NOTHING, {}, None, None)


@on_jumping_loop
async def test_a_group_is_forgotten_in_time_although_nobody_has_looked_yet() -> None:
    engine, _ = await start()
    brief, long = Publishing(Retention(1, 0.2, 0.2, 0.2)), Publishing(Retention(1, 100, 100, 100))
    first = await engine.publish("a", b"1", "", brief)
    await asyncio.sleep(memory.SWEEP / 2)
    second = await engine.publish("a", b"1", "", long)
    assert second.epoch != first.epoch
    await asyncio.sleep(memory.SWEEP * 10)
    assert await engine.publish("a", b"1", "", long) == (second.epoch, 2)
    await engine.stop()


@on_jumping_loop
async def test_who_subscribed_says_how_long_the_position_is_kept_after_that() -> None:
    engine, _ = await start(idle_groups=2)
    await engine.subscribe("a", KEPT.retention)
    first = await engine.publish("a", b"1")
    engine.unsubscribe("a")
    for number in range(10):
        await engine.publish(f"other {number}", b"1")
    assert await engine.publish("a", b"1") == (first.epoch, 2)
    await engine.stop()


@on_jumping_loop
async def test_stop_leaves_no_timer() -> None:
    engine, _ = await start()
    await engine.publish("a", b"1", "", KEYED)
    sweeper = engine._sweeper
    assert sweeper is not None
    await engine.stop()
    assert sweeper.cancelled()
    assert (streams(engine), engine._sweeper) == (0, None)


@on_jumping_loop
async def test_over_a_bound_the_group_that_rests_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RESTING_GROUPS", 3)
    engine, _ = await start()
    first = {name: await engine.publish(name, b"1", "", KEPT) for name in "abcde"}
    assert list(engine._lasting) == ["c", "d", "e"]
    assert (await engine.publish("c", b"1", "", KEPT)).epoch == first["c"].epoch
    assert (await engine.publish("a", b"1", "", KEPT)).epoch != first["a"].epoch
    assert list(engine._lasting) == ["e", "c", "a"]
    for number in range(100):
        await engine.publish(f"other {number}", b"1", "", KEPT)
    assert len(engine._queue._heap) <= 6, "what made room is not remembered for as long as it would have been kept"
    await engine.stop()


async def kept(engine: MemoryEngine, group: str = "a") -> list[bytes]:
    page = await engine.history(group, KEPT.retention)
    return [publication.data for publication in page.publications]


@pytest.mark.parametrize("subscribed", [False, True])
@pytest.mark.parametrize("unkept", [None, Publishing(Retention(0, 60, 3600, 300), "key")])
def test_a_publication_that_is_not_kept_is_a_hole_behind_those_that_were(
    subscribed: bool, unkept: Publishing | None
) -> None:
    @on_jumping_loop
    async def main() -> None:
        engine, _ = await start()
        if subscribed:
            await engine.subscribe("a", KEPT.retention)
        await engine.publish("a", b"1", "", KEPT)
        await engine.publish("a", b"2", "", unkept)
        assert await kept(engine) == []
        await engine.publish("a", b"3", "", KEPT)
        assert await kept(engine) == [b"3"]
        await engine.stop()

    main()


@on_jumping_loop
async def test_how_many_are_kept_is_what_the_last_one_says() -> None:
    engine, _ = await start()
    found = []
    for number, size in enumerate([3, 3, 3, 3, 2, 4, 4, 4, 1, sys.maxsize + 1, 10**30]):
        await engine.publish("a", b"%d" % number, "", Publishing(Retention(size, 60, 3600, 300)))
        found.append(len(await kept(engine)))
    assert found == [1, 2, 3, 3, 2, 3, 4, 4, 1, 2, 3]
    assert await kept(engine) == [b"8", b"9", b"10"]
    await engine.stop()


@on_jumping_loop
async def test_how_long_they_are_kept_is_what_each_says() -> None:
    engine, _ = await start()
    for lifetime in (10.0, 100.0):
        await engine.publish("a", b"%d" % lifetime, "", Publishing(Retention(9, lifetime, 3600, 300)))
    stream = engine._lasting["a"]
    assert len(stream.kept) == 2
    await asyncio.sleep(12)
    assert [publication.data for publication, _ in stream.kept] == [b"100"], "nobody has asked, and it is given back"
    await asyncio.sleep(90)
    assert not stream.kept
    await engine.stop()


@on_jumping_loop
async def test_what_ends_sooner_than_what_was_waited_for_is_given_back_in_time() -> None:
    engine, _ = await start()
    await engine.publish("a", b"1", "", Publishing(Retention(1, 1000, 3600, 300)))
    await engine.publish("a", b"2", "", Publishing(Retention(1, 10, 3600, 300)))
    await asyncio.sleep(12)
    assert not engine._lasting["a"].kept
    await engine.publish("a", b"3", "", Publishing(Retention(0, 10, 3600, 20), "key"))
    await asyncio.sleep(22)
    assert not engine._lasting["a"].keys
    await engine.stop()


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 30) | st.just(math.inf)),
            st.tuples(st.just("drop"), st.integers(0, 5), st.none()),
            st.tuples(st.just("take"), st.none(), st.integers(0, 3)),
        ),
        max_size=60,
    )
)
def test_each_stream_is_looked_at_when_it_was_said_first(plan: list[Any]) -> None:
    queue = memory._Queue()
    each = [memory._Stream(str(number), "e") for number in range(6)]
    due: dict[int, float] = {}
    now = 0.0
    for verb, number, value in plan:
        if verb == "put":
            news = value < due.get(number, math.inf)
            if news:
                due[number] = value
            assert queue.put(each[number], value) is news
        elif verb == "drop":
            queue.drop(each[number])
            due.pop(number, None)
        else:
            now += value
            while (stream := queue.take(now)) is not None:
                when = due.pop(int(stream.group))
                assert when <= now
                assert when <= min(due.values(), default=math.inf)
            assert not any(when <= now for when in due.values())
        assert queue.first() <= min(due.values(), default=math.inf)
        assert len(queue._heap) <= 2 * len(due), "places that were left are not most of them"
    for number in list(due):
        queue.drop(each[number])
    assert queue.first() == math.inf
