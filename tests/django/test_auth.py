"""The stack of cookies, session and user: the same scope as with Channels' own, in fewer trips to the database."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from antiphon.django import auth

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
OWN_BACKEND = f"{__name__}.OwnBackend"


class OwnBackend(ModelBackend):  # type: ignore[misc]
    """Asks in its own way; fails where it is told to."""

    asked: list[Any] = []
    failure: Exception | None = None

    def get_user(self, user_id: Any) -> Any:
        self.asked.append(user_id)
        if self.failure is not None:
            raise self.failure
        return super().get_user(user_id)


def log_in(user: Any, *, backend: str = MODEL_BACKEND, session_hash: str | None = None) -> str:
    """Return the key of a new session of ``user``."""
    from django.contrib.sessions.backends.db import SessionStore

    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = backend
    store[HASH_SESSION_KEY] = user.get_session_auth_hash() if session_hash is None else session_hash
    store.save()
    return str(store.session_key)


def scope_of(key: str | None) -> dict[str, Any]:
    from django.contrib.sessions.backends.db import SessionStore

    return {"session": SessionStore(key)}


def users_of(*keys: str | None) -> list[Any]:
    return auth.users_of([scope_of(key) for key in keys])


def test_a_session_brings_its_user(user: Any) -> None:
    (found,) = users_of(log_in(user))
    assert found == user
    assert found.is_authenticated


@pytest.mark.parametrize("key", [None, "no-such-session-key-anywhere-here"])
def test_without_a_session_the_user_is_anonymous(key: str | None) -> None:
    (found,) = users_of(key)
    assert not found.is_authenticated


def test_an_expired_session_brings_nobody(user: Any) -> None:
    from django.contrib.sessions.models import Session

    key = log_in(user)
    Session.objects.filter(session_key=key).update(expire_date=timezone.now() - datetime.timedelta(seconds=1))
    assert not users_of(key)[0].is_authenticated


def test_a_session_from_before_the_password_changed_brings_nobody_and_is_gone(user: Any) -> None:
    from django.contrib.sessions.models import Session

    key = log_in(user, session_hash="another")
    assert not users_of(key)[0].is_authenticated
    assert not Session.objects.filter(session_key=key).exists()


def test_a_session_signed_with_an_older_secret_key_is_still_good(user: Any) -> None:
    with override_settings(SECRET_KEY="older"):
        key = log_in(user)
    with override_settings(SECRET_KEY_FALLBACKS=["older"]):
        assert users_of(key)[0] == user


def test_an_inactive_user_is_nobody(user: Any) -> None:
    key = log_in(user)
    user.is_active = False
    user.save()
    assert not users_of(key)[0].is_authenticated


def test_a_backend_that_the_settings_do_not_name_brings_nobody(user: Any) -> None:
    assert not users_of(log_in(user, backend=OWN_BACKEND))[0].is_authenticated


def test_two_connections_of_a_user_have_an_object_each(user: Any) -> None:
    first, second = users_of(log_in(user), log_in(user))
    first.username = "changed"
    assert second.username != "changed"


def test_fifty_sessions_are_answered_with_two_queries(user: Any) -> None:
    keys = [log_in(user) for _ in range(50)]
    with CaptureQueriesContext(connection) as queries:
        found = users_of(*keys, None)
    assert [each == user for each in found] == [True] * 50 + [False]
    assert len(queries) == 2


def test_a_backend_with_a_way_of_its_own_is_asked_itself(user: Any) -> None:
    OwnBackend.asked.clear()
    with override_settings(AUTHENTICATION_BACKENDS=[MODEL_BACKEND, OWN_BACKEND]):
        found = users_of(log_in(user, backend=OWN_BACKEND), log_in(user))
    assert found == [user, user]
    assert OwnBackend.asked == [user.pk]


def test_a_backend_that_fails_costs_its_own_connection_only(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnBackend, "failure", RuntimeError("the directory is away"))
    with override_settings(AUTHENTICATION_BACKENDS=[MODEL_BACKEND, OWN_BACKEND]):
        failed, found = users_of(log_in(user, backend=OWN_BACKEND), log_in(user))
    assert isinstance(failed, RuntimeError)
    assert found == user


async def handshake(stack: Any, key: str) -> Any:
    """Return the scope that the application behind the stack gets."""
    cookie = f"sessionid={key}".encode()
    return await stack({"type": "websocket", "headers": [(b"cookie", cookie)], "path": "/"}, None, None)


async def application(scope: Any, receive: Any, send: Any) -> Any:
    return scope


async def test_the_scope_is_that_of_channels(user: Any) -> None:
    key = await database_sync_to_async(log_in)(user)
    scope = await handshake(auth.AuthMiddlewareStack(application), key)
    assert scope["cookies"] == {"sessionid": key}
    assert scope["session"].session_key == key
    assert scope["user"] == user


async def test_who_waits_at_the_same_moment_is_answered_together(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trips: list[int] = []
    users_of_scopes = auth.users_of

    def counted(scopes: list[Any]) -> list[Any]:
        trips.append(len(scopes))
        return users_of_scopes(scopes)

    monkeypatch.setattr(auth, "users_of", counted)
    stack = auth.AuthMiddlewareStack(application)
    keys = [await database_sync_to_async(log_in)(user) for _ in range(20)]
    scopes = await asyncio.gather(*(handshake(stack, key) for key in keys))
    assert all(scope["user"] == user for scope in scopes)
    assert sum(trips) == 20
    assert len(trips) <= 3


@pytest.mark.parametrize("delay", range(12))
async def test_nobody_misses_a_trip_that_is_just_ending(delay: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(scopes: list[Any]) -> list[Any]:
        return ["somebody"] * len(scopes)

    monkeypatch.setattr(auth, "database_sync_to_async", lambda function: at_once)
    middleware = auth.AuthMiddleware(application)

    async def resolve(after: int) -> Any:
        for _ in range(after):
            await asyncio.sleep(0)
        scope: dict[str, Any] = {"session": {}}
        middleware.populate_scope(scope)
        await middleware.resolve_scope(scope)
        return scope["user"]

    async with asyncio.timeout(10):
        assert list(await asyncio.gather(resolve(0), resolve(delay))) == ["somebody", "somebody"]


async def test_a_database_that_fails_fails_those_who_asked_and_not_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [RuntimeError("no database"), ["somebody"]]

    async def trip(scopes: list[Any]) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(auth, "database_sync_to_async", lambda function: trip)
    middleware = auth.AuthMiddleware(application)
    for outcome in ("fails", "works"):
        scope: dict[str, Any] = {"session": {}}
        middleware.populate_scope(scope)
        if outcome == "fails":
            with pytest.raises(RuntimeError, match="no database"):
                await middleware.resolve_scope(scope)
        else:
            await middleware.resolve_scope(scope)
            assert scope["user"] == "somebody"
