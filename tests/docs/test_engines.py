"""The pages about engines: several workers on the SQLite engine, as they say."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.integration.servers import Server, Servers, until

from .documents import build, page
from .reader import receive, serve, shown, tell

WORKERS = page("docs/deploy/several-workers.md")
CLIENTS = 4


def start(servers: Servers, folder: Path) -> Server:
    """Serve the page's example, and wait until both workers are there."""
    command = shown(WORKERS, "antiphon serve room:app")
    server = serve(servers, folder, command).listening()
    until(lambda: server.log().count("startup complete") == 2, "two workers")
    return server


async def on_each_worker(server: Server, clients: list[ClientConnection]) -> dict[int, ClientConnection]:
    """Connect until somebody is on each of two workers; return one client of each."""
    of_worker: dict[int, ClientConnection] = {}
    while len(of_worker) < 2 or len(clients) < CLIENTS:
        assert len(clients) < 200, "one worker takes every connection"
        client = await connect(server.url("/"))
        clients.append(client)
        await tell(client, {"text": f"from {len(clients)}"})
        heard = await hears(client, f"from {len(clients)}")
        of_worker[heard[-1]["worker"]] = client
    return of_worker


async def hears(client: ClientConnection, text: str) -> list[Any]:
    """Return what a client hears, up to this text."""
    heard = [await receive(client)]
    while heard[-1]["text"] != text:
        heard.append(await receive(client))
    return heard


async def test_workers_hear_each_other_in_one_order(servers: Servers, folder: Path) -> None:
    build(WORKERS, folder)
    server = start(servers, folder)
    clients: list[ClientConnection] = []
    try:
        of_worker = await on_each_worker(server, clients)
        for client in of_worker.values():
            for number in range(50):
                await tell(client, {"text": f"number {number}"})
        said = [[] for _ in clients]  # type: list[list[tuple[str, int]]]
        for heard, client in zip(said, clients, strict=True):
            while sum(text.startswith("number") for text, _ in heard) < 100:
                message = await receive(client)
                heard.append((message["text"], message["worker"]))
        last = [[each for each in heard if each[0].startswith("number")] for heard in said]
        assert all(each == last[0] for each in last)
        assert {worker for _, worker in last[0]} == set(of_worker)
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    assert server.stop() == 0
    assert [path.name for path in folder.glob("*.db*")] == ["room.db"], "everything was closed in good order"


async def test_when_a_worker_is_killed_the_other_goes_on(servers: Servers, folder: Path) -> None:
    build(WORKERS, folder)
    server = start(servers, folder)
    clients: list[ClientConnection] = []
    try:
        of_worker = await on_each_worker(server, clients)
        killed, left = list(of_worker)
        os.kill(killed, signal.SIGKILL)
        await tell(of_worker[left], {"text": "still here"})
        assert (await hears(of_worker[left], "still here"))[-1]["worker"] == left
        until(lambda: re.search(r"died .*: starting another", server.log()), "another worker")
    finally:
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)
    assert server.stop() == 0
