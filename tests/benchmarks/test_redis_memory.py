"""What the Redis engine keeps is measured on a server, in small."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from antiphon.engines.redis.options import parse
from benchmarks import redis_memory
from benchmarks.engines import engine
from benchmarks.redis_engine import server
from benchmarks.redis_memory import Cost, asking, cases, in_process, in_redis, publications, table


@pytest.fixture
def url() -> Iterator[str]:
    """A Redis."""
    with server() as url:
        yield url


async def test_every_case_makes_what_it_says(url: str) -> None:
    async with asking(url) as client:
        for case in cases(0.001):
            await client.flushall()
            async with engine(url) as running:
                await case.fill(running)
                assert await client.dbsize() > 1, case.what


@pytest.mark.parametrize(("size", "each", "kept"), [(0, 1, 0), (100, 7, 7)])
async def test_publications_are_kept_or_not(url: str, size: int, each: int, kept: int) -> None:
    async with asking(url) as client, engine(url) as running:
        await publications(3, each, size)(running)
        for number in range(3):
            name = f"{parse(url).prefix}:stream:{{:room:{number:08d}}}"
            assert await client.xlen(name) == kept


async def test_what_is_larger_costs_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_memory, "LOOK", 0.05)
    costs = {cost.what: cost.bytes for cost in await in_redis(url, 0.02)}
    small = costs["a kept publication of 100 B, 100 in each group"]
    large = costs["a kept publication of 1 KB, 100 in each group"]
    assert 100 < small < 1000 < large < 3000


async def test_what_a_process_keeps(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_memory, "LOOK", 0.05)
    first, further = await in_process(f"{url}?timeout=0.5", 0.02)
    assert first.bytes > further.bytes > 0


def test_the_table_is_markdown() -> None:
    assert table("in Redis", [Cost("a group", 1234.5)]).splitlines() == [
        "| in Redis | bytes |",
        "|---|---|",
        "| a group | 1,234 |",
    ]
