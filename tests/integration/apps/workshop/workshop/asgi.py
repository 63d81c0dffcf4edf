"""HTTP and WebSockets."""

from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

from antiphon import AsyncJsonWebsocketConsumer

django_asgi_app = get_asgi_application()


class Echo(AsyncJsonWebsocketConsumer):
    """Echoes."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echo."""
        await self.send_json({"echo": content})


application = ProtocolTypeRouter(
    {"http": django_asgi_app, "websocket": URLRouter([path("ws/echo/", Echo.as_asgi())])},
)
