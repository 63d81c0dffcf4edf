"""Closing old database connections for many consumers of Channels' at once.

Before each message, a consumer of Channels' closes the database connections that are broken or too old
(``channels.db.aclose_old_connections``), in the thread that Django's database code runs in: a trip to another thread
and back for each member of a group, which costs more than all the rest. ``share_checks`` lets consumers whose messages
come together take one trip, and none where that thread has no connection that could be closed.

Laws:
- whoever awaits a check goes on after one that began when the await had begun: what Channels promises;
- a trip is spared only after one that found no open connection, and before the next is opened there, of which Django
  tells by ``connection_created``.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync, sync_to_async
from channels import consumer, db
from django.db import close_old_connections, connections
from django.db.backends.signals import connection_created

__all__ = ["share_checks"]

_theirs: Callable[[], Awaitable[None]] = db.aclose_old_connections


def share_checks() -> None:
    """Let Channels' consumers share their checks; the second time does nothing."""
    for module in (consumer, sys.modules.get("channels.generic.websocket")):
        if getattr(module, "aclose_old_connections", None) is _theirs:
            module.aclose_old_connections = aclose_old_connections  # type: ignore[union-attr]
    connection_created.connect(_trips.opened, dispatch_uid=__name__)


def aclose_old_connections() -> Awaitable[None]:
    """Return what waits for a check, shared with all others of this turn of the loop."""
    if _is_elsewhere():
        return _theirs()
    return _trips.take() if _trips.may_be_open else _NOTHING


def _is_elsewhere() -> bool:
    """Tell whether this caller's database code runs in another thread than everybody's, or is being tested."""
    return (
        SyncToAsync.thread_sensitive_context.get(None) is not None
        or getattr(AsyncToSync.executors, "current", None) is not None
        or asyncio.get_running_loop() in AsyncToSync.loop_thread_executors
        or db.close_old_connections is not close_old_connections
    )


class _Nothing:
    """Awaiting this waits for nothing."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


_NOTHING = _Nothing()


class _Trips:
    """Trips to the thread of the database; all who want one in the same turn of their loop take the same."""

    def __init__(self) -> None:
        self.may_be_open = True
        """Whether the thread may have a connection that is open."""
        self._thread = 0
        self._waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = (
            weakref.WeakKeyDictionary()
        )

    def opened(self, **signal: Any) -> None:
        """Note that a connection was opened, in the thread that this is called in."""
        if threading.get_ident() == self._thread:
            self.may_be_open = True

    def take(self) -> asyncio.Future[None]:
        """Return what is done when the next trip is."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        waiting = self._waiting.get(loop)
        if waiting is None:
            waiting = self._waiting[loop] = []
            loop.call_soon(self._begin, loop)
        waiting.append(turn)
        return turn

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting.pop(loop)
        trip = loop.create_task(sync_to_async(self._check)())
        trip.add_done_callback(lambda done: _arrive(done, waiting))

    def _check(self) -> None:
        """Close what is old; in the thread of the database."""
        self._thread = threading.get_ident()
        self.may_be_open = True
        close_old_connections()
        self.may_be_open = any(each.connection is not None for each in connections.all(initialized_only=True))


_trips = _Trips()


def _arrive(trip: asyncio.Future[Any], waiting: list[asyncio.Future[None]]) -> None:
    error = None if trip.cancelled() else trip.exception()
    for turn in waiting:
        if turn.done():
            continue  # whoever waited was cancelled
        if trip.cancelled():
            turn.cancel()
        elif error is not None:
            turn.set_exception(error)
        else:
            turn.set_result(None)
