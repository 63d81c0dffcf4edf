"""Pages of users in groups, for tests that speak to them from other processes."""

from __future__ import annotations

import json
import types
from typing import Any

import antiphon
from antiphon import AsyncJsonWebsocketConsumer
from antiphon.types import Receive, Scope, Send

antiphon.configure(rules={"kept*": {"history_size": 100}})


class Page(AsyncJsonWebsocketConsumer):
    """Says what it is called, and what it hears."""

    groups = ["all", "kept"]

    async def connect(self) -> None:
        name = self.scope["path"].strip("/")
        self.scope["user"] = types.SimpleNamespace(pk=name, is_authenticated=True)
        await self.accept()
        await self.send_json({"channel": self.channel_name})

    async def note(self, event: dict[str, Any]) -> None:
        await self.send_json({"note": event["n"]})


_pages = Page.as_asgi()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the pages, and at ``/stats`` the counters."""
    if scope["type"] == "http":
        body = json.dumps(antiphon.stats()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
    else:
        await _pages(scope, receive, send)
