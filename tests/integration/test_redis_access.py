"""Each kind of URL over TLS, with users and their passwords, and by a socket of the host."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from antiphon.engines.redis.engine import RedisEngine
from antiphon.events import make_event
from antiphon.exceptions import ConfigurationError
from antiphon.types import ClientInfo

from ..engines.contract import Heard
from ..engines.sqlite import until
from .redis_process import RETENTION, Process
from .redis_server import FORGETFUL, Certificates, RedisCluster, RedisServer

ANN = ClientInfo("ann", "client-1")
EVENT = make_event({"type": "note"})
GROUPS = [f"group{number}" for number in range(8)]
#: A password with everything that a URL has to be told.
PASSWORD = "s:cr@t/?"
USER = f"antiphon:{quote(PASSWORD, safe='')}@"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def admit(servers: Iterable[RedisServer]) -> None:
    """Let the manual's user in, and nobody else."""
    manual = (Path(__file__).parents[2] / "docs/deploy/redis.md").read_text()
    found = re.search(r"^ACL SETUSER antiphon (.*)$", manual, re.MULTILINE)
    assert found is not None
    rights = found[1].replace(">secret", f">{PASSWORD}").split()
    for server in servers:
        assert server.call("ACL", "SETUSER", "antiphon", *rights) == b"OK"
        assert server.call("ACL", "SETUSER", "default", "off") == b"OK"


def places(servers: Iterable[RedisServer], *, tls: bool) -> str:
    return ",".join(f"{server.host}:{server.tls_port if tls else server.port}" for server in servers)


@contextlib.contextmanager
def started(folder: Path, count: int, certificates: Certificates | None = None) -> Iterator[list[RedisServer]]:
    """Start servers that know nothing of each other."""
    with contextlib.ExitStack() as stack:
        servers = []
        for number in range(count):
            place = folder / f"server{number}"
            place.mkdir()
            servers.append(stack.enter_context(RedisServer(place, *FORGETFUL, tls=certificates)))
        yield servers


async def works(url: str, **options: str) -> None:
    """Use every verb from two processes."""
    first, second = Process(url, **options), Process(url, **options)
    await first.engine.start(first, "one")
    await second.engine.start(second, "two")
    for group in GROUPS:
        await second.engine.subscribe(group, RETENTION)
        assert (await first.publish(group)).offset == 1
        assert (await first.publish(group, key="k")) == (await first.publish(group, key="k"))
        await first.engine.send_event(group, EVENT)
        assert await second.kept(group) == [1, 2]
        first.engine.enter(group, ANN, announced=True)
        await second.sees(group, {"client-1": ANN})
        first.engine.leave(group, "client-1")
        await first.engine.remove_history(group)
    await first.engine.send_direct_event("specific.two!1", EVENT)
    await first.engine.send_control(b"all")
    await until(lambda: len(second) == 5 * len(GROUPS) + 2)
    assert isinstance(first.engine, RedisEngine)
    await first.engine.beat()
    for process in (first, second):
        assert (process.counters.engine_outages, process.losses) == (0, 0)
        await process.engine.stop()


# TLS


async def test_one_server_over_tls(tmp_path: Path, certificates: Certificates) -> None:
    with started(tmp_path, 1, certificates) as servers:
        admit(servers)
        await works(f"rediss://{USER}{places(servers, tls=True)}/3", ca=str(certificates.ca))


async def test_shards_over_tls(tmp_path: Path, certificates: Certificates) -> None:
    with started(tmp_path, 2, certificates) as servers:
        admit(servers)
        await works(f"rediss+shards://{USER}{places(servers, tls=True)}/3", ca=str(certificates.ca))


async def test_a_cluster_over_tls(tmp_path: Path, certificates: Certificates) -> None:
    with RedisCluster(tmp_path, tls=certificates) as cluster:
        admit(cluster.servers)
        await works(f"rediss+cluster://{USER}{places(cluster.servers[:1], tls=True)}", ca=str(certificates.ca))


@contextlib.contextmanager
def sentinel_of(folder: Path, master: RedisServer, certificates: Certificates | None) -> Iterator[RedisServer]:
    """Start a sentinel that calls a server ``talk`` and asks for a password of its own."""
    folder.mkdir()
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor talk {master.host} {master.tls_port or master.port} 1\n"
        "sentinel auth-user talk watcher\nsentinel auth-pass talk watching\n"
        "user default off\nuser asker on >asking ~* allchannels +@all\n"
    )
    with RedisServer(folder, "--sentinel", file=configuration, tls=certificates) as sentinel:
        yield sentinel


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_sentinels_with_a_user_of_their_own(tmp_path: Path, certificates: Certificates, *, tls: bool) -> None:
    used = certificates if tls else None
    with started(tmp_path, 1, used) as servers:
        assert (
            servers[0].call("ACL", "SETUSER", "watcher", "on", ">watching", "allkeys", "allchannels", "+@all") == b"OK"
        )
        admit(servers)
        with sentinel_of(tmp_path / "sentinel", servers[0], used) as sentinel:
            url = f"redis{'s' * tls}+sentinel://{USER}{places([sentinel], tls=tls)}/talk"
            trust = {"ca": str(certificates.ca)} if tls else {}
            with pytest.raises(ConfigurationError, match=r"sentinel 127.*wants a password"):
                await Process(url, **trust, timeout=1).engine.start(Heard())
            await works(url, **trust, db="3", sentinel_user="asker", sentinel_password="asking")


@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster", "rediss+shards"])
async def test_who_can_show_no_certificate_that_is_trusted_is_not_used(
    tmp_path: Path, certificates: Certificates, scheme: str
) -> None:
    with started(tmp_path, 1, certificates) as servers:
        url = f"{scheme}://{places(servers, tls=True)}" + "/talk" * scheme.endswith("sentinel")
        with pytest.raises(ConfigurationError, match=r"certificate is not accepted.*ca="):
            await Process(url, timeout=2).engine.start(Heard())


# Users, without TLS


async def test_shards_with_a_user(tmp_path: Path) -> None:
    with started(tmp_path, 2) as servers:
        admit(servers)
        await works(f"redis+shards://{USER}{places(servers, tls=False)}")
        with pytest.raises(ConfigurationError, match="does not accept"):
            await Process(f"redis+shards://antiphon:x@{places(servers, tls=False)}").engine.start(Heard())


async def test_a_cluster_with_a_user(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        admit(cluster.servers)
        await works(f"redis+cluster://{USER}{places(cluster.servers[1:], tls=False)}")
        with pytest.raises(ConfigurationError, match="does not accept"):
            await Process(f"redis+cluster://antiphon:x@{places(cluster.servers, tls=False)}").engine.start(Heard())


# A socket of the host


@pytest.mark.parametrize("user", ["", USER], ids=["anybody", "a user"])
async def test_a_socket_of_the_host(tmp_path: Path, user: str) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(tmp_path, *FORGETFUL, "--unixsocket", str(path), "--unixsocketperm", "700") as server:
        if user:
            admit([server])
        await works(f"unix://{user}{path}", db="2")
        if user:
            with pytest.raises(ConfigurationError, match=r"redis\.sock: it wants a password"):
                await Process(f"unix://{path}").engine.start(Heard())


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=rf"Redis at {tmp_path}/none: it can't be reached"):
        await Process(f"unix://{tmp_path}/none", timeout=0.3).engine.start(Heard())
