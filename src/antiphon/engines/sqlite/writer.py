"""The one thread of a process that writes: all that waits is one transaction (group commit).

Laws:
- an operation has succeeded when the transaction that holds it is committed, and not before;
- where the transaction fails, nothing of it has happened, or the error says that it can't be known (``Fault``);
- waiting for the lock of another process is bounded by ``busy_timeout``, and shorter while it lasts on;
- a file that was removed or replaced is noticed before and after each transaction, and opened anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from antiphon.engines.sqlite import schema
from antiphon.engines.sqlite.faults import CLOSE_AFTER, Fault, fault_of
from antiphon.engines.sqlite.frames import Item
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.registry import Registry
from antiphon.engines.sqlite.store import Store, milliseconds
from antiphon.engines.sqlite.worker import Worker

__all__ = ["Operation", "Outcome", "Verb", "Writer"]

logger = logging.getLogger("antiphon.engines")

#: What an operation does in the transaction: with the streams, the processes, and the time.
Verb = Callable[[Store, Registry, int], Any]

#: Operations in one transaction, at most.
AT_ONCE = 1000
#: Seconds between two tries to get the lock: at first, and at most.
_FIRST_WAIT, _LONGEST_WAIT = 0.0002, 0.005
#: Seconds to wait for the lock while the file can't be used anyway.
_IN_OUTAGE = 0.2


class Operation:
    """Something to be written, or (``item``) to be told in its turn without being written."""

    __slots__ = ("error", "future", "group", "is_declaration", "item", "result", "size", "verb")

    def __init__(
        self,
        verb: Verb | None,
        future: asyncio.Future[Any] | None = None,
        *,
        group: str | None = None,
        item: Item | None = None,
        size: int = 0,
        is_declaration: bool = False,
    ) -> None:
        self.verb = verb
        self.future = future
        self.group = group
        """The group whose row it needs, if it is one."""
        self.item = item
        self.size = size
        self.is_declaration = is_declaration
        """Whether it has to be made up for when it fails."""
        self.result: Any = None
        self.error: Exception | None = None


class Outcome(NamedTuple):
    """What has become of some operations."""

    operations: Sequence[Operation]
    seq: int
    """The number of the transaction; 0: it wrote nothing that others hear of, or it failed."""
    items: list[Item]
    """What others hear of."""
    process: int
    """This process's row."""
    file: str
    """Which file it was written to (``schema.read_token``)."""
    fault: Fault | None
    begins_outage: bool
    """Whether it could be written to until now."""


