"""Several processes that accept on one socket, and the one that looks after them: ``antiphon serve --workers``.

Laws:
- a worker that dies, or that does not answer, is replaced; one that can't start ends them all, unless one of them has
  served: then what it lacks, such as the engine's server, is taken to be away, and it is tried again and again;
- SIGTERM or Ctrl-C stops one after another: the next is told when the one before is gone, and those who were not told
  go on serving. Each has the whole of ``shutdown_timeout``. The exit code is 0;
- a second one ends all of them at once;
- SIGHUP replaces one after another: the new one serves before the old one is told. SIGTTIN starts one more, SIGTTOU
  stops one;
- a worker whose parent is gone stops in good order.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from types import FrameType

from uvicorn.config import Config

from antiphon.server.process import STARTUP_FAILURE, Server, end_at_once, hold_interrupts

__all__ = ["Worker", "Workers"]

logger = logging.getLogger("antiphon.server")

#: Seconds between two looks at the workers.
LOOK = 0.5
#: Seconds that a worker may take to answer before it is taken for dead. A thread answers, also while the loop is busy.
ANSWER = 5.0
#: Seconds that a new one may take, and to be ready where another waits for it.
START = 60.0
#: Seconds that one waits before it starts in place of one that could not.
PAUSE = 1.0

_spawn = multiprocessing.get_context("spawn")


class Worker:
    """One process that serves, as its parent sees it."""

    def __init__(self, config: Config, listener: socket.socket, pause: float = 0.0) -> None:
        self.is_ready = False
        """Whether the process serves, or has served."""
        self._asked: float | None = None
        self._patience = START
        self._line, theirs = _spawn.Pipe()
        self.process = _spawn.Process(target=_work, args=(config, listener, theirs, pause))
        with hold_interrupts():
            self.process.start()
        theirs.close()

    def __str__(self) -> str:
        """Say which process it is."""
        return f"worker [{self.process.pid}]"

    def look(self, now: float) -> None:
        """Take the answer to the last question, and ask the next."""
        try:
            while self._line.poll():
                self.is_ready = self._line.recv()
                self._patience, self._asked = ANSWER, None
            if self._asked is None:
                self._line.send(None)
                self._asked = now
        except (OSError, EOFError):
            pass  # the process ends

    def is_alive(self, now: float) -> bool:
        """Tell whether the process runs, and answers."""
        return self.process.is_alive() and (self._asked is None or now - self._asked < self._patience)

    def stop(self) -> None:
        """Tell the process to stop in good order, and wait until it is gone."""
        self.process.terminate()
        self.join()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()

    def join(self) -> None:
        """Wait until the process is gone."""
        self.process.join()
        self._line.close()


def _work(config: Config, listener: socket.socket, line: Connection, pause: float) -> None:
    """Serve, in the new process."""
    config.configure_logging()
    server = Server(config, supervised=True)
    threading.Thread(target=_answer, args=(server, line), name="antiphon-worker", daemon=True).start()
    time.sleep(pause)
    server.run([listener])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _answer(server: Server, line: Connection) -> None:
    """Tell the parent whether ``server`` has started, each time that it asks; stop when the parent is gone."""
    try:
        while True:
            line.recv()
            line.send(server.started)
    except (OSError, EOFError):
        if not server.should_exit:
            os.kill(os.getpid(), signal.SIGTERM)


class Workers:
    """The processes of one server; ``run`` in the main thread."""

    def __init__(self, config: Config, listener: socket.socket) -> None:
        self._config = config
        self._listener = listener
        self._workers: list[Worker] = []
        self._signals: list[int] = []
        self._is_stopping = False
        self._has_served = False
        """Whether a worker ever has."""
        self._ears, self._mouth = socket.socketpair()
        self._ears.setblocking(False)
        self._mouth.setblocking(False)

    def run(self) -> int:
        """Start the workers, look after them until a signal says stop, stop them, and return the exit code."""
        with self._signals_heard():
            self._listener.listen(self._config.backlog)  # who comes before the first worker is ready waits for it
            logger.info("Started parent process [%d]", os.getpid())
            try:
                code = self._look_after_them()
            finally:
                self._stop_all()
            logger.info("Stopped parent process [%d]", os.getpid())
        return code

    def _look_after_them(self) -> int:
        for _ in range(self._config.workers):
            self._workers.append(self._start())
        code = 0
        while code == 0 and not self._is_stopping:
            self._wait()
            self._obey()
            code = self._revive()
        return code

    def _start(self, pause: float = 0.0) -> Worker:
        return Worker(self._config, self._listener, pause)

    # Signals

    @contextlib.contextmanager
    def _signals_heard(self) -> Iterator[None]:
        """Take the signals, which also end a ``_wait``; they are the parent's until its process ends."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._told_to_stop)
        for name in ("SIGHUP", "SIGTTIN", "SIGTTOU"):
            if hasattr(signal, name):  # Windows has none of them
                signal.signal(getattr(signal, name), lambda number, frame: self._signals.append(number))
        with self._ears, self._mouth:
            signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
            try:
                yield
            finally:
                signal.set_wakeup_fd(-1)

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._is_stopping:
            for worker in self._workers:
                worker.kill()
            end_at_once(number)
        self._is_stopping = True

    def _wait(self) -> None:
        """Wait for a signal, for the end of a worker, or a moment."""
        connection.wait([self._ears, *(worker.process.sentinel for worker in self._workers)], LOOK)
        with contextlib.suppress(BlockingIOError):
            self._ears.recv(4096)

    def _obey(self) -> None:
        while self._signals and not self._is_stopping:
            number = self._signals.pop(0)
            logger.info("Received %s", signal.Signals(number).name)
            if number == signal.SIGHUP:
                self._replace_all()
            elif number == signal.SIGTTIN:
                self._workers.append(self._start())
            elif len(self._workers) > 1:
                self._stop_last()

    # The workers

    def _revive(self) -> int:
        """Replace the workers that are dead; return the exit code of one that could not start, and ends all, else 0."""
        for place, worker in enumerate(self._workers):
            worker.look(time.monotonic())
            self._has_served |= worker.is_ready
            if self._is_stopping or worker.is_alive(time.monotonic()):
                continue
            worker.kill()  # it may hang
            worker.join()
            code = worker.process.exitcode or 0
            could_start = worker.is_ready or code <= 0
            if could_start:
                logger.error("%s died (exit code %d): starting another", worker, code)
            elif self._has_served:
                logger.error("%s could not start: the others go on, and another one is tried", worker)
            else:
                logger.error("%s could not start: stopping", worker)
                return code
            self._workers[place] = self._start(0.0 if could_start else PAUSE)
        return 0

    def _replace_all(self) -> None:
        for place in range(len(self._workers)):
            new, old = self._start(), self._workers[place]
            self._workers.append(new)
            if self._comes_up(new):
                logger.info("%s serves in place of %s", new, old)
                self._workers[place], self._workers[-1] = new, old
                self._stop_last()
            else:
                new.kill()
                self._stop_last()
                if not self._is_stopping:
                    logger.error("%s could not start: %s goes on, and those after it", new, old)
                return

    def _comes_up(self, worker: Worker) -> bool:
        deadline = time.monotonic() + START
        while not self._is_stopping and worker.is_alive(time.monotonic()) and time.monotonic() < deadline:
            worker.look(time.monotonic())
            if worker.is_ready:
                return True
            self._wait()
        return False

    def _stop_last(self) -> None:
        """Stop the last worker; it is on the list until it is gone, so that a second signal finds it."""
        self._workers[-1].stop()
        self._workers.pop()

    def _stop_all(self) -> None:
        logger.info("Stopping %d workers, one after another", len(self._workers))
        self._workers.reverse()
        while self._workers:
            if len(self._workers) == 1:
                self._listener.close()  # or clients would wait in its queue for somebody who accepts
            self._stop_last()
