"""What may be going on when a server is told to stop: publications, slow handlers, handlers that do not end.

``/<kind>/<group>/?client=<name>``: ``kind`` is a key of ``CONSUMERS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import antiphon

from .record import http, record
from .record import lifespan as quiet_lifespan
from .rooms import Room, Undecided

__all__ = ["app"]

#: What ``record`` wants of a scope, for what is recorded about the process.
PROCESS = {"query_string": b"client=process"}
publishers: set[asyncio.Task[None]] = set()


class Worker(Room):
    """Does more than a room's consumer."""

    async def disconnect(self, code: int) -> None:
        """Leave a trace, with a trip through the loop before it."""
        await asyncio.sleep(0.01)
        await super().disconnect(code)

    async def do_pid(self, content: Any) -> None:
        """Tell which process this is."""
        await self.send_json({"pid": os.getpid()})

    async def do_count(self, content: Any) -> None:
        """Publish numbers from now on, as long as the process lives."""
        task = asyncio.create_task(publish_numbers(self.group))
        publishers.add(task)

    async def do_await_file(self, content: Any) -> None:
        """Wait for a file, and answer."""
        record(self.scope, "waiting")
        while not Path(content["file"]).exists():
            await asyncio.sleep(0.01)
        await self.send_json({"found": content["file"]})

    async def do_thread(self, content: Any) -> None:
        """Wait for a thread that does not end."""
        record(self.scope, "asleep")
        await asyncio.to_thread(time.sleep, 3600)

    async def do_leave_thread(self, content: Any) -> None:
        """Start a thread that does not end, and answer."""
        threading.Thread(target=time.sleep, args=(3600,)).start()
        await self.send_json({"left": True})

    async def do_block(self, content: Any) -> None:
        """Let nobody else run."""
        record(self.scope, "asleep")
        time.sleep(3600)

    async def do_ignore(self, content: Any) -> None:
        """Go on, however often it is cancelled."""
        record(self.scope, "asleep")
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)


async def publish_numbers(group: str) -> None:
    """Publish 0, 1, 2 …"""
    for number in itertools.count():
        await antiphon.publish(group, {"number": number})
        await asyncio.sleep(0.02)


CONSUMERS = {"room": Worker, "undecided": Undecided}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Route by the first part of the path."""
    if scope["type"] == "websocket":
        await CONSUMERS[scope["path"].split("/")[1]].as_asgi()(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)
    else:
        await quiet_lifespan(scope, receive, send)
        record(PROCESS, "over", pid=os.getpid(), drained=antiphon.stats()["drained"])
