"""The layer's verbs from a process without a server, on members of two that serve: each engine that processes share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from .clients import Client, connect
from .projects import ANTIPHON
from .redis_server import RedisCluster, RedisServer
from .servers import PATIENCE, ROOT, Server, Servers, clean_environment

#: What no process may print.
BAD_WORDS = ("Traceback", "Task was destroyed", "never retrieved", "never awaited", "ResourceWarning")

BEGIN = """
import asyncio, os, sys
import antiphon
from antiphon import sync
from antiphon.app import current_app

antiphon.configure(rules={"kept*": {"history_size": 100}})  # as the servers have it: settings are shared
layer = current_app().layer
channel, other = sys.argv[1:]
"""

#: A process that calls each verb without a loop of its own.
SYNCHRONOUS = """
for n in range(3):
    sync.group_send("all", {"type": "note", "n": n})
print(sync.publish("kept", {"n": "published"}).offset)
sync.send(channel, {"type": "note", "n": "sent"})
print(len(sync.history("kept").publications))
sync.subscribe("more", "ann")
"""

#: One that begins a loop for each call, as ``async_to_sync`` does.
LOOPS = """
def run(*calls):
    async def main():
        return [await call() for call in calls]
    return asyncio.run(main())

for n in range(3):
    run(lambda: layer.group_send("all", {"type": "note", "n": n}))
print(run(lambda: layer.publish("kept", {"n": "published"}))[0].offset)
run(lambda: layer.send(channel, {"type": "note", "n": "sent"}))
print(len(run(lambda: layer.history("kept"))[0].publications))
run(lambda: layer.subscribe("more", "ann"))
"""

#: The same with asgiref's, which Channels' documentation has.
ASYNC_TO_SYNC = """
from asgiref.sync import async_to_sync

for n in range(3):
    async_to_sync(layer.group_send)("all", {"type": "note", "n": n})
print(async_to_sync(layer.publish)("kept", {"n": "published"}).offset)
async_to_sync(layer.send)(channel, {"type": "note", "n": "sent"})
print(len(async_to_sync(layer.history)("kept").publications))
async_to_sync(layer.subscribe)("more", "ann")
"""

#: A process that used antiphon, and was forked then: Celery's prefork pool does it.
FORKED = """
sync.group_send("all", {"type": "note", "n": 0})
sys.stdout.flush()
for n in (1, 2):
    child = os.fork()
    if not child:
        sync.group_send("all", {"type": "note", "n": n})
        if n == 2:
            print(sync.publish("kept", {"n": "published"}).offset)
            sync.send(channel, {"type": "note", "n": "sent"})
            print(len(sync.history("kept").publications))
            sync.subscribe("more", "ann")
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module", params=["redis", "redis cluster", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of each engine that processes share."""
    folder = tmp_path_factory.mktemp("engine")
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/streams.db"
    else:
        with RedisServer(folder) if request.param == "redis" else RedisCluster(folder) as server:
            yield server.url


@pytest.fixture(scope="module")
def pair(servers: Servers, engine: str) -> Iterator[list[Server]]:
    """Two processes that serve."""
    pair = [
        servers.start(ANTIPHON, "tests.integration.apps.pages:app", env={"ANTIPHON_ENGINE": engine}) for _ in range(2)
    ]
    yield pair
    for server in pair:
        assert server.stop() == 0
        for words in BAD_WORDS:
            assert words not in server.log()


class Page:
    """A client of one of them."""

    def __init__(self, client: Client, channel: str) -> None:
        self.client = client
        self.channel = channel

    async def hears(self, *messages: Any) -> None:
        """Receive exactly these next."""
        assert [await self.client.receive_json() for _ in messages] == list(messages)


async def open_page(server: Server, user: str) -> Page:
    client = await connect(server, f"/{user}")
    return Page(client, (await client.receive_json())["channel"])


@pytest.fixture
async def pages(pair: list[Server]) -> AsyncIterator[list[Page]]:
    """Ann at the one, Bob at the other."""
    pages = [await open_page(server, user) for server, user in zip(pair, ("ann", "bob"), strict=True)]
    yield pages
    for page in pages:
        await page.client.__aexit__()


