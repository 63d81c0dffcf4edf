"""An ASGI application and a test that speaks to it, event by event."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlparse

from antiphon.exceptions import UsageError
from antiphon.testing.observed import EXTENSION, Observed
from antiphon.testing.transactions import undisturbed_connections
from antiphon.types import ASGIApplication, Message, Receive, Scope

__all__ = ["ApplicationCommunicator", "header_list", "target"]

#: Seconds that an application which was cancelled has to end.
PATIENCE = 1.0

#: The applications that run. A task that nothing else holds may be collected in the middle.
_running: set[asyncio.Task[None]] = set()


class ApplicationCommunicator:
    """Runs an ASGI application in the test's event loop, sends it events and receives what it sends.

    The application starts with the first call that sends or waits, in a context without the test's context variables,
    as on a server. A timeout does not disturb it: the test may go on. An exception of the application is raised by the
    next call, once, with its own traceback. The interface is that of Channels' communicator.

    A communicator that the test drops, or that it leaves behind, cancels its application.
    """

    def __init__(self, application: ASGIApplication, scope: Scope) -> None:
        if isinstance(application, type):
            name = application.__qualname__
            raise TypeError(f"{name} is a class, not an application: pass {name}.as_asgi(), or what it is for yours")
        if not callable(application):
            raise TypeError(f"{application!r} is no ASGI application: it can't be called with scope, receive and send")
        self.application = application
        self.scope = scope
        self.input_queue: asyncio.Queue[Message] = asyncio.Queue()
        """What the application has yet to receive."""
        self._observed = Observed()
        self._task: asyncio.Task[None] | None = None

    @property
    def output_queue(self) -> asyncio.Queue[Message]:
        """What the test has yet to receive."""
        return self._observed.outputs

    @property
    def future(self) -> asyncio.Task[None]:
        """The application's task, which this starts.

        Raises ``UsageError`` where the application lives on another event loop.
        """
        if self._task is None:
            self._task = self._start()
        elif self._task.get_loop() is not asyncio.get_running_loop():
            raise UsageError(
                "this communicator's application was started on another event loop: use a communicator in one test "
                "that is a coroutine, or in one call of asyncio.run() or async_to_sync()"
            )
        return self._task

    def _start(self) -> asyncio.Task[None]:
        observed = self._observed
        # A dict of its own, so that communicators with one scope do not hear each other's application.
        self.scope["extensions"] = {**(self.scope.get("extensions") or {}), EXTENSION: observed}
        task = asyncio.get_running_loop().create_task(
            _run(self.application, self.scope, self.input_queue.get, observed), context=contextvars.Context()
        )
        _running.add(task)
        task.add_done_callback(_running.discard)
        task.add_done_callback(observed.ended)
        return task

    # Speaking

    async def send_input(self, message: Message) -> None:
        """Send the application one event."""
        __tracebackhide__ = True
        self._look()
        self.input_queue.put_nowait(message)

    async def receive_output(self, timeout: float | None = 1) -> Any:
        """Return the application's next event.

        Raises ``TimeoutError`` after ``timeout`` seconds, or as soon as the application has ended without one; the
        message says what the application has done.
        """
        __tracebackhide__ = True
        return await self._next("receive_output()", timeout)

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Tell whether no event comes within ``timeout`` seconds; one that does can still be received.

        ``interval`` has no meaning here: an event is noticed when it comes.
        """
        __tracebackhide__ = True
        self._look()
        await self._observed.until(lambda: self._observed.has_news, timeout)
        self._observed.raise_failure()
        return self._observed.outputs.empty()

    async def wait(self, timeout: float | None = 1) -> None:
        """Wait for the application to end by itself.

        Raises ``TimeoutError`` if it does not within ``timeout`` seconds; it goes on then.
        """
        __tracebackhide__ = True
        observed = self._observed
        self._look()
        await observed.until(lambda: observed.has_ended or observed.has_failed, timeout)
        observed.raise_failure()
        if not observed.has_ended:
            raise TimeoutError(f"wait(): the application did not end within {timeout:g} s. {observed}")

    def stop(self, exceptions: bool = True) -> None:
        """Cancel the application if it runs; else raise its exception, if ``exceptions`` and it was not raised yet."""
        __tracebackhide__ = True
        if self._task is None:
            return
        if not self._task.done():
            self._task.cancel()
        elif exceptions:
            self._observed.raise_failure()

    def _look(self) -> None:
        """Start the application, and raise what it has raised."""
        __tracebackhide__ = True
        _ = self.future
        self._observed.raise_failure()

    async def _next(self, call: str, timeout: float | None) -> Any:
        """Return the next event for ``call``."""
        __tracebackhide__ = True
        observed = self._observed
        self._look()
        await observed.until(lambda: observed.has_news, timeout)
        observed.raise_failure()
        if not observed.outputs.empty():
            return observed.outputs.get_nowait()
        if observed.has_ended:
            raise TimeoutError(f"{call}: nothing more will come. {observed}")
        raise TimeoutError(f"{call}: nothing came within {timeout:g} s. {observed}")

    # The end

    async def _finish(self, event: Message, timeout: float | None) -> list[BaseException]:
        """Send a last ``event`` and see to the application's end, by cancelling it after ``timeout`` seconds.

        Returns the exceptions that were not raised yet, and ``TimeoutError`` if it did not end by itself.
        """
        observed, task = self._observed, self.future
        self.input_queue.put_nowait(event)
        if await observed.until(lambda: observed.has_ended, timeout):
            return observed.take_failures()
        task.cancel()
        await observed.until(lambda: observed.has_ended, PATIENCE)
        outcome = "was cancelled" if observed.has_ended else "goes on although it was cancelled"
        words = f"the application did not end within {timeout:g} s of {event['type']}, and {outcome}"
        return [*observed.take_failures(), TimeoutError(f"{words}. It has sent {observed.sent}.")]

    def __del__(self) -> None:
        """Cancel the application, for whose end nobody waits any more; tell an exception that ended it unheard."""
        task: asyncio.Task[None] | None = getattr(self, "_task", None)
        if task is None:
            return
        loop = task.get_loop()
        if not task.done():
            # Not at once: a loop that ends now cancels it as well, and a second time might hit it while it cleans up.
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(task.cancel)
        elif not task.cancelled() and task.exception() in self._observed.take_failures():
            loop.call_exception_handler(
                {"message": "An application under test failed, and no call raised it", "exception": task.exception()}
            )


async def _run(application: ASGIApplication, scope: Scope, receive: Receive, observed: Observed) -> None:
    with undisturbed_connections():
        try:
            await application(scope, receive, observed.send)
        except Exception as error:
            observed.failed("its task", error)  # now: outputs that were sent just before are taken after it
            raise


def target(path: str) -> dict[str, Any]:
    """Return what a scope says of ``path``, an address or a part of one: as a server does, unquoted, query apart."""
    if not isinstance(path, str):
        raise TypeError(f"Expected str, got {type(path)}: the path is text, like '/chat/?room=kitchen'")
    parsed = urlparse(path)
    return {"path": unquote(parsed.path), "query_string": parsed.query.encode()}


def header_list(headers: Iterable[tuple[bytes, bytes]] | None) -> list[tuple[bytes, bytes]]:
    """Return ``headers`` as a scope has them."""
    listed = [] if headers is None else list(headers)
    header: Any
    for header in listed:
        if not isinstance(header, (tuple, list)) or len(header) != 2 or not all(isinstance(x, bytes) for x in header):
            raise TypeError(f"{header!r} is no header: headers are pairs of bytes, like (b'cookie', b'a=b')")
    return listed
