"""A deadline: when it tells, when it cancels, and whose cancellation goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antiphon.deadline import Deadline

from .fakes import on_jumping_loop, run, settled


class Work:
    """A task that does something within a deadline of 5 seconds."""

    def __init__(self, inner: Callable[[Work], Awaitable[Any]]) -> None:
        self.inner = inner
        self.log: list[str] = []
        self.task = asyncio.create_task(self.main())

    async def main(self) -> None:
        self.deadline = Deadline(5, self.passed)
        assert not self.deadline.within
        with self.deadline:
            assert self.deadline.within
            await self.inner(self)
        assert not self.deadline.within
        self.log.append("behind")

    def passed(self) -> None:
        self.log.append("passed within" if self.deadline.within else "passed")

    async def done(self) -> list[str]:
        """Wait for the end; tell whether it was cancelled."""
        await asyncio.wait([self.task])
        return [*self.log, "cancelled"] if self.task.cancelled() else self.log


async def sleep_long(work: Work) -> None:
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        work.log.append("seen")
        raise


async def quick(work: Work) -> None:
    await asyncio.sleep(1)


@on_jumping_loop
async def test_it_tells_first_then_cancels_and_the_cancellation_ends_with_the_block() -> None:
    work = Work(sleep_long)
    assert await work.done() == ["passed within", "seen", "behind"]
    assert work.task.cancelling() == 0
    assert asyncio.get_running_loop().time() == 5


@on_jumping_loop
async def test_behind_the_block_it_only_tells() -> None:
    work = Work(quick)
    assert await work.done() == ["behind"]
    await asyncio.sleep(10)
    assert work.log == ["behind", "passed"]


@pytest.mark.parametrize("inner", [sleep_long, quick])
def test_after_it_was_lifted_nothing_comes_of_it(inner: Any) -> None:
    async def lift(work: Work) -> None:
        work.deadline.lift()
        work.deadline.lift()
        await asyncio.sleep(20)

    async def main() -> None:
        work = Work(lift)
        assert await work.done() == ["behind"]
        late = Work(quick)
        await late.done()
        late.deadline.lift()
        await asyncio.sleep(10)
        assert late.log == ["behind"]

    run(main())


@on_jumping_loop
async def test_a_cancellation_by_somebody_else_goes_on() -> None:
    work = Work(sleep_long)
    await settled()
    work.task.cancel()
    assert await work.done() == ["seen", "cancelled"]


@pytest.mark.parametrize("deadline_first", [True, False])
def test_where_both_come_in_the_same_moment_the_other_goes_on(deadline_first: bool) -> None:
    async def main() -> None:
        works: list[Work] = []
        if not deadline_first:
            asyncio.get_running_loop().call_at(5, lambda: works[0].task.cancel())
        work = Work(sleep_long)
        works.append(work)
        await settled()
        if deadline_first:
            asyncio.get_running_loop().call_at(5, work.task.cancel)
        assert await work.done() == ["passed within", "seen", "cancelled"]

    run(main())


@on_jumping_loop
async def test_who_winds_up_after_another_cancellation_is_not_cancelled_again() -> None:
    async def wind_up(work: Work) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(100)
            work.log.append("wound up")

    work = Work(wind_up)
    await settled()
    work.task.cancel()
    assert await work.done() == ["passed within", "wound up", "cancelled"]


@on_jumping_loop
async def test_who_winds_up_after_the_deadline_is_given_the_time() -> None:
    async def wind_up(work: Work) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(100)
            work.log.append("wound up")

    work = Work(wind_up)
    assert await work.done() == ["passed within", "wound up", "behind"]


@on_jumping_loop
async def test_a_cancellation_while_it_winds_up_goes_on() -> None:
    async def wind_up(work: Work) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            work.task.get_loop().call_later(1, work.task.cancel)
            await asyncio.sleep(100)

    assert await Work(wind_up).done() == ["passed within", "cancelled"]


@on_jumping_loop
async def test_who_takes_no_notice_is_not_marked_as_cancelled() -> None:
    async def stubborn(work: Work) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(1000)

    work = Work(stubborn)
    assert await work.done() == ["passed within", "behind"]
    assert work.task.cancelling() == 0


@on_jumping_loop
async def test_another_exception_goes_on() -> None:
    async def fail(work: Work) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise LookupError

    work = Work(fail)
    with pytest.raises(LookupError):
        await work.task
    assert work.task.cancelling() == 0


@on_jumping_loop
async def test_a_cancellation_from_before_the_block_is_none_of_its_business() -> None:
    async def main() -> list[str]:
        log: list[str] = []
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            deadline = Deadline(5, lambda: log.append("passed"))
            with deadline:
                await asyncio.sleep(100)
            log.append("behind")
        return log

    task = asyncio.create_task(main())
    await settled()
    task.cancel()
    assert await task == ["passed", "behind"]
    assert task.cancelling() == 1


@on_jumping_loop
async def test_timeouts_within_are_their_own() -> None:
    async def inner(work: Work) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(100)
        work.log.append("timeout")
        async with asyncio.timeout(10):
            await asyncio.sleep(100)

    assert await Work(inner).done() == ["timeout", "passed within", "behind"]
