"""The seed application: code as it is written for Channels, with nothing but the import changed."""

# mypy: ignore-errors
from django.urls import path

from antiphon import AsyncJsonWebsocketConsumer


class MyConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        if not self.scope["user"].is_authenticated:
            await self.close()
        await self.channel_layer.group_add("my_group", self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard("my_group", self.channel_name)

    async def receive_json(self, content):
        if content["type"] == "message":
            await self.channel_layer.group_send(
                "my_group", {"type": "send_response", "content": "Message received: " + content["content"]}
            )

    async def send_response(self, event):
        await self.send_json({"type": "response", "content": event["content"]})


websocket_urlpatterns = [path("ws/<str:group_name>/", MyConsumer.as_asgi())]
