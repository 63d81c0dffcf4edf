"""Something that must not be, and the kinds of it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DISORDERS", "DOUBLES", "LOSSES", "Finding"]

HOLE = "hole"
MISCOUNTED = "miscounted"
STRANDED = "stranded"
UNRECOVERED = "unrecovered"
REPEATED = "repeated"
#: The same, first since it joined: of a process that is behind the one where it was before.
REPEATED_AT_FIRST = "repeated at first"
SPOILED = "spoiled"
MISPLACED = "misplaced"
NEEDLESS = "needless gap"
OVERTAKEN = "overtaken"
REFUSED = "refused"
#: One position for two publications.
GIVEN_TWICE = "position given twice"
#: Two positions for one publication.
PUBLISHED_TWICE = "published twice"
#: Its ``publish`` returned, and history does not have it.
NOT_KEPT = "not kept"
#: Present, and not there any more.
GHOST = "ghost"
#: There, and not present.
ABSENT = "absent"
#: Findings that say: something was lost, and nobody was told.
LOSSES = frozenset({HOLE, MISCOUNTED, STRANDED, UNRECOVERED, NOT_KEPT})
#: Findings that say: something came twice, or was made twice.
DOUBLES = frozenset({REPEATED, REPEATED_AT_FIRST, PUBLISHED_TWICE})
#: Findings that say: something is not in the place where it should be.
DISORDERS = frozenset({MISPLACED, OVERTAKEN, GIVEN_TWICE})


class Finding(NamedTuple):
    """What was found, and where."""

    kind: str
    group: str
    words: str
    place: int = -1
    """Which entry of a trail it is about; -1: none, or its end."""
