"""The gate: who is half-way in, who is in, and from where."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from antiphon.app import App
from antiphon.framereader import ProtocolViolation
from antiphon.server.gate import CROWD, PATIENCE, Gate, gate_of, network_of
from fuzz.frames import Recorder, client_frame

from ..fakes import on_jumping_loop, run, settled
from .far import configure


async def application(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not called")


def make_gate(**options: Any) -> Gate:
    """Return a gate of a server with these options of uvicorn's."""
    server = Config(application, **{"log_config": None, "ws": "none", "proxy_headers": False, **options})
    server.load()
    return Gate(server)


def scope(address: str | None = "192.0.2.1", *forwarded_for: str) -> dict[str, Any]:
    return {
        "client": None if address is None else (address, 1234),
        "headers": [(b"host", b"example.org"), *((b"x-forwarded-for", value.encode()) for value in forwarded_for)],
    }


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> App:
    return configure(monkeypatch, handshake_timeout=10, max_half_open=3, max_connections=4, connections_per_address=2)


# Requests that have not come yet


class Slow:
    """A connection whose request does not come."""

    def __init__(self) -> None:
        self.ended: tuple[float, int] | None = None

    def cut_off(self, status: int, reason: str) -> None:
        assert self.ended is None, "ended once"
        assert reason
        self.ended = asyncio.get_running_loop().time(), status


@on_jumping_loop
async def cut_off_after(seconds: list[float], made: App) -> None:
    """Let connections come at these times, and check when they go."""
    gate, loop = make_gate(), asyncio.get_running_loop()
    slow = [Slow() for _ in seconds]
    for each, when in zip(slow, seconds, strict=True):
        loop.call_at(when, gate.wait_for, each)
    await asyncio.sleep(max(seconds) + 20)
    ended = [each.ended or (0.0, 0) for each in slow]
    assert [time for time, _ in ended] == pytest.approx([when + 10 for when in seconds])
    assert {status for _, status in ended} == {408}
    assert made.counters.handshakes_timed_out == len(seconds)


@pytest.mark.parametrize("seconds", [[0.0], [0.0, 0.0], [0.0, 1.0, 9.0], [0.0, 50.0], [1.0, 11.5, 12.0, 40.0]])
def test_who_sends_no_request_is_cut_off_when_the_time_is_over(seconds: list[float], made: App) -> None:
    cut_off_after(seconds, made)


@on_jumping_loop
async def test_who_has_come_is_left_alone_and_the_timer_sleeps(made: App) -> None:
    gate, (first, second, third) = make_gate(), (Slow(), Slow(), Slow())
    gate.wait_for(first)
    gate.wait_for(second)
    await asyncio.sleep(5)
    gate.wait_for(third)
    gate.has_come(first)
    gate.has_come(first)
    await asyncio.sleep(7)
    assert (first.ended, second.ended, third.ended) == (None, (10.0, 408), None)
    gate.has_come(third)
    await asyncio.sleep(5)
    assert not asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    gate.wait_for(again := Slow())
    await asyncio.sleep(11)
    assert again.ended == (27.0, 408)


@on_jumping_loop
async def test_where_too_many_wait_the_oldest_make_room_when_they_have_had_their_time(made: App) -> None:
    gate, slow = make_gate(), [Slow() for _ in range(6)]
    for each in slow[:4]:
        gate.wait_for(each)
    gate.has_come(slow[1])
    await asyncio.sleep(0.5)
    for each in slow[4:]:
        gate.wait_for(each)
    await asyncio.sleep(PATIENCE - 0.6)
    assert [each.ended for each in slow] == [None] * 6
    await asyncio.sleep(0.2)
    assert [each.ended for each in slow] == [(PATIENCE, 503), None, (PATIENCE, 503), None, None, None]
    assert made.counters.half_open_dropped == 2
    await asyncio.sleep(11)
    assert [each.ended for each in slow[3:]] == [(10, 408), (10.5, 408), (10.5, 408)]
    assert (made.counters.half_open_dropped, made.counters.handshakes_timed_out) == (2, 3)


@on_jumping_loop
async def test_a_crowd_that_comes_at_once_is_let_in(made: App) -> None:
    gate, crowd = make_gate(), [Slow() for _ in range(3 * CROWD)]
    for each in crowd:
        gate.wait_for(each)
    await asyncio.sleep(PATIENCE - 0.1)
    for each in crowd:
        gate.has_come(each)
    await asyncio.sleep(20)
    assert [each.ended for each in crowd] == [None] * len(crowd)
    assert (made.counters.half_open_dropped, made.counters.handshakes_timed_out) == (0, 0)


