"""Who has what among servers that know nothing of each other; when one is away is in the integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from antiphon.counters import Counters
from antiphon.engines import open_engine
from antiphon.engines.redis.engine import RedisEngine
from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.shards import Shards
from antiphon.exceptions import ConfigurationError
from antiphon.types import ClientInfo

from ..integration.redis_server import RedisServer
from .contract import Heard
from .redis import Database, shared_cluster, shared_shards
from .sqlite import until

ANN = ClientInfo("ann", "client-1")
GROUPS = [f"group{number}" for number in range(30)]


@pytest.fixture
def database() -> Database:
    return Database(layout="shards")


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[RedisEngine]:
    engine = database()
    await engine.start(Heard(), "here")
    yield engine
    await engine.stop()


def has(server: RedisServer, pattern: str) -> list[str]:
    """Return the keys of a server."""
    return [key.decode() for key in server.call("KEYS", pattern)]


async def test_what_belongs_to_a_group_is_at_one_server_and_each_server_has_some(
    engine: RedisEngine, database: Database
) -> None:
    keys = Keys(database.options.prefix)
    for group in GROUPS:
        await engine.subscribe(group)
        await engine.publish(group, b"1")
        engine.enter(group, ANN)
    await database.settled()
    servers = shared_shards()[0]
    counts = []
    for server in servers:
        mine = {group for group in GROUPS if keys.position(group) in has(server, f"{database.options.prefix}:*")}
        counts.append(len(mine))
        assert {keys.presence(group) for group in mine} == set(has(server, "*:presence:*"))
        channels = {name.decode() for name in server.call("PUBSUB", "CHANNELS", "*:group:*")}
        assert channels == {keys.channel(group) for group in mine}
        assert server.call("ZCARD", keys.processes) == 1, "each knows who lives"
        assert server.call("PUBSUB", "NUMSUB", keys.control, keys.direct("here"))[1::2] == [1, 1]
    assert sum(counts) == len(GROUPS)
    assert min(counts) > 0
    for group in GROUPS:
        engine.unsubscribe(group)
    await database.settled()
    assert [server.call("PUBSUB", "CHANNELS", "*:group:*") for server in servers] == [[]] * 3


async def test_two_processes_that_name_the_servers_in_another_order_agree(
    engine: RedisEngine, database: Database
) -> None:
    heard = Heard()
    names = ",".join(f"{host}:{port}" for host, port in database.options.addresses[::-1])
    other = open_engine(f"redis+shards://{names}/0?prefix={database.options.prefix}")
    await other.start(heard, "there")
    for group in GROUPS:
        await other.subscribe(group)
        await engine.publish(group, b"1")
    await until(lambda: len(heard.publications) == len(GROUPS))
    await other.stop()


async def test_what_belongs_to_no_group_goes_to_one_that_is_there(database: Database) -> None:
    shards = Shards(database.options, Counters(), lambda channel, message: None, lambda: None)
    keys = Keys(database.options.prefix)
    await shards.start([])
    first = shards.node_of(keys.control)
    await first.stop()
    assert shards.node_of(keys.control) in [node for node in shards.servers if node is not first]
    group = next(group for group in GROUPS if shards.node_of(keys.position(group)) is first)
    assert shards.node_of(keys.channel(group)) is first, "it is away, and nobody else has it"
    for node in shards.servers:
        await node.stop()
    assert shards.node_of(keys.control) is first
    await shards.stop()


async def test_a_server_of_a_cluster_is_none_of_them() -> None:
    cluster, server = shared_cluster()[0].servers[0], shared_shards()[0][0]
    engine = open_engine(f"redis+shards://{server.host}:{server.port},{cluster.host}:{cluster.port}")
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        await engine.start(Heard())


async def test_all_that_does_not_suit_is_said_of_each(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "antiphon.engines")
    engine = database()
    await engine.start(Heard())
    await engine.stop()
    said = [record.getMessage() for record in caplog.records if "append-only" in record.getMessage()]
    assert [message.partition(": ")[0] for message in said] == [
        f"Redis at {host}:{port}" for host, port in database.options.addresses
    ]


def test_each_client_is_of_one_server() -> None:
    options = Options((("a", 1), ("b", 2)), is_shards=True)
    assert options.where == "the Redis shards at a:1,b:2"
