"""The chat of Channels' tutorial on antiphon's layer: with Channels' consumers, and with the import changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import NamedTuple
from urllib.parse import quote

import pytest

from .clients import Client, Wire, closed_with, connect, eventually, exchange, release_all, upgrade_request
from .projects import ANTIPHON, DAPHNE, PLAIN_UVICORN, project, serve
from .servers import Kind, Server, Servers

#: The consumers of the tutorial's end, and those of its first version, which are not async.
VERSIONS = ["chat", "first"]
#: Those, and their likes that are antiphon's whatever the environment says.
KINDS = [*VERSIONS, "moved", "moved-first"]


class Site(NamedTuple):
    """A server of the project, and whose consumers it has."""

    server: Server
    consumers: str

    async def enter(self, version: str, room: str) -> Client:
        """Open a WebSocket as the page of a room does."""
        return await connect(self.server, f"/ws/{version}/{room}/", origin=self.server.url("", "http"))

    def members(self, room: str) -> int:
        """Return how many are in a room, as the project's own page tells."""
        rooms: dict[str, int] = self.server.get("/rooms/").json()
        return rooms.get(f"chat_{room}", 0)

    def announce(self, room: str, message: str) -> None:
        """Have a view say something to a room."""
        assert self.server.get(f"/announce/{room}/?message={quote(message)}").body == b"announced"


def _run(servers: Servers, kind: Kind, consumers: str) -> Iterator[Site]:
    server = serve(servers, kind, project("tutorial"), "mysite.asgi:application", {"CHAT_CONSUMERS": consumers})
    yield Site(server, consumers)
    server.stop()


@pytest.fixture(
    scope="module",
    params=[(ANTIPHON, "antiphon"), (ANTIPHON, "channels"), (PLAIN_UVICORN, "channels"), (DAPHNE, "channels")],
    ids=lambda each: f"{each[1]}-on-{each[0].name}",
)
def running(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Site]:
    """The project with the consumers of each on the servers that a Channels project runs on."""
    yield from _run(servers, *request.param)


@pytest.fixture
async def site(running: Site) -> AsyncIterator[Site]:
    """The project; when the test is over, nobody may be left in a room."""
    yield running
    await release_all()
    await eventually(lambda: running.server.get("/rooms/").json() == {}, "the rooms to be empty")


def said(message: str) -> dict[str, str]:
    """Return what a page sends, and what it gets."""
    return {"message": message}


async def hear(client: Client, count: int) -> list[str]:
    """Return the next ``count`` messages."""
    return [(await client.receive_json())["message"] for _ in range(count)]


async def test_the_page_of_a_room(site: Site) -> None:
    page = site.server.get("/chat/lobby/")
    assert page.status == 200
    assert b"<title>lobby</title>" in page.body


@pytest.mark.parametrize("version", [*VERSIONS, "json"])
async def test_a_room_hears_its_own_and_no_other(site: Site, name: str, version: str) -> None:
    other = f"{name}-other"
    async with (
        await site.enter(version, name) as ada,
        await site.enter(version, name) as alan,
        await site.enter(version, other) as stranger,
    ):
        assert site.members(name) == 2
        assert await ada.ask(said("hello")) == said("hello")
        assert await alan.receive_json() == said("hello")
        assert await alan.ask(said("hello yourself")) == said("hello yourself")
        assert await ada.receive_json() == said("hello yourself")
        assert await stranger.ask(said("anybody here?")) == said("anybody here?"), "it heard another room"
        assert await ada.ask(said("bye")) == said("bye"), "it heard another room"


async def test_a_burst_of_a_thousand_from_a_view_reaches_every_kind_in_order(site: Site, name: str) -> None:
    burst = [f"number {number}" for number in range(1000)]
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(await site.enter(version, name)) for version in KINDS]
        hearing = asyncio.gather(*(hear(listener, len(burst)) for listener in crowd))
        counted = await asyncio.to_thread(site.server.get, f"/count/{name}/1000/")
        assert counted.body == b"counted"
        for heard in await hearing:
            assert heard == burst


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_burst_of_a_thousand_reaches_both_in_order(site: Site, name: str, version: str) -> None:
    burst = [f"number {number}" for number in range(1000)]
    async with await site.enter(version, name) as ada, await site.enter(version, name) as alan:
        hearing = asyncio.gather(hear(ada, len(burst)), hear(alan, len(burst)))
        for message in burst:
            await ada.send_json(said(message))
        assert list(await hearing) == [burst, burst]


@pytest.mark.parametrize("version", VERSIONS)
async def test_two_bursts_at_once_are_one_conversation(site: Site, name: str, version: str) -> None:
    bursts = [[f"{speaker} {number}" for number in range(300)] for speaker in ("ada", "alan")]

    async def speak(client: Client, burst: list[str]) -> None:
        for message in burst:
            await client.send_json(said(message))

    async with await site.enter(version, name) as ada, await site.enter(version, name) as alan:
        hearing = asyncio.gather(hear(ada, 600), hear(alan, 600))
        await asyncio.gather(speak(ada, bursts[0]), speak(alan, bursts[1]))
        heard_by_ada, heard_by_alan = await hearing
    assert heard_by_ada == heard_by_alan
    for burst in bursts:
        assert [message for message in heard_by_ada if message in set(burst)] == burst


