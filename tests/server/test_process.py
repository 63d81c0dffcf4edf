"""One process that serves: its end on a loop whose clock jumps, and what signals do to it."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.config import Config

from antiphon import app
from antiphon.engines.base import EngineEvents
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import ConfigurationError
from antiphon.server import process
from antiphon.server.drain import is_stopping
from antiphon.server.process import LEAVING, Server, end_at_once, hold_interrupts
from antiphon.types import Receive, Scope, Send

from ..fakes import on_jumping_loop, settled

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Timer:
    """Stands for the thread that would end the process."""

    made: list[Timer] = []

    def __init__(self, seconds: float, code: int, words: str) -> None:
        self.seconds, self.code, self.words = seconds, code, words
        self.cancelled = False
        self.made.append(self)

    def cancel(self) -> None:
        self.cancelled = True


class Left(BaseException):
    """The process would be gone."""

    def __init__(self, code: int) -> None:
        self.code = code


@pytest.fixture(autouse=True)
def timers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Timer]]:
    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(Timer, "made", [])
    monkeypatch.setattr(process, "_end_in", Timer)
    monkeypatch.setattr(process, "_leave", leave)
    monkeypatch.delenv("ANTIPHON_SHUTDOWN_TIMEOUT", raising=False)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield Timer.made
    for number, handler in before.items():
        signal.signal(number, handler)


class Connection:
    """A connection of the server: ends when it is told, or later, or never."""

    def __init__(self, server: Server, *, after: float = 0.0, brings: Connection | None = None) -> None:
        self.server, self.after, self.brings = server, after, brings
        self.told = 0
        server.server_state.connections.add(self)  # type: ignore[arg-type]

    def shutdown(self) -> None:
        self.told += 1
        if self.brings is not None:
            self.server.server_state.connections.add(self.brings)  # type: ignore[arg-type]
        if self.after >= 0:
            asyncio.get_running_loop().call_later(self.after, self.gone)

    def gone(self) -> None:
        self.server.server_state.connections.discard(self)


class Listener:
    """A socket, or a server of the loop's, that can be closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Lifespan:
    """Notes when the application was told."""

    def __init__(self) -> None:
        self.over = -1.0

    async def shutdown(self) -> None:
        await asyncio.sleep(0)
        self.over = asyncio.get_running_loop().time()


def make(*, supervised: bool = False, timeout: float | None = 10) -> Server:
    config = Config("none:none", log_config=None, timeout_graceful_shutdown=timeout)  # type: ignore[arg-type]
    server = Server(config, supervised=supervised)
    server.started = True
    server.servers = []
    server.lifespan = Lifespan()
    return server


def over(server: Server) -> float:
    lifespan = server.lifespan
    assert isinstance(lifespan, Lifespan)
    return lifespan.over


# The end


@on_jumping_loop
async def test_it_stops_listening_and_tells_everybody_once() -> None:
    server = make()
    listener, shared = Listener(), Listener()
    server.servers = [listener]  # type: ignore[list-item]
    late = Connection(server)
    late.gone()
    connections = [Connection(server, after=1.0, brings=late), Connection(server, after=2.0)]
    start = asyncio.get_running_loop().time()
    await server.shutdown([shared])  # type: ignore[list-item]
    assert (listener.closed, shared.closed) == (True, True)
    assert [connection.told for connection in connections] == [1, 1]
    assert late.told == 1, "also who came while the server was stopping"
    assert over(server) - start == pytest.approx(2.0, abs=0.1)
    assert is_stopping(server.server_state)


@on_jumping_loop
async def test_a_handler_has_nine_tenths_of_the_time_and_its_farewell_the_rest() -> None:
    server = make(timeout=10)
    loop = asyncio.get_running_loop()
    start = loop.time()
    happened: list[tuple[str, float]] = []

    async def handler() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            happened.append(("cancelled", loop.time() - start))
            await asyncio.sleep(0.5)  # as disconnect() may
            happened.append(("farewell", loop.time() - start))
            raise

    task = asyncio.create_task(handler())
    server.server_state.tasks.add(task)
    task.add_done_callback(server.server_state.tasks.discard)
    await server.shutdown()
    assert [what for what, _ in happened] == ["cancelled", "farewell"]
    assert [when for _, when in happened] == pytest.approx([9.0, 9.5], abs=0.1)
    assert over(server) - start == pytest.approx(9.5, abs=0.2)


