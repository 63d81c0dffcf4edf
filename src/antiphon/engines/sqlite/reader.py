"""The thread of a process that reads: histories, presence, tops. It never waits for those who write."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from antiphon.engines.sqlite import schema
from antiphon.engines.sqlite.faults import CLOSE_AFTER, Fault, fault_of
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.worker import Worker

__all__ = ["Reader"]

Result = TypeVar("Result")


class _Question(NamedTuple):
    verb: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]


class Reader:
    """Owns a connection that reads."""

    def __init__(self, options: Options, *, loop: asyncio.AbstractEventLoop) -> None:
        self._options = options
        self._loop = loop
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._worker: Worker[_Question] = Worker(
            "antiphon-sqlite-reader", loop, self._answer_all, self._close, at_once=100
        )

    async def ask(self, verb: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what ``verb`` reads, all of it as of one moment; raise ``Fault``."""
        question = _Question(verb, self._loop.create_future())
        self._worker.put(question)
        answer: Result = await question.answer
        return answer

    async def stop(self) -> None:
        """Answer what was asked, and close the database."""
        await self._worker.stop()

    def abandon(self) -> None:
        """Do the same where there is no loop any more that could wait."""
        self._worker.abandon()

    # In the thread

    def _answer_all(self, questions: Sequence[_Question]) -> None:
        answers = [(each.answer, self._read(each.verb)) for each in questions]
        self._worker.tell(_hand_out, answers)

    def _read(self, verb: Callable[[sqlite3.Connection], Any]) -> Any:
        """Return what ``verb`` returns, or the exception that it raises."""
        try:
            connection = self._opened()
            connection.execute("BEGIN")
            try:
                return verb(connection)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            fault = fault_of(error, self._options.path)
            if fault.code in CLOSE_AFTER:
                self._close()
            return fault
        except Exception as error:
            return error

    def _opened(self) -> sqlite3.Connection:
        found = schema.identity(self._options.path)
        if found is None:
            raise Fault(self._options.path, "it has been removed; it is made anew with the next publication")
        if self._connection is None or found != self._file:
            self._close()
            self._connection = schema.open_for_reading(self._options)
            self._file = found
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _hand_out(answers: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
