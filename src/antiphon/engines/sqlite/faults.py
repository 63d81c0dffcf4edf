"""What goes wrong with a database file, in words: what it is, and what to do."""

from __future__ import annotations

import sqlite3

from antiphon.exceptions import EngineUnavailable, OutcomeUnknown

__all__ = ["CLOSE_AFTER", "Fault", "fault_of"]

_BUSY, _LOCKED = sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED

_WORDS = {
    _BUSY: "another program holds its lock; see who has the file open, or give the engine a longer busy_timeout",
    _LOCKED: "another program holds its lock; see who has the file open, or give the engine a longer busy_timeout",
    sqlite3.SQLITE_FULL: "the disk is full; make room, and it goes on by itself",
    sqlite3.SQLITE_READONLY: "it can't be written; the process needs the right to write the file and its folder",
    sqlite3.SQLITE_PERM: "it may not be opened; the process needs the right to read and write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: (
        "it can't be opened; its folder has to exist, and the process needs the right to write there"
    ),
    sqlite3.SQLITE_CORRUPT: (
        "it is damaged; stop all processes, move the file and those beside it away, and start anew or from a backup"
    ),
    sqlite3.SQLITE_NOTADB: (
        "it is no database, or a damaged one; name another file, or move this one away and start anew or from a backup"
    ),
    sqlite3.SQLITE_IOERR: "it can't be read or written; see what the system's log says of the disk",
    sqlite3.SQLITE_TOOBIG: "what is to be stored is longer than SQLite takes",
}

#: After these a connection is opened anew.
CLOSE_AFTER = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR,
}


class Fault(Exception):
    """The file can't be used now; the message has the file and what to do, ``code`` is SQLite's, 0 where it has none.

    ``outcome_unknown`` says that what was to be written may have been.
    """

    def __init__(self, path: str, words: str, code: int = 0, *, outcome_unknown: bool = False) -> None:
        super().__init__(f"the database {path}: {words}")
        self.code = code
        self.outcome_unknown = outcome_unknown

    @property
    def is_busy(self) -> bool:
        """Whether only the lock was missing."""
        return self.code in (_BUSY, _LOCKED)

    @property
    def told(self) -> EngineUnavailable | OutcomeUnknown:
        """What those are told who wait for what was to be written."""
        return OutcomeUnknown(str(self)) if self.outcome_unknown else EngineUnavailable(str(self))


def fault_of(error: sqlite3.Error, path: str, *, committing: bool = False) -> Fault:
    """Return what ``error`` means; ``committing``: it was raised by COMMIT."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    words = _WORDS.get(code, "SQLite can't go on")
    # Where no room was left, or the lock was missing, the end of the transaction has not been written.
    certain = code in (_BUSY, _LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)
    return Fault(path, f"{words} ({error})", code, outcome_unknown=committing and not certain)
