"""The scripts, on a real server: each file's laws where the contract suite does not see them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest

from antiphon.engines.redis import scripts
from antiphon.engines.redis.connection import pack
from antiphon.engines.redis.scripts import SCRIPTS, Script

from ..integration.redis_server import MovedClock, RedisServer
from .redis import shared_server

KEYS = ["position", "stream"]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server, _ = shared_server()
    server.call("FLUSHALL")
    yield server
    server.call("FLUSHALL")


@pytest.fixture
def clock() -> MovedClock:
    return shared_server()[1]


def run(server: RedisServer, script: Script, keys: list[str], *arguments: Any) -> Any:
    """Run a script whole."""
    return server.call("EVAL", script.text, len(keys), *keys, *arguments)


def publish(
    server: RedisServer,
    *,
    run_of: str = "r",
    fresh: str = "e1",
    known: tuple[str, int] = ("", 0),
    size: int = 10,
    lifetime: int = 1000,
    position: int = 5000,
) -> Any:
    """Publish in the run ``run_of``."""
    arguments = (run_of, fresh, *known, "channel", b"body", size, lifetime, position, 1000)
    return run(server, scripts.PUBLISH, KEYS, *arguments)


def here(server: RedisServer) -> str:
    """The run that the server is in."""
    name: str = run(server, scripts.RUN, [])[0].decode()
    return name


def test_every_script_says_what_goes_in_and_out_and_is_known_by_its_digest(server: RedisServer) -> None:
    for script in SCRIPTS:
        assert server.call("SCRIPT", "LOAD", script.text).decode() == script.digest
        assert "-- KEYS[1]" in script.text
        assert "-- Return" in script.text or script.name == "enter"
    assert len({script.digest for script in SCRIPTS}) == len(SCRIPTS)


@pytest.mark.parametrize(
    ("script", "command"), [(scripts.TOUCH, "TIME"), (scripts.ENTER, "HGET"), (scripts.SHARDED[0], "TIME")]
)
def test_the_command_at_which_a_script_failed_is_found_by_its_line(script: Script, command: str) -> None:
    lines = script.text.splitlines()
    line = next(number for number, text in enumerate(lines, 1) if f"redis.call('{command}'" in text)
    for words in (
        f"ERR The user can't. script: {script.digest}, on @user_script:{line}.",
        f"ERR Error running script (call to f_{script.digest}): @user_script:{line}: @user_script: {line}: It can't.",
    ):
        assert scripts.command_blamed(words) == command
    assert scripts.command_blamed(f"ERR script: {'0' * 40}, on @user_script:1.") == ""
    assert scripts.command_blamed(f"ERR script: {script.digest}, on @user_script:{len(lines) + 1}.") == ""
    assert scripts.command_blamed("ERR no script") == ""


def test_a_call_over_several_lines_is_found(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", "scripter", "on", "nopass", "+@all", "-xadd", "~*", "&*")
    name = here(server)
    with socket.create_connection((server.host, server.port)) as connection:
        reader = hiredis.Reader()
        arguments = (name, "e1", "", 0, "channel", b"body", 10, 1000, 5000, 1000)
        connection.sendall(pack("AUTH", "scripter", "x") + pack("EVAL", scripts.PUBLISH.text, 2, *KEYS, *arguments))
        answers: list[Any] = []
        while len(answers) < 2:
            reader.feed(connection.recv(65536))
            while (answer := reader.gets()) is not False:
                answers.append(answer)
    server.call("ACL", "DELUSER", "scripter")
    assert scripts.command_blamed(str(answers[1])) == "XADD"


def test_a_run_has_one_name_and_another_server_another(server: RedisServer, tmp_path: Any) -> None:
    assert here(server) == here(server) != ""
    with RedisServer(tmp_path) as other:
        before = here(other)
        assert before != here(server)
        other.restart()
        assert here(other) != before


def test_a_caller_that_takes_the_server_for_another_changes_nothing(server: RedisServer) -> None:
    assert publish(server, run_of=here(server)) == [b"e1", b"1", 0]
    assert publish(server, run_of="former", fresh="e2") == [b"e1", b"2", 0]
    assert publish(server, run_of="", fresh="e3") == [b"e1", b"3", 0]


def test_an_epoch_of_another_run_is_over(server: RedisServer) -> None:
    publish(server, run_of="former")
    assert publish(server, run_of=here(server), fresh="e2") == [b"e2", b"1", 0]
    assert server.call("XLEN", "stream") == 1
    assert publish(server, run_of=here(server), fresh="e3") == [b"e2", b"2", 0]


@pytest.mark.parametrize(
    ("known", "epoch"), [(("e1", 3), b"e1"), (("e1", 2), b"e1"), (("e1", 4), b"e2"), (("other", 9), b"e1")]
)
def test_an_epoch_does_not_go_on_below_what_is_known(server: RedisServer, known: tuple[str, int], epoch: bytes) -> None:
    name = here(server)
    for _ in range(3):
        publish(server, run_of=name)
    assert publish(server, run_of=name, fresh="e2", known=known) == [epoch, b"4" if epoch == b"e1" else b"1", 0]


def test_what_is_kept_is_never_kept_shorter(server: RedisServer) -> None:
    publish(server, run_of=here(server), lifetime=50_000, position=90_000)
    publish(server, run_of=here(server), lifetime=1000, position=2000)
    assert server.call("PTTL", "stream") > 40_000
    assert server.call("PTTL", "position") > 80_000


def test_offsets_are_exact_where_they_are_large(server: RedisServer) -> None:
    publish(server, run_of=here(server))
    server.call("HSET", "position", "offset", 2**53 - 3)
    assert publish(server, run_of=here(server)) == [b"e1", b"%d" % (2**53 - 2), 0]
    assert server.call("XREVRANGE", "stream", "+", "-", "COUNT", 1)[0][0] == b"%d-0" % (2**53 - 2)


def test_what_is_beyond_its_lifetime_gives_its_memory_back(server: RedisServer, clock: MovedClock) -> None:
    for _ in range(40):
        publish(server, run_of=here(server), size=1000)
        clock.move(0.1)
    assert server.call("XLEN", "stream") <= 10 + 16
    history = run(server, scripts.HISTORY, KEYS, here(server), "e2", "", 0, 1000, "XRANGE", "-", -1)
    assert len(history[2]) == server.call("XLEN", "stream") <= 10
    clock.move(5)
    assert server.call("EXISTS", "stream") == 0


# Processes


def beat(server: RedisServer, process: str, since: Any = 1) -> Any:
    """Let a process beat that has been here since the beginning of time."""
    return run(server, scripts.BEAT, ["processes"], process, 1000, since)


def test_who_beats_lives_until_its_lease_ends_and_never_again(server: RedisServer, clock: MovedClock) -> None:
    assert beat(server, "a")[0] == 0
    clock.move(0.9)
    assert beat(server, "a")[0] == 1
    clock.move(0.9)
    assert run(server, scripts.ALIVE, ["processes"]) == [b"a"]
    clock.move(0.2)
    assert run(server, scripts.ALIVE, ["processes"]) == []
    assert [beat(server, "a")[0] for _ in range(2)] == [0, 0]
    assert run(server, scripts.ALIVE, ["processes"]) == []


def test_the_dead_are_claimed_by_one_and_then_by_the_next(server: RedisServer, clock: MovedClock) -> None:
    beat(server, "dead")
    clock.move(1.1)
    assert beat(server, "b")[3] == [b"dead"]
    assert beat(server, "c")[3] == []
    clock.move(0.9)
    assert [beat(server, each)[3] for each in "bc"] == [[], []]
    clock.move(0.2)
    assert beat(server, "c")[3] == [b"dead"]
    assert beat(server, "dead")[0] == 0


def test_who_has_not_been_here_for_a_lease_claims_nobody(server: RedisServer, clock: MovedClock) -> None:
    beat(server, "dead")
    clock.move(1.1)
    now = beat(server, "b", 0)[2]
    clock.move(0.9)
    assert beat(server, "b", now)[3] == []
    clock.move(0.2)
    assert beat(server, "b", now)[3] == [b"dead"]


# Presence


def enter(server: RedisServer, client: str, process: str, announced: int = 1, info: bytes = b"i\x00 \n%") -> None:
    run(server, scripts.ENTER, ["presence"], client, process, announced, info, "channel")


def test_only_what_the_dead_entered_is_swept(server: RedisServer) -> None:
    for client, process in (("1", "a"), ("2", "b"), ("3", "a"), ("4", "aa")):
        enter(server, client, process)
    assert run(server, scripts.SWEEP, ["presence"], "a", "channel") == 2
    assert run(server, scripts.SWEEP, ["presence"], "a", "channel") == 0
    assert sorted(server.call("HKEYS", "presence")) == [b"2", b"4"]


def test_whether_an_end_is_announced_was_decided_at_first(server: RedisServer) -> None:
    enter(server, "1", "a", 0)
    enter(server, "1", "a", 1, b"changed")
    assert server.call("HGET", "presence", "1") == b"0a changed"
    assert run(server, scripts.LEAVE, ["presence"], "1", "channel") == 1
    assert run(server, scripts.LEAVE, ["presence"], "1", "channel") == 0
