"""The SQLite engine as a whole: what goes wrong with the file, with other processes, and with time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from antiphon.counters import Counters
from antiphon.engines import open_engine
from antiphon.engines.sqlite import engine as module
from antiphon.engines.sqlite.engine import SqliteEngine
from antiphon.engines.sqlite.peers import folder_for
from antiphon.events import make_event
from antiphon.exceptions import ConfigurationError, EngineUnavailable
from antiphon.types import ClientInfo, Position, Publication, Publishing, Retention

from .contract import Heard
from .sqlite import LEASE, File, kill, until

KEPT = Retention(size=1000, lifetime=3600, position_lifetime=7200, idempotency_window=600)
ANN, BOB = ClientInfo("ann", "1"), ClientInfo("bob", "2")
EVENT = make_event({"type": "note"})


class Process:
    """An engine, and what it told."""

    def __init__(self, engine: SqliteEngine) -> None:
        self.engine = engine
        self.heard = Losing()

    @property
    def counters(self) -> Counters:
        return self.engine._counters

    async def publish(self, group: str = "a", data: bytes = b"1", key: str = "") -> Position:
        return await self.engine.publish(group, data, "", Publishing(KEPT, key))

    async def offsets(self, group: str = "a") -> list[int]:
        return [each.offset for each in (await self.engine.history(group, KEPT)).publications]

    async def cut(self) -> None:
        """Cut its links, and make it deaf for those that would make new ones."""
        peers = self.engine._peers
        assert peers is not None
        peers.abort()
        peers._hello = peers._hello.__class__(0, "", "")
        await until(lambda: not peers.links)


class Losing(Heard):
    """Hears also that something was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 0

    def on_continuity_lost(self) -> None:
        self.losses += 1


class Opened:
    """A file and the processes on it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.file = File(lambda: folder, busy_timeout=0.1, **options)

    @property
    def path(self) -> Path:
        return self.file.path

    async def process(self, *groups: str) -> Process:
        process = Process(self.file())
        await process.engine.start(process.heard, f"process{len(self.file.engines)}")
        for group in groups:
            await process.engine.subscribe(group, KEPT)
        return process

    def remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").unlink()

    @contextlib.contextmanager
    def locked(self) -> Any:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


@pytest_asyncio.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = Opened(tmp_path)
    yield opened
    for engine in opened.file.engines:
        await engine.stop()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("antiphon-sqlite")]


# Choosing and starting


def test_the_url_chooses_it_and_sqlite_is_loaded_only_then(tmp_path: Path) -> None:
    script = (
        "import sys, antiphon.app; from antiphon.engines import open_engine; assert 'sqlite3' not in sys.modules;"
        f"open_engine('sqlite:///{tmp_path}/x.db'); assert 'sqlite3' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_it_counts_where_it_is_told_to(tmp_path: Path) -> None:
    counters = Counters()
    engine = open_engine(f"sqlite:///{tmp_path}/x.db", counters)
    assert isinstance(engine, SqliteEngine)
    assert engine._counters is counters
    assert not (tmp_path / "x.db").exists(), "the file is made when it is started"


async def test_what_can_not_be_opened_is_said_in_words_and_can_be_opened_when_it_is_mended(opened: Opened) -> None:
    opened.path.write_bytes(b"no database at all, " * 100)
    engine = opened.file()
    with pytest.raises(ConfigurationError, match=rf"{opened.path}: it is no database, or a damaged one; name another"):
        await engine.start(Heard())
    assert threads() == []
    opened.path.unlink()
    await engine.start(Heard())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/x.db", "can't be opened; its folder"),
        ("/proc", "can't be opened"),
        ("/nosuch/x.db", "no folder /nosuch"),
    ],
)
async def test_where_nothing_can_be_written_it_does_not_start(path: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        await open_engine(f"sqlite:///{path}").start(Heard())
    assert threads() == []


async def test_a_file_that_is_locked_for_good_is_said_to_be(opened: Opened) -> None:
    await (await opened.process()).engine.stop()
    with opened.locked(), pytest.raises(ConfigurationError, match="another program holds its lock"):
        await opened.file().start(Heard())


async def test_where_no_socket_can_be_made_processes_look_instead(
    opened: Opened, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> str:
        raise PermissionError("not here")

    monkeypatch.setattr("antiphon.engines.sqlite.peers.folder_for", fail)
    with caplog.at_level(logging.WARNING, "antiphon.engines"):
        first, second = await opened.process("a"), await opened.process("a")
    assert "can't wake this one, which hears of them by looking once a second: not here" in caplog.text
    for _ in range(3):
        await first.publish()
    assert second.heard.offsets("a") == []
    for _ in range(2):
        await second.engine.look()
    assert second.heard.offsets("a") == [1, 2, 3]


async def test_an_engine_that_is_stopped_says_so(opened: Opened) -> None:
    process = await opened.process("a")
    await process.engine.stop()
    for call in (process.publish(), process.offsets(), process.engine.subscribe("a"), process.engine.presence("a")):
        with pytest.raises(EngineUnavailable, match="is stopped"):
            await call
    process.engine.enter("a", ANN)
    process.engine.leave("a", "1")
    process.engine.unsubscribe("a")
    await process.engine.send_event("a", EVENT)
    assert threads() == []


async def test_after_the_last_has_stopped_the_file_is_all_there_is(opened: Opened) -> None:
    first, second = await opened.process("a"), await opened.process("a")
    await first.publish()
    for process in (first, second):
        await process.engine.stop()
    assert [path.name for path in opened.path.parent.iterdir()] == [opened.path.name]


_ABANDONING = """
import asyncio, sys
from antiphon.engines import open_engine
from antiphon.types import Publishing, Retention

