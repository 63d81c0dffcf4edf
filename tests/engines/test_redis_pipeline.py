"""The connection for commands, to a server that does what a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import hiredis
import pytest

from antiphon.counters import Counters
from antiphon.engines.redis import pipeline as module
from antiphon.engines.redis.connection import Connection, dial
from antiphon.engines.redis.faults import Fault, Outage
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.pipeline import Pipeline
from antiphon.engines.redis.scripts import ALIVE, PUBLISH, SCRIPTS
from antiphon.exceptions import EngineUnavailable, OutcomeUnknown

from .sqlite import until


class Scripted:
    """A server on a free port: ``answer`` gives what each command but those of ``SCRIPT`` is answered with."""

    def __init__(self) -> None:
        self.answer: Callable[[list[bytes]], bytes | None] = lambda words: b"+OK\r\n"
        self.heard: list[list[bytes]] = []
        self.writes: list[int] = []
        """How many commands came at once."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        self.close()
        self.cut()

    def close(self) -> None:
        """Take no new connections."""
        assert self._server is not None
        self._server.close()

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()

    @property
    def options(self) -> Options:
        assert self._server is not None
        return Options((self._server.sockets[0].getsockname()[:2],))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        parser = hiredis.Reader(notEnoughData=self)
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                parser.feed(data)
                count = 0
                while (words := parser.gets()) is not self:
                    if words[0] == b"SCRIPT":
                        writer.write(b"+loaded\r\n")
                        continue
                    count += 1
                    self.heard.append(words)
                    answer = self.answer(words)
                    if answer is not None:
                        writer.write(answer)
                self.writes.append(count)
        self._writers.discard(writer)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    server = Scripted()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
async def opened(server: Scripted, counters: Counters) -> AsyncIterator[Callable[..., Any]]:
    """Opens pipelines, and stops them."""
    running: list[Pipeline] = []

    async def open_one(timeout: float = 5.0) -> Pipeline:
        options = server.options

        async def connect() -> Connection:
            connection = await dial(options, options.addresses[0], user="", password="")
            connection.run = "run1"
            return connection

        pipeline = Pipeline("Redis", connect, Outage("Redis", counters), counters, timeout)
        running.append(pipeline)
        await pipeline.start()
        return pipeline

    yield open_one
    for pipeline in running:
        await pipeline.stop()


async def test_what_is_called_in_one_round_goes_out_together_and_in_order(server: Scripted, opened: Any) -> None:
    pipeline = await opened()
    await pipeline.call("first", "PING")
    server.answer = lambda words: b"$%d\r\n%s\r\n" % (len(words[1]), words[1])
    answers = await asyncio.gather(*(pipeline.call("echo", "ECHO", str(number)) for number in range(100)))
    assert answers == [b"%d" % number for number in range(100)]
    assert max(server.writes) == 100


async def test_a_script_is_called_by_digest_with_the_servers_run(server: Scripted, opened: Any) -> None:
    pipeline = await opened()
    await pipeline.run(PUBLISH, ["k1", "k2"], "x", 7)
    await pipeline.run(ALIVE, ["k1"])
    publish, alive = server.heard
    assert publish == [b"EVALSHA", PUBLISH.digest.encode(), b"2", b"k1", b"k2", b"run1", b"x", b"7"]
    assert alive == [b"EVALSHA", ALIVE.digest.encode(), b"1", b"k1"]
    pipeline.note_run("key", "run2")
    await pipeline.run(PUBLISH, ["k1", "k2"])
    assert server.heard[-1][-1] == b"run2"


async def test_a_script_that_is_not_known_is_sent_whole(server: Scripted, opened: Any) -> None:
    server.answer = lambda words: b"-NOSCRIPT No matching script\r\n" if words[0] == b"EVALSHA" else b"+done\r\n"
    assert await (await opened()).run(ALIVE, ["k"]) == b"done"
    assert server.heard[-1][:2] == [b"EVAL", ALIVE.text.encode()]
    assert len(SCRIPTS) > 5


async def test_an_error_is_the_callers_and_nobody_elses(server: Scripted, opened: Any, counters: Counters) -> None:
    pipeline = await opened()
    server.answer = lambda words: b"-OOM command not allowed\r\n" if words[0] == b"SET" else b"+OK\r\n"
    one, two, three = (pipeline.call("v", word) for word in ("GET", "SET", "GET"))
    assert await one == await three == b"OK"
    with pytest.raises(EngineUnavailable, match="v was refused by Redis: its memory is full"):
        await two
    assert (counters.engine_refusals, counters.engine_outages) == (1, 1)


async def test_what_was_sent_and_not_answered_is_unknown_or_sent_again(server: Scripted, opened: Any) -> None:
    pipeline = await opened()
    server.answer = lambda words: None
    unknown = pipeline.call("once", "A")
    again = pipeline.call("twice", "B", is_repeatable=True)
    await until(lambda: len(server.heard) == 2)
    server.answer = lambda words: b"+OK\r\n"
    server.cut()
    with pytest.raises(OutcomeUnknown, match="once was sent, and not answered"):
        await unknown
    assert await again == b"OK"
    assert [words[0] for words in server.heard] == [b"A", b"B", b"B"]


