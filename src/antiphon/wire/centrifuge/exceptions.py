"""What a frame of a client can be wrong about.

::

    ClientError
    └── ProtocolError         the frame can't be read: the connection ends with ``codes.CLOSE_BAD_REQUEST``
        └── CommandTooBig     one command is over the limit: it can be answered, and the rest of the frame read
"""

from __future__ import annotations

from antiphon.exceptions import ClientError

__all__ = ["CommandTooBig", "Malformed", "ProtocolError"]


class Malformed(Exception):
    """What the readers of this package tell one another; ``frame`` makes a ``ProtocolError`` of it."""


class ProtocolError(ClientError):
    """A frame that is not one of the protocol; ``reason`` says which of its commands, and what is wrong with it.

    Nothing behind the fault was looked at.
    """

    def __init__(self, reason: str, code: str = "bad_frame") -> None:
        super().__init__(code, reason)


class CommandTooBig(ProtocolError):
    """A command over the limit: ``id`` is its number, 0 where it has none or can't be read."""

    def __init__(self, reason: str, id: int) -> None:
        super().__init__(reason, "command_too_big")
        self.id = id
