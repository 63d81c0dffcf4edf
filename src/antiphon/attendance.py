"""Which of this process's connections are present in which groups, as the engine is told, and who is told of it.

Laws:
- a connection is present in those of its groups whose rule notes presence, from ``accept()`` on, or from joining where
  that is later, until it leaves;
- joins and leaves come through the engine, so that every process tells its members the same; they stand in the order of
  what the group is sent, and behind the answer that makes somebody a member;
- who can't be noted, because what it says of itself is no JSON, is a member all the same, and the log says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from antiphon.exceptions import NotEncodable
from antiphon.formats import Chunk, Format
from antiphon.lifecycle import State
from antiphon.types import ClientInfo

if TYPE_CHECKING:
    from antiphon.connection import Connection
    from antiphon.group import Group
    from antiphon.hub import Hub

__all__ = ["Attendance"]


class Attendance:
    """The part of a hub that looks after presence."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def joined(self, group: Group, connection: Connection) -> None:
        """Note that a connection has become a member of a group."""
        if group.is_noted and connection.state is State.OPEN:
            self._enter(group, connection)

    def accepted(self, connection: Connection) -> None:
        """Note that a connection is open: now it is present where it is a member already."""
        self._enter_all(connection)

    def changed(self, connection: Connection) -> None:
        """Note that something else is to be said of a connection."""
        self._enter_all(connection)

    def _enter_all(self, connection: Connection) -> None:
        for group in connection.memberships:
            if group.is_noted:
                self._enter(group, connection)

    def left(self, group: Group, connection: Connection) -> None:
        """Note that a connection is no longer a member."""
        client = connection.client_if_named
        if group.is_noted and client:  # who has no name has not been entered
            self._hub.engine.leave(group.name, client)

    def _enter(self, group: Group, connection: Connection) -> None:
        try:
            entry = connection.entry_in(group.name, group.rule)
        except NotEncodable as error:
            self._hub.counters.handler_errors += 1
            connection.log_failure("client_info", error)
            return
        if entry is not None:
            self._hub.engine.enter(group.name, entry.info, announced=entry.announced)

    def tell(self, name: str, info: ClientInfo, *, joins: bool) -> None:
        """Let the members of this process know that somebody joined or left, behind what was caused before."""
        group = self._hub.groups.get(name)
        if group is not None and (group.cohorts or group.followers):
            self._hub.at_tick(self._deliver, group, (info, joins))

    def _deliver(self, group: Group, change: tuple[ClientInfo, bool]) -> None:
        info, joins = change
        chunks: dict[Format, Chunk | None] = {}
        for audience in group.audiences():
            if audience.format not in chunks:
                chunks[audience.format] = group.presence_chunk(audience.format, info, joins=joins)
            chunk = chunks[audience.format]
            if chunk is not None:
                self._hub.open(group)
                audience.put(chunk)
