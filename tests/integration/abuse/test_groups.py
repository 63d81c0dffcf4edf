"""Groups: names that a client made up, thousands of memberships, types of events that mean something inside."""

from __future__ import annotations

import random

import pytest

from tests.integration.clients import Client, connect, eventually
from tests.integration.servers import Server

from .attack import MiB
from .conftest import Record, Start
from .witness import STALL, worst_of

REFUSED = {
    "empty": "",
    "line feed at the end": "a\n",
    "CRLF": "a\r\nPUBLISH b c",
    "NUL": "a\0b",
    "escape": "\x1b[31m",
    "C1 control": "\x9b31m",
    "line separator": "a\u2028b",
    "256 bytes": "a" * 256,
    "256 bytes in UTF-8": "é" * 128,
    "a megabyte": "a" * 1_000_000,
    "number": 5,
    "nothing": None,
    "list": ["a"],
    "mapping": {"a": 1},
    "flag": True,
}
#: What they may be called, though other programs would read something into it.
TAKEN = {
    "wildcard": "*",
    "wildcard of NATS": "a.>",
    "space": "a b",
    "quotes": "\"'; DROP TABLE groups; --",
    "braces": "{a}:{b}",
    "format": "%s%n{0.__class__}",
    "path": "../../etc/passwd",
    "dunder": "__class__",
    "channel name": "specific.12345678!0123456789abcdef",
    "255 bytes": "a" * 255,
    "another script": "群組",
    "right to left": "\u202etxt.exe",
}


@pytest.mark.parametrize("case", REFUSED)
async def test_name_that_no_group_may_have_is_the_applications_exception(target: Server, name: str, case: str) -> None:
    group = REFUSED[case]
    async with await connect(target, f"/target/{name}/") as client:
        assert await client.ask({"do": "join", "groups": [group]}) == {"joined": 0, "refused": {"InvalidName": 1}}
        assert await client.ask({"do": "say_to", "group": group, "value": 1}) == {"refused": "InvalidName"}
        assert await client.ask({"do": "echo", "value": 1}) == {"echo": 1}


@pytest.mark.parametrize("case", TAKEN)
async def test_odd_name_is_a_name_like_any_other(target: Server, name: str, case: str) -> None:
    group = TAKEN[case]
    async with await connect(target, f"/target/{name}/") as member, await connect(target, f"/target/{name}/") as other:
        assert await member.ask({"do": "join", "groups": [group]}) == {"joined": 1, "refused": {}}
        await other.send_json({"do": "say_to", "group": group, "value": case})
        assert await member.receive_json() == {"published": case}
        assert await other.receive_json() == {"refused": None}
        await other.send_json({"do": "echo", "value": "nothing else came"})
        assert await other.receive_json() == {"echo": "nothing else came"}


async def test_names_that_look_alike_are_different_groups(target: Server, name: str) -> None:
    names = ["group", "Group", "group ", " group", "gro\u200bup", "grοup", "ｇroup", "group.", "e\u0301", "\u00e9"]
    members: list[Client] = []
    for number, group in enumerate(names):
        member = await connect(target, f"/target/{name}-{number}/")
        assert await member.ask({"do": "join", "groups": [name + group]}) == {"joined": 1, "refused": {}}
        members.append(member)
    for number, group in enumerate(names):
        await members[number].send_json({"do": "say_to", "group": name + group, "value": number})
        assert await members[number].receive_json() == {"published": number}
        assert await members[number].receive_json() == {"refused": None}
    for member in members:
        assert await member.ask({"do": "echo", "value": "alone"}) == {"echo": "alone"}
        await member.close()


def groups_of(server: Server) -> int:
    """Return how many groups the process knows."""
    number: int = server.get("/objects").json()["types"].get("antiphon.group.Group", 0)
    return number


async def test_groups_of_one_connection_are_bounded_and_left_with_it(start: Start, name: str) -> None:
    server = start(groups_per_connection=50)
    groups = [f"{name}-{number}" for number in range(20_000)]
    before = groups_of(server)
    async with await connect(server, f"/target/{name}/") as greedy:
        answer = await greedy.ask({"do": "join", "groups": groups})
        assert answer == {"joined": 49, "refused": {"LimitExceeded": 19_951}}
        assert groups_of(server) - before == 50
        assert await greedy.ask({"do": "join", "groups": groups[:49]}) == {"joined": 49, "refused": {}}
    await eventually(lambda: groups_of(server) == before, "the groups to be gone")


async def test_thousands_of_groups_are_left_by_those_who_vanish(
    start: Start, name: str, record_property: Record
) -> None:
    server = start(groups_per_connection=5000)
    before = groups_of(server)

    async def attack() -> None:
        for number in range(4):
            greedy = await connect(server, f"/target/{name}/")
            groups = [f"{name}-{number}-{place}" for place in range(4999)]
            assert (await greedy.ask({"do": "join", "groups": groups}))["joined"] == 4999
            greedy.reset()
        await eventually(lambda: groups_of(server) == before + 1, "the groups to be gone")  # the witness's

    await worst_of(server, attack, times=1)  # the memory that it takes is there from now on
    memory = server.memory()
    worst = await worst_of(server, attack)
    record_property("worst", worst)
    record_property("growth", server.memory() - memory)
    assert server.memory() - memory < 4 * MiB
    assert worst[1] < STALL


TYPES = [
    "websocket.receive\n",
    "websocket..receive",
    "WEBSOCKET.RECEIVE",
    "websocket\u2024receive",
    "ｓend_json",
    "__class__",
    "_connection.close",
    ".do_fail",
    "_do_fail",
    "receive_json.__call__",
    "said.",
    "said ",
    "groups",
    "mro",
    "attach",
    "inbound",
    "a" * 100_000,
    "\ud800",
    True,
    1.5,
    [],
    {"said": 1},
]


@pytest.mark.parametrize("event_type", TYPES, ids=lambda kind: repr(kind)[:30])
async def test_type_of_an_event_reaches_nothing_of_the_framework(target: Server, name: str, event_type: object) -> None:
    event = {"type": event_type, "value": "x", "text": '{"do": "fail"}', "code": 1000}
    before = target.stats()["handler_errors"]
    async with await connect(target, f"/target/{name}/") as sender, await connect(target, f"/target/{name}/") as member:
        await sender.send_json({"do": "event", "event": event})
        await sender.send_json({"do": "say", "value": "unharmed"})
        heard = [await member.receive_json()]
        assert heard == [{"said": "unharmed"}]
    assert target.stats()["handler_errors"] == before


async def test_random_types_reach_nothing(target: Server, name: str) -> None:
    rnd = random.Random(1430)
    parts = ["said", "send", "websocket", "receive", "close", "do", "_", ".", "__", "json", "\u0435", "1", " ", "fail"]
    async with await connect(target, f"/target/{name}/") as sender, await connect(target, f"/target/{name}/") as member:
        for _ in range(1000):
            kind = "".join(rnd.choices(parts, k=rnd.randrange(1, 5)))
            if kind.replace(".", "_") not in ("said", "do_fail"):
                await sender.send_json({"do": "event", "event": {"type": kind, "value": kind}})
                assert "refused" in await sender.receive_json()
        assert await sender.ask({"do": "say", "value": "unharmed"}) == {"said": "unharmed"}
        assert await member.receive_json() == {"said": "unharmed"}
