"""Coroutines that were started by hand and go on in a task.

Most coroutines here finish without waiting for anything: started with ``coroutine.send(None)`` they cost no task. One
that does wait is handed to a task, which goes on with it by awaiting a ``Resumption``.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["Resumption"]


class Resumption:
    """Awaiting this goes on with a started coroutine: what it waits for is what the awaiting task waits for.

    ``waits_for`` is what ``coroutine.send(None)`` returned. ``error`` is raised inside the coroutine at once, where the
    task was cancelled before it could take over.
    """

    __slots__ = ("_coroutine", "_error", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any, error: BaseException | None = None) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for
        self._error = error

    def __await__(self) -> Generator[Any, Any, Any]:
        # PEP 380's expansion of "yield from", entered where the coroutine has already yielded once.
        coroutine, waits_for, error = self._coroutine, self._waits_for, self._error
        while True:
            value = None
            if error is None:
                try:
                    value = yield waits_for
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as thrown:
                    error = thrown
            try:
                waits_for = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            error = None
