"""Letting a test's database transaction be while its application runs."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["undisturbed_connections"]

#: What ends a connection of Django's, whoever asks for it: Channels before and after database code and each message,
#: antiphon's sync consumers, Django's signals of a request.
_MODULE, _CLASS, _METHOD = "django.db.backends.base.base", "BaseDatabaseWrapper", "close_if_unusable_or_obsolete"

_lock = threading.Lock()
_users = 0
_original: Callable[[Any], None] | None = None


@contextlib.contextmanager
def undisturbed_connections() -> Iterator[None]:
    """Let no connection be closed inside that has a transaction open, as that of Django's ``TestCase`` has.

    Between two messages a connection never has one, but in a test. Django ends connections there that are broken or
    old, and takes one with a transaction for broken: what the test has written would be gone. All others it may end.
    May be entered more than once at a time, in any order and from any thread; does nothing where Django is not loaded.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _wrapper_class() -> Any:
    return getattr(sys.modules.get(_MODULE), _CLASS, None)


def _enter() -> None:
    global _users, _original
    with _lock:
        _users += 1
        cls = _wrapper_class()
        if _original is None and cls is not None:
            _original = getattr(cls, _METHOD)
            setattr(cls, _METHOD, _close_unless_in_transaction)


def _leave() -> None:
    global _users, _original
    with _lock:
        _users -= 1
        if not _users and _original is not None:
            if getattr(_wrapper_class(), _METHOD, None) is _close_unless_in_transaction:
                setattr(_wrapper_class(), _METHOD, _original)
            _original = None


def _close_unless_in_transaction(connection: Any) -> None:
    original = _original
    if not connection.in_atomic_block and original is not None:
        original(connection)
