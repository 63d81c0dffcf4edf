"""The ``antiphon`` command as a person runs it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import antiphon

from .clients import connect, eventually
from .servers import DIRECT, ROOT, Server, Servers, clean_environment, noticed

SERVE = DIRECT[0]
SECONDS = 30


def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python -m antiphon`` to its end."""
    command = [sys.executable, "-m", "antiphon", *arguments]
    environment = {**clean_environment(), **(env or {})}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert antiphon.__version__ in done.stdout


def test_help_names_the_command_and_its_options() -> None:
    assert "serve" in run("--help").stdout
    text = run("serve", "--help").stdout
    for option in ["--port", "--reload", "--workers", "--engine", "--uds", "--ssl-certfile"]:
        assert option in text


def test_console_script_is_installed() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("antiphon")), "--version"], capture_output=True, timeout=SECONDS, check=True
    )
    assert antiphon.__version__.encode() in done.stdout


MISTAKES = {
    "no application": (["serve", "greeting"], "write MODULE:APPLICATION"),
    "unknown module": (["serve", "no_such_module:app", "--port", "0"], "no_such_module"),
    "unknown attribute": (["serve", "tests.integration.apps.greeting:application", "--port", "0"], "application"),
    "unknown option": (["serve", "tests.integration.apps.greeting:app", "--prot", "0"], "--port"),
    "unknown engine": (
        ["serve", "tests.integration.apps.greeting:app", "--port", "0", "--engine", "rabbit://"],
        "rabbit",
    ),
    "several workers with the memory engine": (
        ["serve", "tests.integration.apps.greeting:app", "--port", "0", "--workers", "2"],
        "--workers 1",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_is_explained(case: str) -> None:
    arguments, words = MISTAKES[case]
    done = run(*arguments)
    assert done.returncode not in (0, -signal.SIGTERM)
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_bad_setting_in_the_environment_is_explained() -> None:
    done = run("serve", "tests.integration.apps.greeting:app", "--port", "0", env={"ANTIPHON_OUTBOX_LIMIT": "lots"})
    assert done.returncode != 0
    assert "ANTIPHON_OUTBOX_LIMIT is 'lots'" in done.stderr
    assert "Traceback" not in done.stderr


def test_port_that_is_taken_is_explained(servers: Servers) -> None:
    port = servers.share(SERVE, "tests.integration.apps.greeting:app").port
    done = run("serve", "tests.integration.apps.greeting:app", "--port", str(port))
    assert done.returncode != 0
    assert "address already in use" in (done.stdout + done.stderr).lower()
    assert "Traceback" not in done.stdout + done.stderr


async def test_it_prints_where_it_listens_and_serves_both(servers: Servers) -> None:
    server = servers.share(SERVE, "tests.integration.apps.greeting:app")
    assert f"http://127.0.0.1:{server.port}" in server.log()
    assert server.get("/somewhere").json() == {"hello": "/somewhere"}
    async with await connect(server, "/") as client:
        assert await client.ask({"hello": "world"}) == {"hello": "world"}


@pytest.mark.parametrize("clients", [0, 3])
async def test_ctrl_c_ends_cleanly(servers: Servers, clients: int) -> None:
    server = servers.start(SERVE, "tests.integration.apps.greeting:app")
    connected = [await connect(server, "/") for _ in range(clients)]
    server.signal(signal.SIGINT)
    for client in connected:
        assert (await client.closed()).code == 1012
    assert server.exit_code() == 0
    assert "Traceback" not in server.log()
    assert "KeyboardInterrupt" not in server.log()


async def test_second_ctrl_c_does_not_wait(servers: Servers, name: str) -> None:
    server = servers.start(SERVE, "tests.integration.apps.rooms:app")
    client = await connect(server, f"/room/{name}/?client={name}")
    await client.send_json({"do": "sleep"})
    await eventually(lambda: server.records(name)[1:], "the handler to sleep")
    server.signal(signal.SIGINT)
    await eventually(lambda: "hutting down" in server.log(), "the server to shut down")
    server.signal(signal.SIGINT)
    assert server.exit_code() == 130
    assert "SIGINT again: stopping at once" in server.log()
    assert "Traceback" not in server.log()
    await client.close()


async def test_client_can_come_back_at_once_on_the_same_port(servers: Servers) -> None:
    first = servers.start(SERVE, "tests.integration.apps.greeting:app")
    client = await connect(first, "/")
    first.signal(signal.SIGINT)
    await client.closed()
    first.exit_code()
    again = servers.start(
        SERVE._replace(arguments=("serve", "--port", str(first.port))), "tests.integration.apps.greeting:app"
    )
    assert again.port == first.port
    async with await connect(again, "/") as client:
        assert await client.ask([1]) == [1]


def answers(server: Server) -> bool:
    """Tell whether somebody listens."""
    try:
        socket.create_connection((server.host, server.port), timeout=SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


CHANGING = """
from antiphon import AsyncJsonWebsocketConsumer

class Greeter(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.send_json([content, "first"])

app = Greeter.as_asgi()
"""


async def test_reload_serves_what_was_changed(servers: Servers, tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    module.write_text(CHANGING)
    command = (sys.executable, "-m", "antiphon", "serve", "changing:app", "--port", "0", "--reload")
    server = servers.run(command, "antiphon --reload", cwd=tmp_path).listening()
    await eventually(lambda: "Application startup complete" in server.log() and answers(server), "the application")
    client = await connect(server, "/")
    assert await client.ask("hello") == ["hello", "first"]
    printed = len(server.log())
    module.write_text(CHANGING.replace("first", "second"))
    await eventually(lambda: noticed(server, module, "Reloading...", printed), "the reloader to notice")
    assert (await client.closed()).code == 1012
    await eventually(lambda: "Application startup complete" in server.log(printed) and answers(server), "the new one")
    async with await connect(server, "/") as client:
        assert await client.ask("hello") == ["hello", "second"]
        server.signal(signal.SIGINT)
        assert (await client.closed()).code == 1012
    assert server.exit_code() == 0
    assert "Traceback" not in server.log()


async def test_settings_of_the_environment_reach_the_server(servers: Servers) -> None:
    server: Server = servers.start(SERVE, "tests.integration.apps.greeting:app", env={"ANTIPHON_ERROR_TYPE": "fault"})
    async with await connect(server, "/") as client:
        await client.send("{")
        assert (await client.receive_json())["type"] == "fault"


def test_application_is_found_in_app_dir(servers: Servers, tmp_path: Path) -> None:
    command = (
        sys.executable,
        "-m",
        "antiphon",
        "serve",
        "tests.integration.apps.greeting:app",
        "--port",
        "0",
        "--app-dir",
        str(ROOT),
    )
    server = servers.run(command, "antiphon --app-dir", cwd=tmp_path, env={"PYTHONPATH": ""})
    server.listening(re.compile(r"running on http://([\d.]+):(\d+)"))
    assert server.get("/x").status == 200
    assert server.stop(signal.SIGINT) == 0
