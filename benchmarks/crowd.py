"""Many clients on the Centrifuge wire in one process: each is in some groups, and checks that offsets have no hole."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from antiphon.types import Position

__all__ = ["Crowd", "Member", "until"]

#: Connections that are opened at the same time.
AT_ONCE = 50


class _Pub(msgspec.Struct, gc=False):
    offset: int = 0


class _Push(msgspec.Struct, gc=False):
    channel: str = ""
    pub: _Pub | None = None


class _Subscribed(msgspec.Struct, gc=False):
    epoch: str = ""
    offset: int = 0
    recovered: bool = False
    publications: list[_Pub] = []


class _Reply(msgspec.Struct, gc=False):
    id: int = 0
    push: _Push | None = None
    subscribe: _Subscribed | None = None
    connect: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Reply).decode
_encode = msgspec.json.Encoder().encode


async def until(condition: Callable[[], object], what: str, seconds: float = 120) -> float:
    """Wait until a condition holds, and return the moment."""
    deadline = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{what} has not come about within {seconds:g} s")
        await asyncio.sleep(0.005)
    return time.perf_counter()


class Member(WSListener):  # type: ignore[misc]
    """One client, which is in ``groups``."""

    def __init__(self, crowd: Crowd, groups: Sequence[str]) -> None:
        super().__init__()
        self._crowd = crowd
        self._groups = groups
        self._positions: dict[str, Position] = {}
        self._asked: dict[int, str] = {}
        self._numbers = itertools.count(1)
        self._transport: WSTransport | None = None

    async def open(self, url: str) -> None:
        """Connect; ``Crowd.connected`` counts the answer."""
        self._transport, _ = await ws_connect(lambda: self, url, websocket_handshake_timeout=60)
        self._say([{"connect": {}, "id": next(self._numbers)}])

    def subscribe(self) -> None:
        """Subscribe to all groups with one frame, as SDKs do; where a position is known, recover from it."""
        self._asked = {next(self._numbers): group for group in self._groups}
        self._say(
            {"subscribe": {"channel": group, **self._since(group)}, "id": number}
            for number, group in self._asked.items()
        )

    def _since(self, group: str) -> dict[str, object]:
        position = self._positions.get(group)
        return {} if position is None else {"recover": True, "epoch": position.epoch, "offset": position.offset}

    def close(self) -> None:
        """Go away, and remember every position."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()

    def _say(self, commands: Iterable[object]) -> None:
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, b"\n".join(map(_encode, commands)))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take the replies of a frame."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        for line in frame.get_payload_as_bytes().split(b"\n"):
            self._take(_decode(line))

    def _take(self, reply: _Reply) -> None:
        if reply.push is not None:
            if reply.push.pub is not None:
                self._got(reply.push.channel, reply.push.pub.offset)
        elif reply.subscribe is not None:
            self._subscribed(self._asked[reply.id], reply.subscribe)
        elif reply.connect is not None:
            self._crowd.connected += 1
        elif reply.error is not None:
            self._crowd.errors.append(str(reply.error))
        else:  # a ping
            self._say([{}])

    def _subscribed(self, group: str, said: _Subscribed) -> None:
        before = self._positions.get(group)
        self._crowd.subscribed += 1
        if before is None:
            self._positions[group] = Position(said.epoch, said.offset)
        elif not said.recovered or said.epoch != before.epoch:
            self._crowd.unrecovered += 1
            self._positions[group] = Position(said.epoch, said.offset)
        else:
            for publication in said.publications:
                self._got(group, publication.offset)

    def _got(self, group: str, offset: int) -> None:
        position = self._positions[group]
        if offset != position.offset + 1:
            self._crowd.misplaced += 1
        self._positions[group] = Position(position.epoch, offset)
        self._crowd.publications += 1

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Count it."""
        self._crowd.connected -= 1


class Crowd:
    """All members, and what they have got in all."""

    def __init__(self) -> None:
        self.members: list[tuple[Member, str]] = []
        self.connected = self.subscribed = self.publications = 0
        self.unrecovered = 0
        """Subscriptions that were told of a gap."""
        self.misplaced = 0
        """Publications that were not the next."""
        self.errors: list[str] = []

    def add(self, url: str, groups: Sequence[str]) -> None:
        """Let one more come to a server, into these groups."""
        self.members.append((Member(self, groups), url))

    async def open(self) -> None:
        """Let all connect."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def open_one(member: Member, url: str) -> None:
            async with gate:
                await member.open(url)

        await asyncio.gather(*(open_one(*each) for each in self.members))
        await until(lambda: self.connected == len(self.members), "the answer to every connect")

    def subscribe(self) -> None:
        """Let all subscribe."""
        for member, _ in self.members:
            member.subscribe()

    async def close(self) -> None:
        """Let all go away."""
        for member, _ in self.members:
            member.close()
        await until(lambda: self.connected <= 0, "the end of every connection")
