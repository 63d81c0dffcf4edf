"""What is said of a server's settings."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from antiphon.engines import open_engine
from antiphon.engines.redis.advice import advise, advise_fully, is_too_old

from ..integration.redis_server import LASTING, RedisServer
from .contract import Heard


@pytest.mark.parametrize(
    ("version", "in_cluster", "expected"),
    [
        ("6.0.20", False, True),
        ("6.2.0", False, False),
        ("6.2.14", True, True),
        ("7.0.15", True, False),
        ("10.1", True, False),
        ("", False, False),
    ],
)
def test_a_server_may_be_too_old(version: str, in_cluster: bool, expected: bool) -> None:
    assert is_too_old(version, in_cluster=in_cluster) is expected


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n", []),
        ("maxmemory:100\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n", []),
        ("maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n", ["maxmemory-policy is allkeys-lru"]),
        ("maxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\naof_enabled:0\r\n", ["volatile-ttl", "append-only file"]),
        ("# Memory\r\n\r\n", []),
    ],
)
def test_what_does_not_suit_is_said(info: str, words: list[str]) -> None:
    found = advise(info)
    assert len(found) == len(words)
    assert all(word in each.words for word, each in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("said", "risks", "others"),
    [
        ({}, [], []),
        ({"maxmemory": "0"}, [], ["no-limit"]),
        ({"maxmemory": "100", "used_memory": "80", "maxmemory_policy": "noeviction"}, [], []),
        ({"maxmemory": "100", "used_memory": "81", "maxmemory_policy": "noeviction"}, ["nearly-full"], []),
        ({"maxmemory": "100", "used_memory": "99", "maxmemory_policy": "allkeys-lru"}, ["evicts"], []),
        ({"aof_enabled": "0", "appendfsync": "no"}, [], ["forgets"]),
        ({"aof_enabled": "1", "appendfsync": "always"}, [], []),
        ({"aof_enabled": "1", "appendfsync": "everysec"}, [], ["syncs-late"]),
        ({"aof_enabled": "1", "appendfsync": "no"}, ["syncs-late"], []),
        ({"aof_last_write_status": "err", "rdb_last_bgsave_status": "ok"}, ["cannot-save"], []),
        ({"rdb_last_bgsave_status": "err"}, ["cannot-save"], []),
        ({"client-output-buffer-limit": "normal 0 0 0 slave 1 1 1 pubsub 33554432 8388608 60"}, [], []),
        ({"client-output-buffer-limit": "normal 0 0 0 pubsub 1048576 0 0"}, [], ["cuts-off"]),
        ({"client-output-buffer-limit": "normal 0 0 0 pubsub 0 1048576 1"}, [], ["cuts-off"]),
        ({"client-output-buffer-limit": "normal 0 0 0 pubsub 33554432 0 60"}, [], []),
        ({"client-output-buffer-limit": "normal 0 0 0 pubsub 0 0 0"}, [], ["no-buffer-limit"]),
        ({"client-output-buffer-limit": "normal 0 0 0"}, [], []),
        ({"takes_over": "yes", "connected_slaves": "0"}, [], ["no-replica"]),
        ({"takes_over": "yes", "connected_slaves": "1"}, [], []),
        ({"takes_over": "no", "connected_slaves": "0"}, [], []),
        ({"connected_clients": "80", "maxclients": "100"}, [], []),
        ({"connected_clients": "81", "maxclients": "100"}, ["crowded"], []),
        ({"aof_enabled": "0", "maxmemory": "9", "maxmemory_policy": "volatile-ttl"}, ["evicts"], ["forgets"]),
    ],
)
def test_who_asks_is_told_all_and_the_risks_first(said: dict[str, str], risks: list[str], others: list[str]) -> None:
    found = advise_fully(said)
    assert [each.name for each in found] == risks + others
    assert [each.is_risk for each in found] == [True] * len(risks) + [False] * len(others)
    for each in found:
        assert each.remedy[0].isupper()
        assert not each.words.endswith(".")


async def test_it_is_logged_once_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "antiphon.engines")
    for settings, levels in (
        (LASTING, []),
        ((*LASTING, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), ["WARNING"]),
        (("--save", ""), ["INFO"]),
    ):
        caplog.clear()
        with RedisServer(tmp_path, *settings) as server:
            engine = open_engine(server.url)
            await engine.start(Heard())
            await engine.stop()
        assert [record.levelname for record in caplog.records] == levels


async def test_what_may_not_be_asked_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(tmp_path) as server:
        server.call("ACL", "SETUSER", "default", "-info")
        engine = open_engine(server.url)
        await engine.start(Heard())
        assert (await engine.publish("a", b"1")).offset == 1
        assert (await engine.publish("a", b"1")).offset == 2
        await engine.stop()
    assert not caplog.records
