"""What happens to the engine when one of several servers that know nothing of each other is away, or when the list of
them changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.redis import servers as module
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.slots import owners_of, slot_of
from antiphon.events import make_event
from antiphon.exceptions import ConfigurationError, EngineUnavailable
from antiphon.types import ClientInfo

from ..engines.contract import Heard
from ..engines.sqlite import until
from .redis_process import RETENTION, Process
from .redis_server import LASTING, RedisServer, free_port

ANN, BOB = ClientInfo("ann", "client-1"), ClientInfo("bob", "client-2")
EVENT = make_event({"type": "note"})

Opener = Callable[..., Any]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[RedisServer]]:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    running = [RedisServer(folder, *LASTING) for folder in folders]
    yield running
    for server in running:
        server.kill()


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens engines, and stops them at the end."""
    processes: list[Process] = []

    async def open_one(servers: list[RedisServer], **options: float) -> Process:
        process = Process(url_of(servers), **options)
        processes.append(process)
        await process.engine.start(process, f"process{len(processes)}")
        return process

    yield open_one
    for process in processes:
        await process.engine.stop()


def url_of(servers: list[RedisServer]) -> str:
    return "redis+shards://" + ",".join(f"{server.host}:{server.port}" for server in servers)


def owner_of(group: str, servers: list[RedisServer]) -> RedisServer:
    """Return the server that has a group."""
    by_name = {f"{server.host}:{server.port}": server for server in servers}
    return by_name[owners_of(tuple(by_name))[slot_of(Keys("antiphon").channel(group))]]


def groups_by_owner(servers: list[RedisServer]) -> list[str]:
    """Return a group for each server."""
    names = [f"group{number}" for number in range(100)]
    return [next(name for name in names if owner_of(name, servers) is server) for server in servers]


# A server that is away


async def test_a_server_that_dies_takes_its_own_groups_with_it_and_nothing_else(
    servers: list[RedisServer], opened: Opener
) -> None:
    lost, *others = groups_by_owner(servers)
    first, second = await opened(servers, timeout=1, lease=3), await opened(servers, timeout=1, lease=3)
    for group in (lost, *others):
        await second.engine.subscribe(group, RETENTION)
        await first.publish(group)
    first.engine.enter(others[0], ANN, announced=True)
    first.engine.enter(lost, BOB, announced=True)
    await until(lambda: len(second.publications) == 3 and len(second.joins) == 2)
    before = await first.publish(lost)
    servers[0].kill()
    await until(lambda: first.counters.engine_outages == second.counters.engine_outages == 1)
    for verb in (first.publish(lost), first.kept(lost), first.engine.presence(lost)):
        with pytest.raises(EngineUnavailable, match=f"{servers[0].port}"):
            await verb
    heard = len(second.publications)
    for group in others:
        assert (await first.publish(group)).offset == 2
        assert await first.kept(group) == [1, 2]
    await until(lambda: len(second.publications) == heard + 2)
    await first.engine.send_control(b"all")
    await until(lambda: first.controls == second.controls == [b"all"])
    for number in range(10):
        await second.engine.send_direct_event(f"specific.process1!{number}", EVENT)
    await until(lambda: len(first.direct) == 10)
    assert second.losses == 0
    await have_beaten(servers[1], 10)  # longer than the lease: it is renewed where it can be
    assert await second.engine.presence(others[0]) == {"client-1": ANN}
    servers[0].start()
    await until(lambda: first.losses == second.losses == 1)
    assert await first.publish_at_last(lost) == (before.epoch, before.offset + 1)
    await until(lambda: second.newest == (before.epoch, before.offset + 1))
    await second.sees(lost, {"client-2": BOB})
    assert second.leaves == []


async def test_a_server_that_stands_still_for_long_keeps_no_lease_at_another_from_being_renewed(
    servers: list[RedisServer], opened: Opener
) -> None:
    _, group, _ = groups_by_owner(servers)
    first, second = await opened(servers, timeout=20, lease=2), await opened(servers, timeout=20, lease=2)
    await second.engine.subscribe(group, RETENTION)
    first.engine.enter(group, ANN, announced=True)
    await until(lambda: second.joins == [(group, ANN)])
    servers[0].freeze()
    await have_beaten(servers[1], 10)
    assert await second.engine.presence(group) == {"client-1": ANN}
    assert second.leaves == []
    assert first.counters.engine_outages == 0, "nobody waited until the other was given up"
    servers[0].thaw()


