"""Stopping in good order: clients are told over some time, nothing that was received or published before is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .clients import CLOSE, TEXT, Client, Wire, connect, eventually, exchange, upgrade_request
from .servers import DIRECT, Kind, Server, Servers, until

APPLICATION = "tests.integration.apps.stopping:app"
SERVE = DIRECT[0]
COME_BACK = (1012, "the server restarts, come back")
TOLD = re.compile(r"stopping; clients to tell to come back: (\d+), over (\S+) s")


def start(servers: Servers, *options: str, kind: Kind = SERVE, **settings: float) -> Server:
    """Start a server of its own, with antiphon's options."""
    env = {f"ANTIPHON_{name.upper()}": str(value) for name, value in settings.items()}
    return servers.start(kind, APPLICATION, "--no-access-log", *options, env=env)


def happened(server: Server, client: str) -> list[str]:
    """Return what the application has recorded about ``client``."""
    return [line["what"] for line in server.records(client)]


class Heard(NamedTuple):
    """What a client has heard up to its end."""

    at: float
    numbers: list[int]
    end: tuple[int, str]


async def hear(wire: Wire, seen: list[int]) -> Heard:
    """Read up to the close frame; ``seen`` gets the numbers, too, as soon as they come."""
    numbers: list[int] = []
    while True:
        opcode, payload = await wire.receive_frame()
        if opcode == CLOSE:
            heard = Heard(time.monotonic(), numbers, (int.from_bytes(payload[:2], "big"), payload[2:].decode()))
            wire.close()
            return heard
        if opcode == TEXT:  # or a ping
            numbers.append(json.loads(payload)["number"])
            seen.append(numbers[-1])


