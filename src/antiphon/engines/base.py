"""The contract of an engine: where publications and positions live, and how processes hear of them.

An engine is used from one event loop. What it has to say goes up through the ``EngineEvents`` passed to ``start`` and
nowhere else.

Laws that every engine keeps:
- offsets of a group count 1, 2, 3 … within an epoch; an epoch that was used is never used again for another stream;
- what a retention keeps is there for as long as it says, and nothing of it without what came behind it;
- a publication with an idempotency key that is remembered is not made again: key and append are one step;
- publications of a group reach ``EngineEvents.publication`` in the order of their offsets, in every process that
  subscribed to the group before they were published;
- a ``publish`` that returned was accepted; one that raised ``EngineUnavailable`` was not, and one that raised
  ``OutcomeUnknown`` may have been;
- who a process entered into a group is present there until the process takes it out, or for no longer than the
  engine's lease after the process has died; each entry and each end of one is told once to every subscribed process;
- where processes share general channels, the messages of one are taken in the order in which they were put, each once;
  one that was taken is gone, also where the process that took it dies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from antiphon.engines.jobs import Job, Room
from antiphon.types import ClientInfo, Event, Page, Position, PresenceStats, Publication, Publishing, Retention

__all__ = ["Engine", "EngineEvents"]


class EngineEvents(Protocol):
    """What an engine tells the process that uses it; called on the engine's event loop, never blocking."""

    def on_publication(self, group: str, publication: Publication) -> None:
        """Take a publication of a group that this process is subscribed to."""

    def on_event(self, group: str, event: Event) -> None:
        """Take an event for the handlers of a group's members."""

    def on_direct_event(self, channel: str, event: Event) -> None:
        """Take an event for the one connection with this channel name."""

    def on_join(self, group: str, info: ClientInfo) -> None:
        """Take it that a client has come into a group that this process is subscribed to."""

    def on_leave(self, group: str, info: ClientInfo) -> None:
        """Take it that a client has gone from such a group, or that its process is dead."""

    def on_control(self, control: bytes) -> None:
        """Take an order that was given to this process, or to all, as ``send_control`` had it."""

    def on_continuity_lost(self) -> None:
        """Take it that publications may have been missed.

        Positions are to be compared with the streams, and members of groups that keep nothing to be told.
        """


class Engine(ABC):
    """One place where groups live; chosen by URL in ``antiphon.engines``."""

    @abstractmethod
    async def start(self, events: EngineEvents, process: str = "") -> None:
        """Begin. Before: not started. After: every other verb may be called, and ``events`` is told what happens.

        ``process`` is this process's part of the channel names of its connections (``names.process_of``).
        """

    @abstractmethod
    async def stop(self) -> None:
        """End. After: ``events`` hears nothing more; what was started is closed. Stopping twice does no harm."""

    @abstractmethod
    async def publish(self, group: str, data: bytes, key: str = "", publishing: Publishing | None = None) -> Position:
        """Append ``data``, a JSON document, to the group's stream and tell every subscribed process, ``key`` with it.

        After: the position is that of the new publication, one more than the last within the same epoch, and it is kept
        as ``publishing.retention`` says. Where the idempotency key is remembered, nothing has happened, and the
        position is a ``Repeat``: that of the publication which was made with the key.
        """

    @abstractmethod
    async def history(
        self,
        group: str,
        retention: Retention,
        *,
        since: Position | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Page:
        """Return at most ``limit`` publications of those that are kept, and the top of the stream.

        Oldest first, from the one behind ``since.offset`` on; with ``reverse`` newest first, from the one before it on.
        The epoch of ``since`` is not looked at: who asks compares it with that of the page. After: the position that
        the page names is kept as ``retention`` says.
        """

    @abstractmethod
    async def remove_history(self, group: str) -> None:
        """Drop what is kept of the group's publications. After: the position is what it was."""

    @abstractmethod
    async def send_event(self, group: str, event: Event) -> None:
        """Tell every subscribed process of ``event``. Nothing is stored, no offset is used."""

    @abstractmethod
    async def send_direct_event(self, channel: str, event: Event) -> None:
        """Tell the process that ``channel`` names (``names.process_of``) of ``event``; this one where it names none."""

    @abstractmethod
    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        """Declare this process's interest in ``group``. After: what is published from now on reaches ``events``.

        The group's position is kept until ``unsubscribe``, and after that as ``retention`` says.
        """

    @abstractmethod
    def unsubscribe(self, group: str) -> None:
        """End the interest in ``group``. It is a declaration: a publication under way may still arrive."""

    # Presence. Entering and leaving are declarations, like ``unsubscribe``: what can't be written now is written later.

    @abstractmethod
    def enter(self, group: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Note that the client ``info.client`` of this process is in the group; a second time: that ``info`` changed.

        After: ``presence`` of this process has it, that of others soon. Where it is ``announced``, each subscribed
        process is told that it joined, once, and will be told that it left.
        """

    @abstractmethod
    def leave(self, group: str, client: str) -> None:
        """Note that a client of this process is no longer in the group; nothing, where it was not."""

    @abstractmethod
    async def presence(self, group: str) -> dict[str, ClientInfo]:
        """Return who is in the group, in all processes, by the client's id."""

    async def presence_stats(self, group: str) -> PresenceStats:
        """Return how many that are."""
        return PresenceStats.of((await self.presence(group)).values())

    # Control

    @abstractmethod
    async def send_control(self, control: bytes, process: str = "") -> None:
        """Tell every process, this one too, of ``control``; where it is named, one alone. Nothing is stored."""

    # General channels, such as a worker's: one queue for all processes, where the engine has them

    shares_channels = False
    """Whether it has. Where not, what is below is not called, and a general channel is its process's own."""

    async def put(self, channel: str, event: Event, expiry: float, room: Room) -> None:
        """Put ``event`` behind what waits in the channel, for ``expiry`` seconds. After: the next reader has been told.

        Raises ``ChannelFull`` where there is no room left; nothing has happened then.
        """
        raise NotImplementedError

    async def take(self, channel: str) -> Job:
        """Wait for the oldest message of the channel and take it; who is cancelled takes nothing.

        While the engine is away it goes on waiting.
        """
        raise NotImplementedError

    def give_back(self, channel: str, job: Job) -> None:
        """Put back in front what was taken in vain. It is a declaration, like ``unsubscribe``."""
        raise NotImplementedError
