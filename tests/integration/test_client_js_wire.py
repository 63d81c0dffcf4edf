"""antiphon's own client, in Node, with the test for a server: rare codes and pushes, and what comes at a bad moment."""

from __future__ import annotations

from typing import Any

import pytest

from .clientjs import NodeScript
from .clientjs import node as node


async def line(node: NodeScript, script: str, begin: str = "", **options: Any) -> Any:
    """Run code with a client whose server is the test, as ``server``; what ``begin`` does to ``args`` are options."""
    begin += """
        connect("ws://test/", { WebSocket: Line, ...args });
        let server = await until(() => Line.all.at(-1));
        const next = async () => { server = await until(() => Line.all.at(-1) !== server && Line.all.at(-1)); };
        await server.answer("connect", { connect: { client: "c" } });
    """
    return await node.run(begin + script, **options)


async def test_a_subscription_that_can_not_be_made_now_is_tried_again(node: NodeScript) -> None:
    code = """
        const room = client.subscribe("a", handlers("a"));
        await server.answer("subscribe", { error: { code: 100, message: "oh", temporary: true } });
        await server.answer("subscribe", { error: { code: 3, message: "hm" } });
        await server.answer("subscribe", { error: { code: 102, message: "no" } });
        client.disconnect();
        return heard.groups.a.states;
    """
    states = await line(node, code)
    assert [(each["state"], each["code"]) for each in states] == [
        ("subscribing", 0),
        ("subscribing", 100),
        ("subscribing", 3),
        ("unsubscribed", 102),
    ]


@pytest.mark.parametrize(("code", "epoch"), [(2500, "e"), (2501, "e"), (2502, "_")])
async def test_an_unsubscribe_that_asks_for_it_is_followed_by_a_subscribe(
    node: NodeScript, code: int, epoch: str
) -> None:
    script = """
        client.subscribe("a", handlers("a"));
        await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 5 } });
        server.say({ push: { channel: "a", unsubscribe: { code: args.code, reason: "so" } } });
        server.say({ push: { channel: "a", pub: { data: "late", offset: 6 } } });
        const asked = await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 9 } });
        client.disconnect();
        return [asked, heard.groups.a];
    """
    asked, a = await line(node, script, code=code)
    offset = 5 if epoch == "e" else 0
    assert asked == {"channel": "a", "recover": True, "epoch": epoch, "offset": offset}
    assert a["gaps"] == [{"from": {"epoch": "e", "offset": 5}, "to": {"epoch": "e", "offset": 9}}]
    assert a["publications"] == []


async def test_an_unsubscribe_that_crosses_a_subscribe_is_not_followed_by_a_second_one(node: NodeScript) -> None:
    script = """
        const room = client.subscribe("a", handlers("a"));
        await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 5 } });
        room.unsubscribe();
        room.subscribe();
        server.say({ push: { channel: "a", unsubscribe: { code: 2500, reason: "so" } } });
        await server.answer("unsubscribe", { unsubscribe: {} });
        await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 6 } });
        client.rpc("x");
        await server.answer("rpc", { rpc: {} });
        const { state } = room;
        client.disconnect();
        return [server.sent.map((command) => Object.keys(command)[1]), state];
    """
    assert await line(node, script) == [["connect", "subscribe", "unsubscribe", "subscribe", "rpc"], "subscribed"]


async def test_an_end_that_crosses_a_subscribe_is_one(node: NodeScript) -> None:
    script = """
        const room = client.subscribe("a", handlers("a"));
        await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 5 } });
        room.unsubscribe();
        room.subscribe();
        server.say({ push: { channel: "a", unsubscribe: { code: 2000, reason: "out" } } });
        await server.answer("unsubscribe", { unsubscribe: {} });
        await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 6 } });
        await server.answer("unsubscribe", { unsubscribe: {} });
        const { state, code } = room;
        client.disconnect();
        return [state, code];
    """
    assert await line(node, script) == ["unsubscribed", 2000]


