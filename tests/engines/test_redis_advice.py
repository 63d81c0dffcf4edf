"""What is said of a server's settings."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from antiphon.engines import open_engine
from antiphon.engines.redis.advice import advise, is_too_old

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
