"""The contract of an engine: where publications and positions live, and how processes hear of them.

An engine is used from one event loop. What it has to say goes up through the ``EngineEvents`` passed to ``start`` and
nowhere else.

Laws that every engine keeps:
- offsets of a group count 1, 2, 3 … within an epoch; an epoch that was used is never used again for another stream;
- what a retention keeps is there for as long as it says, and nothing of it without what came behind it;
- a publication with an idempotency key that is remembered is not made again: key and append are one step;
- publications of a group reach ``EngineEvents.publication`` in the order of their offsets, in every process that
  subscribed to the group before they were published;
- a ``publish`` that returned was accepted; one that raised was not, or the exception says that it can't know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from antiphon.types import Event, Page, Position, Publication, Publishing, Retention

__all__ = ["Engine", "EngineEvents"]


class EngineEvents(Protocol):
    """What an engine tells the process that uses it; called on the engine's event loop, never blocking."""

    def on_publication(self, group: str, publication: Publication) -> None:
        """Take a publication of a group that this process is subscribed to."""

    def on_event(self, group: str, event: Event) -> None:
        """Take an event for the handlers of a group's members."""

    def on_direct_event(self, channel: str, event: Event) -> None:
        """Take an event for the one connection with this channel name."""


class Engine(ABC):
    """One place where groups live; chosen by URL in ``antiphon.engines``."""

    @abstractmethod
    async def start(self, events: EngineEvents) -> None:
        """Begin. Before: not started. After: every other verb may be called, and ``events`` is told what happens."""

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
        """Tell the process that holds the connection named ``channel`` of ``event``."""

    @abstractmethod
    async def subscribe(self, group: str, retention: Retention | None = None) -> None:
        """Declare this process's interest in ``group``. After: what is published from now on reaches ``events``.

        The group's position is kept until ``unsubscribe``, and after that as ``retention`` says.
        """

    @abstractmethod
    def unsubscribe(self, group: str) -> None:
        """End the interest in ``group``. It is a declaration: a publication under way may still arrive."""
