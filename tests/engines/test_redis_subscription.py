"""The connection for what is published, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.counters import Counters
from antiphon.engines.redis.connection import Connection, dial
from antiphon.engines.redis.faults import Outage
from antiphon.engines.redis.options import Options
from antiphon.engines.redis.subscription import Subscription
from antiphon.exceptions import EngineUnavailable

from ..integration.redis_server import RedisServer
from .redis import shared_server
from .sqlite import until
from .test_redis_pipeline import Scripted


@pytest.fixture
def server() -> RedisServer:
    return shared_server()[0]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that may be ended."""
    with RedisServer(tmp_path) as server:
        yield server


class Heard(Subscription):
    """A subscription that notes what it hears."""

    def __init__(self, server: RedisServer | Scripted, timeout: float) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.told_before: list[int] = []
        """How often it was told that something was missed before each message."""
        self.restored = 0
        self.was_cut = False
        self.counters = Counters()
        options = server.options if isinstance(server, Scripted) else Options(((server.host, server.port),))

        async def connect() -> Connection:
            return await dial(options, options.addresses[0], user="", password="")

        def deliver(channel: bytes, message: bytes) -> None:
            self.messages.append((channel, message))
            self.told_before.append(self.restored)

        def on_restored() -> None:
            self.restored += 1

        super().__init__("Redis", connect, Outage("Redis", self.counters), timeout, deliver, on_restored)


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Any]]:
    running: list[Heard] = []

    async def open_one(server: RedisServer, *channels: str, timeout: float = 5.0) -> Heard:
        running.append(Heard(server, timeout))
        await running[-1].start(["base", *channels])
        return running[-1]

    yield open_one
    for each in running:
        await each.stop()


def commands(server: RedisServer, name: str) -> int:
    """How often a command was called."""
    for line in server.call("INFO", "commandstats").decode().splitlines():
        if line.startswith(f"cmdstat_{name}:"):
            return int(line.partition("calls=")[2].partition(",")[0])
    return 0


async def test_many_groups_are_one_command(own: RedisServer, opened: Any) -> None:
    heard = await opened(own)
    before = commands(own, "subscribe")
    await asyncio.gather(*(heard.subscribe(f"c{number}") for number in range(2500)))
    assert commands(own, "subscribe") - before == 3
    assert own.call("PUBSUB", "NUMSUB", "c0", "c2499") == [b"c0", 1, b"c2499", 1]
    for number in range(2500):
        heard.unsubscribe(f"c{number}")
    await heard.idle()
    assert commands(own, "unsubscribe") == 3
    assert own.call("PUBSUB", "NUMSUB", "c0", "c2499") == [b"c0", 0, b"c2499", 0]


async def test_the_last_word_on_a_channel_counts(server: RedisServer, opened: Any) -> None:
    heard = await opened(server)
    for number in range(20):
        waiting = asyncio.ensure_future(heard.subscribe("x"))
        await asyncio.sleep(0)
        heard.unsubscribe("x")
        if number % 2:
            await asyncio.sleep(0)
        again = asyncio.ensure_future(heard.subscribe("x"))
        await asyncio.gather(waiting, again)
        server.call("PUBLISH", "x", number)
        await until(lambda number=number: heard.messages[-1:] == [(b"x", b"%d" % number)])  # type: ignore[misc]
        heard.unsubscribe("x")
        await asyncio.sleep(0)
        if number % 3:
            await heard.idle()
    await heard.idle()
    assert server.call("PUBLISH", "x", "nobody") == 0
    assert len(heard.messages) == 20


