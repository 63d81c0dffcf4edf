"""Starlette, with the connection manager that everybody writes: encode once, then one send per member."""

from __future__ import annotations

import json

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


class ConnectionManager:
    """The members, and a broadcast over them."""

    def __init__(self) -> None:
        self.active: list[WebSocket] = []

    async def broadcast(self, text: str) -> None:
        """Send `text` to every member, one after the other."""
        for websocket in list(self.active):
            await websocket.send_text(text)


manager = ConnectionManager()


async def fanout(websocket: WebSocket) -> None:
    """Every message goes to all members."""
    await websocket.accept()
    manager.active.append(websocket)
    try:
        while True:
            content = await websocket.receive_json()
            await manager.broadcast(json.dumps({"type": "response", "content": content["content"]}))
    except WebSocketDisconnect:
        pass
    finally:
        manager.active.remove(websocket)


async def echo(websocket: WebSocket) -> None:
    """Every message goes back."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_json(await websocket.receive_json())
    except WebSocketDisconnect:
        pass


app = Starlette(routes=[WebSocketRoute("/echo", echo), WebSocketRoute("/ws", fanout)])
