"""The mailbox: order, one at a time, and turns that run as part of the owner's task."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.mailbox import Mailbox
from antiphon.types import Turn

from .fakes import on_jumping_loop, run, settled, until

setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="unset")


class Office:
    """A mailbox, its owner's task, and what happened."""

    def __init__(self, *, limit: int = 10**6, crowd: int = 10**6) -> None:
        self.log: list[Any] = []
        self.failures: list[BaseException] = []
        context = contextvars.copy_context()
        self.mailbox = Mailbox(self, self, limit=limit, crowd=crowd, context=context)
        self.owner: asyncio.Task[None] = asyncio.create_task(self.mailbox.serve(), context=context)

    def turn_failed(self, turn: Turn, error: BaseException) -> None:
        self.failures.append(error)

    def mailbox_full(self) -> None:
        self.log.append("full")

    def mailbox_crowded(self) -> None:
        self.log.append("crowded")

    def mailbox_relieved(self) -> None:
        self.log.append("relieved")

    async def waiting(self) -> Office:
        """Wait until the owner waits for turns."""
        await until(lambda: self.mailbox._parked is not None)
        return self

    def put(self, function: Callable[[], Awaitable[Any]], size: int = 0) -> None:
        """Put a turn from the loop, outside of any task, as a socket does."""
        asyncio.get_running_loop().call_soon(self.mailbox.put, as_turn(function), None, size)

    async def end(self) -> None:
        self.mailbox.end()
        await self.owner


def as_turn(function: Callable[[], Awaitable[Any]]) -> Turn:
    async def turn(consumer: Any, argument: Any) -> Any:
        return await function()

    return turn


async def open_office(*, limit: int = 10**6, crowd: int = 10**6) -> Office:
    return await Office(limit=limit, crowd=crowd).waiting()


def note(office: Office, word: Any) -> Callable[[], Awaitable[None]]:
    async def turn() -> None:
        office.log.append(word)

    return turn


# Order


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["loop", "task", "turn", "loop again"])), max_size=25))
def test_turns_run_one_at_a_time_in_the_order_of_putting(plan: list[tuple[int, str]]) -> None:
    async def main() -> None:
        office = await open_office()
        put: list[int] = []
        running: list[int] = []

        def put_one(number: int, suspensions: int, inner: list[tuple[int, int]]) -> None:
            put.append(number)

            async def turn(consumer: Any, argument: Any) -> None:
                assert not running, "another turn is running"
                assert asyncio.current_task() is office.owner
                running.append(number)
                for inner_number, inner_suspensions in inner:
                    put_one(inner_number, inner_suspensions, [])
                for _ in range(suspensions):
                    await asyncio.sleep(0)
                running.remove(number)
                office.log.append(number)

            office.mailbox.put(turn, None, 1)

        loop = asyncio.get_running_loop()
        for number, (suspensions, place) in enumerate(plan):
            if place == "task":
                put_one(number, suspensions, [])
            elif place == "turn":
                loop.call_soon(put_one, number, suspensions, [(1000 + number, suspensions)])
            else:
                loop.call_soon(put_one, number, suspensions, [])
                if place == "loop again":
                    await asyncio.sleep(0)
        expected = len(plan) + sum(place == "turn" for _, place in plan)
        await until(lambda: len(office.log) == expected)
        assert office.log == put
        assert office.mailbox.size == 0
        assert not office.failures
        await office.end()

    run(main())


@on_jumping_loop
async def test_a_turn_that_does_not_suspend_runs_inside_put() -> None:
    office = await open_office()
    loop = asyncio.get_running_loop()

    def put() -> None:
        office.mailbox.put(as_turn(note(office, "ran")), None)
        office.log.append("put returned")

    loop.call_soon(put)
    await until(lambda: len(office.log) == 2)
    assert office.log == ["ran", "put returned"]
    await office.end()


@on_jumping_loop
async def test_a_turn_put_from_another_task_does_not_run_inside_put() -> None:
    office = await open_office()
    office.mailbox.put(as_turn(note(office, "ran")), None)
    assert office.log == []
    await until(lambda: office.log)
    await office.end()


@on_jumping_loop
async def test_turns_that_were_put_before_serve_run_first() -> None:
    office = Office()
    office.mailbox.put(as_turn(note(office, 1)), None)
    office.put(note(office, 2))
    await until(lambda: len(office.log) == 2)
    assert office.log == [1, 2]
    await office.end()


