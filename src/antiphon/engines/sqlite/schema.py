"""The database file: its tables, how it is made, opened, and brought up to date.

``PRAGMA user_version`` counts the steps of ``STEPS`` that were taken; a file of an older antiphon takes the rest when
it is opened, one of a newer antiphon is refused. Times are milliseconds since 1970.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from antiphon.engines.sqlite.faults import Fault, fault_of
from antiphon.engines.sqlite.options import Options

__all__ = [
    "STEPS",
    "connect",
    "current_boot",
    "filesystem",
    "identity",
    "make_ready",
    "note_end",
    "open_for_reading",
    "read_token",
    "refuse_remote",
]

Result = TypeVar("Result")

#: The first SQLite that knows RETURNING.
_OLDEST = (3, 35)

#: "anti": what ``file`` and others know an antiphon database by.
APPLICATION_ID = 0x616E7469

#: Pages of the write-ahead log after which what it holds is moved into the database: 16 MiB.
_CHECKPOINT = 4000
#: KiB of pages that the connection that writes keeps in memory, at most.
_CACHE = 65536

#: Where processes can't share the memory that the write-ahead log needs, or locks can't be trusted.
_REMOTE = ("nfs", "cifs", "smb", "afs", "ceph", "lustre", "gluster", "fuse.sshfs", "fuse.gluster")

_FIRST = """
CREATE TABLE state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    commits INTEGER NOT NULL,   -- transactions that other processes were told of
    token TEXT NOT NULL,        -- which file this is: no other has it
    inode INTEGER NOT NULL,     -- of the file when it was opened last: another one is a copy
    boot TEXT NOT NULL          -- of the machine, since which not all of it may be on the disk; empty: all of it is
);
INSERT INTO state VALUES (1, 0, '', 0, '');

CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    name TEXT UNIQUE,           -- NULL: forgotten; what is left of it is being removed
    epoch TEXT NOT NULL,
    top INTEGER NOT NULL,       -- the newest offset
    first INTEGER NOT NULL,     -- the oldest that is kept; all up to top are; top + 1: none
    stored INTEGER NOT NULL,    -- the oldest that may still be in the table
    until INTEGER NOT NULL,     -- when the newest that is kept ends
    lifetime INTEGER NOT NULL,  -- for how long the group is kept after its last use; 0: no retention says so
    forget INTEGER NOT NULL,    -- when it is forgotten, if no process is interested
    due INTEGER                 -- when something of it has ended; NULL: nothing will
);
CREATE INDEX groups_due ON groups (due);

CREATE TABLE publications (
    group_id INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    time INTEGER NOT NULL,
    until INTEGER NOT NULL,     -- never before that of the publication before it
    data BLOB NOT NULL,
    rest BLOB,                  -- key, info and tags, where there are any
    PRIMARY KEY (group_id, "offset")
) WITHOUT ROWID;

CREATE TABLE keys (
    group_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    "offset" INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (group_id, key)
) WITHOUT ROWID;
CREATE INDEX keys_until ON keys (until);

CREATE TABLE processes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,         -- its part of channel names
    address TEXT NOT NULL,      -- of its socket
    until INTEGER NOT NULL      -- when it is dead, unless it says otherwise before; 0: it is
);

CREATE TABLE interests (
    process_id INTEGER NOT NULL,
    group_id INTEGER NOT NULL,
    PRIMARY KEY (process_id, group_id)
) WITHOUT ROWID;
CREATE INDEX interests_group ON interests (group_id);

CREATE TABLE entries (
    "group" TEXT NOT NULL,
    client TEXT NOT NULL,
    process_id INTEGER NOT NULL,
    info BLOB NOT NULL,
    announced INTEGER NOT NULL,
    PRIMARY KEY ("group", client, process_id)
) WITHOUT ROWID;
CREATE INDEX entries_process ON entries (process_id);
"""

_CHANNELS = """
CREATE TABLE channels (         -- general channels in which something waits
    name TEXT PRIMARY KEY,
    messages INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
    channel TEXT NOT NULL,
    place INTEGER NOT NULL,     -- the lowest is taken first
    until INTEGER NOT NULL,
    event BLOB NOT NULL,
    PRIMARY KEY (channel, place)
) WITHOUT ROWID;
CREATE INDEX jobs_until ON jobs (channel, until);
"""

#: What makes a file of version n one of version n + 1.
STEPS: Sequence[str] = (_FIRST, _CHANNELS)


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells one file from another at the same path, while one of them is open; None: there is none.

    Raises ``Fault`` where it may not be looked at.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Fault(path, f"it can't be reached; the process needs the right to enter its folder ({error})") from None
    return found.st_dev, found.st_ino


def connect(options: Options, steps: Sequence[str] = STEPS) -> sqlite3.Connection:
    """Return a connection that writes; the file is made where there is none. Raises ``Fault``."""
    folder = os.path.dirname(options.path)
    if sqlite3.sqlite_version_info < _OLDEST:
        raise Fault(options.path, f"SQLite {sqlite3.sqlite_version} is too old; it takes 3.35 or newer")
    if not os.path.isdir(folder):
        raise Fault(options.path, f"there is no folder {folder}; make it, and let the process write there")
    refuse_remote(options.path)
    connection = None
    try:
        connection = sqlite3.connect(options.path, isolation_level=None, timeout=0, cached_statements=256)
        patiently = _Patience(options.busy_timeout)
        _begin_log(connection, options.path, patiently)
        connection.execute("PRAGMA synchronous = FULL")  # for what make_ready writes
        connection.execute(f"PRAGMA cache_size = -{_CACHE}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        connection.execute(f"PRAGMA journal_size_limit = {_CHECKPOINT * 4096 * 2}")
        patiently(lambda: make_ready(connection, options.path, steps, is_synced=options.synchronous == "full"))
        connection.execute(f"PRAGMA synchronous = {options.synchronous}")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise fault_of(error, options.path) from error
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def open_for_reading(options: Options) -> sqlite3.Connection:
    """Return a connection that reads; the file has to be there. Raises ``Fault``."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(options.path)}?mode=rw", uri=True, isolation_level=None, timeout=options.busy_timeout
        )
        connection.execute("PRAGMA query_only = 1")
    except sqlite3.Error as error:
        raise fault_of(error, options.path) from error
    return connection


