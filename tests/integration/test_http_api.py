"""The HTTP API of ``antiphon serve``, called by ``cent``, the client of Centrifugo's server API, as it is on PyPI."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import cent
import pytest

from antiphon.tokens import connection_token

from .clients import Client, connect, eventually
from .servers import DIRECT, Server, Servers

KEY, NEXT_KEY = "the-first-of-two-keys", "the-second-of-two-keys"
SECRET = "a secret that is long enough for HMAC with SHA-256"
RULES = {
    "room:*": {"subscribe": "allow", "history_size": 100, "presence": "kept"},
    "live:*": {"subscribe": "allow"},
}
ENVIRONMENT = {
    "ANTIPHON_API_KEYS": f"{KEY},{NEXT_KEY}",
    "ANTIPHON_API_PATH": "/api",
    "ANTIPHON_RULES": json.dumps(RULES),
    "ANTIPHON_TOKEN_SECRETS": SECRET,
}


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    """A server whose API is in front of the application."""
    return servers.start(DIRECT[0], "tests.integration.apps.centrifuge:app", env=ENVIRONMENT)


@pytest.fixture
async def api(server: Server, visited: list[Server]) -> AsyncIterator[cent.AsyncClient]:
    """``cent``."""
    visited.append(server)
    client = client_of(server)
    yield client
    await client.close()


def client_of(server: Server, key: str = NEXT_KEY) -> cent.AsyncClient:
    return cent.AsyncClient(server.url("/api", "http"), key)


class Member:
    """A client on the Centrifuge wire."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.id = ""
        self._numbers = itertools.count(1)
        self._pushes: list[dict[str, Any]] = []

    @classmethod
    async def open(cls, server: Server, user: str, *groups: str) -> Member:
        """Connect as ``user``, and subscribe."""
        member = cls(await connect(server, "/connection/room"))
        member.id = (await member.ask("connect", token=connection_token(user, key=SECRET)))["client"]
        for group in groups:
            await member.ask("subscribe", channel=group)
        return member

    async def ask(self, name: str, **content: Any) -> Any:
        """Send a command, and return the result."""
        await self.client.send(json.dumps({name: content, "id": next(self._numbers)}))
        while True:
            for reply in await self._replies():
                if "id" in reply:
                    return reply[name]
                self._pushes.append(reply["push"])

    async def push(self) -> Any:
        """Wait for the next push."""
        while not self._pushes:
            self._pushes += [each["push"] for each in await self._replies() if each]
        return self._pushes.pop(0)

    async def _replies(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in str(await self.client.receive()).split("\n")]


async def test_publish_and_history(server: Server, api: cent.AsyncClient, name: str) -> None:
    group = f"room:{name}"
    member = await Member.open(server, "ada", group)
    asked = cent.PublishRequest(channel=group, data={"n": 1}, tags={"kind": "a"}, idempotency_key="first")
    published = await api.publish(asked)
    assert (published.offset, bool(published.epoch)) == (1, True)
    assert await api.publish(asked) == published, "the key was seen before"
    assert (await api.publish(cent.PublishRequest(channel=group, data=None, b64data="WzIsIDNd"))).offset == 2
    assert [(await member.push())["pub"]["data"] for _ in range(2)] == [{"n": 1}, [2, 3]]

    page = await api.history(cent.HistoryRequest(channel=group, limit=10))
    assert [(each.offset, each.data, each.tags) for each in page.publications] == [
        (1, {"n": 1}, {"kind": "a"}),
        (2, [2, 3], None),
    ]
    assert (page.offset, page.epoch) == (2, published.epoch)
    position = await api.history(cent.HistoryRequest(channel=group))
    assert (position.offset, position.publications) == (2, [])
    since = cent.StreamPosition(offset=2, epoch=published.epoch)
    page = await api.history(cent.HistoryRequest(channel=group, limit=-1, since=since, reverse=True))
    assert [each.offset for each in page.publications] == [1]
    await api.history_remove(cent.HistoryRemoveRequest(channel=group))
    assert (await api.history(cent.HistoryRequest(channel=group, limit=10))).publications == []


async def test_broadcast(server: Server, api: cent.AsyncClient, name: str) -> None:
    groups = [f"room:{name}", f"live:{name}"]
    member = await Member.open(server, "ada", *groups)
    done = await api.broadcast(cent.BroadcastRequest(channels=[*groups, "no\nname"], data="to all"))
    assert [each.error and each.error.code for each in done.responses] == [None, None, 107]
    assert done.responses[0].result is not None
    assert done.responses[0].result.offset == 1
    heard = [await member.push() for _ in groups]
    assert {push["channel"]: push["pub"]["data"] for push in heard} == dict.fromkeys(groups, "to all")


async def test_presence(server: Server, api: cent.AsyncClient, name: str) -> None:
    group = f"room:{name}"
    members = [await Member.open(server, user, group) for user in ("ada", "ada", "alan")]
    present = (await api.presence(cent.PresenceRequest(channel=group))).presence
    assert {client: info.user for client, info in present.items()} == {
        member.id: user for member, user in zip(members, ("ada", "ada", "alan"), strict=True)
    }
    stats = await api.presence_stats(cent.PresenceStatsRequest(channel=group))
    assert (stats.num_clients, stats.num_users) == (3, 2)


