"""Counters."""

from __future__ import annotations

import dataclasses

from antiphon.counters import Counters


def test_every_counter_begins_at_zero_and_is_reported_by_name() -> None:
    counters = Counters()
    assert set(counters.as_dict().values()) == {0}
    assert list(counters.as_dict()) == [field.name for field in dataclasses.fields(Counters)]
    counters.events += 2
    assert counters.as_dict()["events"] == 2
