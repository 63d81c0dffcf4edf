"""A thread that carries out together what waits together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from antiphon.engines.sqlite.worker import Worker

from .sqlite import until


class Crew:
    """What a worker did."""

    def __init__(self, at_once: int = 10) -> None:
        self.done: list[list[int]] = []
        self.closed = 0
        self.may_go_on = threading.Event()
        self.worker: Worker[int] = Worker(
            "antiphon-sqlite-test", asyncio.get_running_loop(), self._work, self._close, at_once=at_once
        )

    def _work(self, tasks: Sequence[int]) -> None:
        assert self.may_go_on.wait(30)
        self.done.append(list(tasks))

    def _close(self) -> None:
        self.closed += 1


async def test_what_waits_is_carried_out_together_in_order_up_to_the_bound() -> None:
    crew = Crew()
    for number in range(25):
        crew.worker.put(number)
    crew.may_go_on.set()
    await crew.worker.stop()
    assert [number for tasks in crew.done for number in tasks] == list(range(25))
    assert max(map(len, crew.done)) == 10
    assert crew.closed == 1


async def test_it_ends_after_what_was_put_before_and_not_after_what_comes_later() -> None:
    crew = Crew()
    crew.worker.put(1)
    stopping = asyncio.create_task(crew.worker.stop())
    await asyncio.sleep(0)
    crew.worker.put(2)
    crew.may_go_on.set()
    await stopping
    assert crew.done == [[1]]
    assert not any(thread.name == "antiphon-sqlite-test" for thread in threading.enumerate())


async def test_it_tells_on_the_loop() -> None:
    crew = Crew()
    told: list[tuple[str, str]] = []
    crew.may_go_on.set()
    await asyncio.to_thread(crew.worker.tell, lambda word: told.append((word, threading.current_thread().name)), "word")
    await until(lambda: told)
    assert told == [("word", threading.current_thread().name)]
    await crew.worker.stop()


def test_to_tell_a_loop_that_is_closed_is_nothing() -> None:
    async def make() -> Crew:
        crew = Crew()
        crew.may_go_on.set()
        await crew.worker.stop()
        return crew

    crew = asyncio.run(make())
    crew.worker.tell(print, "nobody hears this")
