"""The page about Redis: two servers on one Redis, as it says."""

from __future__ import annotations

from pathlib import Path

from websockets.asyncio.client import connect

from tests.integration.redis_server import RedisServer
from tests.integration.servers import Servers

from .documents import build, page
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
