"""Django Channels without a project: its consumers and groups as in its guide, async and not.

The layer is its in-memory one, or what `BENCH_LAYER` names, with `BENCH_LAYER_HOST` as its Redis. Its capacity is
raised from 100 to 100,000 messages per channel, so that it drops nothing in the measured windows.
"""

from __future__ import annotations

import os

from django.conf import settings

LAYER = os.environ.get("BENCH_LAYER", "channels.layers.InMemoryChannelLayer")
HOST = os.environ.get("BENCH_LAYER_HOST")

settings.configure(
    SECRET_KEY="benchmark",
    CHANNEL_LAYERS={
        "default": {"BACKEND": LAYER, "CONFIG": {"capacity": 100_000, **({"hosts": [HOST]} if HOST else {})}}
    },
)

import django  # noqa: E402

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer  # noqa: E402

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


class SyncFanout(JsonWebsocketConsumer):
    """The same with handlers that are not async."""

    def connect(self):
        async_to_sync(self.channel_layer.group_add)(GROUP, self.channel_name)
        self.accept()

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)(GROUP, self.channel_name)

    def receive_json(self, content):
        event = {"type": "send_response", "content": "Message received: " + content["content"]}
        async_to_sync(self.channel_layer.group_send)(GROUP, event)

    def send_response(self, event):
        self.send_json({"type": "response", "content": event["content"]})


class Echo(AsyncJsonWebsocketConsumer):
    """Every message goes back."""

    async def receive_json(self, content):
        await self.send_json(content)


routes = {"/ws": Fanout.as_asgi(), "/sync": SyncFanout.as_asgi(), "/echo": Echo.as_asgi()}


async def app(scope, receive, send):
    """Routes by path."""
    if scope["type"] == "websocket":
        await routes[scope["path"]](scope, receive, send)
