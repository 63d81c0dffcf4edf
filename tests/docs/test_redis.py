"""The page about Redis: two servers on one Redis, as it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

import antiphon
from tests.integration.redis_server import RedisServer
from tests.integration.servers import Servers

from .documents import blocks, build, page
from .reader import receive, serve, shown, tell

REDIS = page("docs/deploy/redis.md")
#: Its example serves.
ROOM = page("docs/deploy/several-workers.md")


async def test_what_is_published_on_one_host_is_heard_on_the_other(servers: Servers, folder: Path) -> None:
    build(ROOM, folder)
    command = shown(REDIS, "antiphon serve").replace("project.asgi:application", "room:app")
    assert "--workers 4 --engine redis://redis.internal:6379/0" in command
    place = folder / "redis"
    place.mkdir()
    with RedisServer(place) as server:
        command = command.replace("redis://redis.internal:6379", server.url)
        hosts = [serve(servers, folder, command.replace("--workers 4", f"--workers {n}")).listening() for n in (1, 2)]
        async with connect(hosts[0].url("/")) as one, connect(hosts[1].url("/")) as two:
            for number, client in enumerate((one, two, one)):
                await tell(client, {"text": f"number {number}"})
                heard = [await receive(each) for each in (one, two)]
                assert heard[0] == heard[1]
                assert heard[0]["text"] == f"number {number}"
        for host in hosts:
            assert host.stop() == 0
        assert server.call("ZCARD", "antiphon:processes") == 0, "each has taken leave"


def names_in(*files: str) -> set[str]:
    """The names of the findings that some files of the source make."""
    source = Path(antiphon.__file__).parent
    text = "".join((source / name).read_text() for name in files)
    return set(re.findall(r'(?:find|Advice|yield)\(?\s*"([a-z-]+)"', text))


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("docs/deploy/redis.md", ("doctor/engine/redis.py", "engines/redis/advice.py")),
        ("docs/topics/engines.md", ("doctor/engine/sqlite.py",)),
    ],
)
def test_every_finding_is_on_the_page(path: str, files: tuple[str, ...]) -> None:
    section = page(path).read_text().partition("Is it set up well?")[2].partition("\n## ")[0].partition("\n### ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \| (?:error|warning|advice)", section, re.MULTILINE)) == names_in(*files)


def plain(text: str) -> str:
    """What is printed without what differs from run to run, and where a line ends."""
    text = re.sub(r"up for [\d]+ \w+", "up for 0", re.sub(r"(\d+) process(es live| lives)", "0 processes", text))
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.]*", "0", text.replace("ahead of", "behind")))


def test_what_the_check_shows_is_what_it_prints(folder: Path) -> None:
    (shown,) = (block.text for block in blocks(REDIS) if block.text.startswith("engine "))
    (command,) = (block.text for block in blocks(REDIS) if block.text.startswith("antiphon engine check"))
    *words, _ = shlex.split(command)
    settings = ("--save", "", "--appendonly", "yes", "--maxmemory", "2gb", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(folder, *settings) as server:
        done = subprocess.run([sys.executable, "-m", *words, server.url], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert plain(done.stdout) == plain(shown)
