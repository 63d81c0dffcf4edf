"""What an application writes: a class with connect, receive and disconnect, as in Django Channels.

The public surface is that of ``channels.generic.websocket``; code written for it runs with the import changed. Where
Channels loses something, this differs: ``docs/topics/consumers.md`` lists each difference.

``Consumer`` is what every consumer is, whatever its handlers are; here are its async faces, the synchronous ones are in
``antiphon.sync_consumer``. A face says in which turns its handlers run, and how they reach the connection.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeAlias

from antiphon import codes
from antiphon.app import current_app
from antiphon.connection import Connection, Hooks, Turns
from antiphon.events import find_turn, framework
from antiphon.exceptions import ConfigurationError, NotEncodable, UsageError
from antiphon.layer import ChannelLayer
from antiphon.types import (
    ASGIApplication,
    HistoryRequest,
    PresenceRequest,
    PublishRequest,
    Receive,
    Scope,
    Send,
    SubscribeRequest,
)
from antiphon.wire import plain

__all__ = ["AsyncJsonWebsocketConsumer", "AsyncWebsocketConsumer", "Consumer"]

#: What a connection may speak.
WIRES = ("plain", "centrifuge")

#: A method of a connection that sends the bytes of a message.
Sender: TypeAlias = Callable[[bytes], None]


class ConsumerApplication:
    """The ASGI application that ``as_asgi`` returns: an instance of the consumer for each connection.

    An object, not a function: routers such as Starlette's take a function for something else.
    """

    def __init__(self, consumer_class: type[Consumer], initkwargs: dict[str, Any], wire: str = "plain") -> None:
        self.consumer_class = consumer_class
        self.wire = wire
        self.consumer_initkwargs = initkwargs
        functools.update_wrapper(self, consumer_class, updated=())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI 3), unless it comes from a page that may not connect."""
        if scope["type"] == "websocket" and not current_app().admits(scope):
            await _refuse(receive, send)
        else:
            consumer = self.consumer_class(**self.consumer_initkwargs)
            consumer._wire = self.wire
            await consumer(scope, receive, send)


async def _refuse(receive: Receive, send: Send) -> None:
    """Answer a handshake with 403."""
    if (await receive())["type"] == "websocket.connect":
        with contextlib.suppress(OSError):  # the client is gone
            await send({"type": "websocket.close", "code": codes.NORMAL, "reason": ""})


