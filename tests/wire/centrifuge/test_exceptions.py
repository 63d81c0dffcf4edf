"""What a frame can be wrong about."""

from __future__ import annotations

from antiphon.exceptions import ClientError, UsageError
from antiphon.wire.centrifuge import commands
from antiphon.wire.centrifuge.exceptions import CommandTooBig, ProtocolError


def test_they_are_the_clients_mistakes() -> None:
    assert issubclass(CommandTooBig, ProtocolError)
    assert issubclass(ProtocolError, ClientError)
    assert not issubclass(ProtocolError, UsageError)


def test_they_say_what_is_wrong_and_what_is_not() -> None:
    before: list[tuple[int, commands.Command]] = [(1, commands.Ping())]
    error = ProtocolError("it is cut off", before)
    assert (error.code, error.reason, error.before) == ("bad_frame", "it is cut off", before)
    assert str(error) == "bad_frame: it is cut off"
    big = CommandTooBig("it is too big", before, 7, b"{}")
    assert (big.code, big.reason, big.before, big.id, big.rest) == (
        "command_too_big",
        "it is too big",
        before,
        7,
        b"{}",
    )
