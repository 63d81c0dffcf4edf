"""Consumers whose handlers are not async: all that async ones have, in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

import antiphon
from antiphon import JsonWebsocketConsumer, WebsocketConsumer, app, configure, exceptions, shared
from antiphon.exceptions import (
    ClientError,
    ConfigurationError,
    InvalidCloseCode,
    InvalidEvent,
    NotAccepted,
    NotEncodable,
    UsageError,
)

from .fakes import ASGIClient

setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="unset")


@pytest.fixture(autouse=True)
def fresh_antiphon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was never configured."""
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


async def until(condition: Callable[[], object]) -> None:
    """Go round the loop until ``condition`` holds: threads take part, so real time goes by."""
    for number in range(10_000):
        if condition():
            return
        await asyncio.sleep(0 if number < 50 else 0.001)
    raise AssertionError("the condition never came to hold")


async def all_said(client: ASGIClient, application_done: int = 3) -> None:
    """Wait until the thread is through with what it was given so far, and the loop with what that caused."""
    for _ in range(application_done):
        await sync_to_async(lambda: None)()
        for _ in range(5):
            await asyncio.sleep(0)


async def open_client(consumer: type[WebsocketConsumer], **scope: Any) -> ASGIClient:
    client = ASGIClient(consumer.as_asgi(), **scope)
    await until(lambda: client.kinds("websocket.accept"))
    return client


def documents(client: ASGIClient) -> list[Any]:
    return [json.loads(text) for text in client.texts]


class Echo(JsonWebsocketConsumer):
    """Answers each document with itself and remembers its end."""

    ends: list[int] = []

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json(content)

    def disconnect(self, code: int) -> None:
        self.ends.append(code)


# as_asgi


