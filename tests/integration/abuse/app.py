"""What is abused: the rooms of ``apps.rooms`` and the behaviours of ``apps.spec`` in one process, and a look inside.

``/spec/<behaviour>`` is one of ``apps.spec``; ``/target/<group>/`` a room whose client may ask for more, and
``/sdk/<group>/`` the same on the Centrifuge wire; ``/objects`` tells over HTTP what the process holds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

from antiphon.exceptions import AntiphonError
from tests.integration.apps import rooms, spec
from tests.integration.apps.record import record

__all__ = ["app"]

#: Modules whose objects a connection may leave behind.
_WATCHED = ("antiphon", "uvicorn", "websockets", "httptools", "uvloop", "asyncio", "tests")


class Target(rooms.Room):
    """A room whose client may ask for more."""

    async def do_burst(self, content: Any) -> None:
        """Send ``count`` events to the group from within one handler."""
        for number in range(content["count"]):
            await self.channel_layer.group_send(self.group, {"type": "said", "value": number})

    async def do_join(self, content: Any) -> None:
        """Join groups; tell how many it let in, and what it said to the others."""
        refusals: Counter[str] = Counter()
        for group in content["groups"]:
            try:
                await self.channel_layer.group_add(group, self.channel_name)
            except AntiphonError as error:
                refusals[type(error).__name__] += 1
        await self.send_json({"joined": len(content["groups"]) - refusals.total(), "refused": refusals})

    async def do_say_to(self, content: Any) -> None:
        """Publish to any group; tell what was said to that."""
        try:
            await self.channel_layer.publish(content["group"], {"published": content["value"]})
        except AntiphonError as error:
            await self.send_json({"refused": type(error).__name__})
        else:
            await self.send_json({"refused": None})

    async def do_headers(self, content: Any) -> None:
        """Tell which headers the client sent."""
        await self.send_json({"headers": [[name.decode(), value.decode()] for name, value in self.scope["headers"]]})


class Injector(rooms.Room):
    """Answers the handshake with what a careless application takes from its client: ``?protocol=…&header=…``."""

    async def connect(self) -> None:
        """Accept."""
        query = parse_qs(self.scope["query_string"].decode(), keep_blank_values=True)
        headers = [(b"x-told", header.encode("latin-1")) for header in query.get("header", [])]
        try:
            await self.accept(query.get("protocol", [None])[0], headers)
        except ValueError as error:
            record(self.scope, "refused", words=str(error))
            raise


class Denier(rooms.Room):
    """Refuses with a reason that it takes from its client."""

    async def connect(self) -> None:
        """Refuse."""
        await self.close(4001, parse_qs(self.scope["query_string"].decode())["reason"][0])


CONSUMERS = {"target": Target, "injector": Injector, "denier": Denier}


def inside() -> dict[str, Any]:
    """Return how many tasks, file descriptors and objects the process has, the watched ones by type."""
    gc.collect()
    types = Counter(type(thing) for thing in gc.get_objects())
    named = ((f"{kind.__module__}.{kind.__qualname__}", count) for kind, count in types.items())
    watched = {name: count for name, count in named if name.partition(".")[0] in _WATCHED}
    return {
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "objects": types.total(),
        "types": watched,
    }


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Route by the first part of the path."""
    first = scope.get("path", "/").split("/")[1:2]
    if scope["type"] == "websocket" and first == ["spec"]:
        await spec.app(scope, receive, send)
    elif scope["type"] == "websocket" and first == ["sdk"]:
        await Target.as_asgi(wire="centrifuge")(scope, receive, send)
    elif scope["type"] == "websocket" and first and first[0] in CONSUMERS:
        await CONSUMERS[first[0]].as_asgi()(scope, receive, send)
    elif scope["type"] == "http" and first == ["objects"]:
        body = json.dumps(inside()).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "http" and first in (["open"], ["slow"]):
        await _slow(scope, receive, send)
    else:
        await rooms.app(scope, receive, send)


async def _slow(scope: Any, receive: Any, send: Any) -> None:
    """``/slow?client=…`` answers only when somebody asks for ``/open?client=…``."""
    if scope["path"] == "/slow":
        await spec.gate(scope)
    await spec.http(scope, receive, send)
