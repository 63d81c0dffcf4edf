"""A group in this process: its members, and what they are all about to be sent.

Members that share consumer class and format form a *cohort*: whatever one of them is sent by a publication or a shared
handler, all are sent, byte for byte. A cohort therefore keeps one list of pending chunks for all its members, and a
publication costs one append however many members there are.

Where the group's rule allows to leave messages out for a member who reads too slowly, their chunks say where they come
from (``droppable``), and so does what is joined of them; everybody who is not slow gets them as any other bytes.

Laws:
- a member gets the cohort's chunks in their order, and its own chunks between them where they were caused;
- ``settle`` and ``flush`` leave nothing pending.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from antiphon import droppable
from antiphon.fanout import Targets
from antiphon.formats import Chunk, Format
from antiphon.rules import Rule
from antiphon.stream import CatchUp
from antiphon.types import ClientInfo, Position, Publication

if TYPE_CHECKING:
    from antiphon.connection import Connection
    from antiphon.inbox import Inbox

__all__ = ["Cohort", "Follower", "Group"]


class Cohort:
    """The members of one group that get the same bytes."""

    __slots__ = ("_caught_up", "_join", "_targets", "consumer_class", "format", "members", "pending")

    def __init__(self, consumer_class: type, format: Format, *, keeps_all: bool = True) -> None:
        self.consumer_class = consumer_class
        self.format = format
        self._join: Callable[[Sequence[Chunk]], Chunk] = (
            format.join if keeps_all else functools.partial(droppable.join, format)
        )
        self.members: dict[Connection, None] = {}
        self.pending: list[Chunk] = []
        self._caught_up: dict[Connection, int] = {}
        self._targets: Targets | None = None

    def put(self, chunk: Chunk) -> None:
        """Give every member a chunk, when the time has come."""
        self.pending.append(chunk)

    def catch_up(self, member: Connection) -> None:
        """Give ``member`` what is pending now, because it is about to get a chunk of its own."""
        done = self._caught_up.get(member, 0)
        if done < len(self.pending):
            self._caught_up[member] = len(self.pending)
            for chunk in self.pending[done:]:
                member.append(chunk)

    def settle(self) -> None:
        """Give every member what is pending, to be written with whatever else it gets in this tick."""
        for member, chunk in self._shares():
            member.append(chunk)

    def flush(self, others_are_dirty: bool) -> int:
        """Write what is pending to every member, or put it behind what a member has pending itself.

        ``others_are_dirty`` tells whether any connection has something pending of its own. Return how many members
        could not be written to because they are gone.
        """
        if self._caught_up:
            self.settle()
            return 0
        pending, self.pending = self.pending, []
        if not pending:
            return 0
        chunk = self._join(pending)
        if others_are_dirty:
            return self._write_behind(chunk)
        if self._targets is None:
            self._targets = Targets(self.members)
        return self._targets.write(chunk)

    def _write_behind(self, chunk: Chunk) -> int:
        clean = []
        for member in self.members:
            if member.pending:
                member.pending.append(chunk)
            else:
                clean.append(member)
        return Targets(clean).write(chunk)

    def changed(self) -> None:
        """Note that a member came or went, or is written to in another way than before."""
        self._targets = None

    def _shares(self) -> list[tuple[Connection, Chunk]]:
        """Return what each member has still to get, and forget what was pending."""
        pending, self.pending = self.pending, []
        caught_up, self._caught_up = self._caught_up, {}
        if not pending:
            return []
        whole = self._join(pending)
        shares = []
        for member in self.members:
            done = caught_up.get(member, 0)
            if done == 0:
                shares.append((member, whole))
            elif done < len(pending):
                shares.append((member, self._join(pending[done:])))
        return shares


class Follower:
    """Stands for a cohort where a member follows the group's stream by itself: it misses nothing of a cohort's."""

    __slots__ = ("members",)

    def __init__(self, member: Connection) -> None:
        self.members = (member,)

    @property
    def consumer_class(self) -> type:
        """The class of the member's consumer."""
        return self.members[0].consumer_class

    @property
    def format(self) -> Format:
        """The format of the member's chunks."""
        return self.members[0].format

    def put(self, chunk: Chunk) -> None:
        """Give the member a chunk."""
        self.members[0].append(chunk)

    def catch_up(self, member: Connection) -> None:
        """Do nothing."""

    def changed(self) -> None:
        """Do nothing."""


_NO_RULE = Rule()


