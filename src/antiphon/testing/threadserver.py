"""A live server in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn
from uvicorn.importer import import_from_string

from antiphon.cli import server_options
from antiphon.server.process import Server
from antiphon.testing.home import HOME
from antiphon.testing.live import SHUTDOWN_TIMEOUT, LiveServer
from antiphon.types import ASGIApplication

__all__ = ["ThreadServer"]


class ThreadServer(LiveServer):
    """Serves ``application``, an ASGI application or ``"module:application"``, as ``antiphon serve`` would.

    The log is the test's: nothing is set up for it. Raises ``UsageError`` while antiphon's connections live on another
    event loop of this process, ``RuntimeError`` if the application's lifespan fails.
    """

    def __init__(self, application: ASGIApplication | str) -> None:
        if isinstance(application, str):
            application = import_from_string(application)
        options: dict[str, Any] = {**server_options(), "log_config": None}
        config = uvicorn.Config(application, timeout_graceful_shutdown=SHUTDOWN_TIMEOUT, **options)  # type: ignore[arg-type]
        config.load()
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None
        listening = socket.create_server(("127.0.0.1", 0))
        super().__init__("http", *listening.getsockname())
        with contextlib.ExitStack() as stack:
            stack.callback(listening.close)
            HOME.enter()
            stack.callback(HOME.leave)
            HOME.run(self._start(listening), "the start of the application's lifespan")
            stack.pop_all()

    async def _start(self, listening: socket.socket) -> None:
        self._server.is_up = asyncio.Event()
        up = asyncio.create_task(self._server.is_up.wait())
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        await asyncio.wait([up, self._serving], return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._serving.done():
            self._serving.result()

    def _end(self) -> None:
        if self._serving is None:
            return
        serving, self._serving = self._serving, None
        self._server.should_exit = True
        try:
            HOME.run(_ended(serving), "the end of a live server")
        finally:
            HOME.leave()


class _Server(Server):
    """antiphon's server, which tells when it listens, and raises where uvicorn's exits."""

    is_up: asyncio.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        with contextlib.suppress(SystemExit):
            await super().startup(sockets)
        if not self.started:
            raise RuntimeError("the application's lifespan failed at its start; the log of 'uvicorn.error' says why")
        self.is_up.set()

    async def stop_engine(self, deadline: float) -> None:
        """Leave it: other live servers may have connections; it ends with the last one's leaving (``HOME``)."""


async def _ended(task: asyncio.Task[None]) -> None:
    await task
