"""Between loop and thread: where calls are made, and in which order what a thread posts is done."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async

from antiphon import threads
from antiphon.exceptions import UsageError
from antiphon.threads import InThread, Outlet, close_old_connections

setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="unset")


async def database_thread() -> int:
    return await sync_to_async(threading.get_ident)()


# InThread


async def test_a_call_is_made_in_the_thread_of_the_database() -> None:
    @InThread
    def call(*arguments: Any, **more: Any) -> Any:
        return threading.get_ident(), arguments, more

    assert await call(1, a=2) == (await database_thread(), (1,), {"a": 2})
    async with ThreadSensitiveContext():
        inside = await database_thread()
        assert (await call())[0] == inside
    assert inside != await database_thread()


async def test_calls_are_made_one_after_another() -> None:
    running = 0

    @InThread
    def call() -> None:
        nonlocal running
        running += 1
        assert running == 1
        threading.Event().wait(0.001)
        running -= 1

    async def one() -> None:
        await call()

    tasks = [asyncio.create_task(one(), context=contextvars.Context()) for _ in range(10)]
    await asyncio.gather(*tasks)


async def test_what_a_call_raises_comes_back() -> None:
    @InThread
    def call() -> None:
        raise LookupError("in the thread")

    with pytest.raises(LookupError, match="in the thread"):
        await call()


async def test_context_variables_go_there_and_come_back() -> None:
    @InThread
    def call() -> str:
        before = setting.get()
        setting.set("of the thread")
        return before

    setting.set("of the task")
    assert await call() == "of the task"
    assert setting.get() == "of the thread"


async def test_a_call_that_turns_out_to_be_async_is_an_error_and_leaves_no_coroutine_behind() -> None:
    async def handler() -> None:
        """Would have to be awaited."""

    @InThread
    def call() -> Any:
        return handler()

    with pytest.raises(UsageError, match=r"call\(\) is async, and its consumer is not: write 'def call'"):
        await call()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for Django; return what happened, and in which thread."""
    happened: list[Any] = []
    database = SimpleNamespace(close_old_connections=lambda: happened.append(("check", threading.get_ident())))
    monkeypatch.setitem(sys.modules, "django.conf", SimpleNamespace(settings=SimpleNamespace(configured=True)))
    monkeypatch.setitem(sys.modules, "django.db", database)
    return happened


@pytest.mark.parametrize("fails", [False, True])
async def test_old_connections_are_closed_before_and_after_each_call(checks: list[Any], fails: bool) -> None:
    @InThread
    def call() -> None:
        checks.append(("call", threading.get_ident()))
        if fails:
            raise LookupError

    for _ in range(2):
        try:
            await call()
        except LookupError:
            assert fails
    thread = await database_thread()
    assert checks == [("check", thread), ("call", thread), ("check", thread)] * 2


async def test_connections_are_looked_after_though_nobody_waits_for_the_call_any_more(checks: list[Any]) -> None:
    begun, may_end = threading.Event(), threading.Event()

    @InThread
    def call() -> None:
        begun.set()
        assert may_end.wait(30)
        checks.append("end of the call")

    task = asyncio.create_task(call())
    assert await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_end.set()
    thread = await database_thread()
    assert checks == [("check", thread), "end of the call", ("check", thread)]


def test_without_django_or_its_settings_there_is_nothing_to_close(
    checks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    close_old_connections()
    assert len(checks) == 1
    for module in ("django.conf", "django.db"):
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, module)
            close_old_connections()
    monkeypatch.setitem(sys.modules, "django.conf", SimpleNamespace(settings=SimpleNamespace(configured=False)))
    close_old_connections()
    assert len(checks) == 1


# Outlet


