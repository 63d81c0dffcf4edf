"""The loop of a process that runs none."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import antiphon
from antiphon import app, sync
from antiphon.home import Home


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home()
    yield home
    home.end()


async def loop_of() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_one_loop_in_a_thread_of_its_own_does_all_the_work(home: Home) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    threads = [threading.Thread(target=lambda: loops.append(home.run(loop_of()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loops) == 8
    assert set(loops) == {home.run(loop_of())}


def test_an_exception_comes_back_to_the_caller(home: Home) -> None:
    async def fail() -> None:
        raise ValueError("this one")

    with pytest.raises(ValueError, match="this one"):
        home.run(fail())


def test_before_it_ends_what_has_to_be_done_is_done(home: Home) -> None:
    done: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        done.append(asyncio.get_running_loop())

    home.at_end(work)
    home.end()
    assert done == [], "there was no loop"
    loop = home.run(loop_of())
    home.end()
    home.end()
    assert (done, loop.is_closed()) == ([loop], True)


def test_after_its_end_the_next_call_begins_anew(home: Home) -> None:
    first = home.run(loop_of())
    home.end()
    assert home.run(loop_of()) is not first


# antiphon there


@pytest.fixture
def fresh_antiphon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})


@pytest.mark.usefixtures("fresh_antiphon")
def test_a_loop_with_connections_takes_over() -> None:
    sync.publish("room", 1)
    elsewhere = app.current_app().running_hub
    assert elsewhere is not None

    async def serve() -> None:
        hub = await app.current_app().start()
        assert app.current_app().running_hub is hub is not elsewhere
        position = await asyncio.to_thread(sync.publish, "room", 2)
        assert position.offset == 1, "of another memory engine"
        await app.current_app().stop()

    asyncio.run(serve())
    assert sync.publish("room", 3).offset == 1


@pytest.mark.usefixtures("fresh_antiphon")
def test_threads_that_begin_at_the_same_time_share_one_engine() -> None:
    antiphon.configure(rules={"room": {"history_size": 100}})
    barrier = threading.Barrier(8)

    def publish() -> None:
        barrier.wait()
        sync.publish("room", 1)

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sync.history("room").top.offset == 8


FORKING = """
import os
from antiphon import sync
assert sync.publish("room", 1).offset == 1
child = os.fork()
if child == 0:
    print("child", sync.publish("room", 1).offset, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", sync.publish("room", 1).offset)
"""


def test_a_process_that_was_forked_has_a_loop_of_its_own() -> None:
    run = subprocess.run([sys.executable, "-W", "error", "-c", FORKING], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.splitlines()) == (0, ["child 1", "parent 2"]), run.stderr
