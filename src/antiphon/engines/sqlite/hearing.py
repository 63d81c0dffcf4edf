"""What this process is told: what itself and others have written, for the groups that it is subscribed to, in order.

Laws:
- publications of a group are told in the order of their offsets, each once;
- what others did not say, or what was lost on the way, is read from the database (``apply``); what is not there any
  more, and does not come, is lost (``give_up``): that is told, and counted;
- who subscribes hears what was published after that, and nothing of before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Set

import msgspec

from antiphon.counters import Counters
from antiphon.engines.base import EngineEvents
from antiphon.engines.sqlite.frames import Controlled, Directed, Item, Joined, Published, Queued, Sent, Told
from antiphon.engines.sqlite.order import Order
from antiphon.events import carry_event
from antiphon.types import Event, Page, Position, Publication, Retention

__all__ = ["Hearing", "Interest"]

logger = logging.getLogger("antiphon.engines")


class Interest:
    """What this process has been told of a group that it is subscribed to."""

    __slots__ = ("held", "retention", "told")

    def __init__(self) -> None:
        self.told: Position | None = None
        """The newest publication that was told, or was there before; None: that is not known yet."""
        self.held: list[Publication] = []
        """What has come meanwhile."""
        self.retention: Retention | None = None


class Hearing:
    """The interests of this process, which has these ``names``, and the order of what arrives.

    ``ring`` takes the word that something waits in a general channel.
    """

    def __init__(
        self, events: EngineEvents, names: Set[str], counters: Counters, ring: Callable[[str], None] = lambda _: None
    ) -> None:
        self._events: EngineEvents | None = events
        self._ring = ring
        self._names = names
        self._counters = counters
        self._interests: dict[str, Interest] = {}
        self.order = Order(1)

    def stop(self) -> None:
        """Tell nothing more."""
        self._events = None
        self._interests.clear()

    # Interests

    def begin(self, group: str, retention: Retention | None) -> Interest:
        """Hold what comes of the group, until it is known what was there before; or go on as before."""
        interest = self._interests.setdefault(group, Interest())
        if retention is not None:
            interest.retention = retention
        return interest

    def ready(self, group: str, interest: Interest, top: Position) -> None:
        """Tell what was published after ``top``."""
        if interest.told is not None:
            return
        interest.told = top
        held, interest.held = interest.held, []
        for publication in held:
            self._tell(group, publication)

    def end(self, group: str, interest: Interest | None = None) -> bool:
        """Tell no more of the group; tell whether there was an interest (and this one, where it is given)."""
        if interest is not None and self._interests.get(group) is not interest:
            return False
        return self._interests.pop(group, None) is not None

    @property
    def retentions(self) -> dict[str, Retention | None]:
        """The groups of interest, and how they are kept."""
        return {group: interest.retention for group, interest in self._interests.items()}

    def positions(self) -> dict[str, Position]:
        """How far each group has been told."""
        return {group: each.told for group, each in self._interests.items() if each.told is not None}

    # What arrives

    def take(self, sender: Hashable, told: Told) -> None:
        """Tell what ``sender`` told, or let it wait until its turn comes."""
        self._tell_all(self.order.put(sender, told))

    def skip(self, last: int) -> None:
        """Wait no longer for transactions up to ``last``."""
        self._tell_all(self.order.skip(last))

    def restart(self, next: int) -> None:
        """Begin to count anew: it is another file."""
        self._tell_all(self.order.restart(next))

    def _tell_all(self, ready: Iterable[Told]) -> None:
        for told in ready:
            for item in told.items:
                try:
                    self._tell_item(item)
                except Exception:  # it is not to stop what comes behind it
                    logger.exception("what the SQLite engine told of could not be taken: %.200r", item)

    def _tell_item(self, item: Item) -> None:
        events = self._events
        if events is None:
            return
        if isinstance(item, Published):
            if item.group in self._interests:
                self._tell(item.group, item.publication)
        elif isinstance(item, Sent):
            if item.group in self._interests:
                events.on_event(item.group, event_of(item.event))
        elif isinstance(item, Directed):
            if item.process in self._names:
                events.on_direct_event(item.channel, event_of(item.event))
        elif isinstance(item, Controlled):
            if not item.process or item.process in self._names:
                events.on_control(item.control)
        elif isinstance(item, Queued):
            self._ring(item.channel)
        elif item.group in self._interests:
            tell = events.on_join if isinstance(item, Joined) else events.on_leave
            tell(item.group, item.info)

    def _tell(self, group: str, publication: Publication) -> None:
        interest = self._interests.get(group)
        if interest is None or self._events is None:
            return
        told = interest.told
        if told is None:
            interest.held.append(publication)
        elif _is_beyond(told, publication.position):
            interest.told = publication.position
            self._events.on_publication(group, publication)
            if not _is_next(told, publication):
                self.lost(_between(told, publication.position))

    # What was missed

    def apply(self, pages: Mapping[str, Page]) -> None:
        """Tell what was read behind what was told, as far as nothing is missing between."""
        for group, page in pages.items():
            for publication in page.publications:
                interest = self._interests.get(group)
                if interest is not None and interest.told is not None and _is_next(interest.told, publication):
                    self._tell(group, publication)

    def give_up(self, last: int, tops: Mapping[str, Position]) -> None:
        """Wait no longer for transactions up to ``last``; what is missing of streams up to these tops is lost."""
        self._tell_all(self.order.skip(last))
        for group, top in tops.items():
            interest = self._interests.get(group)
            if interest is not None and interest.told is not None and _is_beyond(interest.told, top):
                told, interest.told = interest.told, top
                self.lost(_between(told, top) + 1)

    def lost(self, publications: int = 0) -> None:
        """Tell that publications may have been missed."""
        self._counters.engine_publications_missed += publications
        if self._events is not None:
            self._events.on_continuity_lost()


def _is_next(told: Position, publication: Publication) -> bool:
    if publication.epoch != told.epoch:
        return publication.offset == 1
    return publication.offset == told.offset + 1


def _is_beyond(told: Position, top: Position) -> bool:
    return top.epoch != told.epoch or top.offset > told.offset


def _between(told: Position, position: Position) -> int:
    """Return how many publications are between both, as far as that can be known."""
    before = told.offset if told.epoch == position.epoch else 0
    return max(position.offset - before - 1, 0)


def event_of(packed: bytes) -> Event:
    """Return the event that travelled as ``packed``."""
    return carry_event(msgspec.msgpack.decode(packed))
