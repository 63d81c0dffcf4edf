"""Servers in processes of their own: started on a free port, watched through their output, ended by pid."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["ALL", "DIRECT", "ROOT", "Kind", "Reply", "Server", "Servers", "clean_environment", "noticed", "until"]

#: Where the servers look for ``tests.integration.apps``.
ROOT = Path(__file__).parents[2]
#: Seconds within which a server starts, stops, or does what a test waits for.
PATIENCE = 20.0


class Kind(NamedTuple):
    """One way to serve an ASGI application."""

    name: str
    module: str
    arguments: tuple[str, ...]
    direct: bool
    """Antiphon's protocol class does it."""
    sends_codes: bool = True
    """Every close code and reason reaches the client (daphne: 1000 and 3000–4999 only, and no reason)."""
    hears_codes: bool = True
    """The client's close code reaches the application (hypercorn: always 1006)."""
    stops: bool = True
    """A server that is told to stop closes its connections (daphne kills, hypercorn waits for the clients)."""
    waits: bool = True
    """``send`` waits while the client does not read (daphne takes everything)."""


_OURS = ("--ws", "antiphon.server:WebSocketProtocol", "--timeout-graceful-shutdown", "2")
_UVICORN = ("--port", "0")
DIRECT = [
    Kind("antiphon", "antiphon", ("serve", "--port", "0"), True),
    Kind("uvicorn-httptools", "uvicorn", (*_UVICORN, *_OURS, "--http", "httptools", "--loop", "uvloop"), True),
    Kind("uvicorn-h11", "uvicorn", (*_UVICORN, *_OURS, "--http", "h11", "--loop", "asyncio"), True),
]
ALL = [
    *DIRECT,
    Kind("uvicorn-plain", "uvicorn", (*_UVICORN, "--timeout-graceful-shutdown", "2"), False),
    Kind("daphne", "daphne", ("-p", "0", "-b", "127.0.0.1"), False, sends_codes=False, stops=False, waits=False),
    Kind(
        "hypercorn", "hypercorn", ("-b", "127.0.0.1:0", "--error-logfile", "-"), False, hears_codes=False, stops=False
    ),
]
_LISTENING = re.compile(r"(?:running on|Running on|Listening on TCP address|server at) (?:http://)?([\d.]+):(\d+)")


class Reply(NamedTuple):
    """The answer to an HTTP request."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as the JSON document that it is."""
        return json.loads(self.body)


class Server:
    """A server that runs: where it listens, what it printed, how it is ended."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
        name: str,
        kind: Kind | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.host, self.port = "", 0
        self.trust: ssl.SSLContext | None = None
        """Where the server speaks TLS: whom to trust."""
        self.record_path = log.with_suffix(".record")
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=cwd,
                env={**env, "RECORD": str(self.record_path)},
                start_new_session=True,
            )

    def listening(self, pattern: re.Pattern[str] = _LISTENING) -> Server:
        """Wait until the server has printed where it listens."""
        found = until(lambda: pattern.search(self.log()) or self._exited(), f"{self.name} to listen")
        assert isinstance(found, re.Match), f"{self.name} ended with {self.process.returncode}:\n{self.log()}"
        self.host, self.port = found[1], int(found[2])
        return self

    def _exited(self) -> bool:
        return self.process.poll() is not None

    def url(self, path: str, scheme: str = "ws") -> str:
        """Return the address of ``path``."""
        return f"{scheme}://{self.host}:{self.port}{path}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask for ``path`` over HTTP."""
        if self.trust is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        else:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=PATIENCE, context=self.trust)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, response.read())
        finally:
            connection.close()

    def stats(self) -> dict[str, int]:
        """Return ``antiphon.stats()`` of the server's process."""
        stats: dict[str, int] = self.get("/stats").json()
        return stats

    def log(self, since: int = 0) -> str:
        """Return what the server has printed, from the character ``since`` on."""
        return self._log.read_text(errors="replace")[since:]

    def records(self, client: str) -> list[dict[str, Any]]:
        """Return what the application has recorded about ``client``, oldest first."""
        if not self.record_path.exists():
            return []
        lines = [json.loads(line) for line in self.record_path.read_text().splitlines()]
        return [line for line in lines if line["client"] == client]

    def memory(self) -> int:
        """Return the bytes of memory that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.signal(number)
        return self.exit_code()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the end and return the exit code; kill what does not end."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own: the server and its workers
            self.process.wait()
            raise AssertionError(f"{self.name} did not end:\n{self.log()[-3000:]}") from None


class Servers:
    """The servers of a test session; an application that tests share is started once on each kind of server."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self.environment = dict(environment)
        self._shared: dict[tuple[Kind, str], Server] = {}
        self._started: list[Server] = []

    def share(self, kind: Kind, application: str) -> Server:
        """Return a server of ``application`` that other tests use too: it may not be ended."""
        server = self._shared.get((kind, application))
        if server is None:
            server = self._shared[kind, application] = self.start(kind, application)
        assert server.process.poll() is None, f"{server.name} has ended:\n{server.log()[-3000:]}"
        return server

    def start(self, kind: Kind, application: str, *options: str, env: Mapping[str, str] | None = None) -> Server:
        """Return a server of its own, which listens."""
        return self.spawn(kind, application, *options, env=env).listening()

    def spawn(self, kind: Kind, application: str, *options: str, env: Mapping[str, str] | None = None) -> Server:
        """Return a server of its own as soon as its process runs."""
        command = (sys.executable, "-m", kind.module, *kind.arguments, *options, application)
        return self.run(command, f"{kind.name} {application}", env=env, kind=kind)

    def run(
        self,
        command: Sequence[str],
        name: str,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        kind: Kind | None = None,
    ) -> Server:
        """Start ``command``; its end is seen to."""
        log = self._folder / f"{len(self._started)}.log"
        server = Server(command, log=log, env={**self.environment, **(env or {})}, cwd=cwd, name=name, kind=kind)
        self._started.append(server)
        return server

    def close(self) -> None:
        """End all that still runs."""
        for server in self._started:
            server.signal(signal.SIGTERM)
        for server in self._started:
            server.exit_code()


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until ``condition()`` is true, and return what it returned; for code that is not async."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {patience:g} s in vain for {what}"
        time.sleep(0.01)
    return result


def noticed(server: Server, file: Path, words: str, since: int) -> bool:
    """Tell whether a reloader has printed ``words`` about ``file``.

    What changes before its first look, which nothing tells of, it does not see: the file is touched until then.
    """
    if words in server.log(since):
        return True
    file.touch()
    return False


def clean_environment() -> dict[str, str]:
    """Return the environment for servers: this process's, without settings of antiphon and Django."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTIPHON_", "DJANGO_", "CHAT_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