@on_jumping_loop
async def test_what_does_not_end_is_left_when_the_time_is_over() -> None:
    server = make(timeout=4)
    Connection(server, after=-1)
    start = asyncio.get_running_loop().time()
    await server.shutdown()
    assert over(server) - start == pytest.approx(4.0, abs=0.1)
    assert not Timer.made, "nobody sent a signal: the process is not ours to end"


@pytest.mark.parametrize(("timeout", "after", "left"), [(10, 3.0, 7.0), (10, -1, LEAVING), (0.5, 0.0, LEAVING)])
def test_a_process_that_was_told_to_stop_is_left(timeout: float, after: float, left: float) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = make(timeout=timeout)
        Connection(server, after=after)
        server.handle_exit(signal.SIGTERM, None)
        (watch,) = Timer.made
        assert watch.seconds == pytest.approx(timeout + 1.05)
        assert watch.code == 1
        await server.shutdown()
        assert watch.cancelled
        (_, leaving) = Timer.made
        assert leaving.seconds == pytest.approx(left, abs=0.1)
        assert leaving.code == 0

    main()


@on_jumping_loop
async def test_nothing_to_do_takes_no_time() -> None:
    start = asyncio.get_running_loop().time()
    server = make()
    await server.shutdown()
    assert over(server) - start < 0.1


def test_handlers_that_are_cut_off_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    @on_jumping_loop
    async def main() -> None:
        server = make(timeout=2)
        tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(3)]
        server.server_state.tasks.update(tasks)
        for task in tasks:
            task.add_done_callback(server.server_state.tasks.discard)
        await server.shutdown()
        await settled()

    with caplog.at_level(logging.ERROR, "antiphon.server"):
        main()
    (message,) = caplog.messages
    assert message == "stopping; handlers cancelled because they still ran after 1.8 s (shutdown_timeout: 2 s): 3"


def test_the_time_is_the_command_lines_or_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_SHUTDOWN_TIMEOUT", "7.5")
    monkeypatch.setattr("antiphon.app._app", None)
    assert make(timeout=3).shutdown_timeout == 3
    assert make(timeout=None).shutdown_timeout == 7.5


# Signals


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_first_signal_stops_and_the_second_ends(first: int, second: int, caplog: pytest.LogCaptureFixture) -> None:
    server = make()
    server.handle_exit(first, None)
    assert server.should_exit
    with pytest.raises(Left) as left:
        server.handle_exit(second, None)
    assert left.value.code == 128 + second
    assert f"{signal.Signals(second).name} again: stopping at once" in caplog.text
    assert not server._captured_signals, "uvicorn would raise them again"


def test_a_second_signal_may_come_while_the_first_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make()

    def interrupted(*arguments: Any) -> Timer:
        monkeypatch.setattr(process, "_end_in", Timer)
        server.handle_exit(signal.SIGINT, None)
        raise AssertionError("was taken for the first")

    monkeypatch.setattr(process, "_end_in", interrupted)
    with pytest.raises(Left) as left:
        server.handle_exit(signal.SIGTERM, None)
    assert left.value.code == 128 + signal.SIGINT


def test_a_log_that_fails_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("reentrant call")

    monkeypatch.setattr(process.logger, "error", fail)
    with pytest.raises(Left):
        end_at_once(signal.SIGTERM)
    (timer,) = Timer.made
    assert (timer.code, timer.seconds <= 1) == (128 + signal.SIGTERM, True), "nor does one that hangs"


def test_a_signal_before_the_start_is_over_has_no_deadline() -> None:
    server = make()
    server.started = False
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert not Timer.made


class Parent:
    """Stands for the parent's process."""

    def __init__(self, alive: bool) -> None:
        self.alive = alive

    def is_alive(self) -> bool:
        return self.alive


def test_a_supervised_process_leaves_interrupts_to_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: Parent(True))
    server = make(supervised=True)
    for _ in range(3):
        server.handle_exit(signal.SIGINT, None)
    assert not server.should_exit
    for _ in range(3):
        server.handle_exit(signal.SIGTERM, None)  # systemd sends it to all processes of a service
    assert server.should_exit
    server.handle_exit(signal.SIGINT, None)
    assert len(Timer.made) == 1


