"""Servers for a test: real ones, on a port of 127.0.0.1, with clients to match."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from antiphon.exceptions import UsageError
from antiphon.testing.clients import AsyncClient, Client, Opening, Request

__all__ = ["LiveServer", "LiveServers"]

#: Seconds that connections and handlers have when a live server stops: who tests does not want to wait.
SHUTDOWN_TIMEOUT = 2.0


class LiveServer(abc.ABC):
    """A server that runs until ``stop()``; a context manager that stops it."""

    def __init__(self, scheme: str, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.url = f"{scheme}://{host}:{port}"
        """Where it listens, as a browser takes it."""
        self.ws_url = f"{scheme.replace('http', 'ws')}://{host}:{port}"
        self._clients: list[Client | AsyncClient] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def connect(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        subprotocols: Sequence[str] | None = None,
        origin: str | None = None,
        timeout: float = 5,
    ) -> Client:
        """Return a WebSocket client that is connected to ``path``; it is closed at the test's end if not before.

        ``origin`` is the page that it says to come from. Raises ``Refused``, which has the HTTP status.
        """
        client = Client(self._request(path, headers, subprotocols, origin, timeout))
        self._clients.append(client)
        return client

    def aconnect(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        subprotocols: Sequence[str] | None = None,
        origin: str | None = None,
        timeout: float = 5,
    ) -> Opening:
        """The same for coroutines: ``await`` it, or enter it with ``async with``."""
        return Opening(self._request(path, headers, subprotocols, origin, timeout), self._clients.append)

    def _request(self, path: str, headers: Any, subprotocols: Any, origin: str | None, timeout: float) -> Request:
        if not path.startswith("/"):
            raise UsageError(f"{path!r} is no path of the server: it begins with a slash")
        return Request(self.ws_url + path, (self.host, self.port), headers, subprotocols, origin, timeout)

    def let_go(self) -> None:
        """End the clients of coroutines, while their event loop is there to do it."""
        for client in self._clients:
            if isinstance(client, AsyncClient):
                client.cut_off()

    def stop(self) -> None:
        """End the clients, then the server, in good order; a second time does nothing."""
        clients, self._clients = self._clients, []
        for client in clients:
            client.cut_off()
        self._end()

    @abc.abstractmethod
    def _end(self) -> None:
        """End the server and wait for that; a second time does nothing."""


class LiveServers:
    """The servers of one test.

    While there is one in this process, Django's ``ALLOWED_HOSTS`` has its address.
    """

    def __init__(self) -> None:
        self._servers: list[LiveServer] = []
        self._allowing: contextlib.AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self,
        application: Any = None,
        *,
        process: bool = False,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> LiveServer:
        """Return a server of ``application`` that listens: in a thread of this process, or in another process.

        In this process, it is an ASGI application or ``"module:application"``, and shares its groups with the test and
        with other live servers in it: ``antiphon.sync.publish`` reaches its clients. With ``process``, it is
        ``"module:application"`` for ``antiphon serve``, which takes ``options`` as on the command line, and ``env`` on
        top of this process's environment. Where none is given it is Django's ``ASGI_APPLICATION``.

        Raises ``UsageError`` for what can't be, ``RuntimeError`` with what the server has printed if it does not start.
        """
        if process:
            server = _in_process(application, options, env)
        elif options or env:
            raise UsageError("options and env are for a server in a process of its own: say process=True")
        else:
            server = self._in_thread(application)
        self._servers.append(server)
        return server

    def _in_thread(self, application: Any) -> LiveServer:
        from antiphon.testing.django import default_application, host_allowed
        from antiphon.testing.threadserver import ThreadServer

        if self._allowing is None:
            self._allowing = host_allowed("127.0.0.1")
            self._allowing.__enter__()
        return ThreadServer(default_application() if application is None else application)

    def let_go(self) -> None:
        """End the clients of coroutines, of all servers."""
        for server in self._servers:
            server.let_go()

    def stop(self) -> None:
        """Stop all servers, the newest first."""
        with contextlib.ExitStack() as stack:
            if self._allowing is not None:
                stack.push(self._allowing)
                self._allowing = None
            for server in self._servers:
                stack.callback(server.stop)
            self._servers.clear()


def _in_process(application: Any, options: Sequence[str], env: Mapping[str, str] | None) -> LiveServer:
    from antiphon.testing.processserver import ProcessServer

    if application is None:
        from antiphon.testing.django import default_path

        application = default_path()
    if not isinstance(application, str):
        raise UsageError(f"another process can't have {application!r}: say where it is, as 'module:application'")
    return ProcessServer(application, options, env or {})
