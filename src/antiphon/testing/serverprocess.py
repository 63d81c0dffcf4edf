"""antiphon's server as a process of ``multiprocessing``, with the interface of ``daphne.testing.DaphneProcess``."""

from __future__ import annotations

import multiprocessing
import pickle
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from antiphon import app
from antiphon.cli import server_options
from antiphon.server.process import Server
from antiphon.testing.live import SHUTDOWN_TIMEOUT

__all__ = ["AntiphonProcess"]


class AntiphonProcess(multiprocessing.Process):
    """Serves what ``get_application()`` returns, on ``host`` and a free port, or on ``port``.

    When it listens, ``ready`` is set and ``port.value`` says where; ``terminate()`` stops it in good order. ``setup()``
    is called before it serves, ``teardown()`` behind. ``kwargs`` are options of ``uvicorn.Config``. An exception is put
    into ``errors``, with its traceback as text, and printed.
    """

    def __init__(
        self,
        host: str,
        get_application: Callable[[], Any],
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[[], Any] | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__()
        self.host = host
        self.get_application = get_application
        self.kwargs = dict(kwargs or {})
        self.setup = setup
        self.teardown = teardown
        self.port = multiprocessing.Value("i", port or 0)
        self.ready = multiprocessing.Event()
        self.errors: Any = multiprocessing.Queue()

    def run(self) -> None:
        """Serve; called in the new process."""
        app._app = None  # a fork has the parent's, whose event loop does not run here
        try:
            application = self.get_application()
            if self.setup is not None:
                self.setup()
            try:
                self._serve(application)
            finally:
                if self.teardown is not None:
                    self.teardown()
        except BaseException as error:
            self.errors.put((_picklable(error), traceback.format_exc()))
            raise

    def _serve(self, application: Any) -> None:
        options = {**server_options("warning"), "log_level": "warning", "timeout_graceful_shutdown": SHUTDOWN_TIMEOUT}
        options.update(self.kwargs)
        config = uvicorn.Config(application, **options)
        listening = _listen(self.host, self.port.value)
        self.port.value = listening.getsockname()[1]
        _Server(config, self.ready).run(sockets=[listening])


class _Server(Server):
    """antiphon's server, which tells another process when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Any) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self.started:
            self._ready.set()


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on one address of ``host``, IPv4 where it has one: a port of 0 is one port then."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return socket.create_server(address, family=family)


def _picklable(error: BaseException) -> BaseException:
    """Return ``error``, or one that says the same where it can't be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    except Exception:
        return RuntimeError(repr(error))
    return error
