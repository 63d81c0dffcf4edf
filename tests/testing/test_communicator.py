"""A WebSocket without a server: what goes in and out, how it fails, how it ends."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

import antiphon
from antiphon import JsonWebsocketConsumer
from antiphon.exceptions import UsageError
from antiphon.testing import WebsocketCommunicator
from antiphon.types import ASGIApplication, Receive, Scope, Send
from tests.fakes import on_jumping_loop, settled

from .apps import Scripted, echo, scripted


@pytest.fixture(autouse=True)
def left() -> Iterator[list[int]]:
    """The codes that ``Scripted`` was left with."""
    Scripted.left = []
    yield Scripted.left
    Scripted.left = []


def sends(*events: dict[str, Any]) -> ASGIApplication:
    """Return an application that sends ``events`` and waits."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for event in events:
            await send(event)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return application


ACCEPT = {"type": "websocket.accept"}


# What goes in and out


@on_jumping_loop
async def test_messages_of_each_kind_come_back() -> None:
    communicator = WebsocketCommunicator(echo, "/")
    assert await communicator.connect() == (True, None)
    await communicator.send_to(text_data="hello")
    assert await communicator.receive_from() == "hello"
    await communicator.send_to(bytes_data=b"w\0\0\0")
    assert await communicator.receive_from() == b"w\0\0\0"
    await communicator.send_json_to({"hello": "world"})
    assert await communicator.receive_json_from() == {"hello": "world"}
    await communicator.disconnect()


@on_jumping_loop
async def test_an_empty_message_is_one() -> None:
    async with WebsocketCommunicator(echo, "/") as communicator:
        await communicator.send_to(text_data="")
        assert await communicator.receive_from() == ""
        await communicator.send_to(bytes_data=b"")
        assert await communicator.receive_from() == b""


@pytest.mark.parametrize("arguments", [(), ("a", b"b"), (b"a",), (None, "b"), (7,)])
def test_what_is_no_message_is_not_sent(arguments: tuple[Any, ...]) -> None:
    @on_jumping_loop
    async def main() -> None:
        async with WebsocketCommunicator(echo, "/") as communicator:
            with pytest.raises(TypeError, match=r"exactly one of text_data or bytes_data|argument must be"):
                await communicator.send_to(*arguments)
            assert await communicator.receive_nothing()

    main()


def test_the_scope_is_that_of_channels() -> None:
    communicator = WebsocketCommunicator(echo, "/a%20b/?c=%20", [(b"cookie", b"d")], ["e"], "2.3")
    assert communicator.scope == {
        "type": "websocket",
        "path": "/a b/",
        "query_string": b"c=%20",
        "headers": [(b"cookie", b"d")],
        "subprotocols": ["e"],
        "spec_version": "2.3",
    }
    assert WebsocketCommunicator(echo, "/").scope == {
        "type": "websocket",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "subprotocols": [],
    }


def test_headers_are_looked_at() -> None:
    with pytest.raises(TypeError, match="headers are pairs of bytes"):
        WebsocketCommunicator(echo, "/", headers=[("a", "b")])  # type: ignore[list-item]


@on_jumping_loop
async def test_the_scope_may_be_changed_until_it_starts() -> None:
    communicator = WebsocketCommunicator(scripted, "/")
    communicator.scope["query_string"] = b"v2.chat"
    assert await communicator.connect() == (True, "v2.chat")
    assert communicator.response_headers == [(b"x-room", b"kitchen")]
    await communicator.disconnect()


@on_jumping_loop
async def test_a_refusal_is_told() -> None:
    communicator = WebsocketCommunicator(scripted, "/?refuse")
    assert await communicator.connect() == (False, 1000)
    assert communicator.response_headers is None
    await communicator.disconnect()


@on_jumping_loop
async def test_an_answer_that_is_none_is_told() -> None:
    communicator = WebsocketCommunicator(sends({"type": "websocket.send", "text": "early"}), "/")
    with pytest.raises(AssertionError, match=r"Expected type 'websocket.accept', but was 'websocket.send'"):
        await communicator.connect()
    await communicator.disconnect()


