"""Who is on the other end: Channels' ``AuthMiddlewareStack``, with one trip to the database for many handshakes.

Channels asks for each connection alone: a thread, a database connection opened and closed, a query for the session, a
query for the user. When a thousand clients come back at once, that is what they wait for. Here the handshakes that wait
at the same moment are answered together::

    from antiphon.django.auth import AuthMiddlewareStack    # instead of: from channels.auth import AuthMiddlewareStack

What a consumer finds in its scope is the same: ``cookies``, ``session``, ``user``; Channels' ``login``, ``logout`` and
``get_user`` work on it. Sessions of ``django.contrib.sessions.backends.db`` and users of ``ModelBackend`` (and of
subclasses that keep its ``get_user``) are read together; others one by one, but in one trip.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable
from typing import Any

from channels.auth import AuthMiddleware as ChannelsAuthMiddleware
from channels.db import database_sync_to_async
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from antiphon.types import ASGIApplication, Scope

__all__ = ["AuthMiddleware", "AuthMiddlewareStack"]

#: How many handshakes one trip answers at the most: SQLite takes 999 parameters in a query.
BATCH = 200


class AuthMiddleware(ChannelsAuthMiddleware):
    """Puts the session's user into ``scope["user"]``; needs ``SessionMiddleware`` around it."""

    def __init__(self, inner: ASGIApplication) -> None:
        super().__init__(inner)
        self._waiting: list[tuple[Scope, asyncio.Future[Any]]] = []
        self._trip: asyncio.Task[None] | None = None

    async def resolve_scope(self, scope: Scope) -> None:
        """Wait for the trip that brings this scope's user."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((scope, future))
        if self._trip is None or self._trip.done() or self._trip.get_loop() is not loop:
            self._trip = loop.create_task(self._travel())
        scope["user"]._wrapped = await future

    async def _travel(self) -> None:
        """Ask the database for all who wait, and again for those who came in the meantime."""
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                users = await database_sync_to_async(users_of)([scope for scope, _ in batch])
            except Exception as error:
                users = [error] * len(batch)
            for (_, future), user in zip(batch, users, strict=True):
                if future.done():
                    continue  # the client has left
                if isinstance(user, Exception):
                    future.set_exception(user)
                else:
                    future.set_result(user)
        self._trip = None  # at once, not when the task is done: whoever comes in between needs a new one


def AuthMiddlewareStack(inner: ASGIApplication) -> ASGIApplication:
    """Return ``inner`` behind cookies, session and user, as Channels' function of this name does."""
    stack: ASGIApplication = CookieMiddleware(SessionMiddleware(AuthMiddleware(inner)))
    return stack


def users_of(scopes: list[Scope]) -> list[Any]:
    """Return for each scope its session's user, an ``AnonymousUser``, or the exception that finding it raised."""
    from django.contrib.auth.models import AnonymousUser  # a model: importable once Django is set up

    sessions = [getattr(scope["session"], "_wrapped", scope["session"]) for scope in scopes]
    from django.contrib.sessions.backends.db import SessionStore

    _load_together([session for session in sessions if type(session) is SessionStore])
    known = _users_together(sessions)
    users: list[Any] = []
    for session in sessions:
        try:
            users.append(_verified_user(session, known) or AnonymousUser())
        except Exception as error:
            users.append(error)
    return users


def _load_together(stores: list[Any]) -> None:
    """Fill each store as its ``load()`` would, with one query for all."""
    wanted = {store.session_key for store in stores if store.session_key and not hasattr(store, "_session_cache")}
    if not wanted:
        return
    rows = type(stores[0]).get_model_class().objects.filter(session_key__in=wanted, expire_date__gt=timezone.now())
    data = {row.session_key: row.session_data for row in rows}
    for store in stores:
        if store.session_key in wanted and not hasattr(store, "_session_cache"):
            if store.session_key in data:
                store._session_cache = store.decode(data[store.session_key])
            else:
                store._session_key = None
                store._session_cache = {}


def _users_together(sessions: Iterable[Any]) -> dict[Any, Any]:
    """Return by primary key the users whose backend asks for them as ``ModelBackend`` does, with one query for all."""
    keys = set()
    for session in sessions:
        backend = _backend(session)
        if backend is not None and _asks_by_key(backend):
            keys.add(_user_key(session))
    manager = get_user_model()._default_manager
    return {user.pk: user for user in manager.filter(pk__in=keys)} if keys else {}


def _verified_user(session: Any, known: dict[Any, Any]) -> Any:
    """Return the session's user if the session's hash is still good, else None (``django.contrib.auth.get_user``)."""
    backend = _backend(session)
    if backend is None:
        return None
    key = _user_key(session)
    if _asks_by_key(backend):
        user = known.get(key)
        # Each connection may change its user object, so each gets its own.
        user = copy.copy(user) if user is not None and backend.user_can_authenticate(user) else None
    else:
        user = backend.get_user(key)
    if hasattr(user, "get_session_auth_hash") and not _hash_is_good(session, user):
        session.flush()
        return None
    return user


def _backend(session: Any) -> Any:
    path = session.get(BACKEND_SESSION_KEY)
    if path is None or SESSION_KEY not in session or path not in settings.AUTHENTICATION_BACKENDS:
        return None
    return load_backend(path)


def _asks_by_key(backend: Any) -> bool:
    """Tell whether ``get_user`` of the backend is ``ModelBackend``'s: a look-up by primary key, and nothing else."""
    from django.contrib.auth.backends import ModelBackend  # imports models

    return type(backend).get_user is ModelBackend.get_user


def _user_key(session: Any) -> Any:
    return get_user_model()._meta.pk.to_python(session[SESSION_KEY])


def _hash_is_good(session: Any, user: Any) -> bool:
    found = session.get(HASH_SESSION_KEY)
    if not found:
        return False
    fallbacks = getattr(user, "get_session_auth_fallback_hash", list)  # Django 4.1.8 and later: rotated secret keys
    good = [user.get_session_auth_hash(), *fallbacks()]
    return any(constant_time_compare(found, each) for each in good)
