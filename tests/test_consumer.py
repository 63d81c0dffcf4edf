"""Consumers over plain ASGI: the public surface, as in Channels."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from antiphon import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, app, configure, exceptions, shared
from antiphon.exceptions import ConfigurationError, InvalidCloseCode, NotAccepted, NotEncodable, UsageError

from .fakes import ASGIClient, on_jumping_loop, run, settled, until


@pytest.fixture(autouse=True)
def fresh_antiphon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was never configured."""
    monkeypatch.setattr(app, "_app", None)
    monkeypatch.setattr(app, "_configured", {})


class Echo(AsyncJsonWebsocketConsumer):
    """Answers each document with itself and remembers its end."""

    ends: list[int] = []

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        self.ends.append(code)


async def open_client(consumer: type[AsyncWebsocketConsumer], **scope: Any) -> ASGIClient:
    return await ASGIClient(consumer.as_asgi(), **scope).opened()


def documents(client: ASGIClient) -> list[Any]:
    return [json.loads(text) for text in client.texts]


# as_asgi


@on_jumping_loop
async def test_each_connection_has_an_instance_with_the_initkwargs() -> None:
    made = []

    class Greeter(AsyncWebsocketConsumer):
        def __init__(self, *args: Any, greeting: str, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.greeting = greeting
            made.append(self)

        async def connect(self) -> None:
            await self.accept()
            await self.send(self.greeting)

    application = Greeter.as_asgi(greeting="hello")
    clients = [await ASGIClient(application).opened() for _ in range(2)]
    for client in clients:
        await until(lambda client=client: client.texts)  # type: ignore[misc]
        assert client.texts == ["hello"]
        await client.leave()
    assert len(made) == 2


def test_the_application_tells_its_consumer_as_in_channels() -> None:
    application: Any = Echo.as_asgi(a=1)
    assert application.consumer_class is Echo
    assert application.consumer_initkwargs == {"a": 1}
    assert application.__name__ == "Echo"
    assert application.__doc__ == Echo.__doc__


def test_a_wire_that_is_not_there_is_refused() -> None:
    Echo.as_asgi(wire="plain")
    with pytest.raises(ConfigurationError, match=r"'smoke'.*'plain'"):
        Echo.as_asgi(wire="smoke")


@on_jumping_loop
async def test_an_http_request_is_told_to_upgrade() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    await Echo.as_asgi()({"type": "http", "path": "/"}, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 426
    assert (b"upgrade", b"websocket") in sent[0]["headers"]


@on_jumping_loop
async def test_another_kind_of_scope_is_an_error_of_the_application() -> None:
    with pytest.raises(UsageError, match="'lifespan'"):
        await ASGIClient(Echo.as_asgi(), type="lifespan").task


@on_jumping_loop
async def test_a_client_that_leaves_before_it_connects_has_no_consumer() -> None:
    async def receive() -> Any:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: Any) -> None:
        raise AssertionError("nothing is sent")

    await Echo.as_asgi()({"type": "websocket", "path": "/"}, receive, send)


# Where the page comes from


def page(origin: str, host: str = "chat.test", **scope: Any) -> dict[str, Any]:
    """The scope of a handshake that a page of ``origin`` makes."""
    return {"headers": [(b"host", host.encode()), (b"origin", origin.encode("latin-1"))], **scope}


@pytest.mark.parametrize("origin", ["https://evil.io", "https://chat.test.evil.io", "null", "https://chat.test:8443"])
def test_a_foreign_page_gets_no_consumer(origin: str, caplog: pytest.LogCaptureFixture) -> None:
    made: list[Any] = []

    class Private(Echo):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            made.append(self)

    async def main() -> None:
        client = ASGIClient(Private.as_asgi(), **page(origin))
        await client.task
        assert client.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]
        assert not client.misuse
        counters = app.current_app().counters
        assert (counters.origins_refused, counters.connections_refused) == (1, 0)

    run(main())
    assert made == []
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    for words in (repr(origin), "'chat.test'", f'allowed_origins=["{origin}"]', f'{{"allowed_origins": ["{origin}"]}}'):
        assert words in record.getMessage()