async def test_each_connection_has_an_instance_with_the_initkwargs() -> None:
    made = []

    class Greeter(WebsocketConsumer):
        def __init__(self, *args: Any, greeting: str, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.greeting = greeting
            made.append(self)

        def connect(self) -> None:
            self.accept()
            self.send(self.greeting)

    application = Greeter.as_asgi(greeting="hello")
    for _ in range(2):
        client = ASGIClient(application)
        await until(lambda client=client: client.texts)  # type: ignore[misc]
        assert client.texts == ["hello"]
        await client.leave()
    assert len(made) == 2


async def test_what_is_no_websocket_is_answered_as_by_the_others() -> None:
    with pytest.raises(UsageError, match="'lifespan'"):
        await ASGIClient(Echo.as_asgi(), type="lifespan").task
    client = ASGIClient(Echo.as_asgi(), type="http")
    await client.task
    assert client.sent[0]["status"] == 426
    with pytest.raises(ConfigurationError, match="'smoke'"):
        Echo.as_asgi(wire="smoke")


async def test_a_foreign_page_gets_no_consumer(quiet: None) -> None:
    class Private(Echo):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise AssertionError("no consumer is made")

    headers = [(b"host", b"chat.test"), (b"origin", b"https://evil.io")]
    client = ASGIClient(Private.as_asgi(), headers=headers)
    await client.task
    assert client.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


async def test_a_consumer_knows_scope_layer_and_channel_name() -> None:
    seen: dict[str, Any] = {}

    class Looker(WebsocketConsumer):
        def connect(self) -> None:
            seen.update(scope=self.scope, layer=self.channel_layer, name=self.channel_name)
            self.accept()

    client = await open_client(Looker, user="u")
    assert seen["scope"] is client.scope
    assert seen["layer"] is app.current_app().layer
    assert seen["name"].startswith("specific.")
    await client.leave()


# Threads


async def test_every_handler_runs_in_the_thread_of_the_database() -> None:
    threads: dict[str, int] = {}

    def note(name: str) -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        threads[name] = threading.get_ident()

    class Noter(WebsocketConsumer):
        def connect(self) -> None:
            note("connect")
            self.accept()
            note("after accept")

        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            note("text" if text_data is not None else "binary")

        def disconnect(self, code: int) -> None:
            note("disconnect")

        def note(self, event: Any) -> None:
            note("event")

    client = await open_client(Noter)
    client.say("a")
    client.say_bytes(b"a")
    await until(lambda: "binary" in threads)
    hub = app.current_app().hub
    assert hub is not None
    await app.current_app().layer.send(hub.connections[0].channel_name, {"type": "note"})
    await until(lambda: "event" in threads)
    await client.leave()
    assert set(threads) == {"connect", "after accept", "text", "binary", "event", "disconnect"}
    assert set(threads.values()) == {await sync_to_async(threading.get_ident)()}


async def test_handlers_of_all_connections_run_one_after_another() -> None:
    running, done = 0, 0

    class Slow(Echo):
        def receive_json(self, content: Any, **kwargs: Any) -> None:
            nonlocal running, done
            running += 1
            assert running == 1
            threading.Event().wait(0.001)
            running -= 1
            done += 1

    clients = [await open_client(Slow) for _ in range(5)]
    for client in clients:
        for n in range(4):
            client.say(str(n))
    await until(lambda: done == 20)
    assert app.current_app().counters.handler_errors == 0
    for client in clients:
        await client.leave()


async def test_context_variables_go_from_one_handler_to_the_next_and_to_nobody_else() -> None:
    class Keeper(Echo):
        def connect(self) -> None:
            setting.set(f"set in connect by {self.scope['path']}")
            self.accept()

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            self.send_json(setting.get())
            setting.set("set in receive")

        def tell(self, event: Any) -> None:
            self.send_json(["event", setting.get()])

    clients = [await open_client(Keeper, path=path) for path in ("/a/", "/b/")]
    for client, path in zip(clients, ("/a/", "/b/"), strict=True):
        client.say("1")
        client.say("2")
        await until(lambda client=client: len(client.texts) == 2)  # type: ignore[misc]
        assert documents(client) == [f"set in connect by {path}", "set in receive"]
    assert setting.get() == "unset"
    hub = app.current_app().hub
    assert hub is not None
    for connection in hub.connections:
        await app.current_app().layer.send(connection.channel_name, {"type": "tell"})
    await until(lambda: all(len(client.texts) == 3 for client in clients))
    for client in clients:
        assert documents(client)[-1] == ["event", "set in receive"]
        await client.leave()


async def test_helpers_for_async_code_work_in_a_handler() -> None:
    class Helped(Echo):
        def receive_json(self, content: Any, **kwargs: Any) -> None:
            assert async_to_sync(self.ask)() == threading.get_ident()
            self.send_json("done")

        async def ask(self) -> int:
            return await sync_to_async(threading.get_ident)()

    client = await open_client(Helped)
    client.say("1")
    await until(lambda: client.texts)
    assert documents(client) == ["done"]
    await client.leave()


def asking_middleware(application: Any) -> Any:
    """Ask the database at each message that goes out, as a session that is saved does."""

    async def asking(scope: Any, receive: Any, send: Any) -> None:
        async def ask_and_send(message: Any) -> None:
            await sync_to_async(lambda: None)()
            await send(message)

        await application(scope, receive, ask_and_send)

    return asking


async def test_a_middleware_may_want_the_thread_while_it_waits_for_accept() -> None:
    client = ASGIClient(asking_middleware(Echo.as_asgi()))
    await until(lambda: client.kinds("websocket.accept"))
    client.say("1")
    await until(lambda: client.texts)
    await client.leave()
    assert [event["type"] for event in client.sent] == ["websocket.accept", "websocket.send"]


async def test_a_middleware_may_want_the_thread_while_it_waits_for_a_refusal() -> None:
    class Bouncer(Echo):
        def connect(self) -> None:
            self.close()

    client = ASGIClient(asking_middleware(Bouncer.as_asgi()))
    await client.task
    assert [event["type"] for event in client.sent] == ["websocket.close"]


# accept


async def test_by_default_a_connection_is_accepted() -> None:
    client = await open_client(WebsocketConsumer)
    assert client.sent == [{"type": "websocket.accept", "subprotocol": None, "headers": []}]
    await client.leave()


async def test_accept_takes_subprotocol_and_headers_and_returns_when_it_is_done() -> None:
    sent_by_then: list[Any] = []

    class Chooser(WebsocketConsumer):
        def connect(self) -> None:
            self.accept(self.scope["subprotocols"][1], headers=[(b"x-a", b"1")])
            sent_by_then.extend(clients[0].sent)

    clients: list[ASGIClient] = []
    clients.append(ASGIClient(Chooser.as_asgi(), subprotocols=["a", "b"]))
    await until(lambda: sent_by_then)
    assert sent_by_then == [{"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1")]}]
    await clients[0].leave()


async def test_accept_twice_is_told_to_the_application() -> None:
    told: list[BaseException] = []

    class Twice(WebsocketConsumer):
        def connect(self) -> None:
            self.accept()
            try:
                self.accept()
            except UsageError as error:
                told.append(error)

    client = await open_client(Twice)
    await until(lambda: told)
    assert "accept() was called twice" in str(told[0])
    await client.leave()


