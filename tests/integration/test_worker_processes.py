"""A Django project of several processes: two that serve, workers (``manage.py runworker``), and ``manage.py shell``."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .clients import Client, connect, eventually
from .projects import ANTIPHON, manage, project, serve
from .redis_server import RedisServer
from .servers import Server, Servers, until

JOBS = list(range(200))
CHANNELS = ["thumbnails", "previews"]
BAD_WORDS = ("Traceback", "Task was destroyed", "never retrieved", "never awaited")


class Gallery:
    """The project's processes on one engine."""

    def __init__(self, servers: Servers, engine: str) -> None:
        self._servers = servers
        self._environment = {"ANTIPHON_ENGINE": engine, "GALLERY_WORKERS": "0", "GALLERY_CAPACITY": "1000"}
        self.pair: list[Server] = []
        self.workers: list[Server] = []
        self._pages: list[Client] = []

    def serve(self, **environment: str) -> None:
        """Start both servers."""
        self._environment.update(environment)
        for _ in range(2):
            self.pair.append(
                serve(self._servers, ANTIPHON, project("worker"), "gallery.asgi:application", self._environment)
            )

    def work(self) -> Server:
        """Start a worker, and wait until it reads."""
        command = (sys.executable, "manage.py", "runworker", *CHANNELS)
        worker = self._servers.run(command, "runworker", cwd=project("worker"), env=self._environment)
        self.workers.append(worker)
        until(lambda: "Running worker for channels" in worker.log(), "the worker to run")
        return worker

    def shell(self, script: str) -> str:
        """Run code in ``manage.py shell``."""
        begin = (
            "from asgiref.sync import async_to_sync\nfrom channels.layers import get_channel_layer\n"
            "from antiphon import sync\nlayer = get_channel_layer()\n"
        )
        return manage(project("worker"), "shell", "-v", "0", "-c", begin + script, env=self._environment)

    async def open(self, sender: str, server: int = 0) -> Client:
        """Open a WebSocket as a page does."""
        page = await connect(self.pair[server], f"/ws/{sender}/", origin=self.pair[server].url("", "http"))
        self._pages.append(page)
        return page

    def stats(self, name: str) -> int:
        """Return a counter of both servers together."""
        return sum(server.stats()[name] for server in self.pair)

    async def close(self) -> None:
        """End all; those that were not killed say nothing that is bad."""
        for page in self._pages:
            await page.__aexit__()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for worker in self.workers:
            assert worker.stop(signal.SIGINT) in (0, -signal.SIGKILL)
        for server in self.pair:
            assert server.stop() == 0
        for process in (*self.pair, *self.workers):
            for words in BAD_WORDS:
                assert words not in process.log()


@pytest.fixture(params=["redis", "sqlite"])
async def gallery(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gallery]:
    folder = tmp_path_factory.mktemp("engine")
    if request.param == "sqlite":
        gallery = Gallery(servers, f"sqlite:///{folder}/streams.db?lease=1")
        yield gallery
        await gallery.close()
    else:
        with RedisServer(folder) as redis:
            gallery = Gallery(servers, f"{redis.url}?lease=1")
            yield gallery
            await gallery.close()


async def send(client: Client, channel: str, images: list[int]) -> list[int]:
    """Send jobs, wait until they were sent, and return those for which there was no room."""
    await client.send_json({"do": channel, "images": images})
    full: list[int] = []
    while "sent" not in (message := await client.receive_json()):
        full.append(message["full"])
    return full


async def answers(client: Client, count: int) -> list[dict[str, Any]]:
    """Return the next ``count`` answers of workers."""
    found = [await client.receive_json() for _ in range(count)]
    assert all("done" in each for each in found), found
    return found


async def test_jobs_of_both_servers_are_done_once_by_a_worker_and_everybody_hears(gallery: Gallery) -> None:
    gallery.serve()
    first, second = await gallery.open("channels", 0), await gallery.open("moved", 1)
    watchers = [await gallery.open("moved", 0), await gallery.open("channels", 1)]
    for watcher in watchers:
        assert await watcher.ask({"do": "watch"}) == {"watching": True}
    assert await send(first, "thumbnails", [1, 2, 3]) == []  # these wait for the first worker
    gallery.work()
    assert [answer["done"] for answer in await answers(first, 3)] == [1, 2, 3]
    assert await send(second, "previews", JOBS) == []
    assert sorted(answer["done"] for answer in await answers(second, len(JOBS))) == JOBS
    for watcher in watchers:
        added = [(await watcher.receive_json())["added"] for _ in range(3 + len(JOBS))]
        assert sorted(added) == sorted([1, 2, 3, *JOBS])


