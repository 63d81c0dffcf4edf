"""A bare ASGI application for SDKs of the Centrifuge wire, and for plain clients in the same groups.

``/connection/<kind>?client=<name>``: ``kind`` is a key of ``CONSUMERS``. ``/plain/<group>`` is the plain wire. With
``user=<id>`` the client is that user's, and ``says=<text>`` is what others see of it.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs

from antiphon import (
    AsyncJsonWebsocketConsumer,
    JsonWebsocketConsumer,
    configure,
    kick,
    publish,
    refresh,
    rpc,
    subscribe,
    unsubscribe,
)
from antiphon.exceptions import ClientError
from antiphon.types import PublishRequest, SubscribeRequest

from .record import http, lifespan, record

__all__ = ["app"]

configure(
    groups_per_connection=2000,
    rules={
        "room:*": {"subscribe": "allow", "publish": "members", "history": "members", "history_size": 5000},
        "short:*": {"subscribe": "allow", "publish": "members", "history": "members", "history_size": 10},
        "live:*": {"subscribe": "allow", "publish": "allow"},
        "people:*": {"subscribe": "allow", "publish": "allow", "presence": "members", "join_leave": True},
        "newest:*": {"subscribe": "allow", "history_size": 1, "recovery": "cache"},
    },
)

ORDERS: dict[str, Any] = {"kick": kick, "subscribe": subscribe, "unsubscribe": unsubscribe, "refresh": refresh}


class Room(AsyncJsonWebsocketConsumer):
    """Does what its client asks for."""

    async def connect(self) -> None:
        """Join the groups that the URL names, and accept."""
        query = parse_qs(self.scope["query_string"].decode())
        self.client_info = query.get("says", [None])[0]
        for group in query.get("group", []):
            await self.channel_layer.group_add(group, self.channel_name)
        await self.accept()
        record(self.scope, "connect", channel=self.channel_name)

    async def disconnect(self, code: int) -> None:
        """Leave a trace."""
        record(self.scope, "disconnect", code=code)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Send it back, but for what is odd."""
        if content == "odd":
            raise ClientError("odd", "that is odd")
        await self.send_json({"echo": content})

    @rpc
    async def add(self, content: Any) -> Any:
        """Return the sum of two numbers."""
        return content["a"] + content["b"]

    @rpc
    async def echo(self, content: Any) -> Any:
        """Return what came."""
        return content

    @rpc
    async def hello(self, content: Any) -> Any:
        """Return what the client connected with."""
        asked = self.scope["centrifuge"]
        return {"data": asked.data.decode(), "name": asked.name}

    @rpc
    async def fail(self, content: Any) -> Any:
        """Refuse, or raise."""
        if content == "client":
            raise ClientError("full", "no room")
        raise RuntimeError("the application's own fault")

    @rpc
    async def join(self, content: Any) -> None:
        """Join a group."""
        await self.channel_layer.group_add(content, self.channel_name)

    @rpc
    async def leave(self, content: Any) -> None:
        """Leave a group."""
        await self.channel_layer.group_discard(content, self.channel_name)

    @rpc
    async def order(self, content: Any) -> None:
        """Give an order to connections: one of antiphon's verbs, with what it takes."""
        await ORDERS[content.pop("verb")](**content)

    @rpc
    async def say(self, content: Any) -> None:
        """Send a message of no channel."""
        await self.send_json(content)

    @rpc
    async def end(self, content: Any) -> None:
        """Close with what is given."""
        await self.close(content.get("code"), content.get("reason"))

    @rpc
    async def sleep(self, content: Any) -> Any:
        """Take a while."""
        await asyncio.sleep(content)
        return "slept"

    @rpc
    async def flood(self, content: Any) -> Any:
        """Publish ``count`` numbers from ``first`` on to ``group``, with ``size`` bytes each."""
        filling = "x" * content.get("size", 0)
        for number in range(content["first"], content["first"] + content["count"]):
            await publish(content["group"], {"n": number, "filling": filling} if filling else {"n": number})
            if number % 50 == 0:
                await asyncio.sleep(0)
        return content["count"]

    @rpc
    async def burst(self, content: Any) -> Any:
        """Publish one message to each of many groups."""
        for number in range(content["count"]):
            await publish(f"{content['prefix']}{number}", {"n": content["n"]})
        return content["count"]


class Door(Room):
    """Lets in whom it likes, and edits what is published."""

    async def on_subscribe(self, request: SubscribeRequest) -> bool:
        """Ask for a word."""
        if request.content == "rude":
            raise ClientError("rude", "say please")
        return bool(request.content == "please")

    async def on_publish(self, request: PublishRequest) -> Any:
        """Write in capitals."""
        return {"n": request.content["n"], "by": "the server"}


class Slow(Room):
    """Takes its time to decide."""

    async def connect(self) -> None:
        """Wait, then accept."""
        await asyncio.sleep(0.3)
        await super().connect()


class Refusing(Room):
    """Refuses."""

    async def connect(self) -> None:
        """Close with the code of the URL, or none."""
        query = parse_qs(self.scope["query_string"].decode())
        record(self.scope, "refused")
        await self.close(int(query["code"][0]) if "code" in query else None, query.get("reason", [None])[0])


class Failing(Room):
    """Raises before ``accept()``, until it has done so ``times``."""

    failures = 0

    async def connect(self) -> None:
        """Fail twice, then accept."""
        record(self.scope, "tried")
        Failing.failures += 1
        if Failing.failures <= 2:
            raise RuntimeError("connect() fails before accept()")
        await super().connect()


class Sync(JsonWebsocketConsumer):
    """A synchronous consumer."""

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Send it back."""
        self.send_json({"echo": content})

    @rpc
    def add(self, content: Any) -> Any:
        """Return the sum of two numbers."""
        return content["a"] + content["b"]


class Plain(AsyncJsonWebsocketConsumer):
    """A client of the plain wire."""

    async def connect(self) -> None:
        """Join the group of the path."""
        await self.channel_layer.group_add(self.scope["path"].split("/")[2], self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Publish it."""
        await publish(self.scope["path"].split("/")[2], content)


CONSUMERS = {
    "room": Room.as_asgi(wire="centrifuge"),
    "door": Door.as_asgi(wire="centrifuge"),
    "slow": Slow.as_asgi(wire="centrifuge"),
    "refusing": Refusing.as_asgi(wire="centrifuge"),
    "failing": Failing.as_asgi(wire="centrifuge"),
    "sync": Sync.as_asgi(wire="centrifuge"),
}
PLAIN = Plain.as_asgi()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Route by the first parts of the path."""
    if scope["type"] == "websocket":
        wire, name = scope["path"].split("/")[1:3]
        scope["user"] = parse_qs(scope["query_string"].decode()).get("user", [""])[0]
        await (PLAIN if wire == "plain" else CONSUMERS[name])(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)
    else:
        await lifespan(scope, receive, send)
