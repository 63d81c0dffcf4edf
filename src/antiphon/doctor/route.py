"""From the ASGI application to its consumers: what stands on the way, and the URL patterns that lead there.

Routers are known by what they hold: ``application_mapping``, or ``routes`` with patterns. Whatever else holds an
application is a middleware, and looked through: by the attributes that ASGI middleware uses, by its closure if it is a
function, or by the global names that the function uses. A consumer is what has a ``consumer_class``.
"""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from antiphon.doctor.consumer import Consumer
from antiphon.doctor.source import words_of

__all__ = ["Middleware", "Route", "Walk"]

#: How deep applications may be nested.
DEEPEST = 50
_INNER = ("inner", "application", "app", "asgi_app", "wrapped", "wrapped_app")
_KNOWN = ("channels.", "antiphon.", "django.")


class Middleware(NamedTuple):
    """What a connection passes on its way to a consumer."""

    names: tuple[str, ...]
    """The full name of its class and of that one's bases; a function's own."""
    words: frozenset[str] = frozenset()
    """Every name and text in its module, where it is neither Channels', antiphon's nor Django's; none if unreadable."""
    origins: tuple[str, ...] | None = None
    """Of an ``OriginValidator``: those that it admits."""

    @property
    def is_known(self) -> bool:
        """Whether it is Channels', antiphon's or Django's own, so that what it does is known."""
        return self.names[0].startswith(_KNOWN)

    def is_a(self, name: str) -> bool:
        """Tell whether its class is, or is derived from, the one of this full name."""
        return name in self.names


@dataclass(frozen=True)
class Route:
    """One way to a consumer."""

    consumer: Consumer
    pattern: str
    """The URL pattern, as it is written in the routing; "" where there is none."""
    protocol: str
    """The key in ``ProtocolTypeRouter``; "" where there is none."""
    middlewares: tuple[Middleware, ...] = ()
    """From the outside to the inside."""

    @property
    def is_websocket(self) -> bool:
        """Whether a browser's WebSocket gets there."""
        return self.protocol == "websocket" or (not self.protocol and self.consumer.is_websocket)

    def passes(self, name: str) -> bool:
        """Tell whether there is a middleware of this full name on the way."""
        return any(middleware.is_a(name) for middleware in self.middlewares)


class _Trail(NamedTuple):
    """How one got somewhere."""

    pattern: str = ""
    protocol: str = ""
    middlewares: tuple[Middleware, ...] = ()
    passed: tuple[int, ...] = ()
    """What one came through, by identity: nothing is entered twice."""


class _End(enum.IntEnum):
    """Where a way leads; of several ways, the highest counts."""

    DARK = 0
    """To something that could not be looked through."""
    ELSEWHERE = 1
    """To Django, which has no consumers."""
    CONSUMER = 2


