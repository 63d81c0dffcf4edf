"""What a browser may send over the WebSocket, checked before anything acts on it.

{"type": "message", "text": "hello", "client_id": "4f0c…"}     say it
{"type": "typing", "active": true}                             writing, or no longer writing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chat.models import Message


class BadRequest(Exception):
    """The client's request cannot be fulfilled. It is told why and stays connected."""

    def __init__(self, code: str, reason: str, client_id: str | None = None) -> None:
        super().__init__(reason)
        self.answer = {"type": "error", "code": code, "reason": reason, "client_id": client_id}


@dataclass(frozen=True)
class Say:
    """A message for the room."""

    text: str
    client_id: UUID


@dataclass(frozen=True)
class Typing:
    """The client began to write, or stopped."""

    active: bool


def parse(content: Any) -> Say | Typing:
    """Return the request that ``content`` (decoded JSON, of any shape) stands for, or raise :class:`BadRequest`."""
    match content:
        case {"type": "message", "text": str(text), "client_id": str(client_id)}:
            return _say(text.strip(), client_id)
        case {"type": "typing", "active": bool(active)}:
            return Typing(active)
    raise BadRequest("bad_request", "Expected a message with a text and a client_id, or typing with active.")


def _say(text: str, client_id: str) -> Say:
    try:
        uuid = UUID(client_id)
    except ValueError:
        raise BadRequest("bad_client_id", "The client_id has to be a UUID.") from None
    if not text:
        raise BadRequest("empty", "There is nothing in this message.", client_id)
    if len(text) > Message.MAX_LENGTH:
        reason = f"This message has {len(text):,} characters; the most is {Message.MAX_LENGTH:,}."
        raise BadRequest("too_long", reason, client_id)
    if not _storable(text):
        raise BadRequest("bad_text", "This message has characters that cannot be stored.", client_id)
    return Say(text, uuid)


def _storable(text: str) -> bool:
    """Say whether a database can keep it. JSON can spell a NUL and half of a surrogate pair; databases refuse them."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
