"""Server processes: started on a core of their own, waited for, measured, stopped."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.paths import LOGS, ROOT
from benchmarks.servers import Server

STARTUP_S = 30.0
SETTLED = 0.01
"""Memory has settled when two readings differ by less than this share."""


class BenchmarkError(Exception):
    """A server or the load client did not do what the cell needs; says which and why."""


@dataclass(frozen=True)
class Cores:
    """The cores of the two sides; None where the machine has a single one."""

    server: int | None = 0
    client: int | None = 1


def raise_file_limit() -> int:
    """Let this process and its children open as many descriptors as the system allows; returns how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command, bound to one core."""
    if core is None or shutil.which("taskset") is None:
        return command
    return ["taskset", "-c", str(core), *command]


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """A server that accepts connections."""

    server: Server
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def resident_bytes(self) -> int:
        """The memory that the process holds right now."""
        return self._status_bytes("VmRSS")

    def peak_bytes(self) -> int:
        """The most memory that the process held since `forget_peak`, or since its start."""
        return self._status_bytes("VmHWM")

    def forget_peak(self) -> None:
        """Let `peak_bytes` begin anew (proc(5), clear_refs)."""
        try:
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        except OSError as error:
            raise BenchmarkError(f"{self.server.name}: its highest memory can't be measured here: {error}") from error

    def stats(self) -> dict[str, Any]:
        """What the server says of itself, where it does; else nothing."""
        if self.server.stats_path is None:
            return {}
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{self.server.stats_path}", timeout=10) as answer:
                return dict(json.load(answer))
        except OSError as error:
            raise BenchmarkError(f"{self.server.name} does not answer {self.server.stats_path}: {error}") from error

    def settled_bytes(self, *, timeout: float = 5.0) -> int:
        """The memory once it no longer moves."""
        deadline = time.monotonic() + timeout
        last = self.resident_bytes()
        while time.monotonic() < deadline:
            time.sleep(0.3)
            now = self.resident_bytes()
            if abs(now - last) <= SETTLED * last:
                return now
            last = now
        return last

    def _status_bytes(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise BenchmarkError(f"{self.server.name} is gone")


@contextmanager
def running(server: Server, cores: Cores) -> Iterator[Running]:
    """Start the server, wait until it accepts, stop it at the end."""
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in server.command]
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{server.name}.log"
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    env = {**os.environ, "PYTHONPATH": path, **server.env}
    with log.open("wb") as out:
        process = subprocess.Popen(
            pinned(command, cores.server), cwd=server.cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        wait_until_accepting(server, process, port, log)
        yield Running(server, port, process, log)
    finally:
        stop(process)


def wait_until_accepting(server: Server, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the port answers; raise if the process ends or takes too long."""
    deadline = time.monotonic() + STARTUP_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchmarkError(f"{server.name} ended with {process.returncode} at its start: {tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise BenchmarkError(f"{server.name} does not accept connections after {STARTUP_S:.0f} s: {tail(log)}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and end it if it does not."""
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path, lines: int = 6) -> str:
    """The end of a log, on one line."""
    return " | ".join(log.read_text(errors="replace").splitlines()[-lines:])
