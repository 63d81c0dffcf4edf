"""What the server sends without being asked."""

from __future__ import annotations

from typing import get_args

from antiphon.wire.centrifuge import pushes
from tests.wire.centrifuge import reference


def test_every_push_of_a_connection_with_two_directions_is_one() -> None:
    wire = {field.name for field in reference.message("Push").DESCRIPTOR.fields}
    assert set(get_args(pushes.Push)) == set(reference.PUSHES)
    assert set(reference.PUSHES.values()) == wire - {"id", "channel"}
