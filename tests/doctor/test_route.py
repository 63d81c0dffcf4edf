"""The walk through an application."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from channels.sessions import CookieMiddleware
from django.urls import path, re_path
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute

from antiphon import AsyncWebsocketConsumer
from antiphon.doctor.consumer import describe
from antiphon.doctor.route import Middleware, Walk
from antiphon.doctor.source import Library

LIBRARY = Library(Path(__file__).parent, Path(__file__).parent)


class Chat(AsyncWebsocketConsumer):
    """Somewhere to arrive at."""


class Other(AsyncWebsocketConsumer):
    """Somewhere else."""


def walk(application: Any) -> Walk:
    walk = Walk(lambda cls: describe(cls, LIBRARY))
    walk.through(application)
    return walk


def found(application: Any) -> list[tuple[str, str, str]]:
    return [(route.consumer.name, route.protocol, route.pattern) for route in walk(application).routes]


def names(application: Any) -> list[str]:
    """The middlewares on the one way, by their last names."""
    (route,) = walk(application).routes
    return [middleware.names[0].rpartition(".")[2] for middleware in route.middlewares]


class Holds:
    """A middleware that keeps what it wraps under a name of its own."""

    def __init__(self, kept: Any, name: str) -> None:
        setattr(self, name, kept)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Be an application."""

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Be another one."""


def closed_over(inner: Any) -> Callable[..., Any]:
    helper = print

    async def application(scope: Any, receive: Any, send: Any) -> None:
        helper()
        await inner(scope, receive, send)

    return application


async def with_arguments(scope: Any, receive: Any, send: Any, *, inner: Any) -> None:
    await inner(scope, receive, send)


HOLDS = Holds(Chat.as_asgi(), "something")
BY_NAME = CookieMiddleware(Chat.as_asgi())


async def by_global_name(scope: Any, receive: Any, send: Any) -> None:
    await BY_NAME(scope, receive, send)


async def by_another_global_name(scope: Any, receive: Any, send: Any) -> None:
    await HOLDS(scope, receive, send)


async def dark(scope: Any, receive: Any, send: Any) -> None:
    """Nothing can be seen here."""


def test_routers() -> None:
    inner = URLRouter([re_path(r"^(?P<room>\w+)/$", Chat.as_asgi()), path("other/", Other.as_asgi())])
    application = ProtocolTypeRouter(
        {
            "websocket": URLRouter([path("ws/", inner), path("", Chat.as_asgi())]),
            "channel": ChannelNameRouter({"thumbnails": Other.as_asgi()}),
            "http": dark,
        }
    )
    assert found(application) == [
        ("Chat", "websocket", r"ws/^(?P<room>\w+)/$"),
        ("Other", "websocket", "ws/other/"),
        ("Chat", "websocket", ""),
        ("Other", "channel", "thumbnails"),
    ]
    assert walk(application).dark == []


def test_a_consumer_is_described_once() -> None:
    routes = walk(URLRouter([path("a/", Chat.as_asgi()), path("b/", Chat.as_asgi())])).routes
    assert routes[0].consumer is routes[1].consumer


def test_a_consumer_alone() -> None:
    assert found(Chat.as_asgi()) == [("Chat", "", "")]


def test_starlette() -> None:
    application = Starlette(routes=[Mount("/ws", routes=[WebSocketRoute("/chat", Chat.as_asgi())])])
    assert [(name, pattern) for name, _, pattern in found(application)] == [("Chat", "/ws/chat")]


@pytest.mark.parametrize("name", ["inner", "application", "app", "something"])
def test_middleware_by_attribute(name: str) -> None:
    assert names(Holds(Chat.as_asgi(), name)) == ["Holds"]


@pytest.mark.parametrize(
    ("application", "expected"),
    [
        (CookieMiddleware(OriginValidator(Chat.as_asgi(), [])), ["CookieMiddleware", "OriginValidator"]),
        (closed_over(closed_over(Chat.as_asgi())), ["application", "application"]),
        (functools.partial(with_arguments, inner=Chat.as_asgi()), ["with_arguments"]),
        (by_global_name, ["by_global_name", "CookieMiddleware"]),
        (by_another_global_name, ["by_another_global_name", "Holds"]),
        (Holds(Chat.as_asgi(), "inner").serve, ["serve", "Holds"]),
    ],
)
def test_middleware_is_looked_through(application: Any, expected: list[str]) -> None:
    assert names(application) == expected


def test_an_attribute_of_middleware_goes_before_others() -> None:
    middleware = Holds(Chat.as_asgi(), "inner")
    middleware.denied = Other.as_asgi()  # type: ignore[attr-defined]
    assert found(middleware) == [("Chat", "", "")]


def test_what_is_dark_is_said() -> None:
    application = ProtocolTypeRouter({"websocket": URLRouter([path("a/", dark), path("b/", Chat.as_asgi())])})
    assert walk(application).dark == [f"{__name__}.dark a/"]
    assert walk(dark).dark == [f"{__name__}.dark"]
    assert walk(closed_over(dark)).dark == [f"{__name__}.closed_over.<locals>.application"]


def test_django_is_not_dark() -> None:
    from django.core.handlers.asgi import ASGIHandler

    pages = ASGIHandler.__new__(ASGIHandler)
    assert walk(pages).dark == []
    assert walk(Holds(pages, "app")).dark == []


def test_a_circle_comes_to_an_end() -> None:
    first = Holds(None, "inner")
    first.inner = Holds(first, "inner")  # type: ignore[attr-defined]
    assert walk(first).routes == []


def test_a_closure_that_is_not_set_yet() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await late(scope, receive, send)

    assert walk(application).routes == []
    late = dark


def test_what_is_known_of_a_middleware() -> None:
    (route,) = walk(OriginValidator(Holds(Chat.as_asgi(), "inner"), ["https://example.com"])).routes
    validator, own = route.middlewares
    assert validator.origins == ("https://example.com",)
    assert validator.is_known
    assert validator.is_a("channels.security.websocket.OriginValidator")
    assert validator.words == frozenset()
    assert not own.is_known
    assert "closed_over" in own.words
    assert route.passes(f"{__name__}.Holds")
    assert not route.passes("channels.auth.AuthMiddleware")


def test_a_middleware_of_an_unknown_module_has_no_words() -> None:
    made = type("Made", (Holds,), {"__module__": "nowhere"})
    (route,) = walk(made(Chat.as_asgi(), "inner")).routes
    assert isinstance(route.middlewares[0], Middleware)
    assert route.middlewares[0].names[0] == "nowhere.Made"