on_real_loops = pytest.mark.parametrize(
    "make_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@on_real_loops
def test_where_many_more_wait_nobody_has_time(made: App, make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        gate, crowd = make_gate(), [Slow() for _ in range(3 * CROWD + 5)]
        for each in crowd:
            gate.wait_for(each)
        await settled(10)
        assert [each.ended and each.ended[1] for each in crowd] == [503] * 5 + [None] * (3 * CROWD)
        assert made.counters.half_open_dropped == 5

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


@on_real_loops
def test_what_has_arrived_is_read_before_anybody_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    made = configure(monkeypatch, handshake_timeout=0.5)

    async def main() -> None:
        gate, loop, slow = make_gate(), asyncio.get_running_loop(), [Slow() for _ in range(20)]
        pairs = [socket.socketpair() for _ in slow]

        def be_busy() -> None:
            """Handle something for so long that requests arrive, and everybody's time is over behind it."""
            loop.remove_reader(pairs[0][0])
            for _, far in pairs[1:]:
                far.send(b"GET")
            time.sleep(0.55)

        loop.add_reader(pairs[0][0], be_busy)
        for each, (here, _) in zip(slow[1:], pairs[1:], strict=True):
            loop.add_reader(here, gate.has_come, each)
        for each in slow:
            gate.wait_for(each)
        pairs[0][1].send(b"GET")
        while not slow[0].ended:
            await asyncio.sleep(0)
        assert [each.ended for each in slow[1:]] == [None] * 19
        assert made.counters.handshakes_timed_out == 1
        for here, far in pairs:
            loop.remove_reader(here)
            here.close()
            far.close()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


def test_any_number_may_wait_where_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made = configure(monkeypatch, max_half_open=0)

    @on_jumping_loop
    async def main() -> None:
        gate, slow = make_gate(), [Slow() for _ in range(2000)]
        for each in slow:
            gate.wait_for(each)
        assert made.counters.half_open_dropped == 0
        for each in slow:
            gate.has_come(each)
        await asyncio.sleep(11)
        assert [each.ended for each in slow] == [None] * 2000

    main()


@on_jumping_loop
async def test_who_leaves_because_it_is_cut_off_disturbs_nobody(made: App) -> None:
    gate = make_gate()

    class Leaving(Slow):
        def cut_off(self, status: int, reason: str) -> None:
            super().cut_off(status, reason)
            gate.has_come(self)

    slow = [Leaving() for _ in range(5)]
    for each in slow:
        gate.wait_for(each)
    await asyncio.sleep(11)
    assert [each.ended for each in slow] == [(PATIENCE, 503)] * 2 + [(10, 408)] * 3


# Who is in


@on_jumping_loop
async def test_so_many_may_be_in(made: App) -> None:
    gate = make_gate()
    networks = []
    for number in range(4):
        network, refusal = gate.admit(scope(f"192.0.2.{number}"))
        assert refusal is None
        networks.append(network)
    network, refusal = gate.admit(scope("192.0.2.99"))
    assert network is None
    assert refusal is not None
    assert (refusal.status, made.counters.connections_over_limit) == (503, 1)
    gate.leave(networks[0])
    assert gate.admit(scope("192.0.2.99"))[1] is None
    assert gate.admit(scope(None))[1] is not None, "a Unix socket is no way round"


@on_jumping_loop
async def test_so_many_may_be_in_from_one_address(made: App) -> None:
    gate = make_gate()
    first, _ = gate.admit(scope())
    assert gate.admit(scope())[1] is None
    _, refusal = gate.admit(scope())
    assert refusal is not None
    assert (refusal.status, made.counters.addresses_over_limit, made.counters.connections_over_limit) == (429, 1, 0)
    assert gate.admit(scope("192.0.2.2"))[1] is None
    gate.leave(first)
    assert gate.admit(scope())[1] is None


def test_there_may_be_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    made = configure(monkeypatch, max_connections=0, connections_per_address=0)

    @on_jumping_loop
    async def main() -> None:
        gate = make_gate()
        assert all(gate.admit(scope())[1] is None for _ in range(3000))

    main()
    assert made.counters.connections_over_limit == made.counters.addresses_over_limit == 0


ADDRESSES = ["192.0.2.1", "192.0.2.2", "127.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "", None]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=40))
def test_no_limit_is_passed_and_every_count_returns_to_0(steps: list[tuple[bool, int]]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = configure(monkeypatch, max_connections=4, connections_per_address=2)

        async def main() -> None:
            gate = make_gate()
            inside: list[str | None] = []
            for comes, number in steps:
                if comes:
                    network, refusal = gate.admit(scope(ADDRESSES[number]))
                    full = len(inside) == 4
                    mine = network_of(ADDRESSES[number] or "")
                    crowded = mine is not None and inside.count(mine) == 2
                    assert (refusal and refusal.status) == (503 if full else 429 if crowded else None)
                    if refusal is None:
                        inside.append(network)
                elif inside:
                    gate.leave(inside.pop(number % len(inside)))
            for network in inside:
                gate.leave(network)
            assert (gate._open, dict(gate._by_network)) == (0, {})

        run(main())
        refused = made.counters.connections_over_limit + made.counters.addresses_over_limit
        assert refused <= len(steps)


# From where


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", None),
        ("127.255.255.254", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("2001:0DB8:0000:0000:0001::", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::1%25", "fe80::/64"),
        ("::ffff:0:192.0.2.1", "::/64"),
        ("", None),
        ("/run/antiphon.sock", None),
        ("example.org", None),
        ("192.0.2.1:80", None),
        ("192.0.2.256", None),
        ("testclient", None),
    ],
)
def test_connections_are_counted_by_ipv4_address_or_ipv6_network(address: str, network: str | None) -> None:
    assert network_of(address) == network


@given(st.text(max_size=60))
def test_any_address_has_a_network_or_none(address: str) -> None:
    network = network_of(address)
    assert network is None or network


@pytest.mark.parametrize(
    ("address", "told", "network"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7", "10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7,10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7:5678"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::1]:5678"], "2001:db8::/64"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::/64"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("127.0.0.1", ["198.51.100.7"], None),
        (None, ["198.51.100.7"], None),
    ],
)
def test_a_trusted_proxy_tells_the_address(
    address: str | None, told: list[str], network: str | None, made: App
) -> None:
    @on_jumping_loop
    async def main() -> None:
        gate = make_gate(proxy_headers=True, forwarded_allow_ips="10.0.0.1,10.0.0.2")
        assert gate.admit(scope(address, *told)) == (network, None)

    main()


@pytest.mark.parametrize(
    ("address", "told", "network"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "198.51.100.7"),
        ("192.0.2.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("192.0.2.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        (None, ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        (None, [], None),
    ],
)
def test_where_all_are_trusted_the_last_proxy_tells(
    address: str | None, told: list[str], network: str | None, made: App
) -> None:
    @on_jumping_loop
    async def main() -> None:
        gate = make_gate(proxy_headers=True, forwarded_allow_ips="*")
        assert gate.admit(scope(address, *told)) == (network, None)

    main()


def test_nobody_is_trusted_without_proxy_headers(made: App) -> None:
    class Application:
        trusted_hosts = ["192.0.2.1"]

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    @on_jumping_loop
    async def main() -> None:
        server = Config(Application(), log_config=None, ws="none", proxy_headers=False)
        server.load()
        assert Gate(server).admit(scope("192.0.2.1", "198.51.100.7")) == ("192.0.2.1", None)

    main()


# What all connections share


def test_readers_have_the_limits_of_the_configuration_and_one_account(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, max_fragments=2, unfinished_limit=100)

    @on_jumping_loop
    async def main() -> None:
        gate = make_gate()
        first, second, third = (gate.reader(one, one, 60, None) for one in (Recorder(), Recorder(), Recorder()))
        first.feed(client_frame(0x02, b"x" * 60))
        second.feed(client_frame(0x02, b"x" * 40))
        with pytest.raises(ProtocolViolation, match="unfinished"):
            third.feed(client_frame(0x02, b"x"))
        with pytest.raises(ProtocolViolation, match="60 bytes"):
            first.feed(client_frame(0x00, b"x"))
        with pytest.raises(ProtocolViolation, match="2 fragments"):
            second.feed(client_frame(0x00) * 2)
        fourth = gate.reader(last := Recorder(), last, 60, None)
        fourth.feed(client_frame(0x02, b"x" * 60) + client_frame(0x80))
        assert last.events == [("binary", b"x" * 60)]

    main()


@pytest.mark.parametrize(("interval", "pings"), [(None, False), (0, False), (0.0, False), (20.0, True)])
def test_there_are_pings_where_the_server_has_an_interval(interval: float | None, pings: bool, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        gate = make_gate(ws_ping_interval=interval)
        assert (gate.keepalive is not None) is pings
        assert gate.keepalive is gate.keepalive

    main()


@on_jumping_loop
async def test_each_server_has_one_gate_as_long_as_it_lives() -> None:
    server = Config(application, log_config=None, ws="none")
    server.load()
    state, other = ServerState(), ServerState()
    gate = gate_of(state, server)
    assert gate_of(state, server) is gate
    assert gate_of(other, server) is not gate
    alive = weakref.ref(gate)
    del gate, state
    gc.collect()
    assert alive() is None
