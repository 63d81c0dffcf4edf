"""Events: what ``group_send`` and ``send`` carry, and which handler of a consumer may receive one.

Laws:
- an event reaches only handlers that the application defined: never a method of the framework, nothing that begins with
  an underscore, no attribute that is not a function;
- a fault that can be seen in the event itself is raised where the event is sent;
- each member gets a copy of its own, and the same event looks the same on every engine.

The name of the handler is the event's ``type`` with dots as underscores, as in Channels: ``"chat.message"`` is received
by ``chat_message``.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from antiphon.exceptions import InvalidEvent, NotEncodable, UsageError
from antiphon.scalars import as_scalar
from antiphon.types import Event, Publication, Turn

__all__ = [
    "Handler",
    "carry_event",
    "find_handler",
    "find_rpc",
    "find_turn",
    "framework",
    "handler_name",
    "make_event",
    "publication_event",
    "rpc",
    "shared",
]

#: A longer type names no handler; what is cached by type is bounded so.
TYPE_LENGTH = 255

_MARK = "__antiphon_framework__"
_SHARED = "__antiphon_shared__"
_RPC = "__antiphon_rpc__"

#: The attribute of a consumer class that makes turns of its handlers, where they are not coroutines.
TURNS = "_turn_of"

#: Names that no event may reach: the framework's own, and those that Channels gives its lifecycle messages.
_reserved: set[str] = {"dispatch", "websocket_connect", "websocket_receive", "websocket_disconnect"}


class Handler(NamedTuple):
    """A handler of a consumer class: either ``turn``, run for each member, or ``shared``, run once per process."""

    name: str
    turn: Turn | None
    shared: Callable[[dict[str, Any]], Any] | None


def framework(cls: type) -> type:
    """Mark ``cls`` as the framework's: no event reaches what it defines, in any subclass. A class decorator."""
    setattr(cls, _MARK, True)
    _reserved.update(name for name in (*vars(cls), *getattr(cls, "__annotations__", ())) if not name.startswith("_"))
    return cls


def shared(handler: Callable[[dict[str, Any]], Any]) -> Any:
    """Mark a handler as a function of the event alone: it runs once per process, not once per member.

    ::

        @shared
        def chat_message(event):
            return {"type": "message", "text": event["text"]}

    What it returns is sent to every member as JSON, encoded and framed once; ``None`` sends nothing. It takes the event
    and no ``self``, is not a coroutine, and must not change the event.
    """
    if inspect.iscoroutinefunction(handler):
        raise UsageError(f"@shared handler {handler.__qualname__} is async; it must be a plain function of the event")
    setattr(handler, _SHARED, True)
    return staticmethod(handler)


def handler_name(event_type: object) -> str:
    """Return the name of the handler for ``event_type``; raise ``InvalidEvent`` if there can't be one."""
    if not isinstance(event_type, str) or not event_type:
        raise InvalidEvent(f"the event's type is {event_type!r:.80}; it must be the name of a handler")
    if len(event_type) > TYPE_LENGTH:
        raise InvalidEvent(f"the event's type {event_type[:40]!r}… is longer than {TYPE_LENGTH} characters")
    return _handler_name(event_type)


@functools.lru_cache(maxsize=4096)
def _handler_name(event_type: str) -> str:
    name = event_type.replace(".", "_")
    if name.startswith("_") or not name.isidentifier():
        raise InvalidEvent(f"the event's type {event_type!r:.80} can't name a handler")
    if name in _reserved:
        raise InvalidEvent(f"the event's type {event_type!r:.80} names a method of the framework, not a handler")
    return name


def find_turn(consumer_class: type, name: str, default: Any) -> Turn | None:
    """Return the turn of what ``consumer_class`` has under ``name``; None: it has nothing but the ``default``."""
    attribute = inspect.getattr_static(consumer_class, name)
    if attribute is default:
        return None
    return _as_turn(consumer_class, attribute)


@functools.cache
def _as_turn(consumer_class: type, attribute: Any) -> Turn:
    make_turn = getattr(consumer_class, TURNS, awaiting)
    turn: Turn = attribute if make_turn is awaiting and is_async(attribute) else make_turn(attribute)
    return turn


def rpc(method: Any) -> Any:
    """Let clients of the Centrifuge wire call a method of a consumer by its name; what it returns is the answer.

    ::

        @rpc
        async def rename(self, content):
            await self.store(content["name"])
            return {"name": content["name"]}

    It takes the content that the client sent, None where there was none, and returns what can be written as JSON. A
    raised ``ClientError`` is told to the client. In a synchronous consumer it is not async.
    """
    if not callable(method) or not getattr(method, "__name__", ""):
        raise UsageError("@rpc is written above a method, without brackets")
    setattr(method, _RPC, True)
    return method


def find_rpc(consumer_class: type, name: str) -> Turn | None:
    """Return the turn of the ``@rpc`` method that ``consumer_class`` has under ``name``, or None."""
    for cls in consumer_class.__mro__:
        if name in cls.__dict__:
            attribute = cls.__dict__[name]
            return _as_turn(consumer_class, attribute) if getattr(attribute, _RPC, False) is True else None
    return None


