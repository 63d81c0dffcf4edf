"""The link between the socket and whoever takes the messages: one close frame, one end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.frames import Close

from antiphon.app import App
from antiphon.deflate import Inflater
from antiphon.formats import FRAMES
from antiphon.framereader import FRAMES_PER_TURN
from antiphon.server.link import LINGER, Link, Stage

from ..fakes import on_jumping_loop, parse_frames, settled
from ..test_framereader import deflated
from .far import OP_BINARY, OP_CLOSE, OP_CONT, OP_PING, OP_PONG, OP_TEXT, close_frame, configure, masked
from .test_gate import make_gate


class Owner:
    """The protocol class, as the link sees it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.link: Link
        self.drains = True

    def __str__(self) -> str:
        return "the test's client"

    def receive_text(self, payload: bytes) -> None:
        self.calls.append(("text", payload))

    def receive_binary(self, payload: bytes) -> None:
        self.calls.append(("binary", payload))

    def lost(self, code: int, reason: str = "") -> None:
        self.calls.append(("lost", code, reason))

    def drain(self, code: int, reason: str | None = None) -> None:
        self.calls.append(("drain", code))
        if self.drains:
            self.link.close(code, (reason or "").encode())

    def link_ended(self) -> None:
        self.calls.append(("ended",))

    def hold_sending(self) -> None:
        self.calls.append(("hold",))

    def resume_sending(self) -> None:
        self.calls.append(("resume",))


