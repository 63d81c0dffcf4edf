"""An application written for Channels, with nothing but the import changed, in a Django project, on every server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .clients import Client, closed_with, connect, eventually, exchange, upgrade_request
from .servers import ROOT, Kind, Server, Servers, clean_environment

HELLO = {"type": "message", "content": "Hello, server!"}
ANSWER = {"type": "response", "content": "Message received: Hello, server!"}


@pytest.fixture(scope="session")
def site_sessions(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The site's database, which the servers find in their environment; returns each user's session key."""
    servers.environment["SITE_DATABASE"] = str(tmp_path_factory.mktemp("site") / "site.sqlite3")
    command = [sys.executable, "-m", "tests.integration.apps.django_site.prepare"]
    environment = {**clean_environment(), **servers.environment}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=60, check=True)
    sessions: dict[str, str] = json.loads(done.stdout)
    return sessions


@pytest.fixture
def site(servers: Servers, kind: Kind, site_sessions: dict[str, str], visited: list[Server]) -> Server:
    """The project on each kind of server."""
    server = servers.share(kind, "tests.integration.apps.django_site.asgi:application")
    visited.append(server)
    return server


@pytest.fixture
def ada(site_sessions: dict[str, str]) -> dict[str, str]:
    """The headers of Ada, who is logged in."""
    return {"Cookie": f"sessionid={site_sessions['ada']}"}


@pytest.fixture
def alan(site_sessions: dict[str, str]) -> dict[str, str]:
    """The headers of Alan, who is logged in."""
    return {"Cookie": f"sessionid={site_sessions['alan']}"}


async def test_a_message_is_answered(site: Server, ada: dict[str, str]) -> None:
    async with await connect(site, "/ws/room/", ada) as client:
        assert await client.ask(HELLO) == ANSWER


async def test_every_other_member_hears_it(site: Server, ada: dict[str, str], alan: dict[str, str]) -> None:
    async with await connect(site, "/ws/a/", ada) as first, await connect(site, "/ws/b/", alan) as second:
        assert await first.ask(HELLO) == ANSWER
        assert await second.receive_json() == ANSWER
        assert await second.ask(HELLO) == ANSWER
        assert await first.receive_json() == ANSWER


async def test_who_is_not_logged_in_is_refused_and_joins_nothing(site: Server, ada: dict[str, str]) -> None:
    before, printed = site.stats(), len(site.log())
    async with await exchange(site, upgrade_request("/ws/room/")) as refusal:
        assert refusal.status == 403
    after = site.stats()
    assert after["connections_refused"] - before["connections_refused"] == 1
    assert after["joins_refused"] - before["joins_refused"] == 1
    assert after["connections_accepted"] == before["connections_accepted"]
    assert after["connections"] == 0
    log = site.log(printed)
    assert log.count("Write 'return' after 'await self.close()'") == 1
    assert "MyConsumer at '/ws/room/' (anonymous)" in log
    assert "Traceback" not in log
    async with await connect(site, "/ws/room/", ada) as client:
        assert await client.ask(HELLO) == ANSWER


async def test_a_session_that_does_not_exist_is_refused(site: Server) -> None:
    request = upgrade_request("/ws/room/", "cookie: sessionid=x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0")
    async with await exchange(site, request) as refusal:
        assert refusal.status == 403


async def test_who_left_hears_nothing_and_costs_nothing(site: Server, ada: dict[str, str]) -> None:
    async with await connect(site, "/ws/room/", ada) as stays:
        async with await connect(site, "/ws/room/", ada) as leaves:
            assert await leaves.ask(HELLO) == ANSWER
            assert await stays.receive_json() == ANSWER
        await eventually(lambda: site.stats()["connections"] == 1, "the other to be gone")
        before = site.stats()["sends_after_close"]
        assert await stays.ask(HELLO) == ANSWER
        assert site.stats()["sends_after_close"] == before


async def test_content_of_the_wrong_shape_closes_with_1011_and_names_the_user(
    site: Server, ada: dict[str, str], alan: dict[str, str]
) -> None:
    printed = len(site.log())
    async with await connect(site, "/ws/room/", ada) as bad, await connect(site, "/ws/room/", alan) as good:
        await bad.send_json({"no": "type"})
        assert closed_with(site, await bad.closed(), 1011)
        assert await good.ask(HELLO) == ANSWER
    log = await eventually(lambda: "KeyError: 'type'" in site.log(printed) and site.log(printed), "the log")
    assert "MyConsumer at '/ws/room/' (user 1): exception in receive_json()" in log


async def test_sync_view_reaches_the_members(site: Server, ada: dict[str, str]) -> None:
    async with await connect(site, "/ws/room/", ada) as client:
        answer = site.get("/announce?content=news").json()
        assert answer["offset"] >= 1
        heard = [await client.receive_json(), await client.receive_json()]
        assert {"type": "response", "content": "news"} in heard
        assert {"type": "published", "content": "news"} in heard


MOUNTED = {
    "starlette-route": ("tests.integration.apps.frameworks:starlette_app", "/ws/room/"),
    "starlette-mount": ("tests.integration.apps.frameworks:starlette_app", "/mounted/"),
    "fastapi-mount": ("tests.integration.apps.frameworks:fastapi_app", "/ws/room/"),
    "bare": ("tests.integration.apps.frameworks:bare", "/"),
}


@pytest.fixture(params=MOUNTED)
def mounted(
    request: pytest.FixtureRequest, servers: Servers, direct_kind: Kind, visited: list[Server]
) -> tuple[Server, str]:
    """The same consumer where there is no Django: the server, and the path of the consumer."""
    application, path = MOUNTED[request.param]
    server = servers.share(direct_kind, application)
    visited.append(server)
    return server, path


async def test_every_member_hears_it_without_django(mounted: tuple[Server, str]) -> None:
    server, path = mounted
    headers = {"Authorization": "ada"}
    async with await connect(server, path, headers) as first, await connect(server, path, headers) as second:
        assert await first.ask(HELLO) == ANSWER
        assert await second.receive_json() == ANSWER


async def test_a_stranger_is_refused_without_django(mounted: tuple[Server, str]) -> None:
    server, path = mounted
    printed = len(server.log())
    async with await exchange(server, upgrade_request(path)) as refusal:
        assert refusal.status == 403
    fault = "Write 'return' after 'await self.close()'"
    assert await eventually(lambda: server.log(printed).count(fault), "the log") == 1


async def test_many_members_each_hear_each_message_once_in_order(site: Server, ada: dict[str, str]) -> None:
    members: list[Client] = [await connect(site, "/ws/room/", ada) for _ in range(20)]
    try:
        for number in range(10):
            await members[number].send_json({"type": "message", "content": str(number)})
            for member in members:
                assert await member.receive_json() == {"type": "response", "content": f"Message received: {number}"}
    finally:
        for member in members:
            await member.close()
