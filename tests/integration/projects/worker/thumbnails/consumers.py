"""Who sends jobs, and who does them."""

# mypy: ignore-errors
import asyncio

from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer as ChannelsConsumer

from antiphon import AsyncJsonWebsocketConsumer

#: Which worker did which job, in the order in which they were done.
done = []


class Uploads:
    """What a page may ask for, whichever kind of consumer serves it."""

    async def receive_json(self, content):
        if content["do"] == "watch":
            await self.channel_layer.group_add("gallery", self.channel_name)
            await self.send_json({"watching": True})
        if content["do"] == "name":
            await self.send_json({"name": self.channel_name})
        for image in content.get("images", ()):
            job = {"type": "generate", "image": image, "reply_channel": self.channel_name}
            try:
                await self.channel_layer.send(content["do"], job)
            except ChannelFull:
                await self.send_json({"full": image})
        if "images" in content:
            await self.send_json({"sent": len(content["images"])})

    async def image_done(self, event):
        await self.send_json({"done": event["image"], "by": event["worker"]})

    async def image_added(self, event):
        await self.send_json({"added": event["image"]})


class ChannelsUploads(Uploads, ChannelsConsumer):
    """Channels' consumer."""


class MovedUploads(Uploads, AsyncJsonWebsocketConsumer):
    """antiphon's, whose ``self.channel_layer`` is antiphon's own."""


class ThumbnailWorker(SyncConsumer):
    def generate(self, message):
        done.append((self.channel_name, message["image"]))
        if "reply_channel" in message:
            event = {"type": "image.done", "image": message["image"], "worker": self.channel_name}
            async_to_sync(self.channel_layer.send)(message["reply_channel"], event)
        async_to_sync(self.channel_layer.group_send)("gallery", {"type": "image.added", "image": message["image"]})


class PreviewWorker(AsyncConsumer):
    async def generate(self, message):
        await asyncio.sleep(0)  # what takes some time
        done.append((self.channel_name, message["image"]))
        if "reply_channel" in message:
            event = {"type": "image.done", "image": message["image"], "worker": self.channel_name}
            await self.channel_layer.send(message["reply_channel"], event)
        await self.channel_layer.group_send("gallery", {"type": "image.added", "image": message["image"]})
