"""The event loop of this process's live servers.

antiphon's connections live on one event loop of a process. So all live servers of a process share one, in a thread of
its own, and with it their groups: a test may have two at a time.

Laws:
- the loop runs from the first guest's coming to the last one's leaving;
- it is antiphon's home from the start: what a test publishes reaches it, whether there are connections yet or not;
- when it ends, antiphon's hub has been closed: the next one begins anew.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from uvicorn.loops.auto import auto_loop_factory

from antiphon.app import current_app
from antiphon.exceptions import UsageError

__all__ = ["HOME", "Home"]

Result = TypeVar("Result")

#: Seconds that anything may take that is done on the loop, and the loop's own start and end.
PATIENCE = 30.0


class Home:
    """An event loop in a thread, for as long as it has guests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guests = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._leaving: asyncio.Event

    def enter(self) -> None:
        """Come in; the first starts the loop. Raises ``UsageError`` where antiphon's connections live on another."""
        with self._lock:
            if not self._guests:
                self._start()
            self._guests += 1

    def leave(self) -> None:
        """Go; the last ends the loop."""
        with self._lock:
            self._guests -= 1
            if not self._guests:
                self._stop()

    def run(self, work: Coroutine[Any, Any, Result], what: str) -> Result:
        """Run ``work`` on the loop, from another thread, and return its result; ``what`` says what it is."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise TimeoutError(f"{what} took longer than {PATIENCE:g} s") from None

    def _start(self) -> None:
        started = threading.Event()
        errors: list[BaseException] = []

        def live() -> None:
            with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
                runner.run(self._live(started, errors))

        # A daemon, so that a test run which is broken off ends.
        self._thread = threading.Thread(target=live, name="antiphon-live", daemon=True)
        self._thread.start()
        started.wait(PATIENCE)
        if errors:
            self._thread.join(PATIENCE)
            raise errors[0]

    async def _live(self, started: threading.Event, errors: list[BaseException]) -> None:
        self._loop = asyncio.get_running_loop()
        self._leaving = asyncio.Event()
        try:
            await current_app().start()
        except UsageError as error:
            words = "disconnect the test's communicators first, or give the live server a process of its own"
            errors.append(UsageError(f"{error}: {words}"))
            return
        except Exception as error:
            errors.append(error)
            return
        finally:
            started.set()
        await self._leaving.wait()
        if current_app().hub is not None:
            await current_app().stop()

    def _stop(self) -> None:
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._leaving.set)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise TimeoutError(f"the live servers' event loop did not end within {PATIENCE:g} s: something blocks it")


HOME = Home()
"""The one of this process."""
