"""Who has logged out is not connected any more, in whichever process: Django's signals become orders to close.

=================================  ============================================
a session is logged out            the connections that were opened with it
a user's password is changed       all of the user's: Django ends the sessions
a user is deactivated, or deleted  all of the user's
=================================  ============================================

Laws:
- connections are closed when what let them in is gone: after the session was flushed and the transaction committed, so
  that a client which comes back at once is refused, and one whose logout was rolled back stays;
- a view waits for no longer than ``WAIT`` seconds for that, and does not fail: what could not be told is counted and
  logged;
- nothing is asked of the database but before a user is saved with a password: one row, to see whether it changed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from asyncio import _get_running_loop
from collections.abc import Callable, Iterator
from typing import Any

from asgiref.sync import SyncToAsync
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_save

from antiphon.app import App, current_app
from antiphon.logs import shown

__all__ = ["TIMEOUT", "WAIT", "connect", "disconnect"]

logger = logging.getLogger("antiphon.django")

#: Seconds that a view waits until the engine has the order.
WAIT = 2.0
#: Seconds after which it is given up.
TIMEOUT = 10.0

#: The fields of a user that its sessions depend on.
FIELDS = ("password", "is_active")
#: Where a user remembers, between ``pre_save`` and ``post_save``, that its sessions are over.
_MARK = "_antiphon_sessions_are_over"


def connect() -> None:
    """Listen to Django's signals; the second time does nothing."""
    user_logged_out.connect(_logged_out, dispatch_uid=__name__)
    for model in _user_models():
        pre_save.connect(_before_save, sender=model, dispatch_uid=__name__)
        post_save.connect(_after_save, sender=model, dispatch_uid=__name__)
        post_delete.connect(_after_delete, sender=model, dispatch_uid=__name__)


def disconnect() -> None:
    """Listen no more."""
    user_logged_out.disconnect(dispatch_uid=__name__)
    for model in _user_models():
        for signal in (pre_save, post_save, post_delete):
            signal.disconnect(sender=model, dispatch_uid=__name__)


def _user_models() -> Iterator[Any]:
    """Return the project's user model and its proxies, whose signals have another sender."""
    try:
        users = get_user_model()
    except ImproperlyConfigured:  # a project without users
        return
    yield from (model for model in apps.get_models() if model._meta.concrete_model is users)


# Signals


def _logged_out(request: Any, user: Any, **signal: Any) -> None:
    """Let the session's connections be closed when it is flushed, which is what Django's ``logout`` does next."""
    session = getattr(request, "session", None)
    if user is None or session is None or not session.session_key:
        return
    close = functools.partial(_close, str(user.pk), session.session_key)
    flush = session.flush
    aflush: Any = getattr(session, "aflush", None)  # Django 5.1 and later

    def flush_and_close() -> None:
        flush()
        _when_committed(close)

    async def aflush_and_close() -> None:
        await aflush()
        _when_committed(close)

    session.flush = flush_and_close
    if aflush is not None:
        session.aflush = aflush_and_close


def _before_save(sender: Any, instance: Any, using: str, update_fields: Any, raw: bool, **signal: Any) -> None:
    """Note whether what the sessions of a user depend on is about to change."""
    fields = [name for name in FIELDS if _is_saved(instance, name, update_fields)]
    if fields and not raw and not instance._state.adding:
        before = sender._base_manager.using(using).filter(pk=instance.pk).values(*fields).first()
        if before is not None and _ends_sessions(before, instance):
            setattr(instance, _MARK, True)


def _is_saved(instance: Any, name: str, update_fields: Any) -> bool:
    if name in instance.get_deferred_fields() or (update_fields is not None and name not in update_fields):
        return False
    return any(field.name == name for field in instance._meta.concrete_fields)


def _ends_sessions(before: dict[str, Any], instance: Any) -> bool:
    """Tell whether a user's sessions are over: by another password, or because the user may not log in any more."""
    has_new_password = "password" in before and before["password"] != instance.password
    return has_new_password or (before.get("is_active", False) and not instance.is_active)


def _after_save(instance: Any, using: str, **signal: Any) -> None:
    if instance.__dict__.pop(_MARK, False):
        _close_when_committed(instance, using)


def _after_delete(instance: Any, using: str, **signal: Any) -> None:
    _close_when_committed(instance, using)


def _close_when_committed(user: Any, using: str) -> None:
    # A deleted user loses its key.
    _when_committed(functools.partial(_close, str(user.pk)), using)


def _when_committed(close: Callable[[], None], using: str | None = None) -> None:
    if _get_running_loop() is None:
        transaction.on_commit(close, using=using)
    else:  # where there is a loop, there are no transactions
        close()


# The order


def _close(user: str, session: str = "") -> None:
    """Order that connections are closed, and wait a little, for the order and not for them; never raises."""
    app = current_app()
    if app.running_hub is None and app.config.engine.startswith("memory:"):
        if not _is_beneath_a_loop():
            app.warn_if_alone("the closing of a logged out user's connections")
        return
    work = threading.Thread(target=_order, args=(app, user, session), name="antiphon-revocation", daemon=True)
    try:
        work.start()
    except RuntimeError as error:  # there are too many, or the interpreter ends
        _failed(app, user, error)
        return
    if _get_running_loop() is None:
        work.join(WAIT)


def _is_beneath_a_loop() -> bool:
    """Tell whether this runs in a server's process: its consumers may be in it, though nobody has connected yet."""
    loop = _get_running_loop() or getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    return loop is not None and loop.is_running()


def _order(app: App, user: str, session: str) -> None:
    """Send the order, in a thread of its own: whatever the engine does, the view goes on."""
    try:
        asyncio.run(_kick(app, user, session))
    except Exception as error:
        _failed(app, user, error)


def _failed(app: App, user: str, error: Exception) -> None:
    app.counters.revocations_failed += 1
    logger.error(
        "the connections of user %s could not be told to close: %s. They stay until they end by themselves",
        shown(user),
        str(error) or type(error).__name__,
    )


async def _kick(app: App, user: str, session: str) -> None:
    """Pass the order on by the process's own engine where it runs, else by one that is started for it."""
    async with asyncio.timeout(TIMEOUT):
        if app.running_hub is not None:
            await app.layer.kick(user, session=session)
            return
        alone = App(app.config)
        try:
            await alone.layer.kick(user, session=session)
        finally:
            await alone.stop()
