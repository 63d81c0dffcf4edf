"""The seed's consumer where there is no Django: Starlette (route and mount), FastAPI (mounted), bare ASGI.

The user is whom the ``Authorization`` header names.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute

import antiphon
from antiphon import AsyncJsonWebsocketConsumer

from .record import http, lifespan

__all__ = ["bare", "fastapi_app", "starlette_app"]


class User:
    """Whoever asks."""

    def __init__(self, name: str) -> None:
        self.pk = name
        self.is_authenticated = bool(name)


class MyConsumer(AsyncJsonWebsocketConsumer):
    """The seed's consumer."""

    async def connect(self) -> None:
        """Let in who is known."""
        headers = dict(self.scope["headers"])
        self.scope["user"] = User(headers.get(b"authorization", b"").decode())
        if not self.scope["user"].is_authenticated:
            await self.close()
        await self.channel_layer.group_add("my_group", self.channel_name)
        await self.accept()

    async def disconnect(self, close_code: int) -> None:
        """Leave."""
        await self.channel_layer.group_discard("my_group", self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Tell everybody."""
        if content["type"] == "message":
            await self.channel_layer.group_send(
                "my_group", {"type": "send_response", "content": "Message received: " + content["content"]}
            )

    async def send_response(self, event: dict[str, Any]) -> None:
        """Pass it on."""
        await self.send_json({"type": "response", "content": event["content"]})


async def stats(request: Any) -> JSONResponse:
    """Return the counters of this process."""
    return JSONResponse(antiphon.stats())


starlette_app = Starlette(
    routes=[
        Route("/stats", stats),
        WebSocketRoute("/ws/{group_name}/", MyConsumer.as_asgi()),
        Mount("/mounted", MyConsumer.as_asgi()),
    ]
)

fastapi_app = FastAPI()
fastapi_app.add_route("/stats", stats)
fastapi_app.mount("/ws", MyConsumer.as_asgi())


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Choose by the type of the scope."""
    if scope["type"] == "websocket":
        await MyConsumer.as_asgi()(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)
    else:
        await lifespan(scope, receive, send)