@pytest.mark.parametrize("library", ["antiphon", "channels"])
@pytest.mark.parametrize(
    ("name", "expected"), [("AcceptConnection", "websocket.accept"), ("DenyConnection", "websocket.close")]
)
async def test_connect_may_decide_by_an_exception(library: str, name: str, expected: str) -> None:
    import channels.exceptions

    error = getattr(exceptions if library == "antiphon" else channels.exceptions, name)

    class Decider(WebsocketConsumer):
        def connect(self) -> None:
            raise error

    client = ASGIClient(Decider.as_asgi())
    await until(lambda: client.sent)
    assert [event["type"] for event in client.sent] == [expected]
    assert app.current_app().counters.handler_errors == 0
    if not client.task.done():
        await client.leave()


@pytest.mark.parametrize("library", ["antiphon", "channels"])
async def test_stop_consumer_ends_without_an_error(library: str) -> None:
    import channels.exceptions

    error = (exceptions if library == "antiphon" else channels.exceptions).StopConsumer

    class Stopper(Echo):
        ends: list[int] = []

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            raise error

    client = await open_client(Stopper)
    client.say("{}")
    await client.task
    assert client.sent[-1]["code"] == 1000
    assert Stopper.ends == [1000]
    assert app.current_app().counters.handler_errors == 0


# close


async def test_close_before_accept_refuses_and_what_comes_behind_it_does_nothing(quiet: None) -> None:
    class Bouncer(Echo):
        ends: list[int] = []

        def connect(self) -> None:
            self.close(code=4401)
            async_to_sync(self.channel_layer.group_add)("room", self.channel_name)
            self.accept()
            self.send_json("secret")

    client = ASGIClient(Bouncer.as_asgi())
    await client.task
    assert [event["type"] for event in client.sent] == ["websocket.close"]
    assert Bouncer.ends == []
    counters = app.current_app().counters
    assert (counters.joins_refused, counters.connections_accepted, counters.sends_after_close) == (1, 0, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ({}, 1000, "closed by the application"),
        ({"code": True}, 1000, "closed by the application"),
        ({"code": 4001}, 4001, "closed with code 4001"),
        ({"code": 4001, "reason": "enough"}, 4001, "enough"),
        ({"reason": "é" * 100}, 1000, "é" * 61),
    ],
)
async def test_close_sends_code_and_reason(arguments: dict[str, Any], code: int, reason: str) -> None:
    class Closer(Echo):
        ends: list[int] = []

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            self.close(**arguments)
            self.close(4999)

    client = await open_client(Closer)
    client.say("{}")
    await client.task
    assert client.sent[-1] == {"type": "websocket.close", "code": code, "reason": reason}
    assert Closer.ends == [code]


async def test_a_close_code_that_may_not_be_sent_is_told_to_the_application() -> None:
    class Closer(Echo):
        def receive_json(self, content: Any, **kwargs: Any) -> None:
            with pytest.raises(InvalidCloseCode):
                self.close(code=1006)
            with pytest.raises(InvalidCloseCode):
                self.send("a", close=5000)
            self.send_json("still here")

    client = await open_client(Closer)
    client.say("{}")
    await until(lambda: len(client.texts) == 2)
    assert client.texts == ["a", '"still here"']
    await client.leave()


