"""A consumer for users who are logged in. BENCH_CONSUMERS says whose base class it takes; the rest is the same."""

from __future__ import annotations

from django.conf import settings

if settings.CONSUMERS == "antiphon":
    from antiphon import AsyncJsonWebsocketConsumer
else:
    from channels.generic.websocket import AsyncJsonWebsocketConsumer


class Chat(AsyncJsonWebsocketConsumer):
    """One room per URL; every message goes to the room through a handler."""

    async def connect(self):
        if not self.scope["user"].is_authenticated:
            await self.close(code=4401)
            return
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        if hasattr(self, "room"):
            await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive_json(self, content):
        event = {"type": "send_response", "content": "Message received: " + content["content"]}
        await self.channel_layer.group_send(self.room, event)

    async def send_response(self, event):
        await self.send_json({"type": "response", "content": event["content"]})
