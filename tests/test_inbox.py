"""Inboxes: order, exactly once, names that end, expiry, bounds; and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import importlib
import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.counters import Counters
from antiphon.events import make_event
from antiphon.exceptions import ChannelFull, InvalidName, MessagesLost
from antiphon.inbox import EXPIRY, ChannelName, Inbox, Inboxes, Loss, Waiting
from antiphon.names import check_channel_name
from antiphon.types import Event

from .fakes import on_jumping_loop, run, settled, until


class Office:
    """Inboxes on the running loop, and which of them were told to leave their groups."""

    def __init__(self, *, limit: int = 10**6) -> None:
        self.counters = Counters()
        self.left: list[str] = []
        self.inboxes = Inboxes(self.counters, self._leave, process="test", limit=limit)

    def _leave(self, inbox: Inbox) -> None:
        inbox.memberships.clear()
        self.left.append(inbox.channel)

    def put(self, channel: str, n: Any, size: int = 0, *, expiry: float = EXPIRY) -> None:
        inbox = self.inboxes.reach(channel, expiry)
        assert inbox is not None
        self.inboxes.put(inbox, event(n, size))

    async def take(self, channel: str) -> Any:
        return (await self.inboxes.take(channel)).content["n"]

    def reader(self, channel: str, taken: list[Any]) -> asyncio.Task[None]:
        """Start a task that takes one message and notes it."""

        async def read() -> None:
            taken.append(await self.take(channel))

        return asyncio.create_task(read())

    def inbox(self, channel: str) -> Inbox:
        inbox = self.inboxes.find(channel)
        assert inbox is not None
        return inbox

    @property
    def timers(self) -> list[float]:
        """When timers of the loop go off."""
        loop: Any = asyncio.get_running_loop()
        return [handle.when() for handle in loop._scheduled if not handle.cancelled()]

    def assert_nothing_is_left(self) -> None:
        assert self.inboxes.all() == {}
        assert self.inboxes._expiring == []
        assert self.timers == []


def event(n: Any, size: int = 0) -> Event:
    return make_event({"type": "note", "n": n, "padding": "x" * size})


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def end_all(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()


# Order, and exactly once


@on_jumping_loop
async def test_messages_are_taken_in_the_order_in_which_they_were_put() -> None:
    office = Office()
    for n in range(1000):
        office.put("jobs", n)
    assert [await office.take("jobs") for _ in range(1000)] == list(range(1000))
    assert office.inboxes.all().keys() <= {"jobs"}


@on_jumping_loop
async def test_each_message_goes_to_one_of_those_who_wait_and_the_longest_waiting_is_first() -> None:
    office, taken = Office(), [[] for _ in range(3)]  # type: tuple[Office, list[list[Any]]]
    readers = []
    for each in taken:
        readers.append(office.reader("jobs", each))
        await settled(2)
    for n in range(3):
        office.put("jobs", n)
    await asyncio.gather(*readers)
    assert taken == [[0], [1], [2]]


@on_jumping_loop
async def test_a_reader_gets_what_comes_later() -> None:
    office = Office()
    taken: list[Any] = []
    reader = office.reader("jobs", taken)
    await settled()
    assert taken == []
    office.put("jobs", 1)
    await reader
    assert taken == [1]


@on_jumping_loop
async def test_channels_have_nothing_to_do_with_each_other() -> None:
    office = Office()
    taken: list[Any] = []
    reader = office.reader("other", taken)
    office.put("jobs", 1)
    await settled()
    assert taken == []
    assert await office.take("jobs") == 1
    await end(reader)


@on_jumping_loop
async def test_a_cancelled_reader_takes_nothing() -> None:
    office = Office()
    for when in ("at once", "waiting"):
        reader = office.reader("jobs", [])
        if when == "waiting":
            await settled()
        await end(reader)
    assert office.inboxes.all() == {}
    office.put("jobs", 1)
    assert await office.take("jobs") == 1


@on_jumping_loop
async def test_a_reader_that_is_cancelled_after_it_was_woken_leaves_the_message_to_the_next() -> None:
    office = Office()
    taken: list[Any] = []
    first, second = office.reader("jobs", []), office.reader("jobs", taken)
    await settled()
    office.put("jobs", 1)  # wakes the first
    await end(first)
    await second
    assert taken == [1]


@on_jumping_loop
async def test_where_all_who_were_woken_are_cancelled_the_messages_stay_in_order() -> None:
    office = Office()
    readers = [office.reader("jobs", []) for _ in range(3)]
    await settled()
    for n in range(5):
        office.put("jobs", n)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert [await office.take("jobs") for _ in range(5)] == list(range(5))


@on_jumping_loop
async def test_a_newcomer_does_not_take_what_another_was_woken_for() -> None:
    office = Office()
    taken: list[Any] = []
    woken = office.reader("jobs", taken)
    await settled()
    office.put("jobs", 1)
    newcomer = office.reader("jobs", taken)
    await woken
    assert taken == [1]
    assert not newcomer.done()
    office.put("jobs", 2)
    await newcomer
    assert taken == [1, 2]


@on_jumping_loop
async def test_a_burst_is_shared_by_those_who_read() -> None:
    office = Office()
    shares: list[list[Any]] = [[], []]

    async def work(share: list[Any]) -> None:
        while len(share) < 50:
            share.append(await office.take("jobs"))

    workers = [asyncio.ensure_future(work(share)) for share in shares]
    await settled()
    for number in range(100):
        office.put("jobs", number)
    await asyncio.gather(*workers)
    assert [len(share) for share in shares] == [50, 50]
    assert sorted(shares[0] + shares[1]) == list(range(100))


@on_jumping_loop
async def test_a_reader_whose_message_was_flushed_goes_on_waiting() -> None:
    office = Office()
    taken: list[Any] = []
    reader = office.reader("jobs", taken)
    await settled()
    office.put("jobs", 1)
    office.inboxes.flush()
    await settled()
    assert taken == []
    office.put("jobs", 2)
    await reader
    assert taken == [2]


@on_jumping_loop
async def test_a_reader_that_comes_when_everything_has_just_expired_waits_for_the_next() -> None:
    office = Office()
    office.put("jobs", 1)
    taken: list[Any] = []
    office.inboxes.close()  # as where the timer is late
    await asyncio.sleep(EXPIRY + 1)
    reader = office.reader("jobs", taken)
    await settled()
    assert office.counters.channel_messages_expired == 1
    office.put("jobs", 2)
    await reader
    assert taken == [2]


steps = st.one_of(
    st.just(("put",)),
    st.just(("put",)),
    st.just(("read",)),
    st.just(("read",)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.just(("round",)),
)


@settings(max_examples=300)
@given(st.booleans(), st.lists(steps, max_size=60))
def test_whoever_is_cancelled_when_nothing_is_lost_or_doubled_and_the_order_is_kept(
    owned: bool, plan: list[Any]
) -> None:
    async def main() -> None:
        office = Office()
        channel: str = office.inboxes.new("one") if owned else "jobs"
        taken: list[int] = []
        readers: list[asyncio.Task[None]] = []
        put = 0
        for step, *arguments in plan:
            if step == "put":
                office.put(channel, put)
                put += 1
            elif step == "read":
                readers.append(office.reader(channel, taken))
            elif step == "cancel":
                if readers:
                    readers[arguments[0] % len(readers)].cancel()
            else:
                await asyncio.sleep(0)
        await settled()
        waiting = [reader for reader in readers if not reader.done()]
        assert len(taken) == sum(1 for reader in readers if reader.done() and not reader.cancelled())
        assert len(taken) == put or not waiting, "nobody waits while there is something"
        for reader in waiting:
            await end(reader)
        while len(taken) < put:
            await office.reader(channel, taken)
        assert taken == list(range(put))
        inbox = office.inboxes.find(channel)
        if inbox is not None:
            assert (inbox.size, inbox.takers, len(inbox.readers), len(inbox.messages)) == (0, 0, 0, 0)
        if not owned:
            await asyncio.sleep(EXPIRY)
            office.assert_nothing_is_left()

    run(main())


# Time, bounds, flush, cancellation and names together: whatever was put is somewhere

fates = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 400)),
    st.tuples(st.just("put"), st.integers(0, 400)),
    st.tuples(st.just("put"), st.integers(0, 400)),
    st.just(("read",)),
    st.just(("read",)),
    st.just(("read by a copy",)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.just(("round",)),
    st.tuples(st.just("sleep"), st.sampled_from([1, 30, 61])),
    st.just(("flush",)),
    st.just(("let go",)),
)


@settings(max_examples=300)
@given(st.booleans(), st.lists(fates, max_size=50))
def test_whatever_is_put_is_taken_counted_or_still_there(owned: bool, plan: list[Any]) -> None:
    logging.disable()
    try:
        run(follow(owned, plan))
    finally:
        logging.disable(logging.NOTSET)


async def follow(owned: bool, plan: list[Any]) -> None:
    office = Office(limit=1000)
    name = office.inboxes.new("one") if owned else None
    channel = str(name) if name is not None else "jobs"
    put = flushed = told = 0
    taken: list[int] = []
    readers: list[asyncio.Task[None]] = []

    async def read(channel: str) -> None:
        nonlocal told
        try:
            taken.append(await office.take(channel))
        except MessagesLost as error:
            told += int(str(error).split(" messages")[0].split()[-1])
        except InvalidName:
            assert office.inboxes.find(channel) is None

    for step, *arguments in [*plan, ("round",), ("round",), ("round",)]:
        inbox = office.inboxes.reach(channel) if step == "put" else office.inboxes.find(channel)
        if step == "put" and inbox is not None:
            office.inboxes.put(inbox, event(put, arguments[0]))
            put += 1
        elif step == "read":
            readers.append(asyncio.create_task(read(channel if name is None else name)))
        elif step == "read by a copy":
            readers.append(asyncio.create_task(read(channel)))
        elif step == "cancel" and readers:
            readers[arguments[0] % len(readers)].cancel()
        elif step == "sleep":
            await asyncio.sleep(arguments[0])
        elif step == "flush" and inbox is not None:
            flushed += len(inbox.messages)
            office.inboxes.flush()
        elif step == "let go":
            name = None
            await settled(2)
        await asyncio.sleep(0)
        inbox = office.inboxes.find(channel)
        counters = office.counters
        waiting = len(inbox.messages) if inbox is not None else 0
        accounted = len(taken) + waiting + flushed
        gone = counters.channel_messages_dropped + counters.channel_messages_expired + counters.dropped_turns
        assert put == accounted + gone
        assert taken == sorted(set(taken)), "in order, and none twice"
        if inbox is not None:
            assert inbox.size == sum(len(each.event.packed) for each in inbox.messages)
            assert inbox.size <= 1000 or len(inbox.messages) == 1
            something = bool(inbox.messages or inbox.lost)
            assert not (something and inbox.readers and inbox.takers == len(inbox.readers)), "somebody is woken"
    assert told <= office.counters.channel_messages_dropped
    del name
    await end_all(readers)
    await settled()
    if any(inbox.is_owned for inbox in office.inboxes.all().values()):  # an exception's traceback holds the name
        gc.collect()
    await settled()
    await asyncio.sleep(2 * EXPIRY)
    office.assert_nothing_is_left()


# Names that are given out


@on_jumping_loop
async def test_a_new_name_is_one_that_nobody_else_has() -> None:
    office = Office()
    names = [office.inboxes.new("specific") for _ in range(100)]
    assert len(set(names)) == 100
    for name in names:
        assert check_channel_name(name).startswith("specific.test!")
        assert office.inbox(name).is_owned
        assert office.inbox(name).name is name


@on_jumping_loop
async def test_an_inbox_ends_with_its_name() -> None:
    office = Office()
    name = office.inboxes.new("specific")
    channel = str(name)
    office.put(channel, 1)
    office.put(channel, 2)
    await settled()
    assert office.inboxes.find(channel) is not None
    del name
    await settled()
    assert office.left == [channel]
    assert office.counters.dropped_turns == 2
    office.assert_nothing_is_left()


@on_jumping_loop
async def test_a_name_may_be_let_go_in_any_thread() -> None:
    office = Office()
    held = [office.inboxes.new("specific")]
    channel = str(held[0])
    ended_in: list[int] = []
    office.inboxes._leave = lambda inbox: ended_in.append(threading.get_ident())
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    await until(lambda: office.inboxes.find(channel) is None)
    assert ended_in == [threading.get_ident()]


@on_jumping_loop
async def test_a_name_in_a_cycle_of_garbage_ends_its_inbox_in_the_thread_that_collects() -> None:
    office = Office()
    gc.disable()
    try:
        cycle: list[Any] = [office.inboxes.new("specific")]
        cycle.append(cycle)
        channel = str(cycle[0])
        del cycle
        await settled()
        assert office.inboxes.find(channel) is not None
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()
        await until(lambda: office.inboxes.find(channel) is None)
    finally:
        gc.enable()


def test_a_name_may_outlive_its_loop() -> None:
    names: list[ChannelName] = []

    async def main() -> None:
        names.append(Office().inboxes.new("specific"))

    run(main())
    reference = weakref.ref(names[0])
    names.clear()  # an exception in here would be one in the collector: the test would hear of it
    gc.collect()
    assert reference() is None


@on_jumping_loop
async def test_while_its_reader_waits_a_name_is_held() -> None:
    office = Office()
    taken: list[Any] = []
    reader = office.reader(office.inboxes.new("specific"), taken)
    await settled()
    gc.collect()
    await settled()
    (channel,) = office.inboxes.all()
    office.put(channel, 1)
    await reader
    assert taken == [1]
    del reader
    await settled()
    office.assert_nothing_is_left()


@on_jumping_loop
async def test_nothing_expires_while_the_name_is_held() -> None:
    office = Office()
    name = office.inboxes.new("specific", expiry=1)
    office.put(name, 1)
    await asyncio.sleep(10 * EXPIRY)
    assert office.timers == []
    assert await office.take(name) == 1
    assert office.left == []


@on_jumping_loop
async def test_who_reads_by_a_copy_keeps_the_inbox_without_the_name() -> None:
    office = Office()
    name = office.inboxes.new("specific")
    channel = str(name)
    taken: list[Any] = []
    reader = office.reader(channel, taken)
    await settled()
    del name
    gc.collect()
    await settled()
    office.put(channel, 1)
    await reader
    assert taken == [1]
    assert office.left == []


@on_jumping_loop
async def test_what_waits_when_a_copy_is_read_expires_from_then_on() -> None:
    office = Office()
    name = office.inboxes.new("specific")
    for n in range(3):
        office.put(name, n)
    await asyncio.sleep(10 * EXPIRY)
    assert await office.take(str(name)) == 0
    await asyncio.sleep(EXPIRY - 1)
    assert await office.take(str(name)) == 1
    await asyncio.sleep(1)
    assert office.counters.channel_messages_expired == 1
    assert office.left == [name]


@on_jumping_loop
async def test_a_name_that_was_copied_as_an_object_ends_with_the_one_that_was_given_out() -> None:
    office = Office()
    name = office.inboxes.new("specific")
    another = copy.copy(name)
    assert (another, type(another)) == (name, ChannelName)
    taken: list[Any] = []
    reader = office.reader(another, taken)
    await settled()
    office.put(name, 1)
    del name  # while a reader is woken and has not taken yet
    await reader
    assert taken == [1]
    assert office.counters.dropped_turns == 0
    del reader
    await settled()
    office.assert_nothing_is_left()


@on_jumping_loop
async def test_a_name_that_was_let_go_can_not_be_read_again() -> None:
    office = Office()
    channel = str(office.inboxes.new("specific"))
    await settled()
    with pytest.raises(InvalidName, match="not one of this process"):
        await office.take(channel)
    with pytest.raises(InvalidName):
        await office.take("specific.elsewhere!1")
    assert office.inboxes.reach(channel) is None
    office.assert_nothing_is_left()


@on_jumping_loop
async def test_who_reads_by_a_copy_at_the_last_moment_keeps_the_inbox() -> None:
    office = Office()
    name = office.inboxes.new("specific")
    channel = str(name)
    for n in range(2):
        office.put(channel, n)
    del name
    assert await office.take(channel) == 0  # nobody has noticed yet that the name is gone
    await settled()
    assert await office.take(channel) == 1
    assert office.left == []


@on_jumping_loop
async def test_while_somebody_waits_by_another_object_the_inbox_stays() -> None:
    office = Office()
    name = office.inboxes.new("specific")
    taken: list[Any] = []
    reader = office.reader(copy.copy(name), taken)
    await settled()
    channel = str(name)
    del name
    await settled()
    assert not office.inbox(channel).is_owned
    office.put(channel, 1)
    await reader
    assert taken == [1]


# Expiry


@on_jumping_loop
async def test_what_nobody_takes_expires(caplog: pytest.LogCaptureFixture) -> None:
    office = Office()
    office.put("jobs", 1)
    await asyncio.sleep(1)
    office.put("jobs", 2)
    await asyncio.sleep(EXPIRY - 1)
    assert [each.event.content["n"] for each in office.inbox("jobs").messages] == [2]
    assert office.left == ["jobs"]
    await asyncio.sleep(1)
    assert office.counters.channel_messages_expired == 2
    office.assert_nothing_is_left()


def test_what_expires_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        office = Office()
        for n in range(3):
            office.put("jobs", n, expiry=2.5)
        await asyncio.sleep(3)

    run(main())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "channel jobs: nobody took 3 messages within its expiry (2.5 s)" in record.getMessage()


@on_jumping_loop
async def test_each_channel_expires_in_its_own_time_whatever_the_order_of_putting() -> None:
    office = Office()
    expiries = {"a": 50.0, "b": 10.0, "c": 30.0, "d": 5.0, "e": 40.0}
    for channel, expiry in expiries.items():
        office.put(channel, 1, expiry=expiry)
        assert office.timers == [min(inbox.expiry for inbox in office.inboxes.all().values())]
    for channel, expiry in sorted(expiries.items(), key=lambda item: item[1]):
        await asyncio.sleep(expiry - asyncio.get_running_loop().time())
        assert office.left[-1] == channel
        assert len(office.timers) == (1 if office.inboxes.all() else 0)
    office.assert_nothing_is_left()


@on_jumping_loop
async def test_a_message_does_not_expire_with_an_earlier_one_that_was_taken() -> None:
    office = Office()
    office.put("jobs", 1)
    await asyncio.sleep(EXPIRY - 1)
    assert await office.take("jobs") == 1
    office.put("jobs", 2)
    await asyncio.sleep(EXPIRY - 1)  # the entry of the first has passed
    assert await office.take("jobs") == 2
    assert office.counters.channel_messages_expired == 0
    office.put("jobs", 3)
    await asyncio.sleep(EXPIRY)
    assert office.counters.channel_messages_expired == 1
    office.assert_nothing_is_left()


@on_jumping_loop
async def test_a_reader_drops_what_has_expired_though_the_timer_is_late() -> None:
    office = Office()
    office.put("jobs", 1)
    await asyncio.sleep(30)
    office.put("jobs", 2)
    office.inboxes.close()
    await asyncio.sleep(30)
    assert await office.take("jobs") == 2
    assert office.counters.channel_messages_expired == 1


@on_jumping_loop
async def test_a_channel_that_is_in_a_group_stays_when_its_messages_are_taken() -> None:
    office = Office()
    office.put("jobs", 1)
    group: Any = object()
    office.inbox("jobs").memberships[group] = None
    assert await office.take("jobs") == 1
    await asyncio.sleep(10 * EXPIRY)
    assert office.inboxes.find("jobs") is not None
    assert office.left == []


@on_jumping_loop
async def test_a_hundred_thousand_channels_that_nobody_reads_are_gone_after_their_time() -> None:
    office, message = Office(), event(1)
    logging.disable()
    try:
        for n in range(100_000):
            inbox = office.inboxes.reach(f"jobs-{n}")
            assert inbox is not None
            office.inboxes.put(inbox, message)
        assert len(office.inboxes.all()) == 100_000
        assert len(office.timers) == 1
        await asyncio.sleep(EXPIRY)
    finally:
        logging.disable(logging.NOTSET)
    assert office.counters.channel_messages_expired == 100_000
    office.assert_nothing_is_left()


@on_jumping_loop
async def test_a_worker_that_keeps_up_costs_no_memory() -> None:
    office, message = Office(), event(1)
    taken = 0

    async def work() -> None:
        nonlocal taken
        while True:
            await office.inboxes.take("jobs")
            taken += 1

    worker = asyncio.create_task(work())
    for _ in range(5000):
        await asyncio.sleep(0)
        inbox = office.inboxes.reach("jobs")
        assert inbox is not None
        office.inboxes.put(inbox, message)
        assert len(office.inboxes.all()) == 1
        assert len(office.inboxes._expiring) <= 1
    await until(lambda: taken == 5000)
    await end(worker)
    await asyncio.sleep(EXPIRY)
    office.assert_nothing_is_left()


@on_jumping_loop
async def test_readers_without_messages_leave_nothing_behind() -> None:
    office = Office()
    for n in range(100):
        reader = office.reader(f"jobs-{n}", [])
        await settled(2)
        await end(reader)
    office.assert_nothing_is_left()


# Bounds


def padded(size: int, n: int = 0) -> int:
    """The padding with which an event has ``size`` bytes."""
    padding = size
    while len(event(n, padding).packed) > size:
        padding -= 1
    assert len(event(n, padding).packed) == size
    return padding


@on_jumping_loop
async def test_an_inbox_holds_its_limit_to_the_byte() -> None:
    office = Office(limit=1000)
    office.put("jobs", 0, padded(600))
    office.put("jobs", 1, padded(400, 1))
    assert office.counters.channel_overflows == 0
    assert office.inbox("jobs").size == 1000
    assert [await office.take("jobs") for _ in range(2)] == [0, 1]
    office.put("jobs", 0, padded(600))
    office.put("jobs", 1, padded(401, 1))
    assert office.counters.channel_overflows == 1


@on_jumping_loop
async def test_a_message_over_the_limit_finds_room_in_an_empty_inbox() -> None:
    office = Office(limit=100)
    office.put("jobs", 1, 5000)
    assert await office.take("jobs") == 1
    office.inboxes.check_room(office.inbox("jobs"), event(2, 5000))


def test_a_slow_reader_is_told_once_what_it_lost_and_it_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        office = Office(limit=1000)
        name = office.inboxes.new("specific")
        for n in range(4):
            office.put(name, n, padded(250, n))
        office.put(name, 4)  # does not fit
        assert office.left == [name]
        office.put(name, 5)
        office.put(name, 6)
        assert office.inbox(name).size == 0
        with pytest.raises(MessagesLost, match=rf"channel {name} has lost 7 messages, .*1000 bytes"):
            await office.take(name)
        office.put(name, 7)
        assert await office.take(name) == 7
        counters = office.counters
        assert (counters.channel_overflows, counters.channel_messages_dropped, counters.channels_full) == (1, 7, 0)
        assert office.timers == []

    run(main())
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "1000 bytes wait; 5 messages dropped at mailbox_limit" in record.getMessage()


@on_jumping_loop
async def test_a_reader_that_waits_is_told_too() -> None:
    office = Office(limit=100)
    reader = office.reader("jobs", [])
    await settled()
    logging.disable()
    try:
        for n in range(3):
            office.put("jobs", n, 90)
    finally:
        logging.disable(logging.NOTSET)
    with pytest.raises(MessagesLost, match=" 3 messages"):
        await reader


@on_jumping_loop
async def test_of_several_readers_one_is_told_also_where_the_one_that_was_woken_is_cancelled() -> None:
    office = Office(limit=100)
    taken: list[Any] = []
    first, second, third = office.reader("jobs", []), office.reader("jobs", taken), office.reader("jobs", taken)
    await settled()
    logging.disable()
    try:
        for n in range(2):
            office.put("jobs", n, 90)
    finally:
        logging.disable(logging.NOTSET)
    await end(first)  # it was woken
    with pytest.raises(MessagesLost):
        await second
    office.put("jobs", 2)
    await third
    assert taken == [2]


def test_word_of_a_loss_expires_as_the_messages_would_have(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        office = Office(limit=100)
        for n in range(2):
            office.put("jobs", n, 90)
        with pytest.raises(ChannelFull, match="has not noticed yet"):
            office.inboxes.check_room(office.inbox("jobs"), event(1))
        await asyncio.sleep(EXPIRY - 1)
        office.put("jobs", 2)  # lost, too
        await asyncio.sleep(EXPIRY - 1)
        assert office.inbox("jobs").lost == 3
        await asyncio.sleep(1)
        office.assert_nothing_is_left()
        office.put("jobs", 3)
        assert await office.take("jobs") == 3

    run(main())


@on_jumping_loop
async def test_a_sender_is_told_that_there_is_no_room() -> None:
    office = Office(limit=1000)
    inbox = office.inboxes.reach("jobs")
    assert inbox is not None
    office.inboxes.check_room(inbox, event(1), 1)
    office.put("jobs", 1)
    for capacity in (1, 0):
        with pytest.raises(ChannelFull, match="1 messages that nobody has taken, its capacity"):
            office.inboxes.check_room(inbox, event(1), capacity)
    office.inboxes.check_room(inbox, event(1), 2)
    office.inboxes.check_room(inbox, event(1))
    with pytest.raises(ChannelFull, match=f"{inbox.size} bytes in 1 messages .* mailbox_limit"):
        office.inboxes.check_room(inbox, event(2, 1000))
    assert office.counters.channels_full == 3
    assert len(inbox.messages) == 1


# Putting back


async def numbers_of(office: Office, channel: str) -> list[Any]:
    return [await office.take(channel) for _ in range(len(office.inbox(channel).messages))]


@given(st.permutations(range(5)))
def test_what_was_taken_in_vain_is_put_where_it_was(order: list[int]) -> None:
    async def main() -> None:
        office = Office()
        for n in range(8):
            office.put("jobs", n)
        taken = [await office.inboxes.next("jobs") for _ in range(5)]
        for n in order:
            office.inboxes.put_back("jobs", taken[n])
        assert await numbers_of(office, "jobs") == list(range(8))

    run(main())


@on_jumping_loop
async def test_what_is_put_back_is_for_the_next_who_reads() -> None:
    office = Office()
    office.put("jobs", 1)
    waiting = await office.inboxes.next("jobs")
    assert isinstance(waiting, Waiting)
    taken: list[Any] = []
    reader = office.reader("jobs", taken)
    await settled()
    office.inboxes.put_back("jobs", waiting)
    await reader
    assert taken == [1]


@on_jumping_loop
async def test_what_is_put_back_expires_when_it_would_have() -> None:
    office = Office()
    office.put("jobs", 1)
    for _ in range(10):
        await asyncio.sleep(6)
        office.inboxes.put_back("jobs", await office.inboxes.next("jobs") if office.inboxes.find("jobs") else LOST)
    assert office.counters.channel_messages_expired == 1


LOST = Loss("jobs", 1, 1)


@on_jumping_loop
async def test_word_of_a_loss_may_be_put_back() -> None:
    office = Office()
    office.inboxes.put_back("jobs", Loss("jobs", 3, 1000))
    with pytest.raises(MessagesLost, match=" 3 messages"):
        await office.take("jobs")
    taken = office.reader("jobs", [])
    await settled()
    office.inboxes.put_back("jobs", Loss("jobs", 2, 1000))
    with pytest.raises(MessagesLost, match=" 2 messages"):
        await taken
    await asyncio.sleep(EXPIRY)
    office.assert_nothing_is_left()


# The end, and another beginning


@on_jumping_loop
async def test_flush_forgets_everything_but_who_waits() -> None:
    office = Office(limit=100)
    name = office.inboxes.new("specific")
    office.put(name, 1)
    office.put("jobs", 1)
    office.inboxes._inboxes["lost"] = Inbox("lost", EXPIRY)
    office.inbox("lost").lost = 1
    taken: list[Any] = []
    reader = office.reader("waits", taken)
    await settled()
    office.inboxes.flush()
    assert sorted(office.inboxes.all()) == sorted([name, "waits"])
    assert sorted(office.left) == sorted([name, "jobs", "lost", "waits"])
    assert office.timers == []
    office.put("waits", 2)
    await reader
    assert taken == [2]
    office.put(name, 3)
    assert await office.take(name) == 3


@on_jumping_loop
async def test_after_close_no_timer_is_left() -> None:
    office = Office()
    office.put("jobs", 1)
    office.inboxes.close()
    assert office.timers == []
    office.inboxes.close()


def on_two_loops(first: Callable[[Office], Coroutine[Any, Any, Any]], second: Callable[..., Any]) -> None:
    """Run ``first`` with inboxes on one loop, move them to another, and run ``second`` there with what was joined."""
    offices: list[Office] = []
    kept: list[Any] = []

    async def one() -> None:
        offices.append(Office(limit=1000))
        kept.append(await first(offices[0]))

    async def another() -> None:
        office, joined = Office(limit=1000), []  # type: tuple[Office, list[tuple[str, str]]]

        async def join(group: str, inbox: Inbox) -> None:
            joined.append((group, inbox.channel))

        await offices[0].inboxes.move_to(office.inboxes, join)
        office.counters.dropped_turns += offices[0].counters.dropped_turns
        await second(office, kept.pop(), joined)

    run(one())
    run(another())


def test_inboxes_move_with_their_messages_and_their_names() -> None:
    async def first(office: Office) -> Any:
        name = office.inboxes.new("specific")
        office.put(name, 1)
        office.put("jobs", 2)
        office.put("jobs", 3, expiry=10)
        return name

    async def second(office: Office, name: ChannelName, joined: Any) -> None:
        channel = str(name)
        assert await office.take(name) == 1
        assert office.inbox(name).is_owned
        assert await office.take("jobs") == 2
        await asyncio.sleep(EXPIRY)
        assert office.counters.channel_messages_expired == 1
        office.put(channel, 4)
        del name
        await settled()
        assert office.inboxes.find(channel) is None

    def begin(office: Office, name: ChannelName, joined: Any) -> Any:
        held = [name]
        del name
        return second(office, held.pop(), joined)

    on_two_loops(first, begin)


def test_a_name_that_was_let_go_between_two_loops_is_over() -> None:
    async def first(office: Office) -> Any:
        name = office.inboxes.new("specific")
        office.put(name, 1)
        group: Any = type("Group", (), {"name": "room"})()
        office.inbox(name).memberships[group] = None
        asyncio.get_running_loop().call_soon(office.inboxes.close)
        return None

    async def second(office: Office, name: Any, joined: Any) -> None:
        assert office.inboxes.all() == {}
        assert joined == []
        assert office.counters.dropped_turns == 1

    async def kept_beyond_the_loop(office: Office) -> Any:
        office.inboxes._loop = asyncio.new_event_loop()  # closed before the name goes: nobody hears of it
        office.inboxes._loop.close()
        return await first(office)

    on_two_loops(kept_beyond_the_loop, second)


def test_groups_and_losses_move_too(caplog: pytest.LogCaptureFixture) -> None:
    async def first(office: Office) -> Any:
        for n in range(2):
            office.put("jobs", n, 900)
        office.put("read", 1)
        await office.take("read")
        group: Any = type("Group", (), {"name": "room"})()
        office.inbox("read").memberships[group] = None

    async def second(office: Office, nothing: None, joined: Any) -> None:
        assert joined == [("room", "read")]
        assert office.inbox("read").was_read
        with pytest.raises(MessagesLost, match=" 2 messages"):
            await office.take("jobs")

    on_two_loops(first, second)


async def expires_in_any_order(expiries: list[float]) -> None:
    """Let channels expire one by one, while others read: on a real loop, whose clock is coarse."""
    office = Office()
    for number, expiry in enumerate(expiries):
        office.put(f"jobs-{number}", 1, expiry=expiry)
    for _ in range(10_000):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.0003):
                await office.take("others")
        if not office.inboxes.all():
            break
    assert office.inboxes.all() == {}
    assert office.counters.channel_messages_expired == len(expiries)
    assert office.inboxes._timer is None


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_what_expires_does_so_on_loops_with_a_clock_of_their_own(library: str) -> None:
    logging.disable()
    try:
        with asyncio.Runner(loop_factory=importlib.import_module(library).new_event_loop) as runner:
            runner.run(expires_in_any_order([0.05, 0.01, 0.03, 0.0101, 0.0102, 0.01, 0.0004]))
    finally:
        logging.disable(logging.NOTSET)
