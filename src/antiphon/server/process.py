"""One process that serves: uvicorn's server, which stops in good order.

Laws:
- the first SIGTERM or Ctrl-C stops in good order: nobody comes in, clients are told (``drain``), what they have sent is
  handled, ``disconnect`` runs, the application's lifespan ends; the exit code is 0;
- connections and handlers have ``shutdown_timeout``. Handlers that still run when nine tenths of it are over are
  cancelled, so that their ``disconnect`` has the rest;
- the second ends the process at once, whatever hangs, with 128 plus the signal's number;
- a process that has stopped is left, also where a thread or a task of the application does not end.

A process with a parent (``--workers``, ``--reload``) leaves it to the parent what Ctrl-C means, which a terminal sends
to all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from uvicorn.config import Config
from uvicorn.server import HANDLED_SIGNALS

from antiphon.app import current_app, is_chosen
from antiphon.exceptions import ConfigurationError
from antiphon.server.drain import drain_of

__all__ = ["STARTUP_FAILURE", "Server", "end_at_once", "hold_interrupts"]

logger = logging.getLogger("antiphon.server")

#: Exit code of a server that could not start, as uvicorn's.
STARTUP_FAILURE = 3
#: The part of ``shutdown_timeout`` that is left to handlers which were cancelled, and to ``disconnect``.
LAST_PART = 0.1
#: Seconds that threads and ``atexit`` have at least to end in when the server has stopped.
LEAVING = 2.0
#: Seconds between two looks at what is still there.
LOOK = 0.05


class Server(uvicorn.Server):
    """uvicorn's server, which stops in good order."""

    def __init__(self, config: Config, *, supervised: bool = False) -> None:
        super().__init__(config)
        self._supervised = supervised
        """Whether a parent says when to stop."""
        self._told: set[Any] = set()
        self._was_signalled = False
        self._watch: threading.Timer | None = None

    @property
    def shutdown_timeout(self) -> float:
        """Seconds to stop in: of the command line, or antiphon's option."""
        given = self.config.timeout_graceful_shutdown
        return current_app().config.shutdown_timeout if given is None else given

    # The start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the engine and listen; a client that says nothing has ``handshake_timeout`` for TLS as well."""
        try:
            self._check_engine()
            await current_app().start()
        except ConfigurationError as error:
            logger.error("%s", error)
            self.should_exit = True
            return
        await super().startup(sockets)
        if self.started and self.config.ssl is not None and self.config.uds is None:
            before, self.servers = self.servers, []
            for server in before:
                self.servers += await self._in_place_of(server)

    def _check_engine(self) -> None:
        """Raise ``ConfigurationError`` where workers would not hear each other, and nobody has said that they may not.

        Only here is it known what the application's own settings say.
        """
        engine = current_app().config.engine
        if self.config.workers > 1 and engine.startswith("memory:") and not is_chosen("engine"):
            raise ConfigurationError(
                "the memory engine lives in one process: members of a group on different workers would not hear each "
                "other. Use --workers 1, or an engine that processes share, like --engine sqlite:///stream.db; an "
                "application without groups may say --engine memory:// to mean it"
            )

    async def _in_place_of(self, server: asyncio.Server) -> list[asyncio.Server]:
        """Return servers on the same sockets that cut off half-open TLS: uvicorn leaves that to the loop, at 60 s."""
        loop, config = asyncio.get_running_loop(), self.config
        timeout = current_app().config.handshake_timeout
        listening = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
        server.close()

        def protocol() -> asyncio.Protocol:
            factory: Any = config.http_protocol_class
            made: asyncio.Protocol = factory(config, self.server_state, self.lifespan.state, loop)
            return made

        return [
            await loop.create_server(
                protocol, sock=each, ssl=config.ssl, backlog=config.backlog, ssl_handshake_timeout=timeout
            )
            for each in listening
        ]

    # Signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals, where this is the main thread; once one has come, they are ours to the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        if self._supervised and hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            if not self._was_signalled:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in good order; the second time, at once."""
        parent = multiprocessing.parent_process() if self._supervised else None
        if parent is not None and parent.is_alive():
            if sig != signal.SIGINT:  # a repeated SIGTERM: systemd sends it to the workers, too. The parent kills.
                self._stop()
        elif self._was_signalled:
            end_at_once(sig)
        else:
            self._stop()

    def _stop(self) -> None:
        if self._was_signalled:
            return
        self._was_signalled = self.should_exit = True  # first: the second signal may interrupt what follows
        if self.started:
            timeout = self.shutdown_timeout
            words = (
                f"the event loop is blocked: not stopped within {timeout:g} s (shutdown_timeout), ended in the middle"
            )
            self._watch = _end_in(timeout + LOOK + 1, 1, words)

    # The end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell everybody, wait until all is done or the time is over, and end the application's lifespan."""
        logger.info("Shutting down")
        timeout = self.shutdown_timeout
        deadline = asyncio.get_running_loop().time() + timeout
        self._stop_listening(sockets)
        drain_of(self.server_state, self.config).begin(timeout)
        if not await self._all_done(deadline - timeout * LAST_PART):
            self._cancel(timeout)
            await self._all_done(deadline)
        if self._watch is not None:
            self._watch.cancel()
        await self.lifespan.shutdown()
        await self.stop_engine(deadline)
        if self._was_signalled:
            _end_in(max(deadline - asyncio.get_running_loop().time(), LEAVING), 0, "stopped, and left what did not end")

    async def stop_engine(self, deadline: float) -> None:
        """Let the engine write what it has, and take leave of other processes."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(max(deadline, loop.time() + LEAVING)):
                if current_app().hub is not None:
                    await current_app().stop()
        except Exception as error:
            logger.error("the engine could not be stopped in good order: %s", str(error) or type(error).__name__)

    def _stop_listening(self, sockets: list[socket.socket] | None) -> None:
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()

    async def _all_done(self, deadline: float) -> bool:
        """Wait for connections and tasks, and tell the connections that were still on their way in, too."""
        state, loop = self.server_state, asyncio.get_running_loop()
        while True:
            for connection in state.connections - self._told:
                self._told.add(connection)
                connection.shutdown()
            await asyncio.sleep(LOOK)
            if not state.connections and not state.tasks:
                return True
            if loop.time() >= deadline:
                return False

    def _cancel(self, timeout: float) -> None:
        tasks = list(self.server_state.tasks)
        if tasks:
            logger.error(
                "stopping; handlers cancelled because they still ran after %.3g s (shutdown_timeout: %g s): %d",
                timeout * (1 - LAST_PART),
                timeout,
                len(tasks),
            )
        for task in tasks:
            task.cancel("the server stops: shutdown_timeout")


def end_at_once(number: int) -> NoReturn:
    """End the process because of a second signal, whatever still runs."""
    code = 128 + number
    with contextlib.suppress(Exception):
        _end_in(LOOK * 10, code, "")  # should the log itself hang
        logger.error("%s again: stopping at once, connections are cut off", signal.Signals(number).name)
    _leave(code)


def _end_in(seconds: float, code: int, words: str) -> threading.Timer:
    """End the process in ``seconds``, with ``words`` in the log, unless it has ended or the timer was cancelled."""

    def end() -> None:
        with contextlib.suppress(Exception):
            if words:
                still = [thread.name for thread in threading.enumerate() if not thread.daemon]
                logger.error("%s (threads: %s)", words, ", ".join(still))
        _leave(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def hold_interrupts() -> Iterator[None]:
    """Start processes inside that do not hear Ctrl-C until a supervised ``Server`` in them is ready to ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
