"""What there is to know of a Redis engine, on servers of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.doctor.engine import redis as module
from antiphon.doctor.engine.examination import Examination
from antiphon.doctor.engine.redis import examine
from antiphon.doctor.finding import Finding, Level
from antiphon.engines import open_engine
from antiphon.engines.redis.options import parse
from antiphon.exceptions import ConfigurationError, EngineUnavailable

from ...docs.documents import page
from ...engines.contract import Heard
from ...integration.redis_server import LASTING, RedisCluster, RedisServer, Sentinels

LIMITED = ("--maxmemory", "100mb")


def nothing(text: str) -> None:
    """Something may be slow on a busy machine."""


def facts(found: Examination, title: str) -> list[str]:
    return [fact.text for fact in found.facts if fact.title == title]


def findings(found: Examination) -> dict[str, Finding]:
    return {finding.name: finding for finding in found.findings}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that loses nothing and has a bound."""
    with RedisServer(tmp_path, *LASTING, *LIMITED) as server:
        yield server


async def test_a_server_that_is_set_up_well(server: RedisServer) -> None:
    other = open_engine(server.url)
    await other.start(Heard(), "other")
    keys = server.call("KEYS", "*")
    found = await examine(server.url, nothing)
    assert found.findings == []
    assert found.where == f"Redis at {server.host}:{server.port}"
    (kind,) = facts(found, "server")
    assert kind.startswith(f"{server.host}:{server.port}, Redis 7")
    assert "standalone, master with 0 replicas, up for" in kind
    assert "of 100 MiB, maxmemory-policy noeviction" in facts(found, "memory")[0]
    assert facts(found, "disk") == ["append-only file, appendfsync always"]
    assert facts(found, "antiphon") == ["1 process lives here, with the prefix antiphon"]
    assert facts(found, "rights") != []
    assert [each.what for each in found.times] == [f"PING {server.host}:{server.port}", "publish"]
    assert sorted(server.call("KEYS", "*")) == sorted(keys), "it leaves nothing behind"
    await other.stop()


async def test_settings_that_do_not_suit(tmp_path: Path) -> None:
    settings = ("--save", "", *LIMITED, "--maxmemory-policy", "allkeys-lru", "--client-output-buffer-limit")
    with RedisServer(tmp_path, *settings, "pubsub 1mb 1mb 1") as server:
        found = findings(await examine(server.url, nothing))
    levels = {name: finding.level for name, finding in found.items()}
    assert levels == {"evicts": Level.WARNING, "forgets": Level.ADVICE, "cuts-off": Level.ADVICE}
    assert str(found["evicts"].spot.place) == f"maxmemory-policy of {server.host}:{server.port}"
    assert found["evicts"].spot.problem.startswith("Its maxmemory-policy is allkeys-lru")
    assert found["evicts"].spot.remedy == "Set it to noeviction."


def rights() -> list[str]:
    """The rights that the page lists, for a user without a password."""
    (line,) = (line for line in page("docs/deploy/redis.md").read_text().splitlines() if line.startswith("ACL SETUSER"))
    return line.split()[2:]


