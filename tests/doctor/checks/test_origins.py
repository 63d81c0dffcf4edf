"""Which pages may connect."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.doctor.route import Middleware

from ..conftest import Find

COOKIES = Middleware(("channels.sessions.CookieMiddleware",))
SESSION = Middleware(("channels.sessions.SessionMiddleware",))
VALIDATOR = "channels.security.websocket.OriginValidator"
SOME = Middleware((VALIDATOR,), origins=("example.com",))
ALL = Middleware((VALIDATOR,), origins=("*",))
THEIRS = """
    from channels.generic.websocket import AsyncWebsocketConsumer

    class Chat(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept()  # whatever the origin
"""
OURS = THEIRS.replace("channels.generic.websocket", "antiphon")
STAR: dict[str, Any] = {"ANTIPHON": {"allowed_origins": ["*"]}, "INSTALLED_APPS": ["antiphon.django"]}


def test_no_check(find: Find) -> None:
    (spot,) = find("no-origin-check", THEIRS, middlewares=(COOKIES, SESSION))
    assert str(spot.place) == "consumers.py:3"
    assert "with the cookies" in spot.problem
    assert "(by 'ws/chat/')" in spot.problem
    (spot,) = find("no-origin-check", THEIRS)
    assert "cookies" not in spot.problem


def test_the_line_to_write(find: Find) -> None:
    asgi = (
        'application = Router({"http": 1, "websocket": AuthMiddlewareStack(URLRouter(routes))})  # no channel_layer\n'
    )
    (spot,) = find("no-origin-check", THEIRS, files={"project/asgi.py": asgi})
    assert "at project/asgi.py:1" in spot.remedy.replace("\\", "/")
    assert spot.code.endswith('"websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes))),')
    assert find("no-origin-check", THEIRS, application="")[0].code.endswith("AllowedHostsOriginValidator(…),")


@pytest.mark.parametrize(
    "middleware",
    [
        SOME,
        ALL,  # another finding
        Middleware(("mine.Validator", VALIDATOR), frozenset({"x"})),
        Middleware(("mine.Guard",), frozenset({"check_origin"})),
        Middleware(("mine.Guard",), frozenset({"allowed_hosts"})),
        Middleware(("mine.Guard",)),  # can't be read
    ],
)
def test_what_is_or_may_be_a_check(find: Find, middleware: Middleware) -> None:
    assert find("no-origin-check", THEIRS, middlewares=(COOKIES, middleware)) == []


def test_what_stands_beside_the_consumer_is_no_check(find: Find) -> None:
    text = THEIRS + "\n    from channels.security.websocket import OriginValidator\n"
    assert len(find("no-origin-check", text)) == 1


def test_what_is_no_check(find: Find) -> None:
    guard = Middleware(("mine.Guard",), frozenset({"original", "scope"}))
    assert len(find("no-origin-check", THEIRS, middlewares=(guard,))) == 1


def test_a_bare_consumer_behind_websocket_counts(find: Find) -> None:
    bare = THEIRS.replace(".generic.websocket", ".consumer").replace("AsyncWebsocketConsumer", "AsyncConsumer")
    assert len(find("no-origin-check", bare)) == 1
    assert find("no-origin-check", bare, protocol="http") == []
    assert find("no-origin-check", bare, protocol="") == []
    assert len(find("no-origin-check", THEIRS, protocol="")) == 1


def test_who_needs_none(find: Find) -> None:
    assert find("no-origin-check", OURS) == []
    assert find("no-origin-check", THEIRS, protocol="channel") == []
    looks = THEIRS + '            self.scope["headers"][b"origin"]\n'
    assert find("no-origin-check", looks) == []


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"settings": STAR}, 'ANTIPHON["allowed_origins"]'),
        ({"environment": {"ANTIPHON_ALLOWED_ORIGINS": "https://a.example, *"}}, "ANTIPHON_ALLOWED_ORIGINS"),
    ],
)
def test_every_origin(find: Find, more: dict[str, Any], place: str) -> None:
    (spot,) = find("every-origin-allowed", OURS, middlewares=(COOKIES,), **more)
    assert str(spot.place) == place


NOT_EVERY: list[dict[str, Any]] = [
    {"settings": STAR},
    {"settings": STAR, "middlewares": (SOME, COOKIES)},
    {"settings": {"ANTIPHON": {"allowed_origins": ["https://a.example"]}}, "middlewares": (COOKIES,)},
    {"settings": {**STAR, "INSTALLED_APPS": []}, "middlewares": (COOKIES,)},
    {"settings": STAR, "environment": {"ANTIPHON_ALLOWED_ORIGINS": ""}, "middlewares": (COOKIES,)},
    {"middlewares": (COOKIES,)},
    {"settings": {**STAR, "ANTIPHON": {"allowed_origins": "https://*.a.example"}}, "middlewares": (COOKIES,)},
]


@pytest.mark.parametrize("more", NOT_EVERY)
def test_not_every_origin(find: Find, more: dict[str, Any]) -> None:
    assert find("every-origin-allowed", OURS, **more) == []


def test_a_validator_that_admits_all(find: Find) -> None:
    (spot,) = find("validator-admits-all", THEIRS, middlewares=(ALL,), settings={"ALLOWED_HOSTS": ["*"]})
    assert str(spot.place) == "ALLOWED_HOSTS"
    (spot,) = find("validator-admits-all", THEIRS, middlewares=(ALL,), settings={"ALLOWED_HOSTS": ["a.example"]})
    assert str(spot.place) == "project.asgi.application"
    assert "OriginValidator" in spot.code
    for consumer, middlewares in [(THEIRS, (SOME,)), (THEIRS, (ALL, SOME)), (THEIRS, ()), (OURS, (ALL,))]:
        assert find("validator-admits-all", consumer, middlewares=middlewares) == []
