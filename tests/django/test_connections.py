"""Shared checks of database connections: what Channels promises, in fewer trips."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import channels.consumer
import channels.generic.websocket
import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from channels import db
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.testing import WebsocketCommunicator
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.django import connections
from antiphon.django.connections import _Trips, aclose_old_connections, share_checks

THEIRS = connections._theirs


class Database:
    """Stands in for Django's: what it was asked, and in which thread."""

    def __init__(self) -> None:
        self.checks: list[int] = []
        self.is_open = True
        self.error: Exception | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def close_old_connections(self) -> None:
        self.checks.append(threading.get_ident())
        assert self.may_go_on.wait(30)
        if self.error is not None:
            raise self.error

    def all(self, *, initialized_only: bool) -> list[Any]:
        assert initialized_only
        return [SimpleNamespace(connection=None), SimpleNamespace(connection=object() if self.is_open else None)]

    def open(self) -> None:
        """Open a connection in this thread, and tell of it as Django does."""
        self.is_open = True
        connection_created.send(sender=type(self), connection=None)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Trips]:
    """Return the trips of a process that has made none."""
    trips = _Trips()
    monkeypatch.setattr(connections, "_trips", trips)
    connection_created.connect(trips.opened)
    yield trips
    connection_created.disconnect(trips.opened)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, trips: _Trips) -> Database:
    database = Database()
    checking = database.close_old_connections  # one object for both: another in Channels' place is another's
    for module in (connections, db):
        monkeypatch.setattr(module, "close_old_connections", checking)
    monkeypatch.setattr(connections, "connections", database)
    return database


async def until(condition: Callable[[], object]) -> None:
    """Go round the loop until ``condition`` holds: threads take part, so real time goes by."""
    for number in range(10_000):
        if condition():
            return
        await asyncio.sleep(0 if number < 50 else 0.001)
    raise AssertionError("the condition never came to hold")


