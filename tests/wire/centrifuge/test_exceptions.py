"""What a frame can be wrong about."""

from __future__ import annotations

from antiphon.exceptions import ClientError, UsageError
from antiphon.wire.centrifuge.exceptions import CommandTooBig, ProtocolError


def test_they_are_the_clients_mistakes() -> None:
    assert issubclass(CommandTooBig, ProtocolError)
    assert issubclass(ProtocolError, ClientError)
    assert not issubclass(ProtocolError, UsageError)


def test_they_say_what_is_wrong() -> None:
    error = ProtocolError("it is cut off")
    assert (error.code, error.reason) == ("bad_frame", "it is cut off")
    assert str(error) == "bad_frame: it is cut off"
    big = CommandTooBig("it is too big", 7)
    assert (big.code, big.reason, big.id) == ("command_too_big", "it is too big", 7)