def start(engine: str, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a third process."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BEGIN + script, *arguments],
        env={**clean_environment(), "ANTIPHON_ENGINE": engine},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def run(engine: str, script: str, *pages: Page) -> list[str]:
    """Run a third process to its end, and return the lines that it printed."""
    process = start(engine, script, *(page.channel for page in pages))
    said, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert process.returncode == 0, said
    for words in BAD_WORDS:
        assert words not in said
    return said.splitlines()


@pytest.mark.parametrize(
    "script",
    [SYNCHRONOUS, LOOPS, ASYNC_TO_SYNC, FORKED],
    ids=["antiphon.sync", "a loop for each call", "async_to_sync", "forked"],
)
async def test_every_verb_reaches_the_members_of_both(engine: str, pages: list[Page], script: str) -> None:
    ann, bob = pages
    offset, kept = map(int, await run(engine, script, ann, bob))
    assert (offset, kept) == (kept, offset)
    notes = [{"note": n} for n in range(3)]
    await bob.hears(*notes, {"n": "published"})
    await ann.hears(*notes, {"n": "published"}, {"note": "sent"})


async def test_an_order_reaches_whom_it_is_for_wherever_they_are(engine: str, pages: list[Page]) -> None:
    ann, bob = pages
    await run(engine, 'sync.kick("bob", code=4003)\nsync.group_send("all", {"type": "note", "n": 1})', ann, bob)
    await ann.hears({"note": 1})
    assert (await bob.client.closed()).code == 4003


@pytest.mark.parametrize("where", ["a loop", "no loop"])
async def test_a_channel_is_put_into_a_group_by_another_process(engine: str, pages: list[Page], where: str) -> None:
    ann, bob = pages
    group = where.replace(" ", "-")
    script = (
        f"""
async def main():
    await layer.group_add("{group}", other)
    await layer.group_add("{group}", other)
    await layer.group_add("{group}", channel)
    await layer.group_discard("{group}", channel)
asyncio.run(main())
"""
        if where == "a loop"
        else f"""
from asgiref.sync import async_to_sync

async_to_sync(layer.group_add)("{group}", other)
async_to_sync(layer.group_add)("{group}", channel)
async_to_sync(layer.group_discard)("{group}", channel)
"""
    )
    await run(engine, script, ann, bob)
    heard = asyncio.create_task(bob.client.receive_json())
    while not heard.done():  # the order has been sent, and is obeyed soon
        await run(engine, f'sync.group_send("{group}", {{"type": "note", "n": "in"}})', ann, bob)
        await asyncio.wait([heard], timeout=0.05)
    assert heard.result() == {"note": "in"}
    await run(engine, f'asyncio.run(layer.group_discard("{group}", other))', ann, bob)
    await run(engine, 'sync.send(channel, {"type": "note", "n": "out"})', ann, bob)
    await ann.hears({"note": "out"})


async def test_a_process_that_is_not_there_is_told_in_the_log(engine: str, pages: list[Page]) -> None:
    ann, bob = pages
    said = await run(
        engine, 'import logging\nlogging.basicConfig()\nasyncio.run(layer.group_add("g", "specific.gone!1"))', ann, bob
    )
    assert any("came to nobody" in line for line in said)


READER = """
async def main():
    name = await layer.new_channel()
    print(name, flush=True)
    for _ in range(3):
        print((await layer.receive(name))["n"], flush=True)
    await layer.group_add("readers", name)
    print("joined", flush=True)
    print((await layer.receive(name))["n"], flush=True)
asyncio.run(main())
"""


async def test_a_channel_is_read_in_the_process_that_made_it(engine: str, pages: list[Page]) -> None:
    ann, bob = pages
    reader = start(engine, READER, "", "")
    assert reader.stdout is not None

    async def line() -> str:
        assert reader.stdout is not None
        return (await asyncio.wait_for(asyncio.to_thread(reader.stdout.readline), PATIENCE)).rstrip()

    name = await line()
    ann.channel = name
    send = """
for n in range(3):
    sync.send(channel, {"type": "note", "n": n})
"""
    await run(engine, send, ann, bob)
    assert [await line() for _ in range(4)] == ["0", "1", "2", "joined"]
    await run(engine, 'sync.group_send("readers", {"type": "note", "n": "group"})', ann, bob)
    assert await line() == "group"
    assert reader.wait(PATIENCE) == 0
    reader.communicate()
