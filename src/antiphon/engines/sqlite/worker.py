"""A thread that is given things to do by the event loop, and carries out together what waits together."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Worker"]

Task = TypeVar("Task")

#: Seconds after which a thread that has nothing to do looks whether its loop is still there.
_LOOK = 10.0


class Worker(Generic[Task]):
    """One daemon thread; ``work`` gets up to ``at_once`` tasks, in the order of ``put``, and never raises."""

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        work: Callable[[Sequence[Task]], None],
        close: Callable[[], None],
        *,
        at_once: int,
    ) -> None:
        self._loop = loop
        self._work = work
        self._close = close
        self._at_once = at_once
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._is_ending = False
        self._ended: asyncio.Future[None] = loop.create_future()
        self.put = self._tasks.put
        """Give it something to do; None: to end; what comes after that is not done."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Let it do what it was given, and wait until it has ended."""
        self.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()  # it has nothing left to do

    def abandon(self) -> None:
        """Let it do what it was given, and end by itself: there is no loop any more that could wait."""
        self.put(None)

    def tell(self, call: Callable[..., object], *arguments: object) -> None:
        """Call something on the loop, from the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(call, *arguments)

    def _run(self) -> None:
        try:
            while (tasks := self._take()) is not None:
                if tasks:
                    self._work(tasks)
        finally:
            self._close()
            self.tell(self._ended.set_result, None)

    def _take(self) -> list[Task] | None:
        """Wait for something to do, and take what waits; None: it is to end."""
        if self._is_ending:
            return None
        try:
            first = self._tasks.get(timeout=_LOOK)
        except queue.Empty:
            return None if self._loop.is_closed() else []
        if first is None:
            return None
        tasks = [first]
        while len(tasks) < self._at_once:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task is None:
                self._is_ending = True
                break
            tasks.append(task)
        return tasks
