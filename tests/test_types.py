"""The words that all layers share."""

from __future__ import annotations

import pytest

from antiphon.events import make_event
from antiphon.types import Position, Publication


def test_a_position_is_its_epoch_and_offset() -> None:
    assert Publication(b"1", "e", 3, 0.0).position == Position("e", 3) == ("e", 3)


def test_a_publication_has_a_key_or_an_empty_one() -> None:
    assert Publication(b"1", "e", 3, 0.0).key == ""
    assert Publication(b"1", "e", 3, 0.0, "a").key == "a"


def test_a_publication_is_not_changed_once_it_is_made() -> None:
    with pytest.raises(AttributeError):
        Publication(b"1", "e", 3, 0.0).offset = 4  # type: ignore[misc]


@pytest.mark.parametrize("value", [1, "a", None, [1], {"a": [1]}, b"x"], ids=repr)
def test_a_copy_of_an_event_is_equal_and_another(value: object) -> None:
    event = make_event({"type": "a", "value": value})
    first, second = event.copy(), event.copy()
    assert first == second == {"type": "a", "value": value}
    assert first is not second
    if isinstance(value, (list, dict)):
        assert first["value"] is not second["value"]