@pytest.mark.parametrize(("kind", "count"), [(DIRECT[0], 1000), (DIRECT[1], 300), (DIRECT[2], 300)], ids=str)
async def test_a_crowd_is_told_over_the_drain_time_and_misses_nothing(
    servers: Servers, kind: Kind, count: int, name: str
) -> None:
    drain_time = 1.0
    timeout = 8
    server = start(servers, "--timeout-graceful-shutdown", str(timeout), kind=kind, drain_time=drain_time)
    wires = [await Wire.open(server, f"/room/{name}/?client={name}") for _ in range(count)]
    await wires[0].send_frame(0x1, b'{"do": "count"}')
    seen: list[int] = []
    hearing = [asyncio.create_task(hear(wire, seen)) for wire in wires]
    await eventually(lambda: len(seen) >= 3 * count, "everybody to hear the numbers")
    before = max(seen)
    told = time.monotonic()
    server.signal(signal.SIGTERM)
    crowd = await asyncio.gather(*hearing)
    code = await asyncio.to_thread(server.exit_code)
    assert time.monotonic() - told < timeout
    assert code == (0 if kind is SERVE else -signal.SIGTERM)  # uvicorn raises the signal again when it is done
    assert {heard.end for heard in crowd} == {COME_BACK}
    for heard in crowd:
        assert heard.numbers == list(range(heard.numbers[0], heard.numbers[-1] + 1))
        assert heard.numbers[-1] >= before
    assert [line["code"] for line in server.records(name) if line["what"] == "disconnect"] == [1012] * count
    assert server.records("process")[0]["drained"] == count
    # A machine under load makes it later, never earlier.
    moments = sorted(heard.at - told for heard in crowd)
    assert moments[count // 2] > drain_time / 4
    assert moments[-1] > drain_time * 3 / 4
    assert sum(moment < drain_time / 10 for moment in moments) < count / 4
    assert [heard.at for heard in crowd] != sorted(heard.at for heard in crowd), "in random order"
    assert "Traceback" not in server.log()


async def test_the_log_has_a_line_at_the_start_and_one_at_the_end(servers: Servers, name: str) -> None:
    server = start(servers, drain_time=0.05)
    clients = [await connect(server, f"/room/{name}/") for _ in range(20)]
    server.signal(signal.SIGTERM)
    for client in clients:
        assert await client.closed() == COME_BACK
    assert server.exit_code() == 0
    told, done = (line for line in server.log().splitlines() if "stopping;" in line)
    assert "clients to tell to come back: 20, over 0.05 s" in told
    assert "clients told to come back: 20, in 0." in done


@pytest.mark.parametrize(
    ("settings", "count", "over"),
    [
        ({}, 1, 0.005),
        ({}, 10, 0.05),
        ({"drain_time": 0}, 10, 0.0),
        ({"drain_time": 0.02}, 10, 0.02),
        ({"drain_time": 30, "shutdown_timeout": 0.06}, 10, 0.03),
    ],
    ids=str,
)
async def test_how_long_it_takes(
    servers: Servers, name: str, settings: Mapping[str, Any], count: int, over: float
) -> None:
    server = start(servers, **settings)
    clients = [await connect(server, f"/room/{name}/") for _ in range(count)]
    server.signal(signal.SIGTERM)
    for client in clients:
        assert await client.closed() == COME_BACK
    assert server.exit_code() == 0
    (told,) = TOLD.findall(server.log())
    assert (int(told[0]), float(told[1])) == (count, over)


@pytest.mark.parametrize("kind", DIRECT, ids=lambda kind: kind.name)
async def test_who_is_not_accepted_yet_is_refused(servers: Servers, kind: Kind, name: str) -> None:
    server = start(servers, kind=kind)
    async with await Wire.dial(server) as wire, await connect(server, f"/room/{name}/") as client:
        await wire.write(upgrade_request(f"/undecided/{name}/"))
        await eventually(lambda: server.stats()["connections"] == 2, "connect() to run")
        server.signal(signal.SIGTERM)
        await wire.read_head()
        assert wire.status == 503
        assert await client.closed() == COME_BACK
    server.exit_code()
    assert "Traceback" not in server.log()


async def test_who_is_on_the_way_in_is_refused(servers: Servers, name: str, tmp_path: Path) -> None:
    """A connection that was accepted from the socket just before, and whose request comes while the server stops."""
    server = start(servers)
    busy = await connect(server, f"/room/{name}/?client={name}")
    await busy.send_json({"do": "await_file", "file": str(tmp_path / "go")})
    await eventually(lambda: "waiting" in happened(server, name), "the handler to wait")
    async with await Wire.dial(server) as late:
        server.signal(signal.SIGTERM)
        assert await late.read_to_end() == b""
    with pytest.raises((ConnectionError, AssertionError)):
        await exchange(server, upgrade_request(f"/room/{name}/"))
    (tmp_path / "go").touch()
    assert await busy.receive_json() == {"found": str(tmp_path / "go")}
    assert await busy.closed() == COME_BACK
    assert server.exit_code() == 0


async def test_a_handler_gets_its_answer_out(servers: Servers, name: str, tmp_path: Path) -> None:
    server = start(servers, shutdown_timeout=30)
    client, idle = [await connect(server, f"/room/{name}/?client={name}") for _ in range(2)]
    gate = tmp_path / "gate"
    await client.send_json({"do": "await_file", "file": str(gate)})
    await client.send_json({"do": "echo", "value": "behind it"})
    await eventually(lambda: "waiting" in happened(server, name), "the handler to wait")
    server.signal(signal.SIGTERM)
    assert await idle.closed() == COME_BACK
    gate.touch()
    assert await client.receive_json() == {"found": str(gate)}
    assert await client.receive_json() == {"echo": "behind it"}
    assert await client.closed() == COME_BACK
    assert server.exit_code() == 0


async def test_what_waits_for_a_slow_client_is_written(servers: Servers, name: str) -> None:
    server = start(servers)
    count, size = 600, 1000
    async with await Wire.open(server, f"/room/{name}/?client={name}", receive_buffer=8192) as slow:
        publisher = await connect(server, f"/room/{name}-elsewhere/")
        command = {"do": "flood", "group": name, "from": 0, "count": count, "size": size, "burst": 10}
        assert await publisher.ask(command) == {"flooded": count}
        server.signal(signal.SIGTERM)
        assert await publisher.closed() == COME_BACK
        await eventually(lambda: "disconnect" in happened(server, name), "its consumer to be done")
        for number in range(count):
            opcode, payload = await slow.receive_frame()
            assert opcode == 0x1
            assert json.loads(payload)["number"] == number
        assert await slow.closed() == COME_BACK
    assert server.exit_code() == 0


async def test_a_handler_that_does_not_end_is_cut_off_and_takes_leave(servers: Servers, name: str) -> None:
    server = start(servers, shutdown_timeout=1)
    client = await connect(server, f"/room/{name}/?client={name}")
    await client.send_json({"do": "sleep"})
    await eventually(lambda: "asleep" in happened(server, name), "the handler to sleep")
    server.signal(signal.SIGTERM)
    assert await client.closed() == COME_BACK
    assert server.exit_code() == 0
    assert happened(server, name) == ["connect", "asleep", "cancelled", "disconnect"]
    assert "cancelled because they still ran after 0.9 s (shutdown_timeout: 1 s): 1" in server.log()
    assert happened(server, "process") == ["over"], "the lifespan ended"


@pytest.mark.parametrize(("what", "code"), [("ignore", 0), ("thread", 0), ("block", 1)])
async def test_the_process_is_left_whatever_does_not_end(servers: Servers, name: str, what: str, code: int) -> None:
    server = start(servers, "--timeout-graceful-shutdown", "0.5", shutdown_timeout=60)
    client = await connect(server, f"/room/{name}/?client={name}")
    await client.send_json({"do": what})
    await eventually(lambda: "asleep" in happened(server, name), "the handler to run")
    server.signal(signal.SIGTERM)
    assert server.exit_code() == code
    words = (
        "the event loop is blocked: not stopped within 0.5 s"
        if what == "block"
        else "stopped, and left what did not end"
    )
    assert words in server.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("what", ["sleep", "thread", "ignore"])
async def test_a_second_signal_does_not_wait(servers: Servers, name: str, what: str, number: signal.Signals) -> None:
    server = start(servers, shutdown_timeout=3600)
    client = await connect(server, f"/room/{name}/?client={name}")
    await client.send_json({"do": what})
    await eventually(lambda: "asleep" in happened(server, name), "the handler to run")
    server.signal(signal.SIGTERM)
    await eventually(lambda: "stopping;" in server.log(), "the server to stop")
    server.signal(number)
    assert server.exit_code() == 128 + number
    assert f"{number.name} again: stopping at once" in server.log()


async def test_a_second_signal_does_not_wait_for_a_blocked_loop(servers: Servers, name: str) -> None:
    server = start(servers, shutdown_timeout=3600)
    client = await connect(server, f"/room/{name}/?client={name}")
    await client.send_json({"do": "block"})
    await eventually(lambda: "asleep" in happened(server, name), "the handler to run")
    threads = Path(f"/proc/{server.process.pid}/task")
    before = len(list(threads.iterdir()))
    server.signal(signal.SIGTERM)
    await eventually(lambda: len(list(threads.iterdir())) > before, "the thread that watches the time")
    server.signal(signal.SIGINT)
    assert server.exit_code() == 128 + signal.SIGINT
    assert "SIGINT again: stopping at once" in server.log()


async def test_a_second_signal_when_all_is_done_but_a_thread(servers: Servers, name: str) -> None:
    server = start(servers, shutdown_timeout=3600)
    client = await connect(server, f"/room/{name}/?client={name}")
    await client.send_json({"do": "leave_thread"})
    assert await client.receive_json() == {"left": True}
    server.signal(signal.SIGTERM)
    await eventually(lambda: "Finished server process" in server.log(), "the server to stop")
    server.signal(signal.SIGTERM)
    assert server.exit_code() == 128 + signal.SIGTERM


# Several workers


async def crew(server: Server, name: str) -> dict[int, list[Client]]:
    """Connect until each of two workers has two clients; return the clients by process."""
    clients: dict[int, list[Client]] = {}
    for place in itertools.count():
        client = await connect(server, f"/room/{name}/?client={name}{place}")
        clients.setdefault((await client.ask({"do": "pid"}))["pid"], []).append(client)
        if len(clients) == 2 and min(len(each) for each in clients.values()) >= 2:
            return clients
        assert place < 1000, f"only {list(clients)} accept"
    raise AssertionError


def start_two(servers: Servers, **settings: Any) -> Server:
    """Start two workers."""
    server = start(servers, "--workers", "2", "--engine", "memory://", **settings)
    until(lambda: server.log().count("Application startup complete") == 2, "both workers to serve")
    return server


def is_running(pid: int) -> bool:
    """Tell whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pid: int) -> None:
    """Wait for the end of a process."""
    await eventually(lambda: not is_running(pid), f"the process {pid} to end")


@pytest.mark.parametrize("by_terminal", [False, True], ids=["SIGTERM", "Ctrl-C"])
async def test_workers_stop_one_after_another(servers: Servers, name: str, tmp_path: Path, by_terminal: bool) -> None:
    server = start_two(servers, shutdown_timeout=60)
    clients = await crew(server, name)
    for pid, (busy, *_) in clients.items():
        await busy.send_json({"do": "await_file", "file": str(tmp_path / str(pid))})
    if by_terminal:
        os.killpg(server.process.pid, signal.SIGINT)
    else:
        server.signal(signal.SIGTERM)
    told = await eventually(
        lambda: [pid for pid, (_, idle, *_) in clients.items() if idle.websocket.close_code], "the first to be told"
    )
    (first,) = told
    (second,) = clients.keys() - {first}
    for idle in clients[first][1:]:
        assert await idle.closed() == COME_BACK
    # The first waits for its handler. Meanwhile the other serves, also who comes now.
    for _ in range(20):
        comes = await connect(server, f"/room/{name}/")
        assert await comes.ask({"do": "pid"}) == {"pid": second}
        clients[second].append(comes)
    for idle in clients[second][1:]:
        assert await idle.ask({"do": "echo", "value": 1}) == {"echo": 1}
    (tmp_path / str(first)).touch()
    assert await clients[first][0].receive_json() == {"found": str(tmp_path / str(first))}
    assert await clients[first][0].closed() == COME_BACK
    for idle in clients[second][1:]:
        assert await idle.closed() == COME_BACK
    assert not is_running(first)
    (tmp_path / str(second)).touch()
    assert await clients[second][0].receive_json() == {"found": str(tmp_path / str(second))}
    assert await clients[second][0].closed() == COME_BACK
    assert server.exit_code() == 0
    assert [line["pid"] for line in server.records("process")] == [first, second]
    assert "Traceback" not in server.log()


async def test_a_second_signal_ends_all_workers(servers: Servers, name: str) -> None:
    server = start_two(servers, shutdown_timeout=3600)
    clients = await crew(server, name)
    for busy, *_ in clients.values():
        await busy.send_json({"do": "block"})
    server.signal(signal.SIGTERM)
    await eventually(lambda: "Stopping 2 workers" in server.log(), "the parent to stop")
    server.signal(signal.SIGINT)
    assert server.exit_code() == 128 + signal.SIGINT
    for pid in clients:
        await gone(pid)
    assert "SIGINT again: stopping at once" in server.log()


async def test_a_hangup_replaces_the_workers(servers: Servers, name: str) -> None:
    server = start_two(servers)
    clients = await crew(server, name)
    server.signal(signal.SIGHUP)
    for each in clients.values():
        for client in each:
            assert await client.closed() == COME_BACK
    await eventually(lambda: server.log().count("serves in place of") == 2, "both to be replaced")
    after = await crew(server, name)
    assert not after.keys() & clients.keys()
    server.signal(signal.SIGTERM)
    for each in after.values():
        for client in each:
            assert await client.closed() == COME_BACK
    assert server.exit_code() == 0
    assert "Traceback" not in server.log()


async def test_a_worker_that_dies_is_replaced_and_one_without_parent_stops(servers: Servers, name: str) -> None:
    server = start_two(servers)
    before = await crew(server, name)
    killed, stays = before
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: server.log().count("Application startup complete") == 3, "another to serve")
    after = await crew(server, name)
    assert stays in after
    assert killed not in after
    server.signal(signal.SIGKILL)
    for client in (*before[stays], *(client for each in after.values() for client in each)):
        assert await client.closed() == COME_BACK
    for pid in after:
        await gone(pid)


def test_workers_that_cannot_start_are_not_started_again(servers: Servers) -> None:
    command = SERVE._replace(arguments=("serve", "--port", "0", "--workers", "2", "--engine", "memory://"))
    server = servers.spawn(command, "tests.integration.apps.stopping:nothing")
    assert server.exit_code() == 3
    assert "could not start" in server.log()
    assert "Traceback" not in server.log()


# Starting again when a file changes


async def test_a_second_signal_ends_the_reloader(servers: Servers, name: str) -> None:
    server = start(servers, "--reload", "--app-dir", ".", shutdown_timeout=3600)
    until(lambda: "Application startup complete" in server.log(), "the application")
    client = await connect(server, f"/room/{name}/?client={name}")
    pid = (await client.ask({"do": "pid"}))["pid"]
    await client.send_json({"do": "block"})
    await eventually(lambda: "asleep" in happened(server, name), "the handler to run")
    os.killpg(server.process.pid, signal.SIGINT)
    server.signal(signal.SIGTERM)
    assert server.exit_code() in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    await gone(pid)


async def test_ctrl_c_ends_the_reloader_in_good_order(servers: Servers, name: str) -> None:
    server = start(servers, "--reload")
    until(lambda: "Application startup complete" in server.log(), "the application")
    client = await connect(server, f"/room/{name}/?client={name}")
    os.killpg(server.process.pid, signal.SIGINT)
    assert await client.closed() == COME_BACK
    assert server.exit_code() == 0
    assert happened(server, name) == ["connect", "disconnect"]
    assert "Traceback" not in server.log()
