"""Places, and what a finding is made of."""

from __future__ import annotations

from antiphon.doctor.finding import Level, Place


def test_a_place_is_written_as_editors_understand_it() -> None:
    assert str(Place("chat/consumers.py", 12)) == "chat/consumers.py:12"
    assert str(Place("ALLOWED_HOSTS")) == "ALLOWED_HOSTS"


def test_levels_are_in_the_order_of_what_they_mean() -> None:
    assert [level.value for level in Level] == ["error", "warning", "advice"]
