"""The Django application: ``settings.ANTIPHON`` becomes antiphon's configuration."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings

import antiphon.django
from antiphon.app import current_app
from antiphon.config import Config
from antiphon.django.apps import AntiphonConfig


@pytest.fixture(autouse=True)
def _configured_by_nobody() -> Any:
    yield
    antiphon.configure()


def ready() -> None:
    AntiphonConfig("antiphon.django", antiphon.django).ready()


def test_options_come_from_the_settings() -> None:
    with override_settings(ANTIPHON={"outbox_limit": 4096}):
        ready()
    assert current_app().config.outbox_limit == 4096


def test_without_the_setting_every_option_has_its_default() -> None:
    ready()
    assert current_app().config == Config()


@pytest.mark.parametrize(
    ("value", "words"), [({"outbox_limits": 1}, "outbox_limits"), ({"outbox_limit": "x"}, "bytes"), (["x"], "dict")]
)
def test_a_mistake_is_told_as_django_tells_it(value: Any, words: str) -> None:
    with override_settings(ANTIPHON=value), pytest.raises(ImproperlyConfigured, match=words):
        ready()


# Origins


@pytest.mark.parametrize(
    ("debug", "given", "expected"),
    [(True, {}, True), (False, {}, False), (True, {"localhost_origins": False}, False)],
)
def test_debug_lets_pages_of_localhost_in_unless_the_settings_say_otherwise(
    debug: bool, given: dict[str, Any], expected: bool
) -> None:
    with override_settings(DEBUG=debug, ANTIPHON=given):
        ready()
    assert current_app().config.localhost_origins is expected


def test_the_environment_wins_over_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LOCALHOST_ORIGINS", "off")
    with override_settings(DEBUG=True):
        ready()
    assert current_app().config.localhost_origins is False


def admits(origin: str) -> bool:
    headers = [(b"host", b"api.test"), (b"origin", origin.encode())]
    return current_app().admits({"type": "websocket", "path": "/", "headers": headers})


TRUSTED = ["https://page.io", "https://*.example.com", "https://*.example.net:8443", "http://localhost:3000"]


def test_pages_that_may_post_forms_may_connect() -> None:
    with override_settings(CSRF_TRUSTED_ORIGINS=TRUSTED):
        ready()
    for origin in (
        "https://page.io",
        "https://a.example.com",
        "https://a.b.example.com",
        "https://example.com",  # Django's wildcard is for the name itself, too
        "https://example.net:8443",
        "http://localhost:3000",
    ):
        assert admits(origin), origin
    for origin in ("https://other.io", "http://page.io", "https://evilexample.com", "https://example.net", "null"):
        assert not admits(origin), origin


@pytest.mark.parametrize("origin", ["https://a.example.com", "https://example.com", "https://evilexample.com"])
def test_the_wildcard_is_that_of_django(origin: str) -> None:
    from django.middleware.csrf import CsrfViewMiddleware
    from django.test import RequestFactory

    request = RequestFactory().post("/", headers={"origin": origin, "host": "testserver"})
    with override_settings(CSRF_TRUSTED_ORIGINS=TRUSTED):
        ready()
        middleware: Any = CsrfViewMiddleware(lambda request: None)
        assert admits(origin) == middleware._origin_verified(request)


def test_the_option_takes_the_place_of_djangos_setting() -> None:
    with override_settings(CSRF_TRUSTED_ORIGINS=TRUSTED, ANTIPHON={"allowed_origins": ["https://other.io"]}):
        ready()
    assert admits("https://other.io")
    assert not admits("https://page.io")
    with override_settings(CSRF_TRUSTED_ORIGINS=TRUSTED, ANTIPHON={"allowed_origins": []}):
        ready()
    assert not admits("https://page.io")


def test_what_django_trusts_and_is_no_origin_admits_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(CSRF_TRUSTED_ORIGINS=["*", "null", "page.io", "https://*", "https://page.io/", *TRUSTED]):
        ready()
    assert len(caplog.records) == 5
    assert "'https://page.io/'" in caplog.text
    assert admits("https://page.io")
    assert not admits("https://other.io")
    assert not admits("null")


def test_an_entry_of_the_option_that_is_no_origin_is_told_as_django_tells_it() -> None:
    with (
        override_settings(ANTIPHON={"allowed_origins": ["page.io"]}),
        pytest.raises(ImproperlyConfigured, match=r"allowed_origins has 'page\.io'"),
    ):
        ready()
