"""What is told of an application under test."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from antiphon.testing.observed import LENGTH, LISTED, Observed, note_failure
from tests.fakes import on_jumping_loop


def failure(error: BaseException) -> BaseException:
    """Return ``error`` with a traceback."""
    try:
        raise error
    except BaseException as raised:
        return raised


async def test_outputs_are_taken_in_their_order() -> None:
    observed = Observed()
    for number in range(3):
        await observed.send({"type": "websocket.send", "text": str(number)})
    assert [observed.outputs.get_nowait()["text"] for _ in range(3)] == ["0", "1", "2"]


async def test_an_exception_is_raised_once_with_its_own_traceback_and_where_it_came_from() -> None:
    observed, error = Observed(), failure(KeyError("a"))
    observed.failed("receive() of a consumer", error)
    observed.failed("the task of the same", error)
    assert observed.has_failed
    with pytest.raises(KeyError) as raised:
        observed.raise_failure()
    assert raised.value is error
    assert traceback.extract_tb(error.__traceback__)[-1].name == "failure"
    assert error.__notes__ == ["(raised by the application under test, in receive() of a consumer)"]
    observed.raise_failure()


async def test_the_oldest_exception_comes_first() -> None:
    observed = Observed()
    errors = [KeyError("a"), KeyError("a")]
    for error in errors:
        observed.failed("here", error)
    assert observed.take_failures() == errors
    assert not observed.has_failed


async def test_a_cancellation_is_told_and_does_not_cancel_the_test() -> None:
    observed = Observed()
    error = asyncio.CancelledError()
    observed.failed("connect()", error)
    with pytest.raises(RuntimeError, match=r"connect\(\) ended with a CancelledError") as raised:
        observed.raise_failure()
    assert raised.value.__cause__ is error


@on_jumping_loop
async def test_who_waits_goes_on_with_the_news() -> None:
    observed = Observed()
    conditions = [lambda: observed.outputs.qsize() >= 1, lambda: observed.outputs.qsize() >= 2]
    waiting = [asyncio.create_task(observed.until(condition, 10)) for condition in conditions]
    loop = asyncio.get_running_loop()
    for _ in range(2):
        await observed.send({"type": "websocket.send", "text": ""})
        await asyncio.sleep(0.1)
    assert all(task.done() and task.result() for task in waiting)
    assert loop.time() < 1


@on_jumping_loop
async def test_waiting_ends() -> None:
    observed = Observed()
    assert await observed.until(lambda: False, 3) is False
    assert asyncio.get_running_loop().time() == pytest.approx(3)


async def ended(task: asyncio.Task[None]) -> Observed:
    """Return what is observed of ``task``, which ends."""
    observed = Observed()
    task.add_done_callback(observed.ended)
    await observed.until(lambda: observed.has_ended, 10)
    return observed


async def nothing() -> None:
    """End."""


async def failing() -> None:
    """Fail."""
    raise KeyError("a")


async def test_the_end_is_told() -> None:
    assert str(Observed()) == "The application still runs and has sent nothing."
    assert str(await ended(asyncio.create_task(nothing()))).startswith("The application has ended and")


async def test_the_end_by_an_exception_is_told_and_the_exception_raised() -> None:
    observed = await ended(asyncio.create_task(failing()))
    assert str(observed).startswith("The application has ended with KeyError and")
    with pytest.raises(KeyError):
        observed.raise_failure()


async def test_the_end_by_being_cancelled_is_told() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    observed = await ended(task)  # type: ignore[arg-type]
    assert str(observed).startswith("The application was cancelled and")
    assert not observed.has_failed


async def test_what_was_sent_is_listed_in_short() -> None:
    observed = Observed()
    await observed.send({"type": "websocket.accept"})
    await observed.send({"type": "websocket.send", "text": "x" * 1000})
    await observed.send({"type": "websocket.close", "code": 4000})
    accept, long, close = observed.sent.split(" (of which")[0].split(", ")
    assert (accept, close) == ("websocket.accept", "websocket.close 4000")
    assert long.startswith("websocket.send 'xxx")
    assert len(long) == LENGTH + 1
    assert observed.sent.endswith("(of which the test has not received the last 3)")
    observed.outputs.get_nowait()
    assert observed.sent.endswith("the last 2)")


async def test_of_many_outputs_the_newest_are_listed() -> None:
    observed = Observed()
    for number in range(LISTED + 5):
        await observed.send({"type": "websocket.send", "text": str(number)})
        observed.outputs.get_nowait()
    assert observed.sent.startswith("5 others, websocket.send '5', ")
    assert observed.sent.endswith(f"'{LISTED + 4}'")


def test_an_exception_that_can_not_be_raised_is_a_note_at_the_one_that_is() -> None:
    error = AssertionError("first")
    note_failure(error, failure(KeyError("second")))
    assert error.__notes__[0].startswith("(and besides:)\nTraceback")
    assert error.__notes__[0].endswith("KeyError: 'second'")
