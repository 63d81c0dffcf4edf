"""Where antiphon lives in a process that runs no event loop: a Celery worker, a script, ``manage.py shell``.

The first call of ``antiphon.sync`` starts a loop in a thread, and the engine on it; all that follow find both there. A
server of the same process takes over when its first connection comes (``App.start``).

Laws:
- there is one such loop at the most, and it ends with the process: what the engine was given is written by then;
- in a process that was forked there is none until it is needed there, too.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["HOME", "Home"]

Result = TypeVar("Result")

#: Seconds that the end of the process waits for the engine's.
PATIENCE = 5.0


class Home:
    """An event loop in a thread, from the first call on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._at_end: list[Callable[[], Awaitable[None]]] = []

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run ``work`` on the loop, and return its result; may be called from any thread but the loop's own."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_live, args=(self._loop,), name="antiphon-home", daemon=True)
                self._thread.start()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # as KeyboardInterrupt: nobody waits for it any more
            future.cancel()
            raise

    def at_end(self, work: Callable[[], Awaitable[None]]) -> None:
        """Let ``work`` be done on the loop before it ends."""
        self._at_end.append(work)

    def end(self) -> None:
        """End the loop, if there is one."""
        with self._lock:
            (loop, self._loop), (thread, self._thread) = (self._loop, None), (self._thread, None)
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._finish(), loop).result(PATIENCE)
        except TimeoutError:
            pass  # the process ends all the same: whoever called has his result, or an exception
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE)

    async def _finish(self) -> None:
        for work in self._at_end:
            await work()

    def forget(self) -> None:
        """Begin anew in a process that was forked: the loop's thread is not in it."""
        self._lock = threading.Lock()
        self._loop = self._thread = None


def _live(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


HOME = Home()
"""The one of this process."""

atexit.register(HOME.end)
os.register_at_fork(after_in_child=HOME.forget)
