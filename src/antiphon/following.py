"""Members of a group that go by its stream: none of its publications is left out for them, or they are told.

The hub's members are of two kinds where a group keeps its history: those that are simply sent what is published, and
those that have a *position*, by which they can come back. Both get the same bytes from the same cohorts, so it is
enough that the group as a whole has a position, and that members enter a cohort only where theirs is the same.

Laws:
- a group that keeps its history has a position before it has members, so that nothing can be lost unnoticed;
- what is delivered to it has the next offset; what was delivered before is skipped and counted;
- where something is missing, what comes waits, the hole is filled from history in order, and if history no longer has
  it, every member is told of the gap and where the stream is now;
- a member that joins with a position gets what is behind it, once, whatever is published meanwhile;
- what a lost subscription has swallowed is found by a check, at the latest so often as the configuration says.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from antiphon.stream import CatchUp, Place, Recovery, place
from antiphon.types import Page, Position, Publication

if TYPE_CHECKING:
    from antiphon.connection import Connection
    from antiphon.group import Group
    from antiphon.hub import Hub

__all__ = ["Following"]

logger = logging.getLogger("antiphon.hub")

#: How many groups are checked before others may have the loop.
_AT_ONCE = 100


class Following:
    """The part of a hub that looks after positions, and checks them every ``interval`` seconds; 0: never."""

    def __init__(self, hub: Hub, interval: float) -> None:
        self._hub = hub
        self._interval = interval
        self._check: asyncio.TimerHandle | None = None
        """The next check, or the one that runs."""

    # Coming in

    async def begin(self, group: Group) -> None:
        """Subscribe to the group and learn its position, before anybody is a member."""
        engine = self._hub.engine
        await engine.subscribe(group.name, group.rule.retention)
        try:
            group.position = (await self.catch_up(group, None)).position
        except BaseException:
            engine.unsubscribe(group.name)
            raise
        self._watch()

    async def catch_up(self, group: Group, since: Position | None) -> Recovery:
        """Read what is behind ``since`` while publications come, and return all that a new member is to be given.

        Without ``since`` it begins at the top. It has to be admitted before anything else happens on the loop: it is
        as far as the group then, or further.
        """
        catch_up = CatchUp(since, newest_only=group.newest_only)
        group.catching.add(catch_up)
        try:
            recovery = catch_up.finish(await self._read(group, catch_up))
            if _is_behind(recovery.position, group) or _is_elsewhere(recovery.position, group):
                # The group went on to the end of a gap meanwhile, past what was read; or its stream is over.
                recovery = catch_up.finish(await self._read(group, catch_up))
        finally:
            group.catching.discard(catch_up)
        if _is_behind(recovery.position, group):
            assert group.position is not None
            return Recovery(False, (), group.position)
        return recovery

    async def _read(self, group: Group, catch_up: CatchUp) -> Page:
        page = await self._page(group, catch_up)
        return await self._page(group, catch_up) if catch_up.is_torn(page) else page

    async def _page(self, group: Group, catch_up: CatchUp) -> Page:
        history, retention = self._hub.engine.history, group.rule.retention
        if catch_up.since is None:
            return await history(group.name, retention, limit=0)
        if catch_up.newest_only:
            return await history(group.name, retention, limit=1, reverse=True)
        return await history(group.name, retention, since=catch_up.since)

    def admit(self, group: Group, connection: Connection, position: Position) -> None:
        """Make the connection, which stands at ``position``, a member: of a cohort, or for now by itself."""
        if group.position == position:
            self._enter_cohort(group, connection)
        else:  # what it was given from history has yet to be delivered to the others
            connection.memberships[group] = group.follow(connection, position)

    def _enter_cohort(self, group: Group, connection: Connection) -> None:
        if group is self._hub.open_group:
            self._hub.settle()
        connection.memberships[group] = group.add(connection)

    # What is published

    def hear(self, group: Group, publication: Publication) -> None:
        """Let those who catch up know of a publication as soon as it has come, also where it waits behind events."""
        for catch_up in group.catching:
            catch_up.live(publication)

    def is_next(self, group: Group, publication: Publication) -> bool:
        """Tell whether a publication is to be delivered to the group now."""
        if group.repair is None and publication.offset == group.offset + 1 and publication.epoch == group.epoch:
            group.offset = publication.offset  # nearly every one: what the rest says of it, written out
            return True
        position = group.position
        if position is None:  # nobody is a member yet
            return False
        if group.repair is not None:
            group.repair.live(publication)
            return False
        where = place(position, publication)
        if where is Place.NEXT:
            group.position = publication.position
            return True
        if where is Place.OLD:
            self._hub.counters.publications_repeated += 1
        else:
            self.repair(group).live(publication)
        return False

    def is_news(self, group: Group, publication: Publication) -> bool:
        """Tell whether a publication is what the group's inboxes get now."""
        if group.heard is not None and place(group.heard, publication) is not Place.NEXT:
            return False  # it came before, or comes when the hole before it is filled
        group.heard = publication.position
        return True

    def is_due(
        self, group: Group, connection: Connection, publication: Publication, reached: dict[Group, Position]
    ) -> bool:
        """Tell whether a publication that waits comes next for a member that is to get now what it can.

        ``reached`` remembers from one to the next how far it has come.
        """
        if not group.is_kept:
            return True
        position = reached.get(group) or group.followers.get(connection) or group.position
        if position is None or place(position, publication) is not Place.NEXT:
            return False
        reached[group] = publication.position
        return True

    def take_in(self, group: Group) -> None:
        """Let those who follow by themselves be among the others, who have come as far."""
        for connection, position in list(group.followers.items()):
            if position == group.position:
                del group.followers[connection]
                self._enter_cohort(group, connection)

    # Holes

    def repair(self, group: Group) -> CatchUp:
        """Begin to fill what is missing behind the group's position; what is returned takes what comes meanwhile."""
        catch_up = group.repair
        if catch_up is None:
            catch_up = group.repair = CatchUp(group.position, newest_only=group.newest_only)
            self._hub.start(self._fill(group, catch_up))
        return catch_up

    async def _fill(self, group: Group, catch_up: CatchUp) -> None:
        try:
            page = await self._read(group, catch_up)
        except Exception:
            logger.exception("group %r: its history can't be read; the position check will try again", group.name)
            group.repair = None
        else:  # who was sent what it missed, behind what waits, is not to be overtaken
            self._hub.in_turn(self._close_hole, group, page)

    def _close_hole(self, group: Group, page: Page) -> None:
        """Deliver what was missing, if it is there, and what came meanwhile."""
        catch_up, group.repair = group.repair, None
        if catch_up is None or self._hub.groups.get(group.name) is not group:
            return  # everybody has left
        recovery = catch_up.finish(page)
        if not recovery.recovered:
            self._declare_gap(group, recovery.position)
            return
        self._hub.counters.publications_recovered += catch_up.unheard(recovery.publications)
        if catch_up.newest_only and recovery.publications:
            self._jump(group, recovery.publications[0])
        for publication in recovery.publications:
            self.hear(group, publication)
            group.position = publication.position
            self._hub.deliver_publication(group, publication)

    def _jump(self, group: Group, newest: Publication) -> None:
        """Let everybody stand where ``newest`` comes next: what it takes the place of is no news any more."""
        start = group.position = Position(newest.epoch, newest.offset - 1)
        if group.heard is not None:
            group.heard = start
        for connection, reached in group.followers.items():
            if reached.epoch != start.epoch or reached.offset < start.offset:
                group.followers[connection] = start
        self.take_in(group)

    def _declare_gap(self, group: Group, position: Position) -> None:
        before, group.position = group.position, position
        group.heard = position
        self._hub.counters.gaps += 1
        logger.error(
            "group %r: what came between %s and %s is lost; its members are told", group.name, before, position
        )
        self._tell_all(group, position)
        for connection, reached in list(group.followers.items()):
            if reached.epoch == position.epoch and reached.offset >= position.offset:
                continue  # it has been given all of that
            group.followers[connection] = position
            self._tell(group, connection, position)
        self.take_in(group)

    def _tell_all(self, group: Group, position: Position) -> None:
        for inbox in list(group.inboxes):
            self._hub.inboxes.gap(inbox)
        for connection in group.members():
            self._tell(group, connection, position)

    def _tell(self, group: Group, connection: Connection, position: Position) -> None:
        connection.gap(group.name, position)

    # The check

    def _watch(self) -> None:
        """See to it that the next check comes."""
        if self._interval and self._check is None:
            self._check = self._hub.loop.call_later(self._interval, lambda: self._hub.start(self._check_again()))

    async def _check_again(self) -> None:
        try:
            await self.check()
        except Exception:
            logger.exception("the groups' positions can't be checked; the next try is in %g s", self._interval)
        self._check = None
        if self._kept_groups():
            self._watch()

    def check_soon(self) -> None:
        """Check now: the engine may have missed publications.

        Of a group that keeps none nobody can say what they were: its members are told that there may be a gap, before
        the next publication, or when the engine has been asked where the stream is.
        """
        doubted = [group for group in self._hub.groups.values() if not group.is_kept]
        for group in doubted:
            group.is_doubted = True
        self._hub.start(self._check_once(doubted))

    async def _check_once(self, doubted: list[Group]) -> None:
        try:
            for number, group in enumerate(doubted, 1):
                if group.is_doubted and self._hub.groups.get(group.name) is group:
                    page = await self._hub.engine.history(group.name, group.rule.retention, limit=0)
                    self._hub.in_turn(self.doubt, group, page.top)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            await self.check()
        except Exception:
            logger.exception("the groups' positions can't be checked after the engine lost continuity")

    def doubt(self, group: Group, position: Position) -> None:
        """Tell the members of a group that keeps nothing, once, that what came before ``position`` may be lost."""
        if group.is_doubted and self._hub.groups.get(group.name) is group:
            group.is_doubted = False
            self._hub.counters.gaps += 1
            logger.error("group %r: publications may be lost, and it keeps none; its members are told", group.name)
            self._tell_all(group, position)

    async def check(self) -> None:
        """Compare every group's position with its stream, and fill in what a lost subscription has swallowed."""
        for number, group in enumerate(self._kept_groups(), 1):
            if self._hub.sends_wait:  # publications wait behind events: they are not lost, and come with the tick
                await asyncio.sleep(0)
            before = group.position
            if before is None or group.repair is not None or self._hub.groups.get(group.name) is not group:
                continue
            page = await self._hub.engine.history(group.name, group.rule.retention, limit=0)
            is_behind = page.top != before == group.position and not self._hub.sends_wait
            if is_behind and group.repair is None:
                self.repair(group)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _kept_groups(self) -> list[Group]:
        return [group for group in self._hub.groups.values() if group.is_kept]

    def close(self) -> None:
        """Check nothing any more; what is still being repaired ends with the hub."""
        self._interval = 0
        if self._check is not None:
            self._check.cancel()


def _is_behind(position: Position, group: Group) -> bool:
    """Tell whether the group has come further in the same stream."""
    at = group.position
    return at is not None and position.epoch == at.epoch and position.offset < at.offset


def _is_elsewhere(position: Position, group: Group) -> bool:
    """Tell whether the group is in another stream."""
    return group.position is not None and position.epoch != group.position.epoch
