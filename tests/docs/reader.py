"""What a reader of the documents does: starts servers and programs as a page says, connects, opens a browser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright
from websockets.asyncio.client import ClientConnection, connect

from tests.integration.servers import PATIENCE, Server, Servers

__all__ = [
    "a_browser",
    "ask",
    "closed",
    "cookie",
    "django",
    "everybody_hears",
    "in_node",
    "receive",
    "running",
    "serve",
    "shown",
    "tell",
    "type_in",
]

#: How each program is told to listen on a free port of 127.0.0.1.
FREE_PORT = {
    "antiphon": ("--port", "0"),
    "uvicorn": ("--port", "0"),
    "hypercorn": ("-b", "127.0.0.1:0", "--error-logfile", "-"),
    "daphne": ("-b", "127.0.0.1", "-p", "0"),
    "manage.py": ("127.0.0.1:0", "--noreload"),
}


def serve(servers: Servers, folder: Path, command: str, *more: str, env: Mapping[str, str] | None = None) -> Server:
    """Start a command as a page has it, but on a free port, or where ``more`` says."""
    program, *arguments = shlex.split(command.removeprefix("python "))
    start = [program] if program == "manage.py" else ["-m", program]
    path = {"PYTHONPATH": str(folder)} if program == "hypercorn" else {}  # it does not look into its own folder
    line = [sys.executable, *start, *arguments, *(more or FREE_PORT[program])]
    return servers.run(line, command, cwd=folder, env={**path, **(env or {})})


def shown(path: Path, pattern: str) -> str:
    """Return the command that ``path`` shows and that matches ``pattern``."""
    found = re.findall(rf"^({pattern}.*)$|`({pattern}[^`]*)`", path.read_text(), re.MULTILINE)
    assert found, f"{path} shows no {pattern}"
    line, inline = found[0]
    return str(line or inline).split("   ")[0].strip()


def django(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run one of Django's commands in the example's folder."""
    start = ["-m", "django"] if arguments[0] == "startproject" else ["manage.py"]
    done = subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def receive(client: ClientConnection) -> Any:
    """Return the next JSON document."""
    return json.loads(await asyncio.wait_for(client.recv(), PATIENCE))


async def tell(client: ClientConnection, content: Any) -> None:
    """Send a JSON document."""
    await client.send(json.dumps(content))


async def ask(client: ClientConnection, content: Any) -> Any:
    """Send a JSON document and return the next one that comes."""
    await tell(client, content)
    return await receive(client)


async def closed(client: ClientConnection) -> tuple[int | None, str | None]:
    """Wait for the end; return code and reason."""
    await asyncio.wait_for(client.wait_closed(), PATIENCE)
    return client.close_code, client.close_reason


async def everybody_hears(url: str, content: Any, heard: Any, **options: Any) -> None:
    """Let one of two clients say something, and see that both hear it."""
    async with connect(url, **options) as first, connect(url, **options) as second:
        assert await ask(first, content) == heard
        assert await receive(second) == heard


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """Run a client; yields it and what reads its output so far. It is ended."""
    log = folder / "client.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True
        )
    try:
        yield process, log.read_text
    finally:
        process.kill()
        process.communicate()


def in_node(folder: Path, script: str) -> list[str]:
    """Return the command that runs a module in Node."""
    (folder / "main.mjs").write_text(script)
    return ["node", "--no-warnings", "--experimental-websocket", "main.mjs"]


@contextmanager
def a_browser() -> Iterator[Browser]:
    """Run Chromium, without a window."""
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


def type_in(process: subprocess.Popen[str], text: str) -> None:
    """Write a line to a client's input."""
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


_COOKIE = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
user = get_user_model().objects.create_user("ada")
session = SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session.save()
print("sessionid=" + session.session_key)
"""


def cookie(site: Path) -> str:
    """Log a new user in; return the cookie."""
    return django(site, "shell", "-c", _COOKIE).split()[-1]
