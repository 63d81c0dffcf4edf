"""A member that is antiphon's own client for browsers, in a process of Node that all of them share.

What it gets is what the page's handlers get, in their order: a page may be slow, and then hears of a connection that
is over before it has been given what came on it. So its trail has no such ends where it has a position: the client
promises the next publication, or ``onGap``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from antiphon.types import Position
from tests.integration.servers import PATIENCE

from .line import Line
from .member import HANDSHAKE, Member
from .plan import BY_NAME
from .trail import Floor

__all__ = ["PageMember", "Pages"]

_SCRIPT = Path(__file__).with_name("pages.mjs")
_PACKAGES = Path(__file__).parents[1] / "node"


class Pages:
    """The process of Node; it runs from the first order on."""

    def __init__(self) -> None:
        self._members: dict[str, PageMember] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    def add(self, member: PageMember) -> None:
        """Let a member hear what is told of it."""
        self._members[member.name] = member

    async def start(self) -> None:
        """Start the process, and before that install what it needs, if that is not there."""
        if not (_PACKAGES / "node_modules" / "ws").exists():
            await asyncio.to_thread(subprocess.run, ["npm", "ci"], cwd=_PACKAGES, check=True, capture_output=True)
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            "node", str(_SCRIPT), stdin=pipe, stdout=pipe, limit=2**24, start_new_session=True
        )
        self._reading = asyncio.create_task(self._read())

    def order(self, name: str, verb: str, *arguments: Any) -> None:
        """Tell a page what to do."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, verb, *arguments]).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            name, what, *details = json.loads(line)
            self._members[name].take(what, *details)

    async def stop(self) -> None:
        """End the process."""
        if self._process is None or self._reading is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), PATIENCE)
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading


class PageMember(Member):
    """One page. It hears no events: what the application sends by itself does not wait for a slow page."""

    wire = "antiphon's JavaScript"

    def __init__(self, name: str, line: Line, groups: Iterable[str], pages: Pages, *, by_server: bool = False) -> None:
        super().__init__(name, line, groups)
        self._pages = pages
        self._by_server = by_server
        self._subscribed: set[str] = set()
        self._is_connected = False
        pages.add(self)

    async def start(self) -> None:
        """Begin to connect, again and again."""
        url = self.url(f"/connection?groups={','.join(self.groups)}" if self._by_server else "/connection")
        self._pages.order(self.name, "open", url, [] if self._by_server else self.groups, HANDSHAKE * 1000)

    async def stop(self) -> None:
        """Be no client any more."""
        self._pages.order(self.name, "stop")

    @property
    def is_settled(self) -> bool:
        """Tell whether it is connected and in all its groups."""
        return self._is_connected and len(self._subscribed) == len(self.trails)

    def vanish(self) -> None:
        """End the connection without a close frame."""
        self.line.cut()

    def pause(self, seconds: float) -> None:
        """Let the page be slow: its handlers take so long for the next publications in all."""
        self._pages.order(self.name, "pause", seconds)

    async def rejoin(self, group: str) -> None:
        """Unsubscribe and subscribe again."""
        if not self._by_server:
            self._pages.order(self.name, "rejoin", group)

    # What the page hears

    def take(self, what: str, *details: Any) -> None:
        """Note what a handler was called with."""
        match what:
            case "client":
                self._changed(*details)
            case "subscription":
                self._has(*details)
            case "stands":
                self._stands(*details)
            case "gap":
                self._gap(*details)
            case "floor":
                self._floor(*details)
            case "message":
                self._heard(*details)
            case "publication":
                self._got(*details)

    def _changed(self, state: str, code: int) -> None:
        if self._is_connected:
            self.codes[code] += 1
        self._is_connected = state == "connected"
        if state == "disconnected" and code:
            self.refused(f"disconnected for good: {code}")

    def _has(self, group: str, state: str, code: int) -> None:
        self._subscribed.discard(group)
        if state == "subscribed":
            self._subscribed.add(group)
        elif state == "unsubscribed" and code:
            self.refused(f"unsubscribed for good: {code}")

    def _stands(self, group: str, position: dict[str, Any] | None) -> None:
        trail = self.trails[group]
        if position is None:
            trail.began()
        elif trail.position is None:
            trail.subscribed(Position(**position), recovered=False, was_recovering=False)
        else:  # a slow page is told of the gap later, if there is one
            trail.subscribed(trail.position, recovered=True, was_recovering=True)

    def _gap(self, group: str, to: dict[str, Any] | None) -> None:
        if to is None:
            self.trails[group].began()
        else:
            self.trails[group].subscribed(Position(**to), recovered=False, was_recovering=True)

    def _floor(self, group: str, position: list[Any]) -> None:
        if not BY_NAME[group].history:
            self.trails[group].told(Floor(Position(*position)))

    def _heard(self, found: dict[str, Any]) -> None:
        if "joined" in found:
            self._floor(found["joined"], found["position"])

    def _got(self, group: str, data: Any, offset: int) -> None:
        self.trails[group].got(data, offset)
