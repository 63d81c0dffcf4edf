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
- what a lost subscription has swallowed is found by a check, at the latest so often as the configuration says;
- what can't be read of a group after the engine has lost continuity is tried again until it can.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from antiphon.stream import CatchUp, Place, Recovery, place
from antiphon.types import Page, Position, Publication

if TYPE_CHECKING:
    from antiphon.connection import Connection
    from antiphon.group import Group
    from antiphon.hub import Hub

__all__ = ["Following"]

logger = logging.getLogger("antiphon.hub")

#: How many groups are checked at the same time, and before others may have the loop.
_AT_ONCE = 100
#: Seconds before a group is tried again that could not be read: behind the first failure, and at most.
_AGAIN, _AGAIN_AT_MOST = 0.25, 5.0


class Following:
    """The part of a hub that looks after positions, and checks them every ``interval`` seconds; 0: never."""

    def __init__(self, hub: Hub, interval: float) -> None:
        self._hub = hub
        self._interval = interval
        self._check: asyncio.TimerHandle | None = None
        """The next check, or the one that runs."""
        self._readings: dict[tuple[Group, Position | None], asyncio.Future[Page | None]] = {}
        """What is being read for somebody who comes, and may serve others who come meanwhile."""
        self._unsure: dict[Group, None] = {}
        """Groups that are to be compared with their streams, in this order."""
        self._is_looking = False
        """Whether that is being done."""
        self._failing: set[Group] = set()
        """Those of them that could not be read the last time."""
        self._failing_since = self._pause = 0.0
        self._has_failed = False
        """Whether the engine may need a pause."""

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
            is_shared, page = await self._read_together(group, catch_up)
            recovery = catch_up.finish(page)
            is_torn = is_shared and not recovery.recovered  # it may be: between the reading and this one's beginning
            if is_torn or _is_behind(recovery.position, group) or _is_elsewhere(recovery.position, group):
                # The group went on to the end of a gap meanwhile, past what was read; or its stream is over.
                recovery = catch_up.finish(await self._read(group, catch_up))
        finally:
            group.catching.discard(catch_up)
        if _is_behind(recovery.position, group):
            assert group.position is not None
            return Recovery(False, (), group.position)
        return recovery

    async def _read_together(self, group: Group, catch_up: CatchUp) -> tuple[bool, Page]:
        """Read what somebody else is just reading with it, or read it; tell which.

        All members of a group come back at the same time, from the same position, when a server or a network has
        failed: one of them reads for all.
        """
        key = group, catch_up.since
        reading = self._readings.get(key)
        if reading is not None:
            page = await asyncio.shield(reading)
            return (True, page) if page is not None else (False, await self._read(group, catch_up))
        reading = self._readings[key] = self._hub.loop.create_future()
        try:
            page = await self._read(group, catch_up)
        except BaseException:
            reading.set_result(None)  # then each reads by itself
            raise
        finally:
            del self._readings[key]
        reading.set_result(page)
        return False, page

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
            group.repair = None
            self._failed(group)
        else:  # who was sent what it missed, behind what waits, is not to be overtaken
            self._read_well(group)
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
        self._look_at([*doubted, *self._kept_groups()])

    def _look_at(self, groups: Iterable[Group]) -> None:
        """Compare groups with their streams, again and again until that could be done."""
        self._unsure.update(dict.fromkeys(groups))
        if not self._is_looking:
            self._is_looking = True
            self._hub.start(self._look())

    async def _look(self) -> None:
        at_once = 1  # and many when one could be read
        while self._unsure:
            if self._has_failed:
                self._has_failed, at_once = False, 1
                self._pause = min(max(self._pause * 2, _AGAIN), _AGAIN_AT_MOST)
                await asyncio.sleep(self._pause)
            groups = list(itertools.islice(self._unsure, at_once))
            for group in groups:
                del self._unsure[group]
            at_once = _AT_ONCE
            await asyncio.gather(*map(self._try_to_compare, groups))
            await asyncio.sleep(0)
        self._is_looking = False

    async def _try_to_compare(self, group: Group) -> None:
        try:
            await self._compare(group)
        except Exception:
            self._failed(group)

    async def _compare(self, group: Group) -> None:
        if self._hub.groups.get(group.name) is not group:  # everybody has left
            self._read_well(group)
        elif group.is_kept:
            if not await self._compare_position(group):
                self._unsure[group] = None
        else:
            if group.is_doubted:
                page = await self._hub.engine.history(group.name, group.rule.retention, limit=0)
                self._hub.in_turn(self.doubt, group, page.top)
            self._read_well(group)

    def _failed(self, group: Group) -> None:
        """Note, where an exception is handled, that a group could not be read: it is tried again."""
        if not self._failing:
            self._failing_since = self._hub.loop.time()
            self._hub.counters.position_outages += 1
            logger.exception("group %r: its stream can't be read; this and others are tried until they can", group.name)
        self._failing.add(group)
        self._has_failed = True
        self._look_at([group])

    def _read_well(self, group: Group) -> None:
        """Note that a group could be read."""
        if group in self._failing:
            self._failing.discard(group)
            if not self._failing:
                self._has_failed, self._pause = False, 0.0
                seconds = self._hub.loop.time() - self._failing_since
                logger.warning("the streams of all groups could be read again, after %.1f s", seconds)

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
            if self._hub.groups.get(group.name) is group:
                await self._compare_position(group)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _compare_position(self, group: Group) -> bool:
        """Begin to fill in what is missing behind a group's position, if anything is and that is not being done.

        False: that can't be told now, for publications came meanwhile that may be older than what is missing.
        """
        if self._hub.sends_wait:  # publications wait behind events: they are not lost, and come with the tick
            await asyncio.sleep(0)
        before = group.position
        if before is None or group.repair is not None:
            return True
        page = await self._hub.engine.history(group.name, group.rule.retention, limit=0)
        if group.repair is not None:
            return True
        if page.top == group.position or (group.position != before and _is_behind(page.top, group)):
            self._read_well(group)
            return True
        if group.position != before or self._hub.sends_wait:
            return False
        self.repair(group)
        return True

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
