"""What is the same of a frame in both encodings, with a reader whose commands are single bytes."""

from __future__ import annotations

import pytest

from antiphon.wire.centrifuge import commands, frame
from antiphon.wire.centrifuge.exceptions import CommandTooBig, Malformed, ProtocolError


def _number(command: bytes) -> int:
    if command == b"x":
        raise Malformed("it is x")
    return command[0]


BYTES = frame.Reader(
    lambda payload, position, end: (position, position + 1, position + 1),
    lambda command: (_number(command), commands.Presence()),
    _number,
)


def test_commands_keep_their_order() -> None:
    found = frame.read_frame(BYTES, b"\x03\x01\x02", 1, 3)
    assert found == [(3, commands.Presence()), (1, commands.Presence()), (2, commands.Presence())]


def test_a_frame_without_a_command_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="the frame is empty"):
        frame.read_frame(BYTES, b"", 1, 1)


def test_a_fault_is_told_with_the_place_of_its_command() -> None:
    with pytest.raises(ProtocolError, match="command 3 of the frame: it is x") as caught:
        frame.read_frame(BYTES, b"\x01\x02x\x03", 1, 9)
    assert [id for id, _ in caught.value.before] == [1, 2]


def test_a_command_is_not_read_where_it_is_one_too_many() -> None:
    with pytest.raises(ProtocolError, match="more than 2 commands"):
        frame.read_frame(BYTES, b"\x01\x02x", 1, 2)


@pytest.mark.parametrize(("payload", "id"), [(b"\x07\x02\x03", 7), (b"x\x02\x03", 0)])
def test_of_a_command_that_is_too_big_the_id_is_read_where_it_can_be(payload: bytes, id: int) -> None:
    with pytest.raises(CommandTooBig) as caught:
        frame.read_frame(BYTES, payload, 0, 9)
    assert (caught.value.id, caught.value.rest) == (id, b"\x02\x03")


@pytest.mark.parametrize("command", [commands.Ping(), commands.Presence("a"), commands.Connect(), commands.Pong()])
def test_a_command_has_an_id(command: commands.Command) -> None:
    assert frame.number(7, command) == (7, command)
    with pytest.raises(Malformed, match="it has no id"):
        frame.number(0, command)


def test_a_message_needs_no_id_and_a_pong_has_none() -> None:
    assert frame.number(0, commands.Send()) == (0, commands.Send())
    assert frame.number(7, commands.Send()) == (7, commands.Send())
    assert frame.number(0, None) == (0, commands.Pong())
    with pytest.raises(Malformed, match="no command that is known"):
        frame.number(7, None)
