"""What became of a publication, in words that travel: of who publishes to the ledger."""

from __future__ import annotations

from typing import TypeAlias

from antiphon.exceptions import EngineUnavailable, OutcomeUnknown
from antiphon.types import Position, Repeat

__all__ = ["DOUBTED", "REFUSED", "Outcome", "outcome"]

#: It has no position: nobody knows whether it happened, or the engine says that it did not.
DOUBTED, REFUSED = "doubted", "refused"

#: One of these, or epoch, offset, and whether it was there already.
Outcome: TypeAlias = str | tuple[str, int, bool]


def outcome(found: Position | BaseException) -> Outcome:
    """Return what ``publish`` has returned or raised as an outcome; raise what it should not have raised."""
    if isinstance(found, Position):
        return found.epoch, found.offset, isinstance(found, Repeat)
    if isinstance(found, EngineUnavailable):
        return REFUSED
    if isinstance(found, OutcomeUnknown):
        return DOUBTED
    raise found
