"""Publications with a key: ten thousand of them, sent again at random, are each stored once.

A client whose connection was cut before the answer came does not know whether what it asked for was done. It asks
again, with the same key, and that may not be a second publication.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

import antiphon
import antiphon.sync
from antiphon import app
from antiphon.tokens import connection_token
from antiphon.types import Position, Repeat

from .clients import PING, PONG, TEXT, Wire, eventually, frame
from .servers import DIRECT, Server, Servers

SEED = 20_261_203
KEYS = 10_000
#: How often a key is sent, if no connection is cut: at random one of these.
TIMES = (1, 1, 1, 2, 2, 3, 5)
#: So many of the keys another user takes, too.
SHARED = 500
LINES = 6
"""Connections that a user has at a time."""
GROWTH = 64 * 1024 * 1024
"""Bytes of memory that all of it may cost the server."""

GROUP = "ledger"
RULE = {"subscribe": "allow", "publish": "allow", "history": "members", "history_size": 20_000}
SECRET = "a secret that is long enough for HMAC with SHA-256"
ENVIRONMENT = {"ANTIPHON_RULES": json.dumps({GROUP: RULE}), "ANTIPHON_TOKEN_SECRETS": SECRET}


class Answer(NamedTuple):
    """What was said of a publication."""

    position: Position
    repeated: bool


# Clients


class Line:
    """A connection of a user to the server."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._numbers = itertools.count(1)

    @classmethod
    async def open(cls, server: Server, user: str) -> Line:
        """Connect with a token that says who it is."""
        line = cls(await Wire.open(server, "/connection/room"))
        await line.ask({"connect": {"token": connection_token(user, key=SECRET)}})
        return line

    def number(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Return the command with a number of its own."""
        return {**command, "id": next(self._numbers)}

    async def replies(self) -> list[dict[str, Any]]:
        """Wait for a frame, answer pings of both kinds, and return what else is in it."""
        while (received := await self.wire.receive_frame())[0] == PING:
            await self.wire.send_frame(PONG, received[1])
        opcode, payload = received
        assert opcode == TEXT, payload
        replies = [json.loads(line) for line in payload.split(b"\n")]
        for _ in range(replies.count({})):
            await self.wire.send_frame(TEXT, b"{}")
        return [reply for reply in replies if reply]

    async def ask(self, command: Mapping[str, Any]) -> Any:
        """Send a command, and return the result."""
        await self.wire.send_frame(TEXT, json.dumps(self.number(command)).encode())
        while not (replies := await self.replies()):
            pass
        (reply,) = replies
        return result(reply, *command)

    def cut(self, *, by_reset: bool) -> None:
        """End the connection without a word."""
        if by_reset:
            self.wire.reset()
        else:
            self.wire.close()


def result(reply: Mapping[str, Any], name: str) -> Any:
    """Return what a command was answered with; an error is a failure of the test."""
    assert name in reply, reply
    return reply[name]


class User:
    """Publishes with keys over several connections, and sends again what it heard no answer for."""

    def __init__(self, name: str, keys: Iterable[str], server: Server, chance: random.Random) -> None:
        self.name = name
        self.answers: dict[str, list[Answer]] = {key: [] for key in keys}
        self.unheard: set[str] = set()
        """Keys whose outcome was unknown at some time."""
        self.cuts = 0
        self._server = server
        self._chance = chance
        self._waiting = copies(self.answers, chance)

    async def run(self) -> None:
        """Publish all of it."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(LINES):
                tasks.create_task(self._come_and_go())

    async def _come_and_go(self) -> None:
        while self._waiting:
            line = await Line.open(self._server, self.name)
            try:
                for _ in range(self._chance.randint(1, 10)):
                    if not self._waiting or not await self._publish_some(line):
                        break
            finally:
                line.cut(by_reset=self._chance.random() < 0.5)

    async def _publish_some(self, line: Line) -> bool:
        """Publish a frame full; tell whether the connection goes on."""
        keys = [self._waiting.pop() for _ in range(min(len(self._waiting), self._chance.randint(1, 40)))]
        asked: dict[int, str] = {}
        commands = []
        for key in keys:
            command = line.number({"rpc": {"method": "antiphon.publish", "data": self._publication(key)}})
            asked[command["id"]] = key
            commands.append(json.dumps(command))
        sent = frame(TEXT, "\n".join(commands).encode())
        how = self._chance.choices(["whole", "half a frame", "no answer", "some answers"], [70, 10, 10, 10])[0]
        await line.wire.write(sent if how != "half a frame" else sent[: len(sent) // 2])
        while asked and how in ("whole", "some answers"):
            self._heard(await line.replies(), asked)
            if how == "some answers":
                break
        self.cuts += how != "whole"
        self._ask_again(asked.values())
        return how == "whole"

    def _publication(self, key: str) -> dict[str, Any]:
        return {"channel": GROUP, "key": key, "data": {"user": self.name, "key": key}}

    def _heard(self, replies: Iterable[dict[str, Any]], asked: dict[int, str]) -> None:
        for reply in replies:
            said = result(reply, "rpc")["data"]
            self.answers[asked.pop(reply["id"])].append(
                Answer(Position(said["epoch"], said["offset"]), said["repeated"])
            )

    def _ask_again(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.unheard.add(key)
            self._waiting.insert(self._chance.randint(0, len(self._waiting)), key)


def copies(keys: Iterable[str], chance: random.Random) -> list[str]:
    """Return each key several times, and all in any order."""
    sent = [key for key in keys for _ in range(chance.choice(TIMES))]
    chance.shuffle(sent)
    return sent


class Reader:
    """A member that is there all the time."""

    def __init__(self, line: Line, epoch: str) -> None:
        self.line = line
        self.epoch = epoch
        self.stored: list[tuple[Position, Any]] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, server: Server) -> Reader:
        """Subscribe."""
        line = await Line.open(server, "the reader")
        subscribed = await line.ask({"subscribe": {"channel": GROUP}})
        return cls(line, subscribed["epoch"])

    async def _read(self) -> None:
        while True:
            for reply in await self.line.replies():
                self.stored.append(self._stored(reply["push"]["pub"]))

    def _stored(self, publication: dict[str, Any]) -> tuple[Position, Any]:
        assert publication["info"]["user"] == publication["data"]["user"]
        return Position(self.epoch, publication["offset"]), publication["data"]

    async def history(self, count: int) -> list[tuple[Position, Any]]:
        """Wait for so many publications, hear no more, and return all that the group's history has."""
        await eventually(lambda: len(self.stored) >= count or self._reading.done(), f"{count} publications")
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        pages: list[tuple[Position, Any]] = []
        while True:
            since = {"epoch": self.epoch, "offset": len(pages)}
            page = await self.line.ask({"history": {"channel": GROUP, "limit": 1000, "since": since}})
            pages += [self._stored(each) for each in page.get("publications", ())]
            if len(pages) >= page["offset"]:
                return pages


# What has to be


def check(answers: Mapping[str, Sequence[Answer]], stored: Mapping[str, Position], unheard: Iterable[str] = ()) -> None:
    """Fail unless all answers for a key name the place where it is stored, and all but one that it was repeated."""
    assert set(stored) == set(answers)
    assert {key for key, said in answers.items() if {each.position for each in said} != {stored[key]}} == set()
    first = {key: [each.repeated for each in said].count(False) for key, said in answers.items()}
    assert {key for key, count in first.items() if count > 1} == set()
    assert {key for key, count in first.items() if count == 0} <= set(unheard)


async def test_a_publication_whose_outcome_is_unknown_is_sent_again_and_stored_once(
    servers: Servers, visited: list[Server]
) -> None:
    server = servers.start(DIRECT[0], "tests.integration.apps.centrifuge:app", env=ENVIRONMENT)
    visited.append(server)
    keys = [f"key {number}" for number in range(KEYS)]
    users = [
        User("ada", keys, server, random.Random(SEED)),
        User("alan", keys[:SHARED], server, random.Random(SEED + 1)),
    ]
    reader = await Reader.open(server)
    before = server.memory()
    async with asyncio.TaskGroup() as tasks:
        for user in users:
            tasks.create_task(user.run())
    history = await reader.history(KEYS + SHARED)
    assert server.memory() - before < GROWTH

    assert [position.offset for position, _ in history] == list(range(1, KEYS + SHARED + 1))
    assert reader.stored == history
    for user in users:
        stored = {data["key"]: position for position, data in history if data["user"] == user.name}
        check(user.answers, stored, user.unheard)
    assert users[0].cuts > 50
    resent = [key for key, said in users[0].answers.items() if all(each.repeated for each in said)]
    assert resent, "no answer was lost of anything that had been stored"
    reader.line.cut(by_reset=False)


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose ``ledger`` keeps its history."""
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})
    antiphon.configure(rules={GROUP: RULE})


async def test_a_key_is_published_once_by_whatever_number_of_tasks_and_threads(configured: None) -> None:
    answers: dict[str, list[Answer]] = {f"key {number}": [] for number in range(KEYS)}
    sent = copies(answers, random.Random(SEED))

    def heard(key: str, position: Position) -> None:
        answers[key].append(Answer(Position(*position), isinstance(position, Repeat)))

    async def by_task(key: str) -> None:
        heard(key, await antiphon.publish(GROUP, {"key": key}, idempotency_key=key))

    def by_thread(keys: Sequence[str]) -> None:
        for key in keys:
            heard(key, antiphon.sync.publish(GROUP, {"key": key}, idempotency_key=key))

    await app.current_app().start()
    in_threads, in_tasks = sent[: len(sent) // 4], sent[len(sent) // 4 :]
    async with asyncio.TaskGroup() as tasks:
        for start in range(2):
            tasks.create_task(asyncio.to_thread(by_thread, in_threads[start::2]))
        for start in range(0, len(in_tasks), 1000):
            await asyncio.gather(*(by_task(key) for key in in_tasks[start : start + 1000]))

    kept = (await antiphon.history(GROUP)).publications
    assert [each.offset for each in kept] == list(range(1, KEYS + 1))
    check(answers, {json.loads(each.data)["key"]: each.position for each in kept})
    await app.current_app().stop()
