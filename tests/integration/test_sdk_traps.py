"""What unmodified SDKs do that a server has to know of: each trap with a test, here or named so elsewhere.

Traps 3, 10 and 11 are in ``tests/test_centrifuge.py`` and ``tests/test_commands.py`` as well, 9 is in ``test_sdks.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import centrifuge
import pytest

from .clients import eventually
from .proxy import Proxy
from .sdks import JavaScript, Node, Python, Sdk, SdkError
from .servers import DIRECT, Server, Servers

Open = Callable[..., Awaitable[Sdk]]


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_trap_1_a_thousand_subscriptions_come_back_in_one_frame(
    sdk_server: Server, node: list[Node], name: str, encoding: str
) -> None:
    prefix = f"room:{name}:a-name-of-some-length:"
    groups = [f"{prefix}{number}" for number in range(1000)]
    async with Proxy(sdk_server) as proxy:
        sdk = await node[0].open(proxy.url("/connection/room"), encoding, watch=True, timeout=15000)
        await sdk.connected()
        await sdk.subscribe(*groups)
        await sdk.wait("subscribed", count=1000)
        other = await (await node[0].open(sdk_server.url("/connection/room"), encoding)).connected()
        await other.rpc("burst", {"prefix": prefix, "count": 1000, "n": 1})
        await sdk.wait("publication", count=1000)
        proxy.go_away()
        for number in (2, 3):
            await other.rpc("burst", {"prefix": prefix, "count": 1000, "n": number})
        frames = len(sdk.happened("frame"))
        proxy.come_back()
        await sdk.wait("subscribed", count=2000)
        if encoding == "json":
            greeting = sdk.happened("frame")[frames]
            assert greeting["commands"] == 1001
        assert max(frame["bytes"] for frame in sdk.happened("frame")[frames:]) > 64 * 1024
        assert all(each["recovered"] for each in sdk.happened("subscribed")[1000:])
        await sdk.wait("publication", count=3000)
        for group in (groups[0], groups[500], groups[999]):
            assert sdk.publications(group) == [(number, {"n": number}) for number in (1, 2, 3)]
        assert await sdk.rpc("add", {"a": 1, "b": 2}) == 3
        assert (len(sdk.happened("connected")), sdk.happened("disconnected")) == (2, [])
        for client in (sdk, other):
            await client.disconnect()


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
@pytest.mark.parametrize(
    ("code", "reason", "comes_back"),
    [
        (4500, "", False),
        (3500, " ", False),
        (4001, "true", True),
        (4001, "123", True),
        (4001, '{"reconnect":false}', True),
    ],
)
async def test_trap_2_a_reason_never_overrules_the_code(
    sdk_server: Server, node: list[Node], encoding: str, code: int, reason: str, comes_back: bool
) -> None:
    sdk = await (await node[0].open(sdk_server.url("/connection/room"), encoding)).connected()
    with pytest.raises(SdkError):
        await sdk.rpc("end", {"code": code, "reason": reason})
    if comes_back:
        assert (await sdk.wait("connecting", count=2))["code"] == code
        await sdk.wait("connected", count=2)
        await sdk.disconnect()
    else:
        assert (await sdk.wait("disconnected"))["code"] == code


async def test_trap_3_pings_are_answered_and_the_connection_stays(servers: Servers, open_client: Open) -> None:
    server = servers.start(
        DIRECT[0],
        "tests.integration.apps.centrifuge:app",
        env={"ANTIPHON_PING_INTERVAL": "0.2", "ANTIPHON_PING_TIMEOUT": "0.1"},
    )
    sdk = await (await open_client(server.url("/connection/room"))).connected()
    assert await sdk.rpc("sleep", 0.8) == "slept"  # its pongs come while the consumer is busy
    assert (len(sdk.happened("connected")), sdk.happened("disconnected")) == (1, [])
    await sdk.disconnect()
    assert await asyncio.to_thread(server.stop) == 0


async def test_trap_4_what_was_recovered_is_not_recovered_again(
    sdk_server: Server, open_client: Open, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(sdk_server) as proxy:
        sdk = await (await open_client(proxy.url("/connection/room"))).connected()
        await sdk.subscribed(room)
        other = await (await open_client(sdk_server.url("/connection/room"))).connected()
        for number in range(1, 6):  # each time it comes back with the position that the last recovery has left
            proxy.go_away()
            await other.rpc("flood", {"group": room, "first": number, "count": 1})
            proxy.come_back()
            assert (await sdk.wait("subscribed", room, number + 1))["recovered"] is True
            assert await sdk.received(room, number) == [(each, {"n": each}) for each in range(1, number + 1)]
        await sdk.disconnect()


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_trap_5_subscribing_anew_at_once_is_not_subscribing_twice(
    sdk_server: Server, node: list[Node], name: str, encoding: str
) -> None:
    room = f"room:{name}"
    sdk = await node[0].open(sdk_server.url("/connection/room"), encoding)
    await sdk.connected()
    await sdk.subscribed(room)
    await sdk.renew(room, 50)
    await sdk.wait("subscribed", room, 2)
    await sdk.publish(room, {"n": 1})
    assert await sdk.received(room, 1) == [(1, {"n": 1})]
    assert all(each["code"] == 0 for each in sdk.happened("unsubscribed", room)), "unsubscribe() was called; never 105"
    assert (len(sdk.happened("connected")), sdk.happened("error")) == (1, [])
    await sdk.disconnect()


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_trap_6_subscriptions_that_come_with_connect_wait_for_it(
    sdk_server: Server, node: list[Node], name: str, encoding: str
) -> None:
    rooms = [f"room:{name}:{number}" for number in range(20)]
    sdk = await node[0].open(sdk_server.url("/connection/slow"), encoding)
    await sdk.subscribe(*rooms)
    await sdk.connect()
    await sdk.wait("subscribed", count=20)
    assert sdk.events.index(sdk.happened("connected")[0]) < sdk.events.index(sdk.happened("subscribed")[0])
    assert (len(sdk.happened("connected")), sdk.happened("error")) == (1, [])
    await sdk.disconnect()


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_trap_7_python_has_no_send_and_passes_over_messages(sdk_server: Server, name: str, encoding: str) -> None:
    assert not hasattr(centrifuge.Client, "send")
    assert not hasattr(centrifuge.ClientEventHandler, "on_message")
    sdk = Python(sdk_server.url("/connection/room"), encoding)
    await sdk.connected()
    await sdk.subscribed(f"room:{name}")
    before = len(sdk.events)
    await sdk.rpc("say", "nobody hears this")
    await sdk.publish(f"room:{name}", {"n": 1})
    await sdk.received(f"room:{name}", 1)
    assert [each["event"] for each in sdk.events[before:]] == ["publication"]
    await sdk.disconnect()


async def test_trap_8_what_a_handler_failed_on_is_recovered(sdk_server: Server, open_client: Open, name: str) -> None:
    room = f"room:{name}"
    sdk = await open_client(sdk_server.url("/connection/room"))
    await sdk.connected()
    if isinstance(sdk, JavaScript):
        await sdk.subscribe(room, options={"failOn": 3})
    elif isinstance(sdk, Python):
        sdk.fail_on = 3
        await sdk.subscribe(room)
    await sdk.wait("subscribed", room)
    other = await (await open_client(sdk_server.url("/connection/room"))).connected()
    await other.rpc("flood", {"group": room, "first": 1, "count": 5})
    await sdk.wait("disconnected")
    handled = len(sdk.publications(room))
    await sdk.connected()
    assert (await sdk.wait("subscribed", room, 2))["recovered"] is True
    await eventually(lambda: (5, {"n": 5}) in sdk.publications(room), "the rest")
    assert [data["n"] for _, data in sdk.publications(room)[handled:]] == [3, 4, 5]


async def test_trap_10_unsubscribing_from_what_the_server_ended(
    sdk_server: Server, open_client: Open, name: str
) -> None:
    live = f"live:{name}"
    sdk = await (await open_client(sdk_server.url("/connection/room"))).connected()
    await sdk.subscribed(live)
    await sdk.rpc("leave", live)
    end = await sdk.wait("unsubscribed", live)
    assert (end["code"], end["reason"]) == (2000, "server unsubscribe")
    await sdk.unsubscribe(live)
    await sdk.subscribed(live)
    await sdk.publish(live, 1)
    assert await sdk.received(live, 1) == [(None, 1)]
    assert len(sdk.happened("connected")) == 1


async def test_trap_11_what_is_not_offered_is_refused_or_left_out(
    sdk_server: Server, node: list[Node], name: str
) -> None:
    sdk = await node[0].open(sdk_server.url("/connection/room"), "json")
    await sdk.connected()
    await sdk.subscribe(f"room:{name}", options={"delta": "fossil"})
    await sdk.wait("subscribed", f"room:{name}")
    for number in range(3):
        await sdk.publish(f"room:{name}", {"text": "much the same each time", "n": number})
    assert [data["n"] for _, data in await sdk.received(f"room:{name}", 3)] == [0, 1, 2]
    await sdk.subscribe(f"live:{name}", options={"tagsFilter": {"key": "a", "cmp": "eq", "val": "b"}})
    assert (await sdk.wait("unsubscribed", f"live:{name}"))["code"] == 108
    assert await sdk.rpc("add", {"a": 1, "b": 1}) == 2
    await sdk.disconnect()
