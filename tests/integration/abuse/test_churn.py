"""Clients that come and go by the thousand: no object, no task, no descriptor of theirs stays, and nobody waits."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from tests.integration.clients import connect, eventually
from tests.integration.servers import Server

from .attack import MiB, crowd, descriptors, release
from .churn import GUESTS, REFUSED, Visit, visit
from .conftest import Record, Start
from .witness import STALL, Witness


async def inside(server: Server) -> dict[str, Any]:
    """Return what the process holds when all clients are gone and it has come to rest."""
    await eventually(lambda: server.stats()["connections"] == 0, "the clients to be gone")
    held: dict[str, Any] = {}

    def rests() -> bool:
        nonlocal held
        last, held = held, server.get("/objects").json()
        return last == held

    await eventually(rests, "the process to come to rest")
    return held


async def left_behind(server: Server, before: dict[str, Any]) -> dict[str, int]:
    """Wait until nothing more is held than before, and return what is left if that does not come true."""
    left: dict[str, int] = {}

    def nothing() -> bool:
        nonlocal left
        now = server.get("/objects").json()
        left = {kind: number - before["types"].get(kind, 0) for kind, number in now["types"].items()}
        left |= {kind: now[kind] - before[kind] for kind in ("tasks", "descriptors")}
        left["objects"] = now["objects"] - before["objects"] - 200  # caches of modules that were not in use before
        left = {kind: number for kind, number in left.items() if number > 0}
        return not left

    with contextlib.suppress(AssertionError):
        await eventually(nothing, "nothing to be left")
    return left


async def comes_and_goes(start: Start, visits: list[Visit], count: int, record_property: Record) -> Server:
    """Let them come, count what is held, let them come again; nothing more may be held then."""
    server = start()
    await visit(server, visits, count // 5)
    before, memory = await inside(server), server.memory()
    began = time.monotonic()
    async with Witness(server) as witness:
        await visit(server, visits, count - count // 5)
    record_property("per second", round((count - count // 5) / (time.monotonic() - began)))
    record_property("witness", str(witness.latencies))
    assert await left_behind(server, before) == {}
    record_property("growth", server.memory() - memory)
    assert server.memory() - memory < 3 * MiB
    assert witness.latencies.p99 < STALL
    return server


async def test_ten_thousand_clients_leave_nothing_behind(start: Start, record_property: Record) -> None:
    server = await comes_and_goes(start, GUESTS, 10_000, record_property)
    stats = server.stats()
    assert stats["connections_closed"] == stats["connections_accepted"]
    assert stats["handler_errors"] == 0


async def test_ten_thousand_refusals_leave_nothing_behind(start: Start, record_property: Record) -> None:
    server = await comes_and_goes(start, REFUSED, 10_000, record_property)
    assert server.stats()["connections_accepted"] == 1  # the witness


async def test_thousand_clients_reset_at_once(start: Start, name: str, record_property: Record) -> None:
    server, count = start(), 1000
    files = descriptors(server)
    async with await connect(server, f"/target/{name}/") as survivor:
        for _ in range(2):
            clients = await crowd(server, count, f"/target/{name}/?client={name}")
            assert server.stats()["connections"] == count + 1
            async with Witness(server) as witness:
                began = time.monotonic()
                release(clients, reset=True)
                await eventually(lambda: server.stats()["connections"] <= 2, "all to be gone")
                record_property("seconds", round(time.monotonic() - began, 3))
            record_property("witness", str(witness.latencies))
        left = [line for line in server.records(name) if line["what"] == "disconnect"]
        assert len(left) == 2 * count
        assert await survivor.ask({"do": "say", "value": "alone"}) == {"said": "alone"}
        assert server.stats()["sends_after_close"] == 0
    await eventually(lambda: descriptors(server) <= files, "their sockets to be closed")