@dataclass
class Walk:
    """A walk through an application. ``describe`` makes a ``Consumer`` of a class."""

    describe: Callable[[type], Consumer]
    routes: list[Route] = field(default_factory=list)
    dark: list[str] = field(default_factory=list)
    """What may serve WebSockets, and could not be looked through."""
    _consumers: dict[type, Consumer] = field(default_factory=dict)
    _barren: dict[int, _End] = field(default_factory=dict)
    """What leads to no consumer, by identity: one look is enough."""

    def through(self, application: Any) -> None:
        """Go everywhere that ``application`` leads to."""
        self._enter(application, _Trail())

    def _enter(self, application: Any, trail: _Trail) -> None:
        """Begin a way: ``application`` is what a router hands a connection to."""
        if self._go(application, trail) is _End.DARK and trail.protocol in ("websocket", ""):
            self.dark.append(f"{_middleware(application).names[0]} {trail.pattern}".strip())

    def _go(self, application: Any, trail: _Trail) -> _End:
        if id(application) in trail.passed or len(trail.passed) > DEEPEST:
            return _End.DARK
        trail = trail._replace(passed=(*trail.passed, id(application)))
        cls = getattr(application, "consumer_class", None)
        mapping = getattr(application, "application_mapping", None)
        routes = getattr(application, "routes", None)
        if isinstance(cls, type):
            self._arrive(cls, trail)
        elif isinstance(mapping, Mapping):
            self._split(application, mapping, trail)
        elif isinstance(routes, (list, tuple)):
            for route in routes:
                self._follow(route, trail)
        else:
            return self._look_through(application, trail)
        return _End.CONSUMER

    def _arrive(self, cls: type, trail: _Trail) -> None:
        if cls not in self._consumers:
            self._consumers[cls] = self.describe(cls)
        self.routes.append(Route(self._consumers[cls], trail.pattern, trail.protocol, trail.middlewares))

    def _split(self, application: Any, mapping: Mapping[Any, Any], trail: _Trail) -> None:
        """Take each way of a ``ProtocolTypeRouter``, or of a ``ChannelNameRouter``, whose keys are no protocols."""
        is_by_channel = any(cls.__name__ == "ChannelNameRouter" for cls in type(application).__mro__)
        for key, inner in mapping.items():
            if is_by_channel:
                self._enter(inner, trail._replace(pattern=str(key), protocol="channel"))
            else:
                self._enter(inner, trail._replace(protocol=str(key)))

    def _follow(self, route: Any, trail: _Trail) -> None:
        """Take one route: Django's ``path()`` or ``re_path()``, or one of Starlette's."""
        pattern = str(getattr(route, "pattern", None) or getattr(route, "path", ""))
        trail = trail._replace(pattern=trail.pattern + pattern)
        target = getattr(route, "callback", None) or getattr(route, "app", None) or getattr(route, "endpoint", None)
        if target is not None:
            self._enter(target, trail)
        else:
            for inner in getattr(route, "url_patterns", ()):
                self._follow(inner, trail)

    def _look_through(self, application: Any, trail: _Trail) -> _End:
        if id(application) in self._barren:
            return self._barren[id(application)]
        middleware = _middleware(application)
        trail = trail._replace(middlewares=(*trail.middlewares, middleware))
        ends = [self._go(inner, trail) for inner in _inner_applications(application)]
        end = max(ends, default=_End.ELSEWHERE if middleware.is_known else _End.DARK)
        if end is not _End.CONSUMER:
            self._barren[id(application)] = end
        return end


def _inner_applications(application: Any) -> Iterator[Any]:
    """Yield the applications that this one may hand a connection to."""
    if isinstance(application, functools.partial):
        yield from (value for value in (*application.args, *application.keywords.values()) if callable(value))
        return
    function = getattr(application, "__func__", application)
    if isinstance(function, types.FunctionType):
        yield from _of_function(function, getattr(application, "__self__", None))
        return
    held = getattr(application, "__dict__", {})
    for name in _INNER:
        if callable(held.get(name)):
            yield held[name]
            return
    yield from (value for value in held.values() if _is_application(value))


def _of_function(function: types.FunctionType, owner: Any) -> Iterator[Any]:
    """Yield what a function closes over, and the global names that it uses."""
    if owner is not None:
        yield owner
        return
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not set yet
            continue
        if callable(value) and not isinstance(value, type):
            yield value
    used = (function.__globals__.get(name) for name in function.__code__.co_names)
    yield from (value for value in used if _is_application(value))


def _is_application(value: Any, depth: int = 2) -> bool:
    """Tell whether ``value`` looks like an ASGI application that leads on to others."""
    if isinstance(value, (type, types.ModuleType)) or not callable(value):
        return False
    names = ("consumer_class", "application_mapping", "routes", *_INNER)
    if any(hasattr(value, name) for name in names):
        return True
    held = () if isinstance(value, types.FunctionType) else getattr(value, "__dict__", {}).values()
    return depth > 0 and any(_is_application(each, depth - 1) for each in held)


def _middleware(application: Any) -> Middleware:
    if isinstance(application, functools.partial):
        application = application.func
    if isinstance(application, (types.FunctionType, types.MethodType)):
        names: tuple[str, ...] = (f"{application.__module__}.{application.__qualname__}",)
        modules: Iterable[str] = [application.__module__]
    else:
        mro = type(application).__mro__[:-1]
        names = tuple(f"{cls.__module__}.{cls.__qualname__}" for cls in mro) or (type(application).__name__,)
        modules = dict.fromkeys(cls.__module__ for cls in mro)
    unknown = [name for name in modules if not f"{name}.".startswith(_KNOWN)]
    words = frozenset[str]().union(*(_module_words(name) for name in unknown))
    origins = getattr(application, "allowed_origins", None)
    admits = tuple(map(str, origins)) if isinstance(origins, (list, tuple, set)) else None
    return Middleware(names, words, admits)


@functools.cache
def _module_words(name: str) -> frozenset[str]:
    try:
        return words_of(ast.parse(inspect.getsource(sys.modules[name])))
    except (KeyError, OSError, TypeError, ValueError, SyntaxError, RecursionError):
        return frozenset()
