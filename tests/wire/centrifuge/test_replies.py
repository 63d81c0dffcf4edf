"""What the server answers."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from antiphon.wire.centrifuge import commands, replies
from tests.wire.centrifuge import reference


def test_every_command_that_is_answered_has_its_result() -> None:
    """A ping of a client is answered with an error, a message of a client not at all."""
    answered = set(get_args(commands.Command)) - {commands.Ping, commands.Send, commands.Pong}
    assert set(get_args(replies.Result)) == set(reference.RESULTS)
    assert {reference.COMMANDS[kind] for kind in answered} == set(reference.RESULTS.values())


@pytest.mark.parametrize("kind", reference.RESULTS, ids=lambda kind: kind.__name__)
def test_a_result_says_nothing_unless_it_is_told_to(kind: type[Any]) -> None:
    assert not any(value for _, value in reference.as_fields(kind()))
