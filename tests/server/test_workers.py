"""The parent of several workers, and a worker as its parent sees it; without processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.config import Config

from antiphon.server import workers
from antiphon.server.workers import ANSWER, PAUSE, START, Worker, Workers


class Process:
    """Stands for a process in the eyes of ``multiprocessing``."""

    def __init__(self, **options: Any) -> None:
        self.pid = 42
        self.exitcode: int | None = None
        self.happened: list[str] = []

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.happened.append(name)

    def is_alive(self) -> bool:
        return self.exitcode is None


# A worker


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Worker, Any]]:
    """A worker, and the other end of its line."""
    mine, theirs = multiprocessing.Pipe()
    kept = SimpleNamespace(close=lambda: None)  # the parent closes its copy of the child's end
    context = SimpleNamespace(Pipe=lambda: (mine, kept), Process=Process)
    monkeypatch.setattr(workers, "_spawn", context)
    with socket.socket() as listener:
        yield Worker(Config("none:none", log_config=None), listener), theirs
    mine.close()
    theirs.close()


def test_a_worker_is_ready_when_it_says_so(worker: tuple[Worker, Any]) -> None:
    parent, child = worker
    parent.look(0.0)
    assert child.recv() is None
    assert not parent.is_ready
    child.send(False)
    parent.look(1.0)
    assert not parent.is_ready
    child.send(True)
    parent.look(2.0)
    assert parent.is_ready


def test_a_worker_has_time_to_start_and_less_to_answer_later(worker: tuple[Worker, Any]) -> None:
    parent, child = worker
    parent.look(0.0)
    parent.look(1.0)
    assert parent.is_alive(START - 1)
    assert not parent.is_alive(START)
    child.send(True)
    parent.look(100.0)
    assert parent.is_alive(100.0 + ANSWER - 1)
    assert not parent.is_alive(100.0 + ANSWER)


def test_a_worker_that_ended_is_not_alive(worker: tuple[Worker, Any]) -> None:
    parent, child = worker
    child.close()
    parent.look(0.0)
    parent.look(1.0)
    assert parent.is_alive(2.0), "its process is"
    parent.process.exitcode = 1  # type: ignore[misc]
    assert not parent.is_alive(2.0)


def test_a_worker_is_told_and_awaited(worker: tuple[Worker, Any]) -> None:
    parent, _ = worker
    process: Any = parent.process
    parent.stop()
    parent.kill()
    assert process.happened == ["start", "terminate", "join", "kill"]
    assert str(parent) == "worker [42]"


@pytest.mark.parametrize("stops_already", [False, True])
def test_a_worker_without_a_parent_stops(monkeypatch: pytest.MonkeyPatch, stops_already: bool) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    mine, theirs = multiprocessing.Pipe()
    mine.send(None)
    mine.send(None)
    mine.close()
    workers._answer(SimpleNamespace(started=True, should_exit=stops_already), theirs)  # type: ignore[arg-type]
    theirs.close()
    assert sent == ([] if stops_already else [(os.getpid(), signal.SIGTERM)])


def test_a_worker_answers_whether_it_serves() -> None:
    class Line:
        """Breaks after two questions."""

        answers: list[bool] = []

        def recv(self) -> None:
            if len(self.answers) == 2:
                raise OSError

        def send(self, started: bool) -> None:
            self.answers.append(started)
            server.started = True

    server = SimpleNamespace(started=False, should_exit=True)
    workers._answer(server, Line())  # type: ignore[arg-type]
    assert Line.answers == [False, True]


# Their parent


class Fake:
    """Stands for a worker; the crew hears what is done to it."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.name = len(crew.made)
        self.sentinel, self._end = os.pipe()
        self.process = SimpleNamespace(sentinel=self.sentinel, exitcode=None)
        self.is_ready = False
        self.hangs = False
        crew.made.append(self)
        crew.note("start", self)

    def __str__(self) -> str:
        return f"worker [{self.name}]"

    def look(self, now: float) -> None:
        self.is_ready = self.is_ready or self.name not in self.crew.lame
        self.crew.note("look", self)

    def is_alive(self, now: float) -> bool:
        return self.process.exitcode is None and not self.hangs

    def stop(self) -> None:
        self.crew.note("stop", self)
        self.dies(0)

    def kill(self) -> None:
        self.crew.note("kill", self)
        self.dies(-signal.SIGKILL)

    def join(self) -> None:
        assert self.process.exitcode is not None, "would wait for ever"

    def dies(self, code: int) -> None:
        if self.process.exitcode is None:
            self.process.exitcode = code
            os.close(self._end)