@pytest.mark.parametrize("origin", ["http://chat.test", "https://chat.test", "https://CHAT.test:443"])
def test_a_page_of_the_same_host_connects(origin: str) -> None:
    async def main() -> None:
        client = await open_client(Echo, **page(origin))
        await client.leave()
        assert app.current_app().counters.origins_refused == 0

    run(main())


def test_over_tls_the_page_has_to_come_by_tls_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await (await open_client(Echo, **page("https://chat.test", scheme="wss"))).leave()
        await ASGIClient(Echo.as_asgi(), **page("http://chat.test", scheme="wss")).task
        assert app.current_app().counters.origins_refused == 1

    run(main())
    assert 'allowed_origins=["http://chat.test"]' in caplog.text


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        ({"allowed_origins": ["https://page.io"]}, "https://page.io"),
        ({"allowed_origins": "https://a.io, https://*.page.io"}, "https://www.page.io"),
        ({"allowed_origins": ["*"]}, "null"),
        ({"localhost_origins": True}, "http://localhost:5173"),
    ],
)
def test_the_options_let_others_in(options: Any, origin: str) -> None:
    async def main() -> None:
        configure(**options)
        await (await open_client(Echo, **page(origin))).leave()

    run(main())


def test_an_entry_that_is_no_origin_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"allowed_origins has 'page\.io', which has no scheme"):
        configure(allowed_origins=["page.io"])
    monkeypatch.setenv("ANTIPHON_ALLOWED_ORIGINS", "https://page.io/")
    with pytest.raises(ConfigurationError, match="an origin has no path"):
        configure()


def test_what_a_page_calls_itself_can_not_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    origins = ["\x1b[31mred", "https://a.io\r\nWARNING forged", "https://" + "a" * 65536, "é\x85\xa0"]

    async def main() -> None:
        for origin in origins:
            await ASGIClient(Echo.as_asgi(), **page(origin, "evil\x1b\nhost" * 1000)).task

    run(main())
    assert len(caplog.records) == 4
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 1500


def test_a_thousand_foreign_pages_are_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        for number in range(1000):
            await ASGIClient(Echo.as_asgi(), **page(f"https://evil{number}.io")).task
        counters = app.current_app().counters
        assert counters.origins_refused == 1000
        assert len(caplog.records) + counters.log_lines_suppressed == 1000
        assert counters.log_lines_suppressed > 0

    run(main())


@on_jumping_loop
async def test_a_foreign_page_that_leaves_before_it_is_refused_costs_nothing() -> None:
    logging.disable()
    try:
        client = ASGIClient(Echo.as_asgi(), **page("https://evil.io"))
        client.left = True
        await client.task
        assert client.sent == []
    finally:
        logging.disable(logging.NOTSET)


@on_jumping_loop
async def test_a_consumer_knows_scope_layer_and_channel_name() -> None:
    seen: dict[str, Any] = {}

    class Looker(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            seen.update(scope=self.scope, layer=self.channel_layer, name=self.channel_name)
            await self.accept()

    client = await open_client(Looker, user="u")
    assert seen["scope"] is client.scope
    assert seen["layer"] is app.current_app().layer
    assert seen["name"].startswith("specific.")
    await client.leave()


# accept


@on_jumping_loop
async def test_by_default_a_connection_is_accepted() -> None:
    client = await open_client(AsyncWebsocketConsumer)
    assert client.sent == [{"type": "websocket.accept", "subprotocol": None, "headers": []}]
    await client.leave()


@on_jumping_loop
async def test_accept_takes_subprotocol_and_headers() -> None:
    class Chooser(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept(self.scope["subprotocols"][1], headers=[(b"x-a", b"1")])

    client = await open_client(Chooser, subprotocols=["a", "b"])
    assert client.sent == [{"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1")]}]
    await client.leave()


