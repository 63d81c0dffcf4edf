"""A live server for the tests of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from antiphon.testing import LiveServer

from .apps import Scripted, scripted

__all__ = ["Live"]

#: What the fixture ``live_antiphon`` is.
Live = Callable[..., LiveServer]


@pytest.fixture
def left() -> Iterator[list[int]]:
    """The codes that ``Scripted`` was left with."""
    Scripted.left = []
    yield Scripted.left
    Scripted.left = []


@pytest.fixture
def server(live_antiphon: Live) -> LiveServer:
    """``Scripted``, served in this process."""
    return live_antiphon(scripted)
