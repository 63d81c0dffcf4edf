"""Applications that the tests of ``antiphon.testing`` speak to."""

from __future__ import annotations

import asyncio
from typing import Any

from antiphon import AsyncJsonWebsocketConsumer
from antiphon.exceptions import UsageError
from antiphon.types import Receive, Scope, Send

__all__ = ["Scripted", "echo", "scripted", "silent"]


class Scripted(AsyncJsonWebsocketConsumer):
    """Does what the query of its address and its client say. Remembers the codes that it was left with."""

    groups = ["everybody"]
    left: list[int] = []

    async def connect(self) -> None:
        """Accept, unless the query says otherwise."""
        match self.scope["query_string"].decode():
            case "fail":
                raise LookupError("in connect")
            case "refuse":
                await self.close()
            case "hang":
                await asyncio.Event().wait()
            case subprotocol:
                await self.accept(subprotocol or None, [(b"x-room", b"kitchen")])

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Obey, or echo."""
        match content:
            case {"fail": words}:
                raise LookupError(words)
            case {"close": code}:
                await self.close(code, "as you wish")
            case "hang":
                await asyncio.Event().wait()
            case "be cancelled":
                raise asyncio.CancelledError
            case _:
                await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        """Remember the code."""
        self.left.append(code)
        if self.scope["query_string"] == b"fail-late":
            raise LookupError("in disconnect")


scripted = Scripted.as_asgi()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve WebSockets and HTTP requests in plain ASGI."""
    if scope["type"] == "http":
        event = await receive()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-method", scope["method"].encode())]})
        await send({"type": "http.response.body", "body": event["body"], "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})
        assert (await receive())["type"] == "http.disconnect"
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
    else:
        raise UsageError("no lifespan")


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Receive for ever."""
    while True:
        await receive()
