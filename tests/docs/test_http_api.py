"""The page about the HTTP API: its server, its commands and programs, and its tables."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from antiphon.http_api import requests
from antiphon.http_api.methods import AT_ONCE, METHODS
from tests.integration.servers import Server, Servers

from .documents import blocks, build, page
from .reader import serve, shown

PAGE = page("docs/howto/http-api.md")
KEY = "a-key-of-sixteen-characters-or-more"
ENVIRONMENT = {"ANTIPHON_API_KEYS": KEY}


@pytest.fixture
def news(servers: Servers, folder: Path) -> Server:
    """The page's server, started by its command."""
    build(PAGE, folder)
    return serve(servers, folder, shown(PAGE, "antiphon serve news:app"), env=ENVIRONMENT).listening()


def test_curl(news: Server, folder: Path) -> None:
    command = shown(PAGE, "curl ").replace("http://localhost:8000", news.url("", "http"))
    done = subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, **ENVIRONMENT}, capture_output=True, timeout=60, check=True
    )
    (answer,) = (json.loads(block.text) for block in blocks(PAGE) if block.language == "json")
    given = json.loads(done.stdout)
    assert given["result"].pop("epoch")
    assert answer["result"].pop("epoch")
    assert given == answer


def test_the_program(news: Server, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "desk.py", news.url("/api", "http")],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "published once: True",
        "kept: [{'text': 'tea'}]",
        "present: 0",
        "108 no rule for group 'other' sets presence",
    ]


@pytest.mark.parametrize("application", ["on_starlette:app", "project.asgi:application"])
def test_elsewhere(servers: Servers, project: Path, application: str) -> None:
    build(PAGE, project)
    # Here news.py is not to put the API in front of anything.
    (project / "news.py").write_text((project / "news.py").read_text().replace('    api_path="/api",\n', ""))
    server = serve(servers, project, f"antiphon serve {application}", env=ENVIRONMENT).listening()
    url = server.url("/internal/publish", "http")
    call = {"channel": "news:today", "data": 1}
    answer = httpx.post(url, json=call, headers={"Authorization": f"apikey {KEY}"}, trust_env=False)
    assert (answer.status_code, answer.json()["result"]["offset"]) == (200, 1)
    assert httpx.post(url, json=call, trust_env=False).status_code == 401


def rows(head: str) -> list[list[str]]:
    """Return the cells of the table that begins with ``head``."""
    table = PAGE.read_text().partition(head)[2].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_the_methods_are_those_that_there_are() -> None:
    told: dict[str, set[str]] = {}
    for methods, fields, _ in rows("| method | fields | result |"):
        for method in named(methods):
            told[method] = set(named(fields)) - {"code", "reason"}
    told["broadcast"] = told["publish"] - {"channel"} | {"channels"}
    refused = {"skip_history"}  # for a group that keeps its history, and no news for another
    assert told == {name: set(method.takes.__struct_fields__) - refused for name, method in METHODS.items()}
    assert f"up to {AT_ONCE} at a time" in PAGE.read_text()


def test_what_can_not_be_honoured_is_named() -> None:
    (sentence,) = re.findall(r"What it knows and can't honour.*", PAGE.read_text())
    cannot = {
        name for method in METHODS.values() if method.takes is not requests.Subscribe for name in method.takes.cannot
    }
    commercial = {"label_filter", "all_users"}  # Centrifugo PRO's
    assert {"version", "whitelist"} == cannot - commercial - {"version_epoch", "info"}
    assert {"version", "whitelist", "skip_history"} <= set(named(sentence))


def calls() -> Iterator[tuple[Any, ...]]:
    """What is answered with each status of the table."""
    yield 400, "POST", "info", b"{", KEY
    yield 401, "POST", "info", b"{}", "wrong"
    yield 404, "POST", "nothing", b"{}", KEY
    yield 405, "GET", "info", b"", KEY
    yield 413, "POST", "info", b" " * (1 << 20) + b"{}", KEY


def test_the_statuses(news: Server) -> None:
    for status, method, name, body, key in calls():
        url = news.url(f"/api/{name}", "http")
        answer = httpx.request(method, url, content=body, headers={"X-API-Key": key}, trust_env=False)
        assert answer.status_code == status
    assert [int(status) for status, _ in rows("| status | |")] == [call[0] for call in calls()]


def test_the_codes_of_errors_are_told() -> None:
    source = "".join(path.read_text() for path in Path(requests.__file__).parent.glob("*.py"))
    from antiphon.wire.centrifuge import codes

    used = {getattr(codes, name) for name in re.findall(r"\bERROR_[A-Z_]+", source)} - {codes.ERROR_UNAUTHORIZED}
    assert {int(code) for code, _ in rows("| code | |")} == used
