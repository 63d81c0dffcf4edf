"""The chat's consumers: the synchronous first version, the asynchronous one, and what came after the tutorial."""

# mypy: ignore-errors
import json
import os

from asgiref.sync import async_to_sync

if os.environ.get("CHAT_CONSUMERS") == "antiphon":
    from antiphon import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer
else:
    from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer


class FirstChatConsumer(WebsocketConsumer):
    def connect(self):
        self.group = "chat_" + self.scope["url_route"]["kwargs"]["room"]
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)

    def receive(self, text_data):
        said = json.loads(text_data)
        event = {"type": "chat.message", "message": said["message"]}
        async_to_sync(self.channel_layer.group_send)(self.group, event)

    def chat_message(self, event):
        self.send(text_data=json.dumps({"message": event["message"]}))


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.group = "chat_" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data):
        said = json.loads(text_data)
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "message": said["message"]})

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


class JsonChatConsumer(AsyncJsonWebsocketConsumer):
    """The same, where the JSON is left to the consumer."""

    async def connect(self):
        self.group = "chat_" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content):
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "message": content["message"]})

    async def chat_message(self, event):
        await self.send_json({"message": event["message"]})


class FirstStaffConsumer(FirstChatConsumer):
    """Only for the staff."""

    def connect(self):
        if not self.scope["user"].is_staff:
            self.close()
            return
        super().connect()


class StaffConsumer(ChatConsumer):
    """Only for the staff."""

    async def connect(self):
        if not self.scope["user"].is_staff:
            await self.close()
            return
        await super().connect()
