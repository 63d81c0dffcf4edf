"""Streams in the database: what is done to them in one transaction. All SQL, no loop, no clock: ``now`` is passed in.

Laws:
- what is kept of a stream is one run of offsets up to the newest: ``first`` to ``top`` of its row in ``groups``;
- ``until`` of a publication is never before that of the one before it, so what is over is the beginning of the run;
- what no longer belongs to the run is removed a little at a time: by those who publish, and by ``sweep``;
- a clock that jumps back moves no offset: order is that of the transactions, whatever the time.

A row of ``groups`` is read once in a transaction and written once at its end, whatever was done to it between; so are
all its publications, with one statement for many, because each statement costs a change of threads.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from antiphon.engines.sqlite.frames import Item, Published
from antiphon.types import ClientInfo, Page, Position, Publication, Publishing, Repeat, Retention

__all__ = [
    "IDLE",
    "Store",
    "milliseconds",
    "needs_touch",
    "read_commits",
    "read_next_end",
    "read_page",
    "read_tops",
]

#: Milliseconds for which the position of a group is kept where no retention says so, and nobody is subscribed.
IDLE = 3_600_000
#: How much longer a position is kept than it has to be, so that not each read of it has to be written down.
_SLACK = 0.05
#: How many rows are removed at once.
CHUNK = 1000
#: How many rows of a group stay that are no longer kept, at most.
_TRIM = 16
#: How many publications one statement writes.
_ROWS = 64

_encode = msgspec.msgpack.Encoder().encode


def milliseconds(seconds: float) -> int:
    """Return ``seconds`` as the database has them."""
    return int(seconds * 1000)


class _Group:
    """A row of ``groups``, and what the transaction adds to it."""

    __slots__ = (
        "added", "due", "epoch", "first", "forget", "id", "is_changed", "is_due_changed", "lifetime", "name", "stored",
        "top", "until",
    )  # fmt: skip

    def __init__(self, row: Sequence[Any]) -> None:
        self.id: int = row[0]
        self.name: str = row[1]
        self.epoch: str = row[2]
        self.top: int = row[3]
        self.first: int = row[4]
        self.stored: int = row[5]
        self.until: int = row[6]
        self.lifetime: int = row[7]
        self.forget: int = row[8]
        self.due: int | None = row[9]
        self.added: list[tuple[Any, ...]] = []
        self.is_changed = self.is_due_changed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is kept."""
        return self.first > self.top

    @property
    def is_worth_trimming(self) -> bool:
        """Whether so much is no longer kept that it is removed: not each publication is to cost a removal as well."""
        return self.first - self.stored > min((self.top - self.first) // 8, _TRIM)

    def used(self, now: int) -> None:
        """Note that the position was used."""
        lasts = self.lifetime or IDLE
        self.forget = max(self.forget, now + lasts + int(lasts * _SLACK))
        self.is_changed = True
        self.look_at(self.forget)

    def look_at(self, when: int) -> None:
        """See to it that the sweep looks at it at ``when``, or before."""
        if self.due is None or when < self.due:
            self.due = when
            self.is_due_changed = self.is_changed = True


_COLUMNS = "id, name, epoch, top, first, stored, until, lifetime, forget, due"
_INSERT_ROW = "(?, ?, ?, ?, ?, ?)"
_INSERT = 'INSERT INTO publications (group_id, "offset", time, until, data, rest) VALUES '
_INSERT_MANY = _INSERT + ", ".join([_INSERT_ROW] * _ROWS)


class Store:
    """Streams, in transactions of one connection. ``begin``, what is to be done, ``finish``, ``commit``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.process = 0
        """This process's row in ``processes``, which its ``registry`` makes."""
        self.told: list[Item] = []
        """What others are to hear of this transaction."""
        self._execute = connection.execute
        self._groups: dict[str, _Group] = {}

    # Transactions

    def begin(self) -> None:
        """Begin to write; raise ``sqlite3.OperationalError`` at once where somebody else does."""
        self._execute("BEGIN IMMEDIATE")
        self.told = []
        self._groups.clear()

    def finish(self) -> int:
        """Write what was put off; return the number of this transaction, 0 where nobody is told of it."""
        self.flush()
        if not self.told:
            return 0
        (seq,) = self._execute("UPDATE state SET commits = commits + 1 RETURNING commits").fetchone()
        return int(seq)

    def commit(self) -> None:
        """End the transaction: what it did is there."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """End the transaction: nothing has happened."""
        if self.connection.in_transaction:
            self._execute("ROLLBACK")

    # What is done to streams

    def publish(self, name: str, data: bytes, key: str, publishing: Publishing | None, now: int) -> Position:
        """Take the next offset and keep the publication as it says; or return where its idempotency key is known."""
        if publishing is None:
            group = self._awake(name, now)
            group.top += 1
            self._keep_nothing(group)
            return self._published(group, Publication(data, group.epoch, group.top, now / 1000, key), now)
        info, tags, retention = publishing.info, publishing.tags, publishing.retention
        rest = _encode((key, info, tags)) if key or info is not None or tags is not None else None
        group = self._awake(name, now)
        if publishing.idempotency_key:
            known = self._take_key(group, publishing, now)
            if known is not None:
                return Repeat(group.epoch, known)
        group.top += 1
        if retention.size:
            self._keep(group, data, rest, retention, now)
        else:
            self._keep_nothing(group)
        group.lifetime = milliseconds(retention.rest)
        return self._published(group, Publication(data, group.epoch, group.top, now / 1000, key, info, tags), now)

    def _published(self, group: _Group, publication: Publication, now: int) -> Position:
        group.used(now)
        self.told.append(Published(group.name, publication))
        return Position(group.epoch, group.top)

    def _keep(self, group: _Group, data: bytes, rest: bytes | None, retention: Retention, now: int) -> None:
        """Add the newest publication to what is kept."""
        until = now + milliseconds(retention.lifetime)
        if group.until <= now:
            group.first = group.top
        elif group.first < group.top:  # the run goes on
            until = max(until, group.until)
        group.first = max(group.first, group.top - retention.size + 1)
        group.until = until
        group.added.append((group.id, group.top, now, until, data, rest))
        group.look_at(until)

    def _keep_nothing(self, group: _Group) -> None:
        """Drop what is kept: the newest is not."""
        group.first, group.until = group.top + 1, 0
        if group.stored == group.top:  # nothing is stored
            group.stored = group.first

    def _take_key(self, group: _Group, publishing: Publishing, now: int) -> int | None:
        """Return the offset of the publication that was made with the key; None: the next one is."""
        key = publishing.idempotency_key.encode("utf-8", "surrogatepass")
        found = self._execute(
            'SELECT "offset", until FROM keys WHERE group_id = ? AND key = ?', (group.id, key)
        ).fetchone()
        if found is not None and found[1] > now:
            return int(found[0])
        until = now + milliseconds(publishing.retention.idempotency_window)
        self._execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", (group.id, key, group.top + 1, until))
        return None

    def remove_history(self, name: str) -> None:
        """Drop what is kept and keep the position."""
        group = self._find(name)
        if group is not None and not group.is_empty:
            group.first, group.until, group.is_changed = group.top + 1, 0, True

    def touch(self, name: str, retention: Retention | None, now: int) -> Position:
        """Return the top of the stream, and keep its position from now on as the retention says."""
        group = self._awake(name, now)
        if retention is not None:
            group.lifetime = milliseconds(retention.rest)
        group.used(now)
        return Position(group.epoch, group.top)

    def subscribe(self, name: str, retention: Retention | None, now: int) -> Position:
        """Keep the group's position until this process unsubscribes."""
        position = self.touch(name, retention, now)
        row = (self.process, self._groups[name].id)
        self._execute("INSERT OR IGNORE INTO interests VALUES (?, ?)", row)
        return position

    def unsubscribe(self, name: str, now: int) -> None:
        """Keep the group for no longer than its lifetime, as far as this process is concerned."""
        group = self._find(name)
        if group is not None:
            self._execute("DELETE FROM interests WHERE process_id = ? AND group_id = ?", (self.process, group.id))
            group.used(now)

    # Rows

    def load(self, names: Iterable[str]) -> None:
        """Read the rows of several groups with one statement."""
        missing = list(dict.fromkeys(name for name in names if name not in self._groups))[:500]
        if len(missing) > 1:
            missing += [missing[0]] * (-len(missing) % 8)  # few statements that differ
            marks = ", ".join("?" * len(missing))
            for row in self._execute(f"SELECT {_COLUMNS} FROM groups WHERE name IN ({marks})", missing):  # noqa: S608
                self._groups[row[1]] = _Group(row)

    def _find(self, name: str) -> _Group | None:
        group = self._groups.get(name)
        if group is None:
            row = self._execute(f"SELECT {_COLUMNS} FROM groups WHERE name = ?", (name,)).fetchone()  # noqa: S608
            if row is not None:
                group = self._groups[name] = _Group(row)
        return group

    def _awake(self, name: str, now: int) -> _Group:
        """Return the group, a new one where there is none, or where it was to be forgotten by now."""
        group = self._find(name)
        if group is not None and group.forget <= now and not self._is_of_interest(group.id):
            self._bury(group)
            group = None
        if group is None:
            epoch = secrets.token_urlsafe(8)
            row = (name, epoch, 0, 1, 1, 0, 0, now, None)
            cursor = self._execute(
                "INSERT INTO groups (name, epoch, top, first, stored, until, lifetime, forget, due)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            group = self._groups[name] = _Group((cursor.lastrowid, *row))
        return group

    def _is_of_interest(self, group_id: int) -> bool:
        found = self._execute("SELECT 1 FROM interests WHERE group_id = ? LIMIT 1", (group_id,)).fetchone()
        return found is not None

    def _bury(self, group: _Group) -> None:
        """Forget a group: its name is free at once, what is left of it goes bit by bit."""
        self._write_publications()
        self._execute("UPDATE groups SET name = NULL, first = top + 1, due = 0 WHERE id = ?", (group.id,))
        self._groups.pop(group.name, None)

    def flush(self) -> None:
        """Write what was put off."""
        self._write_publications()
        for group in self._groups.values():
            if group.is_changed:
                if group.is_worth_trimming:
                    self._remove(group, CHUNK)
                self._write(group)
        self._groups.clear()

    def _write_publications(self) -> None:
        rows: list[tuple[Any, ...]] = []
        for group in self._groups.values():
            if group.added:
                first = group.first
                rows += [row for row in group.added if row[1] >= first]
                group.added = []
        place = 0
        while len(rows) - place >= _ROWS:
            self._execute(_INSERT_MANY, [value for row in rows[place : place + _ROWS] for value in row])
            place += _ROWS
        rest = rows[place:]
        for count in (32, 16, 8, 4, 2, 1):
            if len(rest) & count:
                values = [value for row in rest[:count] for value in row]
                self._execute(_INSERT + ", ".join([_INSERT_ROW] * count), values)
                rest = rest[count:]

    def _write(self, group: _Group) -> None:
        """Write the row."""
        values = [group.epoch, group.top, group.first, group.stored, group.until, group.lifetime, group.forget]
        due = ""
        if group.is_due_changed:
            due = ", due = ?"
            values.append(group.due)
        self._execute(
            "UPDATE groups SET epoch = ?, top = ?, first = ?, stored = ?, until = ?, lifetime = ?, forget = ?"  # noqa: S608
            f"{due} WHERE id = ?",
            (*values, group.id),
        )

    def _remove(self, group: _Group, at_most: int) -> int:
        """Remove some of what is no longer kept; return how much of ``at_most`` is left."""
        bound = min(group.first, group.stored + at_most)
        cursor = self._execute('DELETE FROM publications WHERE group_id = ? AND "offset" < ?', (group.id, bound))
        group.stored = bound
        if bound < group.first:
            group.look_at(0)
        return at_most - cursor.rowcount

    # What has ended

    def sweep(self, now: int) -> bool:
        """Remove some of what is beyond its lifetime; tell whether there may be more."""
        self.flush()
        left = CHUNK
        for row in self._execute(
            f"SELECT {_COLUMNS} FROM groups WHERE due <= ? ORDER BY due LIMIT 100",  # noqa: S608
            (now,),
        ).fetchall():
            left = self._sweep_group(_Group(row), now, left)
            if left <= 0:
                return True
        removed = self._execute(
            "DELETE FROM keys WHERE (group_id, key) IN"
            " (SELECT group_id, key FROM keys WHERE until <= ? ORDER BY until LIMIT ?)",
            (now, CHUNK),
        ).rowcount
        return left < CHUNK or removed == CHUNK

    def _sweep_group(self, group: _Group, now: int, left: int) -> int:
        if group.name is None:
            return self._sweep_grave(group, left)
        if group.forget <= now and not self._is_of_interest(group.id):
            self._bury(group)
            return left - 1
        if not group.is_empty:
            group.first = first_kept(self.connection, group.id, group.first, group.top, group.until, now)
        if group.stored < group.first:
            left = self._remove(group, left)
        group.due = self._next_end(group, now)
        group.is_due_changed = True
        self._write(group)
        return left - 1

    def _sweep_grave(self, group: _Group, left: int) -> int:
        """Remove some of what is left of a group that is forgotten, and at last its row."""
        for table, key in (("publications", '"offset"'), ("keys", "key")):
            left -= self._execute(
                f"DELETE FROM {table} WHERE group_id = ? AND {key} IN"  # noqa: S608
                f" (SELECT {key} FROM {table} WHERE group_id = ? LIMIT ?)",
                (group.id, group.id, left),
            ).rowcount
            if left <= 0:
                return 0
        self._execute("DELETE FROM groups WHERE id = ?", (group.id,))
        return left - 1

    def _next_end(self, group: _Group, now: int) -> int:
        """Return when something of the group ends next."""
        if group.stored < group.first:
            return 0
        forget = group.forget if group.forget > now else now + (group.lifetime or IDLE)  # somebody is interested
        if group.is_empty:
            return forget
        row = self._execute(
            'SELECT until FROM publications WHERE group_id = ? AND "offset" = ?', (group.id, group.first)
        ).fetchone()
        return min(forget, row[0]) if row is not None else forget


# Reading: for any connection


def first_kept(connection: sqlite3.Connection, group_id: int, first: int, top: int, until: int, now: int) -> int:
    """Return the oldest offset that is not beyond its lifetime; ``top`` + 1: none. ``until`` is that of ``top``."""
    if until <= now:
        return top + 1

    def is_over(offset: int) -> bool:
        row = connection.execute(
            'SELECT until FROM publications WHERE group_id = ? AND "offset" = ?', (group_id, offset)
        ).fetchone()
        return row is None or row[0] <= now

    if not is_over(first):
        return first
    over, kept = first, top  # the beginning of the run is over, its end is not: look between
    while kept - over > 1:
        middle = (over + kept) // 2
        if is_over(middle):
            over = middle
        else:
            kept = middle
    return kept


def needs_touch(connection: sqlite3.Connection, name: str, retention: Retention, now: int) -> bool:
    """Tell whether a read of the group has to be written down, so that its position lasts."""
    row = connection.execute("SELECT id, lifetime, forget FROM groups WHERE name = ?", (name,)).fetchone()
    lasts = milliseconds(retention.rest)
    if row is None or row[1] != lasts:
        return True
    if row[2] >= now + lasts and row[2] > now:
        return False
    found = connection.execute("SELECT 1 FROM interests WHERE group_id = ? LIMIT 1", (row[0],)).fetchone()
    return found is None


def read_page(
    connection: sqlite3.Connection,
    name: str,
    since: Position | None,
    limit: int | None,
    reverse: bool,
    now: int,
) -> Page | None:
    """Return a part of what is kept of the group; None: there is no such group."""
    row = connection.execute("SELECT id, epoch, top, first, until FROM groups WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    group_id, epoch, top, first, until = row
    oldest = first_kept(connection, group_id, first, top, until, now) if first <= top else top + 1
    newest = top
    if since is not None and reverse:
        newest = min(newest, since.offset - 1)
    elif since is not None:
        oldest = max(oldest, min(since.offset, top) + 1)
    if newest < oldest or limit == 0:
        return Page((), Position(epoch, top))
    rows = connection.execute(
        'SELECT "offset", time, data, rest FROM publications WHERE group_id = ? AND "offset" BETWEEN ? AND ?'  # noqa: S608
        f' ORDER BY "offset" {"DESC" if reverse else "ASC"} LIMIT ?',
        (group_id, oldest, newest, -1 if limit is None else limit),
    )
    return Page(tuple(_publication(epoch, *each) for each in rows), Position(epoch, top))


def _publication(epoch: str, offset: int, time: int, data: bytes, rest: bytes | None) -> Publication:
    if rest is None:
        return Publication(data, epoch, offset, time / 1000)
    key, info, tags = _decode_rest(rest)
    return Publication(data, epoch, offset, time / 1000, key, info, tags)


_decode_rest = msgspec.msgpack.Decoder(tuple[str, ClientInfo | None, dict[str, str] | None]).decode


def read_tops(connection: sqlite3.Connection, names: Sequence[str]) -> dict[str, Position]:
    """Return the top of each of these streams that is there."""
    tops = {}
    for place in range(0, len(names), 500):
        some = names[place : place + 500]
        marks = ", ".join("?" * len(some))
        for name, epoch, top in connection.execute(
            f"SELECT name, epoch, top FROM groups WHERE name IN ({marks})",  # noqa: S608
            some,
        ):
            tops[name] = Position(epoch, top)
    return tops


def read_next_end(connection: sqlite3.Connection) -> int | None:
    """Return when something ends, or has ended: a lifetime, or a process's lease; None: nothing will."""
    row = connection.execute(
        "SELECT (SELECT min(due) FROM groups), (SELECT min(until) FROM keys), (SELECT min(until) FROM processes)"
    ).fetchone()
    return min((when for when in row if when is not None), default=None)


def read_commits(connection: sqlite3.Connection) -> int:
    """Return the number of the last transaction that others are told of."""
    (commits,) = connection.execute("SELECT commits FROM state").fetchone()
    return int(commits)
