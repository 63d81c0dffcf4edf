"""The database file: made, opened, brought up to date, refused."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from antiphon.engines.sqlite import schema
from antiphon.engines.sqlite.faults import Fault
from antiphon.engines.sqlite.options import Options
from antiphon.engines.sqlite.schema import STEPS, connect, identity
from antiphon.engines.sqlite.store import Store


def options(path: Path) -> Options:
    return Options(str(path), synchronous="off", busy_timeout=0.2)


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def test_a_file_is_made_with_everything_that_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    with contextlib.closing(connect(options(path))) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        assert (mode, synchronous) == ("wal", 0)
    assert version(path) == len(STEPS)


@pytest.mark.parametrize(("word", "number"), [("normal", 1), ("full", 2), ("off", 0)])
def test_synchronous_is_what_was_asked_for(tmp_path: Path, word: str, number: int) -> None:
    with contextlib.closing(connect(Options(str(tmp_path / "streams.db"), synchronous=word))) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (number,)


def test_opening_it_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    for count in (1, 2, 3):
        with contextlib.closing(connect(options(path))) as connection:
            store = Store(connection)
            store.begin()
            assert store.publish("a", b"1", "", None, 0).offset == count
            store.finish()
            store.commit()


#: What later antiphons may come to do.
LATER = (*STEPS, "CREATE TABLE more (a INTEGER);\nINSERT INTO more VALUES (1);\n", "ALTER TABLE more ADD b TEXT")


@pytest.mark.parametrize("old", range(len(LATER)))
def test_a_file_of_every_older_version_is_brought_up_to_date(tmp_path: Path, old: int) -> None:
    path = tmp_path / "streams.db"
    if old:
        connect(options(path), LATER[:old]).close()
        assert version(path) == old
    with contextlib.closing(connect(options(path), LATER)) as connection:
        assert connection.execute("SELECT a, b FROM more").fetchall() == [(1, None)]
        assert connection.execute("SELECT commits FROM state").fetchone() == (0,)
    assert version(path) == len(LATER)


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    connect(options(path)).close()
    with pytest.raises(Fault, match="no such table"):
        connect(options(path), (*STEPS, "CREATE TABLE more (a);\nINSERT INTO missing VALUES (1)"))
    with contextlib.closing(connect(options(path))) as connection:
        assert connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'more'").fetchone() is None


def test_a_file_of_a_newer_antiphon_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    connect(options(path), LATER).close()
    with pytest.raises(Fault, match=rf"newer antiphon .*version {len(LATER)}, this one knows {len(STEPS)}"):
        connect(options(path))


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE auth_user (id INTEGER)")
    with pytest.raises(Fault, match="another program; give the engine a file of its own"):
        connect(options(path))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("auth_user",)]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=f"no folder {tmp_path / 'missing'}; make it"):
        connect(options(tmp_path / "missing" / "streams.db"))


@pytest.mark.parametrize(
    "content", [b"no database at all, " * 100, b"SQLite format 3\0" + b"\xff" * 8000], ids=["text", "damaged"]
)
def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "streams.db"
    path.write_bytes(content)
    with pytest.raises(Fault, match=r"streams\.db: it is (no database|damaged).*move"):
        connect(options(path))
    assert path.read_bytes() == content


def test_a_copy_begins_new_epochs_and_keeps_the_rest(tmp_path: Path) -> None:
    path, copy = tmp_path / "streams.db", tmp_path / "backup.db"
    epochs = []
    with contextlib.closing(connect(options(path))) as connection:
        store = Store(connection)
        store.begin()
        epochs.append(store.publish("a", b"1", "", None, 0).epoch)
        store.finish()
        store.commit()
        connection.execute("VACUUM INTO ?", (str(copy),))
    shutil.copy(copy, tmp_path / "again.db")
    for name in ("backup.db", "again.db"):
        with contextlib.closing(connect(options(tmp_path / name))) as connection:
            epoch, top = connection.execute("SELECT epoch, top FROM groups").fetchone()
            assert top == 1
            epochs.append(epoch)
        with contextlib.closing(connect(options(tmp_path / name))) as connection:
            assert connection.execute("SELECT epoch FROM groups").fetchone() == (epoch,), "it is a copy only once"
    assert len(set(epochs)) == 3


def test_identity_tells_files_apart(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    assert identity(str(path)) is None
    path.touch()
    before = identity(str(path))
    (tmp_path / "other").touch()
    os.replace(tmp_path / "other", path)
    assert identity(str(path)) not in (None, before)


def test_a_filesystem_of_other_hosts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path}/a\\040b nfs4 rw 0 0\ntmpfs {tmp_path}/a\\040b/c tmpfs rw 0 0\n"
    )
    assert schema.filesystem(f"{tmp_path}/streams.db", mounts) == "ext4"
    assert schema.filesystem(f"{tmp_path}/a b/streams.db", mounts) == "nfs4"
    assert schema.filesystem(f"{tmp_path}/a b/c/streams.db", mounts) == "tmpfs"
    assert schema.filesystem("/x", tmp_path / "missing") == ""
    monkeypatch.setattr(schema, "filesystem", lambda path: "nfs4")
    with pytest.raises(Fault, match="nfs4"):
        connect(options(tmp_path / "streams.db"))


def test_where_there_is_no_write_ahead_log_it_is_refused() -> None:
    with (
        contextlib.closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(Fault, match=r"write-ahead log here \(its journal is 'memory'\)"),
    ):
        schema._begin_log(connection, "x.db", schema._Patience(0))


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_OLDEST", (99, 0))
    with pytest.raises(Fault, match="too old"):
        connect(options(tmp_path / "streams.db"))


# The machine is started anew


def epochs(path: Path, *, synchronous: str = "normal", boot: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Open the file in one start of the machine, publish, and leave it as a process does that is killed."""
    monkeypatch.setattr(schema, "current_boot", lambda: boot)
    with contextlib.closing(connect(Options(str(path), synchronous=synchronous))) as connection:
        store = Store(connection)
        store.begin()
        epoch = store.publish("a", b"1", "", None, 0).epoch
        store.finish()
        store.commit()
    return epoch


