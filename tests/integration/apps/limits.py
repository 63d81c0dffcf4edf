"""A bare ASGI application whose clients run into limits: ``/<kind>/<name>/?client=<name>``."""

from __future__ import annotations

import asyncio
from typing import Any

from antiphon import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from antiphon.exceptions import ClientError

from .record import http, lifespan, record

__all__ = ["app"]


class Echo(AsyncWebsocketConsumer):
    """Echoes, and remembers what it got."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Echo."""
        record(self.scope, "received", size=len(text_data if text_data is not None else bytes_data or b""))
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code: int) -> None:
        """Leave a trace."""
        record(self.scope, "disconnect", code=code)


class Hanging(AsyncWebsocketConsumer):
    """Waits in ``connect`` for what never comes."""

    async def connect(self) -> None:
        """Wait."""
        await self.channel_layer.group_add("hanging", self.channel_name)
        record(self.scope, "waiting")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            record(self.scope, "cancelled")
            raise


class Lingering(AsyncWebsocketConsumer):
    """Accepts, and goes on in ``connect`` until somebody opens the gate."""

    async def connect(self) -> None:
        """Accept and wait."""
        await self.accept()
        record(self.scope, "accepted")
        await gate.wait()
        await self.send("at last")


class Opener(AsyncWebsocketConsumer):
    """Opens the gate."""

    async def connect(self) -> None:
        """Open it."""
        gate.set()
        await self.accept()


gate = asyncio.Event()


class Particular(AsyncWebsocketConsumer):
    """Refuses with a reason for the log."""

    async def connect(self) -> None:
        """Refuse."""
        raise ClientError("no_room", f"there is no room {self.scope['path']}")


class Failing(AsyncJsonWebsocketConsumer):
    """Fails with what its client sends, or for everybody at once."""

    async def connect(self) -> None:
        """Join the group of the path."""
        self.group = self.scope["path"].split("/")[2]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Fail, or let everybody fail."""
        if content == "all":
            await self.channel_layer.group_send(self.group, {"type": "fail"})
        else:
            raise RuntimeError(f"nobody knows {content}")

    async def fail(self, event: dict[str, Any]) -> None:
        """Fail."""
        raise RuntimeError("every member fails")


CONSUMERS = {
    "echo": Echo,
    "hanging": Hanging,
    "lingering": Lingering,
    "opener": Opener,
    "particular": Particular,
    "failing": Failing,
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Route by the first part of the path."""
    if scope["type"] == "websocket":
        await CONSUMERS[scope["path"].split("/")[1]].as_asgi()(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)
    else:
        await lifespan(scope, receive, send)
