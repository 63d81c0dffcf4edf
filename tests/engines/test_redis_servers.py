"""Several servers that look like one, as far as a cluster and shards do not see to it in their own tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from antiphon.counters import Counters
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.shards import Shards

from ..integration.redis_server import free_port
from .redis import shared_shards


@pytest.fixture
async def shards() -> AsyncIterator[Shards]:
    """Three servers, of which one is not there."""
    addresses = [(server.host, server.port) for server in shared_shards()[0][:2]] + [("127.0.0.1", free_port())]
    options = Options(tuple(addresses), is_shards=True, timeout=1.0)
    shards = Shards(options, Counters(), lambda channel, message: None, lambda: None)
    yield shards
    await shards.stop()


async def test_it_is_known_whether_one_is_missing(shards: Shards) -> None:
    await shards.start(["base"])
    assert (shards.is_whole, shards.pipeline.is_connected, len(shards.servers)) == (False, True, 3)


async def test_what_ends_is_over_for_all(shards: Shards) -> None:
    await shards.start(["base"])
    shards.pipeline.is_ending = True
    assert shards.pipeline.is_ending
    assert all(node.pipeline.is_ending for node in shards.servers)
    reminding = shards._reminding
    assert isinstance(reminding, asyncio.Task)
    await shards.stop()
    assert reminding.cancelled()
    assert (shards.servers, shards.pipeline.is_connected, shards.pipeline.is_idle) == ([], False, True)
