"""An ASGI application, spoken to event by event."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import subprocess
import sys
import traceback
from typing import Any

import pytest

from antiphon.exceptions import UsageError
from antiphon.testing import ApplicationCommunicator
from antiphon.testing.application import _running, header_list, target
from antiphon.testing.observed import EXTENSION
from antiphon.types import Receive, Scope, Send
from tests.fakes import on_jumping_loop, settled, until

from .apps import Scripted, echo, silent

PING = {"type": "ping"}


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer each event with its number."""
    number = 0
    while (await receive()) == PING:
        number += 1
        await send({"type": "pong", "number": number})


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer once, and fail."""
    await receive()
    await send({"type": "pong"})
    raise LookupError("on purpose")


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Go on when cancelled for the first time."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


def communicator(application: Any) -> ApplicationCommunicator:
    return ApplicationCommunicator(application, {"type": "test"})


@on_jumping_loop
async def test_events_go_in_and_come_out() -> None:
    test = communicator(answering)
    await test.send_input(PING)
    await test.send_input(PING)
    assert await test.receive_output() == {"type": "pong", "number": 1}
    assert await test.receive_output() == {"type": "pong", "number": 2}
    await test.send_input({"type": "end"})
    await test.wait()


@on_jumping_loop
async def test_the_application_starts_with_the_first_call() -> None:
    started = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        started.append(scope)
        await send({"type": "hello"})

    test = communicator(application)
    await settled()
    assert not started
    assert await test.receive_output() == {"type": "hello"}
    assert started[0] is test.scope


@on_jumping_loop
async def test_it_runs_without_the_test_s_context() -> None:
    variable = contextvars.ContextVar("variable", default="as on a server")
    variable.set("of the test")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": variable.get()})

    assert (await communicator(application).receive_output())["type"] == "as on a server"


@on_jumping_loop
async def test_a_timeout_says_what_was_waited_for_and_does_not_disturb() -> None:
    test = communicator(answering)
    await test.send_input(PING)
    await test.receive_output()
    with pytest.raises(TimeoutError) as error:
        await test.receive_output(timeout=7)
    assert str(error.value) == (
        "receive_output(): nothing came within 7 s. The application still runs and has sent pong."
    )
    with pytest.raises(TimeoutError, match=r"wait\(\): the application did not end within 2 s. The application still"):
        await test.wait(timeout=2)
    await test.send_input(PING)
    assert (await test.receive_output())["number"] == 2
    await test.send_input({"type": "end"})
    await test.wait()


@on_jumping_loop
async def test_nobody_waits_for_an_application_that_has_ended() -> None:
    test = communicator(answering)
    await test.send_input({"type": "end"})
    with pytest.raises(TimeoutError, match=r"nothing more will come. The application has ended and has sent nothing"):
        await test.receive_output(timeout=1000)
    assert await test.receive_nothing(timeout=1000)
    assert asyncio.get_running_loop().time() < 1


@on_jumping_loop
async def test_what_was_sent_before_the_end_is_received() -> None:
    test = communicator(answering)
    await test.send_input(PING)
    await test.send_input({"type": "end"})
    await test.wait()
    assert await test.receive_output() == {"type": "pong", "number": 1}


@on_jumping_loop
async def test_waiting_without_a_limit() -> None:
    test = communicator(answering)
    asyncio.get_running_loop().call_later(1000, test.input_queue.put_nowait, PING)
    assert (await test.receive_output(timeout=None))["type"] == "pong"
    test.stop()
    await test.wait(timeout=None)


# Exceptions


@on_jumping_loop
async def test_an_exception_is_raised_once_with_its_traceback() -> None:
    test = communicator(failing)
    await test.send_input(PING)
    with pytest.raises(LookupError, match="on purpose") as raised:
        await test.wait()
    assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "failing"
    assert raised.value.__notes__ == ["(raised by the application under test, in its task)"]
    await test.wait()
    assert (await test.receive_output())["type"] == "pong"
    with pytest.raises(TimeoutError, match="has ended with LookupError"):
        await test.receive_output()


@pytest.mark.parametrize("call", ["send_input", "receive_output", "receive_nothing", "wait", "stop"])
def test_the_next_call_raises_it_whichever_it_is(call: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        test = communicator(failing)
        await test.send_input(PING)
        await until(test.future.done)
        await settled()
        method, arguments = getattr(test, call), [PING] if call == "send_input" else []
        with pytest.raises(LookupError):
            await result if (result := method(*arguments)) else None

    main()


@pytest.mark.parametrize("call", ["receive_output", "receive_nothing", "wait"])
def test_a_call_that_waits_is_ended_by_it(call: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.sleep(1)
            raise LookupError

        with pytest.raises(LookupError):
            await getattr(communicator(application), call)(timeout=1000)
        assert asyncio.get_running_loop().time() == pytest.approx(1)

    main()


@on_jumping_loop
async def test_an_exception_that_the_application_keeps_to_itself_is_told_by_the_extension() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][EXTENSION].failed("its heart", LookupError("kept"))
        await receive()

    test = communicator(application)
    with pytest.raises(LookupError, match="kept"):
        await test.receive_output()
    await test.send_input(PING)
    await test.wait()


@on_jumping_loop
async def test_other_extensions_stay_and_a_scope_that_is_shared_is_no_matter() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        extensions = scope["extensions"]
        await receive()
        assert "websocket.http.response" in extensions
        extensions[EXTENSION].failed("here", LookupError())

    scope = {"type": "test", "extensions": {"websocket.http.response": {}}}
    first, second = (ApplicationCommunicator(application, scope) for _ in range(2))
    assert await first.receive_nothing()
    assert await second.receive_nothing()
    await first.send_input(PING)
    with pytest.raises(LookupError):
        await first.wait()
    assert await second.receive_nothing()
    second.stop()
    await second.wait()


@on_jumping_loop
async def test_stop_cancels() -> None:
    test = communicator(silent)
    test.stop()
    assert await test.receive_nothing()
    test.stop()
    await test.wait()
    assert test.future.cancelled()


# What can't be an application


class Application:
    """Is made for each connection."""


@pytest.mark.parametrize(
    ("application", "words"),
    [(Scripted, r"Scripted is a class.*pass Scripted.as_asgi\(\)"), (Application, "is a class"), (7, "7 is no ASGI")],
)
def test_what_is_no_application_is_told_at_once(application: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        communicator(application)


def test_a_communicator_stays_on_its_event_loop() -> None:
    test = communicator(answering)

    async def first() -> None:
        await test.send_input(PING)

    asyncio.run(first())
    with pytest.raises(UsageError, match="started on another event loop"):
        asyncio.run(test.wait())


# The end without being asked


def test_one_that_is_never_used_leaves_nothing() -> None:
    communicator(silent)

    @on_jumping_loop
    async def main() -> None:
        communicator(silent)

    main()


@on_jumping_loop
async def test_one_that_is_dropped_cancels_its_application() -> None:
    test = communicator(silent)
    task = test.future
    await settled()
    del test
    await until(task.done)
    assert task.cancelled()


@on_jumping_loop
async def test_one_that_is_dropped_in_a_cycle_does_so_too() -> None:
    test: Any = communicator(silent)
    task = test.future
    test.cycle = test
    await settled()
    del test
    assert task in _running
    gc.collect()
    await until(lambda: task not in _running)
    assert task.cancelled()


def test_one_that_is_left_when_its_loop_ends_leaves_nothing() -> None:
    test = communicator(silent)

    async def main() -> asyncio.Task[None]:
        assert await test.receive_nothing(0)
        return test.future

    assert asyncio.run(main()).cancelled()
    assert not _running


LOOP_CLOSED = """
import asyncio, gc, os
from antiphon.testing import ApplicationCommunicator

