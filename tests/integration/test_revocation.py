"""Who logs out of a Django site is not connected any more, on both wires and in every process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from .clients import Client, connect
from .servers import DIRECT, ROOT, Server, Servers, clean_environment

APPLICATION = "tests.integration.apps.accounts.asgi:application"
#: What a kicked client is told on each wire.
CODES = {"plain": 1008, "centrifuge": 3503}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the site has its database, and antiphon its streams: a file that processes share."""
    folder = tmp_path_factory.mktemp("accounts")
    more = {
        "ACCOUNTS_DATABASE": str(folder / "site.sqlite3"),
        "ANTIPHON_ENGINE": f"sqlite:///{folder}/antiphon.sqlite3",
        "DJANGO_SETTINGS_MODULE": "tests.integration.apps.accounts.settings",
    }
    command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env={**clean_environment(), **more}, timeout=60, check=True)
    return more


@pytest.fixture(scope="module")
def site(servers: Servers, environment: dict[str, str]) -> Server:
    """One process of the site."""
    return servers.start(DIRECT[0], APPLICATION, env=environment)


@pytest.fixture(scope="module")
def other(servers: Servers, environment: dict[str, str]) -> Server:
    """Another."""
    return servers.start(DIRECT[0], APPLICATION, env=environment)


class Browser:
    """A session of a user."""

    def __init__(self, site: Server, name: str) -> None:
        self.name = name
        self._http = httpx.AsyncClient(base_url=site.url("", "http"), trust_env=False)

    async def get(self, path: str) -> str:
        """Ask for a page."""
        answer = await self._http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def log_in(self, password: str = "") -> Browser:
        """Log in."""
        await self.get(f"/login/{self.name}?password={password or self.name}")
        return self

    @property
    def headers(self) -> dict[str, str]:
        """What a WebSocket shows of the session."""
        return {"Cookie": f"sessionid={self._http.cookies['sessionid']}"}

    async def open(self, server: Server, wire: str = "plain") -> Client:
        """Open a WebSocket."""
        client = await connect(server, f"/{wire}", self.headers)
        if wire == "centrifuge":
            await client.send_json({"connect": {}, "id": 1})
            await client.receive_json()
        return client

    async def close(self) -> None:
        """Forget all."""
        await self._http.aclose()


@pytest.fixture
async def browser(site: Server, other: Server, name: str, visited: list[Server]) -> AsyncIterator[Callable[[], Any]]:
    """Log a user in, in a further browser; all are the same user's."""
    visited += [site, other]
    browsers: list[Browser] = []

    async def open_browser() -> Browser:
        browsers.append(Browser(site, name))
        if len(browsers) == 1:
            await browsers[0].get(f"/create/{name}")
        return await browsers[-1].log_in()

    yield open_browser
    for each in browsers:
        await each.close()


async def is_open(client: Client) -> bool:
    """Tell whether a plain client is still heard."""
    return bool(await client.ask({"n": 1}) == {"n": 1})


@pytest.mark.parametrize("wire", CODES)
@pytest.mark.parametrize("way", ["/logout", "/logout-async"])
async def test_a_session_is_logged_out(
    site: Server, other: Server, browser: Callable[[], Any], wire: str, way: str
) -> None:
    leaves, stays = await browser(), await browser()
    here, there = await leaves.open(site, wire), await leaves.open(other, wire)
    remaining = await stays.open(other)
    headers = leaves.headers
    await leaves.get(way)
    assert [(await client.closed()).code for client in (here, there)] == [CODES[wire]] * 2
    with pytest.raises(InvalidStatus):  # it comes back at once, and is refused
        await connect(site, "/plain", headers)
    assert await is_open(remaining)
    await remaining.close()


async def test_a_password_is_changed(site: Server, other: Server, browser: Callable[[], Any]) -> None:
    changes, forgets = await browser(), await browser()
    clients = [await changes.open(site), await forgets.open(site), await forgets.open(other, "centrifuge")]
    await changes.get("/password/another")
    assert [(await client.closed()).code for client in clients] == [1008, 1008, 3503]
    again = await changes.open(other)  # Django let this session live
    assert await is_open(again)
    assert await forgets.get("/whoami") == ""
    await again.close()


@pytest.mark.parametrize("way", ["deactivate", "delete"])
async def test_a_user_is_thrown_out(site: Server, other: Server, browser: Callable[[], Any], way: str) -> None:
    one = await browser()
    clients = [await one.open(site), await one.open(other)]
    await one.get(f"/{way}/{one.name}")
    assert [(await client.closed()).code for client in clients] == [1008] * 2


async def test_a_command_in_a_process_of_its_own(
    site: Server, browser: Callable[[], Any], environment: dict[str, str], tmp_path: Path
) -> None:
    one = await browser()
    client = await one.open(site)
    script = "from django.contrib.auth import get_user_model as m; u = m().objects.get(username={!r}); u.delete()"
    command = [sys.executable, "-m", "django", "shell", "-c", script.format(one.name)]
    process = subprocess.Popen(command, cwd=ROOT, env={**clean_environment(), **environment})
    assert (await client.closed()).code == 1008
    assert process.wait(20) == 0