@pytest.mark.parametrize("parent", [Parent(False), None])
def test_a_supervised_process_without_a_parent_decides_itself(
    parent: Parent | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    server = make(supervised=True)
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    with pytest.raises(Left):
        server.handle_exit(signal.SIGTERM, None)


def test_a_child_of_anybody_else_takes_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: Parent(True))
    server = make()
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit


def test_signals_are_taken_and_given_back() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    server = make()
    with server.capture_signals():
        assert all(signal.getsignal(number) == server.handle_exit for number in SIGNALS)
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_signals_are_kept_by_who_was_told_to_stop() -> None:
    server = make()
    with server.capture_signals():
        signal.raise_signal(signal.SIGTERM)
    assert server.should_exit
    with pytest.raises(Left):  # the process is about to end, or a thread keeps it
        signal.raise_signal(signal.SIGINT)


def test_signals_are_left_alone_outside_of_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[Any] = []

    def capture() -> None:
        with make().capture_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=capture)
    thread.start()
    thread.join()
    assert found == [before]


def is_held() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_interrupts_are_held_while_a_process_starts() -> None:
    assert not is_held()
    with hold_interrupts():
        assert is_held()
    assert not is_held()


def test_a_supervised_server_hears_what_was_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: Parent(True))
    server = make(supervised=True)
    with hold_interrupts():
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # the process's other threads do not hold it
        with server.capture_signals():
            assert not is_held()
    assert not server.should_exit


# A process of its own, for what ends one

ENDS = """
import logging, sys, threading, time
from antiphon.server.process import _end_in
logging.basicConfig(format="%(message)s")
threading.Thread(target=time.sleep, args=(3600,), name="sleeper").start()
sys.stdout.write("written")
_end_in(0.01, 7, "left behind")
"""


def test_a_process_that_does_not_end_is_ended() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 7
    assert done.stdout == "written"
    assert done.stderr.startswith("left behind (threads: ")
    assert "sleeper" in done.stderr


# The engine


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nobody comes")


class Engine(MemoryEngine):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    async def start(self, events: EngineEvents, process: str = "") -> None:
        self.told.append("start")
        await super().start(events, process)

    async def stop(self) -> None:
        self.told.append("stop")
        await super().stop()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "open_engine", lambda url, counters: engine)
    return engine


def test_the_engine_starts_before_anybody_connects_and_stops_with_the_server(engine: Engine) -> None:
    server = Server(Config(nothing, lifespan="off", port=0, log_config=None))

    async def main() -> None:
        await server.startup()
        assert (engine.told, server.started) == (["start"], True)
        await server.shutdown()

    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    asyncio.run(main())
    assert engine.told == ["start", "stop"]


def test_an_engine_that_can_not_start_is_why_the_server_does_not(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def start(events: EngineEvents, process: str = "") -> None:
        raise ConfigurationError("the file is broken")

    monkeypatch.setattr(engine, "start", start)
    server = Server(Config(nothing, lifespan="off", port=0, log_config=None))
    server.run()
    assert not server.started
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["the file is broken"]


@pytest.mark.parametrize("chosen", [None, "the environment", "the settings"])
def test_workers_that_would_not_hear_each_other_are_refused_unless_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, caplog: pytest.LogCaptureFixture, chosen: str | None
) -> None:
    monkeypatch.delenv("ANTIPHON_ENGINE", raising=False)
    if chosen == "the environment":
        monkeypatch.setenv("ANTIPHON_ENGINE", "memory://")
    monkeypatch.setattr(app, "_configured", {"engine": "memory://"} if chosen == "the settings" else {})
    server = Server(Config(nothing, lifespan="off", port=0, log_config=None, workers=2))

    async def main() -> None:
        await server.startup()
        if server.started:
            await server.shutdown()

    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    asyncio.run(main())
    assert server.started is (chosen is not None)
    assert ("--workers 1" in caplog.text) is (chosen is None)


def test_an_engine_that_fails_to_stop_does_not_keep_the_server(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def stop() -> None:
        raise ConnectionError("it is away")

    server = make()

    async def main() -> None:
        await app.current_app().start()
        monkeypatch.setattr(engine, "stop", stop)
        await server.shutdown()

    asyncio.run(main())
    assert "could not be stopped in good order: it is away" in caplog.text
