"""Who loses connections when: Django's signals, transactions, and what happens when the order can't be given."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import alogout, get_user_model, login, logout
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

import antiphon
from antiphon import app
from antiphon.app import current_app
from antiphon.control import Kick, Whom, session_digest
from antiphon.control import encode as encode_order
from antiphon.django import revocation
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import EngineUnavailable

Closed = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def _listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})
    revocation.connect()
    revocation.connect()
    yield
    revocation.disconnect()


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Closed:
    """Whose connections were to be closed: user and session."""
    orders: Closed = []
    monkeypatch.setattr(revocation, "_close", lambda user, session="": orders.append((user, session)))
    return orders


def logged_in(user: Any) -> Any:
    """Return a request of a user who has just logged in."""
    request = RequestFactory().get("/")
    request.session = SessionStore()
    request.user = user
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    return request


# Logging out


def test_a_session_that_is_logged_out(user: Any, closed: Closed) -> None:
    request = logged_in(user)
    key = request.session.session_key
    logout(request)
    assert closed == [(str(user.pk), key)]


def test_the_session_is_gone_before(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[bool] = []
    monkeypatch.setattr(
        revocation, "_close", lambda user, session: gone.append(not Session.objects.filter(pk=session).exists())
    )
    logout(logged_in(user))
    assert gone == [True]


def test_a_logout_that_is_rolled_back_closes_nothing(user: Any, closed: Closed) -> None:
    request = logged_in(user)
    with transaction.atomic():
        logout(request)
        transaction.set_rollback(True)
    assert not closed


def test_a_logout_is_one_when_it_is_committed(user: Any, closed: Closed) -> None:
    with transaction.atomic():
        logout(logged_in(user))
        assert not closed
    assert len(closed) == 1


async def test_an_async_logout(user: Any, closed: Closed) -> None:
    request = await sync_to_async(logged_in)(user)

    async def auser() -> Any:
        return user

    request.auser = auser
    key = request.session.session_key
    await alogout(request)
    assert closed == [(str(user.pk), key)]


def test_nobody_logs_out(user: Any, closed: Closed) -> None:
    request = RequestFactory().get("/")
    request.session = SessionStore()
    logout(request)
    user_logged_out.send(sender=type(user), request=None, user=user)  # as Channels' logout does
    assert closed == []


# Users


def test_another_password(user: Any, closed: Closed) -> None:
    user.set_password("another")
    user.save()
    assert closed == [(str(user.pk), "")]
    user.set_unusable_password()
    user.save(update_fields=["password"])
    assert closed == [(str(user.pk), "")] * 2


def test_the_same_password_or_none_of_it(user: Any, closed: Closed) -> None:
    user.first_name = "Ada"
    user.save()
    user.set_password("another")
    user.save(update_fields=["first_name"])
    deferred = get_user_model().objects.defer("password").get(pk=user.pk)
    deferred.save()
    assert closed == []


def test_deactivation_and_not_its_repetition(user: Any, closed: Closed) -> None:
    user.is_active = False
    user.save()
    assert closed == [(str(user.pk), "")]
    user.save()
    user.is_active = True
    user.save()
    assert len(closed) == 1


def test_deletion(user: Any, closed: Closed) -> None:
    key = str(user.pk)
    user.delete()
    assert closed == [(key, "")]


def test_a_new_user_has_no_connections(closed: Closed) -> None:
    get_user_model().objects.create_user("new", is_active=False).delete()
    assert len(closed) == 1, "that of the deletion"


def test_what_is_loaded_from_a_fixture(user: Any, closed: Closed) -> None:
    user.password = "another"
    user.save_base(raw=True)
    assert closed == []


def test_a_transaction_that_is_rolled_back(user: Any, closed: Closed) -> None:
    with transaction.atomic():
        user.set_password("another")
        user.save()
        transaction.set_rollback(True)
    assert closed == []


def test_a_proxy_of_the_user_model(user: Any, closed: Closed) -> None:
    model = get_user_model()
    proxy: Any = type("Member", (model,), {"__module__": model.__module__, "Meta": type("Meta", (), {"proxy": True})})
    try:
        revocation.connect()
        member = proxy._default_manager.get(pk=user.pk)
        member.set_password("another")
        member.save()
        assert closed == [(str(user.pk), "")]
    finally:
        revocation.disconnect()
        del model._meta.apps.all_models["auth"]["member"]
        model._meta.apps.clear_cache()


def test_what_it_costs(user: Any, closed: Closed) -> None:
    with CaptureQueriesContext(connection) as queries:
        user.save(update_fields=["last_login"])  # as each login does
    assert len(queries) == 1
    with CaptureQueriesContext(connection) as queries:
        user.save()
    assert len(queries) == 2


# The order


class Engine(MemoryEngine):
    """Remembers orders."""

    orders: list[bytes] = []
    stopped = 0

    async def send_control(self, control: bytes, process: str = "") -> None:
        self.orders.append(control)
        await super().send_control(control)

    async def stop(self) -> None:
        type(self).stopped += 1
        await super().stop()


class Away(Engine):
    async def send_control(self, control: bytes, process: str = "") -> None:
        raise EngineUnavailable("the engine is away")


class Hanging(Engine):
    async def send_control(self, control: bytes, process: str = "") -> None:
        await asyncio.sleep(3600)


def engine(monkeypatch: pytest.MonkeyPatch, kind: type[Engine]) -> None:
    """Let antiphon use an engine that other processes share."""
    kind.orders, kind.stopped = [], 0
    monkeypatch.setattr(app, "open_engine", lambda url, counters: kind())
    antiphon.configure(engine="shared://")


ORDER = encode_order(Kick(Whom("7", "", session_digest("a key"))))


def threads() -> list[threading.Thread]:
    """Return those that still have an order to give."""
    return [thread for thread in threading.enumerate() if thread.name == "antiphon-revocation"]


async def test_an_order_goes_by_the_engine_of_a_process_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, Engine)
    await current_app().start()
    await asyncio.to_thread(revocation._close, "7", "a key")
    assert Engine.orders == [ORDER]
    assert Engine.stopped == 0
    await current_app().stop()


def test_and_by_one_of_its_own_in_a_process_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, Engine)
    revocation._close("7", "a key")
    assert Engine.orders == [ORDER]
    assert Engine.stopped == 1
    assert current_app().latest_hub is None


async def test_on_a_loop_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, Engine)
    await current_app().start()
    revocation._close("7", "a key")
    async with asyncio.timeout(20):
        while not Engine.orders:
            await asyncio.sleep(0.01)
    await current_app().stop()


def test_an_engine_that_is_away_is_told_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, user: Any
) -> None:
    engine(monkeypatch, Away)
    logout(logged_in(user))
    assert f"the connections of user '{user.pk}' could not be told to close: the engine is away" in caplog.text
    assert current_app().counters.revocations_failed == 1


def test_an_engine_that_hangs_holds_nobody_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, user: Any
) -> None:
    engine(monkeypatch, Hanging)
    monkeypatch.setattr(revocation, "WAIT", 0.01)
    monkeypatch.setattr(revocation, "TIMEOUT", 1)
    request = logged_in(user)
    logout(request)
    (thread,) = threads()  # it has gone on while the engine hangs
    thread.join(20)
    assert not threads()
    assert "TimeoutError" in caplog.text
    assert current_app().counters.revocations_failed == 1


def test_a_thread_that_can_not_be_started_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    engine(monkeypatch, Engine)
    monkeypatch.setattr(threading.Thread, "start", start)
    revocation._close("7")
    assert "can't start new thread" in caplog.text
    assert current_app().counters.revocations_failed == 1


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_memory_engine_of_a_process_without_a_server_reaches_nobody(caplog: pytest.LogCaptureFixture) -> None:
    revocation._close("7")
    revocation._close("7")
    (line,) = warnings(caplog)
    assert "choose an engine that processes share" in line
    assert not threads()


async def test_that_of_a_server_without_connections_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    revocation._close("7")
    await sync_to_async(revocation._close)("7")
    assert warnings(caplog) == []


def test_nor_is_it_for_sync_code_that_async_code_called(caplog: pytest.LogCaptureFixture) -> None:
    async_to_sync(sync_to_async(revocation._close))("7")
    assert warnings(caplog) == []
