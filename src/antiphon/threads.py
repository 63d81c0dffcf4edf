"""Between the loop and the thread in which code that is not async runs.

Handlers of synchronous consumers run in the one thread that Django's database code runs in (that of asgiref's
``sync_to_async``), one after another. What they send goes back to the loop without waiting for it.

Laws:
- database connections that are broken or too old are closed before and after each call, as in Channels;
- what is posted from the thread is done on the loop in the order in which it was posted;
- a thread that waits for the loop meanwhile does what the loop wants done in it, as in Channels.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, async_to_sync

from antiphon.exceptions import UsageError

__all__ = ["InThread", "Outlet", "close_old_connections"]

Result = TypeVar("Result")

logger = logging.getLogger("antiphon.threads")

#: Seconds after which a thread that waits for a loop looks whether there still is one.
PATIENCE = 1.0


class InThread(SyncToAsync[..., Any]):
    """A function as a coroutine function: each call is made in the thread of the database."""

    def thread_handler(self, loop: Any, *args: Any, **kwargs: Any) -> Any:
        """Make one call, in the thread; raise ``UsageError`` where what it calls turns out to be async."""
        close_old_connections()
        try:
            result = super().thread_handler(loop, *args, **kwargs)  # type: ignore[no-untyped-call]
        finally:
            close_old_connections()
        if inspect.iscoroutine(result):
            result.close()
            name = getattr(self, "__name__", "handler")
            raise UsageError(
                f"{name}() is async, and its consumer is not: write 'def {name}', or use AsyncWebsocketConsumer"
            )
        return result


def close_old_connections() -> None:
    """Close database connections of this thread that are broken or too old, where Django is used."""
    conf, db = sys.modules.get("django.conf"), sys.modules.get("django.db")
    if db is not None and conf is not None and conf.settings.configured:
        db.close_old_connections()


class Outlet:
    """The way from other threads to a loop; trips that come together are one."""

    __slots__ = ("_is_due", "_loop", "_posted")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_due = False

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function`` on the loop, behind all that was posted before."""
        self._posted.append((function, arguments))
        if not self._is_due or self._loop.is_closed():
            self._is_due = True
            try:
                self._loop.call_soon_threadsafe(self._work_off)
            except RuntimeError:  # the loop is closed, and so is every connection that it had
                self._is_due = False
                self._posted.clear()

    def wait_for(self, work: Callable[..., Coroutine[Any, Any, Result]], *arguments: Any) -> Result:
        """Run a coroutine on the loop, behind all that was posted, and return what it returns.

        Raises ``UsageError`` on the loop itself, which would wait for itself, and ``ConnectionError`` if the loop ends.
        """
        if asyncio._get_running_loop() is self._loop:
            raise UsageError("a synchronous consumer's accept() or close() was called on the event loop: that is async")
        if getattr(SyncToAsync.threadlocal, "main_event_loop", None) is self._loop and not self._loop.is_closed():
            return async_to_sync(work)(*arguments)  # what the work itself wants done in this thread is done meanwhile
        result: Future[Result] = Future()
        self.post(self._start, result, contextvars.copy_context(), work, *arguments)
        while True:
            has_ended = self._loop.is_closed()
            try:
                return result.result(0 if has_ended else PATIENCE)
            except TimeoutError:
                if result.done():  # the work's own
                    raise
                if has_ended:
                    raise ConnectionError("the event loop has ended") from None

    def _work_off(self) -> None:
        self._is_due = False  # first: what is posted from here on may find the loop beyond it
        while self._posted:
            function, arguments = self._posted.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("what a thread asked for failed")

    def _start(
        self,
        result: Future[Result],
        context: contextvars.Context,
        work: Callable[..., Coroutine[Any, Any, Result]],
        *arguments: Any,
    ) -> None:
        task = self._loop.create_task(work(*arguments), context=context)
        task.add_done_callback(lambda done: _pass_on(done, result))


def _pass_on(task: asyncio.Task[Result], result: Future[Result]) -> None:
    if task.cancelled():
        result.cancel()
    elif (error := task.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(task.result())