class Crew:
    """Every worker that was made, what happened, and what a test does when something happens."""

    def __init__(self) -> None:
        self.made: list[Fake] = []
        self.happened: list[str] = []
        self.on: dict[str, Callable[[], object]] = {}
        self.lame: set[int] = set()
        """The workers that do not get ready."""
        self.pauses: list[float] = []
        """How long each was told to wait before it starts."""

    def make(self, config: Config, listener: socket.socket, pause: float) -> Fake:
        self.pauses.append(pause)
        return Fake(self)

    def note(self, what: str, worker: Fake) -> None:
        happening = f"{what} {worker.name}"
        if what != "look":
            self.happened.append(happening)
        do = self.on.pop(happening, None)
        if do is not None:
            do()


class Left(BaseException):
    """The process would be gone."""


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    def end_at_once(number: int) -> None:
        raise Left(128 + number)

    crew = Crew()
    monkeypatch.setattr(workers, "Worker", crew.make)
    monkeypatch.setattr(workers, "LOOK", 0.001)
    monkeypatch.setattr(workers, "end_at_once", end_at_once)
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGTTIN", "SIGTTOU")
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    yield crew
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)
    for worker in crew.made:
        worker.dies(0)
        os.close(worker.sentinel)


def run(count: int = 2) -> int:
    """Run the parent to its end; return the exit code."""
    with socket.socket() as listener:
        return Workers(Config("none:none", workers=count, log_config=None), listener).run()


def send(number: int) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_are_stopped_one_after_another(crew: Crew, number: int) -> None:
    closed: list[bool] = []
    crew.on["look 2"] = send(number)
    listener = socket.socket()
    for name in range(3):
        crew.on[f"stop {name}"] = lambda: closed.append(listener.fileno() < 0)
    parent = Workers(Config("none:none", workers=3, log_config=None), listener)
    assert parent.run() == 0
    assert crew.happened == ["start 0", "start 1", "start 2", "stop 0", "stop 1", "stop 2"]
    assert closed == [False, False, True], "the last closes the socket"


def test_a_second_signal_ends_all_at_once(crew: Crew) -> None:
    crew.on["look 1"] = send(signal.SIGTERM)
    crew.on["stop 0"] = send(signal.SIGINT)
    with pytest.raises(Left) as left:
        run()
    assert left.value.args == (128 + signal.SIGINT,)
    assert {"kill 0", "kill 1"} <= set(crew.happened)


