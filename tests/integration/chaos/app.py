"""The application: members of the groups that they name, and a publisher that does what it is told.

``/member`` speaks the plain wire and ``/connection`` Centrifuge's; ``?groups=a,b`` are joined by ``connect()``.
``/publisher`` takes the commands of ``publisher``. Over HTTP ``/stats`` tells antiphon's counters, and ``/buffers``
makes the kernel's buffers of new connections small, so that a client that does not read is noticed soon.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

import antiphon
from antiphon import AsyncJsonWebsocketConsumer, rpc, shared
from tests.integration.apps.record import http, lifespan

from . import faults
from .plan import RULES, content

__all__ = ["app"]

antiphon.configure(rules=RULES)
faults.install()

#: How much has been published in each group.
numbers: Counter[str] = Counter()


class Member(AsyncJsonWebsocketConsumer):
    """Joins, and passes on what its handlers hear."""

    async def connect(self) -> None:
        """Join the groups of the query; say from which number on everything will come."""
        query = parse_qs(self.scope["query_string"].decode())
        floors = {}
        for group in filter(None, query.get("groups", [""])[0].split(",")):
            await self.channel_layer.group_add(group, self.channel_name)
            floors[group] = numbers[group]
        await self.accept()
        for group, number in floors.items():
            await self.send_json({"joined": group, "n": number})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Leave a group and join it again."""
        if "leave" in content:
            await self.channel_layer.group_discard(content["leave"], self.channel_name)
            await self.send_json({"left": content["leave"]})
        if "join" in content:
            await self.channel_layer.group_add(content["join"], self.channel_name)
            await self.send_json({"joined": content["join"], "n": numbers[content["join"]]})

    @rpc
    async def floor(self, content: Any) -> int:
        """Say from which number on everything will come to who has just subscribed."""
        return numbers[content]

    async def chaos_event(self, event: dict[str, Any]) -> None:
        """Pass it on."""
        await self.send_json({"event": event["group"], "after": event["after"]})

    @shared
    def chaos_shared(event: dict[str, Any]) -> Any:
        """Pass it on, to all at once."""
        return {"event": event["group"], "after": event["after"]}


class Publisher(AsyncJsonWebsocketConsumer):
    """Publishes and tells the positions."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Do what is asked."""
        if "remove" in content:
            await self.channel_layer.remove_history(content["remove"])
            await self.send_json({"n": numbers[content["remove"]]})
        else:
            await self._publish(content["group"], content["count"], content["turn"], content["event"])

    async def _publish(self, group: str, count: int, turn: int, event: str) -> None:
        """Publish so many, so many per turn of the loop, with an event ahead of every third."""
        first, positions = numbers[group] + 1, []
        for index in range(count):
            if event and index % 3 == 0:
                message = {"type": event, "group": group, "after": numbers[group]}
                await self.channel_layer.group_send(group, message)
            numbers[group] += 1
            positions.append(await self.channel_layer.publish(group, content(group, numbers[group])))
            if index % turn == turn - 1:
                await asyncio.sleep(0)
        await self.send_json({"first": first, "positions": positions})


def shrink_buffers(size: int) -> None:
    """Let the kernel keep little of what new connections are sent: they inherit it from the socket that listens."""
    for name in os.listdir("/proc/self/fd"):
        try:
            listening = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue  # no socket, or closed by now
        with listening:
            if listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


plain = Member.as_asgi()
centrifuge = Member.as_asgi(wire="centrifuge")
publisher = Publisher.as_asgi()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Route by the path."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "http":
        if scope["path"] == "/buffers":
            shrink_buffers(16 * 1024)
        await http(scope, receive, send)
    else:
        consumers = {"/member": plain, "/connection": centrifuge, "/publisher": publisher}
        await consumers[scope["path"]](scope, receive, send)
