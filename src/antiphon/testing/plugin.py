"""The plugin for pytest: the fixture ``live_antiphon``. What it needs is imported when a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from antiphon.testing.live import LiveServer, LiveServers

_SERVERS: pytest.StashKey[LiveServers] = pytest.StashKey()


@pytest.fixture
def live_antiphon(request: pytest.FixtureRequest) -> Iterator[Callable[..., LiveServer]]:
    """Start real servers for this test: ``server = live_antiphon(application)``; all are stopped at its end.

    See ``antiphon.testing.LiveServers.start`` for what it takes, and ``LiveServer`` for what it returns.
    """
    from antiphon.testing.live import LiveServers

    with LiveServers() as servers:
        request.node.stash[_SERVERS] = servers
        yield servers.start


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Let go of clients before any fixture ends: the event loop is one, and may end before the servers."""
    servers = item.stash.get(_SERVERS, None)
    if servers is not None:
        servers.let_go()
