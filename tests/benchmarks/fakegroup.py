"""A group by other hands, on the wires of Centrifuge and of Socket.IO, which can be made to fail: what the load client
has to notice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.wire.centrifuge import reference

__all__ = ["CROWD", "JSON", "PROTOBUF", "SOCKETIO", "FakeGroup", "Push", "Wire", "number_of"]

GROUP = "bench-kept"
#: How many replies a group puts into one frame, where it does.
CROWD = 3


class Push(NamedTuple):
    """A publication on its way to one member."""

    offset: int
    data: bytes


class Wire:
    """One of the encodings: commands in, replies out, each in the form of JSON but for ``data``, which is bytes."""

    is_lonely = False
    """Whether each reply has a frame of its own."""

    def __init__(self, name: str, subprotocol: str | None) -> None:
        self.name = name
        self.subprotocol = subprotocol

    @property
    def is_text(self) -> bool:
        """Whether frames are text frames."""
        return self.subprotocol is None

    def commands(self, payload: bytes | str) -> Iterator[tuple[str, bytes]]:
        """Yield name and data of each command of a frame; a pong is one without a name."""
        if isinstance(payload, str):
            for line in payload.split("\n"):
                command = json.loads(line)
                name = next((key for key in command if key != "id"), "")
                yield name, json.dumps(command.get(name, {}).get("data"), separators=(",", ":")).encode()
        else:
            for message in reference.split("Command", payload):
                name = next((field.name for field, _ in message.ListFields() if field.name != "id"), "")
                yield name, message.send.data

    def connected(self) -> bytes:
        """Return the answer to ``connect``: pings come, and are to be answered."""
        if self.is_text:
            return b'{"id":1,"connect":{"client":"c","subs":{"bench-kept":{"recoverable":true}},"ping":25,"pong":true}}'
        reply = reference.message("Reply")
        reply.id, reply.connect.ping, reply.connect.pong = 1, 25, True
        reply.connect.subs[GROUP].recoverable = True
        return reference.delimited([reply])

    def push(self, push: Push) -> bytes:
        """Return a push of a publication."""
        if self.is_text:
            return b'{"push":{"channel":"%b","pub":{"data":%b,"offset":%d}}}' % (GROUP.encode(), push.data, push.offset)
        reply = reference.message("Reply")
        reply.push.channel = GROUP
        reply.push.pub.data, reply.push.pub.offset = push.data, push.offset
        return reference.delimited([reply])

    def ping(self) -> bytes:
        """Return a ping."""
        return b"{}" if self.is_text else b"\x00"

    def frame(self, replies: list[bytes]) -> bytes | str:
        """Return replies as one frame."""
        return b"\n".join(replies).decode() if self.is_text else b"".join(replies)


class SocketIO(Wire):
    """Packets of Socket.IO in those of Engine.IO; pushes have no offsets."""

    is_lonely = True

    def commands(self, payload: bytes | str) -> Iterator[tuple[str, bytes]]:
        """Yield what a packet stands for: connecting, the event ``message``, or a pong."""
        assert isinstance(payload, str)
        if payload == "40":
            yield "connect", b""
        elif payload == "3":
            yield "", b""
        else:
            name, content = json.loads(payload.removeprefix("42"))
            assert (payload[:2], name) == ("42", "message")
            yield "send", json.dumps(content, separators=(",", ":")).encode()

    def connected(self) -> bytes:
        """Return the answer to connecting."""
        return b'40{"sid":"oSO0OpakMV_3jnilAAAA"}'

    def push(self, push: Push) -> bytes:
        """Return an event."""
        return b'42["message",%b]' % push.data

    def ping(self) -> bytes:
        """Return a ping of Engine.IO's."""
        return b"2"


SOCKETIO = SocketIO("socketio", None)
JSON, PROTOBUF = Wire("centrifuge-json", None), Wire("centrifuge-protobuf", "centrifuge-protobuf")


def number_of(push: Push) -> int:
    """Return the number that the load client gave a message; 0: its probe."""
    return int(json.loads(push.data)["content"].split()[0])


class FakeGroup:
    """Publishes what members send; ``tamper`` turns what the last member would get next into what it gets.

    Publications go out in frames of up to ``CROWD`` where it ``crowds``. With ``pings`` it pings every member before
    each publication, and publishes nothing before all of them have answered. Where it does not ``greet``, it leaves
    ``connect`` without an answer.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        tamper: Callable[[Push], list[Push]] = lambda push: [push],
        crowds: bool = False,
        pings: bool = False,
        greets: bool = True,
    ) -> None:
        self.wire = wire
        self.pongs = 0
        self._tamper = tamper
        self._crowd = CROWD if crowds else 1
        self._pings = pings
        self._greets = greets
        self._members: list[ServerConnection] = []
        self.published_at: set[int] = set()
        """Where messages came from: the ports that they came to."""
        self._top = 0
        self._missing_pongs = 0
        self._all_answered = asyncio.Event()

    @property
    def ports(self) -> list[int]:
        """The port of each member."""
        return [member.local_address[1] for member in self._members]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve on a free port, which is the value."""
        subprotocols = None if self.wire.subprotocol is None else [Subprotocol(self.wire.subprotocol)]
        async with serve(self._member, "127.0.0.1", 0, subprotocols=subprotocols, compression=None) as server:
            yield server.sockets[0].getsockname()[1]

    async def _member(self, member: ServerConnection) -> None:
        publishing = asyncio.Queue[bytes]()
        task = asyncio.create_task(self._publish_all(publishing))
        try:
            async for payload in member:
                for name, data in self.wire.commands(payload):
                    if name == "connect":
                        self._members.append(member)
                        if self._greets:
                            await member.send(self.wire.frame([self.wire.connected()]))
                    elif name == "send":
                        self.published_at.add(member.local_address[1])
                        publishing.put_nowait(data)
                    else:
                        self._answered()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await task

    async def _publish_all(self, publishing: asyncio.Queue[bytes]) -> None:
        """Publish what one member sends, in its order."""
        while True:
            contents = [await publishing.get()]
            while len(contents) < self._crowd and not publishing.empty():
                contents.append(publishing.get_nowait())
            if self._pings:
                await self._ping_all()
            pushes = [Push(self._top + place, data) for place, data in enumerate(contents, 1)]
            self._top += len(pushes)
            for member in self._members[:-1]:
                await self._send(member, pushes)
            await self._send(self._members[-1], [each for push in pushes for each in self._tamper(push)])

    async def _send(self, member: ServerConnection, pushes: list[Push]) -> None:
        replies = [self.wire.push(push) for push in pushes]
        for some in [[reply] for reply in replies] if self.wire.is_lonely else [replies]:
            if some:
                await member.send(self.wire.frame(some))

    async def _ping_all(self) -> None:
        self._missing_pongs = len(self._members)
        self._all_answered.clear()
        for member in self._members:
            await member.send(self.wire.frame([self.wire.ping()]))
        await self._all_answered.wait()

    def _answered(self) -> None:
        self.pongs += 1
        self._missing_pongs -= 1
        if not self._missing_pongs:
            self._all_answered.set()