async def application(scope, receive, send):
    await receive()

for is_dropped_before in (True, False):
    test = ApplicationCommunicator(application, {})
    loop = asyncio.new_event_loop()
    loop.run_until_complete(test.receive_nothing(0))
    if is_dropped_before:
        del test
    loop.close()
    test = None
    gc.collect()
os._exit(0)
"""


def test_nothing_collects_the_task_of_a_loop_that_was_closed_without_ending_it() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", LOOP_CLOSED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_exception_that_no_call_has_raised_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        test = communicator(failing)
        await test.send_input(PING)
        await asyncio.wait([test.future])
        await asyncio.sleep(0)

    asyncio.run(main())
    assert "An application under test failed, and no call raised it" in caplog.text
    assert "LookupError: on purpose" in caplog.text


def test_one_that_was_raised_is_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        test = communicator(failing)
        await test.send_input(PING)
        with pytest.raises(LookupError):
            await test.wait()

    asyncio.run(main())
    assert not caplog.records


@on_jumping_loop
async def test_one_that_does_not_let_itself_be_cancelled_is_told() -> None:
    test = communicator(deaf)
    assert await test.receive_nothing()
    (error,) = await test._finish({"type": "end"}, 3)
    assert str(error) == (
        "the application did not end within 3 s of end, and goes on although it was cancelled. It has sent nothing."
    )
    test.stop()
    await test.wait()


# What a scope is made of


@pytest.mark.parametrize(
    ("path", "expected", "query"),
    [
        ("/rooms/caf%C3%A9/?name=a%20b", "/rooms/café/", b"name=a%20b"),
        ("ws://example.com/a/b?c#d", "/a/b", b"c"),
        ("wss://user:pass@example.com:8080/p/a/t/h?query=string#hash", "/p/a/t/h", b"query=string"),
        ("/", "/", b""),
    ],
)
def test_the_path_is_unquoted_and_the_query_is_not(path: str, expected: str, query: bytes) -> None:
    assert target(path) == {"path": expected, "query_string": query}


def test_a_path_is_text() -> None:
    with pytest.raises(TypeError, match=r"Expected str, got <class 'bytes'>"):
        target(b"/")  # type: ignore[arg-type]


def test_headers_are_pairs_of_bytes() -> None:
    assert header_list(None) == []
    assert header_list([(b"a", b"b")]) == [(b"a", b"b")]
    for wrong in ([("a", "b")], {"a": "b"}, [b"ab"], [(b"a", b"b", b"c")]):
        with pytest.raises(TypeError, match="headers are pairs of bytes"):
            header_list(wrong)  # type: ignore[arg-type]


@on_jumping_loop
async def test_any_application_will_do() -> None:
    test = ApplicationCommunicator(echo, {"type": "lifespan"})
    with pytest.raises(UsageError, match="no lifespan"):
        await test.wait()