def read_token(connection: sqlite3.Connection) -> str:
    """Return what tells the file from all others for ever."""
    (token,) = connection.execute("SELECT token FROM state").fetchone()
    return str(token)


class _Patience:
    """Tries again while others hold the lock, until the time is over."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def __call__(self, work: Callable[[], Result]) -> Result:
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > self._deadline:
                    raise
            time.sleep(0.002)


def _begin_log(connection: sqlite3.Connection, path: str, patiently: _Patience) -> None:
    (mode,) = patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
    if mode != "wal":
        raise Fault(path, f"it can't have a write-ahead log here (its journal is {mode!r}); put it on a local disk")


def make_ready(
    connection: sqlite3.Connection,
    path: str,
    steps: Sequence[str] = STEPS,
    *,
    is_synced: bool = False,
    boot: str | None = None,
) -> None:
    """Make what is not there, bring up to date what is, and see whether the file is behind what it has been.

    ``is_synced`` tells whether what is written from now on is on the disk when it is committed, and ``boot`` which
    start of the machine this is; None: ask.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        _refuse_strange(connection, path, version, len(steps))
        for step in steps[version:]:
            for statement in step.split(";\n"):
                connection.execute(statement)
        if version < len(steps):
            connection.execute(f"PRAGMA user_version = {len(steps)}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _begin_anew_in_a_copy(connection, os.stat(path).st_ino)
        _begin_anew_behind_a_power_cut(connection, current_boot() if boot is None else boot, is_synced=is_synced)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _refuse_strange(connection: sqlite3.Connection, path: str, version: int, known: int) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION_ID:
        raise Fault(path, "it is the database of another program; give the engine a file of its own")
    if version > known:
        raise Fault(
            path,
            f"a newer antiphon has made it (version {version}, this one knows {known}); install that one, or name "
            "another file",
        )


def _begin_anew_in_a_copy(connection: sqlite3.Connection, inode: int) -> None:
    """Give every group a new epoch where the file is not the one that was written last.

    A copy, such as a backup that was put back, may be behind what clients have seen: the offsets that follow would be
    given out twice.
    """
    (known,) = connection.execute("SELECT inode FROM state").fetchone()
    if known != inode:
        if known:
            _begin_anew(connection)
        connection.execute("UPDATE state SET inode = ?, token = lower(hex(randomblob(8)))", (inode,))


def _begin_anew_behind_a_power_cut(connection: sqlite3.Connection, boot: str, *, is_synced: bool) -> None:
    """Do the same where the machine was started anew since the file was written without waiting for the disk.

    The last that was committed may be lost then (sqlite.org/pragma.html#pragma_synchronous), and clients have seen it.
    """
    (known,) = connection.execute("SELECT boot FROM state").fetchone()
    if known not in ("", boot):
        _begin_anew(connection)
        known = ""
    if not known and not is_synced:
        known = boot
    connection.execute("UPDATE state SET boot = ?", (known,))


def _begin_anew(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE groups SET epoch = lower(hex(randomblob(8)))")


def note_end(connection: sqlite3.Connection, now: int) -> None:
    """Note that all of the file is on the disk, if no other process lives that writes; raise ``sqlite3.Error``.

    It is then the same after the machine was started anew.
    """
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    (others,) = connection.execute("SELECT count(*) FROM processes WHERE until > ?", (now,)).fetchone()
    if not others:
        connection.execute("UPDATE state SET boot = ''")
    connection.execute("COMMIT")


def current_boot(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Return what tells this start of the machine from all others; where nothing does, always the same."""
    try:
        return path.read_text().strip()
    except OSError:
        return "unknown"


def refuse_remote(path: str) -> None:
    """Raise ``Fault`` for a file on a filesystem of other hosts."""
    kind = filesystem(path)
    if kind.startswith(_REMOTE):
        raise Fault(path, f"it is on a filesystem of other hosts ({kind}), where SQLite's locks and shared memory fail")


def filesystem(path: str, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the kind of filesystem that ``path`` is on; empty: it can't be known."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ") if len(fields) > 2 else ""
        if point and len(point) >= len(best) and (real + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, fields[2]
    return kind