@on_jumping_loop
async def test_a_close_instead_of_a_message_is_told_with_its_code() -> None:
    async with WebsocketCommunicator(scripted, "/") as communicator:
        await communicator.send_json_to({"close": 4321})
        with pytest.raises(AssertionError) as error:
            await communicator.receive_from()
        assert str(error.value) == "Expected type 'websocket.send', but was 'websocket.close'"
        assert "4321" in error.value.__notes__[0]
        assert "as you wish" in error.value.__notes__[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"text": 7}, r"Text frame payload is not str, it is <class 'int'>"),
        ({"bytes": "b"}, r"Binary frame payload is not bytes, it is <class 'str'>"),
        ({}, "The response needs exactly one of 'text' or 'bytes'"),
        ({"text": "a", "bytes": b"b"}, "The response needs exactly one of 'text' or 'bytes'"),
        ({"bytes": b"{}"}, r"JSON data is not a text frame, it is <class 'bytes'>"),
    ],
)
def test_a_message_that_can_not_be_is_told(content: dict[str, Any], words: str) -> None:
    @on_jumping_loop
    async def main() -> None:
        application = sends(ACCEPT, {"type": "websocket.send", **content})
        async with WebsocketCommunicator(application, "/") as communicator:
            with pytest.raises(AssertionError, match=words):
                await communicator.receive_json_from()

    main()


@on_jumping_loop
async def test_none_beside_a_message_is_nothing() -> None:
    application = sends(ACCEPT, {"type": "websocket.send", "text": None, "bytes": b"b"})
    async with WebsocketCommunicator(application, "/") as communicator:
        assert await communicator.receive_from() == b"b"


@on_jumping_loop
async def test_connecting_is_done_once() -> None:
    async with WebsocketCommunicator(scripted, "/") as communicator:
        with pytest.raises(UsageError, match="a communicator is one connection"):
            await communicator.connect()


# Groups


@on_jumping_loop
async def test_what_the_test_publishes_comes_to_the_consumer_s_client() -> None:
    async with WebsocketCommunicator(scripted, "/") as first, WebsocketCommunicator(scripted, "/") as second:
        await antiphon.publish("everybody", {"text": "tea"})
        assert await first.receive_json_from() == await second.receive_json_from() == {"text": "tea"}


# Exceptions


@on_jumping_loop
async def test_an_exception_in_a_handler_is_raised_once_with_its_traceback(left: list[int]) -> None:
    async with WebsocketCommunicator(scripted, "/") as communicator:
        await communicator.send_json_to({"fail": "on purpose"})
        with pytest.raises(LookupError, match="on purpose") as raised:
            await communicator.receive_json_from()
        assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "receive_json"
        assert raised.value.__notes__ == [
            "(raised by the application under test, in receive_json() of Scripted at '/' (no user))"
        ]
        assert (await communicator.receive_output())["code"] == 1011
    assert left == [1011]


@on_jumping_loop
async def test_an_exception_in_connect_is_raised_by_connect() -> None:
    communicator = WebsocketCommunicator(scripted, "/?fail")
    with pytest.raises(LookupError, match="in connect"):
        await communicator.connect()
    assert await communicator.connect() == (False, 1000)
    await communicator.disconnect()


@on_jumping_loop
async def test_an_exception_in_disconnect_is_raised_by_disconnect() -> None:
    communicator = WebsocketCommunicator(scripted, "/?fail-late")
    await communicator.connect()
    with pytest.raises(LookupError, match="in disconnect"):
        await communicator.disconnect()
    await communicator.disconnect()


@on_jumping_loop
async def test_of_several_exceptions_the_first_is_raised_and_has_the_others() -> None:
    communicator = WebsocketCommunicator(scripted, "/?fail-late")
    await communicator.connect()
    await communicator.send_json_to({"fail": "first"})
    await settled()
    with pytest.raises(LookupError, match="first") as raised:
        await communicator.disconnect()
    assert raised.value.__notes__[-1].endswith(
        "(raised by the application under test, in disconnect() of Scripted at '/' (no user))"
    )


