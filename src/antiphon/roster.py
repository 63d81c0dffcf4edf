"""Who is in which group: the roster that an engine keeps of one process, or of all.

Laws:
- a client is in a group once, however often it is entered; the newest info is what others see;
- whether the end of an entry is announced was decided when it was first entered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from antiphon.types import ClientInfo, PresenceStats

__all__ = ["Entry", "Roster"]


class Entry(NamedTuple):
    """A client in a group."""

    info: ClientInfo
    announced: bool
    """Whether the group's members are told that it came, and that it goes."""


class Roster:
    """Entries by group and client."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, Entry]] = {}

    def enter(self, group: str, info: ClientInfo, *, announced: bool) -> Entry | None:
        """Note that the client is in the group; return the entry if it is new, None if the client was there already."""
        entries = self._groups.setdefault(group, {})
        before = entries.get(info.client)
        entry = entries[info.client] = Entry(info, announced if before is None else before.announced)
        return entry if before is None else None

    def leave(self, group: str, client: str) -> Entry | None:
        """Take the client out and return what was noted of it; None: it was not there."""
        entries = self._groups.get(group, {})
        entry = entries.pop(client, None)
        if entry is not None and not entries:
            del self._groups[group]
        return entry

    def infos(self, group: str) -> dict[str, ClientInfo]:
        """Return who is in the group, by the client's id, in the order of entering."""
        return {client: entry.info for client, entry in self._groups.get(group, {}).items()}

    def stats(self, group: str) -> PresenceStats:
        """Return how many that are."""
        return PresenceStats.of(entry.info for entry in self._groups.get(group, {}).values())

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """Return every entry with its group; the roster may change meanwhile."""
        return iter([(group, entry) for group, entries in self._groups.items() for entry in entries.values()])

    def clear(self) -> None:
        """Take out all."""
        self._groups.clear()
