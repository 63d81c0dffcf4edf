"""The event loop of live servers: it runs while it has guests, and is antiphon's home."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from antiphon import app as module
from antiphon.app import App, current_app
from antiphon.config import Config
from antiphon.exceptions import ConfigurationError, UsageError
from antiphon.testing import WebsocketCommunicator
from antiphon.testing.home import Home

from .apps import scripted


@pytest.fixture(autouse=True)
def _antiphon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An antiphon of the test's own."""
    monkeypatch.setattr(module, "_app", App(Config()))


@pytest.fixture
def home() -> Iterator[Home]:
    """A home that nobody is in, also when the test is over."""
    home = Home()
    yield home
    assert not [thread for thread in threading.enumerate() if thread.name == "antiphon-live"]


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_it_runs_from_the_first_guest_to_the_last(home: Home) -> None:
    home.enter()
    loop = home.run(running_loop(), "asking")
    home.enter()
    assert home.run(running_loop(), "asking") is loop
    home.leave()
    assert loop.is_running()
    home.leave()
    assert loop.is_closed()


def test_it_is_antiphon_s_home_while_it_runs(home: Home) -> None:
    home.enter()
    first = current_app().running_hub
    assert first is not None
    assert first.loop is home.run(running_loop(), "asking")
    home.leave()
    assert current_app().running_hub is None
    home.enter()
    assert current_app().running_hub not in (first, None)
    home.leave()


def test_what_it_runs_may_fail(home: Home) -> None:
    async def fail() -> None:
        raise LookupError

    home.enter()
    with pytest.raises(LookupError):
        home.run(fail(), "failing")
    home.leave()


def test_what_it_runs_may_time_out_by_itself_or_take_too_long(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise TimeoutError("of its own")

    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    home.enter()
    with pytest.raises(TimeoutError, match="of its own"):
        home.run(fail(), "failing")
    with monkeypatch.context() as patch:
        patch.setattr("antiphon.testing.home.PATIENCE", 0.05)
        with pytest.raises(TimeoutError, match=r"hanging took longer than 0.05 s"):
            home.run(hang(), "hanging")
    assert cancelled.wait(30)
    home.leave()


async def test_it_does_not_run_beside_connections_on_another_loop(home: Home) -> None:
    async with WebsocketCommunicator(scripted, "/"):
        with pytest.raises(UsageError, match=r"another event loop.*: disconnect the test's communicators first"):
            home.enter()
    home.enter()
    home.leave()


def test_an_antiphon_that_does_not_start_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_app", App(Config(engine="nosuch://")))
    with pytest.raises(ConfigurationError, match="nosuch"):
        home.enter()
