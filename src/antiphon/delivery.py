"""Events to handlers: who of a process's members runs which handler of an event.

Laws:
- the handler of an event runs in each member's consumer, one turn among its others; a ``@shared`` one runs once, and
  what it returns is encoded and framed once;
- an event that somebody did not get, as there is no handler for it or the handler failed, is counted and logged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from antiphon.events import Handler, find_handler
from antiphon.exceptions import ChannelFull, InvalidEvent
from antiphon.group import Cohort, Follower, Group
from antiphon.types import Event, Turn
from antiphon.wire import plain

if TYPE_CHECKING:
    from antiphon.connection import Connection
    from antiphon.hub import Hub

__all__ = ["Delivery"]

logger = logging.getLogger("antiphon.hub")


class Delivery:
    """The part of a hub that brings events to handlers."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # Before an event is sent

    def check_handlers(self, name: str, event: Event) -> None:
        """Raise ``InvalidEvent`` if the group has members here and none of them defines a handler for ``event``."""
        group = self._hub.groups.get(name)
        if group is None or group.inboxes:  # who reads an inbox has handlers that are not known
            return
        for consumer_class, _ in group.cohorts:
            if find_handler(consumer_class, event.type) is not None:
                return
        classes = group.classes()
        if not classes or any(find_handler(each, event.type) is not None for each in classes):
            return
        self._hub.counters.events_unhandled += 1
        names = ", ".join(sorted(each.__qualname__ for each in classes))
        raise InvalidEvent(f"no member of group {name!r} has a handler for {event.type!r} (members: {names})")

    def check_room(self, name: str, event: Event) -> None:
        """Raise ``ChannelFull`` if the event finds no room in a member's inbox that nobody has ever read.

        Whoever reads is told by ``MessagesLost``; here, only the sender can be. The channel has then left the group.
        """
        group = self._hub.groups.get(name)
        refusal: ChannelFull | None = None
        for inbox in list(group.inboxes) if group is not None else ():
            if not inbox.was_read:
                try:
                    self._hub.inboxes.check_room(inbox, event)
                except ChannelFull as error:
                    self._hub.leave_all(inbox)
                    refusal = refusal or error
        if refusal is not None:
            raise refusal

    # When it has come

    def to_group(self, group: Group, event: Event) -> None:
        """Run the event's handler for every member of the group."""
        payloads: dict[Any, bytes | None] = {}
        for audience in group.audiences():
            handler = find_handler(audience.consumer_class, event.type)
            if handler is None:
                self._report_unhandled(audience, group, event)
            elif handler.shared is not None:
                if handler.shared not in payloads:
                    payloads[handler.shared] = self._run_shared(audience, group, handler, event)
                payload = payloads[handler.shared]
                if payload is not None:
                    self._hub.open(group)
                    audience.put(group.chunk(audience.format, payload))
            elif handler.turn is not None:
                self._hub.settle()
                size = len(event.packed)
                for member in list(audience.members):
                    member.mailbox.put(handler.turn, event.copy(), size)

    def _run_shared(self, audience: Cohort | Follower, group: Group, handler: Handler, event: Event) -> bytes | None:
        """Run the handler once; return what it answered as JSON, or None where there is nothing to send."""
        assert handler.shared is not None
        try:
            content = handler.shared(event.copy())
            return None if content is None else plain.encode(content)
        except Exception:
            self._hub.counters.handler_errors += 1
            logger.exception(
                "@shared handler %s.%s failed: no member of group %r in this process got event %r",
                audience.consumer_class.__qualname__,
                handler.name,
                group.name,
                event.type,
            )
            return None

    def to_channel(self, channel: str, event: Event) -> None:
        """Run the event's handler for the connection named ``channel``."""
        connection = self._hub.connection(channel)
        if connection is None:
            self._hub.counters.events_undeliverable += 1
            logger.warning("an event %r for channel %s came to nobody: no such connection", event.type, channel)
            return
        handler = find_handler(connection.consumer_class, event.type)
        if handler is None:
            self._hub.counters.events_unhandled += 1
            logger.error("%s has no handler for event %r; it was sent to its channel", connection, event.type)
        else:
            turn = handler.turn or _shared_turn(handler, connection)
            connection.mailbox.put(turn, event.copy(), len(event.packed))

    def _report_unhandled(self, audience: Cohort | Follower, group: Group, event: Event) -> None:
        self._hub.counters.events_unhandled += len(audience.members)
        logger.error(
            "%s has no handler for event %r sent to group %r: its %d members did not get it",
            audience.consumer_class.__qualname__,
            event.type,
            group.name,
            len(audience.members),
        )


def _shared_turn(handler: Handler, connection: Connection) -> Turn:
    """Return a turn that runs a shared handler for one connection, in the order of its other events."""

    async def turn(consumer: Any, event: Any) -> None:
        assert handler.shared is not None
        content = handler.shared(event)
        if content is not None:
            connection.send_text(plain.encode(content))

    turn.__name__ = handler.name
    return turn
