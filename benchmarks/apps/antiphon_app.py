"""antiphon without a framework: the three ways to speak to a group, one of them also with handlers that are not async,
one also with history, on both wires, and an echo, each on a path of its own.

`/stats` answers with antiphon's counters, and with how often connections of `/publish` were closed with which code.
"""

from __future__ import annotations

import json
from collections import Counter

from asgiref.sync import async_to_sync

from antiphon import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer, configure, publish, shared, stats

GROUP, KEPT_GROUP = "bench", "bench-kept"
close_codes = Counter()

configure(rules={KEPT_GROUP: {"history_size": 1000}})


class Member(AsyncJsonWebsocketConsumer):
    """A connection that joins the group."""

    group = GROUP

    async def connect(self):
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()


class Handler(Member):
    """Channels' code: the handler runs for each member."""

    async def receive_json(self, content):
        event = {"type": "send_response", "content": "Message received: " + content["content"]}
        await self.channel_layer.group_send(GROUP, event)

    async def send_response(self, event):
        await self.send_json({"type": "response", "content": event["content"]})


class Sync(JsonWebsocketConsumer):
    """Channels' code with handlers that are not async."""

    def connect(self):
        async_to_sync(self.channel_layer.group_add)(GROUP, self.channel_name)
        self.accept()

    def receive_json(self, content):
        event = {"type": "send_response", "content": "Message received: " + content["content"]}
        async_to_sync(self.channel_layer.group_send)(GROUP, event)

    def send_response(self, event):
        self.send_json({"type": "response", "content": event["content"]})


class Shared(Member):
    """The same, but the handler is a function of the event alone and runs once."""

    async def receive_json(self, content):
        event = {"type": "send_response", "content": "Message received: " + content["content"]}
        await self.channel_layer.group_send(GROUP, event)

    @shared
    def send_response(event):
        return {"type": "response", "content": event["content"]}


class Publish(Member):
    """A publication of the content as it came."""

    async def receive_json(self, content):
        await publish(self.group, content)

    async def disconnect(self, code):
        close_codes[code] += 1


class Kept(Publish):
    """The same in a group that keeps its history."""

    group = KEPT_GROUP


class Echo(AsyncJsonWebsocketConsumer):
    """Every message goes back."""

    async def receive_json(self, content):
        await self.send_json(content)


routes = {
    "/handler": Handler.as_asgi(),
    "/sync": Sync.as_asgi(),
    "/shared": Shared.as_asgi(),
    "/publish": Publish.as_asgi(),
    "/kept": Kept.as_asgi(),
    "/centrifuge": Kept.as_asgi(wire="centrifuge"),
    "/echo": Echo.as_asgi(),
}


async def app(scope, receive, send):
    """Routes by path."""
    if scope["type"] == "websocket":
        await routes[scope["path"]](scope, receive, send)
    elif scope["type"] == "http":
        body = json.dumps({**stats(), "close_codes": close_codes}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})