def in_a_task(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task without a context, as a server does."""
    return asyncio.create_task(work, context=contextvars.Context())


async def check() -> None:
    await aclose_old_connections()


async def database_thread() -> int:
    return await sync_to_async(threading.get_ident)()


# A check that began behind the await


async def test_all_of_one_turn_share_a_check_in_the_thread_of_the_database(database: Database) -> None:
    await asyncio.gather(*(in_a_task(check()) for _ in range(100)))
    assert database.checks == [await database_thread()]


async def test_who_comes_when_a_check_has_begun_waits_for_the_next(database: Database) -> None:
    database.may_go_on.clear()
    first = [in_a_task(check()) for _ in range(2)]
    await until(lambda: len(database.checks) == 1)
    second = [in_a_task(check()) for _ in range(2)]
    await asyncio.sleep(0)
    database.may_go_on.set()
    await asyncio.gather(*first, *second)
    assert len(database.checks) == 2


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_whoever_waits_goes_on_after_a_check_that_began_later(database: Database, turns: list[int]) -> None:
    async def one(turn: int) -> None:
        for _ in range(turn):
            await asyncio.sleep(0)
        begun = len(database.checks)
        await aclose_old_connections()
        assert len(database.checks) > begun

    async def main() -> None:
        database.checks.clear()
        await asyncio.gather(*(in_a_task(one(turn)) for turn in turns))
        assert len(database.checks) <= len(set(turns))

    asyncio.run(main())


# Trips that are spared


async def test_without_an_open_connection_no_trip_is_made(database: Database) -> None:
    database.is_open = False
    for _ in range(5):
        await in_a_task(check())
    assert len(database.checks) == 1


async def test_with_an_open_connection_each_time_one_is_made(database: Database) -> None:
    for _ in range(5):
        await in_a_task(check())
    assert len(database.checks) == 5


async def test_when_a_connection_is_opened_in_the_thread_the_next_check_is_made(database: Database) -> None:
    database.is_open = False
    for number in range(1, 4):
        await in_a_task(check())
        await in_a_task(check())
        assert len(database.checks) == number
        await sync_to_async(database.open)()
        database.is_open = False


async def test_a_connection_of_another_thread_is_not_looked_after_here(database: Database) -> None:
    database.is_open = False
    await in_a_task(check())
    await asyncio.to_thread(database.open)
    database.open()
    await in_a_task(check())
    assert len(database.checks) == 1


async def test_while_the_first_check_is_on_its_way_nobody_is_spared_it(database: Database) -> None:
    database.is_open = False
    database.may_go_on.clear()
    tasks = [in_a_task(check())]
    await until(lambda: database.checks)
    tasks.append(in_a_task(check()))
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    database.may_go_on.set()
    await asyncio.gather(*tasks)
    assert len(database.checks) == 2


async def test_a_connection_that_is_opened_while_a_check_waits_for_the_thread_is_seen(database: Database) -> None:
    database.is_open = False
    database.may_go_on.clear()
    tasks = [in_a_task(check())]
    await until(lambda: database.checks)
    opening = in_a_task(sync_to_async(database.open)())  # behind the check
    await asyncio.sleep(0)
    database.may_go_on.set()
    await asyncio.gather(*tasks, opening)
    await in_a_task(check())
    assert len(database.checks) == 2


# What goes wrong


async def test_what_a_check_raises_everybody_gets_who_waited_for_it(database: Database) -> None:
    database.is_open = False
    database.error = LookupError("no database")
    tasks = [in_a_task(check()) for _ in range(3)]
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is database.error
    database.error = None
    await in_a_task(check())
    assert len(database.checks) == 2, "the one that failed spares nobody anything"


async def test_who_is_cancelled_costs_the_others_nothing(database: Database) -> None:
    for begun in (False, True):
        database.checks.clear()
        database.may_go_on.clear()
        tasks = [in_a_task(check()) for _ in range(3)]
        if begun:
            await until(lambda: database.checks)
        else:
            await asyncio.sleep(0)
        tasks[0].cancel()
        database.may_go_on.set()
        await asyncio.gather(*tasks[1:])
        assert tasks[0].cancelled()
        assert len(database.checks) == 1


async def test_where_everybody_is_cancelled_the_next_check_is_made_as_ever(database: Database) -> None:
    database.may_go_on.clear()
    tasks = [in_a_task(check()) for _ in range(3)]
    await until(lambda: database.checks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    database.may_go_on.set()
    await in_a_task(check())
    assert len(database.checks) == 2


def test_a_loop_that_ends_meanwhile_leaves_nobody_waiting_on_the_next(database: Database) -> None:
    async def left(stops: str) -> None:
        task = in_a_task(check())
        if stops == "on its way":
            database.may_go_on.clear()
            await until(lambda: database.checks)
            asyncio.get_running_loop().call_later(0, database.may_go_on.set)
        else:
            await asyncio.sleep(0)
        task.cancel()

    for stops in ("before it began", "on its way"):
        database.checks.clear()
        asyncio.run(left(stops))
        database.may_go_on.set()
        database.checks.clear()
        asyncio.run(check_in_a_task())
        assert len(database.checks) == 1


async def check_in_a_task() -> None:
    await in_a_task(check())


def test_a_loop_that_stands_still_does_not_keep_those_of_another_waiting(database: Database) -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[Any]:
        task = in_a_task(check())
        asyncio.get_running_loop().stop()
        return task

    beginning = loop.create_task(begin())
    loop.run_forever()
    asyncio.run(check_in_a_task())
    assert len(database.checks) == 1
    loop.run_until_complete(loop.run_until_complete(beginning))
    assert len(database.checks) == 2
    loop.close()


def test_loops_of_two_threads_at_once_have_trips_of_their_own(database: Database) -> None:
    both_wait = threading.Barrier(2)
    loops: list[Any] = []

    async def one() -> None:
        loop = asyncio.get_running_loop()
        turn = connections._trips.take()
        both_wait.wait(30)  # in the same turn of both loops
        await turn
        assert asyncio.get_running_loop() is loop
        loops.append(loop)

    threads = [threading.Thread(target=lambda: asyncio.run(one())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(set(loops)) == 2
    assert len(database.checks) == 2


# Elsewhere


async def test_in_a_context_with_a_thread_of_its_own_the_check_is_made_there(database: Database) -> None:
    database.is_open = False
    await in_a_task(check())
    async with ThreadSensitiveContext():
        thread = await database_thread()
        for _ in range(2):
            await check()
    assert database.checks[1:] == [thread] * 2
    assert thread != await database_thread()


def test_under_async_to_sync_the_check_is_made_in_the_callers_thread(database: Database) -> None:
    async def main() -> None:
        await check()
        await asyncio.create_task(check())
        await in_a_task(check())

    database.is_open = False
    asyncio.run(check_in_a_task())  # from here on the common thread has no connection
    async_to_sync(main)()
    assert database.checks[1:] == [threading.get_ident()] * 3
    asyncio.run(check_in_a_task())
    assert len(database.checks) == 4


async def test_where_channels_communicators_have_put_something_else_it_is_called(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(db, "close_old_connections", lambda: called.append("theirs"))
    for _ in range(2):
        await in_a_task(check())
    assert (called, database.checks) == (["theirs"] * 2, [])


# With Channels, and with Django


@pytest.fixture
def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (channels.consumer, channels.generic.websocket):
        monkeypatch.setattr(module, "aclose_old_connections", THEIRS)


def test_channels_consumers_are_told_once(unshared: None, trips: _Trips) -> None:
    for _ in range(2):
        share_checks()
        for module in (channels.consumer, channels.generic.websocket):
            assert module.aclose_old_connections is aclose_old_connections
    assert db.aclose_old_connections is THEIRS


def test_what_somebody_else_has_put_there_stays(monkeypatch: pytest.MonkeyPatch, trips: _Trips) -> None:
    async def another() -> None:
        """Of somebody else's."""

    monkeypatch.setattr(channels.consumer, "aclose_old_connections", another)
    monkeypatch.setattr(channels.generic.websocket, "aclose_old_connections", THEIRS)
    share_checks()
    assert channels.consumer.aclose_old_connections is another
    assert channels.generic.websocket.aclose_old_connections is aclose_old_connections


class Asking(AsyncWebsocketConsumer):  # type: ignore[misc]
    checks_by_then: list[int] = []
    database: Database

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.checks_by_then.append(len(self.database.checks))
        await self.send(text_data=text_data)


async def test_a_consumers_handler_runs_behind_a_check_made_for_its_message(unshared: None, database: Database) -> None:
    share_checks()
    Asking.database, Asking.checks_by_then = database, []
    incoming: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in range(5)]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    tasks = [in_a_task(Asking.as_asgi()({"type": "websocket"}, each.get, send)) for each in incoming]
    for message in ({"type": "websocket.connect"}, {"type": "websocket.receive", "text": "a"}):
        before = len(sent)
        for each in incoming:
            each.put_nowait(message)
        await until(lambda before=before: len(sent) == before + 5)  # type: ignore[misc]
    assert len(database.checks) == 2, "one for all that came together"
    assert Asking.checks_by_then == [2] * 5
    for each in incoming:
        each.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.gather(*tasks)
    assert len(database.checks) == 4, "one before disconnect() and one behind it"


