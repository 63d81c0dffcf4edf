"""A process of its own for each test: an antiphon with a key to its API, and rules."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import antiphon
from antiphon import app
from antiphon.app import App, current_app

from .caller import KEY


@pytest.fixture
async def antiphon_app(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """An antiphon whose ``kept`` keeps its history, and ``noted`` its presence."""
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})
    rules = {"kept:*": {"history_size": 10}, "noted": {"presence": "kept"}, "latest": {"slow": "latest_by_key"}}
    antiphon.configure(api_keys=["another-key-of-the-same-api", KEY], rules=rules, max_message_size=1000)
    yield current_app()
    await current_app().stop()
