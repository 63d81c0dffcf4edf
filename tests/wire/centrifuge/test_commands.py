"""What a client may ask for."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from antiphon.wire.centrifuge import commands, json, protobuf
from tests.wire.centrifuge import reference


def test_every_command_of_the_protocol_is_one() -> None:
    assert {*reference.COMMANDS, commands.Pong} == set(get_args(commands.Command))
    wire = {field.name for field in reference.message("Command").DESCRIPTOR.fields}
    assert set(reference.COMMANDS.values()) == wire - {"id"}


@pytest.mark.parametrize("kind", reference.COMMANDS, ids=lambda kind: kind.__name__)
def test_a_field_that_was_not_sent_has_its_zero_value(kind: type[Any]) -> None:
    assert list(protobuf.decode_frame(reference.delimited([reference.command_of(7, kind())]))) == [(7, kind())]
    assert list(json.decode_frame(b'{"%b":{},"id":7}' % reference.COMMANDS[kind].encode())) == [(7, kind())]
    assert not any(value for _, value in reference.as_fields(kind()))


@pytest.mark.parametrize("kind", get_args(commands.Command), ids=lambda kind: kind.__name__)
def test_a_command_is_not_changed(kind: type[Any]) -> None:
    with pytest.raises(AttributeError):
        kind().channel = "other"


def test_the_bits_of_a_subscription_are_two() -> None:
    assert (commands.COMPACTS, commands.REJECT_UNRECOVERED) == (1, 2)