_found: dict[tuple[type, str], tuple[str, Any, Handler | None]] = {}


def find_handler(consumer_class: type, event_type: str) -> Handler | None:
    """Return the handler that ``consumer_class`` defines for ``event_type``, or None."""
    if type(event_type) is not str:
        return None
    found = _found.get((consumer_class, event_type))
    if found is not None:
        name, attribute, handler = found
        for cls in consumer_class.__mro__:  # good as long as the same attribute stands there
            if name in cls.__dict__:
                if cls.__dict__[name] is attribute:
                    return handler
                break
    return _search(consumer_class, event_type)


def _search(consumer_class: type, event_type: str) -> Handler | None:
    try:
        name = handler_name(event_type)
    except InvalidEvent:
        return None
    for cls in consumer_class.__mro__:
        if name in cls.__dict__:
            if cls is object or cls.__dict__.get(_MARK):
                return None
            attribute = cls.__dict__[name]
            handler = _as_handler(name, attribute, getattr(consumer_class, TURNS, awaiting))
            if len(_found) >= 4096:
                _found.clear()
            _found[consumer_class, event_type] = name, attribute, handler
            return handler
    return None


def _as_handler(name: str, attribute: Any, make_turn: Callable[[Callable[[Any, Any], Any]], Turn]) -> Handler | None:
    function = attribute.__func__ if isinstance(attribute, staticmethod) else attribute
    if getattr(function, _SHARED, False):
        return Handler(name, None, function)
    if make_turn is awaiting and is_async(attribute):
        return Handler(name, attribute, None)
    if inspect.isfunction(attribute) or is_async(attribute):
        return Handler(name, make_turn(attribute), None)
    return None


def is_async(function: Any) -> bool:
    """Tell whether calling ``function`` makes a coroutine."""
    # _is_coroutine: how asgiref marks sync_to_async before Python 3.12
    return inspect.iscoroutinefunction(function) or getattr(function, "_is_coroutine", None) is not None


def awaiting(function: Callable[[Any, Any], Any]) -> Turn:
    """Return a coroutine function for one that only returns awaitables, such as what a decorator made of a handler."""

    @functools.wraps(function)
    async def handler(consumer: Any, event: Any) -> None:
        result = function(consumer, event)
        if not inspect.isawaitable(result):
            raise UsageError(f"handler {function.__qualname__} is not async: write 'async def {function.__name__}'")
        await result

    return handler


_pack = msgspec.msgpack.Encoder(enc_hook=as_scalar).encode
_unpack = msgspec.msgpack.Decoder().decode


def make_event(message: object) -> Event:
    """Return ``message``, a mapping with a ``type``, as an event.

    Raises ``InvalidEvent`` for a type that no handler may have, ``NotEncodable`` for content that can't travel.
    """
    message = _as_dict(message)
    if "type" not in message:
        raise InvalidEvent("the event has no 'type', the name of the handler that receives it")
    handler_name(message["type"])
    return _packed(message)


def carry_event(message: object) -> Event:
    """Return ``message`` as an event whatever its type: who receives it decides what that may be, as in Channels.

    A type that is no text, or missing, becomes the empty one, which no consumer of antiphon's handles. Raises
    ``InvalidEvent`` for what is no mapping, ``NotEncodable`` for content that can't travel.
    """
    return _packed(_as_dict(message))


def publication_event(group: str, publication: Publication) -> Event:
    """Return ``publication`` as an event of type ``publication``, for those who can't be sent JSON as it is."""
    try:
        return _publication_event(group, publication, msgspec.json.decode(publication.data))
    except (msgspec.DecodeError, NotEncodable):
        return _publication_event(group, publication, _tamed(publication.data))


def _publication_event(group: str, publication: Publication, content: Any) -> Event:
    return _packed(
        {
            "type": "publication",
            "group": group,
            "content": content,
            "epoch": publication.epoch,
            "offset": publication.offset,
        }
    )


def _tamed(data: bytes) -> Any:
    """Return a document without what JSON may have and an event can't: halves of surrogate pairs, numbers over 64 bits.

    They become question marks, and floats.
    """
    text = json.dumps(json.loads(data), ensure_ascii=False).encode("utf-8", "replace")
    return json.loads(text, parse_int=_as_number)


def _as_number(digits: str) -> int | float:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


def _as_dict(message: object) -> dict[Any, Any]:
    if isinstance(message, dict):
        return message
    if isinstance(message, Mapping):
        return dict(message)
    raise InvalidEvent(f"an event is a dict with a 'type', not {type(message).__name__}")


def _packed(message: dict[Any, Any]) -> Event:
    try:
        packed = _pack(message)
        content = _unpack(packed)
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        words = str(error) or type(error).__name__
        raise NotEncodable(f"this event can't travel between processes: {words}") from error
    event_type = content.get("type")
    return Event(event_type if isinstance(event_type, str) else "", content, packed, _is_flat(content))


def _is_flat(content: dict[Any, Any]) -> bool:
    for value in content.values():  # noqa: SIM110 (a loop: this runs for every event, and any() costs twice as much)
        if type(value) is dict or type(value) is list:
            return False
    return True