@on_jumping_loop
async def test_a_cancellation_in_a_handler_is_told() -> None:
    async with WebsocketCommunicator(scripted, "/") as communicator:
        await communicator.send_json_to("be cancelled")
        with pytest.raises(RuntimeError, match=r"receive_json\(\) of Scripted .* ended with a CancelledError"):
            await communicator.receive_from()


@on_jumping_loop
async def test_middleware_that_copies_the_scope_is_no_matter() -> None:
    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        await scripted(dict(scope, user=None), receive, send)

    async with WebsocketCommunicator(middleware, "/") as communicator:
        await communicator.send_json_to({"fail": "below middleware"})
        with pytest.raises(LookupError, match="below middleware"):
            await communicator.receive_from()


class Synchronous(JsonWebsocketConsumer):
    """Fails, in a thread."""

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Fail."""
        raise LookupError("in a thread")


async def test_an_exception_in_a_synchronous_consumer_is_raised() -> None:
    async with WebsocketCommunicator(Synchronous.as_asgi(), "/") as communicator:
        await communicator.send_json_to(1)
        with pytest.raises(LookupError, match="in a thread") as raised:
            await communicator.receive_json_from(timeout=30)
        assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "receive_json"


@on_jumping_loop
async def test_the_client_s_faults_are_no_exceptions() -> None:
    async with WebsocketCommunicator(scripted, "/") as communicator:
        await communicator.send_to(text_data="{")
        assert (await communicator.receive_json_from())["code"] == "invalid_json"


# Timeouts


@on_jumping_loop
async def test_after_a_timeout_the_connection_goes_on(left: list[int]) -> None:
    async with WebsocketCommunicator(scripted, "/") as communicator:
        with pytest.raises(TimeoutError) as error:
            await communicator.receive_json_from(timeout=3)
        assert str(error.value) == (
            "receive_json_from(): nothing came within 3 s. The application still runs and has sent websocket.accept."
        )
        await communicator.send_json_to(1)
        assert await communicator.receive_json_from() == 1
    assert left == [1000]


@on_jumping_loop
async def test_after_a_timeout_of_connect_one_may_wait_again() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(5)
        await echo(scope, receive, send)

    communicator = WebsocketCommunicator(application, "/")
    with pytest.raises(TimeoutError, match=r"connect\(\): nothing came within 1 s"):
        await communicator.connect()
    assert await communicator.connect(timeout=5) == (True, None)
    await communicator.disconnect()


@on_jumping_loop
async def test_nothing_is_awaited_and_left_to_be_received() -> None:
    async with WebsocketCommunicator(scripted, "/") as communicator:
        assert await communicator.receive_nothing()
        await communicator.send_json_to(1)
        assert not await communicator.receive_nothing(timeout=1000)
        assert await communicator.receive_json_from() == 1
    assert asyncio.get_running_loop().time() < 1


# The end


@on_jumping_loop
async def test_leaving_reaches_the_application_with_its_code(left: list[int]) -> None:
    communicator = WebsocketCommunicator(scripted, "/")
    await communicator.connect()
    await communicator.disconnect(code=4000)
    assert left == [4000]
    assert communicator.future.done()


async def after_its_close(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept and close."""
    await send(ACCEPT)
    await send({"type": "websocket.close", "code": 4001})


