"""What keeps one connection to a server: it dials, sees whether the server is still there, and dials again.

Laws:
- a server that has said nothing for ``timeout`` seconds, though it was asked, is left, and looked for anew;
- between two tries is a pause that grows, and differs from process to process: all are cut off at the same moment;
- the time that this process was busy with something else does not count against the server.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from antiphon.engines.redis.connection import Connection
from antiphon.engines.redis.faults import Fault, Outage, fault_of_connection

__all__ = ["Link", "LinkUser"]

logger = logging.getLogger("antiphon.engines")

#: Seconds between two tries: behind the first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class LinkUser(Protocol):
    """Who sends and hears on the connection."""

    def on_up(self, connection: Connection) -> None:
        """Take a new connection."""

    def on_down(self, fault: Fault) -> None:
        """Take it that the connection is over: nothing more comes from it."""

    def probe(self, connection: Connection) -> None:
        """Ask the server for a sign of life."""

    def on_check(self, now: float) -> None:
        """Take the chance to see whether something has waited too long; called some times in each ``timeout``."""


class Link:
    """Owns the task that keeps the connection. ``name`` tells it from other links of one outage."""

    def __init__(
        self,
        name: str,
        where: str,
        dial: Callable[[], Awaitable[Connection]],
        user: LinkUser,
        outage: Outage,
        timeout: float,
    ) -> None:
        self._name = name
        self._where = where
        self._dial = dial
        self._user = user
        self._outage = outage
        self._timeout = timeout
        self._interval = min(timeout / 8, 1.0)
        self._connection: Connection | None = None
        self._tries = 0
        self._probed_at = 0.0
        self._checked_at = 0.0
        self._check_handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.settled: asyncio.Future[None] | None = None
        """Done when there was a connection, or a fault that trying again is no use for."""

    def start(self) -> None:
        """Begin to dial."""
        loop = asyncio.get_running_loop()
        self.settled = loop.create_future()
        self._task = loop.create_task(self._keep())
        self._checked_at = loop.time()
        self._check_handle = loop.call_later(self._interval, self._check)

    async def stop(self) -> None:
        """End the connection, and the task."""
        task, self._task = self._task, None
        if self._check_handle is not None:
            self._check_handle.cancel()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self.settled is not None and not self.settled.done():
            self.settled.cancel()

    def leave(self, fault: Fault) -> None:
        """End this connection, for the server is no longer the right one, and look for it anew."""
        if self._connection is not None:
            self._tries = max(self._tries, 1)
            self._connection.abort(fault)

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    connection = await self._dial()
            except Exception as error:
                if not isinstance(error, Fault | OSError | TimeoutError):
                    logger.debug("dialing %s failed", self._where, exc_info=True)
                self._failed(fault_of_connection(error, self._where, self._timeout))
            else:
                self._failed(await self._use(connection))
            await self._pause()

    async def _use(self, connection: Connection) -> Fault:
        """Let the connection be used until it is over; return why it is."""
        self._connection = connection
        began = asyncio.get_running_loop().time()
        try:
            self._user.on_up(connection)
            self._outage.end(self._name)
            if self.settled is not None and not self.settled.done():
                self.settled.set_result(None)
            error = await connection.over
        finally:
            self._connection = None
            connection.abort()
        if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
            self._tries = 0
        fault = fault_of_connection(error or ConnectionError("it closed the connection"), self._where, self._timeout)
        self._user.on_down(fault)
        return fault

    def _failed(self, fault: Fault) -> None:
        self._outage.begin(self._name, fault)
        if fault.is_settled and self.settled is not None and not self.settled.done():
            self.settled.set_exception(fault)
            self.settled.exception()  # whoever waits gets it; maybe nobody does any more

    async def _pause(self) -> None:
        pause = min(FIRST_PAUSE * 2 ** min(self._tries, 10), LONGEST_PAUSE)
        self._tries += 1
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late, self._checked_at = now - self._checked_at > 2 * self._interval, now
        self._check_handle = loop.call_later(self._interval, self._check)
        self._user.on_check(now)
        connection = self._connection
        if connection is None or late:  # what has come meanwhile is read first
            return
        heard_at = connection.heard_at
        if self._probed_at <= heard_at:
            if now - heard_at >= self._timeout / 2:
                self._probed_at = now
                self._user.probe(connection)
        elif now - self._probed_at >= self._timeout / 2:
            connection.abort(Fault(self._where, f"it has said nothing for {now - heard_at:.1f} s"))