async def test_two_workers_share_the_jobs_and_one_that_is_killed_takes_none(gallery: Gallery) -> None:
    gallery.serve()
    workers = [gallery.work(), gallery.work()]
    page = await gallery.open("channels")
    by: Counter[str] = Counter()
    while len(by) < 2:  # until both have begun to read
        assert await send(page, "thumbnails", JOBS[:20]) == []
        by.update(answer["by"] for answer in await answers(page, 20))
    workers[0].process.kill()
    workers[0].process.wait()
    assert await send(page, "thumbnails", JOBS) == []
    done = await answers(page, len(JOBS))
    assert [answer["done"] for answer in done] == JOBS
    assert len({answer["by"] for answer in done}) == 1


async def test_the_capacity_is_that_of_the_channel_whoever_sends(gallery: Gallery) -> None:
    gallery.serve(GALLERY_CAPACITY="10")
    first, second = await gallery.open("channels", 0), await gallery.open("channels", 1)
    assert await send(first, "thumbnails", list(range(6))) == []
    assert await send(second, "thumbnails", list(range(6, 12))) == [10, 11]
    assert gallery.pair[0].get("/generate/thumbnails/12/").status == 503
    assert gallery.stats("channels_full") == 3
    told = gallery.shell(
        "from channels.exceptions import ChannelFull\n"
        "try:\n    async_to_sync(layer.send)('thumbnails', {'type': 'generate', 'image': 13})\n"
        "except ChannelFull as error:\n    print(error)"
    )
    assert told.strip() == (
        "channel thumbnails has 10 messages that nobody has taken, its capacity: this message was not accepted"
    )
    gallery.work()
    assert [answer["done"] for answer in await answers(first, 6)] == list(range(6))
    assert [answer["done"] for answer in await answers(second, 4)] == [6, 7, 8, 9]


async def test_jobs_that_nobody_takes_expire_and_are_counted(gallery: Gallery) -> None:
    gallery.serve(GALLERY_EXPIRY="0.5")
    page = await gallery.open("channels")
    assert await send(page, "thumbnails", [1, 2, 3]) == []
    await eventually(lambda: gallery.stats("channel_messages_expired") == 3, "the jobs to expire")
    assert "nobody took" in gallery.pair[0].log()
    gallery.work()
    assert await send(page, "thumbnails", [4]) == []
    assert [answer["done"] for answer in await answers(page, 1)] == [4]


async def test_the_shell_speaks_to_groups_connections_and_workers(gallery: Gallery) -> None:
    gallery.serve()
    pages = [await gallery.open("channels", 0), await gallery.open("moved", 1)]
    names = [(await page.ask({"do": "name"}))["name"] for page in pages]
    for number, name in enumerate(names):
        gallery.shell(
            f"async_to_sync(layer.group_add)('gallery', '{name}')\n"
            f"sync.send('{name}', {{'type': 'image.done', 'image': {number}, 'worker': 'shell'}})\n"
            f"async_to_sync(layer.send)('{name}', {{'type': 'image.done', 'image': {number}, 'worker': 'async'}})"
        )
    for number, page in enumerate(pages):
        assert [await page.receive_json() for _ in range(2)] == [
            {"done": number, "by": "shell"},
            {"done": number, "by": "async"},
        ]
    gallery.work()
    gallery.shell(
        "async_to_sync(layer.group_send)('gallery', {'type': 'image.added', 'image': 7})\n"
        "sync.group_send('gallery', {'type': 'image.added', 'image': 8})\n"
        "async_to_sync(layer.send)('previews', {'type': 'generate', 'image': 9})"
    )
    for page in pages:
        assert [(await page.receive_json())["added"] for _ in range(3)] == [7, 8, 9]


async def test_a_worker_goes_on_when_redis_was_away(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> None:
    with RedisServer(tmp_path_factory.mktemp("redis")) as redis:
        gallery = Gallery(servers, redis.url)
        gallery.serve()
        gallery.work()
        page = await gallery.open("channels")
        for round in range(3):
            # What is sent to a process that does not hear is gone, an answer too.
            await eventually(
                lambda: (
                    len(redis.call("PUBSUB", "CHANNELS", "*:process:*")) == len(gallery.pair) + len(gallery.workers)
                ),
                "all to hear again",
            )
            assert await send(page, "thumbnails", [round]) == []
            assert [answer["done"] for answer in await answers(page, 1)] == [round]
            if round == 0:
                redis.call("CLIENT", "KILL", "TYPE", "normal")
                redis.call("CLIENT", "KILL", "TYPE", "pubsub")
            else:
                await asyncio.to_thread(redis.restart)
        await gallery.close()
