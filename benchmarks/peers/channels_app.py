"""Django Channels without a project: its consumer, its groups and its in-memory layer, as in its guide.

The layer's capacity is raised from 100 to 100,000 messages per channel, so that it drops nothing in the
measured windows.
"""

from __future__ import annotations

from django.conf import settings

settings.configure(
    SECRET_KEY="benchmark",
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 100_000}}},
)

import django  # noqa: E402

django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402

GROUP = "bench"


class Fanout(AsyncJsonWebsocketConsumer):
    """Every message goes to the whole group through a handler."""

    async def connect(self):
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def receive_json(self, content):
        event = {"type": "send_response", "content": "Message received: " + content["content"]}
        await self.channel_layer.group_send(GROUP, event)

    async def send_response(self, event):
        await self.send_json({"type": "response", "content": event["content"]})


class Echo(AsyncJsonWebsocketConsumer):
    """Every message goes back."""

    async def receive_json(self, content):
        await self.send_json(content)


fanout = Fanout.as_asgi()
echo = Echo.as_asgi()


async def app(scope, receive, send):
    """Routes by path."""
    if scope["type"] == "websocket":
        await (echo if scope["path"] == "/echo" else fanout)(scope, receive, send)
