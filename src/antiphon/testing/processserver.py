"""A live server in a process of its own: ``antiphon serve``."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from antiphon.exceptions import UsageError
from antiphon.testing.live import LiveServer

__all__ = ["ProcessServer"]

#: Seconds within which the server listens, or ends.
PATIENCE = 30.0
#: Seconds between two looks at what it has printed.
LOOK = 0.02

_LISTENING = re.compile(r"running on (https?)://([\d.]+):(\d+)")


class ProcessServer(LiveServer):
    """``antiphon serve`` with ``options`` of its command line, on a free port.

    It finds modules where this process finds them. Raises ``RuntimeError`` with what it printed if it does not listen.
    """

    def __init__(self, application: str, options: Sequence[str], env: Mapping[str, str]) -> None:
        if ":" not in application:
            raise UsageError(f"{application!r} names no application: write 'module:application'")
        self._folder = tempfile.TemporaryDirectory(prefix="antiphon-live-")
        self._printed = Path(self._folder.name) / "output"
        path = os.pathsep.join(entry or "." for entry in sys.path)
        with self._printed.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "antiphon", "serve", "--port", "0", *options, application],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **env},
                start_new_session=True,  # so that Ctrl-C is the test's, and workers can be ended with it
            )
        self._was_told = False
        try:
            scheme, host, port = self._listening()
        except BaseException:
            self._kill()
            raise
        super().__init__(scheme, host, port)

    @property
    def output(self) -> str:
        """What the server has printed so far."""
        with contextlib.suppress(FileNotFoundError):
            self._last = self._printed.read_text(errors="replace")
        return self._last

    def _listening(self) -> tuple[str, str, int]:
        """Wait until the server has printed where it listens."""
        deadline = time.monotonic() + PATIENCE
        while (found := _LISTENING.search(self.output)) is None:
            code = self._process.poll()
            if code is not None:
                raise RuntimeError(f"the server ended with {code} before it listened. It printed:\n{self.output}")
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the server has not said within {PATIENCE:g} s where it listens (an option that turns its log "
                    f"off would hide that). It printed:\n{self.output}"
                )
            time.sleep(LOOK)
        return found[1], found[2], int(found[3])

    def _end(self) -> None:
        """Send SIGTERM and wait; raise ``RuntimeError`` if it had ended before, or does not end well."""
        if self._was_told:
            return
        self._was_told = True
        code = self._process.poll()
        if code is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(PATIENCE)
        output = self.output
        self._kill()
        if code != 0:
            outcome = "did not end and was killed" if code is None else f"ended with {code}"
            raise RuntimeError(f"the server {outcome}. It printed:\n{output}")

    def _kill(self) -> None:
        """End what still runs, workers too, and forget what was printed."""
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait()
        self._was_told = True
        _ = self.output
        self._folder.cleanup()