@framework
class Consumer:
    """One instance serves one connection, one handler at a time.

    ``scope`` is the ASGI scope, ``channel_name`` the address of this connection for ``channel_layer.send``,
    ``channel_layer`` the groups. Groups named in ``groups`` are joined before ``connect()`` runs.

    An event that ``channel_layer.group_send`` or ``send`` brings is received by the method that its ``type`` names.
    An exception in a handler closes the connection with 1011 and is logged; ``disconnect`` runs all the same.
    """

    groups: Iterable[str] = ()
    """Groups that every connection joins before ``connect()``."""

    client_info: Any = None
    """JSON that others see of this client: in presence, with joins and leaves, and with what it publishes by itself.

    Set it in ``connect()`` before ``accept()``. None: what the client's token says, if it has one.
    """

    scope: Scope
    channel_name: str
    channel_layer: ChannelLayer
    _connection: Connection
    _max_json_depth: int
    _wire = "plain"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what ``as_asgi`` was given; subclasses may want it."""

    @classmethod
    def as_asgi(cls, *, wire: str = "plain", **initkwargs: Any) -> ASGIApplication:
        """Return an ASGI application that serves each connection with an instance of this class.

        ``initkwargs`` are passed to ``__init__``. ``wire`` is the protocol spoken over the connection: ``plain``, where
        each frame is one JSON document, or ``centrifuge``, the protocol of Centrifugo's SDKs.
        """
        if wire not in WIRES:
            raise ConfigurationError(f"wire {wire!r} is not one of antiphon's: {', '.join(map(repr, WIRES))}")
        return ConsumerApplication(cls, initkwargs, wire)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI 3)."""
        if scope["type"] == "http":
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"upgrade", b"websocket")]
            await send({"type": "http.response.start", "status": 426, "headers": headers})
            await send({"type": "http.response.body", "body": b"This is a WebSocket."})
            return
        if scope["type"] != "websocket":
            raise UsageError(f"{type(self).__qualname__} serves WebSockets; this is a {scope['type']!r} scope")
        event = await receive()
        if event["type"] == "websocket.connect":
            app = current_app()
            await app.connect(app.hub or await app.start(), self, scope, receive, send, self._wire).run()

    # What the framework calls

    def attach(self, connection: Connection, layer: ChannelLayer, scope: Scope, max_json_depth: int) -> None:
        """Give the consumer its connection."""
        self.scope = scope
        self.channel_name = connection.channel_name
        self.channel_layer = layer
        self._connection = connection
        self._max_json_depth = max_json_depth

    def turns(self) -> Turns:
        """Return how the connection runs what the application overrides."""
        raise NotImplementedError

    def hooks(self) -> Hooks:
        """Return what the application has to say of what a client of the Centrifuge wire asks for."""
        return Hooks(
            find_turn(type(self), "on_subscribe", Consumer.on_subscribe),
            find_turn(type(self), "on_publish", Consumer.on_publish),
            find_turn(type(self), "on_presence", Consumer.on_presence),
            find_turn(type(self), "on_history", Consumer.on_history),
        )

    # What an application may override for the Centrifuge wire

    def on_subscribe(self, request: SubscribeRequest) -> Any:
        """Tell whether the client may subscribe to ``request.group``; true: it may. Without it, the rule decides.

        ``async def`` in async consumers. ``request.content`` is what came along. Return a ``Permission`` to allow it
        and say more; raise ``ClientError`` to say why not.
        """
        raise NotImplementedError

    def on_publish(self, request: PublishRequest) -> Any:
        """Return what of ``request.content`` is published to ``request.group``. Without it, the rule decides.

        ``async def`` in async consumers. Raise ``ClientError`` to refuse.
        """
        raise NotImplementedError

    def on_presence(self, request: PresenceRequest) -> Any:
        """Tell whether the client may know who is in ``request.group``, where it is itself; true: it may.

        ``async def`` in async consumers. Without it, the rule decides; where that keeps no presence, nobody may.
        """
        raise NotImplementedError

    def on_history(self, request: HistoryRequest) -> Any:
        """Tell whether the client may read the history of ``request.group``, where it is itself; true: it may.

        ``async def`` in async consumers. Without it, the rule decides; where that keeps no history, nobody may.
        """
        raise NotImplementedError


def outgoing(connection: Connection, text_data: str | None, bytes_data: bytes | None) -> tuple[Sender, bytes]:
    """Return the connection's method that sends a message, and the bytes for it: text or binary, whichever is given."""
    if text_data is not None:
        try:
            return connection.send_text, text_data.encode()
        except UnicodeEncodeError as error:
            raise NotEncodable(f"this text has half of a surrogate pair and can't be sent: {error}") from error
    if bytes_data is not None:
        return connection.send_binary, bytes(bytes_data)
    raise UsageError("send() takes text_data or bytes_data")


def close_code(code: int | bool | None) -> int | None:
    """Return the code that ``close`` was given: Channels' ``close=True`` is none in particular."""
    return None if code is True else code


