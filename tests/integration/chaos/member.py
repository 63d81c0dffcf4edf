"""A member: one client that stays in its groups, whatever happens to its connection."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterable

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, WebSocketException

from .line import Line
from .trail import Refused, Trail

__all__ = ["HANDSHAKE", "Member", "SocketMember"]

#: Seconds within which a connection is there, or another one is tried.
HANDSHAKE = 5.0


class Member(abc.ABC):
    """Its name, its line and its trails."""

    #: The wire that it speaks, in words.
    wire = ""

    def __init__(self, name: str, line: Line, groups: Iterable[str]) -> None:
        self.name = name
        self.line = line
        self.trails = {group: Trail(group) for group in groups}
        self.codes: Counter[int] = Counter()
        """Of its connections: how they ended."""

    @property
    def groups(self) -> list[str]:
        """The groups that it wants to be in."""
        return list(self.trails)

    def url(self, path: str) -> str:
        """Return the address of ``path`` at the other end of its line."""
        return f"ws://127.0.0.1:{self.line.port}{path}"

    @abc.abstractmethod
    async def start(self) -> None:
        """Begin to connect, again and again."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """Be no client any more."""

    @property
    @abc.abstractmethod
    def is_settled(self) -> bool:
        """Tell whether it is connected and in all its groups."""

    @abc.abstractmethod
    def vanish(self) -> None:
        """End the connection without a close frame."""

    @abc.abstractmethod
    def pause(self, seconds: float) -> None:
        """Read nothing for so long."""

    @abc.abstractmethod
    async def rejoin(self, group: str) -> None:
        """Leave a group and join it again."""

    def forget(self, group: str) -> bool:
        """Begin anew in a group, as when a page is loaded anew, and tell whether it does: most kinds never do."""
        return False

    def over(self, code: int) -> None:
        """Note that the connection is over."""
        self.codes[code] += 1
        for trail in self.trails.values():
            trail.ended(code)

    def refused(self, words: str) -> None:
        """Note that the server does not want this member, which must not be."""
        for trail in self.trails.values():
            trail.told(Refused(words))


class SocketMember(Member):
    """A member on a WebSocket of the ``websockets`` package, which comes back by itself."""

    path = ""

    def __init__(self, name: str, line: Line, groups: Iterable[str], chance: random.Random) -> None:
        super().__init__(name, line, groups)
        self._chance = chance
        self._compression = chance.choice(["deflate", None, None])
        self._task: asyncio.Task[None] | None = None
        self.websocket: ClientConnection | None = None
        self._pause = 0.0

    async def start(self) -> None:
        """Begin to connect, again and again."""
        self._task = asyncio.get_running_loop().create_task(self._live())

    async def stop(self) -> None:
        """Be no client any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def vanish(self) -> None:
        """End the connection without a close frame."""
        if self.websocket is not None:
            self.websocket.transport.abort()

    def pause(self, seconds: float) -> None:
        """Read nothing for so long."""
        self._pause = seconds

    async def _live(self) -> None:
        while True:
            code = 0
            try:
                code = await self._connect()
            except (OSError, WebSocketException, TimeoutError):
                pass  # no connection: the line was cut, or stalls
            if code == 1009 or 3500 <= code < 4000:
                self.refused(f"closed with {code}, which is for good")
                return
            await asyncio.sleep(self._chance.choice([0.02, 0.1, 0.3, 1.5]))

    async def _connect(self) -> int:
        """Have a connection, and return the code with which it ended."""
        websocket = await open_websocket(
            self.url(self.path),
            subprotocols=self._subprotocols(),  # type: ignore[arg-type]
            proxy=None,
            max_size=None,
            compression=self._compression,
            open_timeout=HANDSHAKE,
            close_timeout=1,
            ping_interval=None,
        )
        self.websocket = websocket
        code = 1006
        try:
            await self._opened()
            while True:
                frame = await websocket.recv()
                self._take(frame)
                await self._answer()
                pause, self._pause = self._pause, 0.0
                if pause:
                    await asyncio.sleep(pause)
        except ConnectionClosed as end:
            code = end.rcvd.code if end.rcvd is not None else 1006
        finally:
            self.websocket = None
            websocket.transport.abort()
            self.over(code)
        return code

    def _subprotocols(self) -> list[str] | None:
        return None

    async def _opened(self) -> None:
        """Send what is to be sent first."""

    async def _answer(self) -> None:
        """Send what has come due with the last frame."""

    @abc.abstractmethod
    def _take(self, frame: str | bytes) -> None:
        """Handle a frame."""
