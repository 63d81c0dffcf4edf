"""An HTTP request without a server."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from antiphon.testing import HttpCommunicator
from antiphon.types import Receive, Scope, Send
from tests.fakes import on_jumping_loop

from .apps import echo, scripted


@on_jumping_loop
async def test_a_response_has_status_headers_and_body() -> None:
    communicator = HttpCommunicator(echo, "post", "/a%20b?c=%20", b"body", [(b"x-a", b"b")])
    assert communicator.scope == {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/a b",
        "query_string": b"c=%20",
        "headers": [(b"x-a", b"b")],
    }
    assert await communicator.get_response() == {
        "status": 201,
        "headers": [(b"x-method", b"POST")],
        "body": b"body!",
    }
    assert not communicator.future.done(), "it waits for the client to leave"
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait()


@on_jumping_loop
async def test_what_a_response_may_leave_out() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    assert await HttpCommunicator(application, "GET", "/").get_response() == {"status": 204, "headers": [], "body": b""}


@on_jumping_loop
async def test_a_consumer_answers_that_it_is_a_websocket() -> None:
    assert (await HttpCommunicator(scripted, "GET", "/").get_response())["status"] == 426


@on_jumping_loop
async def test_what_is_no_response_is_told() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.body"})

    with pytest.raises(AssertionError, match=r"Expected type 'http.response.start', but was 'http.response.body'"):
        await HttpCommunicator(application, "GET", "/").get_response()


def test_a_body_is_bytes() -> None:
    with pytest.raises(TypeError, match="the body is bytes, not str"):
        HttpCommunicator(echo, "POST", "/", "text")  # type: ignore[arg-type]


@on_jumping_loop
async def test_a_response_that_does_not_come() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    communicator = HttpCommunicator(application, "GET", "/")
    for _ in range(2):
        with pytest.raises(
            TimeoutError, match=r"get_response\(\): nothing came within 2 s. The application still runs"
        ):
            await communicator.get_response(timeout=2)
    communicator.stop()
    await communicator.wait()


@on_jumping_loop
async def test_what_runs_behind_the_response_may_take_its_time() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})
        await asyncio.sleep(5)

    communicator = HttpCommunicator(application, "GET", "/")
    assert (await communicator.get_response())["status"] == 204
    assert not communicator.future.done()
    await communicator.wait(timeout=5)


def test_an_exception_is_raised_with_its_traceback_also_behind_the_response() -> None:
    done = []

    async def fail(request: Request) -> None:
        raise LookupError("in a view")

    async def work(content: Any) -> None:
        done.append(True)
        if content == "fail":
            raise LookupError("behind the response")

    async def answer(request: Request) -> JSONResponse:
        content = await request.json()
        return JSONResponse(content, background=BackgroundTask(work, content))

    application = Starlette(routes=[Route("/fail", fail), Route("/", answer, methods=["POST"])])

    @on_jumping_loop
    async def main() -> None:
        failing = HttpCommunicator(application, "GET", "/fail")
        with pytest.raises(LookupError, match="in a view") as raised:
            await failing.get_response()
        assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "fail"
        assert (await failing.get_response())["status"] == 500, "what the client gets all the same"
        answering = HttpCommunicator(application, "POST", "/", b'{"a": 1}')
        assert (await answering.get_response())["body"] == b'{"a":1}'
        assert done.pop()
        with pytest.raises(LookupError, match="behind"):
            await HttpCommunicator(application, "POST", "/", b'"fail"').get_response()

    main()
