"""What shards do when the list of them changes: a group that has another server now leaves nothing behind.

Without that a list that is taken back would bring back streams that lack what was published elsewhere in the meantime,
and nobody could tell. So each server has a note of the lists that it has to heed, and who comes with another one lets
it drop the streams of all groups that the server does not have in each of them.

Laws:
- what one server has not heeded yet stays noted at the others, however long it is away, or out of the list;
- no list is forgotten before every server of the newest one has heeded it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from antiphon.engines.redis.keys import Keys
from antiphon.engines.redis.pipeline import Commands
from antiphon.engines.redis.slots import owners_of, slot_of

__all__ = ["Change", "settle"]

#: Keys that a server looks at before it does something else.
AT_ONCE = 1000


class Change(NamedTuple):
    """What has come of it that servers were used with other lists before."""

    before: tuple[str, ...]
    """The other lists."""
    dropped: int
    """Of how many groups the streams were dropped."""


class _Note(NamedTuple):
    """The lists that a server has to heed, each as the sorted names with commas in between."""

    lists: frozenset[str]
    is_heeded: bool

    @classmethod
    def read(cls, text: bytes | None) -> _Note:
        """Return what a server has; one without a note may have anything."""
        lists, _, state = (text or b"").decode().partition(" ")
        return cls(frozenset(lists.split("|") if lists else ()), state == "heeded")

    def __str__(self) -> str:
        return "|".join(sorted(self.lists)) + (" heeded" if self.is_heeded else "")


async def settle(servers: Mapping[str, Commands], names: Collection[str], keys: Keys) -> Change:
    """Let those of the servers ``names`` that are there heed this list, and the others that one of them knows of.

    Raises ``EngineError``; then it is to be done again.
    """
    here = ",".join(sorted(names))
    notes = {
        name: _Note.read(await server.call("start", "GET", keys.servers, is_repeatable=True))
        for name, server in servers.items()
    }
    lists = frozenset({here}).union(*(note.lists for note in notes.values()))
    heeded, dropped = _Note(lists, True), 0
    behind = [name for name, note in notes.items() if note != heeded]
    for name in behind:
        await _write(servers[name], keys, _Note(lists, False))
    for name in behind:
        dropped += await _drop(servers[name], name, lists, keys)
        await _write(servers[name], keys, heeded)
    if len(servers) == len(names) and len(lists) > 1:
        for server in servers.values():
            await _write(server, keys, _Note(frozenset({here}), True))
    return Change(tuple(sorted(lists - {here})), dropped)


async def _write(server: Commands, keys: Keys, note: _Note) -> None:
    await server.call("start", "SET", keys.servers, str(note), is_repeatable=True)


async def _drop(server: Commands, name: str, lists: Collection[str], keys: Keys) -> int:
    """Drop the streams of the groups that the server does not have in each of the lists."""
    owners = [owners_of(tuple(each.split(","))) for each in lists]
    dropped, cursor = 0, b"0"
    while True:
        words = "SCAN", cursor, "MATCH", keys.position("*"), "COUNT", AT_ONCE
        cursor, found = await server.call("start", *words, is_repeatable=True)
        positions = [position.decode() for position in found]
        gone = [each for each in positions if any(by_slot[slot_of(each)] != name for by_slot in owners)]
        if gone:
            streams = [keys.stream(keys.group_of(position)) for position in gone]
            await server.call("start", "DEL", *gone, *streams, is_repeatable=True)
            dropped += len(gone)
        if cursor == b"0":
            return dropped
