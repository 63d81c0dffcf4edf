"""Jobs for Channels' workers on antiphon's layer, sent by consumers of both kinds."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .clients import Client, connect, eventually
from .projects import ANTIPHON, project, serve
from .servers import Server, Servers, until

#: Whose consumer sends the jobs.
SENDERS = ["channels", "moved"]
#: The channel whose worker is Channels' SyncConsumer, and that of its AsyncConsumer.
CHANNELS = ["thumbnails", "previews"]
JOBS = list(range(500))
#: What no process may print.
BAD_WORDS = ("Traceback", "Task was destroyed", "never retrieved", "never awaited")


class Gallery:
    """A server of the project."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def open(self, sender: str) -> Client:
        """Open a WebSocket as a page does."""
        return await connect(self.server, f"/ws/{sender}/", origin=self.server.url("", "http"))

    async def watch(self, sender: str) -> Client:
        """Open one that hears of every image that was added."""
        client = await self.open(sender)
        assert await client.ask({"do": "watch"}) == {"watching": True}
        return client

    def done(self) -> list[tuple[str, Any]]:
        """Return which worker did which job, in the order in which they were done."""
        return [(worker, image) for worker, image in self.server.get("/done/").json()["done"]]

    def waiting(self) -> dict[str, int]:
        """Return how many jobs wait in each channel."""
        waiting: dict[str, int] = self.server.get("/waiting/").json()
        return waiting

    def work(self, count: int) -> None:
        """Let ``count`` more workers begin."""
        assert self.server.get(f"/work/{count}/").body == b"working"


def _run(servers: Servers, **env: str) -> Iterator[Gallery]:
    server = serve(servers, ANTIPHON, project("worker"), "gallery.asgi:application", env)
    yield Gallery(server)
    assert server.stop() == 0
    for words in BAD_WORDS:
        assert words not in server.log()


@pytest.fixture(scope="module")
def one_worker(servers: Servers) -> Iterator[Gallery]:
    """The project with one worker."""
    yield from _run(servers, GALLERY_WORKERS="1")


@pytest.fixture(scope="module")
def two_workers(servers: Servers) -> Iterator[Gallery]:
    """The project with two workers."""
    yield from _run(servers, GALLERY_WORKERS="2")


@pytest.fixture
def no_worker(servers: Servers) -> Iterator[Gallery]:
    """The project without a worker, with room for ten jobs."""
    yield from _run(servers, GALLERY_WORKERS="0", GALLERY_CAPACITY="10")


@pytest.fixture
def impatient(servers: Servers) -> Iterator[Gallery]:
    """The project without a worker, where a job waits for half a second."""
    yield from _run(servers, GALLERY_WORKERS="0", GALLERY_EXPIRY="0.5")


@pytest.fixture
def narrow(servers: Servers) -> Iterator[Gallery]:
    """The project without a worker, where what waits may have 4,000 bytes."""
    yield from _run(servers, GALLERY_WORKERS="0", ANTIPHON_MAILBOX_LIMIT="4000")


async def answers(client: Client, count: int) -> list[dict[str, Any]]:
    """Return the next ``count`` answers of workers, of which each is for another job."""
    messages = [await client.receive_json() for _ in range(count)]
    assert all("done" in message for message in messages)
    return messages


async def send(client: Client, channel: str, images: list[int]) -> list[int]:
    """Send jobs, wait until they were sent, and return those for which there was no room."""
    await client.send_json({"do": channel, "images": images})
    full: list[int] = []
    while "sent" not in (message := await client.receive_json()):
        full.append(message["full"])
    assert message == {"sent": len(images)}
    return full


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_burst_of_jobs_is_done_once_and_in_order(one_worker: Gallery, sender: str, channel: str) -> None:
    before = len(one_worker.done())
    async with (
        await one_worker.open(sender) as page,
        await one_worker.watch("channels") as watcher,
        await one_worker.watch("moved") as moved_watcher,
    ):
        await page.send_json({"do": channel, "images": JOBS})
        assert await page.receive_json() == {"sent": len(JOBS)}
        done, *added = await asyncio.gather(answers(page, len(JOBS)), additions(watcher), additions(moved_watcher))
    assert [answer["done"] for answer in done] == JOBS
    assert added == [JOBS, JOBS]
    assert [image for _, image in one_worker.done()[before:]] == JOBS
    assert len({answer["by"] for answer in done}) == 1