@pytest.mark.parametrize("library", ["antiphon", "channels"])
@pytest.mark.parametrize(
    ("name", "expected"), [("AcceptConnection", "websocket.accept"), ("DenyConnection", "websocket.close")]
)
def test_connect_may_decide_by_an_exception(library: str, name: str, expected: str) -> None:
    import channels.exceptions

    error = getattr(exceptions if library == "antiphon" else channels.exceptions, name)

    class Decider(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            raise error

    async def main() -> None:
        client = ASGIClient(Decider.as_asgi())
        await until(lambda: client.sent)
        assert [event["type"] for event in client.sent] == [expected]
        assert app.current_app().counters.handler_errors == 0
        if not client.task.done():
            await client.leave()

    run(main())


@pytest.mark.parametrize("library", ["antiphon", "channels"])
def test_stop_consumer_ends_without_an_error(library: str) -> None:
    import channels.exceptions

    error = (exceptions if library == "antiphon" else channels.exceptions).StopConsumer

    class Stopper(Echo):
        ends: list[int] = []

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            raise error

    async def main() -> None:
        client = await open_client(Stopper)
        client.say("{}")
        await client.task
        assert client.sent[-1]["code"] == 1000
        assert Stopper.ends == [1000]
        assert app.current_app().counters.handler_errors == 0

    run(main())


# close


@on_jumping_loop
async def test_close_before_accept_refuses() -> None:
    class Bouncer(Echo):
        ends: list[int] = []

        async def connect(self) -> None:
            await self.close(code=4401)
            await self.channel_layer.group_add("room", self.channel_name)
            await self.accept()
            await self.send_json("secret")

    logging.disable()
    try:
        client = ASGIClient(Bouncer.as_asgi())
        await client.task
    finally:
        logging.disable(logging.NOTSET)
    assert [event["type"] for event in client.sent] == ["websocket.close"]
    assert Bouncer.ends == []
    counters = app.current_app().counters
    assert (counters.joins_refused, counters.connections_accepted) == (1, 0)


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
def test_close_sends_code_and_reason(arguments: dict[str, Any], code: int, reason: str) -> None:
    class Closer(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.close(**arguments)

    async def main() -> None:
        client = await open_client(Closer)
        client.say("{}")
        await client.task
        assert client.sent[-1] == {"type": "websocket.close", "code": code, "reason": reason}

    run(main())


@on_jumping_loop
async def test_a_close_code_that_may_not_be_sent_is_told_to_the_application() -> None:
    class Closer(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            with pytest.raises(InvalidCloseCode):
                await self.close(code=1006)
            await self.send_json("still here")

    client = await open_client(Closer)
    client.say("{}")
    await until(lambda: client.texts)
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
def test_send_takes_text_or_bytes(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    class Sender(AsyncWebsocketConsumer):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.send(**arguments)

    async def main() -> None:
        client = await open_client(Sender)
        client.say("go")
        await until(lambda: client.kinds("websocket.send"))
        assert client.kinds("websocket.send") == [{"type": "websocket.send", **expected}]
        await client.leave()

    run(main())


@pytest.mark.parametrize(("close", "code"), [(True, 1000), (4001, 4001)])
@pytest.mark.parametrize("json_too", [False, True])
def test_send_may_close_behind_the_message(close: bool | int, code: int, json_too: bool) -> None:
    class Sender(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            if json_too:
                await self.send_json("bye", close=close)
            else:
                await self.send('"bye"', close=close)

    async def main() -> None:
        client = await open_client(Sender)
        client.say("{}")
        await client.task
        assert client.texts == ['"bye"']
        assert client.sent[-1]["code"] == code

    run(main())


@pytest.mark.parametrize("close", [False, None, 0])
def test_send_does_not_close_where_close_is_false_as_in_channels(close: Any) -> None:
    class Sender(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send('"a"', close=close)
            await self.send_json("b", close=close)

    async def main() -> None:
        client = await open_client(Sender)
        client.say("{}")
        await until(lambda: len(client.texts) == 2 or client.task.done())
        await settled()
        assert not client.kinds("websocket.close")
        await client.leave()

    run(main())


@on_jumping_loop
async def test_misuse_of_send_is_told_to_the_application() -> None:
    told: list[type] = []

    class Misuser(AsyncJsonWebsocketConsumer):
        async def attempt(self, **arguments: Any) -> None:
            try:
                await self.send(**arguments)
            except UsageError as error:
                told.append(type(error))

        async def connect(self) -> None:
            await self.attempt(text_data="early")
            await self.accept()
            await self.attempt()
            await self.attempt(text_data="\ud800")
            try:
                await self.send_json(object())
            except NotEncodable as error:
                told.append(type(error))

    client = await open_client(Misuser)
    await until(lambda: len(told) == 4)
    assert told == [NotAccepted, UsageError, NotEncodable, NotEncodable]
    await client.leave()
    assert client.texts == []


# receive


@on_jumping_loop
async def test_receive_gets_text_or_bytes_and_the_other_is_none() -> None:
    received: list[Any] = []

    class Receiver(AsyncWebsocketConsumer):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            received.append((text_data, bytes_data))

    client = await open_client(Receiver)
    client.say("ä")
    client.say_bytes(b"\xff")
    client.say("")
    await client.leave()
    assert received == [("ä", None), (None, b"\xff"), ("", None)]


@on_jumping_loop
async def test_a_document_goes_to_receive_json_and_back() -> None:
    client = await open_client(Echo)
    sent: list[Any] = [{"a": [1, None, "ä"]}, [], "text", 5, None]
    for document in sent:
        client.say(json.dumps(document))
    await until(lambda: len(client.texts) == 5)
    assert documents(client) == sent
    assert client.texts[0] == '{"a":[1,null,"ä"]}'
    await client.leave()


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
@pytest.mark.parametrize("own_receive", [False, True])
def test_a_bad_message_is_answered_and_the_connection_lives(message: Any, code: str, own_receive: bool) -> None:
    class Own(Echo):
        async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
            await super().receive(text_data=text_data, bytes_data=bytes_data, **kwargs)

    async def main() -> None:
        client = await open_client(Own if own_receive else Echo)
        if isinstance(message, str):
            client.say(message)
        else:
            client.say_bytes(message)
        client.say('"next"')
        await until(lambda: len(client.texts) == 2)
        error, answer = documents(client)
        assert (error["type"], error["code"], answer) == ("error", code, "next")
        assert error["reason"]
        assert app.current_app().counters.client_errors == 1
        await client.leave()

    run(main())


@pytest.mark.parametrize(("error_type", "expected"), [("", []), ("fault", ["fault"])])
def test_error_frames_may_be_renamed_and_turned_off(error_type: str, expected: list[str]) -> None:
    async def main() -> None:
        configure(error_type=error_type)
        client = await open_client(Echo)
        client.say("{")
        client.say('{"type": "answer"}')
        await until(lambda: len(client.texts) == len(expected) + 1)
        assert [document["type"] for document in documents(client)] == [*expected, "answer"]
        await client.leave()

    run(main())


@on_jumping_loop
async def test_the_limit_of_depth_is_the_configured_one_whoever_decodes() -> None:
    configure(max_json_depth=2)

    class Own(Echo):
        async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
            await super().receive(text_data=text_data, bytes_data=bytes_data, **kwargs)

    for consumer in (Echo, Own):
        client = await open_client(consumer)
        client.say("[[]]")
        client.say("[[[]]]")
        await until(lambda client=client: len(client.texts) == 2)  # type: ignore[misc]
        assert documents(client)[0] == [[]]
        assert documents(client)[1]["code"] == "too_deep"
        await client.leave()


@on_jumping_loop
async def test_a_consumer_may_have_its_own_json() -> None:
    class Own(Echo):
        @classmethod
        async def decode_json(cls, text_data: str) -> Any:
            await asyncio.sleep(0)
            return {"decoded": text_data}

        @classmethod
        async def encode_json(cls, content: Any) -> str:
            await asyncio.sleep(0)
            return f"encoded {content}"

    client = await open_client(Own)
    client.say("x")
    await until(lambda: client.texts)
    assert client.texts == ["encoded {'decoded': 'x'}"]
    await client.leave()


@on_jumping_loop
async def test_a_consumers_own_send_is_called_by_send_json() -> None:
    class Own(Echo):
        async def send(self, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
            await super().send(text_data="own " + text_data, close=close)

    client = await open_client(Own)
    client.say("1")
    await until(lambda: client.texts)
    assert client.texts == ["own 1"]
    await client.leave()


@on_jumping_loop
async def test_a_consumers_own_receive_may_pass_on_more() -> None:
    class Own(AsyncJsonWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
            await super().receive(text_data=text_data, bytes_data=bytes_data, size=len(text_data))

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json([content, kwargs])

    client = await open_client(Own)
    client.say("12")
    await until(lambda: client.texts)
    assert documents(client) == [[12, {"size": 2}]]
    await client.leave()


@on_jumping_loop
async def test_messages_are_handled_one_at_a_time_in_order() -> None:
    running = 0

    class Slow(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            nonlocal running
            running += 1
            assert running == 1
            await asyncio.sleep(content)
            await self.send_json(content)
            running -= 1

    client = await open_client(Slow)
    for seconds in (3, 0, 2, 1, 0):
        client.say(str(seconds))
    await until(lambda: len(client.texts) == 5)
    assert documents(client) == [3, 0, 2, 1, 0]
    await client.leave()


# The end


@on_jumping_loop
async def test_disconnect_gets_the_clients_code() -> None:
    class Leaver(Echo):
        ends: list[int] = []

    client = await open_client(Leaver)
    await client.leave(4002)
    assert Leaver.ends == [4002]


def test_an_exception_closes_with_1011_and_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Echo):
        ends: list[int] = []

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            raise LookupError("the application is wrong")

    async def main() -> None:
        client = await open_client(Broken)
        client.say("{}")
        await client.task
        assert client.sent[-1]["code"] == 1011
        assert Broken.ends == [1011]

    run(main())
    assert "exception in receive_json()" in caplog.text
    assert "the application is wrong" in caplog.text


def test_an_exception_in_connect_refuses_with_500(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Echo):
        async def connect(self) -> None:
            raise LookupError

    async def main() -> None:
        client = ASGIClient(Broken.as_asgi())
        await client.task
        assert client.sent[0]["status"] == 500

    run(main())


# Groups


class Member(Echo):
    groups = ["room"]
    ends: list[int] = []

    async def disconnect(self, code: int) -> None:
        # Its memberships are gone: this reaches the others only.
        await self.channel_layer.group_send("room", {"type": "tell", "text": "left"})

    async def tell(self, event: dict[str, Any]) -> None:
        await self.send_json({"told": event["text"]})

    @shared
    def tell_all(event: dict[str, Any]) -> dict[str, Any]:
        return {"told all": event["text"]}


@on_jumping_loop
async def test_a_member_of_a_class_wide_group_gets_events_and_publications() -> None:
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


@on_jumping_loop
async def test_the_seed_of_every_chat_works() -> None:
    class Chat(AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            self.room = self.scope["url_route"]["kwargs"]["group_name"]
            await self.channel_layer.group_add(self.room, self.channel_name)
            await self.accept()

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.channel_layer.group_send(
                self.room, {"type": "send_response", "content": "Message received: " + content["content"]}
            )

        async def disconnect(self, code: int) -> None:
            await self.channel_layer.group_discard(self.room, self.channel_name)

        async def send_response(self, event: dict[str, Any]) -> None:
            await self.send_json({"type": "response", "content": event["content"]})

    scope = {"url_route": {"kwargs": {"group_name": "7"}}}
    clients = [await open_client(Chat, **scope) for _ in range(3)]
    clients[0].say('{"content": "hi"}')
    await until(lambda: all(client.texts for client in clients))
    for client in clients:
        assert documents(client) == [{"type": "response", "content": "Message received: hi"}]
        await client.leave()


@on_jumping_loop
async def test_no_event_reaches_a_method_of_the_framework() -> None:
    client = await open_client(Member)
    layer = app.current_app().layer
    for kind in ("websocket.receive", "send.json", "close", "accept", "disconnect", "__class__", "receive_json"):
        with pytest.raises(exceptions.InvalidEvent):
            await layer.group_send("room", {"type": kind, "text": "x"})
    await settled()
    assert client.texts == []
    assert not client.task.done()
    assert app.current_app().counters.events_refused == 7
    await client.leave()