@on_jumping_loop
async def test_a_turn_waits_for_one_that_suspended() -> None:
    office = await open_office()
    gate = asyncio.get_running_loop().create_future()

    async def first() -> None:
        office.log.append("first begins")
        await gate
        office.log.append("first ends")

    office.put(first)
    office.put(note(office, "second"))
    await settled()
    assert office.log == ["first begins"]
    gate.set_result(None)
    await until(lambda: len(office.log) == 3)
    assert office.log == ["first begins", "first ends", "second"]
    await office.end()


@on_jumping_loop
async def test_a_turn_put_by_a_turn_runs_after_it() -> None:
    office = await open_office()

    async def outer() -> None:
        office.mailbox.put(as_turn(note(office, "inner")), None)
        office.log.append("outer")

    office.put(outer)
    await until(lambda: len(office.log) == 2)
    assert office.log == ["outer", "inner"]
    await office.end()


# The owner's task


async def in_both_ways(body: Callable[[Office], Awaitable[Any]]) -> list[Office]:
    """Run ``body`` as a turn that put starts, and as one that waited in the queue."""
    offices = []
    for queued in (False, True):
        office = await open_office()

        async def turn(office: Office = office) -> None:
            assert asyncio.current_task() is office.owner
            await body(office)
            assert asyncio.current_task() is office.owner
            office.log.append("done")

        if queued:
            office.mailbox.put(as_turn(turn), None)
        else:
            office.put(turn)
        await asyncio.sleep(0)
        await until(lambda office=office: len(office.mailbox) == 0 and office.mailbox._parked is not None)  # type: ignore[misc]
        offices.append(office)
    for office in offices:
        assert not office.failures, office.failures
        assert office.log[-1] == "done"
        await office.end()
    return offices


@on_jumping_loop
async def test_a_turn_may_sleep_for_no_time() -> None:
    async def body(office: Office) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    await in_both_ways(body)


@on_jumping_loop
async def test_a_turn_may_await_a_future_that_is_done_before_the_owner_takes_over() -> None:
    async def body(office: Office) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, 5)
        assert await future == 5

    await in_both_ways(body)


@on_jumping_loop
async def test_a_turn_gets_the_exception_of_what_it_awaits() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def body(office: Office) -> None:
        with pytest.raises(LookupError):
            await asyncio.create_task(fails())

    await in_both_ways(body)


@on_jumping_loop
async def test_a_turn_may_use_a_task_group() -> None:
    async def body(office: Office) -> None:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(asyncio.sleep(1, "a"))
            second = tasks.create_task(asyncio.sleep(0, "b"))
        assert (first.result(), second.result()) == ("a", "b")

    await in_both_ways(body)


@on_jumping_loop
async def test_a_task_group_of_a_turn_may_fail() -> None:
    async def fails() -> None:
        raise LookupError

    async def body(office: Office) -> None:
        with pytest.raises(BaseExceptionGroup):
            await group_that_fails()

    async def group_that_fails() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails())
            tasks.create_task(asyncio.sleep(1000))

    await in_both_ways(body)


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_a_timeout_of_a_turn_ends_what_it_awaits_and_nothing_else(seconds: int) -> None:
    async def body(office: Office) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.sleep(1000)
        office.log.append("timed out")
        await asyncio.sleep(1)

    async def main() -> None:
        for office in await in_both_ways(body):
            assert office.log == ["timed out", "done"]

    run(main())


@on_jumping_loop
async def test_wait_for_of_a_turn_ends_what_it_awaits_and_nothing_else() -> None:
    async def body(office: Office) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1000), 1)

    await in_both_ways(body)


@on_jumping_loop
async def test_a_context_variable_set_in_one_turn_is_seen_in_the_next() -> None:
    office = await open_office()

    async def set_it(word: str) -> None:
        office.log.append(setting.get())
        setting.set(word)

    async def set_it_late(word: str) -> None:
        await asyncio.sleep(0)
        await set_it(word)

    office.put(lambda: set_it("one"))
    await until(lambda: len(office.log) == 1)
    office.put(lambda: set_it_late("two"))
    await until(lambda: len(office.log) == 2)
    office.mailbox.put(as_turn(lambda: set_it("three")), None)
    await until(lambda: len(office.log) == 3)
    office.put(lambda: set_it("four"))
    await until(lambda: len(office.log) == 4)
    assert office.log == ["unset", "one", "two", "three"]
    assert setting.get() == "unset"
    await office.end()


