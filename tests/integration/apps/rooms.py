"""A bare ASGI application: a consumer that does what its client asks for, in the group that the path names.

``/<kind>/<group>/?client=<name>``: ``kind`` is a key of ``CONSUMERS``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from antiphon import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from antiphon.exceptions import AntiphonError

from .record import http, lifespan, record

__all__ = ["app"]


class Room(AsyncJsonWebsocketConsumer):
    """Everybody hears what one member says."""

    async def connect(self) -> None:
        """Join the group of the path."""
        self.group = self.scope["path"].split("/")[2]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept(self.scope["subprotocols"][0] if self.scope["subprotocols"] else None)
        record(self.scope, "connect", channel=self.channel_name)

    async def disconnect(self, code: int) -> None:
        """Leave a trace."""
        record(self.scope, "disconnect", code=code)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Do what is asked."""
        await getattr(self, f"do_{content['do']}")(content)

    async def do_echo(self, content: Any) -> None:
        """Send it back."""
        await self.send_json({"echo": content["value"]})

    async def do_say(self, content: Any) -> None:
        """Tell everybody, through a handler."""
        await self.channel_layer.group_send(self.group, {"type": "said", "value": content["value"]})

    async def do_publish(self, content: Any) -> None:
        """Tell everybody, by ``publish``."""
        await self.channel_layer.publish(self.group, {"published": content["value"]})

    async def do_flood(self, content: Any) -> None:
        """Publish ``count`` messages of ``size`` bytes to ``group``, ``burst`` per pause, with one of ``keys`` keys."""
        for number in range(content["from"], content["from"] + content["count"]):
            key = f"key {number % content['keys']}" if "keys" in content else None
            message = {"number": number, "filling": "x" * content["size"]}
            await self.channel_layer.publish(content["group"], message, key=key)
            if number % content["burst"] == 0:
                await asyncio.sleep(0)
        await self.send_json({"flooded": content["count"]})

    async def do_event(self, content: Any) -> None:
        """Send an event of any kind to the group, and say whether that was allowed."""
        try:
            await self.channel_layer.group_send(self.group, content["event"])
        except AntiphonError as error:
            await self.send_json({"refused": type(error).__name__, "reason": str(error)})
        else:
            await self.send_json({"refused": None})

    async def do_fail(self, content: Any) -> None:
        """Raise."""
        raise RuntimeError("the application's own fault")

    async def do_sleep(self, content: Any) -> None:
        """Sleep very long, and say if that was cut short."""
        record(self.scope, "asleep")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            record(self.scope, "cancelled")
            raise

    async def do_wait(self, content: Any) -> None:
        """Wait until another connection sends ``go`` to the group ``content["for"]``."""
        record(self.scope, "waiting")
        gates.setdefault(content["for"], asyncio.Event())
        await gates[content["for"]].wait()
        await self.send_json({"waited": content["for"]})

    async def do_open(self, content: Any) -> None:
        """Let those go on that wait for ``content["gate"]``."""
        gates.setdefault(content["gate"], asyncio.Event()).set()
        await self.send_json({"opened": content["gate"]})

    async def do_close(self, content: Any) -> None:
        """Close with what is given."""
        await self.close(content.get("code"), content.get("reason"))

    async def do_cookie(self, content: Any) -> None:
        """Tell which cookies the client sent."""
        headers = dict(self.scope["headers"])
        await self.send_json({"cookie": headers.get(b"cookie", b"").decode()})

    async def said(self, event: dict[str, Any]) -> None:
        """Pass on what was said."""
        await self.send_json({"said": event["value"]})


gates: dict[str, asyncio.Event] = {}


class LateFailure(Room):
    """Raises behind ``accept()``."""

    async def connect(self) -> None:
        """Accept and raise."""
        await super().connect()
        raise RuntimeError("connect() fails behind accept()")


class EarlyFailure(Room):
    """Raises before ``accept()``."""

    async def connect(self) -> None:
        """Join and raise."""
        await self.channel_layer.group_add(self.scope["path"].split("/")[2], self.channel_name)
        raise RuntimeError("connect() fails before accept()")


class Refusing(Room):
    """Closes before ``accept()``."""

    async def connect(self) -> None:
        """Refuse."""
        await self.close()


class Forgetful(Room):
    """Closes before ``accept()`` and goes on."""

    async def connect(self) -> None:
        """Refuse, join and accept."""
        await self.close()
        await super().connect()


class Undecided(Room):
    """Neither accepts nor closes."""

    async def connect(self) -> None:
        """Say nothing."""


class Raw(AsyncWebsocketConsumer):
    """Echoes text and bytes as they are."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Echo."""
        await self.send(text_data=text_data, bytes_data=bytes_data)


class FailingFarewell(Room):
    """Raises in ``disconnect``."""

    async def disconnect(self, code: int) -> None:
        """Leave a trace and raise."""
        await super().disconnect(code)
        raise RuntimeError("disconnect() fails")


class Parting(Room):
    """Tells the others that it left."""

    async def disconnect(self, code: int) -> None:
        """Tell them."""
        await self.channel_layer.group_send(self.group, {"type": "said", "value": "somebody left"})
        await super().disconnect(code)


CONSUMERS = {
    "room": Room,
    "late": LateFailure,
    "early": EarlyFailure,
    "refusing": Refusing,
    "forgetful": Forgetful,
    "undecided": Undecided,
    "raw": Raw,
    "farewell": FailingFarewell,
    "parting": Parting,
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Route by the first part of the path."""
    if scope["type"] == "websocket":
        await CONSUMERS[scope["path"].split("/")[1]].as_asgi()(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)
    else:
        await lifespan(scope, receive, send)
