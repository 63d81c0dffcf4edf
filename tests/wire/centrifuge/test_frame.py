"""What is the same of a frame in both encodings, with a reader whose commands are single bytes."""

from __future__ import annotations

import pytest

from antiphon.wire.centrifuge import commands, frame
from antiphon.wire.centrifuge.exceptions import CommandTooBig, Malformed, ProtocolError

from .reading import read


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
    found = list(frame.Frame(BYTES, b"\x03\x01\x02", 1, 3))
    assert found == [(3, commands.Presence()), (1, commands.Presence()), (2, commands.Presence())]


def test_a_command_is_read_when_it_is_asked_for() -> None:
    asked: list[bytes] = []

    def command(payload: bytes) -> tuple[int, commands.Command]:
        asked.append(payload)
        return 1, commands.Ping()

    reading = frame.Frame(BYTES._replace(command=command), b"abc", 1, 3)
    assert asked == []
    assert (reading.taken, reading.size, reading.is_over) == (0, 0, False)
    next(reading)
    assert asked == [b"a"]
    assert (reading.taken, reading.size, reading.is_over) == (1, 1, False)
    assert len(list(reading)) == 2
    assert (reading.taken, reading.is_over) == (3, True)


def test_a_frame_without_a_command_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="the frame is empty"):
        next(frame.Frame(BYTES, b"", 1, 1))


def test_a_fault_is_told_with_the_place_of_its_command_and_is_the_end() -> None:
    reading = frame.Frame(BYTES, b"\x01\x02x\x03", 1, 9)
    found, problem = read(reading)
    assert [id for id, _ in found] == [1, 2]
    assert problem is not None
    assert problem.reason == "command 3 of the frame: it is x"
    assert reading.is_over
    assert list(reading) == []


def test_a_command_is_not_read_where_it_is_one_too_many() -> None:
    reading = frame.Frame(BYTES, b"\x01\x02x", 1, 2)
    found, problem = read(reading)
    assert len(found) == 2
    assert problem is not None
    assert problem.reason == "the frame has more than 2 commands"
    assert list(reading) == []


@pytest.mark.parametrize(("payload", "id"), [(b"\x07\x02\x03", 7), (b"x\x02\x03", 0)])
def test_of_a_command_that_is_too_big_the_id_is_read_where_it_can_be(payload: bytes, id: int) -> None:
    reading = frame.Frame(BYTES, payload, 0, 9)
    for expected in (id, 2, 3):
        with pytest.raises(CommandTooBig) as caught:
            next(reading)
        assert caught.value.id == expected
    assert list(reading) == []


def test_commands_that_are_too_big_are_among_those_that_a_frame_may_have() -> None:
    reading = frame.Frame(BYTES, b"abc", 0, 2)
    for _ in range(2):
        with pytest.raises(CommandTooBig):
            next(reading)
    with pytest.raises(ProtocolError, match="more than 2 commands"):
        next(reading)


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