class Hub:
    def __getattr__(self, name):
        return lambda *arguments: None

async def use():
    engine = open_engine("sqlite:///" + sys.argv[1])
    await engine.start(Hub())
    print((await engine.publish("a", b"1", "", Publishing(Retention(9, 99, 99, 99)))).offset)

for _ in range(3):
    asyncio.run(use())
"""


def test_a_loop_that_ends_without_stopping_it_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    assert in_child(_ABANDONING, path).stdout.split() == ["1", "2", "3"]
    shutil.rmtree(folder_for(str(path)))


def in_child(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a script with a path in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=120, check=True
    )


# While it runs


async def test_while_the_file_is_locked_nothing_is_accepted_and_then_it_goes_on(opened: Opened) -> None:
    process = await opened.process("a")
    with opened.locked():
        results = await asyncio.gather(*(process.publish() for _ in range(10)), return_exceptions=True)
        assert {type(each) for each in results} == {EngineUnavailable}
        assert "another program holds its lock" in str(results[0])
        assert await process.offsets() == [], "reading goes on"
    assert (await process.publish()).offset == 1
    assert (process.counters.engine_outages, process.counters.engine_refusals) == (1, 10)
    await until(lambda: process.heard.offsets("a") == [1])


async def test_what_was_declared_during_an_outage_is_written_after_it(opened: Opened) -> None:
    process, other = await opened.process("a"), await opened.process("a")
    process.engine.enter("a", ANN, announced=True)
    await until(lambda: other.heard.joins == [("a", ANN)])
    with opened.locked():
        process.engine.leave("a", "1")
        process.engine.enter("a", BOB, announced=True)
        process.engine.unsubscribe("a")
        with pytest.raises(EngineUnavailable):
            await process.engine.presence("a")
    await process.engine.look()
    await until(lambda: len(other.heard.joins) == 2)
    assert (other.heard.joins, other.heard.leaves) == ([("a", ANN), ("a", BOB)], [("a", ANN)])
    assert await process.engine.presence("a") == await other.engine.presence("a") == {"2": BOB}
    with contextlib.closing(sqlite3.connect(opened.path)) as connection:
        assert connection.execute("SELECT count(*) FROM interests").fetchone() == (1,)


async def test_a_file_that_is_removed_is_made_anew_and_everything_is_declared_again(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await opened.process("a"), await opened.process("a")
    before = await first.publish(key="k")
    first.engine.enter("a", ANN)
    assert await first.engine.presence("a") == {"1": ANN}
    with caplog.at_level(logging.ERROR, "antiphon.engines"):
        opened.remove()
        for process in (first, second):
            await process.engine.look()
        await opened.file.settled()
        await until(lambda: all(process.heard.losses for process in (first, second)))
        await opened.file.settled()
    assert caplog.text.count("was removed or replaced: the groups begin anew") == 2
    after = await first.publish(key="k")
    assert (type(after), after.offset, after.epoch == before.epoch) == (Position, 1, False)
    for process in (first, second):
        await until(lambda process=process: process.heard.of("a")[-1].position == after)  # type: ignore[misc]
        assert await process.engine.presence("a") == {"1": ANN}


async def test_where_the_folder_is_gone_publishing_is_refused_in_words(opened: Opened, tmp_path: Path) -> None:
    process = await opened.process()
    await process.publish()
    opened.remove()
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    with pytest.raises(EngineUnavailable, match="there is no folder"):
        await process.publish()
    with pytest.raises(EngineUnavailable, match="has been removed"):
        await process.offsets()
    moved.rename(tmp_path)
    assert (await process.publish()).offset == 1


async def test_over_the_bound_of_what_waits_publications_are_refused(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await opened.process()
    monkeypatch.setattr(module, "QUEUE", 10_000)
    with opened.locked():
        results = await asyncio.gather(*(process.publish(data=b"x" * 1000) for _ in range(20)), return_exceptions=True)
    full = [each for each in results if "no more fit" in str(each)]
    assert len(full) == 20 - 10_000 // (1000 + module.APART)
    assert process.counters.engine_refusals == 20
    assert (await process.publish(data=b"x" * 1000)).offset == 1, "what was refused counts no longer"


async def test_a_publish_that_is_cancelled_may_be_done_and_disturbs_nobody(opened: Opened) -> None:
    process = await opened.process("a")
    publishing = asyncio.create_task(process.publish())
    await asyncio.sleep(0)
    publishing.cancel()
    assert (await process.publish()).offset == 2
    assert await process.offsets() == [1, 2]


async def test_a_subscribe_that_is_cancelled_leaves_no_interest(opened: Opened) -> None:
    process = await opened.process()
    subscribing = asyncio.create_task(process.engine.subscribe("a", KEPT))
    await asyncio.sleep(0)
    subscribing.cancel()
    await process.publish()
    await opened.file.settled()
    assert process.heard.offsets("a") == []
    with contextlib.closing(sqlite3.connect(opened.path)) as connection:
        assert connection.execute("SELECT count(*) FROM interests").fetchone() == (0,)


async def test_a_subscribe_that_fails_leaves_nothing_and_can_be_tried_again(opened: Opened) -> None:
    process = await opened.process()
    with opened.locked(), pytest.raises(EngineUnavailable):
        await process.engine.subscribe("a", KEPT)
    await process.publish()
    await process.engine.subscribe("a", KEPT)
    await process.publish()
    await until(lambda: process.heard.offsets("a") == [2])


_FILLING = """
import asyncio, json, resource, signal, sys
from antiphon.engines import open_engine
from antiphon.exceptions import EngineError, EngineUnavailable
from antiphon.types import Publishing, Retention

