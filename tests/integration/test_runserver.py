"""``manage.py runserver`` with ``antiphon.django`` in ``INSTALLED_APPS``."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from .clients import connect, eventually
from .servers import ROOT, Server, Servers, noticed

#: The log has the chosen port in the line of the server, not in Django's.
RUNNING = re.compile(r"Uvicorn running on http://([\d.]+):(\d+)")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of ``apps/workshop`` that a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "tests" / "integration" / "apps" / "workshop", folder)
    (folder / "__init__.py").unlink()
    return folder


def runserver(servers: Servers, project: Path, *options: str) -> Server:
    """Run the command on a free port."""
    command = (sys.executable, "manage.py", "runserver", "127.0.0.1:0", *options)
    return servers.run(command, "manage.py runserver", cwd=project).listening(RUNNING)


async def test_http_static_files_and_websockets(servers: Servers, project: Path) -> None:
    server = runserver(servers, project, "--noreload")
    assert server.get("/").body == b"the first page"
    assert server.get("/static/hello.txt").body == b"served from a file\n"
    assert server.get("/static/missing.txt").status == 404
    async with await connect(server, "/ws/echo/") as client:
        assert await client.ask({"a": 1}) == {"echo": {"a": 1}}


async def test_settings_reach_antiphon(servers: Servers, project: Path) -> None:
    server = runserver(servers, project, "--noreload")
    async with await connect(server, "/ws/echo/") as client:
        await client.send("{")
        assert (await client.receive_json())["type"] == "fault"


async def test_without_static_files(servers: Servers, project: Path) -> None:
    server = runserver(servers, project, "--noreload", "--nostatic")
    assert server.get("/static/hello.txt").status == 404
    assert server.get("/").status == 200


async def test_ctrl_c_ends_cleanly_with_clients_connected(servers: Servers, project: Path) -> None:
    server = runserver(servers, project, "--noreload")
    client = await connect(server, "/ws/echo/")
    server.signal(signal.SIGINT)
    assert (await client.closed()).code == 1012
    assert server.exit_code() == 0
    assert "Traceback" not in server.log()


async def test_it_says_what_it_is(servers: Servers, project: Path) -> None:
    server = runserver(servers, project, "--noreload")
    assert "settings 'workshop.settings', antiphon" in server.log()
    assert "Serving HTTP and WebSockets at http://127.0.0.1:" in server.log()


@pytest.mark.parametrize("changed", ["asgi.py", "urls.py"])
async def test_autoreload_serves_what_was_changed(servers: Servers, project: Path, changed: str) -> None:
    server = runserver(servers, project)
    client = await connect(server, "/ws/echo/")
    assert await client.ask(1) == {"echo": 1}
    assert server.get("/").body == b"the first page"
    file = project / "workshop" / changed
    printed = len(server.log())
    file.write_text(file.read_text().replace('{"echo"', '{"second"').replace("the first page", "the second page"))
    await eventually(lambda: noticed(server, file, "changed, reloading", printed), "autoreload to notice")
    found = await eventually(lambda: RUNNING.search(server.log(printed)), "the server to run again")
    server.port = int(found[2])
    assert (await client.closed()).code == 1012
    async with await connect(server, "/ws/echo/") as client:
        assert await client.ask(2) == ({"second": 2} if changed == "asgi.py" else {"echo": 2})
    assert server.get("/").body == (b"the second page" if changed == "urls.py" else b"the first page")
    server.stop(signal.SIGINT)
    assert "Traceback" not in server.log()


def test_missing_application_is_explained(servers: Servers, project: Path) -> None:
    settings = project / "workshop" / "settings.py"
    settings.write_text(settings.read_text().replace("ASGI_APPLICATION", "NO_APPLICATION"))
    command = (sys.executable, "manage.py", "runserver", "127.0.0.1:0", "--noreload")
    server = servers.run(command, "manage.py runserver", cwd=project)
    assert server.exit_code() == 1
    assert "ASGI_APPLICATION is not set" in server.log()
    assert "Traceback" not in server.log()


def test_mistake_in_the_settings_is_explained(servers: Servers, project: Path) -> None:
    settings = project / "workshop" / "settings.py"
    settings.write_text(settings.read_text().replace("error_type", "eror_type"))
    command = (sys.executable, "manage.py", "runserver", "127.0.0.1:0", "--noreload")
    server = servers.run(command, "manage.py runserver", cwd=project)
    assert server.exit_code() != 0
    assert "antiphon has no option 'eror_type'" in server.log()