@on_jumping_loop
async def test_a_task_that_a_turn_starts_is_not_the_owner() -> None:
    async def child() -> object:
        return asyncio.current_task()

    async def body(office: Office) -> None:
        assert await asyncio.create_task(child()) is not office.owner

    await in_both_ways(body)


@on_jumping_loop
async def test_put_leaves_no_trace_in_the_callback_that_called_it() -> None:
    office = await open_office()
    seen: list[Any] = []

    async def turn() -> None:
        setting.set("inside")

    def callback() -> None:
        office.mailbox.put(as_turn(turn), None)
        seen.extend([asyncio.current_task(), setting.get()])

    asyncio.get_running_loop().call_soon(callback)
    await until(lambda: seen)
    assert seen == [None, "unset"]
    await office.end()


# Exceptions


async def fail_at_once(consumer: Any, argument: Any) -> None:
    raise LookupError(argument)


async def fail_later(consumer: Any, argument: Any) -> None:
    await asyncio.sleep(0)
    raise LookupError(argument)


def fail_before(consumer: Any, argument: Any) -> Any:
    raise LookupError(argument)


async def cancelled_child(consumer: Any, argument: Any) -> None:
    child = asyncio.create_task(asyncio.sleep(1000))
    child.cancel()
    await child


async def cancelled_at_once(consumer: Any, argument: Any) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("queued", [False, True], ids=["inline", "queued"])
@pytest.mark.parametrize("turn", [fail_at_once, fail_later, fail_before])
def test_an_exception_ends_its_turn_and_the_owner_is_told(turn: Turn, queued: bool) -> None:
    async def main() -> None:
        office = await open_office()
        if queued:
            office.mailbox.put(turn, "a")
        else:
            asyncio.get_running_loop().call_soon(office.mailbox.put, turn, "a")
        office.put(note(office, "next"))
        await until(lambda: office.log)
        assert [type(error) for error in office.failures] == [LookupError]
        await office.end()

    run(main())


@pytest.mark.parametrize("queued", [False, True], ids=["inline", "queued"])
@pytest.mark.parametrize("turn", [cancelled_child, cancelled_at_once])
def test_a_cancellation_that_is_not_the_owners_is_a_failed_turn(turn: Turn, queued: bool) -> None:
    async def main() -> None:
        office = await open_office()
        if queued:
            office.mailbox.put(turn, None)
        else:
            asyncio.get_running_loop().call_soon(office.mailbox.put, turn, None)
        await settled()
        assert not office.owner.done(), "nobody cancelled the owner"
        assert [type(error) for error in office.failures] == [asyncio.CancelledError]
        await office.end()

    run(main())


# Cancelling the owner


@on_jumping_loop
async def test_cancelling_the_owner_that_waits_ends_it() -> None:
    office = await open_office()
    office.owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await office.owner


@pytest.mark.parametrize("rounds", range(4))
def test_cancelling_the_owner_reaches_the_turn_wherever_it_stands(rounds: int) -> None:
    async def main() -> None:
        office = await open_office()

        async def turn() -> None:
            office.log.append("begun")
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                office.log.append("cancelled")
                raise

        office.put(turn)
        asyncio.get_running_loop().call_soon(lambda: None)
        for _ in range(rounds):
            await asyncio.sleep(0)
        begun = list(office.log)
        office.owner.cancel()
        await settled()
        assert office.owner.cancelled()
        assert office.log in ([], ["begun", "cancelled"]), f"begun before: {begun}"

    run(main())


@pytest.mark.parametrize("order", ["turn, then cancel", "cancel, then turn"])
def test_a_turn_and_a_cancellation_in_the_same_round(order: str) -> None:
    async def main() -> None:
        office = await open_office()
        loop = asyncio.get_running_loop()

        async def turn() -> None:
            office.log.append("begun")
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                office.log.append("cancelled")
                raise

        if order == "turn, then cancel":
            office.put(turn)
            loop.call_soon(office.owner.cancel)
        else:
            loop.call_soon(office.owner.cancel)
            office.put(turn)
        await settled()
        assert office.owner.cancelled()
        assert office.log in ([], ["begun", "cancelled"])

    run(main())


@on_jumping_loop
async def test_a_turn_may_cancel_its_own_task() -> None:
    office = await open_office()

    async def turn() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            office.log.append("cancelled")
            raise

    office.put(turn)
    await settled()
    assert office.log == ["cancelled"]
    assert office.owner.cancelled()