RETENTION = Retention(1000000, 3600, 3600, 3600)

class Hub:
    def __getattr__(self, name):
        return lambda *arguments: None

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    engine = open_engine("sqlite:///" + sys.argv[1])
    await engine.start(Hub())
    reported, unknown, faults = [], 0, []
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    for number in range(10000):
        try:
            reported.append((await engine.publish("a", b"%6d" % number * 100, "", Publishing(RETENTION))).offset)
        except EngineError as error:
            unknown += not isinstance(error, EngineUnavailable)
            faults.append(str(error))
            if len(faults) == 3:
                break
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = (await engine.publish("a", b"again", "", Publishing(RETENTION))).offset
    kept = [each.offset for each in (await engine.history("a", RETENTION)).publications]
    await engine.stop()
    print(json.dumps({"reported": reported, "unknown": unknown, "faults": faults, "again": again, "kept": kept}))

asyncio.run(main())
"""


def test_where_the_file_can_not_grow_what_was_reported_is_kept_and_it_goes_on_when_it_can(tmp_path: Path) -> None:
    done = in_child(_FILLING, tmp_path / "streams.db")
    found = json.loads(done.stdout)
    assert len(found["reported"]) > 20
    assert len(found["faults"]) == 3
    assert "streams.db" in found["faults"][0]
    assert found["kept"] == list(range(1, found["again"] + 1)), "no hole"
    assert set(found["reported"]) <= set(found["kept"])
    assert len(found["kept"]) <= len(found["reported"]) + found["unknown"] + 1
    assert done.stderr.count("what would be written is refused") == 1, "an outage is one line"


_READING = """
import asyncio, os, sys
from antiphon.engines import open_engine
from antiphon.exceptions import ConfigurationError

