"""The pages about the Centrifuge wire: their examples run with the SDKs, and their tables are as the code has it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from antiphon.commands import _HANDLERS
from antiphon.wire.centrifuge import schema
from tests.integration.conftest import NODE_FOLDER
from tests.integration.conftest import node_packages as node_packages
from tests.integration.sdks import Python, SdkError
from tests.integration.servers import Servers, until

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
    (script,) = (block.text for block in blocks(JAVASCRIPT) if block.language == "javascript")
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
