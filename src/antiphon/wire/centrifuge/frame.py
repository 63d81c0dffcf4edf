"""One frame of a client: how its commands are told apart, counted, measured and numbered, in either encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from antiphon.wire.centrifuge.commands import Command, Pong, Send
from antiphon.wire.centrifuge.exceptions import CommandTooBig, Malformed, ProtocolError

__all__ = ["MAX_COMMANDS", "MAX_COMMAND_SIZE", "Reader", "number", "read_frame"]

#: Bytes of one command. A frame may be longer: after a lost connection, an SDK subscribes to all channels in one.
MAX_COMMAND_SIZE = 64 * 1024
#: Commands of one frame.
MAX_COMMANDS = 10_000


class Reader(NamedTuple):
    """What differs from one encoding to the other; each function raises ``Malformed``."""

    locate: Callable[[bytes, int, int], tuple[int, int, int]]
    """Tells where the command at a position begins and ends, and where the next one is; given the frame's end, too."""
    command: Callable[[bytes], tuple[int, Command]]
    """Reads a command and its id."""
    id: Callable[[bytes], int]
    """Reads the id alone."""


def read_frame(reader: Reader, payload: bytes, max_command_size: int, max_commands: int) -> list[tuple[int, Command]]:
    """Return the commands of a frame, at least one, in their order; raise ``ProtocolError`` or ``CommandTooBig``."""
    if not payload:
        raise ProtocolError("the frame is empty", [])
    locate, read_command, _ = reader
    read: list[tuple[int, Command]] = []
    position, end = 0, len(payload)
    try:
        while position < end:
            start, stop, position = locate(payload, position, end)
            if len(read) == max_commands:
                raise ProtocolError(f"the frame has more than {max_commands} commands", read)
            if stop - start > max_command_size:
                raise _too_big(reader, payload[start:stop], max_command_size, read, payload[position:])
            read.append(read_command(payload[start:stop]))
    except Malformed as fault:
        raise ProtocolError(f"command {len(read) + 1} of the frame: {fault}", read) from None
    return read


def _too_big(reader: Reader, command: bytes, limit: int, read: list[tuple[int, Command]], rest: bytes) -> CommandTooBig:
    try:
        id = reader.id(command)
    except Malformed:
        id = 0
    reason = f"command {len(read) + 1} of the frame has {len(command)} bytes; at most {limit} are read"
    return CommandTooBig(reason, read, id, rest)


def number(id: int, command: Command | None) -> tuple[int, Command]:
    """Return a command with its id; the one without content is a pong, and only that and ``send`` need no id."""
    if command is None:
        if id:
            raise Malformed("it holds no command that is known")
        return 0, Pong()
    if not id and not isinstance(command, Send):
        raise Malformed("it has no id")
    return id, command