engine = open_engine("sqlite:///" + sys.argv[1])

async def main():
    try:
        await engine.start(object())
    except ConfigurationError as error:
        print(error)

if os.getuid() == 0:  # for whom no file is read-only
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_only_be_read_is_refused_in_words(what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # the folders of pytest are closed to others
        _refuses_what_may_only_be_read(Path(folder), what)


def _refuses_what_may_only_be_read(folder: Path, what: str) -> None:
    path = folder / "streams.db"

    async def make() -> None:
        engine = open_engine(f"sqlite:///{path}")
        await engine.start(Heard())
        await engine.stop()

    asyncio.run(make())
    folder.chmod(0o777 if what == "file" else 0o555)
    path.chmod(0o444 if what == "file" else 0o666)
    done = in_child(_READING, path)
    folder.chmod(0o755)
    assert f"{path}: it can't be" in done.stdout, done
    assert "the right to" in done.stdout or "its folder" in done.stdout


# Other processes


async def test_what_no_link_has_told_is_found_by_looking(opened: Opened) -> None:
    first, second = await opened.process("a"), await opened.process("a")
    await second.cut()
    for _ in range(3):
        await first.publish()
    await second.engine.look()
    await second.engine.look()
    assert second.heard.offsets("a") == [1, 2, 3]
    assert second.heard.losses == 0
    await second.publish()
    await until(lambda: second.heard.offsets("a") == [1, 2, 3, 4])


async def test_what_no_link_has_told_and_nobody_keeps_is_lost_with_a_word(opened: Opened) -> None:
    first, second = await opened.process(), await opened.process()
    await second.engine.subscribe("a")
    await second.cut()
    for _ in range(3):
        await first.engine.publish("a", b"1")
    for _ in range(3):
        await second.engine.look()
    assert (second.heard.offsets("a"), second.heard.losses) == ([], 1)
    assert second.counters.engine_publications_missed == 3


async def test_a_publication_behind_one_that_is_missing_is_told_when_that_is_found(opened: Opened) -> None:
    first, second = await opened.process("a"), await opened.process("a")
    assert first.engine._peers is not None
    tell, first.engine._peers.tell = first.engine._peers.tell, lambda told: None  # type: ignore[method-assign]
    await first.publish()
    first.engine._peers.tell = tell  # type: ignore[method-assign]
    await first.publish()
    await opened.file.settled()
    assert second.heard.offsets("a") == []
    await second.engine.look()
    await second.engine.look()
    assert (second.heard.offsets("a"), second.heard.losses) == ([1, 2], 0)


async def test_a_link_that_breaks_is_made_again_and_what_was_told_meanwhile_is_read(opened: Opened) -> None:
    first, second = await opened.process("a"), await opened.process("a")
    assert first.engine._peers is not None
    for link in first.engine._peers.links:
        link.abort()
    await first.publish()
    await until(lambda: second.heard.offsets("a") == [1])
    await second.engine.look()
    await first.engine.send_event("a", EVENT)
    await until(lambda: second.heard.events)


async def test_an_event_for_a_process_that_is_not_there_is_counted(opened: Opened) -> None:
    process = await opened.process()
    await process.engine.send_direct_event("specific.nobody!x", EVENT)
    assert process.counters.engine_messages_dropped == 1
    assert process.heard.direct == []


async def test_who_was_taken_for_dead_comes_back(opened: Opened) -> None:
    first, second = await opened.process("a"), await opened.process("a")
    first.engine.enter("a", ANN, announced=True)
    await until(lambda: second.heard.joins == [("a", ANN)])
    for _ in range(4):  # the first one is frozen
        opened.file.clock.now += LEASE / 3
        await second.engine.look()
    await until(lambda: second.heard.leaves == [("a", ANN)])
    assert await second.engine.presence("a") == {}
    await first.engine.look()
    await until(lambda: len(second.heard.joins) == 2)
    await opened.file.settled()
    assert await second.engine.presence("a") == await first.engine.presence("a") == {"1": ANN}
    await second.publish()
    await until(lambda: first.heard.offsets("a") == [1])
    assert first.heard.losses == second.heard.losses == 0


async def test_what_a_process_was_interested_in_is_forgotten_some_time_after_its_death(opened: Opened) -> None:
    first, second = await opened.process("a"), await opened.process()
    before = await first.publish()
    await kill(first.engine)
    await opened.file.pass_time(3 * LEASE)
    await opened.file.pass_time(2 * 7200)
    with contextlib.closing(sqlite3.connect(opened.path)) as connection:
        for table in ("groups", "publications", "interests"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    after = await second.publish()
    assert (after.offset, after.epoch == before.epoch) == (1, False)


async def test_events_keep_their_place_behind_publications_that_are_being_written(opened: Opened) -> None:
    first, second = await opened.process("a"), await opened.process("a")
    publishing = []
    for _ in range(20):
        publishing.append(asyncio.create_task(first.publish()))
        await asyncio.sleep(0)
        await first.engine.send_event("a", EVENT)
    await asyncio.gather(*publishing)
    for process in (first, second):
        await until(lambda process=process: len(process.heard) == 40)  # type: ignore[misc]
        assert process.heard.order == ["publication", "event"] * 20


async def test_direct_events_behind_publications_reach_the_one_that_they_are_for(opened: Opened) -> None:
    first, second = await opened.process(), await opened.process()
    publishing = asyncio.create_task(first.publish())
    await asyncio.sleep(0)
    for channel in ("thumbnails", "specific.process2!x", "specific.process1!x", "specific.nobody!x"):
        await first.engine.send_direct_event(channel, EVENT)
    await publishing
    await opened.file.settled()
    assert [channel for channel, _ in first.heard.direct] == ["thumbnails", "specific.process1!x"]
    assert [channel for channel, _ in second.heard.direct] == ["specific.process2!x"]
    assert first.counters.engine_messages_dropped == 1


async def test_over_the_bound_events_are_refused_as_well(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    process = await opened.process()
    monkeypatch.setattr(module, "QUEUE", 10_000)
    publishing = asyncio.create_task(process.publish())
    await asyncio.sleep(0)
    await process.engine.send_control(b"x" * 9000)
    with pytest.raises(EngineUnavailable, match="no more fit"):
        await process.engine.send_control(b"x" * 9000)
    await publishing
    assert [len(control) for control in process.heard.controls] == [9000]


async def test_positions_and_keys_outlive_every_process(opened: Opened) -> None:
    first = await opened.process()
    before = await first.publish(key="k")
    await first.engine.stop()
    second = await opened.process()
    assert await second.publish(key="k") == before
    assert await second.publish() == (before.epoch, 2)


async def test_a_look_that_fails_is_tried_again(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    process, other = await opened.process("a"), await opened.process()
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        raise (EngineUnavailable("not now"), RuntimeError("a bug"))[looks % 2]

    monkeypatch.setattr(process.engine, "look", look)
    await until(lambda: looks >= 3)
    monkeypatch.undo()
    await other.publish()
    await until(lambda: process.heard.offsets("a") == [1])


async def test_a_publication_of_another_process_is_as_it_was(opened: Opened) -> None:
    first, second = await opened.process("a"), await opened.process("a")
    publishing = Publishing(KEPT, "", ANN, {"a": "b"})
    await first.engine.publish("a", b"\x00\xff", "key", publishing)
    for process in (first, second):
        await until(lambda process=process: process.heard.of("a"))  # type: ignore[misc]
    publication: Publication = first.heard.of("a")[0]
    assert second.heard.of("a") == [publication]
    assert list((await second.engine.history("a", KEPT)).publications) == [publication]
