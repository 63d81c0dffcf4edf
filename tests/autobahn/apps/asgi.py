"""The echo as a bare ASGI application, the same for each implementation under uvicorn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["app"]

Message = dict[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Accept, then send back each message as what it came; there is no lifespan and no HTTP."""
    assert scope["type"] == "websocket", f"this application takes WebSockets only, not {scope['type']}"
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        text = event.get("text")
        payload = {"text": text} if text is not None else {"bytes": event["bytes"]}
        await send({"type": "websocket.send", **payload})
