"""What servers forget when the list of them changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from antiphon.counters import Counters
from antiphon.engines.redis.client import Client
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.moving import settle
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.pipeline import Pipeline
from antiphon.engines.redis.slots import owners_of, slot_of
from antiphon.exceptions import EngineUnavailable

from .redis import shared_shards

KEYS = Keys("antiphon")
GROUPS = [f"group{number}" for number in range(2000)]
ONE, TWO, THREE = ("a:1",), ("a:1", "b:1"), ("a:1", "b:1", "c:1")

Servers = dict[str, Pipeline]


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    """Three servers, by names that only these tests give them; the first has a stream of each group."""
    clients = []
    for server in shared_shards()[0]:
        server.call("FLUSHALL")
        clients.append(Client(Options(((server.host, server.port),)), Counters(), lambda c, m: None, lambda: None))
    for client in clients:
        await client.start([])
    yield dict(zip(THREE, (client.pipeline for client in clients), strict=True))
    for client in clients:
        await client.stop()


async def fill(server: Pipeline) -> None:
    """Put a stream of each group into a server."""
    for group in GROUPS:
        server.call("x", "HSET", KEYS.position(group), "epoch", "e")
        await server.call("x", "XADD", KEYS.stream(group), "1-0", "b", "x")


async def groups(server: Pipeline) -> set[str]:
    """Return those of which it has a stream and a position; it has both or none."""
    found = {}
    for kind in ("position", "stream"):
        names = await server.call("x", "KEYS", f"*{kind}*")
        found[kind] = {KEYS.group_of(name.decode().replace(kind, "position")) for name in names}
    assert found["position"] == found["stream"]
    return found["position"]


def part(name: str, *lists: Sequence[str]) -> set[str]:
    """Return the groups that a server has in each of the lists."""
    return {
        each for each in GROUPS if all(owners_of(tuple(some))[slot_of(KEYS.position(each))] == name for some in lists)
    }


def among(servers: Servers, names: Sequence[str]) -> Servers:
    return {name: servers[name] for name in names}


async def test_a_server_that_was_alone_keeps_its_part(servers: Servers) -> None:
    await fill(servers["a:1"])
    change = await settle(among(servers, TWO), TWO, KEYS)
    assert change == ((), len(GROUPS) - len(part("a:1", TWO)))
    assert await groups(servers["a:1"]) == part("a:1", TWO)
    assert await settle(among(servers, TWO), TWO[::-1], KEYS) == ((), 0), "the order of the list does not matter"


async def test_a_server_keeps_what_it_has_in_the_last_list_and_in_this_one(servers: Servers) -> None:
    await settle(among(servers, THREE), THREE, KEYS)
    await fill(servers["a:1"])
    await settle(among(servers, TWO), TWO, KEYS)
    assert await groups(servers["a:1"]) == part("a:1", TWO, THREE)


async def test_a_server_that_was_out_of_the_list_keeps_nothing(servers: Servers) -> None:
    for names in (THREE, TWO):
        await settle(among(servers, names), names, KEYS)
    await fill(servers["c:1"])
    assert await settle(among(servers, THREE), THREE, KEYS) == (("a:1,b:1",), len(GROUPS))
    assert await groups(servers["c:1"]) == set()


async def test_a_list_is_heeded_by_who_was_away_for_as_long_as_it_takes(servers: Servers) -> None:
    await settle(among(servers, TWO), TWO, KEYS)
    await fill(servers["a:1"])
    for names in (THREE, TWO):
        await settle(among(servers, names[1:]), names, KEYS)
    assert await groups(servers["a:1"]) == set(GROUPS)
    assert (await settle(among(servers, TWO), TWO, KEYS)).dropped > 0
    assert await groups(servers["a:1"]) == part("a:1", TWO, THREE)


async def test_who_waits_for_another_server_drops_nothing_twice(servers: Servers) -> None:
    await settle(among(servers, TWO), TWO, KEYS)
    await settle(among(servers, TWO), THREE, KEYS)
    await fill(servers["a:1"])
    assert (await settle(among(servers, TWO), THREE, KEYS)).dropped == 0


async def test_what_was_begun_and_not_ended_is_done_by_the_next(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(among(servers, TWO), TWO, KEYS)
    await fill(servers["a:1"])
    with monkeypatch.context() as patched:
        patched.setattr("antiphon.engines.redis.moving.AT_ONCE", "no number")
        with pytest.raises(EngineUnavailable):
            await settle(among(servers, THREE), THREE, KEYS)
    assert await groups(servers["a:1"]) == set(GROUPS)
    assert (await settle(among(servers, THREE), THREE, KEYS)).dropped > 0
    assert await groups(servers["a:1"]) == part("a:1", TWO, THREE)
