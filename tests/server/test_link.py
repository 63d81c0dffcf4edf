"""The link between picows and whoever takes the messages: one close frame, one end."""

from __future__ import annotations

import asyncio
import contextvars
from types import SimpleNamespace
from typing import Any, cast

import pytest
from picows.picows import WSMsgType
from websockets.frames import Close

from antiphon.server.link import Link

from ..fakes import on_jumping_loop, parse_frames
from .far import OP_CLOSE, OP_PING, OP_PONG, close_frame, masked


class Owner:
    """The protocol class, as the link sees it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def receive_text(self, payload: bytes) -> None:
        self.calls.append(("text", payload))

    def receive_binary(self, payload: bytes) -> None:
        self.calls.append(("binary", payload))

    def lost(self, code: int, reason: str = "") -> None:
        self.calls.append(("lost", code, reason))

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

    def __init__(self) -> None:
        self.wire = b""
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.wire += data

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def get_extra_info(self, name: str) -> Any:
        return {"sslcontext": None, "socket": SimpleNamespace(fileno=lambda: 7)}.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def set_protocol(self, protocol: Any) -> None:
        self.calls.append("set_protocol")

    def __getattr__(self, name: str) -> Any:
        return lambda: self.calls.append(name)

    @property
    def frames(self) -> list[Any]:
        return parse_frames(self.wire)


def make_link(*, direct: Direct | None = None, max_message_size: int = 1000) -> tuple[Link, Owner, Socket]:
    owner, sock = Owner(), Socket()
    link = Link(owner, contextvars.copy_context(), max_message_size=max_message_size, close_timeout=10.0)
    if direct is not None:
        link.claim(cast(Any, direct), max_message_size=500, close_timeout=3.0)
    link.open(cast(Any, sock))
    return link, owner, sock


def feed(link: Link, kind: WSMsgType, payload: bytes = b"", *, fin: bool = True, **reserved: bool) -> None:
    """Tell the link of a frame, as picows does."""
    bits = {"rsv1": False, "rsv2": False, "rsv3": False, **reserved}
    frame = SimpleNamespace(msg_type=kind, fin=fin, get_payload_as_bytes=lambda: payload, **bits)
    transport = SimpleNamespace(close_handshake=None)
    link.on_ws_frame(cast(Any, transport), cast(Any, frame))


def parser_fault(link: Link, code: int, reason: str) -> None:
    """Tell the link of a fault, as the frame parser does; picows then writes the close frame itself."""
    link._parser_fault(code, reason)


def lost(link: Link) -> None:
    link.on_ws_disconnected(cast(Any, SimpleNamespace(close_handshake=None)))


@on_jumping_loop
async def test_messages_go_to_the_owner_or_to_the_consumer_that_claimed_them() -> None:
    link, owner, _ = make_link()
    feed(link, WSMsgType.TEXT, b"a")
    feed(link, WSMsgType.BINARY, b"b")
    feed(link, WSMsgType.TEXT, b"c", fin=False)
    feed(link, WSMsgType.CONTINUATION, b"d")
    assert owner.calls == [("text", b"a"), ("binary", b"b"), ("text", b"cd")]
    direct = Direct()
    link, owner, _ = make_link(direct=direct)
    feed(link, WSMsgType.TEXT, b"a")
    assert (direct.calls, owner.calls) == ([("receive_text", b"a")], [])


@on_jumping_loop
async def test_a_consumer_brings_its_own_limits() -> None:
    for servers in (100, 1000):
        link, _, sock = make_link(direct=Direct(), max_message_size=servers)
        assert link.max_message_size == 500
    link.close(1000, b"")
    await asyncio.sleep(4)
    assert "abort" in sock.calls, "its close_timeout is over"


@on_jumping_loop
async def test_nothing_is_written_before_it_is_open() -> None:
    link = Link(Owner(), contextvars.copy_context(), max_message_size=1, close_timeout=1.0)
    link.write(b"early")
    link.close(1000, b"")
    link.abort()
    link.pause_reading()
    link.resume_reading()


@on_jumping_loop
async def test_a_close_frame_is_written_once_and_nothing_after_it() -> None:
    link, owner, sock = make_link()
    link.close(4000, b"enough")
    link.close(4001, b"again")
    link.write(b"late")
    link.ping()
    feed(link, WSMsgType.TEXT, b"late")
    feed(link, WSMsgType.TEXT, b"late", fin=False)
    feed(link, WSMsgType.CONTINUATION, b"late")
    (frame,) = sock.frames
    assert Close.parse(frame.data) == Close(4000, "enough")
    assert owner.calls == []
    assert link.is_closing
    feed(link, WSMsgType.CLOSE, b"\x0f\xa0")
    assert "close" in sock.calls
    lost(link)
    assert owner.calls == [("lost", 4000, ""), ("ended",)]


@on_jumping_loop
async def test_a_client_that_does_not_answer_the_close_frame_is_cut_off() -> None:
    link, _, sock = make_link()
    link.close(1000, b"")
    await asyncio.sleep(9)
    assert "abort" not in sock.calls
    await asyncio.sleep(2)
    assert "abort" in sock.calls


@on_jumping_loop
async def test_the_timer_ends_with_the_socket() -> None:
    link, _, sock = make_link()
    link.close(1000, b"")
    lost(link)
    await asyncio.sleep(100)
    assert "abort" not in sock.calls


@pytest.mark.parametrize("parsed", [True, False], ids=["by the parser", "without a parser"])
@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (b"\x03\xe8", 1000, ""), (b"\x0f\xa1bye \xe2\x82\xac", 4001, "bye €")],
)
def test_the_clients_close_frame_is_answered_and_told_once(
    parsed: bool, payload: bytes, code: int, reason: str
) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        if parsed:
            feed(link, WSMsgType.CLOSE, payload)
        else:
            link.data_received(masked(OP_CLOSE, payload))
        (frame,) = sock.frames
        assert bytes(frame.data) == payload
        assert sock.calls == ["close"]
        link.write(b"late")
        link.close(1000, b"late")
        lost(link)
        assert owner.calls == [("lost", code, reason), ("ended",)]
        assert len(sock.frames) == 1

    main()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(WSMsgType.TEXT, b"\xff", True, {})], 1007),
        ([(WSMsgType.TEXT, b"a", True, {"rsv1": True})], 1002),
        ([(WSMsgType.PING, b"a", True, {"rsv3": True})], 1002),
        ([(WSMsgType.CONTINUATION, b"a", True, {})], 1002),
        ([(WSMsgType.TEXT, b"a", False, {}), (WSMsgType.TEXT, b"b", True, {})], 1002),
        ([(WSMsgType.BINARY, b"a" * 1001, True, {})], 1009),
    ],
)
def test_a_broken_protocol_ends_the_connection(frames: list[Any], code: int) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, owner, sock = make_link()
        for kind, payload, fin, reserved in frames:
            feed(link, kind, payload, fin=fin, **reserved)
        feed(link, WSMsgType.TEXT, b"late")
        assert Close.parse(sock.frames[0].data).code == code
        assert len(sock.frames) == 1
        assert "close" in sock.calls
        lost(link)
        assert [call[:2] for call in owner.calls] == [("lost", code), ("ended",)]

    main()


@on_jumping_loop
async def test_a_fault_that_the_parser_finds_ends_the_connection_at_once() -> None:
    link, owner, sock = make_link()
    parser_fault(link, 1002, "not masked")
    parser_fault(link, 1002, "not masked")
    link.write(b"late")
    link.data_received(masked(OP_PING, b"late"))
    link.close(1000, b"")
    assert sock.wire == b"", "the parser writes the close frame"
    lost(link)
    assert owner.calls == [("lost", 1002, "not masked"), ("ended",)]


@on_jumping_loop
async def test_pings_are_answered_without_a_parser() -> None:
    link, _, sock = make_link()
    link.data_received(masked(OP_PING, b"hello"))
    (frame,) = sock.frames
    assert (frame.opcode, bytes(frame.data)) == (OP_PONG, b"hello")
    link.close(1000, b"")
    link.data_received(masked(OP_PING, b"hello"))
    assert len(sock.frames) == 2


@pytest.mark.parametrize("parsed", [True, False])
def test_a_pong_is_awaited_after_a_ping(parsed: bool) -> None:
    @on_jumping_loop
    async def main() -> None:
        link, _, sock = make_link()
        link.ping()
        assert link.awaits_pong == 1
        assert [frame.opcode for frame in sock.frames] == [OP_PING]
        if parsed:
            feed(link, WSMsgType.PONG)
        else:
            link.data_received(masked(OP_PONG, b""))
        assert link.awaits_pong == 0

    main()


@on_jumping_loop
async def test_a_ping_without_an_answer_is_1011() -> None:
    link, owner, sock = make_link()
    link.ping()
    link.ping_unanswered()
    assert Close.parse(sock.frames[-1].data).code == 1011
    assert owner.calls == [("lost", 1011, "keepalive ping timeout")]


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
    assert direct.calls == [("drain", 1012)]
    assert sock.wire == b""
    link, owner, sock = make_link()
    link.shut_down(1012)
    assert Close.parse(sock.frames[0].data).code == 1012
    assert [call[:2] for call in owner.calls] == [("lost", 1012)]


@on_jumping_loop
async def test_the_descriptor_is_offered_while_plain_bytes_may_be_sent_to_it() -> None:
    link, _, _ = make_link()
    assert link.descriptor == -1, "nobody claimed the link"
    link, _, _ = make_link(direct=Direct())
    assert link.descriptor == 7
    lost(link)
    assert link.descriptor == -1


@on_jumping_loop
async def test_what_comes_behind_a_closed_socket_is_not_taken() -> None:
    link, owner, sock = make_link()
    link.data_received(close_frame(1000))
    link.data_received(masked(OP_PING, b"late"))
    assert len(sock.frames) == 1
    assert owner.calls == [("lost", 1000, "")]
