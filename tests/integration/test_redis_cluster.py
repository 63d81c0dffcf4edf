"""What happens to the engine when slots move from one server of a cluster to another, and when a server dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.slots import slot_of
from antiphon.exceptions import ConfigurationError, EngineUnavailable
from antiphon.types import ClientInfo, Position

from ..engines.contract import Heard
from ..engines.sqlite import until
from .redis_process import RETENTION, Process
from .redis_server import RedisCluster

SLOT = slot_of(Keys("antiphon").channel("a"))
ANN = ClientInfo("ann", "client-1")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(Path(tmp_path_factory.mktemp("cluster")), with_replica=True) as cluster:
        yield cluster


@pytest.fixture
async def pair(cluster: RedisCluster) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes that are subscribed to ``a``."""
    processes = Process(cluster.url), Process(cluster.url)
    for number, process in enumerate(processes):
        await process.engine.start(process, f"process{number}")
        await process.engine.subscribe("a", RETENTION)
    await processes[0].engine.remove_history("a")
    yield processes
    for process in processes:
        await process.engine.stop()


async def test_calls_follow_a_slot_that_moves_and_its_members_hear_on(
    cluster: RedisCluster, pair: tuple[Process, Process]
) -> None:
    first, second = pair
    source = cluster.owner(SLOT)
    target = next(server for server in cluster.servers[:3] if server is not source)
    await first.publish()
    during: list[asyncio.Future[Any]] = []
    loop = asyncio.get_running_loop()

    def half_way() -> None:  # the keys are there: this server answers ASK
        done = asyncio.run_coroutine_threadsafe(_publish_three(first), loop)
        during.append(asyncio.wrap_future(done, loop=loop))
        done.result(30)

    await asyncio.to_thread(cluster.move, SLOT, target, half_way)
    await asyncio.gather(*during)
    await until(lambda: first.losses >= 1 and second.losses >= 1)
    position = await second.publish()
    await until(lambda: first.newest == second.newest == position)
    assert (await second.kept())[-1] == position.offset
    assert target.call("EXISTS", "antiphon:position:{:a}") == 1


async def _publish_three(process: Process) -> None:
    for _ in range(3):
        await process.publish()


async def test_what_is_called_while_a_slot_moves_is_done_once(
    cluster: RedisCluster, pair: tuple[Process, Process]
) -> None:
    stop = asyncio.Event()
    made: list[Position] = []

    async def publish_on(process: Process) -> None:
        while not stop.is_set():
            made.append(await process.publish())
            await asyncio.sleep(0.002)

    publishing = [asyncio.create_task(publish_on(process)) for process in pair]
    for _ in range(4):
        source = cluster.owner(SLOT)
        target = next(server for server in cluster.servers[:3] if server is not source)
        await asyncio.to_thread(cluster.move, SLOT, target)
        await asyncio.sleep(0.3)
    stop.set()
    await asyncio.gather(*publishing)
    assert len(set(made)) == len(made), "an offset was given out twice"
    for epoch in {position.epoch for position in made}:
        offsets = sorted(position.offset for position in made if position.epoch == epoch)
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    assert (await pair[0].kept())[-1] == max(p.offset for p in made if p.epoch == made[-1].epoch)


async def test_with_one_server_away_it_starts_with_the_others_and_the_one_is_used_when_it_is_back(
    tmp_path: Path,
) -> None:
    with RedisCluster(tmp_path) as cluster:
        for server in cluster.servers:
            server.call("CONFIG", "SET", "cluster-require-full-coverage", "no")
        victim = cluster.owner(slot_of(Keys("antiphon").control))
        groups = {cluster.owner(slot_of(Keys("antiphon").channel(group))): group for group in "abcdefghijkl"}
        victim.kill()
        processes = Process(cluster.url, timeout=1), Process(cluster.url, timeout=1)
        first, second = processes
        await asyncio.gather(first.engine.start(first, "process0"), second.engine.start(second, "process1"))
        for server, group in groups.items():
            if server is victim:
                with pytest.raises(EngineUnavailable, match=f"{victim.port}"):
                    await first.engine.publish(group, b"1")
            else:
                await second.engine.subscribe(group, RETENTION)
                await first.engine.publish(group, b"1")
        await until(lambda: len(second.publications) == 2)
        first.engine.enter("a", ANN, announced=True)
        victim.start(*victim.settings, "--cluster-allow-pubsubshard-when-down", "no")
        await first.publish_at_last(groups[victim])
        await second.engine.subscribe(groups[victim], RETENTION)
        position = await first.engine.publish(groups[victim], b"2")
        await until(lambda: second.newest == position)
        control = Keys("antiphon").control
        await until(lambda: victim.call("PUBSUB", "SHARDNUMSUB", control) == [control.encode(), 2])
        await first.engine.send_control(b"x")
        await until(lambda: first.controls == second.controls == [b"x"])
        await second.sees("a", {"client-1": ANN})
        for process in processes:
            await process.engine.stop()


async def test_where_one_server_has_another_password_it_does_not_start(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        cluster.servers[2].call("CONFIG", "SET", "requirepass", "secret")
        with pytest.raises(ConfigurationError, match=r"wants a password"):
            await Process(cluster.url).engine.start(Heard())


async def test_a_replica_takes_over_from_a_server_that_dies(
    cluster: RedisCluster, pair: tuple[Process, Process]
) -> None:
    first, second = pair
    if cluster.owner(SLOT) is not cluster.servers[0]:
        await asyncio.to_thread(cluster.move, SLOT, cluster.servers[0])
        await until(lambda: first.losses >= 1 and second.losses >= 1)
    first.engine.enter("a", ANN, announced=True)
    before = await first.publish()
    await until(lambda: second.newest == before)
    await until(lambda: second.joins == [("a", ANN)])
    master, replica = cluster.servers[0], cluster.servers[3]
    await until(lambda: replica.call("DBSIZE") == master.call("DBSIZE"))
    losses = first.losses, second.losses
    master.kill()
    await until(lambda: first.losses > losses[0] and second.losses > losses[1], 60)
    position = await second.publish()
    assert (position.offset, position.epoch == before.epoch) == (1, False), "the replica may have lacked something"
    await until(lambda: first.newest == position)
    assert await second.engine.presence("a") == {"client-1": ANN}
    assert second.leaves == []
