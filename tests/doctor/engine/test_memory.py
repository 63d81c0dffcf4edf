"""What there is to say of the memory engine."""

from __future__ import annotations

from antiphon.doctor.engine import memory
from antiphon.doctor.finding import Level


async def test_it_says_what_it_is_and_what_there_is_instead() -> None:
    found = await memory.examine("memory://", print)
    ((finding),) = found.findings
    assert finding.level is Level.ADVICE
    assert "sqlite://" in finding.spot.remedy
    assert "one process" in found.facts[0].text
