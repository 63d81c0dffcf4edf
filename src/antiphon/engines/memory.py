"""The engine of one process: nothing to install, nothing kept after the process.

Laws:
- a group's position lives as long as the process is subscribed to the group, and after that until
  ``IDLE_GROUPS`` other groups were left later; a group that is forgotten starts again with a new epoch.
"""

from __future__ import annotations

import itertools
import secrets
import time

from antiphon.engines.base import Engine, EngineEvents
from antiphon.types import Event, Position, Publication

__all__ = ["IDLE_GROUPS", "MemoryEngine"]

#: How many groups without members keep their position.
IDLE_GROUPS = 65_536


class _Stream:
    """The top of one group's stream."""

    __slots__ = ("epoch", "offset")

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.offset = 0


def _position(stream: _Stream) -> Position:
    # Half the price of Position(…), once per publication.
    return tuple.__new__(Position, (stream.epoch, stream.offset))


class MemoryEngine(Engine):
    """Positions in dictionaries; publications go straight to the hub of the same process."""

    def __init__(self, *, idle_groups: int = IDLE_GROUPS) -> None:
        self._events: EngineEvents | None = None
        self._active: dict[str, _Stream] = {}
        self._idle: dict[str, _Stream] = {}
        self._idle_groups = idle_groups
        self._run = secrets.token_hex(4)
        self._epochs = itertools.count(1)

    async def start(self, events: EngineEvents) -> None:
        """Begin to tell ``events``."""
        self._events = events

    async def stop(self) -> None:
        """Forget every stream."""
        self._events = None
        self._active.clear()
        self._idle.clear()

    async def publish(self, group: str, data: bytes, key: str = "") -> Position:
        """Take the next offset and hand the publication to the hub if it has members."""
        stream = self._active.get(group)
        if stream is None:
            stream = self._keep_idle(group, self._awake(group))
            stream.offset += 1
            return _position(stream)
        stream.offset += 1
        if self._events is not None:
            self._events.on_publication(group, Publication(data, stream.epoch, stream.offset, time.time(), key))
        return _position(stream)

    async def send_event(self, group: str, event: Event) -> None:
        """Hand the event to the hub."""
        if self._events is not None and group in self._active:
            self._events.on_event(group, event)

    async def send_direct_event(self, channel: str, event: Event) -> None:
        """Hand the event to the hub."""
        if self._events is not None:
            self._events.on_direct_event(channel, event)

    async def subscribe(self, group: str) -> None:
        """Keep the group's position until ``unsubscribe``."""
        if group not in self._active:
            self._active[group] = self._awake(group)

    def unsubscribe(self, group: str) -> None:
        """Keep the group's position among the idle ones."""
        stream = self._active.pop(group, None)
        if stream is not None and stream.offset:
            self._keep_idle(group, stream)

    def _keep_idle(self, group: str, stream: _Stream) -> _Stream:
        self._idle[group] = stream
        if len(self._idle) > self._idle_groups:
            del self._idle[next(iter(self._idle))]
        return stream

    def _awake(self, group: str) -> _Stream:
        """Take the group's stream from the idle ones, or begin a new one."""
        if group in self._idle:
            return self._idle.pop(group)
        return _Stream(f"{self._run}.{next(self._epochs)}")
