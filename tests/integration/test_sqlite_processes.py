"""Processes on one SQLite file that are killed, frozen and started again, and what the others make of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.counters import Counters
from antiphon.engines import open_engine
from antiphon.engines.sqlite.peers import folder_for
from antiphon.exceptions import EngineUnavailable
from antiphon.types import ClientInfo, Event, Page, Position, Publication, Publishing, Retention

PATIENCE = 60.0
RETENTION = Retention(size=1_000_000, lifetime=3600, position_lifetime=7200, idempotency_window=600)


# The child: carries out the commands that it reads, and writes down what it hears


class Child:
    """What runs in the other process."""

    def __init__(self, url: str, name: str) -> None:
        self.counters = Counters()
        self.engine = open_engine(url, self.counters)
        self.name = name

    async def serve(self) -> None:
        await self.engine.start(self, self.name)
        say(started=True)
        loop = asyncio.get_running_loop()
        commands: asyncio.Queue[str] = asyncio.Queue()
        threading.Thread(target=read_lines, args=(loop, commands), daemon=True).start()
        while (line := await commands.get()) != "":
            verb, *arguments = json.loads(line)
            await getattr(self, verb)(*arguments)
            say(done=verb)
        await self.engine.stop()
        say(stopped=True)

    async def subscribe(self, group: str) -> None:
        await self.engine.subscribe(group, RETENTION)

    async def publish(self, group: str, count: int, outstanding: int) -> None:
        numbers = iter(range(count))

        async def one_after_another() -> None:
            for number in numbers:
                position = await self._publish(group, b"%d" % number)
                say(published=[position.epoch, position.offset, number])

        await asyncio.gather(*(one_after_another() for _ in range(outstanding)))

    async def _publish(self, group: str, data: bytes) -> Position:
        while True:
            with contextlib.suppress(EngineUnavailable):  # nothing has happened
                return await self.engine.publish(group, data, "", Publishing(RETENTION))

    async def publish_unkept(self, group: str, count: int) -> None:
        for number in range(count):
            await self.engine.publish(group, b"%d" % number)

    async def enter(self, group: str, client: str) -> None:
        self.engine.enter(group, ClientInfo("", client), announced=True)
        await self.engine.presence(group)

    async def presence(self, group: str) -> None:
        say(presence=sorted(await self.engine.presence(group)))

    async def count(self) -> None:
        say(counters=self.counters.as_dict())

    def on_publication(self, group: str, publication: Publication) -> None:
        say(heard=[group, publication.epoch, publication.offset])

    def on_event(self, group: str, event: Event) -> None: ...

    def on_direct_event(self, channel: str, event: Event) -> None: ...

    def on_join(self, group: str, info: ClientInfo) -> None:
        say(joined=[group, info.client])

    def on_leave(self, group: str, info: ClientInfo) -> None:
        say(left=[group, info.client])

    def on_control(self, control: bytes) -> None: ...

    def on_continuity_lost(self) -> None:
        say(continuity_lost=True)


def say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def read_lines(loop: asyncio.AbstractEventLoop, commands: asyncio.Queue[str]) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(commands.put_nowait, line)
    loop.call_soon_threadsafe(commands.put_nowait, "")


# The parent


class Process:
    """A child, as a test has it."""

    def __init__(self, url: str, name: str) -> None:
        command = [sys.executable, "-m", "tests.integration.test_sqlite_processes", url, name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.said: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.until(lambda: self.all("started"))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # cut off by its death
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def tell(self, verb: str, *arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self.process.stdin.flush()

    def do(self, verb: str, *arguments: Any) -> None:
        """Tell it, and wait until it is done."""
        done = self.all("done").count(verb)
        self.tell(verb, *arguments)
        self.until(lambda: self.all("done").count(verb) > done)

    def all(self, what: str) -> list[Any]:
        return [each[what] for each in self.said if what in each]

    def offsets(self, group: str) -> list[int]:
        return [offset for name, _, offset in self.all("heard") if name == group]

    def until(self, condition: Callable[[], object]) -> None:
        """Read what it says until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            said = self._lines.get(timeout=max(deadline - time.monotonic(), 0.01))
            assert said is not None, f"the process has ended; it said {self.said[-5:]}"
            self.said.append(said)

    def end(self, number: signal.Signals) -> None:
        """Send a signal, and wait until it has ended and all that it said is here."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        while (said := self._lines.get(timeout=PATIENCE)) is not None:
            self.said.append(said)

    def stop(self) -> None:
        """Let it stop in good order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.until(lambda: self.all("stopped"))
        assert self.process.wait(PATIENCE) == 0

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


