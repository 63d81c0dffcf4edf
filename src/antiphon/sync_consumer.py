"""Consumers whose handlers are not async: they run in a thread, as in Django Channels.

The thread is that of Django's database code, so handlers use the ORM as any view does, and run one after another in
the whole process. ``send`` and ``send_json`` do not wait; ``accept`` and ``close`` return when it is done. All may be
called from any thread, though not on the event loop.

``channel_layer`` is the same as that of async consumers: ``async_to_sync(self.channel_layer.group_send)(…)`` as in
Channels, or ``antiphon.sync.group_send(…)``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from antiphon.app import current_app
from antiphon.connection import Connection, Turns
from antiphon.consumer import Consumer, close_code, is_method, outgoing, refuse_binary
from antiphon.events import framework
from antiphon.layer import ChannelLayer
from antiphon.threads import InThread, Outlet
from antiphon.types import Scope, Turn
from antiphon.wire import plain

__all__ = ["JsonWebsocketConsumer", "WebsocketConsumer"]


def _turn_of(function: Callable[[Any, Any], Any]) -> Turn:
    """Return the turn that calls a handler in the thread."""

    def call(consumer: Any, event: Any) -> Any:  # asgiref refuses a function that is async, when nobody has called it
        return function(consumer, event)

    turn = InThread(call)
    functools.update_wrapper(turn, function, updated=())
    return turn


@framework
class WebsocketConsumer(Consumer):
    """A consumer of text and binary messages whose handlers are not async."""

    _outlet: Outlet
    _turn_of = staticmethod(_turn_of)

    # What an application overrides

    def connect(self) -> None:
        """Decide on a new connection: ``accept()`` it, or ``close()`` it and return. By default it is accepted."""
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take one message: text or binary, the other is None."""

    def disconnect(self, code: int) -> None:
        """Take leave of a connection that was accepted; it has left all its groups. ``code`` as in RFC 6455 §7.4."""

    # What an application calls

    def accept(self, subprotocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] | None = None) -> None:
        """Open the connection, with one of ``scope["subprotocols"]`` and further response headers if given."""
        self._outlet.wait_for(self._connection.accept, subprotocol, headers or ())

    def send(self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool | int = False) -> None:
        """Send one message, text or binary; then close with code 1000 or ``close`` if that is given.

        Raises ``NotAccepted`` before ``accept()``. On a connection that is closed it does nothing but count.
        """
        self._post(*outgoing(self._connection, text_data, bytes_data))
        if close:
            self.close(close)

    def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close the connection with ``code`` (1000 if not given) and ``reason`` (words for the code if not given).

        Before ``accept()`` it refuses the handshake with HTTP status 403; nothing after it accepts or joins.
        Raises ``InvalidCloseCode``.
        """
        self._outlet.wait_for(self._connection.close, close_code(code), reason)

    # What the framework calls

    def attach(self, connection: Connection, layer: ChannelLayer, scope: Scope, max_json_depth: int) -> None:
        """Give the consumer its connection."""
        super().attach(connection, layer, scope, max_json_depth)
        self._outlet = connection.outlet

    def turns(self) -> Turns:
        """Return turns that call the handlers in the thread."""
        return _TURNS

    def _post(self, deliver: Callable[[bytes], None], payload: bytes) -> None:
        self._connection.check_accepted()  # here, where the application stands; on the loop nobody would see it
        self._outlet.post(deliver, payload)


@framework
class JsonWebsocketConsumer(WebsocketConsumer):
    """A consumer whose messages are JSON documents, and whose handlers are not async.

    A message that is not JSON, or is binary, is answered with an error frame and the connection goes on.
    """

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Decode one message and pass it to ``receive_json``."""
        if text_data is None:
            raise plain.binary_frame()
        self.receive_json(self.decode_json(text_data), **kwargs)

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Take one JSON document."""

    def send_json(self, content: Any, close: bool | int = False) -> None:
        """Send ``content`` as JSON; then close if ``close`` says so, see ``send``. Raises ``NotEncodable``."""
        self.send(text_data=self.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        """Return the JSON document ``text_data``; raises ``ClientError``, which the client is told."""
        return plain.decode(text_data.encode("utf-8", "surrogatepass"), current_app().config.max_json_depth)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """Return ``content`` as JSON. Raises ``NotEncodable``."""
        return plain.encode(content).decode()

    def turns(self) -> Turns:
        """Return turns that decode before they go to the thread, unless the class has its own ``receive``."""
        cls = type(self)
        if cls.receive is JsonWebsocketConsumer.receive and is_method(cls.decode_json, _decode_json):
            return _JSON_TURNS
        return _TURNS


_decode_json = JsonWebsocketConsumer.decode_json.__func__  # type: ignore[attr-defined]


@InThread
def _connect(consumer: Any, argument: None) -> object:
    return consumer.connect()


@InThread
def _receive_text(consumer: Any, payload: bytes) -> object:
    return consumer.receive(text_data=payload.decode("utf-8", "surrogatepass"))


@InThread
def _receive_binary(consumer: Any, payload: bytes) -> object:
    return consumer.receive(bytes_data=payload)


@InThread
def _receive_content(consumer: Any, content: Any) -> object:
    return consumer.receive_json(content)


@InThread
def _disconnect(consumer: Any, code: int) -> object:
    return consumer.disconnect(code)


def _receive_json(consumer: JsonWebsocketConsumer, payload: bytes) -> Coroutine[Any, Any, None]:
    return _receive_content(consumer, plain.decode(payload, consumer._max_json_depth))


for _turn, _name in (
    (_connect, "connect"),
    (_receive_text, "receive"),
    (_receive_binary, "receive"),
    (_receive_content, "receive_json"),
    (_receive_json, "receive_json"),
    (_disconnect, "disconnect"),
):
    _turn.__name__ = _name  # type: ignore[union-attr]

_TURNS = Turns(_connect, _receive_text, _receive_binary, _disconnect)
_JSON_TURNS = _TURNS._replace(text=_receive_json, binary=refuse_binary)