class Writer:
    """Owns the connection that writes."""

    def __init__(
        self,
        options: Options,
        name: str,
        address: str,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        done: Callable[[Outcome], None],
    ) -> None:
        self._options = options
        self._name = name
        self._address = address
        self._clock = clock
        self._done = done
        self._store: Store | None = None
        self._registry: Registry | None = None
        self._file = ""
        self._identity: tuple[int, int] | None = None
        self._process = 0
        self._outage = 0.0
        """Since when nothing can be written; 0: it can."""
        self._worker = Worker("antiphon-sqlite-writer", loop, self._carry_out, self._end, at_once=AT_ONCE)
        self.put = self._worker.put
        """Let an operation be carried out; its outcome goes to ``done``, on the loop."""

    async def stop(self) -> None:
        """Carry out what waits, and close the database."""
        await self._worker.stop()

    def abandon(self) -> None:
        """Do the same where there is no loop any more that could wait."""
        self._worker.abandon()

    # In the thread

    def _carry_out(self, operations: Sequence[Operation]) -> None:
        seq, fault, begins_outage = 0, None, False
        items = [each.item for each in operations if each.item is not None]
        if len(items) < len(operations):
            try:
                seq, items = self._write(operations)
            except Fault as error:
                fault = error
            except Exception as error:  # a bug; the others are not to wait for ever
                logger.exception("a transaction of the SQLite engine failed")
                fault = Fault(self._options.path, f"{type(error).__name__}: {error}")
            begins_outage = self._note(fault)
        outcome = Outcome(operations, seq, items, self._process, self._file, fault, begins_outage)
        self._worker.tell(self._done, outcome)

    def _write(self, operations: Sequence[Operation]) -> tuple[int, list[Item]]:
        """Do it all in one transaction."""
        store, registry = self._opened()
        try:
            self._begin(store)
            now = milliseconds(self._clock())
            if not store.process:
                registry.register(now)
            store.load(each.group for each in operations if each.group is not None)
            for each in operations:
                _carry_out(each, store, registry, now)
            seq = store.finish()
        except BaseException as error:
            self._undo(store)
            raise self._fault(error) if isinstance(error, sqlite3.Error) else error from None
        try:
            store.commit()
        except sqlite3.Error as error:
            self._undo(store)
            raise self._fault(error, committing=True) from None
        self._process = store.process
        if not self._is_in_place():
            raise Fault(self._options.path, "it was removed or replaced while it was written to", outcome_unknown=True)
        return seq, store.told

    def _begin(self, store: Store) -> None:
        """Get the lock; other processes that write hold it for some milliseconds."""
        patience = self._options.busy_timeout
        deadline = time.monotonic() + (min(patience, _IN_OUTAGE) if self._outage else patience)
        wait = _FIRST_WAIT
        while True:
            try:
                return store.begin()
            except sqlite3.OperationalError as error:
                if not self._fault(error).is_busy or time.monotonic() >= deadline:
                    raise
            time.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
            wait = min(wait * 2, _LONGEST_WAIT)

    def _undo(self, store: Store) -> None:
        store.process = self._process
        with contextlib.suppress(sqlite3.Error):
            store.rollback()

    def _opened(self) -> tuple[Store, Registry]:
        """Return what works on the file that is at the path now."""
        found = schema.identity(self._options.path)
        if self._store is None or self._registry is None or found is None or found != self._identity:
            self.close()
            store = self._store = Store(schema.connect(self._options))
            self._identity = schema.identity(self._options.path)
            try:
                file = schema.read_token(store.connection)
            except sqlite3.Error as error:
                raise self._fault(error) from None
            if file != self._file:
                self._file, self._process = file, 0
            store.process = self._process
            self._registry = Registry(store, self._name, self._address, self._options.lease)
        return self._store, self._registry

    def _is_in_place(self) -> bool:
        """Tell whether the file that is open is still the one at the path."""
        with contextlib.suppress(Fault):
            return schema.identity(self._options.path) == self._identity
        return False

    def _fault(self, error: sqlite3.Error, *, committing: bool = False) -> Fault:
        fault = fault_of(error, self._options.path, committing=committing)
        if fault.code in CLOSE_AFTER:
            self.close()
        return fault

    def close(self) -> None:
        """Close the connection; the next operation opens another."""
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(sqlite3.Error):
                store.connection.close()

    def _end(self) -> None:
        """Close the connection at the end, and note that what it wrote is on the disk."""
        if self._store is not None and self._is_in_place():
            with contextlib.suppress(sqlite3.Error):  # then it is not noted
                schema.note_end(self._store.connection, milliseconds(self._clock()))
        self.close()

    def _note(self, fault: Fault | None) -> bool:
        """Say when the file can't be used, and when it can again; tell whether it can't since now."""
        if fault is not None and not self._outage:
            self._outage = time.monotonic()
            logger.error("%s. Until it works again, what would be written is refused", fault)
            return True
        if fault is None and self._outage:
            logger.warning(
                "the database %s works again, after %.1f s", self._options.path, time.monotonic() - self._outage
            )
            self._outage = 0.0
        return False


def _carry_out(operation: Operation, store: Store, registry: Registry, now: int) -> None:
    """Do one operation of a transaction; what is wrong with it alone is its own error."""
    if operation.verb is None:
        assert operation.item is not None
        store.told.append(operation.item)
        return
    try:
        operation.result = operation.verb(store, registry, now)
    except sqlite3.Error:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        operation.error = error
