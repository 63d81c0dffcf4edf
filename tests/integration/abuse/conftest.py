"""Fixtures: the server that is abused, shared or of a test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.servers import DIRECT, Kind, Server, Servers

APP = "tests.integration.abuse.app:app"
#: What people run, and what is meant to be open to the internet.
SERVE = next(kind for kind in DIRECT if kind.name == "antiphon")

Start = Callable[..., Server]
#: ``record_property``, by which a test reports what it measured.
Record = Callable[[str, object], None]


@pytest.fixture
def target(servers: Servers, visited: list[Server]) -> Server:
    """A server that tests share."""
    server = servers.share(SERVE, APP)
    visited.append(server)
    return server


@pytest.fixture
def start(servers: Servers, visited: list[Server]) -> Start:
    """Starts a server of the test's own, with antiphon's options given by name."""

    def start(**options: object) -> Server:
        env = {f"ANTIPHON_{name.upper()}": str(value) for name, value in options.items()}
        server = servers.start(SERVE, APP, env=env)
        visited.append(server)
        return server

    return start


@pytest.fixture
def direct_target(servers: Servers, direct_kind: Kind, visited: list[Server]) -> Server:
    """A server that tests share, on each kind of server that runs antiphon's protocol class."""
    server = servers.share(direct_kind, APP)
    visited.append(server)
    return server
