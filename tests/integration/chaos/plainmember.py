"""A member on the plain wire: it has no position, and misses what is published while it is away."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterable
from typing import Any

from websockets.exceptions import ConnectionClosed

from antiphon.types import Position

from .line import Line
from .member import SocketMember
from .trail import Floor, Gap, Missed

__all__ = ["PlainMember"]


class PlainMember(SocketMember):
    """Joins by the query, and by commands of the application."""

    wire = "plain"

    def __init__(self, name: str, line: Line, groups: Iterable[str], chance: random.Random) -> None:
        super().__init__(name, line, groups, chance)
        self.path = f"/member?groups={','.join(self.groups)}"
        self._joined: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Tell whether it is connected and in all its groups."""
        return len(self._joined) == len(self.trails)

    async def rejoin(self, group: str) -> None:
        """Leave a group and join it again."""
        websocket = self.websocket
        if websocket is not None and group in self._joined:
            self._joined.discard(group)
            with contextlib.suppress(ConnectionClosed):
                await websocket.send(json.dumps({"leave": group}))
                await websocket.send(json.dumps({"join": group}))

    async def _opened(self) -> None:
        for trail in self.trails.values():
            trail.began()

    def over(self, code: int) -> None:
        """Note that the connection is over."""
        self._joined.clear()
        super().over(code)

    def _take(self, frame: str | bytes) -> None:
        found: dict[str, Any] = json.loads(frame)
        if "filling" in found:
            self.trails[found["group"]].got(found)
        elif "event" in found:
            self.trails[found["event"]].overheard(found["after"])
        elif "joined" in found:
            self._joined.add(found["joined"])
            self.trails[found["joined"]].told(Floor(Position(*found["position"])))
        elif "left" in found:
            self.trails[found["left"]].ended()
            self.trails[found["left"]].began()
        elif found.get("code") == "missed":
            self.trails[found["group"]].told(Missed(found["missed"]))
        elif found.get("code") == "gap":
            self.trails[found["group"]].told(Gap(Position(found["epoch"], found["offset"])))
        else:
            self.refused(f"it got {found}")