async def test_nothing_is_answered_within_the_time(server: Scripted, opened: Any, counters: Counters) -> None:
    pipeline = await opened(0.2)
    server.answer = lambda words: None
    unknown, refused = pipeline.call("once", "A"), pipeline.call("twice", "B", is_repeatable=True)
    with pytest.raises(OutcomeUnknown, match=r"no answer within 0\.2 s"):
        await unknown
    with pytest.raises(EngineUnavailable, match="twice was not done"):
        await refused
    await until(lambda: counters.engine_outages == 1)


async def test_a_server_that_may_not_is_left_and_the_next_does_it(
    server: Scripted, opened: Any, counters: Counters
) -> None:
    pipeline = await opened()
    tries = []

    def answer(words: list[bytes]) -> bytes:
        tries.append(words[1])
        return b"-READONLY You can't write\r\n" if len(tries) <= 3 else b"+OK\r\n"

    server.answer = answer
    calls = [pipeline.call("w", "SET", each) for each in "abc"]
    assert await asyncio.gather(*calls) == [b"OK"] * 3
    assert tries == [b"a", b"b", b"c"] * 2
    assert (counters.engine_outages, counters.engine_refusals) == (1, 0)


async def test_what_no_server_would_do_is_known_not_to_have_happened(server: Scripted, opened: Any) -> None:
    pipeline = await opened(timeout=0.2)

    def answer(words: list[bytes]) -> bytes:
        server.close()  # so that it is not tried again: that would be under way when the time is over
        return b"-CLUSTERDOWN The cluster is down\r\n"

    server.answer = answer
    with pytest.raises(EngineUnavailable, match="w was not done"):
        await pipeline.call("w", "SET", "a")


async def test_what_was_cancelled_is_not_sent(server: Scripted, opened: Any) -> None:
    pipeline = await opened()
    pipeline.call("x", "A").cancel()
    await pipeline.call("x", "B")
    assert [words[0] for words in server.heard] == [b"B"]
    assert pipeline.is_idle


async def test_what_waits_is_bounded(
    server: Scripted, opened: Any, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE", 3000)
    pipeline = await opened()
    await until(lambda: pipeline.is_idle)
    for _ in range(3):
        calls = [pipeline.call("x", "A", b"1" * 1000) for _ in range(3)]
        with pytest.raises(EngineUnavailable, match="no more fit"):
            await calls[2]
        assert await asyncio.gather(*calls[:2]) == [b"OK"] * 2
    assert counters.engine_refusals == 3


async def test_after_the_stop_everything_is_refused(server: Scripted, opened: Any) -> None:
    pipeline = await opened()
    server.answer = lambda words: None
    sent = pipeline.call("x", "A")
    await until(lambda: server.heard)
    waits = pipeline.call("x", "B", is_repeatable=True)
    await pipeline.stop()
    with pytest.raises(OutcomeUnknown, match="stopped"):
        await sent
    for each in (waits, pipeline.call("x", "C")):
        with pytest.raises(EngineUnavailable, match="stopped"):
            await each


async def test_what_speaks_another_protocol_is_no_redis(server: Scripted, opened: Any) -> None:
    pipeline = await opened(0.3)
    server.answer = lambda words: b"HTTP/1.1 400 Bad Request\r\n"
    with pytest.raises(OutcomeUnknown, match="not Redis' protocol"):
        await pipeline.call("x", "A")


async def test_no_server_is_a_fault(counters: Counters) -> None:
    async def nobody() -> Connection:
        raise ConnectionRefusedError("nobody listens")

    pipeline = Pipeline("Redis", nobody, Outage("Redis", counters), counters, 0.1)
    with pytest.raises(Fault, match="nobody listens"):
        await pipeline.start()
    await pipeline.stop()


@pytest.mark.parametrize("is_cut", [False, True], ids=["silent", "cut"])
async def test_a_publication_with_a_key_that_was_sent_and_never_answered_may_have_been_made(
    server: Scripted, opened: Any, is_cut: bool
) -> None:
    pipeline = await opened(0.3)
    server.answer = lambda words: None
    publishing = pipeline.run(PUBLISH, ["k1", "k2", "k3"], is_repeatable=True)
    reading = pipeline.run(ALIVE, ["k1"], is_repeatable=True)
    await until(lambda: len(server.heard) == 2)
    if is_cut:
        await server.stop()
    with pytest.raises(OutcomeUnknown, match="publish was sent"):
        await publishing
    with pytest.raises(EngineUnavailable, match="alive was not done"):
        await reading


async def test_a_refusal_says_nothing_of_what_was_sent_before_it(server: Scripted, opened: Any) -> None:
    pipeline = await opened()
    server.answer = lambda words: None
    sent = pipeline.run(PUBLISH, ["k1", "k2", "k3"], is_repeatable=True)
    await until(lambda: server.heard)
    server.answer = lambda words: b"-OOM command not allowed\r\n"
    server.cut()
    with pytest.raises(OutcomeUnknown, match="memory is full"):
        await sent
    with pytest.raises(EngineUnavailable, match="memory is full"):
        await pipeline.run(PUBLISH, ["k1", "k2", "k3"], is_repeatable=True)


async def test_what_another_server_has_to_do_was_not_sent_yet(server: Scripted, opened: Any) -> None:
    pipeline = await opened(0.3)
    server.answer = lambda words: b"-READONLY You can't write against a read only replica.\r\n"
    with pytest.raises(EngineUnavailable, match="was not done"):
        await pipeline.run(PUBLISH, ["k1", "k2"])
