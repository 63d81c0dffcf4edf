"""What happens to the engine, and to those behind it, when something happens to Redis."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import uvloop

from antiphon.counters import Counters
from antiphon.engines import open_engine
from antiphon.engines.base import Engine
from antiphon.engines.redis.engine import RedisEngine
from antiphon.exceptions import ConfigurationError, EngineError, EngineUnavailable, OutcomeUnknown
from antiphon.types import ClientInfo, Position, Publishing, Repeat, Retention

from ..centrifugal import Sdk, Service
from ..engines.contract import Heard
from ..engines.sqlite import until
from .proxy import Proxy
from .redis_server import LASTING, RedisServer, Sentinels

RETENTION = Retention(size=10_000, lifetime=3600, position_lifetime=7200, idempotency_window=600)
ANN = ClientInfo("ann", "client-1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


class Process(Heard):
    """An engine as another process has it, and what it hears."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__()
        self.counters = Counters()
        self.engine: Engine = open_engine(f"{url}?timeout={timeout}&lease=2", self.counters)
        self.losses = 0

    def on_continuity_lost(self) -> None:
        self.losses += 1

    async def publish(self, group: str = "a", data: bytes = b"1", key: str = "") -> Position:
        return await self.engine.publish(group, data, "", Publishing(RETENTION, key))

    async def kept(self, group: str = "a") -> list[int]:
        page = await self.engine.history(group, RETENTION)
        return [each.offset for each in page.publications]