async def test_all_is_subscribed_again_before_it_is_told(own: RedisServer, opened: Any) -> None:
    heard = await opened(own, *(f"c{number}" for number in range(1500)))
    for number in range(1, 4):
        own.call("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda number=number: heard.restored == number)  # type: ignore[misc]
        assert own.call("PUBLISH", "c1499", number) == 1
        await until(lambda number=number: len(heard.messages) == number)  # type: ignore[misc]
    assert heard.counters.engine_outages == 3


async def test_who_waits_when_the_connection_is_cut_waits_for_the_next(own: RedisServer, opened: Any) -> None:
    heard = await opened(own, timeout=20)
    own.freeze()
    waiting = asyncio.gather(*(heard.subscribe(f"c{number}") for number in range(10)))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    own.restart()
    await waiting
    assert own.call("PUBLISH", "c9", "x") == 1


async def test_who_waits_too_long_is_refused(own: RedisServer, opened: Any) -> None:
    heard = await opened(own, timeout=0.2)
    own.kill()
    with pytest.raises(EngineUnavailable, match="not subscribed to"):
        await heard.subscribe("c")


async def test_a_channel_that_is_not_allowed_is_refused_and_the_rest_goes_on(own: RedisServer, opened: Any) -> None:
    own.call("ACL", "SETUSER", "default", "resetchannels", "&base", "&good*")
    heard = await opened(own)
    with pytest.raises(EngineUnavailable, match="may not do that"):
        await heard.subscribe("bad")
    heard.unsubscribe("bad")
    await heard.subscribe("good")
    assert own.call("PUBLISH", "good", "x") == 1
    assert heard.restored == 0


async def test_of_many_that_are_asked_for_at_once_those_that_are_not_allowed_fail_alone(
    own: RedisServer, opened: Any
) -> None:
    own.call("ACL", "SETUSER", "default", "resetchannels", "&base", "&good*")
    heard = await opened(own)
    names = ["good1", "bad1", "good2", "bad2", "good3"]
    done = await asyncio.gather(*(heard.subscribe(name) for name in names), return_exceptions=True)
    assert [type(each) for each in done] == [type(None), EngineUnavailable] * 2 + [type(None)]
    assert sorted(own.call("PUBSUB", "CHANNELS", "good*")) == [b"good1", b"good2", b"good3"]
    assert own.call("PUBLISH", "good3", "x") == 1
    await until(lambda: heard.messages == [(b"good3", b"x")])
    assert heard.counters.engine_outages == 1


async def test_who_is_no_longer_interested_is_not_asked_for_again(own: RedisServer, opened: Any) -> None:
    own.call("ACL", "SETUSER", "default", "resetchannels", "&base", "&good*")
    heard = await opened(own)
    waiting = [asyncio.ensure_future(heard.subscribe(name)) for name in ("good1", "bad", "good2")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    heard.unsubscribe("good1")
    await asyncio.wait(waiting[1:])
    await heard.idle()
    assert own.call("PUBSUB", "CHANNELS", "good*") == [b"good2"]
    waiting[0].cancel()


async def test_what_is_not_allowed_for_a_time_is_heard_again_and_it_is_told_that_something_was_missed(
    own: RedisServer, opened: Any
) -> None:
    heard = await opened(own, "one", "two", timeout=1.0)
    own.call("ACL", "SETUSER", "default", "resetchannels", "&base", "&two")
    own.call("CLIENT", "KILL", "TYPE", "pubsub")  # where the server has not done it by itself
    await until(lambda: own.call("PUBSUB", "NUMSUB", "one", "two") == [b"one", 0, b"two", 1])
    await heard.idle()
    before = heard.restored
    assert before >= 1
    assert heard._outage.fault is not None
    own.call("ACL", "SETUSER", "default", "allchannels")
    await until(lambda: own.call("PUBSUB", "NUMSUB", "one", "two") == [b"one", 1, b"two", 1])
    await until(lambda: heard.restored > before)
    assert heard._outage.fault is None


async def test_an_idle_connection_is_kept(own: RedisServer, opened: Any) -> None:
    heard = await opened(own, timeout=0.2)
    before = commands(own, "ping")
    await until(lambda: commands(own, "ping") >= before + 4)
    assert heard.restored == 0
    assert heard.counters.engine_outages == 0


def bulks(*words: bytes) -> bytes:
    """An answer of several words."""
    return b"*%d\r\n%s" % (len(words), b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))


async def test_what_comes_on_a_new_connection_waits_until_it_is_told_that_something_was_missed() -> None:
    server = Scripted()
    await server.start()
    heard = Heard(server, 5.0)

    def answer(words: list[bytes]) -> bytes:
        if words[0] == b"SUBSCRIBE":
            return bulks(b"subscribe", words[1], b"1") + bulks(b"message", words[1], b"%d" % heard.restored)
        return bulks(b"pong", words[1])

    server.answer = answer
    try:
        await heard.start(["base"])
        await until(lambda: heard.messages == [(b"base", b"0")])
        server.cut()
        await until(lambda: len(heard.messages) == 2)
        assert heard.told_before == [0, 1]
    finally:
        await heard.stop()
        await server.stop()


async def test_a_server_that_subscribes_while_it_is_loading_is_asked_anew_what_was_missed() -> None:
    server = Scripted()
    await server.start()
    heard, loading = Heard(server, 5.0), [1]

    def answer(words: list[bytes]) -> bytes:
        if words[0] == b"SUBSCRIBE":
            return bulks(b"subscribe", words[1], b"1")
        if heard.was_cut and loading:
            loading.pop()
            return b"-LOADING Redis is loading the dataset in memory\r\n"
        return bulks(b"pong", words[1])

    server.answer = answer
    try:
        await heard.start(["base"])
        await heard.idle()
        heard.was_cut = True
        server.cut()
        await until(lambda: heard.restored == 1)
        assert loading == []
        assert heard._outage.fault is None
    finally:
        await heard.stop()
        await server.stop()