@pytest.mark.parametrize("version", [*VERSIONS, "json"])
async def test_bad_json(site: Site, name: str, version: str) -> None:
    printed = len(site.server.log())
    async with await site.enter(version, name) as clumsy, await site.enter(version, name) as other:
        await clumsy.send("{")
        if site.consumers == "antiphon" and version == "json":
            assert (await clumsy.receive_json())["code"] == "invalid_json"
            assert await clumsy.ask(said("sorry")) == said("sorry")
            assert await other.receive_json() == said("sorry")
        else:  # the tutorial's own json.loads() raises; or the JSON consumer of Channels does
            end = await clumsy.closed()
            await eventually(lambda: "JSONDecodeError" in site.server.log(printed), "the error in the log")
            if site.consumers == "antiphon":
                assert closed_with(site.server, end, 1011, "the application failed")
                assert f"at '/ws/{version}/{name}/' (anonymous)" in site.server.log(printed)
            else:
                assert end.code in (1006, 1011)
            await eventually(lambda: site.members(name) == 1, "the one whose consumer died to leave")
        assert await other.ask(said("never mind")) == said("never mind")


async def test_both_kinds_of_consumers_share_a_room(site: Site, name: str) -> None:
    versions = [*KINDS, "json"]
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(await site.enter(version, name)) for version in versions]
        assert site.members(name) == len(crowd)
        for version, speaker in zip(versions, crowd, strict=True):
            await speaker.send_json(said(f"{version} speaks"))
            for listener in crowd:
                assert await listener.receive_json() == said(f"{version} speaks")


@pytest.mark.parametrize(("speaks", "listens"), [("chat", "moved"), ("moved", "chat"), ("moved-first", "first")])
async def test_a_burst_from_one_kind_to_the_other(site: Site, name: str, speaks: str, listens: str) -> None:
    burst = [f"number {number}" for number in range(300)]
    async with await site.enter(speaks, name) as speaker, await site.enter(listens, name) as listener:
        hearing = asyncio.gather(hear(speaker, len(burst)), hear(listener, len(burst)))
        for message in burst:
            await speaker.send_json(said(message))
        assert list(await hearing) == [burst, burst]


@pytest.mark.parametrize("version", ["staff", "staff-first"])
async def test_close_in_connect_refuses(site: Site, name: str, version: str) -> None:
    origin = site.server.url("", "http")
    request = upgrade_request(f"/ws/{version}/{name}/", f"Origin: {origin}", f"Host: {origin.removeprefix('http://')}")
    async with await site.enter("chat", name) as member:
        async with await exchange(site.server, request) as refusal:
            assert refusal.status == 403
        assert site.members(name) == 1
        assert await member.ask(said("alone")) == said("alone")


async def test_a_page_of_another_site_is_refused(site: Site, name: str) -> None:
    request = upgrade_request(f"/ws/chat/{name}/", "Origin: https://elsewhere.example")
    async with await exchange(site.server, request) as refusal:
        assert refusal.status == 403


@pytest.mark.parametrize("version", [*VERSIONS, "moved"])
async def test_a_client_that_vanishes_leaves_its_room(site: Site, name: str, version: str) -> None:
    async with await site.enter("chat", name) as stays:
        vanishes, resets = await site.enter(version, name), await site.enter(version, name)
        assert site.members(name) == 3
        vanishes.vanish()
        await eventually(lambda: site.members(name) == 2, "the one who vanished to leave")
        resets.reset()
        await eventually(lambda: site.members(name) == 1, "the other, too")
        assert await stays.ask(said("gone")) == said("gone")


async def test_a_client_that_vanishes_in_the_middle_of_a_burst_costs_nobody_anything(site: Site, name: str) -> None:
    origin = site.server.url("", "http")
    headers = (f"Origin: {origin}", f"Host: {origin.removeprefix('http://')}")
    burst = [f"number {number}" for number in range(500)]
    async with await site.enter("chat", name) as speaker, await site.enter("first", name) as listener:
        hearing = asyncio.gather(hear(speaker, len(burst)), hear(listener, len(burst)))
        for number, message in enumerate(burst):
            if number % 100 == 50:  # somebody comes, and is gone while messages are on their way
                (await Wire.open(site.server, f"/ws/chat/{name}/", *headers)).reset()
            await speaker.send_json(said(message))
        assert list(await hearing) == [burst, burst]
        await eventually(lambda: site.members(name) == 2, "those who came and went to leave")


async def test_a_view_reaches_every_kind_of_consumer(site: Site, name: str) -> None:
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(await site.enter(version, name)) for version in KINDS]
        for number in range(20):
            await asyncio.to_thread(site.announce, name, f"news {number}")
        for listener in crowd:
            assert await hear(listener, 20) == [f"news {number}" for number in range(20)]
    site.announce(name, "nobody is here")


async def test_nothing_was_lost_on_the_way(site: Site, name: str) -> None:
    before = site.server.stats()
    async with await site.enter("chat", name) as ada, await site.enter("first", name) as alan:
        for number in range(100):
            await ada.send_json(said(str(number)))
        await asyncio.gather(hear(ada, 100), hear(alan, 100))
        after = site.server.stats()
    assert after["events"] - before["events"] == 100
    changed = {counter for counter, value in after.items() if value != before[counter]}
    assert changed <= {"connections", "connections_accepted", "events"}