Opener = Callable[..., Any]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens engines, and stops them at the end."""
    processes: list[Process] = []

    async def open_one(url: str, *, timeout: float = 5.0) -> Process:
        process = Process(url, timeout)
        processes.append(process)
        await process.engine.start(process, f"process{len(processes)}")
        return process

    yield open_one
    for process in processes:
        await process.engine.stop()


async def two(opened: Opener, server: RedisServer, **options: Any) -> tuple[Process, Process]:
    """Return two processes that are subscribed to ``a``, in which three things were published."""
    first, second = await opened(server.url, **options), await opened(server.url, **options)
    for process in (first, second):
        await process.engine.subscribe("a", RETENTION)
    for _ in range(3):
        await first.publish()
    await until(lambda: len(second.publications) == 3)
    return first, second


def port_of(proxy: Proxy) -> int:
    """Return where the proxy listens."""
    port = urlsplit(proxy.url("/")).port
    assert port is not None
    return port


def proxied(server: RedisServer) -> Proxy:
    """Return a proxy before the server."""
    return Proxy(cast(Any, server))


# The data of the server


async def test_a_server_that_comes_back_empty_begins_another_epoch_and_all_are_told(
    server: RedisServer, opened: Opener
) -> None:
    first, second = await two(opened, server)
    epoch = first.publications[0][1].epoch
    server.restart()
    await until(lambda: first.losses == second.losses == 1)
    position = await second.publish()
    assert position.offset == 1
    assert position.epoch != epoch
    await until(lambda: len(first.publications) == 4)
    assert first.publications[-1][1].position == position


async def test_who_was_present_is_present_again_when_the_server_comes_back_empty(
    server: RedisServer, opened: Opener
) -> None:
    first, second = await two(opened, server)
    first.engine.enter("a", ANN, announced=True)
    await until(lambda: second.joins == [("a", ANN)])
    server.restart()
    await until(lambda: first.losses == second.losses == 1)
    async with asyncio.timeout(30):
        while await second.engine.presence("a") != {"client-1": ANN}:
            await asyncio.sleep(0.01)
    assert second.leaves == []


async def test_a_server_with_an_append_only_file_goes_on_where_it_was(tmp_path: Path, opened: Opener) -> None:
    with RedisServer(tmp_path, *LASTING) as server:
        first, second = await two(opened, server)
        epoch = first.publications[0][1].epoch
        server.restart()
        await until(lambda: first.losses == second.losses == 1)
        assert await second.publish() == (epoch, 4)
        assert await first.kept() == [1, 2, 3, 4]
        assert await first.publish() == (epoch, 5)
        await until(lambda: second.publications[-1][1].offset == 5)


async def test_a_snapshot_is_not_taken_for_all_that_was_answered_for(tmp_path: Path, opened: Opener) -> None:
    with RedisServer(tmp_path, "--save", "3600 1", "--appendonly", "no") as server:
        first, _ = await two(opened, server)
        epoch = first.publications[0][1].epoch
        server.call("SAVE")
        await first.publish()
        server.restart()
        assert server.call("DBSIZE") > 0
        await until(lambda: first.losses == 1)
        position = await first.publish()
        assert position.epoch != epoch
        assert position.offset == 1
        assert await first.kept() == [1]


async def test_a_replica_that_takes_over_begins_another_epoch(tmp_path: Path, opened: Opener) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    with RedisServer(folders[0], *LASTING) as master, RedisServer(folders[1], *LASTING) as replica:
        replica.call("REPLICAOF", master.host, master.port)
        before = await opened(master.url)
        epoch = (await before.publish()).epoch
        await until(lambda: b"master_link_status:up" in replica.call("INFO", "replication"))
        await until(lambda: replica.call("EXISTS", "antiphon:stream:{:a}") == 1)
        with pytest.raises(EngineUnavailable, match="replica"):
            await (await opened(replica.url, timeout=0.5)).publish()
        replica.call("REPLICAOF", "NO", "ONE")
        after = await opened(replica.url)
        position = await after.publish()
        assert (position.offset, position.epoch == epoch) == (1, False)
        assert await after.publish() == (position.epoch, 2)


async def test_offsets_that_were_given_out_are_not_given_out_again(server: RedisServer, opened: Opener) -> None:
    first, _ = await two(opened, server)
    epoch = first.publications[0][1].epoch
    server.call("HSET", "antiphon:position:{:a}", "offset", 1)
    position = await first.publish()
    assert (position.offset, position.epoch == epoch) == (1, False)


async def test_scripts_that_the_server_forgot_are_sent_again_in_order(server: RedisServer, opened: Opener) -> None:
    first, second = await two(opened, server)
    server.call("SCRIPT", "FLUSH")
    positions = await asyncio.gather(*(first.publish() for _ in range(5)))
    assert [position.offset for position in positions] == [4, 5, 6, 7, 8]
    assert first.losses == second.losses == 0


async def present(process: Process, group: str = "a") -> set[str]:
    """Return who is in a group, as a process sees it; nobody while it can't."""
    with contextlib.suppress(EngineError):
        return set(await process.engine.presence(group))
    return set()


async def test_who_came_or_went_since_what_a_server_remembers_is_entered_anew(tmp_path: Path, opened: Opener) -> None:
    with RedisServer(tmp_path, "--save", "3600 1", "--appendonly", "no") as server:
        first, second = await opened(server.url), await opened(server.url)
        first.engine.enter("a", ANN)
        async with asyncio.timeout(30):
            while await present(second) != {"client-1"}:
                await asyncio.sleep(0.01)
            server.call("SAVE")
            first.engine.leave("a", "client-1")
            first.engine.enter("a", ClientInfo("bob", "client-2"))
            while await present(second) != {"client-2"}:
                await asyncio.sleep(0.01)
            server.restart()
            assert server.call("HKEYS", "antiphon:presence:{:a}") == [b"client-1"]
            while await present(second) != {"client-2"}:
                await asyncio.sleep(0.01)
            while server.call("HKEYS", "antiphon:presence:{:a}") != [b"client-2"]:
                await asyncio.sleep(0.01)


# The connections


async def test_those_whose_subscription_was_cut_are_told_and_hear_again(server: RedisServer, opened: Opener) -> None:
    first, second = await two(opened, server)
    assert server.call("CLIENT", "KILL", "TYPE", "pubsub") == 2
    await until(lambda: first.losses == second.losses == 1)
    await first.publish()
    await until(lambda: second.publications[-1][1].offset == 4)


