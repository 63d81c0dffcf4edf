"""The load client of the benchmarks: it counts what it should, and a fault that is planted is counted as what it is."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cells, processes
from benchmarks.cells import FAULTS, Cell, Context, Timing, faults, measure
from benchmarks.processes import BenchmarkError, Cores, running
from benchmarks.servers import FANOUT, PROCESSES, REACH, SERVERS, Server

from .fakegroup import JSON, PROTOBUF, SOCKETIO, FakeGroup, Push, Wire, number_of

MEMBERS, WINDOW, MESSAGES = 3, 8, 300
#: Of the messages, the one that a fault is about.
CHOSEN = 200


def server_named(name: str) -> Server:
    """The server of the suite with this name."""
    return next(server for server in SERVERS if server.name == name)


PUBLISHERS = [
    server_named(f"antiphon-{name}") for name in ("publish", "kept", "centrifuge-json", "centrifuge-protobuf")
]


@pytest.fixture(params=[JSON, PROTOBUF], ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    """Each encoding in turn."""
    wire: Wire = request.param
    return wire


@pytest.fixture
def suite(load: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """What the suite measures with: this session's load client, any core, and logs of this test."""
    monkeypatch.setattr(cells, "LOAD", load)
    monkeypatch.setattr(processes, "LOGS", tmp_path)
    return Context(Cores(None, None), Timing(seconds=0.3, warmup=0), None, lambda server: None)


async def publish_all(load: Path, group: FakeGroup, *, patience: int = 60) -> tuple[str, str]:
    """Let the load client publish all messages to the group, and return what it says on stdout and on stderr."""
    async with group.serving() as port:
        return await publish_to(load, group.wire, port, patience=patience)


