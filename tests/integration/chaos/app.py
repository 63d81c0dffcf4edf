"""The application: members of the groups that they name, and a publisher that does what it is told.

``/member`` speaks the plain wire and ``/connection`` Centrifuge's; ``?groups=a,b`` are joined by ``connect()``.
``/publisher`` says which process it is in, and takes the commands of ``publisher``. Over HTTP ``/worker`` tells which
process answers, and antiphon's counters there; ``/buffers`` makes the kernel's buffers of new connections small, so
that a client that does not read is noticed soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

import antiphon
from antiphon import AsyncJsonWebsocketConsumer, rpc, shared
from antiphon.app import current_app
from antiphon.exceptions import EngineError
from antiphon.types import Position
from tests.integration.apps.record import http, lifespan

from . import faults
from .outcome import outcome
from .plan import RULES, content, is_content, key_of

__all__ = ["app"]

antiphon.configure(rules=RULES)
faults.install()

#: Come back: the close code where the engine is away for a moment, of those that are the application's on both wires.
TRY_AGAIN_LATER = 4013


async def top(group: str) -> Position:
    """Return where the newest is; the layer tells only that of groups that keep their history."""
    hub = current_app().hub
    assert hub is not None
    return (await hub.engine.history(group, hub.rule(group).retention, limit=0)).top


class Member(AsyncJsonWebsocketConsumer):
    """Joins, and passes on what its handlers hear."""

    client_info = {"worker": os.getpid()}

    async def connect(self) -> None:
        """Join the groups of the query; say from which offset on everything will come."""
        query = parse_qs(self.scope["query_string"].decode())
        floors = {}
        try:
            for group in filter(None, query.get("groups", [""])[0].split(",")):
                await self.channel_layer.group_add(group, self.channel_name)
                floors[group] = await top(group)
        except EngineError:
            await self.close(TRY_AGAIN_LATER)
            return
        await self.accept()
        for group, position in floors.items():
            await self.send_json({"joined": group, "position": position})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Leave a group and join it again."""
        if "leave" in content:
            await self.channel_layer.group_discard(content["leave"], self.channel_name)
            await self.send_json({"left": content["leave"]})
        if "join" in content:
            try:
                await self.channel_layer.group_add(content["join"], self.channel_name)
                position = await top(content["join"])
            except EngineError:
                await self.close(TRY_AGAIN_LATER)
                return
            await self.send_json({"joined": content["join"], "position": position})

    @rpc
    async def floor(self, content: Any) -> Position:
        """Say from which position on everything will come to who has just subscribed."""
        return await top(content)

    async def chaos_event(self, event: dict[str, Any]) -> None:
        """Pass it on."""
        await self.send_json({"event": event["group"], "after": event["after"]})

    @shared
    def chaos_shared(event: dict[str, Any]) -> Any:
        """Pass it on, to all at once."""
        return {"event": event["group"], "after": event["after"]}


class Publisher(AsyncJsonWebsocketConsumer):
    """Publishes, and tells what the engine says; where the engine can't, that is the answer."""

    async def connect(self) -> None:
        """Say which process this is."""
        self._last: Counter[str] = Counter()
        await self.accept()
        await self.send_json({"worker": os.getpid()})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Do what is asked."""
        try:
            answer = await self._do(content["do"], **content["with"])
        except EngineError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        await self.send_json(answer)

    async def _do(self, verb: str, **how: Any) -> Any:
        match verb:
            case "publish":
                return await self._publish(**how)
            case "remove":
                return await self._remove(**how)
            case "history":
                return await self._history(**how)
            case "presence":
                return await self._presence(**how)

    async def _publish(self, group: str, first: int, count: int, turn: int, event: str, keyed: bool) -> Any:
        """Publish so many, so many per turn of the loop; or one after the other, an event ahead of every third."""
        numbers = range(first, first + count)
        answer: dict[str, Any] = {"outcomes": []}
        turn = 1 if event else turn
        for start in range(0, count, turn):
            if event and start % 3 == 0:
                await self._tell(event, group)
            chunk = numbers[start : start + turn]
            found = await asyncio.gather(*(self._one(group, number, keyed) for number in chunk), return_exceptions=True)
            answer["outcomes"] += map(outcome, found)
            errors = [each for each in found if isinstance(each, BaseException)]
            if errors:
                return {**answer, "error": f"{type(errors[0]).__name__}: {errors[0]}"}
            self._last[group] = chunk[-1]
        return answer

    async def _tell(self, event: str, group: str) -> None:
        """Send an event, which is stored nowhere: it comes or it does not."""
        with contextlib.suppress(EngineError):
            await self.channel_layer.group_send(group, {"type": event, "group": group, "after": self._last[group]})

    async def _one(self, group: str, number: int, keyed: bool) -> Position:
        key = key_of(number) if keyed else None
        return await self.channel_layer.publish(group, content(group, number), idempotency_key=key)

    async def _remove(self, group: str) -> Any:
        await self.channel_layer.remove_history(group)
        return {"position": await top(group)}

    async def _history(self, group: str) -> Any:
        """Return of each that is kept its position and number; None: it has another content."""
        page = await self.channel_layer.history(group)
        found = [(each.epoch, each.offset, json.loads(each.data)) for each in page.publications]
        kept = [(epoch, offset, each["n"] if is_content(group, each) else None) for epoch, offset, each in found]
        return {"top": page.top, "kept": kept}

    async def _presence(self, group: str) -> Any:
        infos = (await self.channel_layer.presence(group)).values()
        return {"workers": [json.loads(info.connection_info)["worker"] for info in infos]}


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


async def tell_worker(send: Any) -> None:
    """Answer with this process and its counters."""
    body = json.dumps({"worker": os.getpid(), **antiphon.stats()}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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
        await (tell_worker(send) if scope["path"] == "/worker" else http(scope, receive, send))
    else:
        consumers = {"/member": plain, "/connection": centrifuge, "/publisher": publisher}
        await consumers[scope["path"]](scope, receive, send)
