"""Which server of a cluster has what; what happens when that changes is in the tests of faults."""

from __future__ import annotations

import pytest

from antiphon.counters import Counters
from antiphon.engines import open_engine
from antiphon.engines.redis.cluster import Cluster
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.scripts import SCRIPTS, sharded
from antiphon.exceptions import ConfigurationError, EngineUnavailable

from ..integration.redis_server import free_port
from .contract import Heard
from .redis import shared_cluster, shared_server


def test_in_a_cluster_scripts_publish_where_the_group_is() -> None:
    for script in SCRIPTS:
        assert "'PUBLISH'" not in sharded(script).text
        assert ("'SPUBLISH'" in sharded(script).text) is ("'PUBLISH'" in script.text)
        assert sharded(script).takes_run is script.takes_run


async def test_one_server_of_a_cluster_says_what_to_write() -> None:
    server = shared_cluster()[0].servers[0]
    engine = open_engine(server.url)
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        await engine.start(Heard())


async def test_what_is_no_cluster_says_so() -> None:
    server, _ = shared_server()
    engine = open_engine(f"redis+cluster://127.0.0.1:{server.port}?timeout=1")
    with pytest.raises(EngineUnavailable, match="cluster support disabled"):
        await engine.start(Heard())


async def test_the_first_server_that_answers_names_the_others() -> None:
    server = shared_cluster()[0].servers[1]
    engine = open_engine(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{server.port}")
    await engine.start(Heard())
    assert [(await engine.publish(name, b"1")).offset for name in "abcdef"] == [1] * 6
    await engine.stop()


async def test_without_a_server_everything_is_refused() -> None:
    cluster = Cluster(Options((("h", 1),), is_cluster=True), Counters(), lambda channel, message: None, lambda: None)
    with pytest.raises(EngineUnavailable, match="no server of the cluster has slot"):
        await cluster.pipeline.call("x", "GET", "a")
    with pytest.raises(EngineUnavailable, match="no server of the cluster has slot"):
        await cluster.subscription.subscribe("a")
    assert not cluster.pipeline.is_connected
    await cluster.stop()