async def test_a_command_connection_that_was_cut_is_no_loss_of_continuity(server: RedisServer, opened: Opener) -> None:
    first, second = await two(opened, server)
    for _ in range(5):
        server.call("CLIENT", "KILL", "TYPE", "normal")
        await first.engine.history("a", RETENTION)  # done twice is done once
    await until(lambda: isinstance(first.engine, RedisEngine) and first.engine._client.pipeline.is_connected)  # type: ignore[union-attr]
    await first.publish()
    await until(lambda: second.publications[-1][1].offset == 4)
    assert first.losses == second.losses == 0


async def test_a_short_stop_is_waited_for(server: RedisServer, opened: Opener) -> None:
    first, second = await two(opened, server)
    server.freeze()
    publishing = asyncio.gather(*(first.publish() for _ in range(10)))
    await asyncio.sleep(0.3)
    assert not publishing.done()
    server.thaw()
    assert [position.offset for position in await publishing] == list(range(4, 14))
    await until(lambda: len(second.publications) == 13)
    assert first.losses == second.losses == 0
    assert first.counters.engine_outages == 0


async def test_a_server_that_stands_still_for_long_is_left_and_who_published_is_told(
    server: RedisServer, opened: Opener
) -> None:
    first, second = await two(opened, server, timeout=0.5)
    server.freeze()
    with pytest.raises(OutcomeUnknown, match="not answered"):
        await first.publish()
    with pytest.raises(EngineUnavailable):
        await first.engine.history("a", RETENTION)
    await until(lambda: first.counters.engine_outages == 1)
    server.thaw()
    await until(lambda: first.losses == second.losses == 1)
    top = (await first.publish()).offset
    assert top in (4, 5), "what was sent before may have been done"
    assert await first.kept() == list(range(1, top + 1))
    await until(lambda: second.publications[-1][1].offset == top)
    assert first.counters.engine_outages == 1


async def test_what_was_never_sent_did_not_happen(server: RedisServer, opened: Opener) -> None:
    first, _ = await two(opened, server, timeout=0.5)
    server.kill()
    await until(lambda: first.counters.engine_outages == 1)
    with pytest.raises(EngineUnavailable, match="can't be reached"):
        await first.publish()
    assert first.counters.engine_outages == 1
    assert first.counters.engine_refusals >= 1


async def test_what_waits_is_done_when_the_server_is_back_in_time(server: RedisServer, opened: Opener) -> None:
    first, _ = await two(opened, server, timeout=20)
    server.kill()
    await until(lambda: first.counters.engine_outages == 1)
    publishing = asyncio.gather(*(first.publish(data=b"%d" % number) for number in range(5)))
    await asyncio.sleep(0.05)
    server.start()
    assert [position.offset for position in await publishing] == [1, 2, 3, 4, 5]


