"""antiphon's own client, in Node: its handlers, its positions, its tokens, its outbox."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.forge import token

from .clientjs import NodeScript, connected, flood, heard
from .clientjs import node as node
from .clientjs import other as other
from .proxy import Proxy
from .servers import DIRECT, Server, Servers

APPLICATION = "tests.integration.apps.centrifuge:app"
SECRET = "a secret of at least thirty-two bytes"


# Handlers


async def test_handlers_run_in_order_and_one_at_a_time(sdk_server: Server, node: NodeScript, name: str) -> None:
    code = """
        await connect(args.url).ready();
        const seen = [];
        let running = 0;
        const room = client.subscribe(args.room, {
          onPublication: async ({ data }, { position }) => {
            running += 1;
            seen.push([data.n, position.offset, running]);
            await new Promise((resolve) => setTimeout(resolve, data.n % 2 ? 0 : 10));
            running -= 1;
          },
        });
        await room.ready();
        await client.rpc("flood", { group: args.room, first: 0, count: 6 });
        await until(() => room.position.offset === 6);
        client.disconnect();
        return seen;
    """
    seen = await node.run(code, url=sdk_server.url("/connection/room"), room=f"room:{name}")
    assert seen == [[number, number, 1] for number in range(6)]


async def test_a_line_that_breaks_under_a_handler_doubles_nothing(
    sdk_server: Server, node: NodeScript, name: str
) -> None:
    async with Proxy(sdk_server) as proxy:
        code = """
            await connect(args.url).ready();
            globalThis.seen = [];
            globalThis.room = client.subscribe(args.room, {
              onPublication: ({ data }) => new Promise((go) => { seen.push(data.n); globalThis.go = go; }),
            });
            await room.ready();
            await client.rpc("flood", { group: args.room, first: 0, count: 3 });
            await until(() => seen.length === 1);
        """
        await node.run(code, url=proxy.url("/connection/room"), room=f"room:{name}")
        proxy.cut()
        code = """
            await until(() => states().length === 4 && room.state === "subscribed");
            for (const count of [1, 2, 3]) {
              await until(() => seen.length === count);
              go();
            }
            await until(() => room.position.offset === 3);
            client.disconnect();
            return seen;
        """
        assert await node.run(code) == [0, 1, 2]


async def test_a_handler_that_fails_ends_the_subscription_in_front_of_it(
    sdk_server: Server, node: NodeScript, name: str
) -> None:
    code = """
        const errors = [];
        console.error = (error) => errors.push(error.message);
        await connect(args.url).ready();
        const seen = [];
        let isBroken = true;
        const room = client.subscribe(args.room, {
          onPublication: async ({ data }) => {
            if (data.n === 2 && isBroken) throw new Error("the page's own fault");
            seen.push(data.n);
          },
        });
        await room.ready();
        await client.rpc("flood", { group: args.room, first: 0, count: 5 });
        await until(() => room.state === "unsubscribed");
        const end = [room.code, room.reason, room.position.offset, [...seen]];
        isBroken = false;
        room.subscribe();
        await until(() => seen.length === 5);
        client.disconnect();
        return [errors, end, seen];
    """
    errors, end, seen = await node.run(code, url=sdk_server.url("/connection/room"), room=f"room:{name}")
    assert errors == ["the page's own fault"]
    assert end == [6, "a handler failed: Error: the page's own fault", 2, [0, 1]]
    assert seen == [0, 1, 2, 3, 4]


async def test_subscribing_twice_is_an_error_of_the_page(node: NodeScript) -> None:
    code = """
        const client = new Client("ws://127.0.0.1:1/");
        const first = client.subscribe("a");
        try { client.subscribe("a"); } catch (error) { return [error.message, first.state]; }
    """
    assert await node.run(code) == ["a has a subscription: unsubscribe it first", "subscribing"]


# Positions


async def test_a_position_outlives_the_page(sdk_server: Server, node: NodeScript, other: NodeScript, name: str) -> None:
    room, servers_room = f"room:{name}", f"room:{name}:server"
    url = sdk_server.url(f"/connection/room?group={servers_room}")
    code = """
        globalThis.storage ??= new Drawer();
        await connect(args.url, { storage }).ready();
        const room = client.subscribe(args.room, handlers(args.room));
        await room.ready();
    """
    await node.run(code, url=url, room=room)
    await connected(other, sdk_server.url("/connection/room"))
    for group in (room, servers_room):
        await flood(other, group, 0, 3)
        await heard(node, group, 3)
    await node.run("client.disconnect()")
    for group in (room, servers_room):
        await flood(other, group, 3, 3)
    await node.run(code, url=url, room=room)
    for group in (room, servers_room):
        assert await heard(node, group, 6) == list(range(6))
    left = """
        client.subscriptions.get(args.room).unsubscribe();
        client.disconnect();
        return Object.keys(storage);
    """
    assert [key.split(" ")[-2:] for key in await node.run(left, room=room)] == [["server", servers_room]]


async def test_what_was_not_handled_comes_again(sdk_server: Server, node: NodeScript, name: str) -> None:
    code = """
        const storage = new Drawer();
        await connect(args.url, { storage }).ready();
        const first = [];
        const room = client.subscribe(args.room, {
          onPublication: ({ data }) => {
            first.push(data.n);
            if (data.n === 1) return new Promise(() => {}); // the page is closed meanwhile
          },
        });
        await room.ready();
        await client.rpc("flood", { group: args.room, first: 0, count: 3 });
        await until(() => first.length === 2);
        client.disconnect();
        await connect(args.url, { storage }).ready();
        const second = join(args.room).publications;
        await until(() => second.length === 2);
        client.disconnect();
        return [first, second.map(({ n }) => n)];
    """
    seen = await node.run(code, url=sdk_server.url("/connection/room"), room=f"room:{name}")
    assert seen == [[0, 1], [1, 2]]


@pytest.mark.parametrize("text", [False, True])
async def test_a_page_may_say_since_when(sdk_server: Server, node: NodeScript, name: str, text: bool) -> None:
    code = """
        await connect(args.url).ready();
        const room = client.subscribe(args.room);
        await room.ready();
        await client.rpc("flood", { group: args.room, first: 0, count: 5 });
        await until(() => room.position.offset === 5);
        room.unsubscribe();
        const since = { ...room.position, offset: 3 };
        const { publications } = join(args.room, { since: args.text ? JSON.stringify(since) : since });
        await until(() => publications.length === 2);
        client.disconnect();
        return publications.map(({ n }) => n);
    """
    url = sdk_server.url("/connection/room")
    assert await node.run(code, url=url, room=f"room:{name}", text=text) == [3, 4]


@pytest.mark.parametrize("is_kept", [False, True])
async def test_a_group_of_the_server_begins_where_the_page_says(
    sdk_server: Server, node: NodeScript, other: NodeScript, name: str, is_kept: bool
) -> None:
    room = f"short:{name}"
    begin = """
        globalThis.storage ??= new Drawer();
        connect(args.url, { storage: args.isKept ? storage : undefined });
        join(args.room, { since: args.isKept ? undefined : globalThis.since });
        await client.ready();
    """
    url = sdk_server.url(f"/connection/room?group={room}")
    await node.run(begin, url=url, room=room, isKept=is_kept)
    await connected(other, sdk_server.url("/connection/room"))
    for first, count in ((0, 2), (2, 5), (7, 12)):
        await flood(other, room, first, count)
        if first:
            await node.run(begin, url=url, room=room, isKept=is_kept)
        heard_of = min(first + count, 7)
        assert await heard(node, room, heard_of) == list(range(heard_of))
        code = "await until(() => client.subscriptions.get(args.room).position.offset === args.offset);"
        code += "since = client.subscriptions.get(args.room).position; client.disconnect()"
        await node.run("globalThis.since = null;" + code, room=room, offset=first + count)
    (gap,) = await node.run("return heard.groups[args.room].gaps", room=room)
    assert (gap["from"]["offset"], gap["to"]["offset"]) == (7, 19)


# Tokens


@pytest.fixture
def secured(servers: Servers) -> Iterator[Server]:
    """A server that knows tokens."""
    env = {"ANTIPHON_TOKEN_SECRETS": SECRET, "ANTIPHON_TOKEN_LEEWAY": "0"}
    server = servers.start(DIRECT[0], APPLICATION, env=env)
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log()


def ticket(seconds: float, **claims: str) -> str:
    """Return a token of one person, for ``seconds`` from now."""
    return token({"sub": "ada", "exp": int(time.time() + seconds), **claims}, key=SECRET)


async def test_tokens_are_fetched_and_renewed_in_time(secured: Server, node: NodeScript, name: str) -> None:
    room = f"secret:{name}"
    tokens = [ticket(seconds) for seconds in (-100, 4, 60)]
    tickets = [ticket(seconds, channel=room) for seconds in (-100, 4, 60)]
    code = """
        const { tokens, tickets } = args;
        const sent = [];
        class Watched extends args.WebSocket {
          send(text) {
            sent.push(Object.keys(JSON.parse(text))[1]);
            super.send(text);
          }
        }
        await connect(args.url, { token: () => tokens.shift(), WebSocket: Watched }).ready();
        const token = async ({ group }) => group === args.room && tickets.shift();
        const room = client.subscribe(args.room, { token });
        await room.ready();
        await until(() => sent.includes("refresh") && sent.includes("sub_refresh"));
        await client.rpc("add", { a: 1, b: 2 });
        client.disconnect();
        return [sent.slice(0, 4), tokens, tickets, states(), room.state];
    """
    code = code.replace("args.WebSocket", "(await import('ws')).default")
    first, *left, states, state = await node.run(
        code, url=secured.url("/connection/room"), tokens=tokens, tickets=tickets, room=room
    )
    assert first == ["connect", "connect", "subscribe", "subscribe"]
    assert left == [[], []]
    assert (states, state) == (
        ["connecting 0", "connecting 109", "connected 0", "disconnected 0"],
        "subscribing",
    )


async def test_a_token_that_stays_bad_ends_it(secured: Server, node: NodeScript) -> None:
    code = """
        const expired = await refusal(connect(args.url, { token: args.expired }).ready());
        const invalid = await refusal(connect(args.url, { token: () => "nonsense" }).ready());
        return [expired.code, invalid.code];
    """
    url = secured.url("/connection/room")
    assert await node.run(code, url=url, expired=ticket(-100)) == [109, 3500]


async def test_a_token_that_can_not_be_fetched_is_fetched_again(secured: Server, node: NodeScript) -> None:
    code = """
        let tries = 0;
        const token = async () => { if (++tries < 3) throw new Error("no network"); return args.token; };
        await connect(args.url, { token }).ready();
        client.disconnect();
        return [tries, heard.states.map(({ reason }) => reason)];
    """
    tries, reasons = await node.run(code, url=secured.url("/connection/room"), token=ticket(60))
    assert tries == 3
    assert reasons == ["connect called", "no token: Error: no network", "", "disconnect called"]


# The outbox


async def test_what_is_written_offline_arrives_once_and_in_order(
    sdk_server: Server, node: NodeScript, other: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(sdk_server) as proxy:
        await connected(other, sdk_server.url("/connection/room"))
        await other.run("join(args.room); await client.subscriptions.get(args.room).ready()", room=room)
        await node.run("await connect(args.url).ready(); join(args.room)", url=proxy.url("/connection/room"), room=room)
        write = """
            const numbers = Array.from({ length: args.count }, (_, each) => args.first + each);
            globalThis.sent = numbers.map((n) => client.publish(args.room, { n }));
        """
        await node.run(write + "await sent[2]", room=room, first=0, count=20)
        proxy.go_away()  # in the middle of it
        await node.run("await until(() => client.state === 'connecting')")
        await node.run(write, room=room, first=20, count=180)
        proxy.come_back()
        assert await heard(other, room, 200) == list(range(200))
        positions = await node.run("return Promise.all(sent)")
        assert [position["offset"] for position in positions] == list(range(21, 201))
        assert await node.run("return client.outbox.pending()") == []
        told = await node.run("return heard.outbox.map(({ state }) => state)")
        assert sorted(set(told)) == ["sent", "stored"]
        assert len(told) == 400
        await node.run("client.disconnect()")


async def test_a_refusal_is_told_and_stops_nobody(sdk_server: Server, node: NodeScript, name: str) -> None:
    code = """
        connect(args.url);
        const room = client.subscribe(args.room);
        const refused = refusal(client.publish("secret", { text: "psst" }));
        const sent = await client.publish(args.room, 1, { key: "mine" });
        const again = await client.publish(args.room, 1, { key: "mine" });
        const told = heard.outbox.find(({ state }) => state === "refused");
        client.disconnect();
        return [await refused, told, sent, again, await client.outbox.pending()];
    """
    refused, told, sent, again, pending = await node.run(
        code, url=sdk_server.url("/connection/room"), room=f"room:{name}"
    )
    assert refused["code"] == told["code"] == 103
    assert (told["group"], told["data"]) == ("secret", {"text": "psst"})
    assert (sent["offset"], sent["repeated"]) == (1, False)
    assert (again["offset"], again["repeated"]) == (1, True)
    assert pending == []


async def test_who_hears_of_refusals_need_not_look_at_promises(sdk_server: Server, node: NodeScript, name: str) -> None:
    code = """
        const unhandled = [];
        process.on("unhandledRejection", (error) => unhandled.push(error.message));
        connect(args.url);
        client.publish("secret", { text: "psst" });
        await until(() => heard.outbox.some(({ state }) => state === "refused"));
        await new Promise((resolve) => setTimeout(resolve, 20));
        client.disconnect();
        return unhandled;
    """
    assert await node.run(code, url=sdk_server.url("/connection/room")) == []


async def test_a_page_may_subscribe_as_soon_as_it_hears_that_it_is_connected(
    sdk_server: Server, node: NodeScript, name: str
) -> None:
    code = """
        const states = [];
        let room;
        connect(args.url, {
          onState: ({ state }) => {
            if (state === "connected") {
              room = client.subscribe(args.room, { onState: ({ state, code }) => states.push([state, code]) });
            }
          },
        });
        await until(() => room?.state === "subscribed");
        await client.history(args.room);
        client.disconnect();
        return states.map(([state]) => state);
    """
    states = await node.run(code, url=sdk_server.url("/connection/room"), room=f"room:{name}")
    assert states[:2] == ["subscribing", "subscribed"]
    assert "unsubscribed" not in states


async def test_an_entry_can_be_taken_out(node: NodeScript) -> None:
    code = """
        const client = new Client("ws://127.0.0.1:1/");
        const given = refusal(client.publish("a", 1));
        const [entry] = await client.outbox.pending();
        await client.outbox.discard(entry.id);
        return [entry, await given, await client.outbox.pending()];
    """
    entry, given, pending = await node.run(code)
    assert (entry["group"], entry["data"], given["code"], pending) == ("a", 1, 7, [])
