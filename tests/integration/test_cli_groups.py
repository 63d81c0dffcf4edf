"""The command line reaches the groups of a server that runs, by the engine that both use."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from antiphon.tokens import connection_token

from .clients import Client, connect
from .servers import DIRECT, ROOT, Server, Servers, clean_environment

SECRET = "a secret that is long enough for HMAC with SHA-256"
RULES = {"room:*": {"subscribe": "allow", "history_size": 100, "presence": "kept"}}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the server and the commands are told."""
    folder = tmp_path_factory.mktemp("shared")
    return {
        "ANTIPHON_ENGINE": f"sqlite:///{folder}/antiphon.sqlite3",
        "ANTIPHON_RULES": json.dumps(RULES),
        "ANTIPHON_TOKEN_SECRETS": SECRET,
    }


@pytest.fixture(scope="module")
def server(servers: Servers, environment: dict[str, str]) -> Server:
    """A server on the engine that the commands reach."""
    return servers.start(DIRECT[0], "tests.integration.apps.centrifuge:app", env=environment)


async def antiphon(environment: dict[str, str], *arguments: str, stdin: str = "") -> Any:
    """Run a command; return what it printed."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "antiphon", *arguments],
        cwd=ROOT,
        env={**clean_environment(), **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout) if done.stdout else None


async def opened(server: Server, user: str, group: str) -> Client:
    """Connect as a user, and subscribe."""
    client = await connect(server, "/connection/room")
    await client.ask({"connect": {"token": connection_token(user, key=SECRET)}, "id": 1})
    await client.ask({"subscribe": {"channel": group}, "id": 2})
    return client


async def test_a_member_hears_what_is_published_and_is_thrown_out(
    server: Server, environment: dict[str, str], name: str, visited: list[Server]
) -> None:
    visited.append(server)
    group = f"room:{name}"
    client = await opened(server, name, group)
    position = await antiphon(environment, "publish", group, "-", stdin='{"n": 1}')
    heard = (await client.receive_json())["push"]["pub"]
    assert (heard["data"], heard["offset"]) == ({"n": 1}, position["offset"])
    page = await antiphon(environment, "history", group)
    assert (page["epoch"], page["offset"]) == (position["epoch"], 1)
    assert [each["data"] for each in page["publications"]] == [{"n": 1}]
    (present,) = (await antiphon(environment, "presence", group)).values()
    assert present["user"] == name
    await antiphon(environment, "kick", name, "--reason", "goodbye")
    assert await client.closed() == (3503, "goodbye")


async def test_djangos_settings_say_where_the_groups_are(
    environment: dict[str, str], name: str, tmp_path: Path
) -> None:
    (tmp_path / "site_settings.py").write_text(
        "SECRET_KEY = 'tests'\nUSE_TZ = True\nINSTALLED_APPS = ['antiphon.django']\n"
        f"ANTIPHON = {{'engine': {environment['ANTIPHON_ENGINE']!r}, 'rules': {RULES!r}}}\n"
    )
    options = ("--settings", "site_settings", "--app-dir", str(tmp_path))
    assert (await antiphon({}, "publish", f"room:{name}", "1", *options))["offset"] == 1
    assert (await antiphon(environment, "history", f"room:{name}"))["offset"] == 1