def test_a_worker_that_dies_is_replaced(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    crew.on["look 1"] = lambda: crew.made[1].dies(-signal.SIGSEGV)
    crew.on["look 2"] = send(signal.SIGTERM)
    assert run() == 0
    assert crew.happened == ["start 0", "start 1", "kill 1", "start 2", "stop 0", "stop 2"]
    assert f"worker [1] died (exit code {-signal.SIGSEGV})" in caplog.text


def test_a_worker_that_hangs_is_replaced(crew: Crew) -> None:
    def hang() -> None:
        crew.made[0].hangs = True

    crew.on["look 0"] = hang
    crew.on["look 2"] = send(signal.SIGTERM)
    assert run() == 0
    assert crew.happened == ["start 0", "start 1", "kill 0", "start 2", "stop 2", "stop 1"]


@pytest.mark.parametrize("code", [1, 3])
def test_a_worker_that_cannot_start_ends_them_all(crew: Crew, code: int, caplog: pytest.LogCaptureFixture) -> None:
    crew.lame = {0}
    crew.on["look 0"] = lambda: crew.made[0].dies(code)
    assert run() == code
    assert [name for name in crew.happened if name.startswith("start")] == ["start 0", "start 1"]
    assert "stop 1" in crew.happened
    assert "worker [0] could not start: stopping" in caplog.text


def test_a_worker_that_cannot_start_where_one_has_served_is_tried_again(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    crew.lame = {2}  # its engine is away, when it takes the place of one that died meanwhile
    crew.on["look 0"] = lambda: crew.made[0].dies(-signal.SIGSEGV)
    crew.on["look 2"] = lambda: crew.made[2].dies(3)
    crew.on["look 3"] = send(signal.SIGTERM)
    assert run() == 0
    assert [name for name in crew.happened if name.startswith("start")] == [f"start {name}" for name in range(4)]
    assert crew.pauses == [0, 0, 0, PAUSE]
    assert "worker [2] could not start: the others go on, and another one is tried" in caplog.text


def test_a_worker_that_is_killed_while_it_starts_is_replaced(crew: Crew) -> None:
    crew.lame = {0}
    crew.on["look 0"] = lambda: crew.made[0].dies(-signal.SIGKILL)
    crew.on["look 2"] = send(signal.SIGTERM)
    assert run() == 0
    assert "start 2" in crew.happened


def test_a_hangup_replaces_one_after_another(crew: Crew) -> None:
    crew.on["look 1"] = send(signal.SIGHUP)
    crew.on["stop 1"] = lambda: crew.on.update({"look 3": send(signal.SIGTERM)})
    assert run() == 0
    assert crew.happened == [
        *["start 0", "start 1"],
        *["start 2", "stop 0", "start 3", "stop 1"],
        *["stop 2", "stop 3"],
    ]


def test_a_hangup_ends_with_a_worker_that_does_not_start(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    crew.lame = {2}
    crew.on["look 1"] = send(signal.SIGHUP)
    crew.on["look 2"] = lambda: crew.made[2].dies(3)
    crew.on["kill 2"] = lambda: crew.on.update({"look 0": send(signal.SIGTERM)})
    assert run() == 0
    assert crew.happened == ["start 0", "start 1", "start 2", "kill 2", "stop 2", "stop 0", "stop 1"]
    assert "worker [2] could not start: worker [0] goes on" in caplog.text


def test_a_signal_to_stop_ends_a_hangup(crew: Crew) -> None:
    crew.lame = {2}
    crew.on["look 1"] = send(signal.SIGHUP)
    crew.on["look 2"] = send(signal.SIGTERM)
    assert run() == 0
    assert crew.happened == ["start 0", "start 1", "start 2", "kill 2", "stop 2", "stop 0", "stop 1"]


def test_a_second_signal_finds_the_worker_that_is_being_replaced(crew: Crew) -> None:
    crew.on["look 1"] = send(signal.SIGHUP)
    crew.on["stop 0"] = lambda: (send(signal.SIGTERM)(), send(signal.SIGTERM)())
    with pytest.raises(Left):
        run()
    assert {"kill 0", "kill 1", "kill 2"} <= set(crew.happened)


def test_one_more_and_one_less(crew: Crew) -> None:
    crew.on["look 1"] = send(signal.SIGTTIN)
    crew.on["look 2"] = lambda: (send(signal.SIGTTOU)(), crew.on.update({"stop 2": after}))

    def after() -> None:
        crew.on["look 0"] = send(signal.SIGTERM)

    assert run() == 0
    assert crew.happened == ["start 0", "start 1", "start 2", "stop 2", "stop 0", "stop 1"]


def test_the_last_one_stays(crew: Crew) -> None:
    crew.on["look 0"] = lambda: (send(signal.SIGTTOU)(), crew.on.update({"look 0": again}))

    def again() -> None:
        crew.on["look 0"] = send(signal.SIGTERM)

    assert run(1) == 0
    assert crew.happened == ["start 0", "stop 0"]