class Group:
    """One group and its cohorts in this process, with the rule that holds for it."""

    __slots__ = (
        "_source",
        "catching",
        "cohorts",
        "epoch",
        "followers",
        "heard",
        "inboxes",
        "is_doubted",
        "is_kept",
        "is_noted",
        "keeps_all",
        "name",
        "newest_only",
        "offset",
        "repair",
        "rule",
        "subscribing",
        "waiting",
    )

    def __init__(self, name: str, rule: Rule = _NO_RULE) -> None:
        self.name = name
        self.rule = rule
        self.keeps_all = rule.slow == "close"
        """Whether no message may be left out for a slow member."""
        self._source = droppable.Source(name, None)
        self.is_kept = rule.history_size > 0
        """Whether publications are kept, and have a position that members go by (``following``)."""
        self.newest_only = rule.recovery == "cache"
        """Whether each publication takes the place of those before it, for who comes back."""
        self.is_doubted = False
        """Whether publications may have been lost that nobody can know of, and nobody has been told (``following``)."""
        self.is_noted = rule.presence != "off"
        """Whether it is noted who is in it (``attendance``)."""
        self.epoch: str | None = None
        self.offset = 0
        """Of ``position``: kept apart, for each publication moves the offset alone."""
        self.catching: set[CatchUp] = set()
        """Of those who read history, and will be members."""
        self.followers: dict[Connection, Position] = {}
        """Members who have been given from history what has yet to be delivered to the others, and how far they are."""
        self.repair: CatchUp | None = None
        """What comes while a hole is being filled."""
        self.cohorts: dict[tuple[type, Format], Cohort] = {}
        self.inboxes: dict[Inbox, None] = {}
        """The members that read their channel by themselves, as Channels' consumers do."""
        self.heard: Position | None = None
        """That of the last publication that those got: they get it at once, also where it waits behind events."""
        self.subscribing: asyncio.Future[None] | None = None
        """Done when the engine knows of this process's interest; None from then on."""
        self.waiting = 0
        """How many wait for that."""

    @property
    def position(self) -> Position | None:
        """That of the last publication that was delivered here, where it is known."""
        return None if self.epoch is None else Position(self.epoch, self.offset)

    @position.setter
    def position(self, position: Position) -> None:
        self.epoch, self.offset = position

    def __len__(self) -> int:
        cohorts = sum(len(cohort.members) for cohort in self.cohorts.values())
        return cohorts + len(self.inboxes) + len(self.followers) + len(self.catching)

    def channels(self) -> list[str]:
        """Return the channel names of the members."""
        names = [member.channel_name for member in (*self.members(), *self.followers)]
        return names + [inbox.channel for inbox in self.inboxes]

    def members(self) -> list[Connection]:
        """Return the members of all cohorts."""
        return [member for cohort in self.cohorts.values() for member in cohort.members]

    def audiences(self) -> list[Cohort | Follower]:
        """Return the cohorts, and those who follow by themselves."""
        return [*self.cohorts.values(), *map(Follower, self.followers)]

    def classes(self) -> set[type]:
        """Return the classes of the members' consumers."""
        return {audience.consumer_class for audience in self.audiences()}

    def follow(self, member: Connection, position: Position) -> Follower:
        """Let ``member``, which stands at ``position``, follow by itself."""
        self.followers[member] = position
        return Follower(member)

    def add(self, member: Connection) -> Cohort:
        """Put ``member`` into the cohort of its kind and return that."""
        key = (member.consumer_class, member.format)
        cohort = self.cohorts.get(key)
        if cohort is None:
            cohort = self.cohorts[key] = Cohort(*key, keeps_all=self.keeps_all)
        cohort.members[member] = None
        cohort.changed()
        return cohort

    def remove(self, member: Connection) -> None:
        """Take ``member`` out."""
        if self.followers.pop(member, None) is not None:
            return
        key = (member.consumer_class, member.format)
        cohort = self.cohorts.get(key)
        if cohort is not None:
            cohort.members.pop(member, None)
            cohort.changed()
            if not cohort.members:
                del self.cohorts[key]

    def chunk(self, format: Format, payload: bytes) -> Chunk:
        """Return a message to all members, one that may be left out for a slow one where the rule says so."""
        return self._mark(format.text(payload), "")

    def publication_chunk(self, format: Format, publication: Publication) -> Chunk:
        """Return a publication to all members, likewise."""
        return self._mark(format.publication(self.name, publication, kept=self.is_kept), publication.key)

    def presence_chunk(self, format: Format, info: ClientInfo, *, joins: bool) -> Chunk | None:
        """Return what tells members that somebody joined or left; None: those with this format are not told."""
        chunk = format.presence(self.name, info, joins=joins)
        return droppable.mark(chunk, self._source) if chunk is not None and self.rule.slow == "drop_oldest" else chunk

    def _mark(self, chunk: Chunk, key: str) -> Chunk:
        if self.keeps_all:
            return chunk
        keyed = self.rule.slow == "latest_by_key"
        return droppable.mark(chunk, droppable.Source(self.name, key) if keyed else self._source)
