"""The echo as a consumer of antiphon."""

from __future__ import annotations

from antiphon import AsyncWebsocketConsumer

__all__ = ["app"]


class Echo(AsyncWebsocketConsumer):
    """Says everything again."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send back what came, as what it came."""
        await self.send(text_data=text_data, bytes_data=bytes_data)


app = Echo.as_asgi()