async def test_a_publication_with_a_key_is_made_once_however_often_the_connection_is_cut(
    server: RedisServer, opened: Opener
) -> None:
    async with proxied(server) as proxy:
        process = await opened(f"redis://127.0.0.1:{port_of(proxy)}", timeout=20)
        for number in range(4):
            publishing = [asyncio.ensure_future(process.publish(key=f"{number}.{each}")) for each in range(10)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            proxy.cut()
            await asyncio.gather(*publishing)
        assert await process.kept() == list(range(1, 41))


async def test_a_server_behind_a_wall_is_left(server: RedisServer, opened: Opener) -> None:
    async with proxied(server) as proxy:
        near = await opened(server.url)
        far = await opened(f"redis://127.0.0.1:{port_of(proxy)}", timeout=1)
        await far.engine.subscribe("a", RETENTION)
        await near.publish()
        await until(lambda: len(far.publications) == 1)
        proxy.hold()
        await near.publish()
        await until(lambda: far.counters.engine_outages == 1)
        proxy.resume()
        await until(lambda: far.losses == 1)
        assert await far.kept() == [1, 2]
        await near.publish()
        await until(lambda: far.publications[-1][1].offset == 3)


async def test_a_loop_that_was_busy_does_not_take_the_server_for_dead(server: RedisServer, opened: Opener) -> None:
    first, second = await two(opened, server, timeout=0.4)
    for _ in range(2):
        time.sleep(0.8)
        await asyncio.sleep(0)
        await first.engine.history("a", RETENTION)
    assert first.losses == second.losses == 0
    assert first.counters.engine_outages == 0


async def test_a_process_that_stood_still_beyond_its_lease_enters_its_own_again(
    server: RedisServer, opened: Opener
) -> None:
    first, second = await two(opened, server)
    first.engine.enter("a", ANN, announced=True)
    await until(lambda: second.joins == [("a", ANN)])
    assert isinstance(first.engine, RedisEngine)
    assert first.engine._beating is not None
    first.engine._beating.cancel()
    await until(lambda: second.leaves == [("a", ANN)])
    assert await second.engine.presence("a") == {}
    await first.engine.beat()
    await until(lambda: len(second.joins) == 2)
    assert await second.engine.presence("a") == {"client-1": ANN}


# Sentinels


async def test_sentinels_name_the_server_and_the_next_one_when_it_is_gone(tmp_path: Path, opened: Opener) -> None:
    with Sentinels(tmp_path) as sentinels:
        first, second = await opened(sentinels.url, timeout=30), await opened(sentinels.url, timeout=30)
        for process in (first, second):
            await process.engine.subscribe("a", RETENTION)
        first.engine.enter("a", ANN, announced=True)
        epoch = (await first.publish()).epoch
        await until(lambda: len(second.publications) == 1)
        sentinels.master.kill()
        await until(lambda: first.losses == second.losses == 1, 60)
        position = await second.publish()
        assert (position.offset, position.epoch == epoch) == (1, False), "the replica may have lacked something"
        await until(lambda: first.publications[-1][1].position == position)
        assert first.leaves == second.leaves == [], "whose lease has ended in the meantime is given time"


async def test_a_master_that_has_become_a_replica_is_left(tmp_path: Path, opened: Opener) -> None:
    with Sentinels(tmp_path) as sentinels:
        with pytest.raises(EngineUnavailable, match="knows no master 'other'"):
            await opened(sentinels.url.replace("/talk", "/other"), timeout=0.5)
        process = await opened(sentinels.url, timeout=30)
        await process.publish()
        sentinels.fail_over()
        await until(lambda: process.losses == 1, 60)
        assert (await process.publish()).offset == 1


# Refusals


async def test_a_full_memory_is_told_once_and_nothing_is_half_done(server: RedisServer, opened: Opener) -> None:
    first, second = await two(opened, server)
    server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.call("CONFIG", "SET", "maxmemory", 1000)
    for _ in range(3):
        with pytest.raises(EngineUnavailable, match=r"publish was refused.*maxmemory"):
            await first.publish(data=b"1" * 1000)
    assert (first.counters.engine_outages, first.counters.engine_refusals) == (1, 3)
    assert await second.kept() == [1, 2, 3]
    server.call("CONFIG", "SET", "maxmemory", 0)
    assert (await first.publish()).offset == 4
    assert first.counters.engine_outages == 1


@pytest.mark.parametrize(
    ("credentials", "words"),
    [("", "wants a password"), ("ann:wrong@", "does not accept"), (":wrong@", "does not accept")],
)
async def test_who_has_no_or_a_wrong_password_is_told_so_at_the_start(
    server: RedisServer, credentials: str, words: str
) -> None:
    server.call("CONFIG", "SET", "requirepass", "secret")
    engine = open_engine(f"redis://{credentials}127.0.0.1:{server.port}")
    with pytest.raises(ConfigurationError, match=words) as raised:
        await engine.start(Heard())
    assert "wrong" not in str(raised.value)


async def test_a_user_with_a_password_may_do_what_the_manual_lists(server: RedisServer, opened: Opener) -> None:
    manual = (Path(__file__).parents[2] / "docs/deploy/redis.md").read_text()
    found = re.search(r"^ACL SETUSER antiphon (.*)$", manual, re.MULTILINE)
    assert found is not None
    assert server.call("ACL", "SETUSER", "antiphon", *found[1].split()) == b"OK"
    server.call("ACL", "SETUSER", "default", "off")
    process = await opened(f"redis://antiphon:secret@127.0.0.1:{server.port}")
    await process.engine.subscribe("a", RETENTION)
    await process.publish()
    assert type(await process.publish(key="k")) is Position
    assert type(await process.publish(key="k")) is Repeat
    process.engine.enter("a", ANN, announced=True)
    assert await process.engine.presence("a") == {"client-1": ANN}
    process.engine.leave("a", "client-1")
    assert await process.kept() == [1, 2]
    await process.engine.remove_history("a")
    await process.engine.send_control(b"x")
    await process.engine.beat()
    await until(lambda: len(process) == 5)
    assert process.counters.engine_outages == 0


async def test_a_group_that_the_user_has_no_right_to_takes_no_other_with_it(
    server: RedisServer, opened: Opener
) -> None:
    channels = "resetchannels &antiphon/0:control &antiphon/0:process:* &antiphon/0:group:{:good*"
    server.call("ACL", "SETUSER", "antiphon", "on", ">secret", "allkeys", "+@all", *channels.split())
    process = await opened(f"redis://antiphon:secret@127.0.0.1:{server.port}")
    groups = ["good1", "secret", "good2"]
    subscribing = (process.engine.subscribe(group, RETENTION) for group in groups)
    done = await asyncio.gather(*subscribing, return_exceptions=True)
    assert [type(each) for each in done] == [type(None), EngineUnavailable, type(None)]
    assert "NOPERM" in str(done[1])
    for number, group in enumerate(groups):
        if done[number] is None:
            await process.publish(group)
    await until(lambda: [group for group, _ in process.publications] == ["good1", "good2"])
    assert process.losses == 0


async def test_a_server_that_is_not_there_is_no_fault_of_the_configuration(server: RedisServer) -> None:
    server.kill()
    engine = open_engine(f"{server.url}?timeout=0.3")
    with pytest.raises(EngineUnavailable, match="can't be reached"):
        await engine.start(Heard())


# Those behind the engine: two antiphons, each with a client


class Client:
    """A client of the Centrifuge wire that must not miss anything without being told."""

    def __init__(self, sdk: Sdk, position: Position) -> None:
        self.sdk = sdk
        self.position = position
        self.gaps = 0
        self._read = 0

    def look(self) -> Client:
        """Follow what came: each publication is the next, or a gap was told of before."""
        replies = self.sdk.replies
        for reply in replies[self._read :]:
            push = reply.get("push", {})
            if "unsubscribe" in push:
                self.gaps += 1
                assert push["unsubscribe"]["code"] == 2500
            if "pub" in push:
                assert push["pub"]["offset"] == self.position.offset + 1, "a hole that nobody was told of"
                self.position = Position(self.position.epoch, push["pub"]["offset"])
        self._read = len(replies)
        return self

    async def resubscribe(self) -> dict[str, Any]:
        """Come back as a client does that was told."""
        result: dict[str, Any] = await self.sdk.subscribed("kept")
        self.position = Position(result["epoch"], result.get("offset", 0))
        self._read = 1 + max(place for place, reply in enumerate(self.sdk.replies) if "subscribe" in reply)
        return result


@contextlib.asynccontextmanager
async def service(url: str) -> AsyncIterator[Service]:
    rules = {"kept*": {"subscribe": "allow", "history_size": 100_000}}
    started = await Service.start(engine=open_engine(url), position_check=0, rules=rules)  # type: ignore[arg-type]
    try:
        yield started
    finally:
        await started.stop()


async def client_of(service: Service) -> Client:
    """Return a client that is subscribed to ``kept``."""
    sdk = await Sdk(service).connected()
    result = await sdk.subscribed("kept")
    return Client(sdk, Position(result["epoch"], result.get("offset", 0)))


async def publish_until(stop: asyncio.Event, *services: Service) -> int:
    """Publish from each in turn; return how many were accepted."""
    accepted = 0
    for number, service in enumerate(itertools.cycle(services)):
        if stop.is_set():
            return accepted
        with contextlib.suppress(EngineError):
            await service.publish("kept", number)
            accepted += 1
        await asyncio.sleep(0.001)
    raise AssertionError


@pytest.mark.parametrize("fault", ["pubsub", "normal", "everything", "cut", "freeze", "kill"])
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_clients_of_two_antiphons_miss_nothing(
    tmp_path: Path, fault: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with RedisServer(tmp_path, *LASTING) as server, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_miss_nothing(server, fault))


async def _miss_nothing(server: RedisServer, fault: str) -> None:
    async with proxied(server) as proxy:
        urls = [f"{server.url}?timeout=1", f"redis://127.0.0.1:{port_of(proxy)}?timeout=1"]
        async with service(urls[0]) as near, service(urls[1]) as far:
            clients = [await client_of(near), await client_of(far)]
            stop = asyncio.Event()
            publishing = asyncio.create_task(publish_until(stop, near, far))
            for _ in range(2):
                before = [client.position.offset for client in clients]
                await _do(fault, server, proxy)

                def went_on(before: list[int] = before) -> bool:
                    for client in clients:
                        client.look()
                    return all(client.position.offset > at + 20 for client, at in zip(clients, before, strict=True))

                await until(went_on)
            stop.set()
            await publishing
            top = (await near.hub.engine.history("kept", RETENTION, limit=0)).top
            await until(lambda: {client.look().position for client in clients} == {top})
            assert [client.gaps for client in clients] == [0, 0]


async def _do(fault: str, server: RedisServer, proxy: Proxy) -> None:
    if fault in ("pubsub", "normal"):
        server.call("CLIENT", "KILL", "TYPE", fault)
    elif fault == "everything":
        server.call("CLIENT", "KILL", "TYPE", "pubsub")
        server.call("CLIENT", "KILL", "TYPE", "normal")
    elif fault == "cut":
        proxy.cut()
    elif fault == "kill":
        await asyncio.to_thread(server.restart)
    else:
        server.freeze()
        await asyncio.sleep(1.5)
        server.thaw()


async def test_no_client_is_left_with_a_hole_when_redis_loses_its_data_while_much_is_published(
    server: RedisServer,
) -> None:
    async with service(f"{server.url}?timeout=5") as near, service(f"{server.url}?timeout=5") as far:
        clients = [await client_of(near), await client_of(far)]
        stop = asyncio.Event()
        publishing = asyncio.create_task(publish_until(stop, near, far))
        for number in range(1, 4):
            await until(lambda: all(client.look().position.offset > 30 for client in clients))
            await asyncio.to_thread(server.restart)
            await until(lambda number=number: all(client.look().gaps == number for client in clients))  # type: ignore[misc]
            for client in clients:
                await client.resubscribe()
        stop.set()
        await publishing
        top = (await near.hub.engine.history("kept", RETENTION, limit=0)).top
        await until(lambda: {client.look().position for client in clients} == {top})


async def test_clients_of_two_antiphons_are_told_when_redis_has_lost_its_data(server: RedisServer) -> None:
    async with service(f"{server.url}?timeout=5") as near, service(f"{server.url}?timeout=5") as far:
        clients = [await client_of(near), await client_of(far)]
        for number in range(5):
            await near.publish("kept", number)

        def reach(offset: int) -> bool:
            for client in clients:
                client.look()
            return all(client.position.offset == offset for client in clients)

        await until(lambda: reach(5))
        server.restart()
        await until(lambda: reach(5) and all(client.gaps == 1 for client in clients))
        for client in clients:
            assert (await client.resubscribe())["epoch"] != ""
        await far.publish("kept", 6)
        await until(lambda: reach(1))