async def test_what_comes_twice_is_left_out_and_a_hole_is_recovered(node: NodeScript) -> None:
    code = """
        client.subscribe("a", handlers("a"));
        const pub = (offset) => ({ push: { channel: "a", pub: { data: offset, offset } } });
        await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 0 } });
        server.say(pub(1), pub(1), pub(2), pub(5), pub(6));
        await server.answer("unsubscribe", { unsubscribe: {} });
        const asked = await server.answer("subscribe", {
          subscribe: { recoverable: true, recovered: true, epoch: "e", offset: 2,
            publications: [3, 4, 5, 6].map((offset) => ({ data: offset, offset })) },
        });
        client.disconnect();
        return [asked, heard.groups.a.publications, heard.groups.a.gaps];
    """
    asked, publications, gaps = await line(node, code)
    assert (asked["offset"], publications, gaps) == (2, [1, 2, 3, 4, 5, 6], [])


async def test_a_hole_in_a_group_of_the_server_is_recovered_by_coming_back(node: NodeScript) -> None:
    code = """
        server.say({ push: { channel: "a", subscribe: { recoverable: true, epoch: "e", offset: 3 } } });
        server.say({ push: { channel: "a", pub: { data: 5, offset: 5 } } });
        await next();
        const asked = await server.answer("connect", {
          connect: { client: "c", subs: { a: { recoverable: true, recovered: true, epoch: "e", offset: 3,
            publications: [4, 5].map((offset) => ({ data: offset, offset })) } } },
        });
        client.disconnect();
        return [asked.subs, heard.groups.a.publications, states()];
    """
    subs, publications, states = await line(node, code)
    assert subs == {"a": {"recover": True, "epoch": "e", "offset": 3}}
    assert publications == [4, 5]
    assert "connecting 4" in states


async def test_what_a_slow_page_can_not_hold_is_left_to_the_history(node: NodeScript) -> None:
    code = """
        const seen = [];
        let go;
        const onPublication = ({ data }) => {
          seen.push(data);
          if (data === 1) return new Promise((resolve) => (go = resolve));
        };
        const room = client.subscribe("a", { onPublication });
        const pub = (offset) => ({ data: offset, offset });
        const pubs = (from, to) => Array.from({ length: to - from + 1 }, (_, each) => pub(from + each));
        await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 0 } });
        server.say(...pubs(1, 10003).map((pub) => ({ push: { channel: "a", pub } })));
        await server.answer("unsubscribe", { unsubscribe: {} });
        const left = [room.state, room.code, server.sent.filter((each) => each.subscribe).length];
        go();
        const asked = await server.answer("subscribe", {
          subscribe: {
            recoverable: true, recovered: true, epoch: "e", offset: 10001, publications: pubs(10002, 10004),
          },
        });
        await until(() => room.position.offset === 10004);
        client.disconnect();
        return [left, asked.offset, seen.length, seen.every((data, index) => data === index + 1)];
    """
    assert await line(node, code) == [["subscribing", 8, 1], 10001, 10004, True]


async def test_after_an_invalidated_state_token_and_positions_are_not_used(node: NodeScript) -> None:
    code = """
        client.subscribe("a", handlers("a"));
        await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "e", offset: 5 } });
        server.onclose({ code: 3014, reason: "state invalidated" });
        await next();
        await server.answer("connect", { connect: { client: "c" } });
        const asked = await server.answer("subscribe", { subscribe: { recoverable: true, epoch: "f", offset: 1 } });
        client.disconnect();
        return [asked.epoch, heard.groups.a.gaps];
    """
    epoch, gaps = await line(node, code)
    assert epoch == "_"
    assert gaps == [{"from": {"epoch": "e", "offset": 5}, "to": {"epoch": "f", "offset": 1}}]


async def test_pings_are_answered_and_missed(node: NodeScript) -> None:
    code = """
        server.onclose({ code: 3000, reason: "" });
        await next();
        await server.answer("connect", { connect: { client: "c", ping: 0.2, pong: true } });
        server.say({});
        const pong = server.sent.at(-1);
        await until(() => client.state === "connecting");
        await next();
        client.disconnect();
        return [pong, states(), server.isClosed];
    """
    pong, states, closed = await line(node, code, timeout=200)
    assert pong == {}
    assert states[2:] == ["connecting 3000", "connected 0", "connecting 1", "disconnected 0"]
    assert closed is True


async def test_joins_and_leaves_come_in_their_order(node: NodeScript) -> None:
    code = """
        const seen = [];
        const note = (word) => (news) => seen.push([word, news.user ?? news.data]);
        client.subscribe("a", { onPublication: note("says"), onJoin: note("joins"), onLeave: note("leaves") });
        await server.answer("subscribe", { subscribe: {} });
        const push = (kind, content) => ({ push: { channel: "a", [kind]: content } });
        const info = { user: "ada", client: "x" };
        server.say(push("join", { info }), push("pub", { data: 1 }), push("leave", { info }));
        client.disconnect();
        return seen;
    """
    assert await line(node, code) == [["joins", "ada"], ["says", 1], ["leaves", "ada"]]


