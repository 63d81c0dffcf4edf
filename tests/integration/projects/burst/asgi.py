"""Members of one group whose handlers sleep for as long as their path says, and a sender."""

# mypy: ignore-errors
import asyncio
import json

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import JsonResponse
from django.urls import path

import antiphon

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    CHANNEL_LAYERS={"default": {"BACKEND": "antiphon.channels.ChannelLayer"}},
)
django.setup()


class Member(AsyncWebsocketConsumer):
    """Passes on what comes to the group, after a pause of so many milliseconds."""

    groups = ["burst"]

    async def number(self, event):
        pause = self.scope["url_route"]["kwargs"]["pause"]
        if pause:
            await asyncio.sleep(pause / 1000)
        await self.send(text_data=json.dumps([event["number"], event["filling"]]))


class Sender(AsyncJsonWebsocketConsumer):
    """Sends a burst to the group."""

    async def receive_json(self, content):
        for number in range(content["from"], content["from"] + content["count"]):
            event = {"type": "number", "number": number, "filling": "x" * content["size"]}
            await self.channel_layer.group_send("burst", event)
        await self.send_json({"sent": content["count"]})


async def members(request):
    """Tell how many are in the group."""
    return JsonResponse({"members": len(get_channel_layer().groups.get("burst", []))})


async def stats(request):
    """Show the counters of this process."""
    return JsonResponse(antiphon.stats())


urlpatterns = [path("members", members), path("stats", stats)]
application = ProtocolTypeRouter(
    {
        "http": ASGIHandler(),
        "websocket": URLRouter([path("member/<int:pause>/", Member.as_asgi()), path("sender/", Sender.as_asgi())]),
    }
)