# send


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"text_data": "a"}, {"text": "a"}),
        ({"text_data": ""}, {"text": ""}),
        ({"bytes_data": b"a"}, {"bytes": b"a"}),
        ({"bytes_data": bytearray(b"a")}, {"bytes": b"a"}),
        ({"bytes_data": memoryview(b"a")}, {"bytes": b"a"}),
        ({"bytes_data": b""}, {"bytes": b""}),
    ],
)
async def test_send_takes_text_or_bytes(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    class Sender(WebsocketConsumer):
        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            self.send(**arguments)

    client = await open_client(Sender)
    client.say("go")
    await until(lambda: client.kinds("websocket.send"))
    assert client.kinds("websocket.send") == [{"type": "websocket.send", **expected}]
    await client.leave()


async def test_what_is_sent_from_a_buffer_is_what_was_in_it_then() -> None:
    class Sender(WebsocketConsumer):
        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            buffer: Any = bytearray(b"before")
            self.send(bytes_data=buffer)
            buffer[:] = b"behind"

    client = await open_client(Sender)
    client.say("go")
    await until(lambda: client.kinds("websocket.send"))
    assert client.kinds("websocket.send")[0]["bytes"] == b"before"
    await client.leave()


@pytest.mark.parametrize(("close", "code"), [(True, 1000), (4001, 4001)])
@pytest.mark.parametrize("json_too", [False, True])
async def test_send_may_close_behind_the_message(close: bool | int, code: int, json_too: bool) -> None:
    class Sender(Echo):
        def receive_json(self, content: Any, **kwargs: Any) -> None:
            if json_too:
                self.send_json("bye", close=close)
            else:
                self.send('"bye"', close=close)

    client = await open_client(Sender)
    client.say("{}")
    await client.task
    assert client.texts == ['"bye"']
    assert client.sent[-1]["code"] == code


@pytest.mark.parametrize("close", [False, None, 0])
async def test_send_does_not_close_where_close_is_false_as_in_channels(close: Any) -> None:
    class Sender(Echo):
        def receive_json(self, content: Any, **kwargs: Any) -> None:
            self.send('"a"', close=close)
            self.send_json("b", close=close)

    client = await open_client(Sender)
    client.say("{}")
    await until(lambda: len(client.texts) == 2 or client.task.done())
    await all_said(client)
    assert not client.kinds("websocket.close")
    await client.leave()


async def test_misuse_of_send_is_raised_where_the_application_stands() -> None:
    told: list[type] = []

    class Misuser(JsonWebsocketConsumer):
        def attempt(self, **arguments: Any) -> None:
            try:
                self.send(**arguments)
            except UsageError as error:
                told.append(type(error))

        def connect(self) -> None:
            self.attempt(text_data="early")
            self.attempt(bytes_data=b"early")
            self.accept()
            self.attempt()
            self.attempt(text_data="\ud800")
            try:
                self.send_json(object())
            except NotEncodable as error:
                told.append(type(error))

    client = await open_client(Misuser)
    await until(lambda: len(told) == 5)
    assert told == [NotAccepted, NotAccepted, UsageError, NotEncodable, NotEncodable]
    await client.leave()
    assert client.texts == []


async def test_what_is_sent_keeps_its_order_whatever_is_between() -> None:
    class Sender(Echo):
        groups = ["room"]

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            for n in range(0, 50, 5):
                self.send(str(n))
                self.send_json(n + 1)
                async_to_sync(self.channel_layer.publish)("room", n + 2)
                antiphon.sync.publish("room", n + 3)
                self.send_json(n + 4)
            self.send(str(50), close=True)

    client = await open_client(Sender)
    client.say("{}")
    await client.task
    assert documents(client) == list(range(51))


async def test_a_thread_of_the_applications_may_send_when_the_handler_has_returned() -> None:
    may_go_on = threading.Event()
    threads: list[threading.Thread] = []

    class Background(Echo):
        ends: list[int] = []

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            threads.append(threading.Thread(target=self.work))
            threads[0].start()
            self.send_json("returned")

        def work(self) -> None:
            assert may_go_on.wait(30)
            for n in range(10):
                self.send_json(n)
            self.close(4002, "done")

    client = await open_client(Background)
    client.say("{}")
    await until(lambda: client.texts)
    may_go_on.set()
    await client.task
    assert documents(client) == ["returned", *range(10)]
    assert client.sent[-1] == {"type": "websocket.close", "code": 4002, "reason": "done"}
    assert Background.ends == [4002]
    threads[0].join(30)


async def test_a_thread_of_the_applications_may_accept() -> None:
    threads: list[threading.Thread] = []

    class Late(Echo):
        def connect(self) -> None:
            threads.append(threading.Thread(target=self.work))
            threads[0].start()

        def work(self) -> None:
            self.accept()
            self.send_json("accepted")

    client = await open_client(Late)
    await until(lambda: client.texts)
    threads[0].join(30)
    client.say("1")
    await until(lambda: len(client.texts) == 2)
    await client.leave()


async def test_what_is_sent_after_the_end_is_counted() -> None:
    consumers: list[Echo] = []

    class Ended(Echo):
        def connect(self) -> None:
            consumers.append(self)
            self.accept()

        def disconnect(self, code: int) -> None:
            self.send_json("too late")

    client = await open_client(Ended)
    await client.leave()
    await asyncio.to_thread(consumers[0].send, "too late")
    await asyncio.to_thread(consumers[0].close)
    await all_said(client)
    assert client.texts == []
    assert app.current_app().counters.sends_after_close == 2
    assert app.current_app().counters.handler_errors == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda consumer: consumer.accept(),
        lambda consumer: consumer.close(),
        lambda consumer: consumer.send("a", close=1),
    ],
    ids=["accept", "close", "send with close"],
)
async def test_on_the_loop_accept_and_close_would_wait_for_themselves(call: Callable[[Echo], None]) -> None:
    consumers: list[Echo] = []

    class Exposed(Echo):
        def connect(self) -> None:
            consumers.append(self)
            self.accept()

    client = await open_client(Exposed)
    with pytest.raises(UsageError, match="on the event loop"):
        call(consumers[0])
    consumers[0].send("sent from the loop")
    await until(lambda: "sent from the loop" in client.texts)
    await client.leave()