async def have_beaten(server: RedisServer, count: int) -> None:
    """Wait until two processes have renewed their leases so often in all: each does three times in a lease at most."""

    def leases() -> set[bytes]:
        return set(server.call("ZRANGE", "antiphon:processes", 0, -1, "WITHSCORES")[1::2])

    def have_been_renewed() -> bool:
        seen.update(leases())
        return len(seen) >= count

    seen: set[bytes] = set()
    await until(have_been_renewed)


# The start


async def test_it_starts_with_those_that_answer_and_says_which_does_not(
    servers: list[RedisServer], opened: Opener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMIND", 0.1)
    lost, *others = groups_by_owner(servers)
    servers[0].kill()
    process = await opened(servers, timeout=1)
    said = [each.getMessage() for each in caplog.records if "the rest of the Redis shards" in each.getMessage()]
    assert [str(servers[0].port) in each and "can't be reached" in each for each in said] == [True]
    with pytest.raises(EngineUnavailable, match=f"{servers[0].port}"):
        await process.publish(lost)
    assert [(await process.publish(group)).offset for group in others] == [1, 1]
    await until(lambda: process.counters.engine_outages >= 3)
    assert "has not answered since the start" in caplog.records[-1].getMessage()
    process.engine.enter(lost, ANN)
    servers[0].start()
    assert (await process.publish_at_last(lost)).offset == 1
    assert process.losses == 0, "it was never there before"
    other = await opened(servers)
    await other.sees(lost, {"client-1": ANN})


async def test_it_does_not_start_where_none_answers_or_one_has_another_password(servers: list[RedisServer]) -> None:
    nowhere = f"redis+shards://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    with pytest.raises(EngineUnavailable, match=r"can't be reached.*; .*can't be reached"):
        await Process(nowhere, timeout=0.3).engine.start(Heard())
    servers[1].call("CONFIG", "SET", "requirepass", "secret")
    with pytest.raises(ConfigurationError, match=f"{servers[1].port}: it wants a password"):
        await Process(url_of(servers)).engine.start(Heard())


# The list


async def test_one_server_more_takes_groups_of_each_and_those_begin_anew(
    servers: list[RedisServer], opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    groups = [f"group{number}" for number in range(60)]
    process = await opened(servers[:2])
    before = {group: await process.publish(group) for group in groups}
    await process.engine.stop()
    process = await opened(servers)
    moved = [group for group in groups if owner_of(group, servers) is servers[2]]
    said = caplog.records[-1].getMessage()
    assert f"before, the list was {','.join(sorted(f'{each.host}:{each.port}' for each in servers[:2]))}." in said
    assert f"{len(moved)} groups that have moved begin anew" in said
    assert 5 < len(moved) < 35
    for group in groups:
        position = await process.publish(group)
        assert (position.offset == 1) is (position.epoch != before[group].epoch) is (group in moved)


async def test_a_list_that_is_taken_back_brings_back_no_stream_that_lacks_something(
    servers: list[RedisServer], opened: Opener
) -> None:
    moved = next(f"group{n}" for n in range(100) if owner_of(f"group{n}", servers) is servers[2])
    positions = []
    for some in (servers[:2], servers, servers[:2], servers):
        process = await opened(some)
        positions.append(await process.publish(moved))
        await process.engine.stop()
    assert [position.offset for position in positions] == [1] * 4
    assert len({position.epoch for position in positions}) == 4


async def test_a_server_that_was_away_while_the_list_changed_forgets_its_groups_when_it_is_back(
    servers: list[RedisServer], opened: Opener
) -> None:
    owners = {f"group{n}": [owner_of(f"group{n}", some) for some in (servers[:2], servers)] for n in range(300)}
    moved = next(group for group, both in owners.items() if both == [servers[0], servers[2]])
    stays = next(group for group, both in owners.items() if both == [servers[0], servers[0]])
    first = await opened(servers[:2])
    before = [await first.publish(group) for group in (moved, stays)]
    servers[0].kill()
    for some in (servers, servers[:2]):
        last = await opened(some, timeout=1)
    noted = servers[1].call("GET", "antiphon:servers")
    assert (noted.count(b"|"), noted.count(b" heeded")) == (1, 1), "there is one that has not heeded it"
    servers[0].start()
    await until(lambda: b"|" not in servers[1].call("GET", "antiphon:servers"))
    assert (await last.publish(moved)).epoch != before[0].epoch
    assert await last.publish(stays) == (before[1].epoch, 2)
