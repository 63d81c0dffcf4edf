"""Redis servers for tests: each on a free port of the loopback address, and what can happen to one."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hiredis
import trustme

from antiphon.engines.redis.connection import pack

__all__ = [
    "FORGETFUL",
    "LASTING",
    "Certificates",
    "MovedClock",
    "RedisCluster",
    "RedisServer",
    "Sentinels",
    "free_port",
    "new_folder",
]

#: What is started: Debian's Redis, or any other of its versions, or Valkey.
PROGRAM = os.environ.get("ANTIPHON_TEST_REDIS", "redis-server")
#: Since 7.2 scripts are told a time that the server looks up only so often in a second; it is to be soon.
LOOKS_OFTEN = () if PROGRAM == "redis-server" else ("--hz", "500", "--dynamic-hz", "no")
#: Nothing is written to the disk.
FORGETFUL = ("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
#: A part of a cluster, which takes a server for dead after a second.
CLUSTERED = (*FORGETFUL, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
#: Everything that was answered for is written before the answer.
LASTING = ("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def new_folder(prefix: str) -> Path:
    """Return a folder that is there until the tests end."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class MovedClock:
    """A clock of a server that is moved by hand (``clock.c``)."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "shift"
        self._file.write_bytes(struct.pack("q", 0))
        self._shift = 0
        self._servers: list[RedisServer] = []

    def move(self, seconds: float) -> None:
        """Let so many seconds have gone by."""
        self._shift += round(seconds * 1_000_000)
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", self._shift))
        if LOOKS_OFTEN:
            now = time.time() + self._shift / 1_000_000
            _until(lambda: all(server.clock() >= now for server in self._servers))

    def watch(self, server: RedisServer) -> None:
        """Have a server go by this clock."""
        self._servers.append(server)

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs to go by this clock."""
        return {"LD_PRELOAD": str(_clock_library()), "CLOCK_SHIFT": str(self._file)}


@functools.cache
def _clock_library() -> Path:
    library = new_folder("antiphon-clock-") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


class Certificates:
    """What servers of this host show to who speaks TLS, signed by an authority of the test's own."""

    def __init__(self, folder: Path, *names: str) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        files = {"cert": folder / "cert.pem", "key": folder / "key.pem", "ca-cert": self.ca}
        self.settings = [word for name, path in files.items() for word in (f"--tls-{name}-file", str(path))]
        self.settings += ["--tls-auth-clients", "no", "--tls-replication", "yes"]


