"""The two encodings of the Centrifuge wire, by other hands than antiphon's: ``json``, and Protobuf's own runtime.

What is sent and what comes is in the form of JSON: dicts, with the content for ``data``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from tests.wire.centrifuge import reference

__all__ = ["JSON", "PROTOBUF", "Encoding"]


class Encoding(Protocol):
    """How commands and replies are written."""

    @property
    def subprotocols(self) -> list[str] | None:
        """What a client offers."""

    def encode(self, *commands: Mapping[str, Any]) -> str | bytes:
        """Return a frame of commands."""

    def decode(self, frame: str | bytes) -> list[dict[str, Any]]:
        """Return the replies of a frame."""


class _Json(NamedTuple):
    subprotocols: list[str] | None = None

    def encode(self, *commands: Mapping[str, Any]) -> str:
        return "\n".join(json.dumps(command) for command in commands)

    def decode(self, frame: str | bytes) -> list[dict[str, Any]]:
        assert isinstance(frame, str), "a binary frame where JSON is spoken"
        return [json.loads(line) for line in frame.split("\n")]


class _Protobuf(NamedTuple):
    subprotocols: list[str] | None = ["centrifuge-protobuf"]

    def encode(self, *commands: Mapping[str, Any]) -> bytes:
        return reference.delimited([_filled(reference.message("Command"), command) for command in commands])

    def decode(self, frame: str | bytes) -> list[dict[str, Any]]:
        assert isinstance(frame, bytes), "a text frame where Protobuf is spoken"
        return [_read(reply) for reply in reference.split("Reply", frame)]


def _filled(message: Any, command: Mapping[str, Any]) -> Any:
    message.SetInParent()
    for name, value in command.items():
        if name == "data":
            message.data = json.dumps(value).encode()
        elif name == "subs":
            for channel, each in value.items():
                _filled(message.subs[channel], each)
        elif isinstance(value, Mapping):
            _filled(getattr(message, name), value)
        else:
            setattr(message, name, value)
    return message


def _read(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name == "data":
            found["data"] = json.loads(value)
        elif field.message_type is None:
            found[field.name] = value
        elif field.message_type.GetOptions().map_entry:
            found[field.name] = {key: _read(each) for key, each in value.items()}
        elif field.is_repeated:
            found[field.name] = [_read(each) for each in value]
        else:
            found[field.name] = _read(value)
    return found


JSON = _Json()
PROTOBUF = _Protobuf()
