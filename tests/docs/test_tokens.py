"""The page about tokens: its examples run, and its tables of claims and of outcomes are what the server does."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from antiphon.keys import Keys, secret_key
from antiphon.tokens import connection_token, subscription_token
from antiphon.verifier import Verifier
from tests.forge import NOW, OTHER_SECRET, token
from tests.integration.conftest import NODE_FOLDER
from tests.integration.conftest import node_packages as node_packages
from tests.integration.servers import PATIENCE, Server, Servers, until

from .documents import blocks, build, page
from .reader import closed, cookie, django, in_node, receive, running, serve, shown, tell

TOKENS = page("docs/howto/tokens.md")
VARIABLE = "ANTIPHON_TOKEN_SECRETS"
SECRET = "a secret without a comma and long enough for HMAC"
GROUP = "team:red"


@pytest.fixture
def orders(servers: Servers, project: Path) -> Server:
    """The page's server, started by its command."""
    build(TOKENS, project)
    return serve(servers, project, shown(TOKENS, "antiphon serve orders:app"), env={VARIABLE: SECRET}).listening()


# Examples

#: What a browser does for the page's script: the address of the site, and its cookie.
_BROWSER = """
const fetched = globalThis.fetch;
globalThis.fetch = (path) => fetched("%s" + path, { headers: { cookie: "%s" } });
"""
_JOIN = "from django.contrib.auth.models import *; Group.objects.create(name='red').user_set.add(User.objects.get())"


def test_the_views_and_the_page(servers: Servers, orders: Server, project: Path, node_packages: None) -> None:
    site = serve(servers, project, "antiphon serve project.asgi:application", env={VARIABLE: SECRET}).listening()
    ada = cookie(project)
    (script,) = (block.text for block in blocks(TOKENS) if block.language == "javascript")
    whole = _BROWSER % (site.url("", "http"), ada) + script.replace("ws://localhost:8000/", orders.url("/"))
    (project / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    with running(in_node(project, whole), project) as (_, printed):
        until(lambda: {"I am ada", "not of the team 1 unauthorized"} <= set(printed().splitlines()), "both answers")
    django(project, "shell", "-c", _JOIN)
    with running(in_node(project, whole), project) as (_, printed):
        until(lambda: printed().splitlines() == ["I am ada", "team hello"], "the publication")
    with running(in_node(project, whole.replace(ada, "nobody=1")), project) as (_, printed):
        until(lambda: "given up 1 unauthorized" in printed(), "the SDK to give up")


def test_the_program(orders: Server, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    with running([sys.executable, "reporter.py", orders.url("/")], project) as (process, printed):
        assert process.wait(PATIENCE) == 0, printed()
        assert printed() == "I am the reporter\n"


@pytest.mark.parametrize("make", [connection_token, subscription_token], ids=lambda make: make.__name__)
def test_what_they_take(make: Callable[..., str]) -> None:
    parameters = [each.replace(annotation=each.empty) for each in inspect.signature(make).parameters.values()]
    assert f"### `antiphon.tokens.{make.__name__}{inspect.Signature(parameters)}`\n" in TOKENS.read_text()


# What a client is told

COMMANDS = ("connect", "refresh", "subscribe", "sub_refresh")
#: What makes a token of a command bad, by the first cell of its row. ``seconds`` is when it expires, from now.
BAD: dict[str, dict[str, Any]] = {
    "it has expired, or is not valid yet": {"seconds": -3600},
    "nobody here has signed it, or it says what can't be": {"key": OTHER_SECRET},
    "it is for another audience or from another issuer": {"aud": "others"},
    "it is the other kind of token": {},
    "it is another user's": {"sub": "alan"},
    "it is for another group or connection": {"channel": "team:blue"},
    "there is none": {},
}
#: Who decides in the page's example, and how.
DECIDED = {"`connect()` decides": "closed with 4500", "the hook or rule decides": "error 103"}


def made(*, sub: str = "ada", seconds: float = 600, key: str = SECRET, **claims: Any) -> str:
    """Return a token by the clock of this machine."""
    return token({"sub": sub, "exp": time.time() + seconds, **claims}, key=key)


def carried(wrong: str, command: str) -> str:
    """Return the token of a row that a command carries."""
    if wrong == "there is none":
        return ""
    names_a_group = command.startswith("sub") is not (wrong == "it is the other kind of token")
    return made(**{**({"channel": GROUP} if names_a_group else {}), **BAD[wrong]})


def table() -> dict[tuple[str, str], str]:
    """Return what the page says, by row and command."""
    section = TOKENS.read_text().partition("## What a client is told\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!---|what)(.+?) \|(.*)\|$", section, re.MULTILINE)
    cells = {row: zip(COMMANDS, rest.split("|"), strict=True) for row, rest in rows}
    assert list(cells) == list(BAD)
    return {(row, command): cell.strip() for row in cells for command, cell in cells[row] if cell.strip()}


async def happens(client: ClientConnection, command: dict[str, Any]) -> str:
    """Send a command, then an innocent one, and return what comes of it in the page's words."""
    said = []
    try:
        await tell(client, {**command, "id": 8})
        reply = await receive(client)
        said += [f"error {reply['error']['code']}"] if "error" in reply else ["nothing"]
        await tell(client, {"rpc": {"method": "who_am_i"}, "id": 9})
        await receive(client)
    except ConnectionClosed:
        said.append(f"closed with {(await closed(client))[0]}")
    return ", ".join(said)


async def outcome(server: Server, wrong: str, command: str) -> str:
    """Return what happens to a command with a bad token."""
    before = {"connect": {"token": made()}, "subscribe": {"channel": GROUP, "token": made(channel=GROUP)}}
    needed = {"refresh": ["connect"], "subscribe": ["connect"], "sub_refresh": ["connect", "subscribe"]}
    async with connect(server.url("/")) as client:
        for number, name in enumerate(needed.get(command, []), 1):
            await tell(client, {name: before[name], "id": number})
            assert name in await receive(client)
        content = {"token": carried(wrong, command), **({"channel": GROUP} if command.startswith("sub") else {})}
        return await happens(client, {command: content})


async def test_what_a_client_is_told(orders: Server) -> None:
    said = table()
    happened = await asyncio.gather(*(outcome(orders, *cell) for cell in said))
    assert dict(zip(said, happened, strict=True)) == {cell: DECIDED.get(what, what) for cell, what in said.items()}


# Claims


class Watched(dict[str, Any]):
    """Claims that know which of them were asked for."""

    asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Note the name."""
        self.asked.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


def test_the_claims_are_those_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "asked", set())
    monkeypatch.setattr("antiphon.verifier.read_json", lambda data: Watched(json.loads(data)))
    reads = Verifier(Keys([secret_key(SECRET, "it")]), audience="here", issuer="them")
    common = {"sub": "ada", "aud": "here", "iss": "them"}
    reads.connection(token(common, key=SECRET), NOW)
    for_group = token({**common, "channel": GROUP}, key=SECRET)
    reads.subscription(for_group, group=GROUP, user="ada", client="c", now=NOW)
    section = TOKENS.read_text().partition("## Claims\n")[2].partition("\n## ")[0]
    named = [name for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in cell.split("`")[1::2]]
    assert sorted(named) == sorted(Watched.asked)
