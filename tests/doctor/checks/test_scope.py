"""What a consumer finds in its scope."""

from __future__ import annotations

import pytest

from antiphon.doctor.route import Middleware

from ..conftest import Find

COOKIES = Middleware(("channels.sessions.CookieMiddleware",))
SESSION = Middleware(("channels.sessions.SessionMiddleware",))
AUTH = Middleware(("antiphon.django.auth.AuthMiddleware", "channels.auth.AuthMiddleware"))
OWN = Middleware(("mine.TokenMiddleware",), frozenset({"x"}))


def consumer(body: str) -> str:
    """A consumer with these lines in ``connect``."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    start = "from antiphon import AsyncWebsocketConsumer\n\n\nclass Chat(AsyncWebsocketConsumer):\n"
    return f"{start}    async def connect(self):\n{lines}"


READS = consumer('self.user = self.scope["user"]\nself.session = self.scope["session"]')


def test_no_application(find: Find) -> None:
    (spot,) = find("no-asgi-application", settings={})
    assert spot.code == 'ASGI_APPLICATION = "project.asgi.application"'
    assert find("no-asgi-application", settings={"ASGI_APPLICATION": "a.b"}) == []
    (spot,) = find("no-asgi-application", settings={"ASGI_APPLICATION": None}, application="")
    assert "project.asgi" in spot.code


def test_nothing_on_the_way(find: Find) -> None:
    (spot,) = find("no-user-in-scope", READS)
    assert str(spot.place) == "consumers.py:6"
    (spot,) = find("no-session-in-scope", READS, middlewares=(COOKIES,))
    assert str(spot.place) == "consumers.py:7"
    assert "'ws/chat/'" in spot.problem


def test_something_on_the_way(find: Find) -> None:
    assert find("no-user-in-scope", READS, middlewares=(COOKIES, SESSION, AUTH)) == []
    assert find("no-session-in-scope", READS, middlewares=(COOKIES, SESSION)) == []
    assert find("no-user-in-scope", READS, middlewares=(OWN,)) == []


@pytest.mark.parametrize(
    "body",
    [
        'self.scope.get("user")',
        'self.scope["path"]',
        'self.scope["user"] = await find()\nself.user = self.scope["user"]',
        'if "user" in self.scope:\n    self.user = self.scope["user"]',
        'try:\n    self.user = self.scope["user"]\nexcept KeyError:\n    pass',
        'try:\n    self.user = self.scope["user"]\nexcept:\n    pass',
        'try:\n    self.user = self.scope["user"]\nexcept (OSError, Exception):\n    pass',
        'self.scope = {**self.scope, "user": 1}\nself.user = self.scope["user"]',
        'self.scope = dict(self.scope, user=1)\nself.user = self.scope["user"]',
        'self.scope.update(found)\nself.user = self.scope["user"]',
        'await login(self.scope, user)\nself.user = self.scope["user"]',
    ],
)
def test_who_sees_to_it(find: Find, body: str) -> None:
    assert find("no-user-in-scope", consumer(body)) == []


def test_another_except_does_not_help(find: Find) -> None:
    body = 'try:\n    self.user = self.scope["user"]\nexcept ValueError:\n    pass'
    assert len(find("no-user-in-scope", consumer(body))) == 1


def test_a_call_of_its_own(find: Find) -> None:
    text = READS + "\n    async def __call__(self, scope, receive, send):\n        pass\n"
    assert find("no-user-in-scope", text) == []


@pytest.mark.parametrize(
    ("middlewares", "words"),
    [
        ((SESSION,), ["CookieMiddleware is not around it"]),
        ((SESSION, COOKIES), ["CookieMiddleware is not around it"]),
        ((COOKIES, AUTH), ["SessionMiddleware is not around it"]),
        ((AUTH, SESSION), ["CookieMiddleware is not around it", "SessionMiddleware is not around it"]),
        ((COOKIES, SESSION, AUTH), []),
        ((OWN, SESSION, AUTH), []),
        ((), []),
    ],
)
def test_order(find: Find, middlewares: tuple[Middleware, ...], words: list[str]) -> None:
    found = find("middleware-order", READS, middlewares=middlewares)
    assert len(found) == len(words)
    assert all(word in spot.problem for word, spot in zip(words, found, strict=True))
