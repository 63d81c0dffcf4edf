"""Letting a client in, or not: the consumer's ``connect()``, what it decides, and by when.

Laws:
- the groups that the consumer's class names are joined before ``connect()`` runs;
- it is decided within ``handshake_timeout``, or the client is refused and a ``connect()`` that hangs is cancelled;
- an exception of ``connect()`` is a decision, too: Channels' three say which, ``ClientError`` refuses the client, and
  anything else is a fault of the application.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from antiphon.deadline import Deadline
from antiphon.exceptions import AcceptConnection, ClientError, DenyConnection, EngineError, StopConsumer, is_kind
from antiphon.hub import Hub
from antiphon.lifecycle import State
from antiphon.names import check_group_name
from antiphon.types import Turn

if TYPE_CHECKING:
    from antiphon.connection import Connection, Consumer

__all__ = ["Admission"]

logger = logging.getLogger("antiphon.connection")


class Admission:
    """The decision on one connection, in the connection's own task."""

    __slots__ = ("_connect", "_connection", "_consumer", "_deadline", "_hub", "_timeout")

    def __init__(self, connection: Connection, consumer: Consumer, connect: Turn, hub: Hub, timeout: float) -> None:
        self._connection = connection
        self._connect = connect
        self._consumer = consumer
        self._hub = hub
        self._timeout = timeout
        self._deadline = Deadline(timeout, self._timed_out)

    async def run(self) -> None:
        """Let the consumer decide. It may return undecided; the deadline holds until ``decided``."""
        with self._deadline:
            try:
                for group in (*(self._consumer.groups or ()), *self._connection.initial_groups()):
                    await self._connection.join(check_group_name(group))
                await self._connect(self._consumer, None)
            except asyncio.CancelledError as error:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise
                await self._raised(error)  # something that it waited for was cancelled, not the connection's task
            except Exception as error:
                await self._raised(error)

    def decided(self) -> None:
        """Lift the deadline."""
        self._deadline.lift()

    def cut(self) -> None:
        """Cancel a ``connect()`` that still runs: somebody else has decided."""
        self._deadline.cut()

    async def _raised(self, error: BaseException) -> None:
        """Take what ``connect()`` raised as its decision."""
        connection = self._connection
        undecided = connection.state is State.CONNECTING
        if is_kind(error, AcceptConnection):
            if undecided:
                await connection.accept(None, ())
        elif is_kind(error, DenyConnection) or (undecided and is_kind(error, StopConsumer)):
            await connection.close(None, None)
        elif undecided and isinstance(error, ClientError):
            logger.info("%s: refused by connect(), %s", connection, error)
            await connection.close(None, error.reason)
        else:
            connection.turn_failed(self._connect, error)
            if undecided:
                await connection.refuse_now(503 if isinstance(error, EngineError) else 500)

    def _timed_out(self) -> None:
        """Refuse the connection; the deadline then cancels a ``connect()`` that still runs."""
        hangs = self._deadline.within
        self._hub.counters.handshakes_timed_out += 1
        if not hangs:
            self._hub.counters.usage_errors += 1
        logger.error(
            "%s: connect() %s handshake_timeout (%g s); %s",
            self._connection,
            "took longer than" if hangs else "neither accepted nor closed the connection within",
            self._timeout,
            "it is cancelled, and the client not let in" if hangs else "refused",
        )
        self._connection.refuse_late(503)