async def after_a_failure(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept and tell of an exception."""
    await send(ACCEPT)
    await asyncio.sleep(0.1)
    scope["extensions"]["antiphon.testing"].failed("its heart", LookupError("kept"))


@pytest.mark.parametrize("application", [sends(ACCEPT), after_its_close, after_a_failure])
def test_leaving_reaches_the_application_whatever_happened(application: ASGIApplication) -> None:
    received = []

    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        async def recorded() -> Any:
            received.append(await receive())
            return received[-1]

        await application(scope, recorded, send)
        while not received or received[-1]["type"] != "websocket.disconnect":
            await recorded()

    @on_jumping_loop
    async def main() -> None:
        communicator = WebsocketCommunicator(recording, "/")
        await communicator.connect()
        with pytest.raises((AssertionError, LookupError, TimeoutError)):
            await communicator.receive_from()
        await communicator.disconnect(code=4000)

    main()
    assert received[-1] == {"type": "websocket.disconnect", "code": 4000}


@on_jumping_loop
async def test_leaving_twice_is_leaving_once(left: list[int]) -> None:
    communicator = WebsocketCommunicator(scripted, "/")
    await communicator.connect()
    await communicator.disconnect()
    await communicator.disconnect()
    assert left == [1000]
    assert communicator.input_queue.empty()
    with pytest.raises(UsageError, match="make another"):
        await communicator.connect()


@on_jumping_loop
async def test_leaving_before_coming_does_nothing() -> None:
    communicator = WebsocketCommunicator(scripted, "/")
    await communicator.disconnect()
    assert await communicator.connect() == (True, None)
    await communicator.disconnect()


@on_jumping_loop
async def test_an_application_that_does_not_end_is_cancelled(left: list[int]) -> None:
    communicator = WebsocketCommunicator(scripted, "/")
    await communicator.connect()
    await communicator.send_json_to("hang")
    with pytest.raises(TimeoutError) as error:
        await communicator.disconnect(timeout=4)
    assert str(error.value) == (
        "the application did not end within 4 s of websocket.disconnect, and was cancelled. It has sent "
        "websocket.accept."
    )
    assert left == [1000]
    assert communicator.future.done()
    await communicator.disconnect()


# As a context manager


@on_jumping_loop
async def test_it_does_not_enter_a_refused_connection() -> None:
    with pytest.raises(AssertionError, match="the application refused the connection, with close code 1000"):
        async with WebsocketCommunicator(scripted, "/?refuse"):
            raise NotImplementedError


@pytest.mark.parametrize(("path", "expected"), [("/?fail", LookupError), ("/?hang", TimeoutError)])
def test_it_does_not_enter_a_connection_that_failed(path: str, expected: type[Exception]) -> None:
    @on_jumping_loop
    async def main() -> None:
        communicator = WebsocketCommunicator(scripted, path)
        with pytest.raises(expected):
            await communicator.__aenter__()
        assert communicator.future.done()

    main()


@on_jumping_loop
async def test_its_body_s_exception_comes_out_and_has_the_application_s_as_a_note(left: list[int]) -> None:
    with pytest.raises(NotImplementedError) as error:  # noqa: PT012 (that is what is tested)
        async with WebsocketCommunicator(scripted, "/") as communicator:
            await communicator.send_json_to({"fail": "unheard"})
            await settled()
            raise NotImplementedError
    assert "LookupError: unheard" in error.value.__notes__[0]
    assert left == [1011]


@on_jumping_loop
async def test_leaving_it_raises_what_nobody_has_heard() -> None:
    with pytest.raises(LookupError, match="unheard"):
        async with WebsocketCommunicator(scripted, "/") as communicator:
            await communicator.send_json_to({"fail": "unheard"})


@on_jumping_loop
async def test_leaving_it_says_that_the_application_does_not_end() -> None:
    with pytest.raises(TimeoutError, match="did not end within 1 s"):
        async with WebsocketCommunicator(hanging, "/"):
            pass


async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and hear nothing."""
    await send(ACCEPT)
    await asyncio.Event().wait()


# Other frameworks' applications. (Those of Django and Channels: ``test_django.py``.)


async def greet(websocket: WebSocket) -> None:
    """Greet by name."""
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
    await websocket.send_text(f"Hello {websocket.path_params['name']}")
    assert await websocket.receive_json() == {"a": 1}
    raise LookupError("of Starlette's")


async def test_an_application_of_starlette_s() -> None:
    application = Starlette(routes=[WebSocketRoute("/hello/{name}", greet)])
    communicator = WebsocketCommunicator(application, "/hello/ada", subprotocols=["chat"])
    assert await communicator.connect() == (True, "chat")
    assert await communicator.receive_from() == "Hello ada"
    await communicator.send_json_to({"a": 1})
    with pytest.raises(LookupError, match="of Starlette's"):
        await communicator.receive_from()
    await communicator.disconnect()


async def test_starlette_refuses_what_it_does_not_know() -> None:
    communicator = WebsocketCommunicator(Starlette(routes=[]), "/")
    accepted, _ = await communicator.connect()
    assert not accepted
    await communicator.disconnect()