async def additions(client: Client) -> list[int]:
    """Return the images that a watcher hears of, as many as there are jobs."""
    return [(await client.receive_json())["added"] for _ in JOBS]


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("channel", CHANNELS)
async def test_two_workers_share_the_jobs(two_workers: Gallery, sender: str, channel: str) -> None:
    before = len(two_workers.done())
    async with await two_workers.open(sender) as page:
        done: list[dict[str, Any]] = []
        for image in JOBS:
            await page.send_json({"do": channel, "images": [image]})
            for message in (await page.receive_json(), await page.receive_json()):
                if "sent" not in message:
                    done.append(message)
    assert sorted(answer["done"] for answer in done) == JOBS
    assert sorted(image for _, image in two_workers.done()[before:]) == JOBS
    shares = Counter(answer["by"] for answer in done)
    assert len(shares) == 2
    assert min(shares.values()) > len(JOBS) // 4


@pytest.mark.parametrize("sender", SENDERS)
async def test_a_burst_for_two_workers_is_done_once(two_workers: Gallery, sender: str) -> None:
    before = len(two_workers.done())
    async with await two_workers.open(sender) as page:
        assert await send(page, "previews", JOBS) == []
        done = await answers(page, len(JOBS))
    assert sorted(answer["done"] for answer in done) == JOBS
    assert sorted(image for _, image in two_workers.done()[before:]) == JOBS


async def test_a_view_sends_jobs_too(one_worker: Gallery) -> None:
    async with await one_worker.watch("channels") as watcher, await one_worker.watch("moved") as moved_watcher:
        for image, channel in enumerate(CHANNELS):
            assert one_worker.server.get(f"/generate/{channel}/{image}/").body == b"sent"
            assert await watcher.receive_json() == await moved_watcher.receive_json() == {"added": image}


@pytest.mark.parametrize("sender", SENDERS)
async def test_a_job_waits_for_the_first_worker(no_worker: Gallery, sender: str) -> None:
    async with await no_worker.open(sender) as page:
        assert await send(page, "thumbnails", [1, 2, 3]) == []
        assert await send(page, "previews", [4]) == []
        assert no_worker.waiting() == {"thumbnails": 3, "previews": 1}
        assert no_worker.done() == []
        no_worker.work(1)
        done = await answers(page, 4)
        assert [answer["done"] for answer in done if answer["done"] != 4] == [1, 2, 3]
        assert no_worker.waiting() == {}


async def test_over_the_capacity_the_sender_is_told(no_worker: Gallery) -> None:
    async with await no_worker.open("channels") as page:
        assert await send(page, "thumbnails", list(range(15))) == [10, 11, 12, 13, 14]
        assert no_worker.waiting() == {"thumbnails": 10}
        assert no_worker.server.get("/generate/thumbnails/15/").status == 503
        assert no_worker.server.stats()["channels_full"] == 6
        no_worker.work(1)
        assert [answer["done"] for answer in await answers(page, 10)] == list(range(10))
        assert await send(page, "thumbnails", [16]) == []
        assert [answer["done"] for answer in await answers(page, 1)] == [16]


@pytest.mark.parametrize("sender", SENDERS)
async def test_over_the_limit_in_bytes_the_sender_is_told(narrow: Gallery, sender: str) -> None:
    images = list(range(100))
    async with await narrow.open(sender) as page:
        full = await send(page, "thumbnails", images)
        accepted = narrow.waiting()["thumbnails"]
        assert 20 < accepted < 80
        assert full == images[accepted:]
        assert narrow.server.stats()["channels_full"] == len(full)
        narrow.work(1)
        assert [answer["done"] for answer in await answers(page, accepted)] == images[:accepted]


async def test_a_job_that_nobody_takes_expires(impatient: Gallery) -> None:
    server = impatient.server
    async with await impatient.open("channels") as page:
        assert await send(page, "thumbnails", [1, 2, 3]) == []
        await eventually(lambda: server.stats()["channel_messages_expired"] == 3, "the jobs to expire")
        told = re.findall(r"channel thumbnails: nobody took (\d) messages within its expiry \(0\.5 s\)", server.log())
        assert sum(map(int, told)) == 3
        assert impatient.waiting() == {}
        impatient.work(1)
        assert await send(page, "thumbnails", [4]) == []
        assert [answer["done"] for answer in await answers(page, 1)] == [4]
    assert [image for _, image in impatient.done()] == [4]


def test_runworker_starts_on_the_layer_and_ends_on_ctrl_c(servers: Servers) -> None:
    command = (sys.executable, "manage.py", "runworker", *CHANNELS)
    worker = servers.run(command, "manage.py runworker", cwd=project("worker"))
    until(
        lambda: "Running worker for channels ['thumbnails', 'previews']" in worker.log(), "what it does to be printed"
    )
    until(lambda: has_a_loop(worker), "its loop to run")
    assert worker.stop(signal.SIGINT) == 0
    for words in BAD_WORDS:
        assert words not in worker.log()


def has_a_loop(server: Server) -> bool:
    """Tell whether the process has an event loop: from then on it can be interrupted."""
    for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            if "eventpoll" in str(file.readlink()):
                return True
    return False
