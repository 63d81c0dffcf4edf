"""One frame of a client: how its commands are told apart, counted, measured and numbered, in either encoding.

A frame is read one command at a time, as somebody asks for them: a mebibyte holds a hundred thousand commands, and
whoever takes them decides after each whether the next is still wanted, and who else has a turn first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from antiphon.wire.centrifuge.commands import Command, Pong, Send
from antiphon.wire.centrifuge.exceptions import CommandTooBig, Malformed, ProtocolError

__all__ = ["MAX_COMMANDS", "MAX_COMMAND_SIZE", "MAX_FIELDS", "Frame", "Reader", "number"]

#: Bytes of one command. A frame may be longer: after a lost connection, an SDK subscribes to all channels in one.
MAX_COMMAND_SIZE = 64 * 1024
#: Commands of one frame.
MAX_COMMANDS = 10_000
#: Fields of one command, with those of the messages and maps in it, where each costs more than its bytes.
MAX_FIELDS = 10_000


class Reader(NamedTuple):
    """What differs from one encoding to the other; each function raises ``Malformed``."""

    locate: Callable[[bytes, int, int], tuple[int, int, int]]
    """Tells where the command at a position begins and ends, and where the next one is; given the frame's end, too."""
    command: Callable[[bytes], tuple[int, Command]]
    """Reads a command and its id."""
    id: Callable[[bytes], int]
    """Reads the id alone."""


class Frame:
    """The commands of a frame with their ids, at least one, in their order: an iterator.

    ``next`` raises ``ProtocolError`` for what can't be read, and that is the end; but behind a ``CommandTooBig`` it
    returns the command that comes next.
    """

    __slots__ = ("_max_command_size", "_max_commands", "_payload", "_position", "_reader", "size", "taken")

    def __init__(self, reader: Reader, payload: bytes, max_command_size: int, max_commands: int) -> None:
        self.taken = 0
        """How many commands were asked for and were there, also those that could not be read."""
        self.size = 0
        """Bytes of the last of them."""
        self._reader = reader
        self._payload = payload
        self._position = 0
        self._max_command_size = max_command_size
        self._max_commands = max_commands

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more comes."""
        return self._position >= len(self._payload)

    def __iter__(self) -> Frame:
        return self

    def __next__(self) -> tuple[int, Command]:
        """Read the next command."""
        payload = self._payload
        if self._position >= len(payload):
            if not payload:
                raise ProtocolError("the frame is empty")
            raise StopIteration
        if self.taken == self._max_commands:
            raise self._ended(f"the frame has more than {self._max_commands} commands")
        self.taken += 1
        try:
            start, stop, self._position = self._reader.locate(payload, self._position, len(payload))
            self.size = stop - start
            command = payload[start:stop]
            if self.size <= self._max_command_size:
                return self._reader.command(command)
        except Malformed as fault:
            raise self._ended(f"command {self.taken} of the frame: {fault}") from None
        raise self._too_big(command)

    def _ended(self, reason: str) -> ProtocolError:
        self._position = len(self._payload)
        return ProtocolError(reason)

    def _too_big(self, command: bytes) -> CommandTooBig:
        try:
            id = self._reader.id(command)
        except Malformed:
            id = 0
        reason = f"command {self.taken} of the frame has {self.size} bytes; at most {self._max_command_size} are read"
        return CommandTooBig(reason, id)


def number(id: int, command: Command | None) -> tuple[int, Command]:
    """Return a command with its id; the one without content is a pong, and only that and ``send`` need no id."""
    if command is None:
        if id:
            raise Malformed("it holds no command that is known")
        return 0, Pong()
    if not id and not isinstance(command, Send):
        raise Malformed("it has no id")
    return id, command
