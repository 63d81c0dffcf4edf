"""What a browser may say, checked before anything acts on it.

====================================================  ================================
``{"text": "hello", "client_id": "4f0c…"}``           a message, published to a room
``{"group": "room:general", "active": true}``         writing, or no longer writing
====================================================  ================================

Who asks for something else is told why not, by ``ClientError``, and stays connected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from antiphon.exceptions import ClientError
from chat.models import Message

# What a refusal is numbered with: from 400 on, here as in HTTP.
BAD_REQUEST = 400
REMOVED = 403
NO_SUCH_ROOM = 404


@dataclass(frozen=True)
class Said:
    """A message for a room; whoever sends it again, sends the same ``client_id``."""

    text: str
    client_id: UUID


@dataclass(frozen=True)
class Typing:
    """The writer began to write, or stopped."""

    group: str
    active: bool


def read_typing(content: Any) -> Typing:
    """Return what ``content`` (decoded JSON, of any shape) says of the writer."""
    match content:
        case {"group": str(group), "active": bool(active)}:
            return Typing(group, active)
    raise ClientError(BAD_REQUEST, "Expected a group, and active.")


def read_message(content: Any) -> Said:
    """Return the message that ``content`` (decoded JSON, of any shape) is."""
    match content:
        case {"text": str(text), "client_id": str(client_id)}:
            return Said(_text(text.strip()), _uuid(client_id))
    raise ClientError(BAD_REQUEST, "Expected a message: a text, and a client_id.")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ClientError(BAD_REQUEST, "The client_id has to be a UUID.") from None


def _text(text: str) -> str:
    if not text:
        raise ClientError(BAD_REQUEST, "There is nothing in this message.")
    if len(text) > Message.MAX_LENGTH:
        reason = f"This message has {len(text):,} characters; the most is {Message.MAX_LENGTH:,}."
        raise ClientError(BAD_REQUEST, reason)
    if not _storable(text):
        raise ClientError(BAD_REQUEST, "This message has characters that cannot be stored.")
    return text


def _storable(text: str) -> bool:
    """Say whether a database can keep it. JSON can spell a NUL and half of a surrogate pair; databases refuse them."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
