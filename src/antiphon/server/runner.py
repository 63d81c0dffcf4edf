"""What ``antiphon serve`` starts: one process, or one that is started again when a file changes, or several.

Laws:
- of each, clients see that it stops in good order (``process.Server``), and the exit code of a stop is 0;
- a second SIGTERM or Ctrl-C ends all processes at once.
"""

from __future__ import annotations

import contextlib
import os
from types import FrameType
from typing import TYPE_CHECKING, Any

from uvicorn.config import Config

from antiphon.server.process import STARTUP_FAILURE, Server, end_at_once, hold_interrupts
from antiphon.server.workers import Workers

if TYPE_CHECKING:
    from uvicorn.supervisors.basereload import BaseReload as ChangeReload
else:
    from uvicorn.supervisors import ChangeReload

__all__ = ["STARTUP_FAILURE", "Reloader", "run"]


def _allow_descriptors() -> None:
    """Let the process have as many connections as the system allows: the usual soft limit is 1,024 descriptors."""
    try:
        import resource
    except ImportError:  # Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):  # macOS says "unlimited" and means 10,240
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Reloader(ChangeReload):
    """uvicorn's reloader: the old process stops in good order before the new one starts."""

    _was_signalled = False

    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        """Stop; the second time, at once."""
        if self._was_signalled:
            self.process.kill()
            end_at_once(sig)
        self._was_signalled = True
        super().signal_handler(sig, frame)

    def startup(self) -> None:
        """Start the first process."""
        with hold_interrupts():
            super().startup()

    def restart(self) -> None:
        """Stop the process that runs, and start another unless the reloader itself was told to stop meanwhile."""
        self.process.terminate()
        self.process.join()
        if not self._was_signalled:
            with hold_interrupts():
                super().restart()

    def shutdown(self) -> None:
        """Stop; nobody waits in the queue of a socket that nobody will accept from."""
        for each in self.sockets:
            each.close()
        super().shutdown()


def run(application: str, **options: Any) -> int:
    """Serve ``application`` with uvicorn's ``options`` until a signal; return the exit code."""
    config = Config(application, **options)
    _allow_descriptors()
    try:
        if config.should_reload:
            Reloader(config, Server(config, supervised=True).run, [config.bind_socket()]).run()
            return 0
        if config.workers > 1:
            return Workers(config, config.bind_socket()).run()
        config.load()  # the application is imported outside of the event loop
        server = Server(config)
        server.run()
        return 0 if server.started else STARTUP_FAILURE
    finally:
        if config.uds and os.path.exists(config.uds):
            os.remove(config.uds)
