"""SDKs of the Centrifuge wire against real servers: what an application and its clients see of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .clients import connect as open_plain
from .clients import eventually
from .proxy import Proxy
from .sdks import KINDS, Node, Sdk, SdkError, open_sdk
from .servers import ALL, DIRECT, Server, Servers

APPLICATION = "tests.integration.apps.centrifuge:app"
ANTIPHON = DIRECT[0]
UVICORN = next(kind for kind in ALL if kind.name == "uvicorn-plain")

Open = Callable[..., Awaitable[Sdk]]


def numbers(publications: list[tuple[int | None, Any]]) -> list[int]:
    """Return what ``flood`` has numbered."""
    return [data["n"] for _, data in publications]


async def stopped(server: Server) -> None:
    """Stop a server while the loop, and what runs on it, goes on."""
    assert await asyncio.to_thread(server.stop) == 0


async def gone(server: Server, name: str) -> int:
    """Wait until the consumer of a client has taken leave, and return the code it was told."""
    records = await eventually(
        lambda: [line for line in server.records(name) if line["what"] == "disconnect"], f"disconnect of {name}"
    )
    assert len(records) == 1, records
    return int(records[0]["code"])


# What an application offers


async def everything(server: Server, sdk: Sdk, name: str) -> None:
    """Connect, subscribe, publish, call, look back, leave."""
    await sdk.connected()
    room = f"room:{name}"
    subscribed = await sdk.subscribed(room)
    assert (subscribed["recoverable"], subscribed["wasRecovering"]) == (True, False)
    await sdk.publish(room, {"n": 1, "text": "Grüße, 世界! 🎶"})
    await sdk.publish(room, [None, True, 1.5])
    assert await sdk.received(room, 2) == [(1, {"n": 1, "text": "Grüße, 世界! 🎶"}), (2, [None, True, 1.5])]
    found, top = await sdk.history(room, limit=10)
    assert ([offset for offset, _ in found], top) == ([1, 2], 2)
    assert await sdk.history(room) == ([], 2)
    assert await sdk.rpc("add", {"a": 1, "b": 2}) == 3
    assert await sdk.rpc("echo", {"a": ["ü"]}) == {"a": ["ü"]}
    for method, argument, code in (
        ("fail", "client", 400),
        ("fail", "other", 100),
        ("nothing", None, 104),
        ("receive_json", None, 104),
        ("__init__", None, 104),
    ):
        with pytest.raises(SdkError) as refused:
            await sdk.rpc(method, argument)
        assert refused.value.code == code
    live = f"live:{name}"
    await sdk.subscribed(live)
    await sdk.publish(live, "now")
    assert await sdk.received(live, 1) == [(None, "now")]
    for refusal in (sdk.history(live, limit=1), sdk.publish("secret", 1), sdk.publish(f"room:{name}:other", 1)):
        with pytest.raises(SdkError):
            await refusal
    await sdk.disconnect()
    assert await sdk.state() == "disconnected"
    assert await gone(server, name) in (1000, 1005)


async def test_everything_on_antiphons_server(sdk_server: Server, open_client: Open, name: str) -> None:
    sdk = await open_client(sdk_server.url(f"/connection/room?client={name}"), data={"who": "me"})
    await everything(sdk_server, sdk, name)


async def test_everything_on_another_server(
    servers: Servers, visited: list[Server], open_client: Open, name: str
) -> None:
    server = servers.share(UVICORN, APPLICATION)
    visited.append(server)
    await everything(server, await open_client(server.url(f"/connection/room?client={name}")), name)


async def test_a_synchronous_consumer(sdk_server: Server, open_client: Open) -> None:
    sdk = await (await open_client(sdk_server.url("/connection/sync"))).connected()
    assert await sdk.rpc("add", {"a": 1, "b": 2}) == 3


async def test_connect_data_reaches_the_consumer(sdk_server: Server, open_client: Open) -> None:
    sdk = await (await open_client(sdk_server.url("/connection/room"), data={"who": "me"})).connected()
    hello = await sdk.rpc("hello")
    assert hello["data"].replace(" ", "") == '{"who":"me"}'
    assert hello["name"] in ("js", "python")


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_send_and_message(sdk_server: Server, node: list[Node], encoding: str) -> None:
    sdk = await node[0].open(sdk_server.url("/connection/room"), encoding)
    await sdk.connected()
    for number in range(100):
        await sdk.send({"n": number})
    await sdk.wait("message", count=100)
    assert [each["data"] for each in sdk.happened("message")] == [{"echo": {"n": number}} for number in range(100)]
    await sdk.disconnect()


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_what_was_wrong_with_a_message_comes_as_a_message(
    sdk_server: Server, node: list[Node], encoding: str
) -> None:
    sdk = await node[0].open(sdk_server.url("/connection/room"), encoding)
    await sdk.connected()
    await sdk.send("odd")
    await sdk.send("even")
    await sdk.wait("message", count=2)
    error = {"type": "error", "code": "odd", "reason": "that is odd"}
    assert [each["data"] for each in sdk.happened("message")] == [error, {"echo": "even"}]
    assert sdk.happened("error") == []
    await sdk.disconnect()


async def test_unsubscribe_and_subscribe_anew(sdk_server: Server, open_client: Open, name: str) -> None:
    room = f"room:{name}"
    sdk = await (await open_client(sdk_server.url("/connection/room"))).connected()
    await sdk.subscribed(room)
    for round_number in range(1, 4):
        await sdk.rpc("flood", {"group": room, "first": len(sdk.publications(room)), "count": 5})
        await sdk.received(room, 10 * round_number - 5)
        await sdk.unsubscribe(room)
        await sdk.wait("unsubscribed", room, round_number)
        await sdk.rpc("flood", {"group": room, "first": len(sdk.publications(room)), "count": 5})
        again = await sdk.subscribed(room)
        assert (again["wasRecovering"], again["recovered"]) == (True, True)
        await sdk.received(room, 10 * round_number)
    assert numbers(sdk.publications(room)) == list(range(30))
    assert [offset for offset, _ in sdk.publications(room)] == list(range(1, 31))


async def test_a_refused_subscription_ends_unsubscribed_with_103(sdk_server: Server, open_client: Open) -> None:
    sdk = await (await open_client(sdk_server.url("/connection/room"))).connected()
    await sdk.subscribe("secret")
    assert (await sdk.wait("unsubscribed", "secret"))["code"] == 103
    assert await sdk.rpc("add", {"a": 1, "b": 1}) == 2
    assert not sdk.happened("disconnected")


async def test_hooks_decide(sdk_server: Server, open_client: Open, name: str) -> None:
    sdk = await (await open_client(sdk_server.url("/connection/door"))).connected()
    await sdk.subscribed(f"secret:{name}", data="please")
    await sdk.subscribe(f"other:{name}")
    assert (await sdk.wait("unsubscribed", f"other:{name}"))["code"] == 103
    await sdk.subscribe(f"rude:{name}", data="rude")
    refused = await sdk.wait("unsubscribed", f"rude:{name}")
    assert (refused["code"], refused["reason"]) == (400, "rude: say please")
    await sdk.publish(f"secret:{name}", {"n": 1})
    assert await sdk.received(f"secret:{name}", 1) == [(None, {"n": 1, "by": "the server"})]


# Subscriptions of the server


async def test_subscriptions_of_the_server(sdk_server: Server, open_client: Open, name: str) -> None:
    first, later = f"room:{name}", f"live:{name}"
    sdk = await (await open_client(sdk_server.url(f"/connection/room?group={first}"))).connected()
    assert (await sdk.wait("subscribed", first))["server"] is True
    await sdk.rpc("join", later)
    assert (await sdk.wait("subscribed", later))["server"] is True
    for group in (first, later):
        await sdk.rpc("flood", {"group": group, "first": 0, "count": 3})
        assert numbers(await sdk.received(group, 3)) == [0, 1, 2]
        await sdk.rpc("leave", group)
        await sdk.wait("unsubscribed", group)
        await sdk.rpc("flood", {"group": group, "first": 3, "count": 3})
    assert await sdk.rpc("add", {"a": 1, "b": 2}) == 3
    assert len(sdk.happened("publication")) == 6
    assert all(each["server"] for each in sdk.happened("publication"))


async def test_subscriptions_of_the_server_recover(sdk_server: Server, open_client: Open, name: str) -> None:
    room = f"room:{name}"
    async with Proxy(sdk_server) as proxy:
        sdk = await (await open_client(proxy.url(f"/connection/room?group={room}"))).connected()
        other = await (await open_client(sdk_server.url("/connection/room"))).connected()
        await other.rpc("flood", {"group": room, "first": 0, "count": 5})
        await sdk.received(room, 5)
        proxy.go_away()
        await other.rpc("flood", {"group": room, "first": 5, "count": 50})
        proxy.come_back()
        await sdk.wait("connected", count=2)
        assert (await sdk.wait("subscribed", room, 2))["recovered"] is True
        await other.rpc("flood", {"group": room, "first": 55, "count": 5})
        assert numbers(await sdk.received(room, 60)) == list(range(60))
        await sdk.disconnect()


# How a connection ends


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("", 3507, "permission denied"),
        ("?code=4500", 4500, "closed with code 4500"),
        ("?code=4501&reason=log+in", 4501, "log in"),
    ],
)
async def test_a_refused_client_ends_disconnected_and_does_not_come_back(
    sdk_server: Server, open_client: Open, name: str, query: str, code: int, reason: str
) -> None:
    sdk = await open_client(sdk_server.url(f"/connection/refusing{query}{'&' if query else '?'}client={name}"))
    await sdk.connect()
    end = await sdk.wait("disconnected")
    assert (end["code"], end["reason"]) == (code, reason)
    assert await sdk.state() == "disconnected"
    other = await (await open_client(sdk_server.url("/connection/room"))).connected()  # longer than its delays are
    for _ in range(10):
        await other.rpc("sleep", 0.02)
    assert len(sdk_server.records(name)) == 1
    assert not sdk.happened("connected")


async def test_a_client_whose_connect_fails_comes_back(servers: Servers, open_client: Open, name: str) -> None:
    server = servers.start(ANTIPHON, APPLICATION)
    sdk = await (await open_client(server.url(f"/connection/failing?client={name}"))).connected()
    assert [line["what"] for line in server.records(name)] == ["tried", "tried", "tried", "connect"]
    await sdk.disconnect()
    await stopped(server)


@pytest.mark.parametrize(
    ("given", "code", "reason", "comes_back"),
    [
        ({}, 3503, "force disconnect", False),
        ({"code": 4500, "reason": "enough"}, 4500, "enough", False),
        ({"code": 4001, "reason": "log in anew"}, 4001, "log in anew", True),
        ({"code": 3001}, 3001, "shutdown", True),
    ],
)
async def test_close_codes_and_reasons(
    sdk_server: Server, open_client: Open, given: dict[str, Any], code: int, reason: str, comes_back: bool
) -> None:
    sdk = await (await open_client(sdk_server.url("/connection/room"))).connected()
    with pytest.raises(Exception):  # noqa: B017, PT011 (each SDK has its own for a call that is never answered)
        await sdk.rpc("end", given)
    event = "connecting" if comes_back else "disconnected"
    end = await sdk.wait(event, count=2 if comes_back else 1)
    assert (end["code"], end["reason"]) == (code, reason)
    if comes_back:
        await sdk.wait("connected", count=2)
    else:
        assert await sdk.state() == "disconnected"


async def test_a_server_that_stops_sends_3001_and_clients_come_back(
    servers: Servers, open_client: Open, name: str
) -> None:
    server = servers.start(ANTIPHON, APPLICATION)
    async with Proxy(server) as proxy:
        sdk = await (await open_client(proxy.url(f"/connection/room?client={name}"))).connected()
        await sdk.subscribed(f"room:{name}")
        await stopped(server)
        end = await sdk.wait("connecting", count=2)
        assert (end["code"], end["reason"]) == (3001, "shutdown")
        assert await gone(server, name) == 1012
        await eventually(lambda: proxy.accepted >= 2, "the client to try again")
        await sdk.disconnect()


async def test_a_client_that_reads_too_slowly_gets_3008_comes_back_and_recovers(
    servers: Servers, open_client: Open, name: str
) -> None:
    room, count = f"room:{name}", 2000
    server = servers.start(
        ANTIPHON, APPLICATION, env={"ANTIPHON_OUTBOX_LIMIT": "100000", "ANTIPHON_COMPRESSION": "off"}
    )
    async with Proxy(server, receive_buffer=16 * 1024) as proxy:
        sdk = await (await open_client(proxy.url(f"/connection/room?client={name}"))).connected()
        await sdk.subscribed(room)
        other = await (await open_client(server.url("/connection/room"))).connected()
        proxy.hold()
        await other.rpc("flood", {"group": room, "first": 0, "count": count, "size": 4000})
        await eventually(lambda: server.stats()["slow_clients"] == 1, "the slow client to be noticed")
        proxy.resume()
        end = await sdk.wait("connecting", count=2)
        assert end["code"] == 3008
        assert end["reason"]
        assert (await sdk.wait("subscribed", room, 2))["recovered"] is True
        assert numbers(await sdk.received(room, count)) == list(range(count))
        assert await gone(server, name) == 1013
        for each in (sdk, other):
            await each.disconnect()
    await stopped(server)


# Coming back


async def test_a_client_that_missed_a_thousand_recovers_them_in_order_and_once(
    sdk_server: Server, open_client: Open, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(sdk_server) as proxy:
        sdk = await (await open_client(proxy.url("/connection/room"))).connected()
        await sdk.subscribed(room)
        other = await (await open_client(sdk_server.url("/connection/room"))).connected()
        await other.rpc("flood", {"group": room, "first": 0, "count": 10})
        await sdk.received(room, 10)
        for round_number in (1, 2):
            proxy.go_away()
            await eventually(lambda: proxy.turned_away, "the client to try in vain")
            first = len(sdk.publications(room))
            await other.rpc("flood", {"group": room, "first": first, "count": 1000})
            proxy.come_back()
            await other.rpc("flood", {"group": room, "first": first + 1000, "count": 500})  # while it comes back
            again = await sdk.wait("subscribed", room, round_number + 1)
            assert (again["wasRecovering"], again["recovered"]) == (True, True)
            await sdk.received(room, first + 1500)
        assert numbers(sdk.publications(room)) == list(range(3010))
        assert [offset for offset, _ in sdk.publications(room)] == list(range(1, 3011))
        await sdk.disconnect()


async def test_where_history_no_longer_has_it_the_client_is_told(
    sdk_server: Server, open_client: Open, name: str
) -> None:
    short = f"short:{name}"
    async with Proxy(sdk_server) as proxy:
        sdk = await (await open_client(proxy.url("/connection/room"))).connected()
        await sdk.subscribed(short)
        other = await (await open_client(sdk_server.url("/connection/room"))).connected()
        await other.rpc("flood", {"group": short, "first": 0, "count": 3})
        await sdk.received(short, 3)
        proxy.go_away()
        await other.rpc("flood", {"group": short, "first": 3, "count": 20})
        proxy.come_back()
        again = await sdk.wait("subscribed", short, 2)
        assert (again["wasRecovering"], again["recovered"], again["position"]["offset"]) == (True, False, 23)
        await other.rpc("flood", {"group": short, "first": 23, "count": 1})
        assert numbers(await sdk.received(short, 4)) == [0, 1, 2, 23]
        proxy.go_away()
        await other.rpc("flood", {"group": short, "first": 24, "count": 5})
        proxy.come_back()
        assert (await sdk.wait("subscribed", short, 3))["recovered"] is True
        assert numbers(await sdk.received(short, 9)) == [0, 1, 2, *range(23, 29)]
        await sdk.disconnect()


async def test_a_server_that_was_killed_begins_new_streams_and_clients_are_told(
    servers: Servers, open_client: Open, name: str
) -> None:
    room = f"room:{name}"
    server = servers.start(ANTIPHON, APPLICATION)
    async with Proxy(server) as proxy:
        sdk = await (await open_client(proxy.url("/connection/room"))).connected()
        await sdk.subscribed(room)
        await sdk.rpc("flood", {"group": room, "first": 0, "count": 3})
        await sdk.received(room, 3)
        server.process.kill()
        server.process.wait()
        proxy.go_away()
        proxy.turn_to(servers.start(ANTIPHON, APPLICATION))
        proxy.come_back()
        again = await sdk.wait("subscribed", room, 2)
        assert (again["wasRecovering"], again["recovered"]) == (True, False)
        await sdk.rpc("flood", {"group": room, "first": 3, "count": 3})
        assert await sdk.received(room, 6) == [
            *((offset, {"n": offset - 1}) for offset in (1, 2, 3)),
            *((offset, {"n": offset + 2}) for offset in (1, 2, 3)),
        ]
        await sdk.disconnect()


# Who is there


def who(sdk: Sdk, user: str, says: str | None = None) -> dict[str, Any]:
    """Return what others see of a client."""
    return {"user": user, "id": sdk.happened("connected")[-1]["id"], "says": says, "said": None}


def seen(sdk: Sdk, channel: str) -> list[tuple[str, dict[str, Any]]]:
    """Return who joined and left, in order, as the client was told."""
    return [
        (each["event"], {key: each[key] for key in ("user", "id", "says", "said")})
        for each in sdk.events
        if each["event"] in ("join", "leave") and each["channel"] == channel
    ]


async def test_who_is_there_and_who_comes_and_goes(sdk_server: Server, open_client: Open, name: str) -> None:
    people = f"people:{name}"
    ann = await (await open_client(sdk_server.url("/connection/room?user=ann&says=hello"))).connected()
    await ann.subscribed(people)
    await ann.wait("join", people)
    bob = await (await open_client(sdk_server.url("/connection/room?user=bob"))).connected()
    tab = await (await open_client(sdk_server.url(f"/connection/room?user=bob&group={people}"))).connected()
    await tab.wait("join", people)
    await bob.subscribed(people)
    await bob.wait("join", people)
    plain = await open_plain(sdk_server, f"/plain/{people}/?user=plain")
    await ann.wait("join", people, 4)
    everybody = {each["id"]: each for each in await ann.presence(people)}
    ours = [who(ann, "ann", "hello"), who(tab, "bob"), who(bob, "bob")]
    assert [everybody.pop(each["id"]) for each in ours] == ours
    ((plain_id, last),) = everybody.items()
    assert last == {"user": "plain", "id": plain_id, "says": None, "said": None}
    assert await bob.presence_stats(people) == [4, 3]
    await ann.publish(people, "who am I?")
    await bob.received(people, 1)
    assert bob.happened("publication", people)[0]["user"] == "ann"
    await plain.close()
    await ann.wait("leave", people)
    gone = who(bob, "bob")
    await bob.disconnect()
    await ann.wait("leave", people, 2)
    expected = [("join", each) for each in (*ours, last)] + [("leave", last), ("leave", gone)]
    assert seen(ann, people) == expected
    assert seen(tab, people) == expected[1:]
    assert await ann.presence_stats(people) == [2, 2]
    for refusal in (ann.presence(f"live:{name}"), ann.presence_stats(f"people:other:{name}")):
        with pytest.raises(SdkError):
            await refusal
    assert all(not sdk.happened("error") for sdk in (ann, bob, tab))


async def test_who_is_taken_out_put_in_and_kicked(sdk_server: Server, open_client: Open, name: str) -> None:
    people, user = f"people:{name}", f"user-{name}"
    watcher = await (await open_client(sdk_server.url("/connection/room"))).connected()
    await watcher.subscribed(people)
    sdk = await (await open_client(sdk_server.url(f"/connection/room?user={user}"))).connected()
    await sdk.subscribed(people)
    await watcher.wait("join", people, 2)
    await watcher.rpc("order", {"verb": "unsubscribe", "group": people, "user": user})
    await sdk.wait("unsubscribed", people)
    await watcher.wait("leave", people)
    live = f"live:{name}"
    await watcher.rpc("order", {"verb": "subscribe", "group": live, "user": user})
    assert (await sdk.wait("subscribed", live))["server"] is True
    await watcher.publish(live, 1)
    await sdk.received(live, 1)
    await watcher.rpc("order", {"verb": "kick", "user": user})
    end = await sdk.wait("disconnected")
    assert (end["code"], end["reason"]) == (3503, "disconnected by the server")
    assert await sdk.state() == "disconnected"
    assert await watcher.state() == "connected"


# Where each publication takes the place of those before it


async def test_the_newest_is_all_that_a_cache_gives(sdk_server: Server, open_client: Open, name: str) -> None:
    newest = f"newest:{name}"
    async with Proxy(sdk_server) as proxy:
        other = await (await open_client(sdk_server.url("/connection/room"))).connected()
        await other.rpc("flood", {"group": newest, "first": 0, "count": 5})
        sdk = await (await open_client(proxy.url("/connection/room"))).connected()
        assert (await sdk.subscribed(newest, since={"offset": 0, "epoch": ""}))["recovered"] is True
        assert await sdk.received(newest, 1) == [(5, {"n": 4})]
        proxy.go_away()
        await other.rpc("flood", {"group": newest, "first": 5, "count": 20})
        proxy.come_back()
        assert (await sdk.wait("subscribed", newest, 2))["recovered"] is True
        await other.rpc("flood", {"group": newest, "first": 25, "count": 1})
        assert await sdk.received(newest, 3) == [(5, {"n": 4}), (25, {"n": 24}), (26, {"n": 25})]
        await sdk.disconnect()


# Several wires in one group


@pytest.mark.parametrize("kept", [True, False], ids=["history", "no history"])
async def test_trap_9_every_wire_gets_the_same_in_the_same_order(
    sdk_server: Server, node: list[Node], opened: list[Sdk], name: str, kept: bool
) -> None:
    group = f"{'room' if kept else 'live'}:{name}"
    for kind in KINDS:
        sdk = await open_sdk(kind, sdk_server.url("/connection/room"), node)
        opened.append(sdk)
        await sdk.connected()
        await sdk.subscribed(group)
    plain = await open_plain(sdk_server, f"/plain/{group}/")
    for number in range(0, 500, 5):
        await plain.send_json({"n": number, "from": "plain"})
        for offset, sdk in enumerate(opened, 1):
            await sdk.publish(group, {"n": number + offset, "from": str(offset)})
    heard = [await plain.receive_json() for _ in range(500)]
    assert sorted(each["n"] for each in heard) == list(range(500))
    for sdk in opened:
        received = await sdk.received(group, 500)
        assert [data for _, data in received] == heard
        assert [offset for offset, _ in received] == (list(range(1, 501)) if kept else [None] * 500)
    assert all(not sdk.happened("error") for sdk in opened)
    await plain.close()
