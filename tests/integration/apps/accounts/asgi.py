"""A consumer for those who have logged in, on both wires."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.integration.apps.accounts.settings")

site = get_asgi_application()

from antiphon import AsyncJsonWebsocketConsumer  # noqa: E402
from antiphon.django.auth import AuthMiddlewareStack  # noqa: E402


class Desk(AsyncJsonWebsocketConsumer):
    """Echoes."""

    async def connect(self) -> None:
        """Let in who has logged in."""
        if self.scope["user"].is_authenticated:
            await self.accept()
        else:
            await self.close(4500)

    async def receive_json(self, content: object, **kwargs: object) -> None:
        """Send it back."""
        await self.send_json(content)


websockets = URLRouter([path("plain", Desk.as_asgi()), path("centrifuge", Desk.as_asgi(wire="centrifuge"))])
application = ProtocolTypeRouter({"http": site, "websocket": AuthMiddlewareStack(websockets)})