async def test_the_rights_that_the_page_lists_are_enough(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", *rights())
    found = await examine(f"redis://antiphon:secret@{server.host}:{server.port}", nothing)
    assert list(findings(found)) == ["not-told"]
    assert "config|get" in found.findings[0].spot.problem
    assert facts(found, "rights") != []


@pytest.mark.parametrize(
    ("refused", "verbs", "words", "rule"),
    [
        (["-xadd"], "publish", "The command is XADD", "+xadd"),
        (["-publish"], "group_send and send", "'publish' command", "+publish"),
        (["-hset"], "subscribe, publish and history", "The command is HSET", "+hset"),
        (["-hgetall"], "presence", "'hgetall' command", "+hgetall"),
        (["-del"], "remove_history", "'del' command", "+del"),
        (
            ["resetchannels", "&antiphon/0:control", "&antiphon/0:process*"],
            "subscribe and group_send",
            "one of the channels",
            "&antiphon/*",
        ),
        (
            ["resetkeys", "~antiphon:process*", "~antiphon:entries*", "~antiphon:presence*"],
            "subscribe, publish, history and 1 more",
            "one of the keys",
            "~antiphon:*",
        ),
    ],
)
async def test_a_right_that_is_missing_is_named(
    server: RedisServer, refused: list[str], verbs: str, words: str, rule: str
) -> None:
    server.call("ACL", "SETUSER", *rights())
    server.call("ACL", "SETUSER", "antiphon", *refused)
    found = await examine(f"redis://antiphon:secret@{server.host}:{server.port}", nothing)
    (finding,) = (each for each in found.findings if str(each.spot.place) == verbs)
    assert (finding.name, finding.level) == ("no-right", Level.ERROR)
    assert words in finding.spot.problem
    assert "user_script" not in finding.spot.problem
    assert finding.spot.code == f"ACL SETUSER antiphon {rule}"
    assert facts(found, "rights") == []


async def test_without_a_right_that_the_start_needs_it_is_told_as_a_server_tells_it(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", *rights())
    server.call("ACL", "SETUSER", "antiphon", "-time")
    with pytest.raises(EngineUnavailable, match="The command is TIME"):
        await examine(f"redis://antiphon:secret@{server.host}:{server.port}", nothing)


async def test_a_server_that_says_nothing_of_itself(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", "default", "-info", "-config")
    found = await examine(server.url, nothing)
    assert list(findings(found)) == ["not-told"]
    assert "of a version that it does not tell" in facts(found, "server")[0]
    assert facts(found, "memory") == []


async def test_a_server_that_is_not_there(server: RedisServer) -> None:
    server.kill()
    with pytest.raises(EngineUnavailable, match=r"the Redis engine can't start: .* can't be reached"):
        await examine(f"{server.url}?timeout=0.2", nothing)
    with pytest.raises(ConfigurationError, match="takes one"):
        await examine("redis://a,b", nothing)


async def test_the_master_that_sentinels_name(tmp_path: Path) -> None:
    with Sentinels(tmp_path) as servers:
        found = await examine(servers.url, nothing)
        assert "talk" in found.where
        (kind,) = facts(found, "server")
        assert kind.startswith(f"{servers.master.host}:{servers.master.port}")
        assert "master with 1 replica," in kind
        assert "no-replica" not in findings(found)
        servers.replica.kill()
        replicas = servers.master.call("INFO", "replication")
        while b"connected_slaves:0" not in replicas:
            replicas = servers.master.call("INFO", "replication")
        assert "no-replica" in findings(await examine(servers.url, nothing))


async def test_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisCluster(tmp_path) as cluster:
        found = await examine(cluster.url, nothing)
        assert len(facts(found, "server")) == 3
        assert all("cluster, master with 0 replicas" in each for each in facts(found, "server"))
        assert len(found.times) == 4
        place = str(findings(found)["no-replica"].spot.place)
        assert all(f"{each.host}:{each.port}" in place for each in cluster.servers)
        assert "differ by" in facts(found, "clocks")[0]
        assert [each.call("KEYS", "*") for each in cluster.servers] == [[], [], []]
        monkeypatch.setattr(module, "APART", -1.0)
        assert "clocks-differ" in findings(await examine(cluster.url, nothing))


async def test_a_server_that_is_far_or_late(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FAR", 0.0)
    monkeypatch.setattr(module, "LATE", 0.0)
    found = findings(await examine(server.url, nothing))
    assert (found["far"].level, found["late"].level) == (Level.ADVICE, Level.WARNING)
    assert "after 5 s it is left" in found["late"].spot.problem


async def test_a_server_that_stops_answering_is_not_waited_for(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def frozen(*arguments: Any) -> dict[str, str]:
        server.freeze()
        return {}

    monkeypatch.setattr(module, "_said", frozen)
    monkeypatch.setattr(module, "SECONDS", 0.5)
    try:
        with pytest.raises(EngineUnavailable, match="did not answer"):
            await examine(f"{server.url}?timeout=0.2", nothing)
    finally:
        server.thaw()


def test_the_rule_that_is_missing_is_told_where_it_is_known() -> None:
    options = parse("redis://h?prefix=talk")
    assert module._rule("NOPERM what?", options) == ""
    assert module._rule("ERR x. The command is XADD", options) == "ACL SETUSER default +xadd"


@pytest.mark.parametrize(("seconds", "text"), [(1, "1 second"), (90, "1 minute"), (7200, "2 hours"), (90000, "1 day")])
def test_durations_are_written_as_people_do(seconds: int, text: str) -> None:
    assert module._duration(seconds) == text
