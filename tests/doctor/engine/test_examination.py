"""What is found out about an engine, as values."""

from __future__ import annotations

import pytest

from antiphon.doctor.engine.examination import Examination, Times, size
from antiphon.doctor.finding import Level


def test_times_are_told_by_their_order() -> None:
    times = Times.of("PING", [0.3, 0.1, *[0.2] * 98])
    assert (times.median, times.p99, times.longest) == (0.2, 0.3, 0.3)
    assert Times.of("PING", [0.1]).p99 == 0.1


def test_a_finding_of_several_servers_is_one() -> None:
    found = Examination("Redis")
    for number in range(5):
        found.find("evicts", Level.WARNING, "maxmemory-policy", "It does.", "Set it.", server=f"h:{number}")
        assert len(found.findings) == 1
    assert str(found.findings[0].spot.place) == "maxmemory-policy of h:0, h:1, h:2 and 2 more"
    found.find("evicts", Level.WARNING, "maxmemory-policy", "It does so in another way.", "Set it.", server="h:0")
    assert [str(each.spot.place) for each in found.findings[1:]] == ["maxmemory-policy of h:0"]


def test_a_finding_of_several_parts_is_one() -> None:
    found = Examination("Redis")
    for verb in ("publish", "history"):
        found.find("refused", Level.ERROR, verb, "It may not be.", "Let it.")
    assert [str(each.spot.place) for each in found.findings] == ["publish and history"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (150 << 20, "150 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes_are_written_as_people_do(number: int, text: str) -> None:
    assert size(number) == text
