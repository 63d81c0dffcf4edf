"""What a frame of a client can be wrong about.

::

    ClientError
    └── ProtocolError         the frame can't be read: the connection ends with ``codes.CLOSE_BAD_REQUEST``
        └── CommandTooBig     one command is over the limit: it can be answered, and the rest of the frame read
"""

from __future__ import annotations

from antiphon.exceptions import ClientError
from antiphon.wire.centrifuge.commands import Command

__all__ = ["CommandTooBig", "Malformed", "ProtocolError"]


class Malformed(Exception):
    """What the readers of this package tell one another; ``frame`` makes a ``ProtocolError`` of it."""


class ProtocolError(ClientError):
    """A frame that is not one of the protocol; ``reason`` says which of its commands, and what is wrong with it.

    ``before`` holds the commands in front of the fault, with their ids. Nothing behind it was looked at.
    """

    def __init__(self, reason: str, before: list[tuple[int, Command]], code: str = "bad_frame") -> None:
        super().__init__(code, reason)
        self.before = before


class CommandTooBig(ProtocolError):
    """A command over the limit: ``id`` is its number, 0 where it has none or can't be read.

    ``rest`` is what stands behind it in the frame, a frame of its own; empty where it was the last.
    """

    def __init__(self, reason: str, before: list[tuple[int, Command]], id: int, rest: bytes) -> None:
        super().__init__(reason, before, "command_too_big")
        self.id = id
        self.rest = rest
