"""Rates: what passes in any stretch of time, what always passes, and what a refusal costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config import Config
from antiphon.limits import Meter


def meter(now: float = 0.0, **options: Any) -> Meter:
    settings = {"message_rate": 0.0, "byte_rate": 0.0, "rate_burst": 10.0, "max_message_size": 1000, **options}
    return Meter(Config(**settings), now)


def passes(meter: Meter, size: int, now: float) -> bool:
    """Ask as a connection does."""
    return meter.spend(size) or meter.take(size, now)


def count(meter: Meter, now: float, *, size: int = 1, most: int = 100_000) -> int:
    """How many messages pass at one moment."""
    for number in range(most):
        if not passes(meter, size, now):
            return number
    return most


@pytest.mark.parametrize("rate", [1.0, 7.0, 1000.0])
def test_a_full_bucket_holds_what_the_rate_brings_in_the_burst(rate: float) -> None:
    bucket = meter(message_rate=rate)
    assert count(bucket, 0.0) == 10 * rate
    assert count(bucket, 0.0) == 0
    assert count(bucket, 1.0) == rate
    assert count(bucket, 1001.0) == pytest.approx(10 * rate, rel=0.01), "it fills, and does not overflow"


def test_bytes_are_counted_by_size() -> None:
    bucket = meter(byte_rate=1000.0)
    assert count(bucket, 0.0, size=100) == 100
    assert count(bucket, 0.5, size=100) == 5
    assert passes(bucket, 0, 0.5), "a message without bytes takes none"
    assert not passes(bucket, 1, 0.5)


def test_the_fuller_bucket_does_not_help_the_emptier() -> None:
    bucket = meter(message_rate=10.0, byte_rate=1000.0)
    assert count(bucket, 0.0, size=1) == 100
    bucket = meter(message_rate=10.0, byte_rate=1000.0)
    assert count(bucket, 0.0, size=1000) == 10


def test_without_rates_everything_passes() -> None:
    bucket = meter()
    assert count(bucket, 0.0, size=10**9, most=1000) == 1000


def test_without_one_rate_the_other_holds() -> None:
    assert count(meter(message_rate=10.0), 0.0, size=10**9) == 100
    assert count(meter(byte_rate=1000.0), 0.0, size=1000) == 10


@pytest.mark.parametrize("byte_rate", [1e-9, 1.0, 99.0, 100.0, 101.0, 1e12])
@pytest.mark.parametrize("message_rate", [1e-9, 0.1, 1.0, 1e9])
def test_one_allowed_message_passes_when_the_client_has_been_silent(byte_rate: float, message_rate: float) -> None:
    bucket = meter(byte_rate=byte_rate, message_rate=message_rate)
    now = 0.0
    for _ in range(5):
        assert passes(bucket, 1000, now)
        now += 2 * max(10.0, 1000 / byte_rate, 1 / message_rate)


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({"message_rate": 1.5}, 1, ("message_rate", "more than 1.5 messages per second")),
        ({"byte_rate": 16.0 * 1024 * 1024}, 1000, ("byte_rate", "more than 16777216 bytes per second")),
        ({"byte_rate": 1.0, "message_rate": 1000.0}, 1000, ("byte_rate", "more than 1 bytes per second")),
        ({"byte_rate": 1000.0, "message_rate": 1.0}, 1, ("message_rate", "more than 1 messages per second")),
    ],
)
def test_it_tells_which_rate_was_exceeded(options: dict[str, float], size: int, expected: tuple[str, str]) -> None:
    bucket = meter(**options)
    assert count(bucket, 0.0, size=size, most=1_000_000) < 1_000_000
    assert bucket.excess() == expected


rates = st.sampled_from([0.0, 0.3, 1.0, 10.0, 1000.0])
moments = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 1000)), max_size=200)


@given(rates, rates.map(lambda rate: 300 * rate), moments)
def test_in_any_stretch_of_time_no_more_passes_than_bucket_and_rate_bring(
    message_rate: float, byte_rate: float, moments: list[tuple[float, int]]
) -> None:
    bucket = meter(message_rate=message_rate, byte_rate=byte_rate)
    now, passed = 0.0, []
    for pause, size in moments:
        now += pause
        if passes(bucket, size, now):
            passed.append((now, size))
    for first in range(len(passed)):
        total = 0
        for last in range(first, len(passed)):
            time, size = passed[last][0] - passed[first][0], passed[last][1]
            total += size
            if message_rate:
                assert last - first + 1 <= max(1.0, 10 * message_rate) + time * message_rate + 1e-6
            if byte_rate:
                assert total <= max(1000.0, 10 * byte_rate) + time * byte_rate + 1e-6


@given(rates, rates.map(lambda rate: 300 * rate), moments)
def test_who_stays_below_the_rates_is_never_refused(
    message_rate: float, byte_rate: float, moments: list[tuple[float, int]]
) -> None:
    bucket = meter(message_rate=message_rate, byte_rate=byte_rate)
    now = 0.0
    for pause, size in moments:
        slowest = max(1 / message_rate if message_rate else 0, size / byte_rate if byte_rate else 0)
        now += max(pause, slowest * 1.001)
        assert passes(bucket, size, now)


@given(moments)
def test_what_is_refused_takes_nothing(moments: list[tuple[float, int]]) -> None:
    bucket = meter(message_rate=5.0, byte_rate=500.0)
    twin = meter(message_rate=5.0, byte_rate=500.0)
    now = 0.0
    for pause, size in moments:
        now += pause
        if passes(bucket, size, now):
            assert passes(twin, size, now)
        for _ in range(3):
            passes(bucket, 10**9, now)