class File:
    """A database and the processes on it."""

    def __init__(self, path: Path, lease: float) -> None:
        self.path = path
        self.url = f"sqlite:///{path}?lease={lease}"
        self.processes: list[Process] = []

    def process(self, *groups: str) -> Process:
        """Start one more, subscribed to these groups."""
        process = Process(self.url, f"process{len(self.processes)}")
        self.processes.append(process)
        for group in groups:
            process.do("subscribe", group)
        return process

    def history(self, group: str) -> Page:
        """Read what is kept, as a process does that starts now."""

        async def read() -> Page:
            engine = open_engine(self.url)
            await engine.start(Child(self.url, ""))
            try:
                return await engine.history(group, RETENTION)
            finally:
                await engine.stop()

        return asyncio.run(read())


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    file = File(tmp_path / "streams.db", lease=1)
    yield file
    for process in file.processes:
        process.close()
    shutil.rmtree(folder_for(str(file.path)))  # those that were killed have left it


def check_kept(file: File, group: str, reported: list[Any]) -> Page:
    """See that each position that was reported is there with its data, and that there is no hole."""
    page = file.history(group)
    assert [each.offset for each in page.publications] == list(range(1, page.top.offset + 1))
    kept = {each.offset: each for each in page.publications}
    for epoch, offset, number in reported:
        assert (kept[offset].epoch, kept[offset].data) == (epoch, b"%d" % number)
    return page


def test_what_was_reported_is_there_after_the_publisher_was_killed(file: File) -> None:
    publisher = file.process()
    for _ in range(3):
        publisher.tell("publish", "a", 1_000_000, 16)
        publisher.until(lambda publisher=publisher: len(publisher.all("published")) >= 500)  # type: ignore[misc]
        publisher.end(signal.SIGKILL)
        check_kept(file, "a", publisher.all("published"))
        publisher = file.process()


def test_who_is_subscribed_hears_all_that_was_written_by_one_that_was_killed(file: File) -> None:
    listener, publisher, other = file.process("a"), file.process(), file.process("a")
    publisher.tell("publish", "a", 1_000_000, 16)
    other.tell("publish", "a", 1500, 4)
    publisher.until(lambda: len(publisher.all("published")) >= 500)
    publisher.end(signal.SIGKILL)
    other.until(lambda: other.all("done").count("publish") == 1)
    page = check_kept(file, "a", publisher.all("published") + other.all("published"))
    for process in (listener, other):
        process.until(lambda process=process: len(process.offsets("a")) >= page.top.offset)  # type: ignore[misc]
        assert process.offsets("a") == list(range(1, page.top.offset + 1))
        assert not process.all("continuity_lost")


def test_three_that_publish_at_once_count_together_and_hear_the_same(file: File) -> None:
    processes = [file.process("a", "b") for _ in range(3)]
    for process in processes:
        process.tell("publish", "a", 400, 8)
        process.tell("publish_unkept", "b", 100)
    for process in processes:
        process.until(lambda process=process: len(process.offsets("a")) == 1200)  # type: ignore[misc]
        process.until(lambda process=process: len(process.offsets("b")) == 300)  # type: ignore[misc]
        assert process.offsets("a") == list(range(1, 1201))
        assert process.offsets("b") == list(range(1, 301))
    positions = [position[1] for process in processes for position in process.all("published")]
    assert sorted(positions) == list(range(1, 1201))


