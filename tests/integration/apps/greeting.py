"""What the first lines of a new user look like."""

from __future__ import annotations

from typing import Any

from antiphon import AsyncJsonWebsocketConsumer

from .record import http, lifespan


class Greeter(AsyncJsonWebsocketConsumer):
    """Echoes."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echo."""
        await self.send_json(content)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve WebSockets, and a little HTTP."""
    if scope["type"] == "websocket":
        await Greeter.as_asgi()(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)
    else:
        await lifespan(scope, receive, send)