@framework
class AsyncWebsocketConsumer(Consumer):
    """A consumer of text and binary messages whose handlers are coroutines."""

    # What an application overrides

    async def connect(self) -> None:
        """Decide on a new connection: ``accept()`` it, or ``close()`` it and return. By default it is accepted."""
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take one message: text or binary, the other is None."""

    async def disconnect(self, code: int) -> None:
        """Take leave of a connection that was accepted; it has left all its groups. ``code`` as in RFC 6455 §7.4."""

    # What an application calls

    async def accept(
        self, subprotocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] | None = None
    ) -> None:
        """Open the connection, with one of ``scope["subprotocols"]`` and further response headers if given."""
        await self._connection.accept(subprotocol, headers or ())

    async def send(
        self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send one message, text or binary; then close with code 1000 or ``close`` if that is given.

        Raises ``NotAccepted`` before ``accept()``. On a connection that is closed it does nothing but count.
        """
        deliver, payload = outgoing(self._connection, text_data, bytes_data)
        deliver(payload)
        if close:
            await self.close(close)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close the connection with ``code`` (1000 if not given) and ``reason`` (words for the code if not given).

        Before ``accept()`` it refuses the handshake with HTTP status 403; nothing after it accepts or joins.
        Raises ``InvalidCloseCode``.
        """
        await self._connection.close(close_code(code), reason)

    # What the framework calls

    def turns(self) -> Turns:
        """Return turns that call the handlers."""
        return _TURNS


@framework
class AsyncJsonWebsocketConsumer(AsyncWebsocketConsumer):
    """A consumer whose messages are JSON documents.

    A message that is not JSON, or is binary, is answered with an error frame and the connection goes on.
    """

    _sends_plainly: bool

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Decode one message and pass it to ``receive_json``."""
        if text_data is None:
            raise plain.binary_frame()
        await self.receive_json(await self.decode_json(text_data), **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Take one JSON document."""

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        """Send ``content`` as JSON; then close if ``close`` says so, see ``send``. Raises ``NotEncodable``."""
        if self._sends_plainly and not close:
            self._connection.send_text(plain.encode(content))
        else:
            await self.send(text_data=await self.encode_json(content), close=close)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Return the JSON document ``text_data``; raises ``ClientError``, which the client is told."""
        return plain.decode(text_data.encode("utf-8", "surrogatepass"), current_app().config.max_json_depth)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """Return ``content`` as JSON. Raises ``NotEncodable``."""
        return plain.encode(content).decode()

    def attach(self, connection: Connection, layer: ChannelLayer, scope: Scope, max_json_depth: int) -> None:
        """Give the consumer its connection."""
        super().attach(connection, layer, scope, max_json_depth)
        cls = type(self)
        # Nothing of the application's stands between send_json and the wire: no text need be made of the JSON.
        self._sends_plainly = cls.send is AsyncWebsocketConsumer.send and is_method(cls.encode_json, _encode_json)

    def turns(self) -> Turns:
        """Return turns that decode and call ``receive_json`` at once, unless the class has its own ``receive``."""
        cls = type(self)
        if cls.receive is AsyncJsonWebsocketConsumer.receive and is_method(cls.decode_json, _decode_json):
            return _JSON_TURNS
        return _TURNS


def is_method(method: Any, function: Any) -> bool:
    """Tell whether ``method``, of a class, is ``function``: nobody has overridden it."""
    return getattr(method, "__func__", None) is function


_decode_json = AsyncJsonWebsocketConsumer.decode_json.__func__  # type: ignore[attr-defined]
_encode_json = AsyncJsonWebsocketConsumer.encode_json.__func__  # type: ignore[attr-defined]


def _connect(consumer: AsyncWebsocketConsumer, argument: None) -> Coroutine[Any, Any, None]:
    return consumer.connect()


def _disconnect(consumer: AsyncWebsocketConsumer, code: int) -> Coroutine[Any, Any, None]:
    return consumer.disconnect(code)


def receive_json(consumer: AsyncJsonWebsocketConsumer, payload: bytes) -> Coroutine[Any, Any, None]:
    """The turn of a JSON message: decode without making text of it first."""
    return consumer.receive_json(plain.decode(payload, consumer._max_json_depth))


def _receive_text(consumer: AsyncWebsocketConsumer, payload: bytes) -> Coroutine[Any, Any, None]:
    return consumer.receive(text_data=payload.decode("utf-8", "surrogatepass"))


def _receive_binary(consumer: AsyncWebsocketConsumer, payload: bytes) -> Coroutine[Any, Any, None]:
    return consumer.receive(bytes_data=payload)


def refuse_binary(consumer: Consumer, payload: bytes) -> Coroutine[Any, Any, None]:
    """The turn of a binary message where JSON is spoken."""
    raise plain.binary_frame()


_receive_text.__name__ = _receive_binary.__name__ = "receive"
_connect.__name__, _disconnect.__name__ = "connect", "disconnect"

_TURNS = Turns(_connect, _receive_text, _receive_binary, _disconnect)
_JSON_TURNS = _TURNS._replace(text=receive_json, binary=refuse_binary)
