"""Who is where, at servers that know nothing of each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.presences import Presences
from antiphon.exceptions import EngineUnavailable
from antiphon.types import ClientInfo

from ..fakes import until

ANN = ClientInfo("ann", "client-1")
KEYS = Keys("p")
BEATEN: Any = (1, b"run", 1, [])


class Pipeline:
    """A server's pipeline, which answers when it is told to."""

    def __init__(self) -> None:
        self.is_connected = True
        self.called: list[str] = []
        self.waiting: list[asyncio.Future[Any]] = []

    def call(self, verb: str, *words: Any, is_repeatable: bool = False) -> asyncio.Future[Any]:
        self.called.append(verb)
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def run(self, script: Any, keys: Any, *arguments: Any, is_repeatable: bool = False) -> asyncio.Future[Any]:
        return self.call(script.name)

    def note_run(self, key: str, run: str) -> None:
        pass

    def answer(self, answer: Any) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.set_exception(answer) if isinstance(answer, Exception) else each.set_result(answer)


class Node:
    """A server."""

    def __init__(self, name: str) -> None:
        self.where = name
        self.pipeline = Pipeline()


class Three:
    """Three servers, and who is where; a group is at the server whose name it begins with."""

    def __init__(self, lease: float = 30.0) -> None:
        self.nodes = [Node(name) for name in "abc"]
        nodes: Any = self.nodes
        self.presences = Presences(nodes, self.node_of, KEYS, "here", lease)

    def node_of(self, key: str) -> Any:
        return next(node for node in self.nodes if f"{{:{node.where}" in key)

    async def beat(self, *answers: Any) -> None:
        """Let it beat, and the servers answer; None: it does not."""
        beating = asyncio.ensure_future(self.presences.beat())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for node, answer in zip(self.nodes, answers, strict=True):
            if answer is not None:
                node.pipeline.answer(answer)
        await beating


async def test_each_server_is_told_of_its_own_groups() -> None:
    three = Three()
    await three.beat(*[BEATEN] * 3)
    three.presences.enter("a1", ANN, announced=True)
    three.presences.leave("a1", "client-1")
    three.presences.enter("b1", ANN, announced=True)
    assert [node.pipeline.called for node in three.nodes] == [
        ["beat", "enter", "enter", "leave", "leave"],
        ["beat", "enter", "enter"],
        ["beat"],
    ]


async def test_who_enters_before_the_first_beat_is_told_of_behind_it() -> None:
    three = Three()
    three.presences.enter("a1", ANN, announced=True)
    assert three.nodes[0].pipeline.called == [], "if the process died now nobody would take it away"
    await three.beat(*[BEATEN] * 3)
    await until(lambda: three.nodes[0].pipeline.called == ["beat", "enter", "enter"])


async def test_a_server_that_does_not_answer_is_waited_for_shortly_and_not_asked_twice() -> None:
    three = Three(lease=0.1)
    await three.beat(BEATEN, None, BEATEN)
    await three.beat(BEATEN, None, BEATEN)
    assert [node.pipeline.called for node in three.nodes] == [["beat"] * 2, ["beat"], ["beat"] * 2]
    three.nodes[1].pipeline.answer(BEATEN)
    await until(lambda: not three.presences._beats)
    await three.beat(*[BEATEN] * 3)
    assert three.nodes[1].pipeline.called == ["beat"] * 2


async def test_a_server_that_is_away_is_not_asked() -> None:
    three = Three()
    three.nodes[1].pipeline.is_connected = False
    await three.beat(BEATEN, None, BEATEN)
    assert three.nodes[1].pipeline.called == []


async def test_it_fails_where_all_fail() -> None:
    three = Three()
    await three.beat(EngineUnavailable("x"), BEATEN, EngineUnavailable("x"))
    with pytest.raises(EngineUnavailable):
        await three.beat(*[EngineUnavailable("x")] * 3)


async def test_what_is_no_fault_of_redis_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    three = Three()
    await three.beat((1, 2), BEATEN, BEATEN)
    assert "the beat of the engine of a failed" in caplog.text


async def test_of_a_new_connection_its_own_server_hears() -> None:
    three = Three()
    await three.beat(*[BEATEN] * 3)
    three.nodes[0].pipeline.is_connected = False
    for group in ("a1", "b1"):
        three.presences.enter(group, ANN, announced=False)
    three.nodes[0].pipeline.is_connected = True
    nodes: Any = three.nodes
    three.presences.connected_to(nodes[0])
    assert [node.pipeline.called[1:] for node in three.nodes] == [["enter"] * 2, ["enter"] * 2, []]


async def test_the_end_is_told_where_somebody_hears_it() -> None:
    three = Three()
    three.nodes[1].pipeline.is_connected = False
    ending = asyncio.ensure_future(three.presences.end())
    while not ending.done():
        await asyncio.sleep(0)
        for node in three.nodes:
            node.pipeline.answer(1)
    assert [node.pipeline.called for node in three.nodes] == [["sweep"] * 2, [], ["sweep"] * 2]


async def test_what_is_under_way_ends_with_it() -> None:
    three = Three(lease=0.01)
    await three.beat(None, BEATEN, BEATEN)
    (beat,) = three.presences._beats.values()
    await three.presences.stop()
    assert beat.cancelled()
