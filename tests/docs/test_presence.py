"""The pages about presence and about orders to connections: their examples, with the SDKs and plain clients."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.integration.clients import eventually
from tests.integration.conftest import NODE_FOLDER
from tests.integration.conftest import node_packages as node_packages
from tests.integration.sdks import Python, SdkError
from tests.integration.servers import Servers, until

from .documents import blocks, build, page
from .reader import in_node, receive, running, serve

PRESENCE = page("docs/topics/presence.md")
KICK = page("docs/howto/kick.md")
JAVASCRIPT = page("docs/howto/javascript.md")
PYTHON = page("docs/howto/python.md")


async def test_lounge(servers: Servers, folder: Path) -> None:
    build(PRESENCE, folder)
    server = serve(servers, folder, "antiphon serve lounge:app").listening()
    ada, bob = Python(server.url("/ada"), "json"), Python(server.url("/bob"), "json")
    for sdk, seat in ((ada, 1), (bob, 2)):
        await sdk.connected()
        await sdk.subscribed("lounge:1", data=seat)
        await sdk.subscribed("arena:1", data="anywhere")
    await ada.wait("join", "lounge:1", 2)
    assert [(each["says"], each["said"]) for each in ada.happened("join")] == [
        ({"name": "ada"}, {"seat": 1}),
        ({"name": "bob"}, {"seat": 2}),
    ]
    assert sorted(each["says"]["name"] for each in await ada.presence("lounge:1")) == ["ada", "bob"]
    assert await ada.rpc("names") == ['{"name":"ada"}', '{"name":"bob"}']
    assert await ada.rpc("crowd") == {"connections": 2, "users": 1}
    with pytest.raises(SdkError, match="103"):
        await ada.presence("arena:1")
    await ada.subscribe("lounge:staff")
    assert (await ada.wait("unsubscribed", "lounge:staff"))["code"] == 103
    await bob.disconnect()
    assert (await ada.wait("leave", "lounge:1"))["says"] == {"name": "bob"}
    await ada.disconnect()


async def test_corner(servers: Servers, folder: Path) -> None:
    build(PRESENCE, folder)
    server = serve(servers, folder, "antiphon serve corner:app").listening()
    async with connect(server.url("/ada")) as ada:
        assert [await receive(ada) for _ in range(2)] == [{"came": "ada"}, {"here": ['"ada"']}]
        async with connect(server.url("/bob")) as bob:
            assert [await receive(bob) for _ in range(2)] == [{"came": "bob"}, {"here": ['"ada"', '"bob"']}]
        assert [await receive(ada) for _ in range(2)] == [{"came": "bob"}, {"went": "bob"}]


async def test_orders(servers: Servers, folder: Path) -> None:
    build(KICK, folder)
    server = serve(servers, folder, "antiphon serve desk:app").listening()
    ada, phone, bob = (Python(server.url(f"/{user}"), "json") for user in ("ada", "ada", "bob"))
    for sdk in (ada, phone, bob):
        await sdk.connected()
    await ada.rpc("invite", {"room": "room:7", "user": "bob"})
    assert (await bob.wait("subscribed", "room:7"))["server"] is True
    await ada.rpc("dismiss", {"room": "room:7", "user": "bob"})
    await bob.wait("unsubscribed", "room:7")
    with pytest.raises(Exception):  # noqa: B017, PT011 (the connection ends before the answer can come)
        await ada.rpc("log_out_everywhere")
    for sdk in (ada, phone):
        end = await sdk.wait("disconnected")
        assert (end["code"], end["reason"]) == (4500, "logged out")
    assert await bob.state() == "connected"
    await bob.disconnect()


async def test_who_is_there_in_javascript(servers: Servers, folder: Path, node_packages: None) -> None:
    build(JAVASCRIPT, folder)
    server = serve(servers, folder, "antiphon serve kitchen:app").listening()
    (folder / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    _, script = (block.text for block in blocks(JAVASCRIPT) if block.language == "javascript")
    with running(in_node(folder, script.replace("ws://localhost:8000/", server.url("/"))), folder) as (_, printed):
        await eventually(lambda: printed().endswith("Ada\n"), "the client to be there")
        bob = Python(server.url("/Bob"), "json")
        await bob.connected()
        await bob.subscribed("kitchen")
        await eventually(lambda: printed().endswith("Ada, Bob\n"), "the other to be there")
        await bob.disconnect()
        await eventually(lambda: printed().endswith("Ada\n"), "the other to be gone")


def test_who_is_there_in_python(servers: Servers, folder: Path) -> None:
    build(PYTHON, folder)
    server = serve(servers, folder, "antiphon serve team:app").listening()
    with running([sys.executable, "who.py", server.url("/")], folder) as (process, printed):
        until(lambda: process.poll() is not None, "the program to end")
        assert process.returncode == 0, printed()
        assert sorted(printed().splitlines()) == ["+ ada", "+ bob", "- bob", "presence ['ada', 'bob']", "stats 2 1"]
