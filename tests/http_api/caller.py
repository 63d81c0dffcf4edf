"""What calls the HTTP API by ASGI, without a server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from antiphon.http_api import HTTPAPI
from antiphon.types import Message

__all__ = ["KEY", "KEYED", "Answer", "request"]

KEY = "a-key-of-sixteen-characters-or-more"
KEYED = ((b"x-api-key", KEY.encode()),)


class Answer(NamedTuple):
    """What was answered, and how much of the body had been taken before."""

    status: int
    headers: dict[bytes, bytes]
    content: Any
    taken: int


async def request(
    path: str = "/api/info",
    body: bytes | Iterable[bytes] = b"{}",
    *,
    headers: Iterable[tuple[bytes, bytes]] = KEYED,
    method: str = "POST",
    api: HTTPAPI | None = None,
    leaves: bool = False,
) -> Answer | None:
    """Ask, and return the answer; None: there was none. ``leaves``: the caller is gone before the body is complete."""
    parts = [body] if isinstance(body, bytes) else list(body)
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.disconnect"} if leaves else {"type": "http.request"})
    waiting, sent = iter(messages), list[Message]()

    async def receive() -> Message:
        return next(waiting)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "client": ("192.0.2.1", 5)}
    await (api or HTTPAPI())(scope, receive, send)
    if not sent:
        return None
    start, end = sent
    taken = len(messages) - len(list(waiting))
    return Answer(start["status"], dict(start["headers"]), json.loads(end["body"]), taken)
