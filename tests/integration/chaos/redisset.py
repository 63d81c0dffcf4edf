"""The Redis of a run: a master with an append-only file, its replica, three sentinels, and what they say."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import hiredis

from antiphon.engines.redis.connection import pack
from tests.integration.redis_server import LASTING, MovedClock, RedisServer, Sentinels

from .plan import LEASE

__all__ = ["RedisSet"]

#: Seconds within which a server that lives answers.
_ANSWER = 0.3
_NOTHING = object()


class RedisSet(Sentinels):
    """Two servers, of which one is the master at a time; ``with`` ends them all."""

    def __enter__(self) -> RedisSet:
        return self

    def _server(self, folder: Path, name: str, clock: MovedClock | None = None) -> RedisServer:
        (folder / name).mkdir()
        return RedisServer(folder / name, *LASTING, clock=clock)

    @property
    def engine(self) -> str:
        """The engine of a run; a server that does not answer is to be noticed."""
        return f"{self.url}?lease={LEASE:g}&timeout=2"

    def other(self, server: RedisServer) -> RedisServer:
        """Return the one of the two servers that is not this one."""
        return self.replica if server is self.master else self.master

    def restart_empty(self, server: RedisServer) -> None:
        """Kill a server, and start it again without what it had."""
        server.kill()
        for name in ("appendonlydir", "appendonly.aof", "dump.rdb"):
            place = server.folder / name
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        server.start(*LASTING)

    async def master_now(self) -> RedisServer | None:
        """Return the server that some sentinel names and that takes writes; None: there is none at present."""
        for sentinel in self.sentinels:
            named = await ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "talk")
            if not isinstance(named, list):
                continue
            server = next(each for each in (self.master, self.replica) if each.port == int(named[1]))
            role = await ask(server, "ROLE")
            return server if isinstance(role, list) and role[0] == b"master" else None
        return None

    async def changed_from(self, former: RedisServer) -> RedisServer | None:
        """Return the master, if it is another one than before."""
        master = await self.master_now()
        return master if master is not former else None

    async def is_whole(self) -> bool:
        """Tell whether all sentinels name a master that has its replica, so that something may happen to it."""
        master = await self.master_now()
        if master is None:
            return False
        for sentinel in self.sentinels:
            words = await ask(sentinel, "SENTINEL", "MASTER", "talk")
            state = dict(zip(words[::2], words[1::2], strict=True)) if isinstance(words, list) else {}
            if (state.get(b"flags"), state.get(b"port")) != (b"master", str(master.port).encode()):
                return False
        role = await ask(self.other(master), "ROLE")
        return isinstance(role, list) and role[0] == b"slave" and role[3] == b"connected"


async def ask(server: RedisServer, *words: str | bytes | int) -> Any:
    """Return what a server answers, an error as a value; None: it does not."""
    try:
        async with asyncio.timeout(_ANSWER):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            try:
                return await _answer(reader, writer, pack(*words))
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return None


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: bytes) -> Any:
    parser = hiredis.Reader(notEnoughData=_NOTHING)
    writer.write(command)
    while (reply := parser.gets()) is _NOTHING:
        data = await reader.read(65536)
        if not data:
            return None
        parser.feed(data)
    return reply