class Station:
    """An outlet to the running loop; notes what is done there."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.outlet = Outlet(self.loop)
        self.log: list[Any] = []

    def note(self, word: Any) -> None:
        assert asyncio.get_running_loop() is self.loop
        self.log.append(word)

    async def note_later(self, word: Any) -> Any:
        await asyncio.sleep(0)
        self.note(word)
        return word

    async def fail(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error


#: Where a thread stands: in asgiref's, or in one of its own.
PLACES: list[Callable[..., Coroutine[Any, Any, Any]]] = [
    lambda function, *args: sync_to_async(function)(*args),
    asyncio.to_thread,
]
places = pytest.mark.parametrize("place", PLACES, ids=["database", "own"])


@places
async def test_what_a_thread_posts_is_done_on_the_loop_in_order(place: Callable[..., Any]) -> None:
    station = Station()

    def work() -> None:
        for n in range(100):
            if n % 10:
                station.outlet.post(station.note, n)
            else:
                assert station.outlet.wait_for(station.note_later, n) == n
                assert station.log == list(range(n + 1))

    await place(work)
    await asyncio.sleep(0)
    assert station.log == list(range(100))


async def test_trips_that_come_together_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    station = Station()
    trips: list[Any] = []
    original = station.loop.call_soon_threadsafe

    def counted(*arguments: Any, **more: Any) -> Any:
        trips.append(arguments)
        return original(*arguments, **more)

    monkeypatch.setattr(station.loop, "call_soon_threadsafe", counted)

    def work() -> None:
        for n in range(1000):
            station.outlet.post(station.note, n)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()  # the loop stands still
    assert len(trips) == 1
    assert station.log == []
    await asyncio.sleep(0)
    assert station.log == list(range(1000))
    station.outlet.post(station.note, "again")
    assert len(trips) == 2
    await asyncio.sleep(0)
    assert station.log[-1] == "again"


async def test_several_threads_lose_nothing_and_each_keeps_its_order() -> None:
    station = Station()

    def work(number: int) -> None:
        for n in range(2000):
            station.outlet.post(station.note, (number, n))

    await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(3)))
    await asyncio.sleep(0)
    assert len(station.log) == 6000
    for number in range(3):
        assert [n for each, n in station.log if each == number] == list(range(2000))


async def test_what_is_posted_while_others_are_worked_off_is_done(caplog: pytest.LogCaptureFixture) -> None:
    station = Station()

    def post_another() -> None:
        station.note("first")
        station.outlet.post(station.note, "second")

    station.outlet.post(post_another)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert station.log == ["first", "second"]


async def test_what_fails_is_logged_and_the_others_are_done(caplog: pytest.LogCaptureFixture) -> None:
    station = Station()

    def fail() -> None:
        raise LookupError("posted in vain")

    for function in (fail, fail, lambda: station.note("done")):
        station.outlet.post(function)
    await asyncio.sleep(0)
    assert station.log == ["done"]
    assert [record.name for record in caplog.records] == ["antiphon.threads"] * 2
    assert "posted in vain" in caplog.text


@places
async def test_errors_come_back_to_the_thread_that_waits(place: Callable[..., Any]) -> None:
    station = Station()
    for error in (LookupError("on the loop"), TimeoutError("its own")):
        with pytest.raises(type(error), match=str(error)):
            await place(station.outlet.wait_for, station.fail, error)


async def test_a_cancelled_work_is_an_error_in_the_thread() -> None:
    station = Station()

    async def end_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    def work() -> None:
        with pytest.raises(concurrent.futures.CancelledError):
            station.outlet.wait_for(end_itself)

    await asyncio.to_thread(work)


async def test_the_loop_can_not_wait_for_itself() -> None:
    station = Station()
    with pytest.raises(UsageError, match="on the event loop"):
        station.outlet.wait_for(station.note_later, 1)
    await asyncio.sleep(0)
    assert station.log == []


async def test_another_loop_may_wait() -> None:
    station = Station()

    async def elsewhere() -> Any:
        return station.outlet.wait_for(station.note_later, 1)

    assert await asyncio.to_thread(lambda: asyncio.run(elsewhere())) == 1


async def test_a_thread_that_waits_does_what_the_loop_wants_done_in_it() -> None:
    station = Station()

    async def asks_back() -> int:
        return await database_thread()

    def work() -> tuple[int, int]:
        return threading.get_ident(), station.outlet.wait_for(asks_back)

    mine, asked = await sync_to_async(work)()
    assert mine == asked
    mine, asked = await asyncio.to_thread(work)  # nobody's thread: asgiref has its own
    assert asked == await database_thread() != mine


@places
async def test_work_has_the_context_of_the_thread_that_waits_for_it(place: Callable[..., Any]) -> None:
    station = Station()

    async def look() -> str:
        return setting.get()

    def post() -> None:
        setting.set("of another")
        station.outlet.post(station.note, "first")

    def work() -> str:
        thread = threading.Thread(target=post)  # the trip is begun by another thread
        thread.start()
        thread.join()
        setting.set("of the thread")
        return station.outlet.wait_for(look)

    assert await place(work) == "of the thread"
    assert station.log == ["first"]


def ended_loop() -> tuple[asyncio.AbstractEventLoop, Outlet]:
    async def main() -> Outlet:
        return Outlet(asyncio.get_running_loop())

    loop = asyncio.new_event_loop()
    outlet = loop.run_until_complete(main())
    loop.close()
    return loop, outlet


def test_after_the_loop_nothing_is_kept_and_nobody_waits() -> None:
    _, outlet = ended_loop()
    for _ in range(3):
        outlet.post(print)
        assert not outlet._posted

    async def work() -> None:
        """Is never begun."""

    with pytest.raises(ConnectionError, match="has ended"):
        outlet.wait_for(work)


def test_what_the_loop_did_not_come_to_is_not_kept_either() -> None:
    async def main() -> Outlet:
        outlet = Outlet(asyncio.get_running_loop())
        asyncio.get_running_loop().stop()
        asyncio.get_running_loop().call_soon(outlet.post, print)  # in the last round: what it asks for has no other
        return outlet

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_forever()
    loop.run_until_complete(task)
    outlet = task.result()
    assert outlet._posted
    loop.close()
    outlet.post(print)
    assert not outlet._posted


async def test_in_asgirefs_thread_neither() -> None:
    def work() -> None:
        loop, outlet = ended_loop()
        from asgiref.sync import SyncToAsync

        SyncToAsync.threadlocal.main_event_loop = loop
        with pytest.raises(ConnectionError, match="has ended"):
            outlet.wait_for(asyncio.sleep, 0)

    await asyncio.to_thread(work)


def test_a_thread_does_not_outwait_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.01)
    loop = asyncio.new_event_loop()
    outcome: list[Any] = []
    begun = threading.Event()

    async def never() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def main() -> threading.Thread:
        outlet = Outlet(loop)

        def work() -> None:
            try:
                outlet.wait_for(never)
            except ConnectionError as error:
                outcome.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert await asyncio.to_thread(begun.wait, 30)
        return thread

    thread = loop.run_until_complete(main())
    (task,) = asyncio.all_tasks(loop)
    logging.disable()
    try:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        thread.join(30)
    finally:
        logging.disable(logging.NOTSET)
    assert len(outcome) == 1
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_threads_may_post_while_the_loop_is_being_closed() -> None:
    for _ in range(20):
        loop = asyncio.new_event_loop()
        outlets: list[Outlet] = []
        done: list[int] = []
        go, errors = threading.Event(), []  # type: threading.Event, list[BaseException]

        async def main() -> None:
            outlets.append(Outlet(asyncio.get_running_loop()))  # noqa: B023
            go.set()  # noqa: B023
            await asyncio.sleep(0.001)

        def work() -> None:
            go.wait(30)  # noqa: B023
            try:
                for n in range(3000):
                    outlets[0].post(done.append, n)  # noqa: B023
            except BaseException as error:
                errors.append(error)  # noqa: B023

        thread = threading.Thread(target=work)
        thread.start()
        loop.run_until_complete(main())
        loop.close()
        thread.join(30)
        assert errors == []
        assert done == list(range(len(done)))
        outlets[0].post(print)
        assert not outlets[0]._posted
