"""A way to publish: a connection to some worker, or a script beside the server, which has ``antiphon.sync``.

An order is carried out and answered, or nobody knows: then ``ask`` returns None, and the next one finds a new way.
"""

from __future__ import annotations

import abc
import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from websockets.exceptions import WebSocketException

from tests.integration.clients import Client, connect
from tests.integration.servers import PATIENCE, ROOT, Server, clean_environment

__all__ = ["Outlet", "ScriptOutlet", "WorkerOutlet"]

#: How often a connection is tried for the worker that is wanted; the kernel chooses.
_TRIES = 20
#: The application answers within this, or it is taken for lost: a worker may hang for a while.
_ANSWER = 15.0


class Outlet(abc.ABC):
    """One way, for one order at a time."""

    #: What it goes through, in words.
    name = ""

    @abc.abstractmethod
    async def ask(self, order: Mapping[str, Any]) -> Any:
        """Return the answer; None: it is not known whether the order was carried out."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Give it up."""


class WorkerOutlet(Outlet):
    """A connection to the worker that ``wanted`` names, if the kernel gives one."""

    name = "workers"

    def __init__(self, server: Server, wanted: Callable[[], int]) -> None:
        self._server = server
        self._wanted = wanted
        self._client: Client | None = None

    async def ask(self, order: Mapping[str, Any]) -> Any:
        """Ask, on a new connection where there is none."""
        try:
            async with asyncio.timeout(_ANSWER):
                if self._client is None:
                    self._client = await self._connect()
                await self._client.websocket.send(json.dumps(order))
                return json.loads(await self._client.websocket.recv())
        except (OSError, WebSocketException, TimeoutError):
            await self.close()
            return None
        except asyncio.CancelledError:  # the answer would be taken for that of the next order
            await self.close()
            raise

    async def _connect(self) -> Client:
        wanted = self._wanted()
        for left in reversed(range(_TRIES)):
            client = await connect(self._server, "/publisher", max_size=None)
            hello = json.loads(await client.websocket.recv())
            if hello["worker"] == wanted or not left:
                break
            client.vanish()
        return client

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.vanish()


class ScriptOutlet(Outlet):
    """A process of ``script``; nobody harms it."""

    name = "a script"

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, settings: Mapping[str, str]) -> ScriptOutlet:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "tests.integration.chaos.script")
        env = {**clean_environment(), **settings}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, cwd=ROOT, env=env, limit=2**24, start_new_session=True
        )
        return cls(process)

    async def ask(self, order: Mapping[str, Any]) -> Any:
        """Write it, and read the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())

    async def close(self) -> None:
        """Let it come to its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), PATIENCE)
