"""The engines are chosen by URL in one place."""

from __future__ import annotations

import pytest

from antiphon.engines import open_engine
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import ConfigurationError


@pytest.mark.parametrize("url", ["memory://", "memory:", "memory:///"])
def test_memory_is_chosen_by_its_scheme(url: str) -> None:
    assert isinstance(open_engine(url), MemoryEngine)


@pytest.mark.parametrize("url", ["", "nosuch://", "memory", "://", "MEMORY2://", "redis"])
def test_an_unknown_engine_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        open_engine(url)


def test_the_memory_engine_takes_no_address() -> None:
    with pytest.raises(ConfigurationError, match="no address"):
        open_engine("memory://host")


def test_each_call_opens_another_engine() -> None:
    assert open_engine("memory://") is not open_engine("memory://")
