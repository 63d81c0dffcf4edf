"""What the URLs of engines have in common."""

from __future__ import annotations

import pytest

from antiphon.engines.urls import read_seconds
from antiphon.exceptions import ConfigurationError


@pytest.mark.parametrize(("value", "seconds"), [("1", 1.0), ("0.5", 0.5), ("999999", 999999.0)])
def test_seconds_are_a_number(value: str, seconds: float) -> None:
    assert read_seconds("any://", "lease", value, least=0.5) == seconds


@pytest.mark.parametrize("value", ["", "soon", "0.4", "-1", "nan", "inf", "1e6"])
def test_what_can_not_be_seconds_is_told(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"engine 'any://': lease takes seconds, at least 0\.5, not"):
        read_seconds("any://", "lease", value, least=0.5)
