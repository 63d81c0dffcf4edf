"""Clients that other people wrote, behind one face: Python's ``websockets`` and ``aiohttp``, and ``ws`` of Node."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import aiohttp

from .clients import Client, Closed
from .clients import connect as connect_websockets
from .servers import PATIENCE, Server

__all__ = ["FOREIGN", "Aiohttp", "Foreign", "Node", "Websockets"]

SCRIPT = Path(__file__).parent / "node" / "client.mjs"


class Foreign:
    """What the tests want of a client library."""

    fragments: ClassVar[bool] = True
    """The library can send a message in fragments."""

    async def open(
        self,
        server: Server,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        compress: bool = False,
    ) -> None:
        """Open the connection."""
        raise NotImplementedError

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on."""
        raise NotImplementedError

    @property
    def extensions(self) -> str | None:
        """What the server answered in ``Sec-WebSocket-Extensions``."""
        raise NotImplementedError

    async def send(self, message: str | bytes) -> None:
        """Send a message."""
        raise NotImplementedError

    async def send_fragments(self, parts: Sequence[str]) -> None:
        """Send a text message in parts."""
        raise NotImplementedError

    async def receive(self) -> str | bytes:
        """Return the next message."""
        raise NotImplementedError

    async def ping(self, payload: bytes) -> bytes:
        """Send a ping and return what the pong brings."""
        raise NotImplementedError

    async def close(self, code: int, reason: str) -> Closed:
        """Close and return how the server answered."""
        raise NotImplementedError

    async def closed(self) -> Closed:
        """Wait for the server to close."""
        raise NotImplementedError

    async def release(self) -> None:
        """Give back what is still held."""
        raise NotImplementedError


class Websockets(Foreign):
    """The ``websockets`` package."""

    _client: Client

    async def open(
        self,
        server: Server,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        compress: bool = False,
    ) -> None:
        compression = "deflate" if compress else None
        self._client = await connect_websockets(
            server, path, headers, subprotocols=subprotocols or None, compression=compression
        )

    @property
    def subprotocol(self) -> str | None:
        return self._client.websocket.subprotocol

    @property
    def extensions(self) -> str | None:
        assert self._client.websocket.response is not None
        return self._client.websocket.response.headers.get("Sec-WebSocket-Extensions")

    async def send(self, message: str | bytes) -> None:
        await self._client.send(message)

    async def send_fragments(self, parts: Sequence[str]) -> None:
        await self._client.send(parts)

    async def receive(self) -> str | bytes:
        return await self._client.receive()

    async def ping(self, payload: bytes) -> bytes:
        await asyncio.wait_for(await self._client.websocket.ping(payload), PATIENCE)
        return payload  # the future is done only when the same payload came back

    async def close(self, code: int, reason: str) -> Closed:
        await self._client.close(code, reason)
        return await self._client.closed()

    async def closed(self) -> Closed:
        return await self._client.closed()

    async def release(self) -> None:
        await self._client.close()


class Aiohttp(Foreign):
    """The ``aiohttp`` package."""

    fragments = False
    _session: aiohttp.ClientSession
    _websocket: aiohttp.ClientWebSocketResponse

    async def open(
        self,
        server: Server,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        compress: bool = False,
    ) -> None:
        self._session = aiohttp.ClientSession()
        self._websocket = await asyncio.wait_for(
            self._session.ws_connect(
                server.url(path),
                headers=headers,
                protocols=subprotocols,
                compress=15 if compress else 0,
                autoping=False,
            ),
            PATIENCE,
        )

    @property
    def subprotocol(self) -> str | None:
        return self._websocket.protocol

    @property
    def extensions(self) -> str | None:
        return self._websocket._response.headers.get("Sec-WebSocket-Extensions")

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self._websocket.send_str(message)
        else:
            await self._websocket.send_bytes(message)

    async def receive(self) -> str | bytes:
        message = await self._websocket.receive(PATIENCE)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        data: str | bytes = message.data
        return data

    async def ping(self, payload: bytes) -> bytes:
        await self._websocket.ping(payload)
        message = await self._websocket.receive(PATIENCE)
        assert message.type is aiohttp.WSMsgType.PONG, message
        return bytes(message.data)

    async def close(self, code: int, reason: str) -> Closed:
        await asyncio.wait_for(self._websocket.close(code=code, message=reason.encode()), PATIENCE)
        return Closed(self._websocket.close_code or 1006, reason)

    async def closed(self) -> Closed:
        message = await self._websocket.receive(PATIENCE)
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return Closed(message.data, message.extra or "")

    async def release(self) -> None:
        await asyncio.wait_for(self._session.close(), PATIENCE)


class Node(Foreign):
    """The ``ws`` package of Node, in a process that is told what to do."""

    _process: asyncio.subprocess.Process
    _subprotocol: str
    _headers: dict[str, str]

    async def open(
        self,
        server: Server,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        compress: bool = False,
    ) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            "node", str(SCRIPT), stdin=pipe, stdout=pipe, limit=4 * 1024 * 1024
        )
        self._tell(
            "open", url=server.url(path), protocols=list(subprotocols), headers=dict(headers or {}), compress=compress
        )
        self._headers = (await self._event("upgrade"))["headers"]
        self._subprotocol = (await self._event("open"))["protocol"]

    @property
    def subprotocol(self) -> str | None:
        return self._subprotocol or None

    @property
    def extensions(self) -> str | None:
        return self._headers.get("sec-websocket-extensions")

    async def send(self, message: str | bytes) -> None:
        self._send(message, final=True)

    async def send_fragments(self, parts: Sequence[str]) -> None:
        for part in parts[:-1]:
            self._send(part, final=False)
        self._send(parts[-1], final=True)

    async def receive(self) -> str | bytes:
        event = await self._event("message")
        data = base64.b64decode(event["data"])
        return data if event["binary"] else data.decode()

    async def ping(self, payload: bytes) -> bytes:
        self._tell("ping", data=base64.b64encode(payload).decode())
        return base64.b64decode((await self._event("pong"))["data"])

    async def close(self, code: int, reason: str) -> Closed:
        self._tell("close", code=code, reason=reason)
        return await self.closed()

    async def closed(self) -> Closed:
        event = await self._event("close")
        return Closed(event["code"], event["reason"])

    async def release(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), PATIENCE)

    def _send(self, message: str | bytes, *, final: bool) -> None:
        data = message.encode() if isinstance(message, str) else message
        self._tell("send", data=base64.b64encode(data).decode(), binary=isinstance(message, bytes), final=final)

    def _tell(self, what: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")

    async def _event(self, kind: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        assert line, "the Node client has ended"
        event: dict[str, Any] = json.loads(line)
        assert event["event"] == kind, event
        return event


FOREIGN: list[type[Foreign]] = [Websockets, Aiohttp, Node]