async def test_djangos_own_connections_are_closed_and_seen_to_be_opened(trips: _Trips) -> None:
    await sync_to_async(lambda: connection.close())()
    await in_a_task(check())
    assert not trips.may_be_open
    await sync_to_async(lambda: connection.ensure_connection())()
    assert trips.may_be_open
    await in_a_task(check())  # CONN_MAX_AGE is 0: it is too old at once
    assert not trips.may_be_open
    assert await sync_to_async(lambda: connection.connection)() is None


async def test_a_connection_of_another_thread_of_djangos_is_not_touched(trips: _Trips) -> None:
    await sync_to_async(lambda: connection.close())()
    await in_a_task(check())

    def elsewhere() -> None:
        connection.ensure_connection()
        assert not trips.may_be_open
        asyncio.run_coroutine_threadsafe(check_in_a_task(), loop).result(30)
        assert connection.connection is not None
        connection.close()

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(elsewhere)


def test_a_test_cases_transaction_stays_open_as_with_channels(unshared: None, trips: _Trips) -> None:
    share_checks()

    class Echo(AsyncWebsocketConsumer):  # type: ignore[misc]
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            assert await sync_to_async(lambda: connection.in_atomic_block)()
            await self.send(text_data=text_data)

    async def main() -> None:
        communicator = WebsocketCommunicator(Echo.as_asgi(), "/")
        assert (await communicator.connect())[0]
        await communicator.send_to(text_data="a")
        assert await communicator.receive_from() == "a"

    with transaction.atomic():
        async_to_sync(main)()
        assert connection.connection is not None
        assert not connection.needs_rollback
    connection.close()
    assert trips._thread == 0, "nobody has taken a trip"
