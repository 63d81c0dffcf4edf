"""What goes wrong with a file, in words."""

from __future__ import annotations

import sqlite3

import pytest

from antiphon.engines.sqlite.faults import fault_of


def error(code: int) -> sqlite3.OperationalError:
    found = sqlite3.OperationalError("words of SQLite")
    found.sqlite_errorcode = code
    return found


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "another program holds its lock"),
        (sqlite3.SQLITE_FULL, "make room"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "can't be written"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "damaged"),
        (sqlite3.SQLITE_NOTADB, "no database"),
        (sqlite3.SQLITE_IOERR_WRITE, "can't be read or written"),
        (sqlite3.SQLITE_CANTOPEN, "can't be opened"),
        (sqlite3.SQLITE_MISUSE, "SQLite can't go on"),
    ],
)
def test_each_says_which_file_what_it_is_and_what_sqlite_said(code: int, words: str) -> None:
    fault = fault_of(error(code), "/x/streams.db")
    assert str(fault).startswith("the database /x/streams.db: ")
    assert words in str(fault)
    assert str(fault).endswith("(words of SQLite)")
    assert not fault.outcome_unknown


def test_an_error_without_a_code_is_one_as_well() -> None:
    assert fault_of(sqlite3.ProgrammingError("closed"), "x").code == 0


@pytest.mark.parametrize(
    ("code", "unknown"),
    [
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_READONLY, False),
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_CORRUPT, True),
    ],
)
def test_a_commit_that_failed_may_have_happened_unless_that_can_not_be(code: int, unknown: bool) -> None:
    assert fault_of(error(code), "x", committing=True).outcome_unknown is unknown


@pytest.mark.parametrize(("code", "busy"), [(sqlite3.SQLITE_BUSY_RECOVERY, True), (sqlite3.SQLITE_FULL, False)])
def test_a_lock_is_told_from_the_rest(code: int, busy: bool) -> None:
    assert fault_of(error(code), "x").is_busy is busy
