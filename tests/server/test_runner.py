"""What ``run`` starts, and the reloader, without processes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.supervisors.basereload import BaseReload

from antiphon.server import runner
from antiphon.server.runner import STARTUP_FAILURE, Reloader, run

APPLICATION = "tests.integration.apps.greeting:app"


class Started:
    """What was started, and with what."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.serves = True

    def server(self, config: Config, *, supervised: bool = False) -> Any:
        def serve() -> None:
            self.calls.append(("server", config.loaded))

        return SimpleNamespace(run=serve, started=self.serves, supervised=supervised)

    def reloader(self, config: Config, target: Any, sockets: list[socket.socket]) -> Any:
        return self.run_with("reloader", sockets[0], 0)

    def workers(self, config: Config, listener: socket.socket) -> Any:
        return self.run_with(f"{config.workers} workers", listener, 3)

    def run_with(self, name: str, listener: socket.socket, code: int) -> Any:
        def serve() -> int:
            self.calls.append((name, listener.getsockname()))
            listener.close()
            return code

        return SimpleNamespace(run=serve)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    started = Started()
    monkeypatch.setattr(runner, "Server", started.server)
    monkeypatch.setattr(runner, "Reloader", started.reloader)
    monkeypatch.setattr(runner, "Workers", started.workers)
    return started


def start(**options: Any) -> int:
    return run(APPLICATION, log_config=None, port=0, **options)


@pytest.mark.parametrize(("serves", "code"), [(True, 0), (False, STARTUP_FAILURE)])
def test_one_process_serves_by_itself(started: Started, serves: bool, code: int) -> None:
    started.serves = serves
    assert start() == code
    assert started.calls == [("server", True)], "the application was imported before"


def test_an_application_that_does_not_exist_ends_it(started: Started) -> None:
    with pytest.raises(SystemExit) as end:
        run("tests.integration.apps.greeting:nothing", log_config=None, port=0)
    assert end.value.code
    assert not started.calls


def test_several_share_a_socket(started: Started) -> None:
    assert start(workers=3) == 3, "the code is theirs"
    ((name, address),) = started.calls
    assert name == "3 workers"
    assert address[1] > 0


def test_the_reloader_is_one_of_several_too(started: Started) -> None:
    assert start(reload=True, workers=3) == 0
    assert started.calls[0][0] == "reloader"


@pytest.mark.parametrize("options", [{}, {"workers": 2}])
def test_a_unix_socket_is_removed(started: Started, tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "sock"
    path.touch()
    if options:
        path.unlink()
    start(uds=str(path), **options)
    assert not path.exists()
    start(uds=str(path), **options)


# The reloader


class Process:
    """Stands for the process that is started again."""

    def __init__(self, happened: list[str]) -> None:
        self.happened = happened
        self.on_join: Callable[[], None] = lambda: None

    def terminate(self) -> None:
        self.happened.append("terminate")

    def join(self) -> None:
        self.happened.append("join")
        self.on_join()

    def kill(self) -> None:
        self.happened.append("kill")


class Left(BaseException):
    """The process would be gone."""


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the process, and by uvicorn's reloader."""
    happened: list[str] = []

    def end_at_once(number: int) -> None:
        raise Left(number)

    monkeypatch.setattr(runner, "end_at_once", end_at_once)
    for name in ("startup", "restart", "shutdown"):
        monkeypatch.setattr(BaseReload, name, lambda self, name=name: happened.append(f"{name} {is_held()}"))
    return happened


def is_held() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def reloader(happened: list[str]) -> tuple[Reloader, Any, socket.socket]:
    listener = socket.socket()
    made = Reloader(Config(APPLICATION, log_config=None, reload=True), lambda sockets: None, [listener])
    process: Any = Process(happened)
    made.process = process
    return made, process, listener


def test_processes_start_without_hearing_interrupts(happened: list[str]) -> None:
    made, _, listener = reloader(happened)
    made.startup()
    made.restart()
    made.shutdown()
    assert happened == ["startup True", "terminate", "join", "restart True", "shutdown False"]
    assert listener.fileno() < 0, "nobody waits in its queue"
    assert not is_held()


def test_a_signal_while_the_old_process_stops_means_no_new_one(happened: list[str]) -> None:
    made, process, listener = reloader(happened)
    process.on_join = lambda: made.signal_handler(signal.SIGINT, None)
    made.restart()
    assert happened == ["terminate", "join"]
    assert made.should_exit.is_set()
    listener.close()


def test_a_second_signal_ends_the_reloader(happened: list[str]) -> None:
    made, _, listener = reloader(happened)
    made.signal_handler(signal.SIGINT, None)
    assert made.should_exit.is_set()
    with pytest.raises(Left) as left:
        made.signal_handler(signal.SIGTERM, None)
    assert left.value.args == (signal.SIGTERM,)
    assert happened == ["kill"]
    listener.close()
