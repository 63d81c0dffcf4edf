"""``disconnect`` runs once for each connection that was accepted, however it ended, and its memberships are gone."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import pytest

from .clients import Client, Wire, closed_with, connect, eventually, exchange, upgrade_request
from .servers import Kind, Server, Servers


async def farewells(server: Server, client: str) -> list[int]:
    """Wait until ``disconnect`` ran for ``client``; return the code of each time it ran."""
    records = await eventually(
        lambda: [line for line in server.records(client) if line["what"] == "disconnect"], "disconnect"
    )
    return [line["code"] for line in records]


async def only_the_survivor_hears(server: Server, survivor: Client) -> None:
    """Check that the survivor is alone in its group, and that nothing was sent to anybody who is gone."""
    await eventually(lambda: server.stats()["connections"] == 1, "the others to be gone")
    before = server.stats()
    assert await survivor.ask({"do": "say", "value": "anybody?"}) == {"said": "anybody?"}
    assert await survivor.ask({"do": "publish", "value": "anybody?"}) == {"published": "anybody?"}
    after = server.stats()
    assert after["sends_after_close"] == before["sends_after_close"]
    assert after["events_undeliverable"] == before["events_undeliverable"]


async def close_frame(client: Client) -> None:
    """Say good-bye."""
    await client.close(4000, "done")


async def vanish(client: Client) -> None:
    """End the TCP connection without a close frame."""
    client.vanish()


async def reset(client: Client) -> None:
    """Reset the TCP connection."""
    client.reset()


async def server_side_close(client: Client) -> None:
    """Let the application close."""
    await client.send_json({"do": "close", "code": 4001})


async def failure(client: Client) -> None:
    """Make ``receive_json`` raise."""
    await client.send_json({"do": "fail"})


async def failure_and_reset(client: Client) -> None:
    """Make ``receive_json`` raise, and be gone."""
    await client.send_json({"do": "fail"})
    client.reset()


ENDS: dict[Callable[[Client], Awaitable[None]], set[int]] = {
    close_frame: {4000},
    vanish: {1005, 1006},
    reset: {1005, 1006},
    server_side_close: {4001},
    failure: {1011},
    failure_and_reset: {1005, 1006, 1011},
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_disconnect_runs_once(rooms: Server, name: str, end: Callable[[Client], Awaitable[None]]) -> None:
    async with await connect(rooms, f"/room/{name}/") as survivor:
        leaver = await connect(rooms, f"/room/{name}/?client={name}")
        assert await leaver.ask({"do": "echo", "value": 1}) == {"echo": 1}
        await end(leaver)
        codes = await farewells(rooms, name)
        assert len(codes) == 1
        assert codes[0] in ENDS[end] or (codes[0] == 1006 and rooms.kind is not None and not rooms.kind.hears_codes)
        await only_the_survivor_hears(rooms, survivor)
        await leaver.close()
    assert len(await farewells(rooms, name)) == 1


async def test_lost_without_a_close_frame_is_1006(direct_rooms: Server, name: str) -> None:
    client = await connect(direct_rooms, f"/room/{name}/?client={name}")
    client.vanish()
    assert await farewells(direct_rooms, name) == [1006]
    await client.close()


async def test_close_frame_without_a_code_is_1005(direct_rooms: Server, name: str) -> None:
    async with await Wire.open(direct_rooms, f"/room/{name}/?client={name}") as wire:
        await wire.send_frame(0x8)
        assert await farewells(direct_rooms, name) == [1005]


async def test_exception_in_connect_behind_accept(rooms: Server, name: str) -> None:
    async with await connect(rooms, f"/room/{name}/") as survivor:
        async with await connect(rooms, f"/late/{name}/?client={name}") as client:
            assert closed_with(rooms, await client.closed(), 1011)
        assert await farewells(rooms, name) == [1011]
        await only_the_survivor_hears(rooms, survivor)


async def test_exception_in_connect_before_accept(rooms: Server, name: str) -> None:
    printed = len(rooms.log())
    async with await connect(rooms, f"/room/{name}/") as survivor:
        async with await exchange(rooms, upgrade_request(f"/early/{name}/?client={name}")) as refusal:
            assert refusal.status == (403 if rooms.name.startswith("daphne") else 500)
        await only_the_survivor_hears(rooms, survivor)
    assert rooms.records(name) == []
    assert "exception in connect()" in rooms.log(printed)


@pytest.mark.parametrize("consumer", ["refusing", "forgetful"])
async def test_refused_connections_have_no_disconnect(rooms: Server, name: str, consumer: str) -> None:
    async with await connect(rooms, f"/room/{name}/") as survivor:
        async with await exchange(rooms, upgrade_request(f"/{consumer}/{name}/?client={name}")) as refusal:
            assert refusal.status == 403
        await only_the_survivor_hears(rooms, survivor)
    assert [line for line in rooms.records(name) if line["what"] == "disconnect"] == []


async def test_client_that_leaves_before_it_is_accepted_has_no_disconnect(rooms: Server, name: str) -> None:
    wire = await Wire.dial(rooms)
    await wire.write(upgrade_request(f"/undecided/{name}/?client={name}"))
    await eventually(lambda: rooms.stats()["connections"] == 1, "connect() to run")
    printed = len(rooms.log())
    wire.reset()
    await eventually(lambda: rooms.stats()["connections"] == 0, "the connection to be forgotten")
    assert rooms.records(name) == []
    assert "neither accepted nor closed" not in rooms.log(printed)


async def test_exception_in_disconnect_is_logged_and_ends_it(rooms: Server, name: str) -> None:
    printed = len(rooms.log())
    async with await connect(rooms, f"/farewell/{name}/?client={name}") as client:
        await client.close()
        assert len(await farewells(rooms, name)) == 1
    await eventually(lambda: "exception in disconnect()" in rooms.log(printed), "the log")


async def test_disconnect_may_tell_the_others(rooms: Server, name: str) -> None:
    async with await connect(rooms, f"/parting/{name}/") as stays:
        leaver = await connect(rooms, f"/parting/{name}/?client={name}")
        leaver.reset()
        assert await stays.receive_json() == {"said": "somebody left"}
        assert len(await farewells(rooms, name)) == 1
        await leaver.close()
        assert await stays.ask({"do": "echo", "value": 1}) == {"echo": 1}


async def test_client_gone_while_its_handler_is_busy(rooms: Server, name: str) -> None:
    async with await connect(rooms, f"/room/{name}/") as survivor:
        leaver = await connect(rooms, f"/room/{name}/?client={name}")
        await leaver.send_json({"do": "wait", "for": name})
        await eventually(lambda: rooms.records(name)[1:], "the handler to wait")
        leaver.reset()
        assert await survivor.ask({"do": "say", "value": 1}) == {"said": 1}
        assert await survivor.ask({"do": "open", "gate": name}) == {"opened": name}
        assert len(await farewells(rooms, name)) == 1
        await only_the_survivor_hears(rooms, survivor)
        await leaver.close()


async def test_hundreds_reset_at_once(rooms: Server, name: str) -> None:
    count = 200
    async with await connect(rooms, f"/room/{name}/") as survivor:
        crowd = [await Wire.open(rooms, f"/room/{name}/?client={name}") for _ in range(count)]
        assert await survivor.ask({"do": "say", "value": "all"}) == {"said": "all"}
        for wire in crowd:
            wire.reset()
        await eventually(
            lambda: sum(line["what"] == "disconnect" for line in rooms.records(name)) >= count, "each disconnect"
        )
        await only_the_survivor_hears(rooms, survivor)
    assert sum(line["what"] == "disconnect" for line in rooms.records(name)) == count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_server_shutdown(servers: Servers, stopping_kind: Kind, name: str, number: signal.Signals) -> None:
    kind = stopping_kind
    server = servers.start(kind, "tests.integration.apps.rooms:app")
    crowd = [await connect(server, f"/room/{name}/?client={name}{place}") for place in range(5)]
    server.signal(number)
    for client in crowd:
        assert (await client.closed()).code == 1012
    assert server.exit_code() in (0, -signal.SIGTERM)  # uvicorn raises SIGTERM again when it has finished
    for place in range(5):
        codes = await farewells(server, f"{name}{place}")
        assert len(codes) == 1
        assert codes == [1012] or not kind.direct
    assert "Traceback" not in server.log()


async def test_answers_to_what_was_received_before_the_shutdown_go_out(
    servers: Servers, direct_kind: Kind, name: str
) -> None:
    server = servers.start(direct_kind, "tests.integration.apps.rooms:app")
    async with await connect(server, f"/room/{name}/?client={name}") as busy:
        other = await connect(server, f"/room/{name}/")
        await busy.send_json({"do": "wait", "for": name})
        for number in range(10):
            await busy.send_json({"do": "echo", "value": number})
        await eventually(lambda: server.records(name)[1:], "the handler to wait")
        assert await other.ask({"do": "open", "gate": name}) == {"opened": name}
        server.signal(signal.SIGTERM)
        assert await busy.receive_json() == {"waited": name}
        for number in range(10):
            assert await busy.receive_json() == {"echo": number}
        assert (await busy.closed()).code == 1012
        await other.close()
    assert server.exit_code() in (0, -signal.SIGTERM)


async def test_handlers_asleep_are_cancelled_by_the_shutdown(servers: Servers, stopping_kind: Kind, name: str) -> None:
    server = servers.start(stopping_kind, "tests.integration.apps.rooms:app")
    sleepers = [await connect(server, f"/room/{name}/?client={name}{place}") for place in range(3)]
    for sleeper in sleepers:
        await sleeper.send_json({"do": "sleep"})
    await eventually(lambda: all(server.records(f"{name}{place}")[1:] for place in range(3)), "the handlers to sleep")
    server.signal(signal.SIGTERM)
    server.exit_code()
    for place, sleeper in enumerate(sleepers):
        happened = [line["what"] for line in server.records(f"{name}{place}")]
        assert happened == ["connect", "asleep", "cancelled", "disconnect"]
        await sleeper.close()
