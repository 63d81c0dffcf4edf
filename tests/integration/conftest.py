"""Fixtures: the servers of the session, and one shared server of each test application on each kind of server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from .clients import eventually, release_all
from .servers import ALL, DIRECT, Kind, Server, Servers, clean_environment


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of this session; all are ended with it."""
    servers = Servers(tmp_path_factory.mktemp("servers"), clean_environment())
    yield servers
    servers.close()


@pytest.fixture(params=ALL, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of server in turn."""
    kind: Kind = request.param
    return kind


@pytest.fixture(params=DIRECT, ids=lambda kind: kind.name)
def direct_kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of server that runs antiphon's protocol class."""
    kind: Kind = request.param
    return kind


@pytest.fixture(params=[kind for kind in DIRECT if kind.module == "uvicorn"], ids=lambda kind: kind.name)
def uvicorn_kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of server that runs antiphon's protocol class and takes uvicorn's options."""
    kind: Kind = request.param
    return kind


@pytest.fixture(params=[kind for kind in ALL if kind.stops], ids=lambda kind: kind.name)
def stopping_kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of server that closes its connections when it stops."""
    kind: Kind = request.param
    return kind


@pytest.fixture(autouse=True)
async def visited() -> AsyncIterator[list[Server]]:
    """Servers that have no connection left when the test is over; what a failed test left open is ended first."""
    servers: list[Server] = []
    yield servers
    await release_all()
    for server in servers:
        await nobody_left(server)


@pytest.fixture
def rooms(servers: Servers, kind: Kind, visited: list[Server]) -> Server:
    """``apps/rooms.py`` on each kind of server."""
    server = servers.share(kind, "tests.integration.apps.rooms:app")
    visited.append(server)
    return server


@pytest.fixture
def direct_rooms(servers: Servers, direct_kind: Kind, visited: list[Server]) -> Server:
    """``apps/rooms.py`` on each kind of server that runs antiphon's protocol class."""
    server = servers.share(direct_kind, "tests.integration.apps.rooms:app")
    visited.append(server)
    return server


@pytest.fixture
def spec(servers: Servers, direct_kind: Kind) -> Server:
    """``apps/spec.py`` on each kind of server that runs antiphon's protocol class."""
    return servers.share(direct_kind, "tests.integration.apps.spec:app")


@pytest.fixture
def name() -> str:
    """A name that no other test uses, for groups and clients."""
    return f"n{uuid.uuid4().hex[:12]}"


async def nobody_left(server: Server) -> None:
    """Wait until the server has no connection any more."""
    await eventually(lambda: server.stats()["connections"] == 0, f"the connections of {server.name} to end")
