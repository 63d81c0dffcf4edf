"""What an application under test has done: what it sent, how it failed, whether it has ended.

The application holds this, not the communicator: a communicator that a test drops is gone at once, whatever still runs.

Laws:
- outputs are taken in the order in which they were sent;
- each exception is raised in the test once, by whatever is called next, before any output is taken;
- who waits goes on when there is an output, an exception or the end, and not later.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Callable

from antiphon.types import Message

__all__ = ["EXTENSION", "Observed", "note_failure"]

#: Where an application finds this in ``scope["extensions"]``, to tell an exception that it does not let out.
EXTENSION = "antiphon.testing"

#: How many outputs an error lists, and how much of each.
LISTED = 10
LENGTH = 80


class Observed:
    """The other side of an application's ``send``, and of its task. Used in the event loop that runs it."""

    def __init__(self) -> None:
        self.outputs: asyncio.Queue[Message] = asyncio.Queue()
        """What was sent and not taken yet."""
        self.has_ended = False
        self._failures: deque[BaseException] = deque()
        self._known: list[BaseException] = []
        self._newest: deque[Message] = deque(maxlen=LISTED)
        self._count = 0
        self._news = asyncio.Event()
        self._end = "still runs"

    # What the application tells

    async def send(self, message: Message) -> None:
        """Take an output (the application's ``send``)."""
        self.outputs.put_nowait(message)
        self._newest.append(message)
        self._count += 1
        self._news.set()

    def failed(self, where: str, error: BaseException) -> None:
        """Take an exception that the application has dealt with by itself; ``where`` says what raised it.

        This is what an application calls as ``scope["extensions"]["antiphon.testing"].failed(…)``, where there is such
        an extension.
        """
        if any(error is known for known in self._known):
            return
        self._known.append(error)
        if isinstance(error, asyncio.CancelledError):  # raised as it is, it would cancel the test
            wrapped = RuntimeError(f"{where} ended with a CancelledError: something that it waited for was cancelled")
            wrapped.__cause__ = error
            error = wrapped
        else:
            error.add_note(f"(raised by the application under test, in {where})")
        self._failures.append(error)
        self._news.set()

    def ended(self, task: asyncio.Task[None]) -> None:
        """Note the end of the application's task."""
        self.has_ended = True
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._end = f"has ended with {type(error).__name__}"
            self.failed("its task", error)
        else:
            self._end = "was cancelled" if task.cancelled() else "has ended"
        self._news.set()

    # What the test asks

    async def until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until ``condition()`` holds, for ``timeout`` seconds at most; return whether it does."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return condition()
        return True

    @property
    def has_news(self) -> bool:
        """Whether there is an output, an exception, or nothing more to come."""
        return bool(self._failures) or not self.outputs.empty() or self.has_ended

    @property
    def has_failed(self) -> bool:
        """Whether there is an exception to raise."""
        return bool(self._failures)

    def take_failures(self) -> list[BaseException]:
        """Return the exceptions that were not raised yet, oldest first; from now on they count as raised."""
        failures = list(self._failures)
        self._failures.clear()
        return failures

    def raise_failure(self) -> None:
        """Raise the oldest exception that was not raised yet, if there is one."""
        __tracebackhide__ = True
        if self._failures:
            raise self._failures.popleft()

    def __str__(self) -> str:
        """Say what the application has done, in a sentence."""
        return f"The application {self._end} and has sent {self.sent}."

    @property
    def sent(self) -> str:
        """What the application has sent, in words."""
        if not self._count:
            return "nothing"
        listed = ", ".join(_shown(message) for message in self._newest)
        before = f"{self._count - len(self._newest)} others, " if self._count > len(self._newest) else ""
        left = self.outputs.qsize()
        return f"{before}{listed}" + (f" (of which the test has not received the last {left})" if left else "")


def _shown(message: Message) -> str:
    """Return an output in short: its type, and what it carries."""
    carried = [message[key] for key in ("text", "bytes", "code", "status", "body") if message.get(key) is not None]
    text = f"{message.get('type')} {carried[0]!r}" if carried else str(message.get("type"))
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}…"


def note_failure(error: BaseException, another: BaseException) -> None:
    """Say at ``error`` that there was ``another``, which can't be raised as well."""
    lines = traceback.format_exception(another, chain=False)
    error.add_note(f"(and besides:)\n{''.join(lines).rstrip()}")
