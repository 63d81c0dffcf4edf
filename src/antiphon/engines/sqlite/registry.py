"""The processes on one database, and who is present in which of them.

A process has a lease: a row in ``processes`` that says until when it is alive, which it renews. Everything that it
declared hangs on that row: its interests in groups, and the clients that it entered. When the lease is over any other
process may take it all away, in one transaction, so that each end is told once.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from antiphon.engines.sqlite.frames import Joined, Left
from antiphon.engines.sqlite.store import CHUNK, IDLE, Store, milliseconds, read_commits, read_next_end
from antiphon.roster import Entry
from antiphon.types import ClientInfo, Retention

__all__ = ["Peer", "Registry", "Sight", "read_peers", "read_presence", "read_sight"]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ClientInfo).decode


class Peer(NamedTuple):
    """Another process that lives."""

    id: int
    name: str
    address: str


class Sight(NamedTuple):
    """What a look at the database has seen."""

    commits: int
    is_known: bool
    """Whether this process is among those that live."""
    next_end: int | None
    peers: list[Peer]


class Registry:
    """This process in ``processes``, its interests and entries; used inside of the transactions of ``store``."""

    def __init__(self, store: Store, name: str, address: str, lease: float) -> None:
        self._store = store
        self._execute = store.connection.execute
        self._name = name
        self._address = address
        self._lease = milliseconds(lease)

    # This process

    def register(self, now: int) -> None:
        """Put this process among those that live, with nothing declared."""
        row = (self._name, self._address, now + self._lease)
        cursor = self._execute("INSERT INTO processes (name, address, until) VALUES (?, ?, ?)", row)
        self._store.process = cursor.lastrowid or 0

    def renew(self, now: int) -> bool:
        """Renew the lease; tell whether it was there. If it was not, others took this process for dead."""
        row = (now + self._lease, self._store.process)
        return self._execute("UPDATE processes SET until = ? WHERE id = ? AND until > 0", row).rowcount == 1

    def keep_alive(self, now: int) -> None:
        """Renew the lease, or take a new one."""
        if not self.renew(now):
            self.register(now)

    def leave_all(self, now: int) -> None:
        """End: take away everything that this process declared."""
        self._store.flush()
        self._bury(self._store.process)
        while self._take_interests(self._store.process, now):
            pass

    def declare(
        self, entries: Iterable[tuple[str, Entry]], interests: Mapping[str, Retention | None], now: int
    ) -> None:
        """Make what is noted of this process what it says itself, and tell the difference."""
        held = self._execute(
            "SELECT name FROM interests JOIN groups ON id = group_id WHERE process_id = ?", (self._store.process,)
        ).fetchall()
        for (name,) in held:
            if name not in interests:
                self._store.unsubscribe(name, now)
        for name, retention in interests.items():
            self._store.subscribe(name, retention, now)
        wanted = {(group, entry.info.client): entry for group, entry in entries}
        there = self._execute(
            'SELECT "group", client FROM entries WHERE process_id = ?', (self._store.process,)
        ).fetchall()
        for group, client in there:
            if (group, client) not in wanted:
                self.leave(group, client)
        for (group, _), entry in wanted.items():
            self.enter(group, entry)

    # Entries

    def enter(self, group: str, entry: Entry) -> None:
        """Note that a client of this process is in the group, or that its info has changed."""
        info = _encode(entry.info)
        row = (group, entry.info.client, self._store.process, info, entry.announced)
        is_new = self._execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)", row).rowcount == 1
        if not is_new:
            self._execute(
                'UPDATE entries SET info = ? WHERE "group" = ? AND client = ? AND process_id = ?', (info, *row[:3])
            )
        elif entry.announced:
            self._store.told.append(Joined(group, entry.info))

    def leave(self, group: str, client: str) -> None:
        """Note that it is no longer there."""
        row = (group, client, self._store.process)
        for info, announced in self._execute(
            'DELETE FROM entries WHERE "group" = ? AND client = ? AND process_id = ? RETURNING info, announced', row
        ).fetchall():
            if announced:
                self._store.told.append(Left(group, _decode(info)))

    # Those that are dead

    def sweep(self, now: int) -> bool:
        """Take away what dead processes declared; tell whether there is more."""
        self._store.flush()
        for process, until, address in self._execute(
            "SELECT id, until, address FROM processes WHERE until <= ?", (now,)
        ).fetchall():
            if until:
                self._bury(process)
                _remove_socket(address)
            if self._take_interests(process, now):
                return True
        return False

    def _bury(self, process: int) -> None:
        """Note that a process is dead, and that its clients have gone."""
        self._execute("UPDATE processes SET until = 0 WHERE id = ?", (process,))
        for group, info, announced in self._execute(
            'DELETE FROM entries WHERE process_id = ? RETURNING "group", info, announced', (process,)
        ).fetchall():
            if announced:
                self._store.told.append(Left(group, _decode(info)))

    def _take_interests(self, process: int, now: int) -> bool:
        """Take away some of its interests, and at last its row; tell whether there is more."""
        groups = self._execute(
            "DELETE FROM interests WHERE process_id = ? AND group_id IN"
            " (SELECT group_id FROM interests WHERE process_id = ? LIMIT ?) RETURNING group_id",
            (process, process, CHUNK),
        ).fetchall()
        for (group,) in groups:  # as if it had unsubscribed
            self._execute(
                "UPDATE groups SET forget = max(forget, ? + CASE lifetime WHEN 0 THEN ? ELSE lifetime END)"
                " WHERE id = ?",
                (now, IDLE, group),
            )
        if len(groups) < CHUNK:
            self._execute("DELETE FROM processes WHERE id = ?", (process,))
            return False
        return True


def _remove_socket(address: str) -> None:
    try:
        os.unlink(address)
    except OSError:
        pass


# Reading: for any connection


def read_presence(connection: sqlite3.Connection, group: str, now: int) -> dict[str, ClientInfo]:
    """Return who is in the group, in processes that live."""
    rows = connection.execute(
        'SELECT client, info FROM entries JOIN processes ON id = process_id WHERE "group" = ? AND until > ?'
        " ORDER BY process_id",
        (group, now),
    )
    return {client: _decode(info) for client, info in rows}


def read_peers(connection: sqlite3.Connection, now: int) -> list[Peer]:
    """Return the processes that live."""
    rows = connection.execute("SELECT id, name, address FROM processes WHERE until > ?", (now,))
    return [Peer(*row) for row in rows]


def read_sight(connection: sqlite3.Connection, process: int, address: str, now: int) -> Sight:
    """Return what the process with this row and address has to see to."""
    peers = read_peers(connection, now)
    is_known = any(each.id == process and each.address == address for each in peers)
    return Sight(read_commits(connection), is_known, read_next_end(connection), peers)
