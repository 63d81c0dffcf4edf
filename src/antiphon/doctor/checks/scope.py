"""What a consumer finds in its scope: the application that leads to it, the session, the user."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from antiphon.doctor.consumer import Consumer
from antiphon.doctor.finding import Check, Level, Place, Spot
from antiphon.doctor.project import Project
from antiphon.doctor.route import Middleware, Route

__all__ = ["CHECKS"]

COOKIES = "channels.sessions.CookieMiddleware"
SESSION = "channels.sessions.SessionMiddleware"
AUTH = "channels.auth.AuthMiddleware"

#: What is caught where a key is missing.
_CAUGHT = re.compile(r"\b(KeyError|LookupError|Exception|BaseException)\b")


def no_asgi_application(project: Project) -> Iterator[Spot]:
    """Find a project that does not name its application."""
    if not project.settings.get("ASGI_APPLICATION"):
        likely = project.application or "project.asgi.application"
        yield Spot(
            Place("ASGI_APPLICATION"),
            "ASGI_APPLICATION is not set: manage.py runserver can't serve WebSockets.",
            f"Name the application in {project.settings_module}:",
            f'ASGI_APPLICATION = "{likely}"',
        )


def no_user(project: Project) -> Iterator[Spot]:
    """Find consumers that read ``scope["user"]`` where nothing puts it there."""
    yield from _missing(project, "user", AUTH)


def no_session(project: Project) -> Iterator[Spot]:
    """Find consumers that read ``scope["session"]`` where nothing puts it there."""
    yield from _missing(project, "session", SESSION)


def _missing(project: Project, key: str, provider: str) -> Iterator[Spot]:
    seen: set[Consumer] = set()
    for route in project.routes:
        consumer = route.consumer
        if consumer in seen or not _is_plain(route.middlewares) or route.passes(provider):
            continue
        place = _read(consumer, key)
        if place is not None:
            seen.add(consumer)
            yield Spot(
                place,
                f'{consumer.name} reads self.scope["{key}"], and no middleware on the way to {_way(route)} puts a '
                f"{key} "
                "there: each connection ends with a KeyError.",
                "Put Channels' AuthMiddlewareStack around the URLRouter, in the ASGI application:",
                "from channels.auth import AuthMiddlewareStack\nAuthMiddlewareStack(URLRouter(…))",
            )


def _way(route: Route) -> str:
    return f"{route.pattern!r}" if route.pattern else "it"


def _is_plain(middlewares: tuple[Middleware, ...]) -> bool:
    """Tell whether all of it is Channels' or antiphon's: a project's own may put anything into the scope."""
    return all(middleware.is_known for middleware in middlewares)


def _read(consumer: Consumer, key: str) -> Place | None:
    """Return where the consumer first needs ``self.scope[key]``; None if it never does, or puts it there itself."""
    if any("__call__" in each.methods or _puts(each.node, key) for each in consumer.classes):
        return None
    found = [
        each.source.place(node)
        for each in consumer.classes
        for method in each.methods.values()
        if not _looks_first(method, key)
        for node in ast.walk(method)
        if _is_read(node, key)
    ]
    return min(found, default=None)


def _is_read(node: ast.AST, key: str) -> bool:
    match node:
        case ast.Subscript(value=ast.Attribute(attr="scope"), slice=ast.Constant(value=name), ctx=ast.Load()):
            return bool(name == key)
    return False


def _puts(node: ast.AST, key: str) -> bool:
    """Tell whether the class may put ``key`` into its scope: as an item, in a dict, by ``login`` or ``update``."""
    for each in ast.walk(node):
        match each:
            case ast.Subscript(slice=ast.Constant(value=name), ctx=ast.Store()) if name == key:
                return True
            case ast.Dict(keys=keys) if any(isinstance(name, ast.Constant) and name.value == key for name in keys):
                return True
            case ast.keyword(arg=name) if name == key:
                return True
            case ast.Name(id="login") | ast.Attribute(attr="login" | "update"):
                return True
    return False


def _looks_first(method: ast.AST, key: str) -> bool:
    """Tell whether a method asks if ``key`` is there, or takes it that it is not."""
    for each in ast.walk(method):
        match each:
            case ast.Compare(left=ast.Constant(value=name)) if name == key:
                return True
            case ast.ExceptHandler(type=kind) if kind is None or _CAUGHT.search(ast.unparse(kind)):
                return True
    return False


def middleware_order(project: Project) -> Iterator[Spot]:
    """Find middlewares that need another one around them, which is not there."""
    seen: set[tuple[str, str]] = set()
    for route in project.routes:
        for inside, outside, words in ((SESSION, COOKIES, "cookies"), (AUTH, SESSION, "a session")):
            name, needed = inside.rpartition(".")[2], outside.rpartition(".")[2]
            if (name, needed) in seen or not _is_inverted(route.middlewares, inside, outside):
                continue
            seen.add((name, needed))
            yield Spot(
                Place(project.application or "ASGI_APPLICATION"),
                f"{name} finds no {words.removeprefix('a ')} in the scope, because {needed} is not around it on the "
                f"way to {route.consumer.name}: each connection ends with a ValueError.",
                "Put the three around the URLRouter in this order, which AuthMiddlewareStack does:",
                "AuthMiddlewareStack(URLRouter(…))",
            )


def _is_inverted(middlewares: tuple[Middleware, ...], inside: str, outside: str) -> bool:
    for number, middleware in enumerate(middlewares):
        if middleware.is_a(inside):
            around = middlewares[:number]
            return _is_plain(around) and not any(each.is_a(outside) for each in around)
    return False


CHECKS = [
    Check(
        "no-asgi-application",
        Level.ERROR,
        "`ASGI_APPLICATION` is not set, so that `runserver` does not know what to serve WebSockets with.",
        no_asgi_application,
    ),
    Check(
        "no-user-in-scope",
        Level.ERROR,
        '`self.scope["user"]` is read where no middleware on the way to the consumer puts a user.',
        no_user,
    ),
    Check(
        "no-session-in-scope",
        Level.ERROR,
        '`self.scope["session"]` is read where no middleware on the way to the consumer puts a session.',
        no_session,
    ),
    Check(
        "middleware-order",
        Level.ERROR,
        "A middleware stands outside the one that it needs: the session outside the cookies, or the user outside the "
        "session.",
        middleware_order,
    ),
]