async def test_a_publication_that_the_server_can_not_take_now_waits(node: NodeScript) -> None:
    code = """
        const sent = client.publish("a", 1);
        const behind = client.publish("a", 2);
        const elsewhere = client.publish("b", 3);
        const said = [];
        const take = async (reply) => said.push((await server.answer("rpc", reply)).data.data);
        await take({ error: { code: 111, message: "too many requests", temporary: true } });
        for (const offset of [1, 2, 3]) await take({ rpc: { data: { epoch: "e", offset } } });
        await Promise.all([sent, behind, elsewhere]);
        client.disconnect();
        return [said, heard.outbox.filter(({ state }) => state === "waiting").map(({ code }) => code)];
    """
    assert await line(node, code) == [[1, 3, 1, 2], [111]]


async def test_the_server_may_say_when_the_token_ends(node: NodeScript) -> None:
    code = """
        server.say({ push: { refresh: { expires: true, ttl: 0.01 } } });
        const { token } = await server.answer("refresh", { refresh: { client: "c" } });
        client.disconnect();
        return token;
    """
    begin = "let tokens = 0; args.token = async () => `token ${++tokens}`;"
    assert await line(node, code, begin=begin) == "token 2"


async def test_a_token_that_comes_too_late_is_not_used(node: NodeScript) -> None:
    code = """
        let give;
        const room = client.subscribe("a", { token: () => new Promise((resolve) => (give = resolve)) });
        await until(() => give);
        room.unsubscribe();
        give("late");
        server.say({});
        const rest = client.rpc("x");
        await server.answer("rpc", { rpc: { data: 1 } });
        await rest;
        client.disconnect();
        return server.sent.map((command) => Object.keys(command)[1]);
    """
    assert await line(node, code) == ["connect", "unsubscribe", "rpc"]


async def test_what_is_asked_early_is_sent_behind_the_subscriptions(node: NodeScript) -> None:
    code = """
        connect("ws://test/", { WebSocket: Line, data: 7 });
        const early = client.rpc("x", 1);
        client.subscribe("a");
        const other = await until(() => Line.all.at(-1) !== server && Line.all.at(-1));
        const { data } = await other.answer("connect", { connect: { client: "c" } });
        await other.answer("rpc", { rpc: { data: 2 } });
        const result = await early;
        client.disconnect();
        return [data, result, other.sent.map((command) => Object.keys(command)[1])];
    """
    assert await line(node, "client.disconnect();" + code) == [7, 2, ["connect", "subscribe", "rpc"]]


async def test_a_publication_waits_for_the_subscription_to_its_group(node: NodeScript) -> None:
    code = """
        let give;
        client.subscribe("a", { token: () => new Promise((resolve) => (give = resolve)) });
        const sent = client.publish("a", 1);
        const elsewhere = client.publish("b", 2);
        await server.answer("rpc", { rpc: { data: { epoch: "e", offset: 1 } } });
        await elsewhere;
        give("ticket");
        await server.answer("subscribe", { subscribe: {} });
        await server.answer("rpc", { rpc: { data: { epoch: "e", offset: 1 } } });
        await sent;
        client.disconnect();
        return server.sent.map((command) => command.rpc?.data.channel ?? Object.keys(command)[1]);
    """
    assert await line(node, code) == ["connect", "b", "subscribe", "a"]


async def test_a_publication_that_has_to_wait_is_sent_again(node: NodeScript) -> None:
    code = """
        const sent = client.publish("a", 1, { key: "mine" });
        const keys = [];
        const take = async (reply) => keys.push((await server.answer("rpc", reply)).data.key);
        for (let time = 0; time < 3; time++) {
          await take({ error: { code: 111, message: "too many requests", temporary: true } });
        }
        await take({ rpc: { data: { epoch: "e", offset: 1, repeated: false } } });
        const position = await sent;
        client.disconnect();
        return [keys, position];
    """
    assert await line(node, code) == [["mine"] * 4, {"epoch": "e", "offset": 1, "repeated": False}]
