"""A member on the Centrifuge wire that does what an SDK does, for a fraction of the time that one takes.

With a group that keeps its history, it names its position when it comes back; the position moves when a publication has
been handled. Like the JavaScript SDK it sends ``connect`` and what it wants to subscribe to in one frame. With
``by_server`` the application subscribes it, and its positions go with ``connect``.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterable, Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed

from antiphon.types import Position

from .encoding import JSON, Encoding
from .line import Line
from .member import SocketMember
from .plan import BY_NAME
from .trail import Floor, Missed, Trail

__all__ = ["WireMember"]


class WireMember(SocketMember):
    """Subscribes, recovers, and answers pings."""

    def __init__(
        self,
        name: str,
        line: Line,
        groups: Iterable[str],
        chance: random.Random,
        encoding: Encoding,
        *,
        by_server: bool = False,
    ) -> None:
        super().__init__(name, line, groups, chance)
        self._encoding = encoding
        self._by_server = by_server
        self.wire = f"Centrifuge {'JSON' if encoding is JSON else 'Protobuf'}"
        self.path = f"/connection?groups={','.join(self.groups)}" if by_server else "/connection"
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[str, str]] = {}
        """What was asked and not answered: the command's name and its group."""
        self._subscribed: set[str] = set()
        self._due: list[Mapping[str, Any]] = []
        """Commands to send when the frame that has come is handled."""

    @property
    def is_settled(self) -> bool:
        """Tell whether it is connected and in all its groups."""
        return len(self._subscribed) == len(self.trails)

    async def rejoin(self, group: str) -> None:
        """Unsubscribe and subscribe again."""
        if self.websocket is None or self._by_server or group not in self._subscribed:
            return
        self._unsubscribed(group)
        commands = [self._command("unsubscribe", group, {"channel": group}), *self._subscribing(group)]
        with contextlib.suppress(ConnectionClosed):
            await self.websocket.send(self._encoding.encode(*commands))

    def forget(self, group: str) -> bool:
        """Come back without a position, if it is away: else what is on its way would be taken for what comes next."""
        if self.websocket is None:
            self.trails[group].forget()
        return self.websocket is None

    def _subprotocols(self) -> list[str] | None:
        return self._encoding.subprotocols

    async def _opened(self) -> None:
        self._asked.clear()
        self._due.clear()
        connect: dict[str, Any] = {"name": "chaos"}
        if self._by_server:
            connect["subs"] = {group: _recovery(trail) for group, trail in self.trails.items() if trail.position}
        commands = [self._command("connect", "", connect)]
        for group in [] if self._by_server else self.groups:
            commands += self._subscribing(group)
        assert self.websocket is not None
        await self.websocket.send(self._encoding.encode(*commands))

    async def _answer(self) -> None:
        if self._due and self.websocket is not None:
            commands, self._due = self._due, []
            await self.websocket.send(self._encoding.encode(*commands))

    def over(self, code: int) -> None:
        """Note that the connection is over."""
        self._subscribed.clear()
        super().over(code)

    # What it asks for

    def _command(self, name: str, group: str, content: Mapping[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._asked[number] = name, group
        return {name: content, "id": number}

    def _subscribing(self, group: str) -> list[dict[str, Any]]:
        """Return the commands to subscribe, and to learn from where on everything comes where no position tells."""
        commands = [self._command("subscribe", group, {"channel": group, "flag": 1, **_recovery(self.trails[group])})]
        if not BY_NAME[group].history:
            commands.append(self._command("rpc", group, {"method": "floor", "data": group}))
        return commands

    # What it gets

    def _take(self, frame: str | bytes) -> None:
        for reply in self._encoding.decode(frame):
            if "id" in reply:
                self._answered(reply)
            elif "push" in reply:
                self._pushed(reply["push"])
            else:
                self._due.append({})

    def _answered(self, reply: dict[str, Any]) -> None:
        name, group = self._asked.pop(reply["id"])
        if "error" in reply and reply["error"].get("temporary"):
            self._due += self._subscribing(group) if name == "subscribe" else []
        elif "error" in reply:
            self.refused(f"{name} {group}: {reply['error']}")
        elif name == "subscribe":
            self._has_subscribed(group, reply["subscribe"])
        elif name == "connect":
            for each, result in reply["connect"].get("subs", {}).items():
                self._has_subscribed(each, result)
        elif name == "rpc" and group in self._subscribed:
            self.trails[group].told(Floor(Position(*reply["rpc"]["data"])))

    def _has_subscribed(self, group: str, result: dict[str, Any]) -> None:
        trail = self.trails[group]
        self._subscribed.add(group)
        if not result.get("recoverable"):
            trail.began()
            return
        recovered = result.get("recovered", False)
        told = Position(result.get("epoch", ""), result.get("offset", 0))
        trail.subscribed(told, recovered=recovered, was_recovering=result.get("was_recovering", False))
        for publication in result.get("publications", ()):
            self._got(trail, publication)

    def _pushed(self, push: dict[str, Any]) -> None:
        group = push.get("channel", "")
        if "pub" in push:
            if group in self._subscribed:
                self._got(self.trails[group], push["pub"])
        elif "unsubscribe" in push:
            if push["unsubscribe"]["code"] < 2500:
                self.refused(f"unsubscribed: {push['unsubscribe']}")
            elif group in self._subscribed:  # else it has left by itself, and asked to come back
                self._unsubscribed(group)
                self._due += self._subscribing(group)
        elif "message" in push:
            self._heard(push["message"]["data"])
        else:
            self.refused(f"it got {push}")

    def _got(self, trail: Trail, publication: dict[str, Any]) -> None:
        trail.got(publication.get("data"), publication.get("offset", 0))

    def _heard(self, found: dict[str, Any]) -> None:
        """Take what the application sends by itself, and what the plain wire would say of what was left out."""
        if "event" in found and found["event"] in self._subscribed:
            self.trails[found["event"]].overheard(found["after"])
        elif "joined" in found and not BY_NAME[found["joined"]].history:
            self.trails[found["joined"]].told(Floor(Position(*found["position"])))
        elif found.get("code") == "missed":
            self.trails[found["group"]].told(Missed(found["missed"]))

    def _unsubscribed(self, group: str) -> None:
        self._subscribed.discard(group)
        self.trails[group].ended()


def _recovery(trail: Trail) -> dict[str, Any]:
    if trail.position is None:
        return {}
    return {"recover": True, "epoch": trail.position.epoch, "offset": trail.position.offset}