def test_behind_a_power_cut_the_groups_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "streams.db"
    first = epochs(path, boot="1", monkeypatch=monkeypatch)
    assert epochs(path, boot="1", monkeypatch=monkeypatch) == first
    second = epochs(path, boot="2", monkeypatch=monkeypatch)
    assert second != first
    assert epochs(path, boot="2", monkeypatch=monkeypatch) == second


def test_what_was_on_the_disk_goes_on_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "streams.db"
    first = epochs(path, synchronous="full", boot="1", monkeypatch=monkeypatch)
    assert epochs(path, synchronous="full", boot="2", monkeypatch=monkeypatch) == first
    assert epochs(path, boot="2", monkeypatch=monkeypatch) == first
    assert epochs(path, synchronous="full", boot="2", monkeypatch=monkeypatch) == first, "no cut in between"
    assert epochs(path, synchronous="full", boot="3", monkeypatch=monkeypatch) != first, "one of them did not wait"


def test_who_ends_in_good_order_leaves_everything_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "streams.db"
    first = epochs(path, boot="1", monkeypatch=monkeypatch)
    with contextlib.closing(connect(options(path))) as connection:
        schema.note_end(connection, 0)
    assert epochs(path, boot="2", monkeypatch=monkeypatch) == first


def test_while_another_process_writes_nothing_is_said_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "streams.db"
    first = epochs(path, boot="1", monkeypatch=monkeypatch)
    with contextlib.closing(connect(options(path))) as connection:
        connection.execute("INSERT INTO processes (name, address, until) VALUES ('other', '', 1000)")
        schema.note_end(connection, 999)
    assert epochs(path, boot="2", monkeypatch=monkeypatch) != first


def test_a_start_of_the_machine_has_a_name(tmp_path: Path) -> None:
    assert schema.current_boot() == schema.current_boot()
    assert schema.current_boot(tmp_path / "none") == "unknown"
