"""antiphon's own client, in Node, against real servers: what it promises while lines, servers and processes fail."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .clientjs import CLIENT, Blackhole, NodeScript, connected, flood, heard
from .clientjs import node as node
from .clientjs import other as other
from .conftest import NPM_SECONDS
from .proxy import Proxy
from .servers import DIRECT, ROOT, Server, Servers

APPLICATION = "tests.integration.apps.centrifuge:app"
ANTIPHON = DIRECT[0]
SOURCE = ROOT / "js"


# What is delivered


def test_it_is_small() -> None:
    assert len(gzip.compress(CLIENT.read_bytes(), 9)) <= 6000


def test_what_django_serves_is_made_of_the_source(tmp_path: Path) -> None:
    esbuild = SOURCE / "node_modules" / "esbuild" / "package.json"
    wanted = json.loads((SOURCE / "package.json").read_text())["devDependencies"]["esbuild"]
    if not esbuild.exists() or json.loads(esbuild.read_text())["version"] != wanted:
        subprocess.run(["npm", "ci"], cwd=SOURCE, check=True, timeout=NPM_SECONDS, capture_output=True)
    copy = tmp_path / "js"
    shutil.copytree(SOURCE, copy, symlinks=True)
    made = tmp_path / CLIENT.parent.relative_to(ROOT)
    made.mkdir(parents=True)
    subprocess.run(["npm", "run", "build"], cwd=copy, check=True, timeout=NPM_SECONDS, capture_output=True)
    for name in ("client.js", "client.js.map", "client.d.ts"):
        assert (made / name).read_bytes() == (CLIENT.parent / name).read_bytes(), "npm run build in js/"


def test_npm_gets_every_module() -> None:
    files = json.loads((SOURCE / "package.json").read_text())["files"]
    assert set(files) == {path.name for path in (*SOURCE.glob("*.js"), *SOURCE.glob("*.d.ts"))}


# What an application offers


async def test_everything(sdk_server: Server, node: NodeScript, name: str) -> None:
    code = """
        await connect(args.url, { data: { who: "me" } }).ready();
        const room = client.subscribe(args.room, handlers("room"));
        await room.ready();
        const first = await room.publish({ n: 1, text: "Grüße, 世界! 🎶" });
        await client.publish(args.room, [null, true, 1.5]);
        await until(() => heard.groups.room.publications.length === 2);
        const history = await room.history({ limit: 10 });
        const since = await client.history(args.room, { limit: -1, since: first });
        client.send({ n: 7 });
        await until(() => heard.messages.length);
        await client.publish(args.live, "now", { keep: false });
        const results = [
          first.offset,
          heard.groups.room.publications,
          history.publications.length,
          history.offset,
          since.publications.map(({ offset }) => offset),
          room.position,
          await client.rpc("add", { a: 1, b: 2 }),
          (await client.rpc("hello")).data,
          heard.messages,
        ];
        room.unsubscribe();
        client.disconnect();
        return [...results, room.state, states(), client.outbox.persistent];
    """
    room, live = f"room:{name}", f"live:{name}"
    url = sdk_server.url(f"/connection/room?client={name}")
    *results, position, three, data, messages, state, states, persistent = await node.run(
        code, url=url, room=room, live=live
    )
    assert results == [1, [{"n": 1, "text": "Grüße, 世界! 🎶"}, [None, True, 1.5]], 2, 2, [2]]
    assert position["offset"] == 2
    assert (three, data, messages) == (3, '{"who":"me"}', [{"echo": {"n": 7}}])
    assert (state, states) == ("unsubscribed", ["connecting 0", "connected 0", "disconnected 0"])
    assert persistent is False


async def test_refusals_say_why(sdk_server: Server, node: NodeScript, name: str) -> None:
    code = """
        await connect(args.url).ready();
        const secret = client.subscribe("secret");
        const errors = [
          await refusal(client.rpc("fail", "client")),
          await refusal(client.rpc("fail", "other")),
          await refusal(client.rpc("nothing")),
          await refusal(secret.ready()),
          await refusal(client.publish("secret", 1)),
          await refusal(client.publish("secret", 1, { keep: false })),
          await refusal(client.history(args.group)),
        ];
        client.disconnect();
        errors.push(await refusal(client.rpc("add", {})), await refusal(client.ready()));
        return [errors, secret.state];
    """
    errors, state = await node.run(code, url=sdk_server.url("/connection/room"), group=f"room:{name}")
    assert [error["code"] for error in errors] == [400, 100, 104, 103, 103, 103, 103, 3, 0]
    assert [error["temporary"] for error in errors[:3]] == [False, True, False]
    assert errors[0]["message"] == "full: no room"
    assert {error["name"] for error in errors} == {"AntiphonError"}
    assert state == "unsubscribed"


async def test_groups_of_the_server(sdk_server: Server, node: NodeScript, other: NodeScript, name: str) -> None:
    first, later = f"room:{name}", f"live:{name}"
    async with Proxy(sdk_server) as proxy:
        await connected(node, proxy.url(f"/connection/room?group={first}"))
        await connected(other, sdk_server.url("/connection/room"))
        await node.run("await client.rpc('join', args.later)", later=later)
        for group in (first, later):
            await flood(other, group, 0, 3)
            assert await heard(node, group, 3) == [0, 1, 2]
        await node.run("await client.rpc('leave', args.later)", later=later)
        assert await node.run("return heard.groups[args.later].states.at(-1)", later=later) == {
            "state": "unsubscribed",
            "code": 2000,
            "reason": "server unsubscribe",
        }
        proxy.go_away()
        await flood(other, first, 3, 50)
        proxy.come_back()
        await flood(other, first, 53, 5)
        assert await heard(node, first, 58) == list(range(58))
        assert await node.run("return heard.groups[args.first].gaps", first=first) == []


async def test_the_page_may_take_a_group_of_the_server(sdk_server: Server, node: NodeScript, name: str) -> None:
    code = """
        await connect(args.url).ready();
        const room = join(args.room);
        await client.rpc("flood", { group: args.room, first: 0, count: 3 });
        await until(() => room.publications.length === 3);
        client.disconnect();
        return client.subscriptions.get(args.room).position.offset;
    """
    room = f"room:{name}"
    assert await node.run(code, url=sdk_server.url(f"/connection/room?group={room}"), room=room) == 3


async def test_who_is_there(sdk_server: Server, node: NodeScript, other: NodeScript, name: str) -> None:
    code = """
        await connect(args.url).ready();
        globalThis.seen = [];
        const note = (word) => ({ client }) => seen.push([word, client]);
        await client.subscribe(args.group, { onJoin: note("joins"), onLeave: note("leaves") }).ready();
        return client.id;
    """
    url, group = sdk_server.url("/connection/room"), f"people:{name}"
    first = await node.run(code, url=url, group=group)
    second = await other.run(code, url=url, group=group)
    code = """
        await until(() => seen.some(([word, id]) => word === "joins" && id === args.second));
        const people = client.subscriptions.get(args.group);
        return [Object.keys(await people.presence()).sort(), await people.presenceStats()];
    """
    presence, stats = await node.run(code, group=group, second=second)
    assert presence == sorted([first, second])
    assert stats["num_clients"] == 2
    await other.run("client.disconnect()")
    await node.run("await until(() => seen.some(([word]) => word === 'leaves')); client.disconnect()")
    assert await node.run("return seen.at(-1)") == ["leaves", second]


# How a connection ends


@pytest.mark.parametrize(
    ("given", "code", "comes_back"),
    [({}, 3503, False), ({"code": 4500, "reason": "enough"}, 4500, False), ({"code": 4001}, 4001, True)],
)
async def test_close_codes(
    sdk_server: Server, node: NodeScript, given: dict[str, Any], code: int, comes_back: bool
) -> None:
    await connected(node, sdk_server.url("/connection/room"))
    lost = await node.run("return refusal(client.rpc('end', args.given))", given=given)
    assert lost["code"] == 2
    if comes_back:
        await node.run("await until(() => client.state === 'connected')")
        assert (await node.run("return states()"))[2:] == [f"connecting {code}", "connected 0"]
    else:
        assert (await node.run("return states()"))[2:] == [f"disconnected {code}"]
    await node.run("client.disconnect()")


async def test_a_refused_client_does_not_come_back(sdk_server: Server, node: NodeScript, name: str) -> None:
    code = """
        const refused = await refusal(connect(args.url).ready());
        const early = refusal(client.connect().rpc("add", { a: 1, b: 2 }));
        await refusal(client.ready());
        await connect(args.good, { onState: undefined }).ready();
        for (let each = 0; each < 10; each++) await client.rpc("sleep", 0.02); // longer than its delays are
        client.disconnect();
        return [refused, states(), (await early).code];
    """
    url = sdk_server.url(f"/connection/refusing?client={name}")
    refused, states, early = await node.run(code, url=url, good=sdk_server.url("/connection/room"))
    assert (refused["code"], early) == (3507, 3)
    assert states == ["connecting 0", "disconnected 3507"] * 2
    assert len(sdk_server.records(name)) == 2


# Coming back


async def test_a_thousand_missed_come_in_order_and_once(
    sdk_server: Server, node: NodeScript, other: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    async with Proxy(sdk_server) as proxy:
        await connected(node, proxy.url("/connection/room"))
        await connected(other, sdk_server.url("/connection/room"))
        await node.run("join(args.room); await client.subscriptions.get(args.room).ready()", room=room)
        await flood(other, room, 0, 10)
        await heard(node, room, 10)
        for first in (10, 1510):
            proxy.go_away()
            await node.run("await until(() => client.state === 'connecting')")
            await flood(other, room, first, 1000)
            proxy.come_back()
            await flood(other, room, first + 1000, 500)  # while it comes back
            await heard(node, room, first + 1500)
        assert await heard(node, room, 3010) == list(range(3010))
        found = await node.run("return heard.groups[args.room]", room=room)
        assert (found["offsets"], found["gaps"]) == (list(range(1, 3011)), [])


async def test_a_gap_is_told_where_history_no_longer_has_it(
    sdk_server: Server, node: NodeScript, other: NodeScript, name: str
) -> None:
    short = f"short:{name}"
    async with Proxy(sdk_server) as proxy:
        await connected(node, proxy.url("/connection/room"))
        await connected(other, sdk_server.url("/connection/room"))
        await node.run("join(args.short); await client.subscriptions.get(args.short).ready()", short=short)
        await flood(other, short, 0, 3)
        await heard(node, short, 3)
        proxy.go_away()
        await flood(other, short, 3, 20)
        proxy.come_back()
        await node.run("await until(() => heard.groups[args.short].gaps.length)", short=short)
        await flood(other, short, 23, 1)
        assert await heard(node, short, 4) == [0, 1, 2, 23]
        (gap,) = await node.run("return heard.groups[args.short].gaps", short=short)
        assert (gap["from"]["offset"], gap["to"]["offset"]) == (3, 23)
        assert gap["from"]["epoch"] == gap["to"]["epoch"]


async def test_where_only_the_newest_counts_that_alone_is_recovered(
    sdk_server: Server, node: NodeScript, other: NodeScript, name: str
) -> None:
    newest = f"newest:{name}"
    async with Proxy(sdk_server) as proxy:
        await connected(node, proxy.url("/connection/room"))
        await connected(other, sdk_server.url("/connection/room"))
        await node.run("join(args.newest); await client.subscriptions.get(args.newest).ready()", newest=newest)
        await flood(other, newest, 0, 1)
        await heard(node, newest, 1)
        proxy.go_away()
        await flood(other, newest, 1, 20)
        proxy.come_back()
        await heard(node, newest, 2)
        await flood(other, newest, 21, 1)
        assert await heard(node, newest, 3) == [0, 20, 21]
        assert await node.run("return heard.groups[args.newest].gaps", newest=newest) == []
        assert (await node.run("return states()")).count("connected 0") == 2


async def test_a_gap_is_told_where_a_group_keeps_nothing(sdk_server: Server, node: NodeScript, name: str) -> None:
    live = f"live:{name}"
    async with Proxy(sdk_server) as proxy:
        await connected(node, proxy.url("/connection/room"))
        await node.run("join(args.live); await client.subscriptions.get(args.live).ready()", live=live)
        proxy.cut()
        await node.run("await until(() => heard.groups[args.live].gaps.length)", live=live)
        assert await node.run("return heard.groups[args.live].gaps", live=live) == [{"from": None, "to": None}]


async def test_a_server_that_starts_anew_is_come_back_to_and_the_gap_is_told(
    servers: Servers, node: NodeScript, name: str
) -> None:
    room = f"room:{name}"
    first, second = (servers.spawn(ANTIPHON, APPLICATION) for _ in range(2))
    async with Proxy(first.listening()) as proxy:
        await connected(node, proxy.url("/connection/room"))
        await node.run("join(args.room); await client.subscriptions.get(args.room).ready()", room=room)
        await flood(node, room, 0, 5)
        await heard(node, room, 5)
        proxy.turn_to(second.listening())
        assert await asyncio.to_thread(first.stop) == 0
        await node.run("await until(() => heard.groups[args.room].gaps.length)", room=room)
        assert "connecting 3001" in await node.run("return states()")
        (gap,) = await node.run("return heard.groups[args.room].gaps", room=room)
        assert (gap["from"]["offset"], gap["to"]["offset"]) == (5, 0)
        assert gap["from"]["epoch"] != gap["to"]["epoch"]
        await flood(node, room, 5, 2)
        assert await heard(node, room, 7) == list(range(7))
        await node.run("client.disconnect()")
    assert await asyncio.to_thread(second.stop) == 0


async def test_a_process_that_slept_notices_at_once_that_its_line_is_dead(sdk_server: Server, node: NodeScript) -> None:
    async with Blackhole(sdk_server) as proxy:
        await node.run("await connect(args.url, { timeout: 300 }).ready()", url=proxy.url("/connection/room"))
        node.process.send_signal(signal.SIGSTOP)
        proxy.swallow()
        await asyncio.sleep(1)  # longer than the client's looks at the clock are apart
        node.process.send_signal(signal.SIGCONT)
        # The server's pings are 25 seconds apart: without a look at the clock it would take longer than this waits.
        await node.run("await until(() => states().length === 4)")
        assert (await node.run("return states()"))[2:] == ["connecting 1", "connected 0"]
        await node.run("client.disconnect()")
