"""antiphon's own client as tests drive it: JavaScript that is run in Node or in a page, with what ``prepare`` gives it.

The test's code is the body of an async function with ``args``; what it returns comes back.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from .proxy import Proxy
from .servers import PATIENCE, ROOT, Server

__all__ = ["CLIENT", "PAGE", "Blackhole", "NodeScript", "connected", "flood", "heard", "node", "other"]

#: What Django projects serve.
CLIENT = ROOT / "src/antiphon/django/static/antiphon/client.js"
_FOLDER = Path(__file__).parent / "node"
PAGE = _FOLDER / "client_js_page.mjs"
SCRIPT = _FOLDER / "client_js.mjs"


class NodeScript:
    """A process of Node that runs what the test says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> NodeScript:
        """Start the process."""
        pipe = asyncio.subprocess.PIPE
        limit = 16 * 1024 * 1024
        return cls(await asyncio.create_subprocess_exec("node", str(SCRIPT), stdin=pipe, stdout=pipe, limit=limit))

    async def run(self, script: str, **args: Any) -> Any:
        """Run code and return what it returns."""
        assert self.process.stdin is not None
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps({"id": number, "code": script, "args": args}).encode() + b"\n")
        answer = await asyncio.wait_for(future, PATIENCE)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            answer = json.loads(line)
            future = self._asked.pop(answer["id"])
            if not future.done():
                future.set_result(answer)

    async def release(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), PATIENCE)
        await self._reading


class Blackhole(Proxy):
    """Passes bytes on until ``swallow()``: from then on connections that are open neither carry anything nor end."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._swallowed: set[asyncio.StreamWriter] = set()
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._over.set()
        self._writers |= self._swallowed
        await super().__aexit__(*error)

    def swallow(self) -> None:
        """Let what is open be lost without a word to either side."""
        self._swallowed |= self._writers
        self._writers -= self._swallowed

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, holds: bool) -> None:
        try:
            while data := await reader.read(16 * 1024):
                if writer not in self._swallowed:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        if writer in self._swallowed:
            await self._over.wait()
        writer.transport.abort()


@pytest.fixture
async def node(node_packages: None) -> AsyncIterator[NodeScript]:
    """A process of Node."""
    script = await NodeScript.start()
    yield script
    await script.release()


@pytest.fixture
async def other(node_packages: None) -> AsyncIterator[NodeScript]:
    """Another one, for what others do meanwhile."""
    script = await NodeScript.start()
    yield script
    await script.release()


async def flood(script: NodeScript, group: str, first: int, count: int) -> None:
    """Publish ``{"n": first}`` and so on."""
    await script.run("await client.rpc('flood', args)", group=group, first=first, count=count)


async def connected(script: NodeScript, url: str) -> None:
    """Connect."""
    await script.run("await connect(args.url).ready()", url=url)


async def heard(script: NodeScript, group: str, count: int) -> list[int]:
    """Wait for ``count`` publications, and return the numbers that came."""
    code = """
        const { publications } = heard.groups[args.group];
        await until(() => publications.length >= args.count);
        return publications.map(({ n }) => n);
    """
    found: list[int] = await script.run(code, group=group, count=count)
    return found