def test_a_thread_may_send_when_the_loop_is_over() -> None:
    consumers: list[Echo] = []

    class Left(Echo):
        def connect(self) -> None:
            consumers.append(self)
            self.accept()

    async def main() -> None:
        client = await open_client(Left)
        await until(lambda: consumers)
        await client.leave()

    asyncio.run(main())
    consumers[0].send("to nobody")
    for wait in (consumers[0].close, consumers[0].accept):
        with pytest.raises(ConnectionError, match="has ended"):
            wait()


# receive


async def test_receive_gets_text_or_bytes_and_the_other_is_none() -> None:
    received: list[Any] = []

    class Receiver(WebsocketConsumer):
        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            received.append((text_data, bytes_data))

    client = await open_client(Receiver)
    client.say("ä")
    client.say_bytes(b"\xff")
    client.say("")
    await client.leave()
    assert received == [("ä", None), (None, b"\xff"), ("", None)]


async def test_a_document_goes_to_receive_json_and_back() -> None:
    client = await open_client(Echo)
    sent: list[Any] = [{"a": [1, None, "ä"]}, [], "text", 5, None]
    for document in sent:
        client.say(json.dumps(document))
    await until(lambda: len(client.texts) == 5)
    assert documents(client) == sent
    assert client.texts[0] == '{"a":[1,null,"ä"]}'
    await client.leave()


class Own(Echo):
    def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        super().receive(text_data=text_data, bytes_data=bytes_data, **kwargs)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("", "invalid_json"),
        ("[" * 65 + "]" * 65, "too_deep"),
        ("18446744073709551616", "number_too_large"),
        (b"{}", "unexpected_binary"),
        (b"", "unexpected_binary"),
    ],
)
@pytest.mark.parametrize("consumer", [Echo, Own])
async def test_a_bad_message_is_answered_and_the_connection_lives(
    message: Any, code: str, consumer: type[Echo]
) -> None:
    client = await open_client(consumer)
    (client.say if isinstance(message, str) else client.say_bytes)(message)
    client.say('"next"')
    await until(lambda: len(client.texts) == 2)
    error, answer = documents(client)
    assert (error["type"], error["code"], answer) == ("error", code, "next")
    assert error["reason"]
    assert app.current_app().counters.client_errors == 1
    await client.leave()


async def test_a_handler_may_tell_the_client_that_it_erred() -> None:
    class Strict(Echo):
        def receive_json(self, content: Any, **kwargs: Any) -> None:
            self.send_json("before")
            raise ClientError("no_such_room", "there is no such room")

    client = await open_client(Strict)
    client.say("{}")
    await until(lambda: len(client.texts) == 2)
    assert documents(client) == [
        "before",
        {"type": "error", "code": "no_such_room", "reason": "there is no such room"},
    ]
    assert app.current_app().counters.client_errors == 1
    await client.leave()


@pytest.mark.parametrize("consumer", [Echo, Own])
async def test_the_limit_of_depth_is_the_configured_one_whoever_decodes(consumer: type[Echo]) -> None:
    configure(max_json_depth=2)
    client = await open_client(consumer)
    client.say("[[]]")
    client.say("[[[]]]")
    await until(lambda: len(client.texts) == 2)
    assert documents(client)[0] == [[]]
    assert documents(client)[1]["code"] == "too_deep"
    await client.leave()


async def test_a_consumer_may_have_its_own_json() -> None:
    class OwnJson(Echo):
        @classmethod
        def decode_json(cls, text_data: str) -> Any:
            return {"decoded": text_data}

        @classmethod
        def encode_json(cls, content: Any) -> str:
            return f"encoded {content}"

    client = await open_client(OwnJson)
    client.say("x")
    await until(lambda: client.texts)
    assert client.texts == ["encoded {'decoded': 'x'}"]
    await client.leave()


