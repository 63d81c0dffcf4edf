"""Turns of one consumer: messages and events are handled one at a time, in the order in which they came.

Laws:
- one turn runs at a time; a turn that is put while another runs waits for it;
- a turn runs as part of the task that owns the mailbox, whoever put it: ``asyncio.current_task()``,
  ``asyncio.timeout()`` and context variables are those of that task;
- a turn that never suspends costs no task and no trip through the loop: it runs inside ``put``.

How: the owner waits in ``serve()``. While it waits, ``put`` starts the turn's coroutine by hand in the owner's name.
Most turns finish at once. One that suspends is handed to the owner, who goes on with it as if it had started it; until
it is done, further turns are queued. (``asyncio._enter_task`` is asyncio's documented hook for running part of a task.)
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import _enter_task, _leave_task, current_task
from collections import deque
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from antiphon.resumption import Resumption
from antiphon.types import Turn

__all__ = ["Mailbox", "Owner"]


class Owner(Protocol):
    """Who is told what happens in a mailbox. None of these may raise."""

    def turn_failed(self, turn: Turn, error: BaseException) -> None:
        """A turn ended with an exception."""

    def mailbox_full(self) -> None:
        """More than ``limit`` bytes wait."""

    def mailbox_crowded(self) -> None:
        """At least ``crowd`` turns wait."""

    def mailbox_relieved(self) -> None:
        """After it was crowded, nothing waits any more."""


class Mailbox:
    """The turns that wait for one consumer.

    ``owner`` is told what happens. ``serve()`` ends after ``end()`` was called and the running turn is done.
    ``context`` is the one that the owning task runs in; without it no turn runs inside ``put``.
    """

    __slots__ = (
        "_consumer",
        "_context",
        "_crowd",
        "_crowded",
        "_ended",
        "_limit",
        "_loop",
        "_owner",
        "_parked",
        "_queue",
        "_started",
        "_task",
        "size",
    )

    def __init__(
        self,
        consumer: Any,
        owner: Owner,
        *,
        limit: int,
        crowd: int,
        context: contextvars.Context | None,
    ) -> None:
        self.size = 0
        """Bytes of the turns that wait."""
        self._consumer = consumer
        self._context = context
        self._owner = owner
        self._limit = limit
        self._crowd = crowd
        self._crowded = False
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._parked: asyncio.Future[None] | None = None
        self._queue: deque[tuple[Turn, Any, int]] | None = None
        self._ended = False
        self._started: _Started | None = None

    def __len__(self) -> int:
        return len(self._queue) if self._queue else 0

    @property
    def has_ended(self) -> bool:
        """Tell whether no turn runs any more but the one that does."""
        return self._ended

    def put(self, turn: Turn, argument: Any, size: int = 0) -> None:
        """Run ``turn(consumer, argument)`` now if nothing runs, else after all that waits."""
        parked = self._parked
        context = self._context
        if parked is None or parked.done() or self._queue or context is None or current_task() is not None:
            self._enqueue(turn, argument, size)
            return
        self._parked = None
        task = self._task
        _enter_task(self._loop, task)  # type: ignore[arg-type]
        try:
            coroutine = turn(self._consumer, argument)
            waits_for = context.run(coroutine.send, None)
        except StopIteration:
            self._parked = parked
        except (Exception, asyncio.CancelledError) as error:
            self._parked = parked
            self._owner.turn_failed(turn, error)
        else:
            self._started = _Started(turn, coroutine, waits_for)
            if not parked.done():  # it is where the turn cancelled its own task
                parked.set_result(None)
            return
        finally:
            _leave_task(self._loop, task)  # type: ignore[arg-type]
        if self._queue or self._ended:
            self._wake()

    def end(self) -> int:
        """Let ``serve()`` return after the turn that runs now; return how many turns waited, which are dropped."""
        self._ended = True
        dropped = len(self)
        if self._queue:
            self._queue.clear()
        self.size = 0
        self._wake()
        return dropped

    async def serve(self) -> None:
        """Run turns until ``end()``; the task that awaits this owns every turn."""
        self._task = current_task()
        if self._context is None and sys.version_info >= (3, 12):
            self._context = self._task.get_context()  # type: ignore[union-attr]
        while not self._ended:
            if self._queue:
                turn, argument, size = self._queue.popleft()
                self.size -= size
                if self._crowded and not self._queue:
                    self._crowded = False
                    self._owner.mailbox_relieved()
                try:
                    await turn(self._consumer, argument)
                except Exception as error:
                    self._owner.turn_failed(turn, error)
                except asyncio.CancelledError as error:
                    self._turn_cancelled(turn, error)
                continue
            parked = self._parked = self._loop.create_future()
            cancelled: asyncio.CancelledError | None = None
            try:
                await parked
            except asyncio.CancelledError as error:
                self._parked = None
                if self._started is None:
                    raise
                cancelled = error  # the turn takes it, as if it had always run in this task
            if self._started is not None:
                started, self._started = self._started, None
                await self._resume(started, cancelled)

    async def _resume(self, started: _Started, cancelled: asyncio.CancelledError | None) -> None:
        """Go on with a turn that ``put`` started and that suspended."""
        try:
            await Resumption(started.coroutine, started.waits_for, cancelled)
        except Exception as error:
            self._owner.turn_failed(started.turn, error)
        except asyncio.CancelledError as error:
            self._turn_cancelled(started.turn, error)

    def _turn_cancelled(self, turn: Turn, error: asyncio.CancelledError) -> None:
        """Go on where a turn ended with a cancellation that was not its task's; else pass it on."""
        if self._task.cancelling():  # type: ignore[union-attr]
            raise error
        self._owner.turn_failed(turn, error)

    def _enqueue(self, turn: Turn, argument: Any, size: int) -> None:
        if self._ended:
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append((turn, argument, size))
        self.size += size
        if self.size > self._limit:
            self._owner.mailbox_full()
        elif len(self._queue) >= self._crowd and not self._crowded:
            self._crowded = True
            self._owner.mailbox_crowded()
        self._wake()

    def _wake(self) -> None:
        parked = self._parked
        if parked is not None:
            self._parked = None
            if not parked.done():
                parked.set_result(None)


class _Started(NamedTuple):
    """A turn whose coroutine was started by hand and waits for something."""

    turn: Turn
    coroutine: Coroutine[Any, Any, Any]
    waits_for: Any
