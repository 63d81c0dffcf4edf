"""Streams: what a subscriber that comes back is given, and whether that is all that it missed.

A group's publications have offsets 1, 2, 3 … within an epoch. A *position* says how far a subscriber has come. One
that was away names its position; history and what is published meanwhile are put together here, and here it is judged
whether there is a *gap*: publications that are no longer stored. A gap is a value, never an exception and never
silence.

Laws, for a subscriber at position ``(e, n)``:
- it is given n+1, n+2, n+3 … without a hole and without a repetition, or it is told of a gap;
- after a gap it is given nothing of before, and stands where the stream does;
- ``recovered`` is claimed where everything in between is there, stored or live, late, twice or out of order as it may
  have come; never of another epoch, nor where anything is missing.

Whoever reads history while publications come does it in this order: begin a ``CatchUp``, let it have all that comes
live, ask the engine for the page behind the position, and once more if that ``is_torn``, ``finish`` it with that.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from antiphon.types import Page, Position, Publication

__all__ = ["BEGINNING", "CatchUp", "Place", "Recovery", "judge", "place"]

#: The position of somebody who has seen nothing: everything from the first publication on is what it missed.
BEGINNING = Position("", 0)

#: Bytes of what came live that are kept while history is being read, and what one publication counts besides its data.
#: Over it the oldest go: they are in history by then, or there is a gap.
LIVE_LIMIT, APART = 16 * 1024 * 1024, 256


class Recovery(NamedTuple):
    """What a subscriber is given that named a position."""

    recovered: bool
    """Whether ``publications`` are all that it missed; if not there is a gap, and they are empty."""
    publications: tuple[Publication, ...]
    """In the order of their offsets."""
    position: Position
    """Where the subscriber stands after them."""


class Place(enum.Enum):
    """Where a publication stands to a position."""

    NEXT = "next"
    OLD = "old"
    """It was delivered before."""
    BEYOND = "beyond"
    """Something before it is missing, or its epoch is another."""


def place(position: Position, publication: Publication) -> Place:
    """Tell where ``publication`` stands to a subscriber at ``position``."""
    if publication.epoch != position.epoch:
        return Place.NEXT if position == BEGINNING and publication.offset == 1 else Place.BEYOND
    if publication.offset <= position.offset:
        return Place.OLD
    return Place.NEXT if publication.offset == position.offset + 1 else Place.BEYOND


def judge(since: Position, page: Page) -> Recovery:
    """Say what a subscriber at ``since`` is given, where ``page`` is all that is there behind that position.

    An epoch that is empty stands for any: a subscriber that knows none yet.
    """
    top = page.top
    missed = tuple(each for each in page.publications if each.offset > since.offset)
    if since.epoch not in ("", top.epoch):
        return Recovery(False, (), top)
    if missed:
        whole = missed[-1].offset == top.offset and _is_contiguous(missed, Position(top.epoch, since.offset))
    else:
        whole = since.offset == top.offset
    return Recovery(whole, missed if whole else (), top)


def judge_newest(since: Position, page: Page) -> Recovery:
    """Say the same where each publication takes the place of those before it: the newest, unless it is at ``since``.

    Recovered is who has the newest of the stream, or is given it; not, where that is no longer stored.
    """
    top = page.top
    if since.offset == top.offset and since.epoch in ("", top.epoch):
        return Recovery(True, (), top)
    newest = page.publications[-1:]
    is_there = bool(newest) and newest[0].position == top
    return Recovery(is_there, newest if is_there else (), top)


def _is_contiguous(publications: Sequence[Publication], behind: Position) -> bool:
    """Tell whether each comes next to the one before it, and the first to ``behind``."""
    return all(
        each.offset == offset and each.epoch == behind.epoch
        for offset, each in enumerate(publications, behind.offset + 1)
    )


class CatchUp:
    """A subscriber that reads history while publications come; with ``newest_only``, the end of it."""

    __slots__ = ("_live", "_size", "newest_only", "since")

    def __init__(self, since: Position | None, *, newest_only: bool = False) -> None:
        self.since = since
        """Where the subscriber stands; None: at the top, wherever that is."""
        self.newest_only = newest_only
        """Whether each publication takes the place of those before it."""
        self._live: deque[Publication] = deque()
        self._size = 0

    def live(self, publication: Publication) -> None:
        """Keep what came while history is being read."""
        self._live.append(publication)
        self._size += len(publication.data) + APART
        while self._size > LIVE_LIMIT and len(self._live) > 1:
            self._size -= len(self._live.popleft().data) + APART

    def is_torn(self, page: Page) -> bool:
        """Tell whether what came last is of another stream than the page: newer or older, only a later page can tell.

        Whoever reads history then reads it once more before ``finish``.
        """
        return bool(self._live) and self._live[-1].epoch != page.top.epoch

    def unheard(self, publications: Iterable[Publication]) -> int:
        """Return how many of ``publications`` did not come live."""
        live = {each.position for each in self._live}
        return sum(each.position not in live for each in publications)

    def finish(self, page: Page) -> Recovery:
        """Put both together: the page as of its top, and behind that what came live of the same stream."""
        epoch = page.top.epoch
        live = [each for each in self._live if each.epoch == epoch]
        known = {each.offset: each for each in (*page.publications, *live)}
        top = Position(epoch, max([page.top.offset, *(each.offset for each in live)]))
        together = Page(tuple(known[offset] for offset in sorted(known)), top)
        if self.since is not None and self.newest_only:
            return judge_newest(self.since, together)
        return judge(page.top if self.since is None else self.since, together)
