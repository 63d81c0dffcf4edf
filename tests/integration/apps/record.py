"""What test applications have in common: a record of what happened that outlives them, and HTTP for the test's eyes."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import parse_qs

import antiphon

__all__ = ["client_of", "http", "lifespan", "record"]


def client_of(scope: Any) -> str:
    """Return the name that a test gave its client: ``?client=…``."""
    query: dict[str, list[str]] = parse_qs(scope["query_string"].decode())
    return query.get("client", [""])[0]


def record(scope: Any, what: str, **details: Any) -> None:
    """Append a line about a client, for ``Server.records``."""
    line = json.dumps({"client": client_of(scope), "what": what, **details}) + "\n"
    descriptor = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


async def http(scope: Any, receive: Any, send: Any) -> None:
    """Answer ``/stats`` with antiphon's counters, anything else with a greeting."""
    answer = antiphon.stats() if scope["path"] == "/stats" else {"hello": scope["path"]}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Start and stop without ado."""
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