class RedisServer:
    """One server, started; ``with`` ends it. With ``tls`` it has a second port, ``tls_port``."""

    def __init__(
        self,
        folder: Path,
        *settings: str,
        clock: MovedClock | None = None,
        port: int = 0,
        file: Path | None = None,
        tls: Certificates | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.folder = folder
        self.settings = settings or FORGETFUL
        self.tls_port = free_port() if tls is not None else 0
        self._tls = ("--tls-port", str(self.tls_port), *tls.settings) if tls is not None else ()
        self._file = () if file is None else (str(file),)
        self._environment = clock.environment if clock is not None else {}
        if clock is not None:
            clock.watch(self)
            self._file = *self._file, *LOOKS_OFTEN
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """The engine's URL."""
        return f"redis://{self.host}:{self.port}"

    def start(self, *settings: str) -> None:
        """Start it, where it is not running; with other settings, if there are any."""
        assert self._process is None
        self.settings = settings or self.settings
        place = ("--bind", self.host, "--port", str(self.port), "--dir", str(self.folder))
        with (self.folder / f"redis-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, *self._file, *place, *self._tls, *self.settings],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / f"redis-{self.port}.log").read_text()
            try:
                answer = self.call("PING")
            except OSError:
                answer = None
            if answer == b"PONG" or (isinstance(answer, hiredis.ReplyError) and "NOAUTH" in str(answer)):
                return
            assert time.monotonic() < deadline, f"{PROGRAM} did not start: {answer}"
            time.sleep(0.005)

    def kill(self) -> None:
        """End it as the kernel does that is out of memory."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self, *settings: str) -> None:
        """Kill it and start it again: empty, unless its settings say otherwise."""
        self.kill()
        self.start(*settings)

    def freeze(self) -> None:
        """Let it stand still."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def clock(self) -> float:
        """Return the time that its scripts are told."""
        seconds, microseconds = self.call("EVAL", "return redis.call('TIME')", 0)
        return int(seconds) + int(microseconds) / 1_000_000

    def call(self, *words: str | bytes | int) -> Any:
        """Return what it answers to one command; an error is a value."""
        reader = hiredis.Reader(notEnoughData=self)
        with socket.create_connection((self.host, self.port), timeout=10) as connection:
            connection.sendall(pack(*words))
            while (reply := reader.gets()) is self:
                data = connection.recv(65536)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                reader.feed(data)
        return reply


class Sentinels:
    """A master called ``talk`` with one replica, and three sentinels that look after them; ``with`` ends them all.

    ``patience`` is for how many ms a master may be silent before the replica takes over.
    """

    def __init__(self, folder: Path, *, clock: MovedClock | None = None, patience: int = 500) -> None:
        self.master, self.replica = (self._server(folder, name, clock) for name in ("master", "replica"))
        self.replica.call("REPLICAOF", self.master.host, self.master.port)
        _until(lambda: b"master_link_status:up" in self.replica.call("INFO", "replication"))
        self.sentinels = [self._sentinel(folder / f"sentinel{number}", patience) for number in range(3)]
        _until(lambda: all(self._knows_all(sentinel) for sentinel in self.sentinels))

    def _server(self, folder: Path, name: str, clock: MovedClock | None) -> RedisServer:
        (folder / name).mkdir()
        return RedisServer(folder / name, *FORGETFUL, "--repl-timeout", "1000000", clock=clock)

    def _sentinel(self, folder: Path, patience: int) -> RedisServer:
        folder.mkdir()
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"sentinel monitor talk {self.master.host} {self.master.port} 2\n"
            f"sentinel down-after-milliseconds talk {patience}\nsentinel failover-timeout talk 5000\n"
        )
        return RedisServer(folder, "--sentinel", file=configuration)

    def _knows_all(self, sentinel: RedisServer) -> bool:
        words = sentinel.call("SENTINEL", "MASTER", "talk")
        state = dict(zip(words[::2], words[1::2], strict=True))
        return [state[each] for each in (b"num-slaves", b"num-other-sentinels", b"flags")] == [b"1", b"2", b"master"]

    @property
    def url(self) -> str:
        """The engine's URL."""
        hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/talk"

    def fail_over(self) -> None:
        """Let the replica take over from a master that lives."""
        _until(lambda: self.sentinels[0].call("SENTINEL", "FAILOVER", "talk") == b"OK")

    def __enter__(self) -> Sentinels:
        return self

    def __exit__(self, *error: object) -> None:
        for each in (*self.sentinels, self.replica, self.master):
            each.kill()


class RedisCluster:
    """Three servers that share the slots, and a replica of the first one; ``with`` ends them all."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: MovedClock | None = None,
        with_replica: bool = False,
        tls: Certificates | None = None,
    ) -> None:
        self.servers = [self._server(folder / f"node{number}", clock, tls) for number in range(3 + with_replica)]
        masters = self.servers[:3]
        for number, (server, slots) in enumerate(zip(masters, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True)):
            server.call("CLUSTER", "ADDSLOTSRANGE", *slots)
            server.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            first = self.servers[0]
            server.call("CLUSTER", "MEET", first.host, first.port, first.call("CONFIG", "GET", "cluster-port")[1])
        _until(lambda: all(self._is_whole(server) for server in self.servers))
        if with_replica:
            self.servers[3].call("CLUSTER", "REPLICATE", masters[0].call("CLUSTER", "MYID"))
            _until(lambda: b"master_link_status:up" in self.servers[3].call("INFO", "replication"))

    def _server(self, folder: Path, clock: MovedClock | None, tls: Certificates | None) -> RedisServer:
        folder.mkdir(parents=True)
        settings = *CLUSTERED, "--cluster-port", str(free_port()), "--tls-cluster", "no" if tls is None else "yes"
        return RedisServer(folder, *settings, clock=clock, tls=tls)

    def _is_whole(self, server: RedisServer) -> bool:
        said = server.call("CLUSTER", "INFO")
        return b"cluster_state:ok" in said and b"cluster_known_nodes:%d" % len(self.servers) in said

    @property
    def url(self) -> str:
        """The engine's URL."""
        return "redis+cluster://" + ",".join(f"{server.host}:{server.port}" for server in self.servers[:2])

    def owner(self, slot: int) -> RedisServer:
        """Return the server that has a slot."""
        for first, last, (_, port, *_), *_ in self.servers[-1].call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def move(self, slot: int, target: RedisServer, half_way: Callable[[], object] = lambda: None) -> None:
        """Move a slot with its keys; ``half_way`` is called when they are there, and the slot is not."""
        source = self.owner(slot)
        ids = {server: server.call("CLUSTER", "MYID") for server in (source, target)}
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        names = source.call("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        if names:
            source.call("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *names)
        half_way()
        others = [server for server in self.servers[:3] if server not in (source, target)]
        for server in (target, source, *others):  # once each: a server that is told again drops its subscribers
            server.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target])

    def __enter__(self) -> RedisCluster:
        return self

    def __exit__(self, *error: object) -> None:
        for server in self.servers:
            server.kill()


def _until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the servers never came to that"
        time.sleep(0.02)
