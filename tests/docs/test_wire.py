"""The pages about the Centrifuge wire: their examples run with the SDKs, and their tables are as the code has it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from antiphon.commands import _HANDLERS
from antiphon.tokens import connection_token, subscription_token
from antiphon.wire.centrifuge import schema
from tests.integration.conftest import NODE_FOLDER
from tests.integration.conftest import node_packages as node_packages
from tests.integration.sdks import Python, SdkError
from tests.integration.servers import PATIENCE, Servers, until

from .documents import blocks, build, page
from .reader import in_node, running, serve, shown

README = page("README.md")
JAVASCRIPT = page("docs/howto/javascript.md")
PYTHON = page("docs/howto/python.md")
CONSUMERS = page("docs/topics/consumers.md")
WIRE = page("docs/reference/wire.md")


def test_javascript(servers: Servers, folder: Path, node_packages: None) -> None:
    build(JAVASCRIPT, folder)
    server = serve(servers, folder, shown(JAVASCRIPT, "antiphon serve board:app")).listening()
    (folder / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    script, _ = (block.text for block in blocks(JAVASCRIPT) if block.language == "javascript")
    with running(in_node(folder, script.replace("ws://localhost:8000/", server.url("/"))), folder) as (_, printed):
        until(lambda: "message" in printed(), "the last answer")
        assert printed().splitlines() == [
            "connected",
            "note 1 milk",
            "history 1 1",
            "rpc Kitchen",
            "rpc failed 400 empty: a board has a name",
            'message {"you said":{"n":1}}',
        ]


def test_readme(servers: Servers, folder: Path, node_packages: None) -> None:
    build(README, folder)
    server = serve(servers, folder, "antiphon serve desk:app").listening()
    (folder / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    _, script = (block.text for block in blocks(README) if block.language == "javascript")
    whole = 'import { Centrifuge } from "centrifuge";\n' + script.replace("ws://localhost:8000/", server.url("/"))
    whole += 'await news.ready();\nawait client.rpc("headline", { text: "it works" });\n'
    with running(in_node(folder, whole), folder) as (_, printed):
        until(lambda: printed() == "from here on\nit works\n", "the headline")


def test_python(servers: Servers, folder: Path) -> None:
    build(PYTHON, folder)
    server = serve(servers, folder, shown(PYTHON, "antiphon serve prices:app")).listening()
    with running([sys.executable, "client.py", server.url("/")], folder) as (process, printed):
        assert process.wait(20) == 0, printed()
        assert printed().splitlines() == ["gold 1 4111", "history 1 1", "rpc {'euros': 2.5}"]


async def test_consumers(servers: Servers, folder: Path) -> None:
    build(CONSUMERS, folder)
    server = serve(servers, folder, "antiphon serve halls:app").listening()
    sdk = Python(server.url("/"), "json")
    await sdk.connected()
    assert (await sdk.wait("subscribed", "news"))["server"] is True
    await sdk.subscribed("hall:1")
    await sdk.subscribe("cellar")
    assert (await sdk.wait("unsubscribed", "cellar"))["code"] == 103
    await sdk.publish("hall:1", {"text": "hello"})
    assert await sdk.received("hall:1", 1) == [(None, {"text": "hello", "checked": True})]
    with pytest.raises(SdkError, match="empty: say something"):
        await sdk.publish("hall:1", None)
    assert await sdk.rpc("add", {"a": 1, "b": 2}) == 3
    await sdk.disconnect()


def _rows(heading: str) -> set[str]:
    section = WIRE.read_text().partition(f"### {heading}\n")[2].partition("\n### ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def test_every_command_has_its_place() -> None:
    named = {field.name: field.of for field in schema.COMMANDS}
    assert _rows("Commands") == {name for name, command in named.items() if command in _HANDLERS}


def test_every_push_that_is_told_of_is_in_the_schema() -> None:
    assert _rows("Pushes") <= {field.name for field in schema.PUSHES.values()}


# The exchange

SECRET = "a secret that is long enough for HMAC with SHA-256"


def exchange() -> Iterator[tuple[list[str], list[Any]]]:
    """Yield what the client sends and what it is told, turn by turn."""
    (block,) = (each.text for each in blocks(WIRE) if each.language == "text")
    for sent, told in re.findall(r"((?:→ .+\n)+)((?:← .+\n)*)", block):
        yield re.findall("→ (.+)", sent), [json.loads(line) for line in re.findall("← (.+)", told)]


def filled(line: str, epoch: str) -> str:
    """Return a client's line with what the page leaves out."""
    content = next(each for name, each in json.loads(line).items() if name != "id")
    if "token" in content:
        options: dict[str, Any] = {"key": SECRET, "expires_in": 600}
        group = content.get("channel")
        token = subscription_token("42", group, **options) if group else connection_token("42", **options)
        line = line.replace('"token":"…"', f'"token":"{token}"')
    return line.replace('"epoch":"…"', f'"epoch":"{epoch}"')


def some_time_has_passed(content: dict[str, Any]) -> dict[str, Any]:
    """Read ``ttl`` as the page has it: that some seconds are gone is no fault."""
    return {**content, "ttl": round(content["ttl"], -1)} if "ttl" in content else content


def fits(shown: Any, told: Any) -> bool:
    """Tell whether what was told is what the page shows, where "…" stands for any text."""
    if isinstance(shown, dict) and isinstance(told, dict):
        return shown.keys() == told.keys() and all(fits(shown[name], told[name]) for name in shown)
    if isinstance(shown, list) and isinstance(told, list):
        return len(shown) == len(told) and all(map(fits, shown, told))
    return isinstance(told, str) and bool(told) if shown == "…" else bool(shown == told)


class Talk:
    """A connection that says and hears lines."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self._heard: list[Any] = []

    async def hear(self) -> Any:
        """Return the next line."""
        while not self._heard:
            frame = str(await asyncio.wait_for(self.websocket.recv(), PATIENCE))
            self._heard = [json.loads(line, object_hook=some_time_has_passed) for line in frame.split("\n")]
        return self._heard.pop(0)


async def test_exchange(servers: Servers, folder: Path) -> None:
    build(WIRE, folder)
    environment = {"ANTIPHON_TOKEN_SECRETS": SECRET}
    server = serve(servers, folder, "antiphon serve notes:app", env=environment).listening()
    talk, epoch = Talk(await connect(server.url("/"))), ""
    for sent, told in exchange():
        await talk.websocket.send("\n".join(filled(line, epoch) for line in sent))
        for line in told:
            heard = await talk.hear()
            assert fits(line, heard), f"{heard} instead of {line}"
            epoch = heard.get("subscribe", {}).get("epoch", epoch)
        if not told:  # the page's connection is lost; the server has done it, as what comes next says
            while (await talk.hear()).get("id") != json.loads(sent[-1])["id"]:
                pass
            talk.websocket.transport.abort()
            talk = Talk(await connect(server.url("/")))
    await talk.websocket.close()


def test_what_does_not_fit_is_noticed() -> None:
    assert fits({"a": ["…", 1]}, {"a": ["x", 1]})
    others: list[Any] = [["", 1], ["x", 2], ["x"], [5, 1], "x", None]
    for other in [*({"a": each} for each in others), {"a": ["x", 1], "b": 1}, {"b": ["x", 1]}, None]:
        assert not fits({"a": ["…", 1]}, other)