def test_positions_and_keys_survive_a_restart(file: File) -> None:
    first = file.process()
    first.do("publish", "a", 10, 1)
    first.stop()
    second = file.process()
    second.do("publish", "a", 1, 1)
    (before, *_), (after,) = first.all("published"), second.all("published")
    assert (after[0], after[1]) == (before[0], 11)


def test_who_was_in_a_process_that_is_killed_is_gone_within_the_lease(file: File) -> None:
    witness, killed = file.process("a"), file.process()
    killed.do("enter", "a", "ann")
    witness.until(lambda: witness.all("joined") == [["a", "ann"]])
    killed.end(signal.SIGKILL)
    ended = time.monotonic()
    witness.until(lambda: witness.all("left") == [["a", "ann"]])
    assert time.monotonic() - ended < PATIENCE / 2
    witness.do("presence", "a")
    assert witness.all("presence") == [[]]
    sockets = [path.name.split("-")[0] for path in Path(folder_for(str(file.path))).iterdir()]
    assert sockets == [str(witness.process.pid)], "that of the dead is removed"


def test_one_that_was_frozen_for_longer_than_its_lease_comes_back(file: File) -> None:
    witness, frozen = file.process("a"), file.process("a")
    frozen.do("enter", "a", "ann")
    witness.until(lambda: witness.all("joined") == [["a", "ann"]])
    frozen.process.send_signal(signal.SIGSTOP)
    witness.until(lambda: witness.all("left") == [["a", "ann"]])
    witness.do("publish", "a", 200, 4)
    frozen.process.send_signal(signal.SIGCONT)
    witness.until(lambda: len(witness.all("joined")) == 2)
    frozen.until(lambda: len(frozen.offsets("a")) >= 200)
    assert frozen.offsets("a") == list(range(1, 201))
    witness.do("presence", "a")
    assert witness.all("presence") == [["ann"]]


@pytest.mark.parametrize("moment", [1, 100, 300])
def test_what_one_has_written_and_not_told_when_it_froze_is_heard_without_it(file: File, moment: int) -> None:
    witness, frozen = file.process("a"), file.process("a")
    frozen.tell("publish", "a", 1000, 8)
    frozen.until(lambda: len(frozen.all("published")) >= moment)
    frozen.process.send_signal(signal.SIGSTOP)
    top = written(file)
    witness.until(lambda: len(witness.offsets("a")) >= top)
    assert witness.offsets("a") == list(range(1, top + 1))
    witness.tell("publish", "a", 100, 4)  # it may be that the lock froze as well: then it tries until it gets it
    frozen.process.send_signal(signal.SIGCONT)
    for process in (witness, frozen):
        process.until(lambda process=process: len(process.offsets("a")) >= 1100)  # type: ignore[misc]
        assert process.offsets("a") == list(range(1, 1101))


def written(file: File) -> int:
    """Return the top of the group "a" as the file has it."""
    with contextlib.closing(sqlite3.connect(file.path)) as connection:
        (top,) = connection.execute("SELECT top FROM groups WHERE name = 'a'").fetchone()
    return int(top)


def test_a_file_that_is_removed_is_made_anew_and_everybody_is_told(file: File) -> None:
    first, second = file.process("a"), file.process("a")
    first.do("enter", "a", "ann")
    first.do("publish", "a", 5, 1)
    second.until(lambda: len(second.offsets("a")) == 5)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{file.path}{suffix}").unlink()
    for process in (first, second):
        process.until(lambda process=process: process.all("continuity_lost"))  # type: ignore[misc]
    first.do("publish", "a", 5, 1)
    epochs = [epoch for epoch, _, _ in first.all("published")]
    assert len(set(epochs)) == 2
    second.until(lambda: len(second.offsets("a")) == 10)
    assert second.offsets("a") == [1, 2, 3, 4, 5] * 2
    second.do("presence", "a")
    assert second.all("presence") == [["ann"]]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(Child(*sys.argv[1:]).serve())