@on_jumping_loop
async def test_a_turn_may_clean_up_after_the_cancellation_in_which_it_was_handed_over() -> None:
    office = await open_office()

    async def turn() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            office.log.append("cleaned up")

    office.put(turn)
    asyncio.get_running_loop().call_soon(office.owner.cancel)
    with pytest.raises(asyncio.CancelledError):
        await office.owner
    assert office.log == ["cleaned up"]


@pytest.mark.parametrize("rounds", [1, 5], ids=["while handed over", "later"])
def test_an_exception_in_place_of_a_cancellation_is_told_to_the_owner(rounds: int) -> None:
    async def main() -> None:
        office = await open_office()

        async def turn() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                raise LookupError

        office.put(turn)
        loop = asyncio.get_running_loop()
        if rounds == 1:
            loop.call_soon(office.owner.cancel)
        else:
            await settled(rounds)
            office.owner.cancel()
        await settled()
        assert [type(error) for error in office.failures] == [LookupError]
        if not office.owner.done():
            await office.end()
        assert office.owner.cancelled() or office.owner.exception() is None

    run(main())


# Bounds


@on_jumping_loop
async def test_size_counts_the_bytes_that_wait() -> None:
    office = await open_office()
    for size in (3, 4, 5):
        office.mailbox.put(as_turn(note(office, size)), None, size)
    assert (office.mailbox.size, len(office.mailbox)) == (12, 3)
    await until(lambda: len(office.log) == 3)
    assert (office.mailbox.size, len(office.mailbox)) == (0, 0)
    await office.end()


@on_jumping_loop
async def test_the_owner_is_told_when_more_than_the_limit_waits() -> None:
    office = await open_office(limit=10)
    office.mailbox.put(as_turn(note(office, "a")), None, 10)
    assert office.log == []
    office.mailbox.put(as_turn(note(office, "b")), None, 1)
    assert office.log == ["full"]
    await office.end()


@on_jumping_loop
async def test_a_crowd_is_told_once_and_its_end_once() -> None:
    office = await open_office(crowd=2)
    for _ in range(4):
        office.mailbox.put(as_turn(note(office, "turn")), None)
        office.log.append(len(office.mailbox))
    assert office.log == [1, "crowded", 2, 3, 4]
    office.log.clear()
    await until(lambda: len(office.log) == 5)
    assert office.log == ["turn", "turn", "turn", "relieved", "turn"]
    office.mailbox.put(as_turn(note(office, "turn")), None)
    office.mailbox.put(as_turn(note(office, "turn")), None)
    assert office.log[5:] == ["crowded"]
    await office.end()


@on_jumping_loop
async def test_a_mailbox_that_was_never_crowded_is_not_relieved() -> None:
    office = await open_office(crowd=3)
    office.mailbox.put(as_turn(note(office, "turn")), None)
    office.mailbox.put(as_turn(note(office, "turn")), None)
    await until(lambda: len(office.log) == 2)
    assert office.log == ["turn", "turn"]
    await office.end()


# The end


@on_jumping_loop
async def test_end_lets_the_running_turn_finish_and_drops_what_waits() -> None:
    office = await open_office()
    gate = asyncio.get_running_loop().create_future()

    async def first() -> None:
        await gate
        office.log.append("first")

    office.put(first)
    await settled()
    office.mailbox.put(as_turn(note(office, "second")), None, 7)
    assert office.mailbox.end() == 1
    assert office.mailbox.end() == 0
    office.mailbox.put(as_turn(note(office, "third")), None, 7)
    assert (len(office.mailbox), office.mailbox.size) == (0, 0)
    gate.set_result(None)
    await office.owner
    assert office.log == ["first"]


@pytest.mark.parametrize("suspends", [False, True])
def test_a_turn_may_end_the_mailbox(suspends: bool) -> None:
    async def main() -> None:
        office = await open_office()

        async def last() -> None:
            office.mailbox.put(as_turn(note(office, "dropped")), None)
            office.mailbox.end()
            if suspends:
                await asyncio.sleep(0)
            office.log.append("last")

        office.put(last)
        await office.owner
        assert office.log == ["last"]

    run(main())


@on_jumping_loop
async def test_a_turn_that_fails_may_end_the_mailbox_in_the_owner() -> None:
    office = await open_office()

    def turn_failed(turn: Turn, error: BaseException) -> None:
        office.mailbox.end()

    office.turn_failed = turn_failed  # type: ignore[method-assign]
    asyncio.get_running_loop().call_soon(office.mailbox.put, fail_at_once, None)
    await office.owner
