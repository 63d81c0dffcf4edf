"""The hub: the groups and connections of this process, and the fan-out to them.

Laws:
- one write per connection per tick of the loop, whatever was sent to it in between;
- frames of one connection leave in the order in which they were caused;
- what a publication costs does not grow with the number of members until the tick ends;
- a member that fails, is slow or is gone costs the others nothing.

Handlers of events run in the next tick: until then events wait in the backlog. A publication that comes behind events
waits there too, and so does what a connection sends behind such a publication; what a handler of the backlog causes is
caused when it runs.

At most one group is *open* at a time: its cohorts have chunks pending that its members have not seen. Everything that
could overtake them settles the open group first: another group's publication, a change of its members, a handler. What
one connection is sent by itself only makes that connection catch up.

Members that read their channel by themselves (``inbox``) get events and publications at once, in the order of the
calls: theirs is a queue, and they are nobody who could be overtaken. Of a group that keeps its history they get each
publication once and in the order of the offsets; what was lost on the way, when it has been filled in.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from antiphon import codes, droppable
from antiphon.attendance import Attendance
from antiphon.config import MiB
from antiphon.control import Control
from antiphon.counters import Counters
from antiphon.delivery import Delivery
from antiphon.engines.base import Engine
from antiphon.events import publication_event
from antiphon.exceptions import LimitExceeded
from antiphon.fanout import Targets, write_one
from antiphon.following import Following
from antiphon.formats import Chunk, Format
from antiphon.group import Group
from antiphon.inbox import Inbox, Inboxes
from antiphon.jobs import Jobs
from antiphon.resumption import Resumption
from antiphon.rules import Rule, Rules
from antiphon.stream import Recovery
from antiphon.threads import Outlet
from antiphon.types import ClientInfo, Event, Position, Publication

if TYPE_CHECKING:
    from antiphon.connection import Connection

__all__ = ["Hub"]

logger = logging.getLogger("antiphon.hub")

_NO_RULES = Rules({})


class Hub:
    """Groups and connections on one event loop. Implements ``EngineEvents``."""

    def __init__(
        self,
        engine: Engine,
        counters: Counters,
        *,
        groups_per_connection: int,
        rules: Rules = _NO_RULES,
        process: str = "",
        inbox_limit: int = 4 * MiB,
        position_check: float = 0,
    ) -> None:
        self.engine = engine
        self.counters = counters
        self.loop = asyncio.get_running_loop()
        self.process = process
        """Its part of the channel names of its connections."""
        self.outlet = Outlet(self.loop)
        """How threads reach the loop."""
        self.open_group: Group | None = None
        self._groups_per_connection = groups_per_connection
        self._rules = rules
        self._keeps_all = not rules.leave_out
        self.inboxes = Inboxes(counters, self.leave_all, process=process, limit=inbox_limit)
        """The channels that are read with ``receive()``."""
        self.jobs = Jobs(self)
        """What brings messages to those who read them."""
        self.groups: dict[str, Group] = {}
        """The groups with members in this process, by name."""
        self._connections: dict[str, Connection] = {}
        self.following = Following(self, position_check)
        """What looks after positions."""
        self.attendance = Attendance(self)
        """What looks after presence."""
        self.delivery = Delivery(self)
        """What brings events to handlers."""
        self.control = Control(self)
        """What obeys orders."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._departed: weakref.WeakValueDictionary[str, Connection] = weakref.WeakValueDictionary()
        self._backlog: deque[tuple[Callable[[Any, Any], None], Any, Any]] = deque()
        self._dirty: list[Connection] = []
        self._scheduled = False
        self.sends_wait = False
        """Whether what a connection sends now belongs behind a publication that waits in the backlog."""
        self._late_publications = 0
        self._context = contextvars.Context()

    # Connections and memberships

    @property
    def connections(self) -> list[Connection]:
        """Every connection of this process that is not over."""
        return list(self._connections.values())

    def add(self, connection: Connection) -> None:
        """Make ``connection`` reachable by its channel name."""
        self._connections[connection.channel_name] = connection

    def remove(self, connection: Connection) -> None:
        """Take ``connection`` out of all its groups and forget its channel name."""
        if self._connections.pop(connection.channel_name, None) is not None:
            self._departed[connection.channel_name] = connection
            self.control.ended(connection, connection.client_if_named)
        for group in list(connection.memberships):
            self._leave(group, connection)

    def connection(self, channel_name: str) -> Connection | None:
        """Return the connection with this channel name that is not over."""
        return self._connections.get(channel_name)

    def find(self, channel_name: str) -> Connection | None:
        """Return the connection with this channel name: one that is alive, or whose consumer has yet to finish."""
        return self._connections.get(channel_name) or self._departed.get(channel_name)

    def rule(self, name: str) -> Rule:
        """Return the rule of the group called ``name``."""
        group = self.groups.get(name)
        return group.rule if group is not None else self._rules.find(name)

    def members(self, name: str) -> int:
        """Return how many connections and channels of this process are in the group."""
        group = self.groups.get(name)
        return len(group) if group is not None else 0

    async def join(self, name: str, connection: Connection) -> None:
        """Put ``connection`` into the group; when this returns, what is published reaches it.

        Raises ``LimitExceeded``. A connection that is over by then joins nothing.
        """
        group = await self._ready_for(name, connection)
        if group is None:
            return
        if group is self.open_group:
            self.settle()
        connection.memberships[group] = group.add(connection)
        self.attendance.joined(group, connection)

    async def join_at(
        self, name: str, connection: Connection, since: Position | None, *, recovered_only: bool = False
    ) -> Recovery | None:
        """Put ``connection`` into a group that keeps its history; return what it is to be given of what it missed.

        ``since`` is how far it came; without it nothing is missed, and it begins at the top. What the recovery has is
        to be handed to the client before anything else happens on the loop. None: it is a member already, or over.
        With ``recovered_only`` it does not become a member where something of that is lost.
        Raises ``LimitExceeded``.
        """
        group = await self._ready_for(name, connection)
        if group is None:
            return None
        try:
            recovery = await self.following.catch_up(group, since)
            if group not in connection.memberships:
                self._check_limit(connection)  # once more: it may have joined others meanwhile
        except BaseException:
            self._drop_if_empty(group)
            raise
        if connection.channel_name not in self._connections or group in connection.memberships:
            self._drop_if_empty(group)
            return None
        if recovered_only and not recovery.recovered:
            self._drop_if_empty(group)
            return recovery
        self.following.admit(group, connection, recovery.position)
        self.attendance.joined(group, connection)
        return recovery

    async def _ready_for(self, name: str, connection: Connection) -> Group | None:
        """Return the group when the engine knows of this process's interest; None: there is nothing to join."""
        while True:
            group = self.groups.get(name)
            if group is not None and group in connection.memberships:
                return None
            try:
                self._check_limit(connection)
            except LimitExceeded:
                if group is not None:
                    self._drop_if_empty(group)
                raise
            if group is None:
                group = self._begin(name)
            if group.subscribing is None:
                break
            await self._wait_for_engine(group, group.subscribing)  # and look again: others came and went meanwhile
        if connection.channel_name not in self._connections:
            self._drop_if_empty(group)
            return None
        return group

    def _check_limit(self, connection: Connection) -> None:
        if len(connection.memberships) >= self._groups_per_connection:
            raise LimitExceeded(
                f"this connection is in {len(connection.memberships)} groups, the limit of groups_per_connection"
            )

    async def join_inbox(self, name: str, inbox: Inbox) -> None:
        """Put the channel of ``inbox`` into the group; when this returns, what is published reaches it.

        A channel that is over by then joins nothing.
        """
        try:
            while True:
                group = self.groups.get(name)
                if group is None:
                    group = self._begin(name)
                if group.subscribing is None:
                    break
                await self._wait_for_engine(group, group.subscribing)
        except BaseException:
            self.inboxes.forget_if_idle(inbox)
            raise
        member = self.inboxes.reach(inbox.channel, inbox.expiry)  # look again: it may have been forgotten meanwhile
        if member is None:
            self._drop_if_empty(group)
        else:
            if not group.inboxes:
                group.heard = group.position
            member.memberships[group] = group.inboxes[member] = None

    def leave(self, name: str, member: Connection | Inbox) -> None:
        """Take ``member`` out of the group, if it is in it."""
        group = self.groups.get(name)
        if group is None:
            return
        if isinstance(member, Inbox):
            self._leave_inbox(group, member)
            self.inboxes.forget_if_idle(member)
        else:
            self._leave(group, member)

    def leave_all(self, inbox: Inbox) -> None:
        """Take the channel of ``inbox`` out of all its groups."""
        for group in list(inbox.memberships):
            self._leave_inbox(group, inbox)

    def _leave_inbox(self, group: Group, inbox: Inbox) -> None:
        if group in inbox.memberships:
            del inbox.memberships[group], group.inboxes[inbox]
            self._drop_if_empty(group)

    def _leave(self, group: Group, connection: Connection) -> None:
        if group is self.open_group:
            self.settle()
        if connection.memberships.pop(group, None) is not None:
            group.remove(connection)
            self.attendance.left(group, connection)
            self._drop_if_empty(group)

    def _begin(self, name: str) -> Group:
        """Return the group, new in this process."""
        group = self.groups[name] = Group(name, self._rules.find(name))
        self._subscribe(group)
        return group

    async def _wait_for_engine(self, group: Group, subscribing: asyncio.Future[None]) -> None:
        group.waiting += 1
        try:
            await asyncio.shield(subscribing)
            if group.subscribing is subscribing:  # it has only just ended: ``_subscribed`` runs in this round
                await asyncio.sleep(0)
        except BaseException:
            if group.waiting == 1 and subscribing.done():
                self._drop_if_empty(group)
            raise
        finally:
            group.waiting -= 1

    def _subscribe(self, group: Group) -> None:
        """Tell the engine of this process's interest, in a task of the hub's: who joins may be cancelled."""
        work = self.following.begin(group) if group.is_kept else self.engine.subscribe(group.name)
        try:
            waits_for = work.send(None)
        except StopIteration:
            return  # as with an engine of this process
        except BaseException:
            del self.groups[group.name]
            raise
        group.subscribing = self.loop.create_task(_go_on(work, waits_for))
        group.subscribing.add_done_callback(lambda done: self._subscribed(group, done))

    def _subscribed(self, group: Group, done: asyncio.Future[None]) -> None:
        group.subscribing = None
        if (done.cancelled() or done.exception() is not None) and self.groups.get(group.name) is group:
            del self.groups[group.name]
        elif not group.waiting:
            self._drop_if_empty(group)

    def _drop_if_empty(self, group: Group) -> None:
        if not group and group.subscribing is None and self.groups.get(group.name) is group:
            del self.groups[group.name]
            self.engine.unsubscribe(group.name)

    # What the engine tells (EngineEvents)

    def on_publication(self, group: str, publication: Publication) -> None:
        """Send the publication to the group's members of this process."""
        target = self.groups.get(group)
        if target is None:
            return
        if target.inboxes:
            if not target.is_kept or self.following.is_news(target, publication):
                self._put(target, publication_event(group, publication))
            if not target.cohorts and not target.is_kept:
                return
        if target.catching:
            self.following.hear(target, publication)
        if self._backlog:
            self._backlog.append((self._publish_late, target, publication))
            self._late_publications += 1
            self.sends_wait = True
        else:
            self._publish(target, publication)

    def on_event(self, group: str, event: Event) -> None:
        """Run the event's handler for the group's members of this process, in the next tick."""
        target = self.groups.get(group)
        if target is None:
            return
        if target.inboxes:
            self._put(target, event)
        if target.cohorts or target.followers:
            self.at_tick(self.delivery.to_group, target, event)

    def on_direct_event(self, channel: str, event: Event) -> None:
        """Run the event's handler for one connection, in the next tick, or put it into the channel's inbox."""
        if channel not in self._connections and (inbox := self.inboxes.reach(channel)) is not None:
            self.inboxes.put(inbox, event)
            return
        self.at_tick(self.delivery.to_channel, channel, event)

    def on_join(self, group: str, info: ClientInfo) -> None:
        """Let members know of it."""
        self.attendance.tell(group, info, joins=True)

    def on_leave(self, group: str, info: ClientInfo) -> None:
        """Let members know of it."""
        self.attendance.tell(group, info, joins=False)

    def on_control(self, control: bytes) -> None:
        """Do what was ordered."""
        self.control.take(control)

    def on_continuity_lost(self) -> None:
        """Compare the position of every group with its stream."""
        self.counters.continuity_losses += 1
        self.following.check_soon()

    # Fan-out

    def flush(self, connection: Connection) -> None:
        """Write what ``connection`` has pending now, because it is about to be closed."""
        group = self.open_group
        if group is not None and (cohort := connection.memberships.get(group)) is not None:
            cohort.catch_up(connection)
        if self.sends_wait:
            self._take_from_backlog(connection)
        pending, connection.pending = connection.pending, []
        if pending:
            self.counters.sends_after_close += write_one(connection, self._join(connection.format, pending))

    def _take_from_backlog(self, connection: Connection) -> None:
        """Give ``connection`` what is behind the events that it will not be there for."""
        reached: dict[Group, Position] = {}
        for deliver, target, what in self._backlog:
            if target is connection and deliver is _append:
                connection.pending.append(what)
            elif (
                target in connection.memberships
                and deliver == self._publish_late
                and self.following.is_due(target, connection, what, reached)
            ):
                connection.pending.append(target.publication_chunk(connection.format, what))

    def _put(self, group: Group, event: Event) -> None:
        for inbox in list(group.inboxes):
            self.inboxes.put(inbox, event)

    def schedule(self) -> None:
        """See to it that the tick's end comes."""
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._tick, context=self._context)

    def mark_dirty(self, connection: Connection) -> None:
        """Note that ``connection`` got its first chunk of this tick."""
        self._dirty.append(connection)
        if not self._scheduled:
            self.schedule()

    def settle(self) -> None:
        """Give the members of the open group what is pending, so that something may come after it."""
        group, self.open_group = self.open_group, None
        if group is not None:
            for cohort in list(group.cohorts.values()):
                cohort.settle()

    def _tick(self) -> None:
        self.sends_wait = False
        try:
            # What handlers add while it is worked off waits for the next tick.
            for _ in range(len(self._backlog)):
                deliver, target, what = self._backlog.popleft()
                try:
                    deliver(target, what)
                except Exception:
                    logger.exception("an event or publication could not be delivered")
            self._flush()
        finally:
            self.sends_wait = self._late_publications > 0
            self._scheduled = False
            if self._backlog or self._dirty or self.open_group is not None:
                self.schedule()

    def _flush(self) -> None:
        group, self.open_group = self.open_group, None
        if group is not None:
            for cohort in list(group.cohorts.values()):
                self.counters.sends_after_close += cohort.flush(bool(self._dirty))
        dirty, self._dirty = self._dirty, []
        # Members of a group mostly have the same chunks pending: join them once, and write them all at once.
        alike: list[Connection] = []
        previous: list[Any] = []
        for connection in dirty:
            pending, connection.pending = connection.pending, []
            if not pending:
                continue  # it was closed, and what it had pending was written then
            if pending == previous:
                alike.append(connection)
                continue
            if alike:
                self._write_alike(alike, previous)
            alike, previous = [connection], pending
        if alike:
            self._write_alike(alike, previous)

    def _write_alike(self, connections: list[Connection], pending: list[Any]) -> None:
        """Write the same chunks to all of ``connections``."""
        first = connections[0]
        chunk = pending[0] if len(pending) == 1 else self._join(first.format, pending)
        gone = write_one(first, chunk) if len(connections) == 1 else Targets(connections).write(chunk)
        self.counters.sends_after_close += gone

    def _join(self, format: Format, pending: list[Chunk]) -> Chunk:
        return format.join(pending) if self._keeps_all else droppable.join(format, pending)

    def send_late(self, connection: Connection, chunk: Any) -> None:
        """Give ``connection`` the chunk behind what waits in the backlog."""
        self._backlog.append((_append, connection, chunk))

    def at_tick(self, deliver: Callable[[Any, Any], None], target: Any, what: Any) -> None:
        """Call ``deliver`` in the next tick, behind what waits in the backlog."""
        self._backlog.append((deliver, target, what))
        self.schedule()

    def in_turn(self, deliver: Callable[[Any, Any], None], target: Any, what: Any) -> None:
        """Call ``deliver`` behind what waits in the backlog; at once, where nothing does."""
        if self._backlog:
            self._backlog.append((deliver, target, what))
        else:
            deliver(target, what)

    def _publish_late(self, group: Group, publication: Publication) -> None:
        self._late_publications -= 1
        self._publish(group, publication)

    def _publish(self, group: Group, publication: Publication) -> None:
        if group.is_doubted:
            self.following.doubt(group, Position(publication.epoch, publication.offset - 1))
        if not group.is_kept or self.following.is_next(group, publication):
            self.deliver_publication(group, publication)

    def deliver_publication(self, group: Group, publication: Publication) -> None:
        """Put a publication, which comes next, in front of the group's members."""
        if group.is_kept and group.inboxes and self.following.is_news(group, publication):
            self._put(group, publication_event(group.name, publication))
        self.open(group)
        for cohort in group.cohorts.values():
            cohort.pending.append(group.publication_chunk(cohort.format, publication))
        if group.followers:
            self.following.take_in(group)

    def open(self, group: Group) -> None:
        """Make ``group`` the open one: its cohorts are about to get chunks."""
        if self.open_group is not group:
            self.settle()
            self.open_group = group
            if not self._scheduled:
                self.schedule()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work``, which takes care of its own failures, in a task that ends with the hub."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Close every connection and wait until their consumers are done."""
        connections = self.connections
        for connection in connections:
            connection.drain(codes.SERVICE_RESTART)
        await asyncio.gather(*(connection.finished() for connection in connections))
        self.inboxes.close()
        await self.jobs.close()
        self.following.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _append(connection: Connection, chunk: Any) -> None:
    connection.append(chunk)


async def _go_on(work: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await Resumption(work, waits_for)