class Direct:
    """A consumer's transport that claims the messages; it and its connection in one."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.connection = self

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


class Socket:
    """A transport of the loop."""

    def __init__(self, *, tls: bool = False) -> None:
        self.wire = b""
        self.calls: list[str] = []
        self.reads = True
        self.tls = tls
        self.protocol: Any = None
        self.unwritten = 0
        self.high: int | None = None

    def write(self, data: bytes) -> None:
        assert "write_eof" not in self.calls, "nothing is written behind the end"
        self.wire += data

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def get_extra_info(self, name: str) -> Any:
        return {
            "sslcontext": object() if self.tls else None,
            "socket": SimpleNamespace(fileno=lambda: 7),
        }.get(name)

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def can_write_eof(self) -> bool:
        return not self.tls

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def __getattr__(self, name: str) -> Any:
        return lambda: self.calls.append(name)

    @property
    def frames(self) -> list[Any]:
        return parse_frames(self.wire)

    @property
    def close(self) -> Callable[[], None]:
        return lambda: self.calls.append("close")

    @property
    def closings(self) -> list[Close]:
        """The close frames that were written."""
        return [Close.parse(frame.data) for frame in self.frames if frame.opcode is OP_CLOSE]


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> App:
    return configure(monkeypatch, control_rate=10, rate_burst=2)


def make_link(
    *,
    direct: Direct | None = None,
    max_message_size: int = 1000,
    deflates: bool = False,
    opened: bool = True,
    **sock: Any,
) -> tuple[Link, Owner, Socket]:
    owner, socket = Owner(), Socket(**sock)
    link = owner.link = Link(
        owner,
        make_gate(),
        contextvars.copy_context(),
        format=FRAMES,
        inflater=Inflater(12) if deflates else None,
        max_message_size=max_message_size,
        close_timeout=10.0,
    )
    if direct is not None:
        link.claim(cast(Any, direct), max_message_size=500, close_timeout=3.0)
    if opened:
        link.open(cast(Any, socket), b"")
    return link, owner, socket


# Messages


@on_jumping_loop
async def test_messages_go_to_the_owner_or_to_the_consumer_that_claimed_them() -> None:
    link, owner, sock = make_link()
    assert (sock.protocol, sock.reads) == (link, True)
    link.data_received(masked(OP_TEXT, "a") + masked(OP_BINARY, b"b") + masked(OP_TEXT, "c", fin=False))
    link.data_received(masked(OP_CONT, "d"))
    assert owner.calls == [("text", b"a"), ("binary", b"b"), ("text", b"cd")]
    direct = Direct()
    link, owner, _ = make_link(direct=direct)
    link.data_received(masked(OP_TEXT, "a") + masked(OP_BINARY, b"b"))
    assert (direct.calls, owner.calls) == ([("receive_text", b"a"), ("receive_binary", b"b")], [])


@on_jumping_loop
async def test_compressed_messages_are_read_where_that_was_negotiated() -> None:
    frame = masked(OP_TEXT, deflated(b"hello " * 20), rsv1=True)
    link, owner, _ = make_link(deflates=True)
    link.data_received(frame)
    assert owner.calls == [("text", b"hello " * 20)]
    link, owner, sock = make_link()
    link.data_received(frame)
    assert (owner.calls[0], sock.closings[0].code) == (("drain", 1002), 1002)


@on_jumping_loop
async def test_a_consumer_brings_its_own_limits() -> None:
    for servers in (100, 1000):
        direct = Direct()
        link, _, sock = make_link(direct=direct, max_message_size=servers)
        link.data_received(masked(OP_BINARY, b"x" * 500))
        link.data_received(masked(OP_BINARY, b"x" * 501))
        assert [call[:2] for call in direct.calls] == [("receive_binary", b"x" * 500), ("drain", 1009)]
        await asyncio.sleep(2.9)
        assert sock.frames == []
        await asyncio.sleep(0.2)
        assert [frame.opcode for frame in sock.frames] == [OP_CLOSE], "its close_timeout is over"


@on_jumping_loop
async def test_nothing_is_written_before_it_is_open() -> None:
    link, owner, _ = make_link(opened=False)
    link.write(b"early")
    link.close(1000, b"")
    link.abort()
    link.pause_reading()
    link.resume_reading()
    assert owner.calls == []


@on_jumping_loop
async def test_a_socket_that_was_paused_before_it_was_open_is_read() -> None:
    link, _, sock = make_link(opened=False)
    sock.reads = False
    link.open(cast(Any, sock), b"")
    assert sock.reads


@on_jumping_loop
async def test_what_came_before_it_was_open_is_read_first() -> None:
    link, owner, sock = make_link(opened=False)
    link.open(cast(Any, sock), masked(OP_TEXT, "early") + masked(OP_TEXT, "cut")[:4])
    assert (owner.calls, sock.reads) == ([], False), "who opened it has not gone on yet"
    await settled()
    assert (owner.calls, sock.reads) == ([("text", b"early")], True)
    link.data_received(masked(OP_TEXT, "cut")[:0])
    link.abort()


@pytest.mark.parametrize(
    "early",
    [close_frame(1000), masked(OP_PING, b"a"), masked(OP_TEXT, "a"), b"\x83\x80"],
    ids=["close", "ping", "text", "fault"],
)
def test_what_came_before_it_was_open_is_dropped_where_the_client_has_gone_since(early: bytes) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link(opened=False)
        link.open(cast(Any, sock), early)
        link.connection_lost(BrokenPipeError())
        await settled()
        assert owner.calls == [("lost", 1006, ""), ("ended",)]
        assert sock.wire == b""

    main()


# Pausing, and turns


@on_jumping_loop
async def test_reading_pauses_and_goes_on() -> None:
    link, owner, sock = make_link()
    link.data_received(masked(OP_TEXT, "a"))
    link.pause_reading()
    assert not sock.reads
    link.data_received(masked(OP_TEXT, "b") + masked(OP_TEXT, "c"))
    assert owner.calls == [("text", b"a")]
    link.resume_reading()
    assert (owner.calls, sock.reads) == ([("text", b"a"), ("text", b"b"), ("text", b"c")], True)


@on_jumping_loop
async def test_reading_that_pauses_with_each_message_goes_on_with_each() -> None:
    link, owner, sock = make_link()
    take = owner.receive_text

    def take_one(payload: bytes) -> None:
        take(payload)
        link.pause_reading()

    owner.receive_text = take_one  # type: ignore[method-assign]
    link.data_received(b"".join(masked(OP_TEXT, str(number)) for number in range(5)))
    for number in range(5):
        assert owner.calls == [("text", b"%d" % each) for each in range(number + 1)]
        assert not sock.reads
        link.resume_reading()
    assert sock.reads


@on_jumping_loop
async def test_a_client_that_sends_much_at_once_has_one_turn_after_the_other() -> None:
    link, owner, sock = make_link()
    link.data_received(masked(OP_TEXT, "x") * (3 * FRAMES_PER_TURN + 1))
    counts = []
    for _ in range(3):
        counts.append(len(owner.calls))
        assert not sock.reads, "more is not taken from the socket before this is read"
        await asyncio.sleep(0)
    await settled()
    assert counts == [FRAMES_PER_TURN, 2 * FRAMES_PER_TURN, 3 * FRAMES_PER_TURN]
    assert (len(owner.calls), sock.reads) == (3 * FRAMES_PER_TURN + 1, True)


@pytest.mark.parametrize("first", ["pause", "rest"])
def test_a_client_that_is_paused_between_its_turns_goes_on_when_it_is_resumed(first: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        link.data_received(masked(OP_TEXT, "x") * (2 * FRAMES_PER_TURN))
        link.pause_reading()
        if first == "rest":
            await settled()
        assert (len(owner.calls), sock.reads) == (FRAMES_PER_TURN, False)
        link.resume_reading()
        await settled()
        assert (len(owner.calls), sock.reads) == (2 * FRAMES_PER_TURN, True)

    main()


@on_jumping_loop
async def test_a_client_that_goes_between_its_turns_is_read_no_further() -> None:
    link, owner, _ = make_link()
    link.data_received(masked(OP_TEXT, "x") * (2 * FRAMES_PER_TURN))
    link.connection_lost(None)
    await settled()
    assert len(owner.calls) == FRAMES_PER_TURN + 2
    assert owner.calls[-2:] == [("lost", 1006, ""), ("ended",)]


@on_jumping_loop
async def test_a_link_that_closes_between_a_clients_turns_hears_the_close_frame_behind_them() -> None:
    link, owner, sock = make_link()
    link.data_received(masked(OP_TEXT, "x") * (2 * FRAMES_PER_TURN) + close_frame(4000))
    link.close(4000, b"")
    await settled()
    assert len(owner.calls) == FRAMES_PER_TURN
    assert "close" in sock.calls


# Our close frame


@pytest.mark.parametrize("has_sent", [False, True], ids=["silent before", "has sent before"])
def test_a_close_frame_is_written_once_and_nothing_after_it(has_sent: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        if has_sent:
            link.data_received(masked(OP_TEXT, "before"))
        before = list(owner.calls)
        link.close(4000, b"enough")
        link.close(4001, b"again")
        link.write(b"late")
        link.ping()
        link.data_received(masked(OP_TEXT, "late") + masked(OP_PING, b"late") + masked(OP_TEXT, "la", fin=False))
        link.data_received(masked(OP_CONT, "te") + masked(OP_BINARY, b"late"))
        assert sock.closings == [Close(4000, "enough")]
        assert len(sock.frames) == 1
        assert owner.calls == before, "what comes behind our close frame reaches nobody"
        assert link.is_closing
        link.data_received(close_frame(4000))
        assert "close" in sock.calls
        link.connection_lost(None)
        assert owner.calls == [*before, ("lost", 4000, ""), ("ended",)]

    main()


@on_jumping_loop
async def test_a_client_that_does_not_answer_the_close_frame_is_cut_off() -> None:
    link, _, sock = make_link()
    link.close(1000, b"")
    await asyncio.sleep(9.9)
    link.data_received(masked(OP_TEXT, "still here"))
    assert "abort" not in sock.calls
    await asyncio.sleep(0.2)
    assert "abort" in sock.calls


@on_jumping_loop
async def test_the_timer_ends_with_the_socket() -> None:
    link, _, sock = make_link()
    link.close(1000, b"")
    link.connection_lost(None)
    timers: Any = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert all(timer.cancelled() for timer in timers), "a link that is over is not kept"
    await asyncio.sleep(100)
    assert "abort" not in sock.calls


@pytest.mark.parametrize("held", [True, False], ids=["held", "to come"])
def test_a_paused_client_is_read_again_to_hear_its_close_frame(held: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        link.data_received(masked(OP_TEXT, "a"))
        link.pause_reading()
        if held:
            link.data_received(masked(OP_TEXT, "held") + close_frame(4000))
        link.close(4000, b"")
        if not held:
            assert sock.reads
            link.pause_reading()
            assert sock.reads, "nobody has a reason to pause any more"
            link.data_received(masked(OP_TEXT, "late") + close_frame(4000))
        assert owner.calls == [("text", b"a")]
        assert sock.calls == ["close"]

    main()


# The client's close frame


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (b"\x03\xe8", 1000, ""), (b"\x0f\xa1bye \xe2\x82\xac", 4001, "bye €")],
)
@pytest.mark.parametrize("direct", [False, True], ids=["owner", "consumer"])
def test_the_clients_close_frame_is_answered_and_told_once(
    direct: bool, payload: bytes, code: int, reason: str
) -> None:
    @on_jumping_loop
    async def main() -> None:
        consumer = Direct() if direct else None
        link, owner, sock = make_link(direct=consumer)
        link.data_received(masked(OP_CLOSE, payload) + masked(OP_TEXT, "late"))
        (frame,) = sock.frames
        assert bytes(frame.data) == payload
        assert sock.calls == ["close"]
        link.write(b"late")
        link.close(1000, b"late")
        link.data_received(masked(OP_PING, b"late") + close_frame(1000))
        link.connection_lost(None)
        told = [("lost", code, reason)]
        assert (consumer.calls if consumer else owner.calls[:-1]) == told
        assert owner.calls[-1] == ("ended",)
        assert len(sock.frames) == 1

    main()


@on_jumping_loop
async def test_a_close_frame_is_answered_although_who_is_told_closes_by_itself() -> None:
    link, owner, sock = make_link()
    owner.lost = lambda code, reason="": link.close(1000, b"too late")  # type: ignore[method-assign]
    link.data_received(close_frame(4001, "bye"))
    assert sock.closings == [Close(4001, "bye")]
    assert "close" in sock.calls


@on_jumping_loop
async def test_a_client_that_does_not_take_the_answer_is_cut_off() -> None:
    link, _, sock = make_link()
    sock.unwritten = 100
    link.data_received(close_frame(1000))
    assert sock.calls == ["close"]
    await asyncio.sleep(10.1)
    assert sock.calls == ["close", "abort"]
    link, _, sock = make_link()
    link.data_received(close_frame(1000))
    await asyncio.sleep(60)
    assert sock.calls == ["close"], "with nothing to write, closing is at once"


# A broken protocol

FAULTS = [
    (masked(OP_TEXT, b"\xff"), 1007, "protocol_errors"),
    (masked(OP_TEXT, b"a", rsv1=True), 1002, "protocol_errors"),
    (b"\x81\x01a", 1002, "protocol_errors"),
    (masked(OP_CONT, b"a"), 1002, "protocol_errors"),
    (masked(OP_TEXT, b"a", fin=False) + masked(OP_TEXT, b"b"), 1002, "protocol_errors"),
    (masked(OP_BINARY, b"a" * 1001), 1009, "messages_too_big"),
]
faults = pytest.mark.parametrize(
    ("fault", "code", "counter"), FAULTS, ids=["text", "reserved", "mask", "continuation", "nested", "size"]
)


@faults
def test_a_broken_protocol_ends_the_connection(fault: bytes, code: int, counter: str, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        link.data_received(masked(OP_TEXT, "fine") + fault + masked(OP_TEXT, "late"))
        link.data_received(masked(OP_TEXT, "late") + close_frame(1000))
        assert owner.calls == [("text", b"fine"), ("drain", code)]
        assert [close.code for close in sock.closings] == [code]
        assert sock.closings[0].reason
        assert len(sock.frames) == 1
        assert sock.calls == ["write_eof"]
        link.write(b"late")
        link.close(1000, b"late")
        assert sock.reads, "until the client has seen it and closes"
        link.connection_lost(None)
        assert owner.calls[2:] == [("lost", code, ""), ("ended",)]
        assert getattr(made.counters, counter) == 1

    main()


@faults
def test_what_came_before_a_fault_is_answered_before_our_close_frame(fault: bytes, code: int, counter: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        owner.drains = False
        link.data_received(masked(OP_TEXT, "fine") + fault)
        assert (sock.wire, sock.calls) == (b"", [])
        link.write(FRAMES.text(b"answer"))
        link.data_received(masked(OP_TEXT, "late"))
        link.close(code, b"reason")
        assert [frame.opcode for frame in sock.frames] == [OP_TEXT, OP_CLOSE]
        assert owner.calls == [("text", b"fine"), ("drain", code)]
        assert sock.calls == ["write_eof"]
        link.connection_lost(None)

    main()


@on_jumping_loop
async def test_who_takes_too_long_with_what_came_before_a_fault_is_cut_off() -> None:
    link, owner, sock = make_link()
    owner.drains = False
    link.data_received(b"\x83\x80")
    await asyncio.sleep(9.9)
    assert sock.frames == []
    await asyncio.sleep(0.2)
    assert [frame.opcode for frame in sock.frames] == [OP_CLOSE], "the client is told all the same"
    assert "abort" not in sock.calls
    await asyncio.sleep(LINGER)
    assert "abort" in sock.calls
    link.connection_lost(None)
    assert owner.calls == [("drain", 1002), ("lost", 1002, ""), ("ended",)]


@on_jumping_loop
async def test_a_client_that_lingers_behind_a_fault_is_cut_off() -> None:
    link, _, sock = make_link()
    link.data_received(b"\x83\x80")
    await asyncio.sleep(LINGER - 0.1)
    link.data_received(bytes(1000))
    assert "abort" not in sock.calls
    await asyncio.sleep(0.2)
    assert "abort" in sock.calls


@on_jumping_loop
async def test_where_the_end_cannot_be_written_the_socket_is_closed() -> None:
    link, _, sock = make_link(tls=True)
    link.data_received(b"\x83\x80")
    assert (sock.calls, len(sock.closings)) == (["close"], 1)


@on_jumping_loop
async def test_a_fault_behind_our_close_frame_changes_nothing_of_what_is_told() -> None:
    link, owner, sock = make_link()
    link.close(4000, b"enough")
    link.data_received(b"\x83\x80")
    assert sock.closings == [Close(4000, "enough")]
    assert sock.calls == ["write_eof"]
    await asyncio.sleep(LINGER + 0.1)
    assert "abort" in sock.calls
    link.connection_lost(None)
    assert owner.calls == [("lost", 4000, ""), ("ended",)]


@on_jumping_loop
async def test_a_late_fault_behind_our_close_frame_still_has_its_time() -> None:
    link, _, sock = make_link()
    link.close(4000, b"")
    await asyncio.sleep(9.5)
    link.data_received(b"\x83\x80")
    await asyncio.sleep(LINGER - 0.1)
    assert sock.calls == ["write_eof"]
    await asyncio.sleep(0.2)
    assert sock.calls == ["write_eof", "abort"]


@on_jumping_loop
async def test_a_fault_that_was_held_is_found_when_reading_goes_on() -> None:
    link, owner, sock = make_link()
    link.pause_reading()
    link.data_received(masked(OP_TEXT, "a"))
    link.pause_reading()
    link.data_received(masked(OP_TEXT, "b") + b"\x83\x80")
    link.resume_reading()
    assert owner.calls[-2:] == [("text", b"b"), ("drain", 1002)]
    assert [close.code for close in sock.closings] == [1002]


@on_jumping_loop
async def test_a_fault_in_the_log_names_client_code_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "antiphon.server"):
        link, _, _ = make_link()
        link.data_received(b"\x83\x80")
    (record,) = [record for record in caplog.records if record.name == "antiphon.server"]
    assert record.getMessage() == "the test's client: closed with 1002: reserved opcode 0x3"
    link.abort()


# A close code that can't be written


@pytest.mark.parametrize("code", [-1, 70_000])
def test_a_code_that_cannot_be_written_leaves_the_link_open(code: int) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, _, sock = make_link()
        with pytest.raises((OverflowError, ValueError)):
            link.close(code, b"")
        link.close(1011, b"")
        assert [close.code for close in sock.closings] == [1011]
        await asyncio.sleep(10.1)
        assert "abort" in sock.calls

    main()


# Pings and pongs


@on_jumping_loop
async def test_pings_are_answered_while_it_is_open() -> None:
    link, _, sock = make_link()
    link.data_received(masked(OP_PING, b"hello") + masked(OP_PING, b"") + masked(OP_PING, b"x" * 125))
    assert [(frame.opcode, bytes(frame.data)) for frame in sock.frames] == [
        (OP_PONG, b"hello"),
        (OP_PONG, b""),
        (OP_PONG, b"x" * 125),
    ]
    link.close(1000, b"")
    link.data_received(masked(OP_PING, b"late"))
    assert len(sock.frames) == 4
    link.abort()


@on_jumping_loop
async def test_of_the_pings_of_a_client_that_does_not_read_the_last_is_answered_when_it_does() -> None:
    link, _, sock = make_link()
    link.pause_writing()
    link.data_received(masked(OP_PING, b"1") + masked(OP_PING, b"2") + masked(OP_PING, b"3"))
    assert sock.wire == b""
    link.resume_writing()
    assert [(frame.opcode, bytes(frame.data)) for frame in sock.frames] == [(OP_PONG, b"3")]
    link.pause_writing()
    link.resume_writing()
    assert len(sock.frames) == 1
    link.data_received(masked(OP_PING, b"4"))
    assert bytes(sock.frames[-1].data) == b"4"
    link.pause_writing()
    link.data_received(masked(OP_PING, b"5"))
    link.close(1000, b"")
    link.resume_writing()
    assert [frame.opcode for frame in sock.frames] == [OP_PONG, OP_PONG, OP_CLOSE]


@pytest.mark.parametrize("opcode", [OP_PING, OP_PONG])
def test_so_many_pings_and_pongs_may_come(opcode: Any, made: App) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        await asyncio.sleep(5)
        link.data_received(masked(opcode, b"x") * 20)
        assert (owner.calls, made.counters.control_floods) == ([], 0), "10 per second, saved up for 2"
        for _ in range(50):
            await asyncio.sleep(0.11)
            link.data_received(masked(opcode, b"x"))
        assert owner.calls == []
        link.data_received(masked(opcode, b"x") * 30 + masked(OP_TEXT, "late"))
        assert ([call[:2] for call in owner.calls], made.counters.control_floods) == ([("drain", 1008)], 1)
        assert [close.code for close in sock.closings] == [1008]
        assert "10 per second" in sock.closings[0].reason
        link.data_received(masked(opcode, b"x") * 30)
        assert made.counters.control_floods == 1
        link.connection_lost(None)

    main()


@on_jumping_loop
async def test_nothing_is_read_behind_a_flood() -> None:
    link, owner, _ = make_link()
    owner.drains = False
    link.data_received(masked(OP_PING, b"x") * 25 + masked(OP_TEXT, "late") + masked(OP_PING, b"x") * 25)
    assert [call[:2] for call in owner.calls] == [("drain", 1008)]
    link.abort()


def test_any_number_of_pings_may_come_where_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, control_rate=0)

    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        for _ in range(10):
            link.data_received(masked(OP_PING, b"x") * 200)
            await settled(3)
        assert (owner.calls, len(sock.frames)) == ([], 2000)

    main()


@on_jumping_loop
async def test_messages_are_no_flood(made: App) -> None:
    link, owner, _ = make_link()
    for _ in range(10):
        link.data_received(masked(OP_TEXT, "x") * 200)
        await settled(3)
    assert (len(owner.calls), made.counters.control_floods) == (2000, 0)


@pytest.mark.parametrize(
    "answer", [masked(OP_PONG, b""), masked(OP_TEXT, "a"), b"\x81"], ids=["pong", "text", "a byte"]
)
def test_a_ping_is_answered_by_whatever_comes(answer: bytes) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, _, sock = make_link()
        link.ping()
        assert link.awaits_pong == 1
        assert [frame.opcode for frame in sock.frames] == [OP_PING]
        link.data_received(answer)
        assert link.awaits_pong == 0

    main()


@on_jumping_loop
async def test_a_client_that_is_not_read_is_not_taken_for_dead() -> None:
    link, owner, sock = make_link()
    link.data_received(masked(OP_TEXT, "a"))
    link.ping()
    link.pause_reading()
    link.ping_unanswered()
    link.ping()
    assert link.awaits_pong == 0
    assert [frame.opcode for frame in sock.frames] == [OP_PING]
    assert owner.calls == [("text", b"a")]
    link.resume_reading()
    link.ping()
    assert link.awaits_pong == 1
    link.ping_unanswered()
    assert owner.calls[-1][:2] == ("lost", 1011)


@on_jumping_loop
async def test_a_ping_without_an_answer_is_1011(made: App) -> None:
    link, owner, sock = make_link()
    link.ping()
    link.ping_unanswered()
    assert [close.code for close in sock.closings] == [1011]
    assert owner.calls == [("lost", 1011, "keepalive ping timeout")]
    assert ("close" in sock.calls, made.counters.pings_unanswered) == (True, 1)
    link.ping()
    assert len(sock.frames) == 2
    link.connection_lost(None)
    assert owner.calls[1:] == [("ended",)]


@on_jumping_loop
async def test_a_ping_without_an_answer_from_a_client_that_does_not_read_ends_in_time() -> None:
    link, _, sock = make_link()
    sock.unwritten = 1 << 20
    link.ping()
    link.ping_unanswered()
    await asyncio.sleep(10.1)
    assert "abort" in sock.calls


# The rest


@on_jumping_loop
async def test_full_and_empty_buffers_are_told_to_who_writes() -> None:
    link, owner, _ = make_link()
    link.pause_writing()
    link.resume_writing()
    assert owner.calls == [("hold",), ("resume",)]
    direct = Direct()
    link, owner, _ = make_link(direct=direct)
    link.pause_writing()
    link.resume_writing()
    assert direct.calls == [("pause_writing",), ("resume_writing",)]


@on_jumping_loop
async def test_a_shutdown_drains_a_consumer_and_closes_anybody_else() -> None:
    direct = Direct()
    link, _, sock = make_link(direct=direct)
    link.shut_down(1012)
    assert [call[:2] for call in direct.calls] == [("drain", 1012)]
    assert sock.wire == b""
    link, owner, sock = make_link()
    link.shut_down(1012)
    assert [call[:2] for call in owner.calls] == [("lost", 1012)]
    assert [close.code for close in sock.closings] == [1012]
    link.abort()


@on_jumping_loop
async def test_the_descriptor_is_offered_while_plain_bytes_may_be_sent_to_it() -> None:
    link, _, sock = make_link()
    assert (link.descriptor, sock.high) == (-1, None), "nobody claimed the link"
    link, _, sock = make_link(direct=Direct(), tls=True)
    assert (link.descriptor, sock.high) == (-1, 1), "bytes have to be encrypted; TLS pauses at the limit"
    link, _, sock = make_link(direct=Direct())
    assert (link.descriptor, sock.high) == (7, 0), "what the socket does not take makes it pause at once"
    link.connection_lost(None)
    assert link.descriptor == -1


@pytest.mark.parametrize("stage", list(Stage))
def test_a_client_that_vanishes_is_told_once_whatever_the_stage(stage: Stage) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        owner.drains = stage is Stage.LINGERING
        if stage in (Stage.FAULTY, Stage.LINGERING):
            link.data_received(b"\x83\x80")
        elif stage is Stage.CLOSING:
            link.close(4000, b"")
        elif stage is Stage.ENDED:
            link.data_received(close_frame(4001))
        assert link._stage is stage
        link.connection_lost(ConnectionResetError())
        codes = {Stage.OPEN: 1006, Stage.CLOSING: 4000, Stage.ENDED: 4001}
        assert [call[1] for call in owner.calls if call[0] == "lost"] == [codes.get(stage, 1002)]
        assert owner.calls[-1] == ("ended",)
        written = sock.wire
        link.write(b"late")
        link.close(1000, b"late")
        link.ping()
        link.resume_writing()
        link.abort()
        await asyncio.sleep(60)
        assert (sock.wire, "abort" in sock.calls, link.is_closing) == (written, False, True)

    main()
