"""What there is to know of a SQLite engine: its file, the disk under it, and how safe a power cut leaves it."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import time
from collections.abc import Iterator
from typing import NamedTuple

from antiphon.doctor.checks.words import many
from antiphon.doctor.engine.examination import Examination, Fact, Say, size
from antiphon.doctor.engine.probe import opened, told_when_slow
from antiphon.doctor.finding import Level
from antiphon.engines.sqlite import schema
from antiphon.engines.sqlite.engine import SqliteEngine
from antiphon.engines.sqlite.faults import Fault, fault_of
from antiphon.engines.sqlite.options import Options, parse
from antiphon.exceptions import ConfigurationError

__all__ = ["examine"]

#: Bytes that the disk should have free, and the most that a write-ahead log grows to while nobody holds it up.
ROOM, LONG_LOG = 512 << 20, 64 << 20
#: Filesystems that live in memory.
_FLEETING = ("tmpfs", "ramfs")

_SYNCHRONOUS = {
    "full": "full: what was published survives a power cut, too",
    "normal": (
        "normal: it survives the end of the process; after a power cut every group begins anew, and members are told"
    ),
    "off": "off: it survives the end of the process; a power cut may damage the file",
}


class _State(NamedTuple):
    """What is in the file."""

    processes: int
    groups: int
    publications: int
    journal: str


async def examine(url: str, say: Say) -> Examination:
    """Use the engine, and look at its file; raise what ``start`` raises. A file that is not there is not made."""
    options = parse(url)
    found = Examination(options.path)
    folder = os.path.dirname(options.path)
    if schema.identity(options.path) is None:
        _look_at_folder(options, folder)
        found.facts.append(Fact("file", "there is none yet; the first process makes it, and may"))
    else:
        await _use(options, found, say)
    _say_disk(found, options.path, folder)
    found.facts.append(Fact("synchronous", _SYNCHRONOUS[options.synchronous]))
    _say_power_cut(found, options)
    return found


def _look_at_folder(options: Options, folder: str) -> None:
    """Raise ``ConfigurationError`` where the file can't be made."""
    try:
        if not os.path.isdir(folder):
            raise Fault(options.path, f"there is no folder {folder}; make it, and let the process write there")
        schema.refuse_remote(options.path)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise Fault(options.path, f"it can't be made; the process needs the right to write to {folder}")
    except Fault as fault:
        raise ConfigurationError(f"the SQLite engine can't start: {fault}") from fault


async def _use(options: Options, found: Examination, say: Say) -> None:
    async with opened(SqliteEngine(options), options.path, say) as probe:
        with told_when_slow("measuring publications", say):
            published = await probe.measure()
        try:
            state = _read(options, probe.group)
        except sqlite3.Error as error:
            raise ConfigurationError(str(fault_of(error, options.path))) from error
        file, log = _stat(options.path)
    owner = _user(file.st_uid)
    words = (
        f"{size(file.st_size)} and {size(log)} of write-ahead log, journal mode {state.journal}, of the user {owner}"
    )
    kept = f"{many(state.publications, 'publication')} kept in {many(state.groups, 'group')}"
    found.facts += [
        Fact("file", words),
        Fact("", kept),
        Fact("antiphon", many(state.processes, "process lives", "processes live")),
    ]
    if published is not None:
        found.times.append(published)
    if not probe.refusals:
        found.facts.append(Fact("rights", f"all that a server needs works for the user {_user(os.geteuid())}"))
    for verb, words in probe.refusals:
        found.find("refused", Level.ERROR, verb, f"{words}.", "See to it that this can be done, and run this again.")
    for name, level, where, problem, remedy in _say_file(options, owner, log):
        found.find(name, level, where, problem, remedy)


def _read(options: Options, own_group: str) -> _State:
    """Return what is in the file beside this check itself."""
    connection = schema.open_for_reading(options)
    try:
        processes = connection.execute("SELECT count(*) - 1 FROM processes WHERE until > ?", (time.time() * 1000,))
        kept = connection.execute(
            "SELECT count(*), coalesce(sum(top + 1 - first), 0) FROM groups WHERE name <> ? AND first <= top",
            (own_group,),
        )
        journal = connection.execute("PRAGMA journal_mode")
        return _State(*processes.fetchone(), *kept.fetchone(), *journal.fetchone())
    finally:
        connection.close()


def _say_file(options: Options, owner: str, log: int) -> Iterator[tuple[str, Level, str, str, str]]:
    user = _user(os.geteuid())
    if user != owner:
        problem = f"It belongs to {owner}, and this ran as {user}: it does not tell what {owner} may do."
        yield "other-user", Level.ADVICE, options.path, problem, f"Run this as {owner}; all processes are of one user."
    if log > LONG_LOG:
        problem = f"Its write-ahead log has {size(log)}: something has been reading for long, and keeps it from ending."
        remedy = "See who has the file open (fuser, lsof): a backup, a shell, or a process that stands still."
        yield "long-log", Level.ADVICE, f"{options.path}-wal", problem, remedy


def _say_disk(found: Examination, path: str, folder: str) -> None:
    kind, usage = schema.filesystem(path), shutil.disk_usage(folder)
    found.facts.append(Fact("disk", f"{kind or 'unknown'}, {size(usage.free)} of {size(usage.total)} free"))
    if usage.free < ROOM:
        problem = f"Its disk has {size(usage.free)} left; when it is full, publications are refused."
        found.find("nearly-full", Level.WARNING, folder, problem, "Make room, or keep the file on another disk.")
    if kind in _FLEETING:
        problem = f"It is on {kind}, which lives in memory: when the host is started again, all of it is gone."
        found.find("fleeting", Level.ADVICE, folder, problem, "Keep it on a disk, unless that is meant.")


def _say_power_cut(found: Examination, options: Options) -> None:
    remedy = "Write synchronous=normal or synchronous=full into the engine's URL."
    if options.synchronous == "off":
        problem = "A power cut may damage the file, and all of it is lost then."
        found.find("unsafe", Level.WARNING, "synchronous", problem, remedy)
    elif options.synchronous == "normal" and schema.current_boot() == "unknown":
        problem = (
            "This system does not tell whether it was started anew (/proc/sys/kernel/random/boot_id): what a power cut "
            "has lost is not noticed."
        )
        found.find("unnoticed", Level.WARNING, "synchronous", problem, "Write synchronous=full into the engine's URL.")


def _stat(path: str) -> tuple[os.stat_result, int]:
    """Return what the system says of the file, and how long its write-ahead log is."""
    try:
        log = os.path.getsize(f"{path}-wal")
    except FileNotFoundError:
        log = 0
    return os.stat(path), log


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