async def test_subscribe_and_unsubscribe(server: Server, api: cent.AsyncClient, name: str) -> None:
    group = f"room:{name}"
    member = await Member.open(server, name)
    await api.subscribe(cent.SubscribeRequest(user=name, channel=group))
    push = await member.push()
    assert (push["channel"], "subscribe" in push) == (group, True)
    await api.publish(cent.PublishRequest(channel=group, data=1))
    assert (await member.push())["pub"]["data"] == 1
    await api.unsubscribe(cent.UnsubscribeRequest(user=name, channel=group))
    push = await member.push()
    assert (push["channel"], push["unsubscribe"]["code"]) == (group, 2000)


async def test_disconnect(server: Server, api: cent.AsyncClient, name: str) -> None:
    leaves, stays = [await Member.open(server, name) for _ in range(2)]
    await api.disconnect(
        cent.DisconnectRequest(user=name, client=leaves.id, disconnect=cent.Disconnect(code=4500, reason="go"))
    )
    assert await leaves.client.closed() == (4500, "go")
    assert await stays.ask("rpc", method="echo", data=1) == {"data": 1}
    await api.disconnect(cent.DisconnectRequest(user=name))
    assert (await stays.client.closed())[0] == 3503


async def test_refresh(server: Server, api: cent.AsyncClient, name: str) -> None:
    member = await Member.open(server, name)
    await api.refresh(cent.RefreshRequest(user=name, expire_at=4_000_000_000))
    assert (await member.push())["refresh"]["expires"] is True
    await api.refresh(cent.RefreshRequest(user=name, expired=True))
    assert (await member.client.closed())[0] == 3005


async def test_what_the_process_has(server: Server, api: cent.AsyncClient, name: str) -> None:
    await Member.open(server, "ada", f"live:{name}:1", f"live:{name}:2")
    (node,) = (await api.info(cent.InfoRequest())).nodes
    assert node.num_clients >= 1
    assert node.num_channels >= 2
    channels = (await api.channels(cent.ChannelsRequest(pattern=f"live:{name}:*"))).channels
    assert {channel: each.num_clients for channel, each in channels.items()} == {
        f"live:{name}:1": 1,
        f"live:{name}:2": 1,
    }


@pytest.mark.parametrize("parallel", [False, True])
async def test_batch(server: Server, api: cent.AsyncClient, name: str, parallel: bool) -> None:
    group = f"room:{name}"
    requests: list[Any] = [cent.PublishRequest(channel=group, data=n) for n in range(3)]
    done = await api.batch(cent.BatchRequest(requests=[*requests, cent.InfoRequest()], parallel=parallel))
    assert sorted(each.offset for each in done.replies[:3]) == [1, 2, 3]  # type: ignore[attr-defined]
    if not parallel:
        page = await api.history(cent.HistoryRequest(channel=group, limit=-1))
        assert [each.data for each in page.publications] == [0, 1, 2]


async def test_what_is_refused(server: Server, api: cent.AsyncClient, name: str) -> None:
    refused = [
        (107, api.publish(cent.PublishRequest(channel=f"room:{name}", data=1, skip_history=True))),
        (108, api.history(cent.HistoryRequest(channel=f"live:{name}"))),
        (108, api.presence(cent.PresenceRequest(channel=f"live:{name}"))),
        (107, api.disconnect(cent.DisconnectRequest(user=""))),
        (107, api.disconnect(cent.DisconnectRequest(user="x", whitelist=["a"]))),
        (112, api.history(cent.HistoryRequest(channel=f"room:{name}", since=cent.StreamPosition(epoch="other")))),
    ]
    for code, call in refused:
        with pytest.raises(cent.CentApiResponseError) as caught:
            await call
        assert caught.value.code == code


async def test_keys(server: Server, visited: list[Server]) -> None:
    for key in (KEY, NEXT_KEY):
        good = client_of(server, key)
        await good.info(cent.InfoRequest())
        await good.close()
    wrong = client_of(server, NEXT_KEY[:-1])
    with pytest.raises(cent.CentUnauthorizedError):
        await wrong.info(cent.InfoRequest())
    await wrong.close()
    await eventually(lambda: "without a good key" in server.log(), "the line in the log")
    assert NEXT_KEY[:-1] not in server.log()


async def test_what_is_not_below_the_path_is_the_applications(server: Server, visited: list[Server]) -> None:
    assert server.stats()["connections"] == 0
    assert await asyncio.to_thread(server.get, "/api/info") == (401, b'{"error":{"code":101,"message":"unauthorized"}}')
    assert (await asyncio.to_thread(server.get, "/apiary")).status != 401


def test_a_path_without_a_key_is_a_mistake(servers: Servers) -> None:
    server = servers.spawn(DIRECT[0], "tests.integration.apps.centrifuge:app", env={"ANTIPHON_API_PATH": "/api"})
    assert server.exit_code() == 2
    assert "set api_keys" in server.log()
