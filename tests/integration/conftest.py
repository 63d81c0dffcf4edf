"""Fixtures: the servers of the session, and one shared server of each test application on each kind of server."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .clients import eventually, release_all
from .sdks import KINDS, Node, Sdk, open_sdk
from .sdks import Kind as SdkKind
from .servers import ALL, DIRECT, Kind, Server, Servers, clean_environment

NODE_FOLDER = Path(__file__).parent / "node"
NPM_SECONDS = 120


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


@pytest.fixture(scope="session")
def node_packages() -> None:
    """Install for Node what the lock file names, unless it is there."""
    wanted: dict[str, dict[str, str]] = json.loads((NODE_FOLDER / "package-lock.json").read_text())["packages"]
    for path, package in wanted.items():
        installed = NODE_FOLDER / path / "package.json"
        if path and not (installed.exists() and json.loads(installed.read_text())["version"] == package["version"]):
            break
    else:
        return
    assert shutil.which("npm"), "npm is needed: Debian's package is named npm"
    subprocess.run(["npm", "ci"], cwd=NODE_FOLDER, check=True, timeout=NPM_SECONDS, capture_output=True)


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
def sdk_server(servers: Servers, visited: list[Server]) -> Server:
    """``apps/centrifuge.py`` on antiphon's server."""
    server = servers.share(DIRECT[0], "tests.integration.apps.centrifuge:app")
    visited.append(server)
    return server


@pytest.fixture
async def node(node_packages: None) -> AsyncIterator[list[Node]]:
    """A process of Node."""
    process = await Node.start()
    yield [process]
    await process.release()


@pytest.fixture
async def opened() -> AsyncIterator[list[Sdk]]:
    """Clients that are disconnected when the test is over."""
    sdks: list[Sdk] = []
    yield sdks
    for sdk in sdks:
        if await sdk.state() != "disconnected":
            await sdk.disconnect()


@pytest.fixture(params=KINDS, ids=str)
def sdk_kind(request: pytest.FixtureRequest) -> SdkKind:
    """Each SDK in each encoding."""
    found: SdkKind = request.param
    return found


@pytest.fixture
async def open_client(
    sdk_kind: SdkKind, request: pytest.FixtureRequest
) -> AsyncIterator[Callable[..., Awaitable[Sdk]]]:
    """Open a client of each SDK in each encoding."""
    node: list[Node] = []
    if sdk_kind.language == "javascript":
        request.getfixturevalue("node_packages")
        node.append(await Node.start())
    sdks: list[Sdk] = []

    async def open_client(url: str, **options: Any) -> Sdk:
        sdks.append(await open_sdk(sdk_kind, url, node, **options))
        return sdks[-1]

    yield open_client
    for sdk in sdks:
        if await sdk.state() != "disconnected":
            await sdk.disconnect()
    for process in node:
        await process.release()


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
