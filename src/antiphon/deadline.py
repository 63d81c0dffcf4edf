"""A time by which a task has to be through with something.

It is ``asyncio.timeout`` with two differences. When the time is up, it first tells, and only then cancels the task:
what was decided can't be decided again while the task winds up. And it outlives its block: behind that it still tells,
but there is nothing left to cancel.

Laws:
- ``passed`` is called once at most, and not after ``lift``;
- the task is cancelled once at most, within the block only, and not on top of a cancellation by somebody else;
- its own cancellation ends at the end of the block; anybody else's goes on, also when both come together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

__all__ = ["Deadline"]


class Deadline:
    """Calls ``passed`` in ``seconds``, and cancels the task if that is within ``with deadline:`` then."""

    __slots__ = ("_cancelled", "_cancelled_before", "_passed", "_task", "_timer")

    def __init__(self, seconds: float, passed: Callable[[], None]) -> None:
        self._passed = passed
        self._task: asyncio.Task[object] | None = None
        self._cancelled_before = 0
        self._cancelled = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._pass)

    @property
    def within(self) -> bool:
        """Tell whether a task is within the block."""
        return self._task is not None

    def lift(self) -> None:
        """Let the time pass without consequences."""
        self._timer.cancel()

    def cut(self) -> None:
        """Cancel what runs within the block now, without ``passed``."""
        self._timer.cancel()
        self._cancel()

    def __enter__(self) -> None:
        task = self._task = asyncio.current_task()
        assert task is not None
        self._cancelled_before = task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        task, self._task = self._task, None
        assert task is not None
        if not self._cancelled:
            return False
        own = task.uncancel() <= self._cancelled_before
        return own and kind is not None and issubclass(kind, asyncio.CancelledError)

    def _pass(self) -> None:
        self._passed()
        self._cancel()

    def _cancel(self) -> None:
        task = self._task
        if task is not None and task.cancelling() <= self._cancelled_before:
            self._cancelled = True
            task.cancel()