async def test_a_consumers_own_send_is_called_by_send_json() -> None:
    class OwnSend(Echo):
        def send(self, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
            super().send(text_data="own " + text_data, close=close)

    client = await open_client(OwnSend)
    client.say("1")
    await until(lambda: client.texts)
    assert client.texts == ["own 1"]
    await client.leave()


async def test_a_consumers_own_receive_may_pass_on_more() -> None:
    class More(JsonWebsocketConsumer):
        def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
            super().receive(text_data=text_data, bytes_data=bytes_data, size=len(text_data))

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            self.send_json([content, kwargs])

    client = await open_client(More)
    client.say("12")
    await until(lambda: client.texts)
    assert documents(client) == [[12, {"size": 2}]]
    await client.leave()


async def test_messages_and_events_are_handled_one_at_a_time_in_order() -> None:
    class Mixed(Echo):
        groups = ["room"]

        def note(self, event: dict[str, Any]) -> None:
            self.send_json(event["n"])

    client = await open_client(Mixed)
    layer = app.current_app().layer
    for n in range(20):
        if n % 2:
            await layer.group_send("room", {"type": "note", "n": n})
        else:
            client.say(str(n))
        await all_said(client, 1)
    await until(lambda: len(client.texts) == 20)
    assert documents(client) == list(range(20))
    await client.leave()


# The end


async def test_disconnect_gets_the_clients_code_once_and_after_what_it_said() -> None:
    said: list[Any] = []

    class Leaver(Echo):
        ends: list[int] = []

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            assert self.ends == []
            said.append(content)

    client = await open_client(Leaver)
    for n in range(5):
        client.say(str(n))
    await client.leave(4002)
    assert said == list(range(5))
    assert Leaver.ends == [4002]
    assert app.current_app().counters.connections_closed == 1


@pytest.mark.parametrize("handler", ["receive_json", "tell", "disconnect"])
async def test_an_exception_closes_with_1011_and_is_in_the_log(handler: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Echo):
        groups = ["room"]
        ends: list[int] = []

        def fail(self, where: str) -> None:
            if where == handler:
                self.send_json("before")
                raise LookupError("the application is wrong")

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            self.fail("receive_json")

        def tell(self, event: Any) -> None:
            self.fail("tell")

        def disconnect(self, code: int) -> None:
            super().disconnect(code)
            self.fail("disconnect")

    client = await open_client(Broken)
    if handler == "tell":
        await app.current_app().layer.group_send("room", {"type": "tell"})
    else:
        client.say("{}")
    if handler == "disconnect":
        await client.leave(1001)
        assert Broken.ends == [1001]
    else:
        await client.task
        assert client.sent[-1]["code"] == 1011
        assert Broken.ends == [1011]
        assert client.texts == ['"before"']
    assert app.current_app().counters.handler_errors == 1
    assert f"exception in {handler}()" in caplog.text
    assert "the application is wrong" in caplog.text


async def test_an_exception_in_connect_refuses_with_500(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Echo):
        ends: list[int] = []

        def connect(self) -> None:
            raise LookupError

    client = ASGIClient(Broken.as_asgi())
    await client.task
    assert client.sent[0]["status"] == 500
    assert Broken.ends == []
    assert "exception in connect()" in caplog.text


async def test_an_exception_behind_accept_closes_with_1011(quiet: None) -> None:
    class Broken(Echo):
        ends: list[int] = []

        def connect(self) -> None:
            self.accept()
            self.send_json("accepted")
            raise LookupError

    client = await open_client(Broken)
    await client.task
    assert client.texts == ['"accepted"']
    assert client.sent[-1]["code"] == 1011
    assert Broken.ends == [1011]


@pytest.mark.parametrize("name", ["connect", "receive", "receive_json", "disconnect", "tell"])
async def test_a_handler_that_is_async_is_told_how_to_be(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(self: Any, *args: Any, **kwargs: Any) -> None:
        """Should not be async."""

    handler.__name__ = name
    base = JsonWebsocketConsumer if name == "receive_json" else WebsocketConsumer
    mistaken: Any = type("Mistaken", (base,), {name: handler, "groups": ["room"]})
    client = ASGIClient(mistaken.as_asgi())
    if name != "connect":
        await until(lambda: client.kinds("websocket.accept"))
    if name.startswith("receive"):
        client.say("1")
    elif name == "tell":
        await app.current_app().layer.group_send("room", {"type": "tell"})
    elif name == "disconnect":
        await client.leave()
    await client.task
    assert f"{name}() is async, and its consumer is not: write 'def {name}'" in caplog.text
    assert app.current_app().counters.handler_errors == 1
    answer: Any = {"connect": 500, "receive": 1011, "receive_json": 1011, "tell": 1011}.get(name)
    assert answer in (None, client.sent[-1].get("code"), client.sent[0].get("status"))


async def test_a_consumer_whose_handler_is_async_costs_the_other_members_nothing(quiet: None) -> None:
    class Mistaken(Echo):
        groups = ["room"]

        async def tell(self, event: Any) -> None:
            """Should not be async."""

    class Right(Echo):
        groups = ["room"]

        def tell(self, event: Any) -> None:
            self.send_json(event["n"])

    clients = [await open_client(consumer) for consumer in (Mistaken, Right, Mistaken)]
    await app.current_app().layer.group_send("room", {"type": "tell", "n": 1})
    await until(lambda: clients[1].texts)
    assert documents(clients[1]) == [1]
    for client in (clients[0], clients[2]):
        await client.task
        assert client.sent[-1]["code"] == 1011
    await clients[1].leave()


async def test_a_connect_that_hangs_is_given_up_and_nothing_it_does_later_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(handshake_timeout=0.05)
    may_go_on, gone_on = threading.Event(), threading.Event()

    class Hanging(Echo):
        ends: list[int] = []

        def connect(self) -> None:
            try:
                assert may_go_on.wait(30)
                self.accept()
                self.send_json("too late")
                async_to_sync(self.channel_layer.group_add)("room", self.channel_name)
                self.close()
            finally:
                gone_on.set()

    client = ASGIClient(Hanging.as_asgi())
    await client.task
    assert client.sent[0]["status"] == 503
    may_go_on.set()
    assert await asyncio.to_thread(gone_on.wait, 30)
    await all_said(client)
    assert Hanging.ends == []
    assert not client.texts
    counters = app.current_app().counters
    assert (counters.handshakes_timed_out, counters.connections_accepted, counters.joins_refused) == (1, 0, 1)
    assert counters.handler_errors == 0
    assert "connect() took longer than handshake_timeout" in caplog.text


async def test_a_connect_that_hangs_in_async_code_is_given_up_and_hears_of_it(quiet: None) -> None:
    configure(handshake_timeout=0.05)
    ended: list[type] = []

    class Hanging(Echo):
        ends: list[int] = []

        def connect(self) -> None:
            try:
                async_to_sync(self.hang)()
            except BaseException as error:
                ended.append(type(error))
                raise

        async def hang(self) -> None:
            await asyncio.Event().wait()

    client = ASGIClient(Hanging.as_asgi())
    await client.task
    assert client.sent[0]["status"] == 503
    await until(lambda: ended)
    assert ended == [asyncio.CancelledError]
    assert Hanging.ends == []


async def test_a_server_that_stops_lets_the_handler_end_and_disconnect_run() -> None:
    begun, may_end = threading.Event(), threading.Event()

    class Busy(Echo):
        ends: list[int] = []

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            begun.set()
            assert may_end.wait(30)

    client = await open_client(Busy)
    client.say("{}")
    assert await asyncio.to_thread(begun.wait, 30)
    client.task.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await client.task
    assert Busy.ends == [1012]


# Groups


class Member(Echo):
    groups = ["room"]

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case "layer":
                async_to_sync(self.channel_layer.group_send)("room", {"type": "tell", "text": "by the layer"})
            case "sync":
                antiphon.sync.group_send("room", {"type": "tell", "text": "by sync"})
            case "publish":
                antiphon.sync.publish("room", "published")
            case "send":
                antiphon.sync.send(self.channel_name, {"type": "tell", "text": "to itself"})

    def tell(self, event: dict[str, Any]) -> None:
        self.send_json({"told": event["text"]})

    def disconnect(self, code: int) -> None:
        # Its memberships are gone: this reaches the others only.
        async_to_sync(self.channel_layer.group_send)("room", {"type": "tell", "text": "left"})

    @shared
    def tell_all(event: dict[str, Any]) -> dict[str, Any]:
        return {"told all": event["text"]}


async def test_members_get_events_and_publications() -> None:
    clients = [await open_client(Member) for _ in range(2)]
    layer = app.current_app().layer
    await layer.group_send("room", {"type": "tell", "text": "a"})
    await until(lambda: all(len(client.texts) == 1 for client in clients))
    await layer.group_send("room", {"type": "tell.all", "text": "b"})
    await until(lambda: all(len(client.texts) == 2 for client in clients))
    await layer.publish("room", {"published": "c"})
    await until(lambda: all(len(client.texts) == 3 for client in clients))
    for client in clients:
        assert documents(client) == [{"told": "a"}, {"told all": "b"}, {"published": "c"}]
    await clients[0].leave()
    await until(lambda: len(clients[1].texts) == 4)
    assert documents(clients[1])[-1] == {"told": "left"}
    assert len(clients[0].texts) == 3
    await clients[1].leave()


async def test_a_handler_speaks_to_its_group_in_all_ways() -> None:
    clients = [await open_client(Member) for _ in range(2)]
    for number, (word, answer) in enumerate(
        [("layer", {"told": "by the layer"}), ("sync", {"told": "by sync"}), ("publish", "published")]
    ):
        clients[0].say(json.dumps(word))
        await until(lambda number=number: all(len(client.texts) == number + 1 for client in clients))  # type: ignore[misc]
        assert [documents(client)[-1] for client in clients] == [answer] * 2
    clients[0].say('"send"')
    await until(lambda: len(clients[0].texts) == 4)
    assert documents(clients[0])[-1] == {"told": "to itself"}
    for client in clients:
        await client.leave()


async def test_groups_are_joined_and_left_in_handlers_as_in_channels() -> None:
    class Chat(JsonWebsocketConsumer):
        def connect(self) -> None:
            async_to_sync(self.channel_layer.group_add)("kitchen", self.channel_name)
            self.accept()

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            async_to_sync(self.channel_layer.group_send)("kitchen", {"type": "chat.message", "text": content})

        def chat_message(self, event: dict[str, Any]) -> None:
            self.send_json(event["text"])

        def disconnect(self, code: int) -> None:
            async_to_sync(self.channel_layer.group_discard)("kitchen", self.channel_name)

    clients = [await open_client(Chat) for _ in range(3)]
    hub = app.current_app().hub
    assert hub is not None
    await until(lambda: hub.members("kitchen") == 3)
    clients[0].say('"hi"')
    await until(lambda: all(client.texts for client in clients))
    for client in clients:
        assert documents(client) == ["hi"]
        await client.leave()
    assert hub.groups == {}


async def test_each_member_has_an_event_of_its_own() -> None:
    class Spoiler(Echo):
        groups = ["room"]

        def tell(self, event: dict[str, Any]) -> None:
            event["list"].append(len(event["list"]))
            self.send_json(event["list"])

    clients = [await open_client(Spoiler) for _ in range(3)]
    await app.current_app().layer.group_send("room", {"type": "tell", "list": []})
    await until(lambda: all(client.texts for client in clients))
    for client in clients:
        assert documents(client) == [[0]]
        await client.leave()


async def test_a_handler_may_be_decorated() -> None:
    def noting(handler: Any) -> Any:
        @functools.wraps(handler)
        def noted(self: Any, event: Any) -> None:
            self.send_json("decorated")
            handler(self, event)

        noted.func = "of the decorator"  # type: ignore[attr-defined]
        return noted

    class Decorated(Echo):
        groups = ["room"]

        @noting
        def tell(self, event: dict[str, Any]) -> None:
            self.send_json(event["n"])

    client = await open_client(Decorated)
    await app.current_app().layer.group_send("room", {"type": "tell", "n": 1})
    await until(lambda: len(client.texts) == 2)
    assert documents(client) == ["decorated", 1]
    await client.leave()


async def test_no_event_reaches_a_method_of_the_framework() -> None:
    client = await open_client(Member)
    layer = app.current_app().layer
    for kind in ("websocket.receive", "send.json", "close", "accept", "disconnect", "__class__", "receive_json"):
        with pytest.raises(InvalidEvent):
            await layer.group_send("room", {"type": kind, "text": "x"})
    await all_said(client)
    assert client.texts == []
    assert not client.task.done()
    assert app.current_app().counters.events_refused == 7
    await client.leave()


async def test_sync_and_async_consumers_are_in_the_same_groups() -> None:
    class Async(antiphon.AsyncJsonWebsocketConsumer):
        groups = ["room"]

        async def tell(self, event: dict[str, Any]) -> None:
            await self.send_json({"told": event["text"]})

    clients = [await open_client(Member), ASGIClient(Async.as_asgi())]
    await clients[1].opened()
    await app.current_app().layer.group_send("room", {"type": "tell", "text": "a"})
    await until(lambda: all(client.texts for client in clients))
    for client in clients:
        assert documents(client)[0] == {"told": "a"}
        await client.leave()