async def publish_to(load: Path, wire: Wire, *ports: int, patience: int = 60) -> tuple[str, str]:
    """Do that with a group that is served."""
    size = ["--n", str(MEMBERS), "--window", str(WINDOW), "--messages", str(MESSAGES)]
    time = ["--seconds", "60", "--warmup", "0", "--stall", str(patience)]
    client = await asyncio.create_subprocess_exec(
        *(str(load), "fanout", "--port", ",".join(map(str, ports)), "--wire", wire.name, *size, *time),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await client.communicate()
    return stdout.decode(), stderr.decode()


async def told(load: Path, group: FakeGroup, *, patience: int = 60) -> dict[str, Any]:
    """Let it publish all messages, and return what it reports."""
    stdout, stderr = await publish_all(load, group, patience=patience)
    assert not stderr
    report: dict[str, Any] = json.loads(stdout)
    assert report["published"] == MESSAGES
    return report


class Swap:
    """Holds the chosen message back until the next one has gone."""

    def __init__(self) -> None:
        self.held: list[Push] = []

    def __call__(self, push: Push) -> list[Push]:
        if number_of(push) == CHOSEN:
            self.held = [push]
            return []
        held, self.held = self.held, []
        return [push, *held]


def lose(push: Push) -> list[Push]:
    """Leave the chosen message out."""
    return [] if number_of(push) == CHOSEN else [push]


def lose_the_last(push: Push) -> list[Push]:
    """Leave the last message out, behind which nothing comes."""
    return [] if number_of(push) == MESSAGES else [push]


def repeat(push: Push) -> list[Push]:
    """Send the chosen message twice."""
    return [push, push] if number_of(push) == CHOSEN else [push]


def alter(push: Push) -> list[Push]:
    """Change the text of the chosen message."""
    return [push._replace(data=push.data.replace(b"padding", b"PADDING"))] if number_of(push) == CHOSEN else [push]


def pass_over(push: Push) -> list[Push]:
    """Give the chosen message the next one's offset."""
    return [push._replace(offset=push.offset + 1)] if number_of(push) == CHOSEN else [push]


PLANTED = {"lost": lose, "duplicates": repeat, "altered": alter, "misplaced": pass_over}


def test_the_load_client_tests_its_checker(load: Path) -> None:
    done = subprocess.run([load, "selftest"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"mode": "selftest", "failures": 0}


@pytest.mark.parametrize("crowds", [False, True], ids=["alone", "crowded"])
async def test_a_group_without_faults(load: Path, wire: Wire, crowds: bool) -> None:
    report = await told(load, FakeGroup(wire, crowds=crowds))
    assert faults(report) == {}


@pytest.mark.parametrize("crowds", [False, True], ids=["alone", "crowded"])
@pytest.mark.parametrize("fault", PLANTED)
async def test_a_planted_fault_is_counted(load: Path, wire: Wire, fault: str, crowds: bool) -> None:
    report = await told(load, FakeGroup(wire, tamper=PLANTED[fault], crowds=crowds))
    assert faults(report) == {fault: 1}


@pytest.mark.parametrize("crowds", [False, True], ids=["alone", "crowded"])
async def test_another_order_is_counted(load: Path, wire: Wire, crowds: bool) -> None:
    report = await told(load, FakeGroup(wire, tamper=Swap(), crowds=crowds))
    assert faults(report) == {"reordered": 1}


async def test_a_hole_at_the_end_is_counted(load: Path, wire: Wire) -> None:
    report = await told(load, FakeGroup(wire, tamper=lose_the_last), patience=2)
    assert faults(report) == {"lost": 1, "stalled": 1}


async def test_pings_are_answered(load: Path, wire: Wire) -> None:
    group = FakeGroup(wire, pings=True)
    assert faults(await told(load, group)) == {}
    assert group.pongs >= MEMBERS * MESSAGES


async def test_a_group_on_socketio_without_faults(load: Path) -> None:
    group = FakeGroup(SOCKETIO, pings=True)
    assert faults(await told(load, group)) == {}
    assert group.pongs >= MEMBERS * MESSAGES


@pytest.mark.parametrize("fault", ["lost", "duplicates", "altered"])
async def test_a_planted_fault_on_socketio_is_counted(load: Path, fault: str) -> None:
    assert faults(await told(load, FakeGroup(SOCKETIO, tamper=PLANTED[fault]))) == {fault: 1}


async def test_members_are_spread_over_the_ports(load: Path) -> None:
    group = FakeGroup(JSON)
    async with group.serving() as one, group.serving() as other:
        stdout, stderr = await publish_to(load, group.wire, one, other)
    assert (stderr, faults(json.loads(stdout))) == ("", {})
    assert sorted(group.ports) == sorted([one, other, one])
    assert group.published_at == {one}


async def test_a_group_that_does_not_greet(load: Path, wire: Wire) -> None:
    _, stderr = await publish_all(load, FakeGroup(wire, greets=False), patience=1)
    assert stderr == f"load: only 0 of {MEMBERS} connects were answered\n"


@pytest.mark.parametrize("server", PUBLISHERS, ids=lambda server: server.name)
def test_publishing_through_antiphon(suite: Context, server: Server) -> None:
    with running(server, suite.cores) as process:
        values = measure(process, Cell(FANOUT, 5, WINDOW), suite)
        counted = process.stats()
    assert set(FAULTS) <= set(values)
    assert faults(values) == {}
    assert 0 < values["published"] < counted["publications"]  # the probe was one, too


def test_a_group_without_history_has_no_offsets(suite: Context) -> None:
    server = server_named("antiphon-centrifuge-json")
    server = dataclasses.replace(server, env={**server.env, "ANTIPHON_RULES": "{}"})
    with running(server, suite.cores) as process:
        values = measure(process, Cell(FANOUT, 5, WINDOW), suite)
    assert faults(values) == {"misplaced": 5 * values["published"]}


@pytest.mark.parametrize(
    ("path", "wire", "problem"),
    [
        ("/publish", "centrifuge-protobuf", "it declined the subprotocol"),
        ("/centrifuge", "plain", "closed by the server with code 3501"),
    ],
)
def test_another_wire_is_noticed(suite: Context, path: str, wire: str, problem: str) -> None:
    server = dataclasses.replace(server_named("antiphon-publish"), path=path, wire=wire)
    with running(server, suite.cores) as process, pytest.raises(BenchmarkError, match=problem):
        measure(process, Cell(FANOUT, 5, WINDOW), suite)


@pytest.mark.parametrize("name", ["handler", "publish", "kept"])
def test_two_processes_that_share_a_redis(suite: Context, name: str) -> None:
    server = server_named(f"antiphon-redis-{name}")
    with running(server, suite.cores) as process:
        assert len(set(process.ports)) == 2
        assert len(process.pids) == 3
        many, few = (measure(process, cell, suite) for cell in (Cell(PROCESSES, 6, WINDOW), Cell(REACH, 2)))
    assert faults(many) == faults(few) == {}
    assert many["published"] > 0 < few["p50_us"]
