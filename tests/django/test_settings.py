"""``settings.ANTIPHON`` becomes antiphon's configuration."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import modify_settings, override_settings

import antiphon
from antiphon.app import current_app, is_configured
from antiphon.config import Config
from antiphon.django.settings import configure_from_settings, configure_once

from ..fakes import ASGIClient


@pytest.fixture(autouse=True)
def _configured_by_nobody() -> Any:
    yield
    antiphon.configure()


def test_options_come_from_the_settings() -> None:
    with override_settings(ANTIPHON={"outbox_limit": 4096}):
        configure_from_settings()
    assert current_app().config.outbox_limit == 4096


def test_without_the_setting_every_option_has_its_default() -> None:
    configure_from_settings()
    assert current_app().config == Config()


@pytest.mark.parametrize(
    ("value", "words"), [({"outbox_limits": 1}, "outbox_limits"), ({"outbox_limit": "x"}, "bytes"), (["x"], "dict")]
)
def test_a_mistake_is_told_as_django_tells_it(value: Any, words: str) -> None:
    with override_settings(ANTIPHON=value), pytest.raises(ImproperlyConfigured, match=words):
        configure_from_settings()


async def test_settings_that_come_too_late_are_told_as_django_tells_it() -> None:
    class Served(antiphon.AsyncWebsocketConsumer):
        """Accepts."""

    client = await ASGIClient(Served.as_asgi()).opened()
    with override_settings(ANTIPHON={"outbox_limit": 4096}), pytest.raises(ImproperlyConfigured, match="too late"):
        configure_from_settings()
    await client.leave()


# Without the Django application


def test_a_project_that_only_has_the_layer_is_configured_by_its_settings_once() -> None:
    with override_settings(ANTIPHON={"outbox_limit": 4096}):
        configure_once()
        assert current_app().config.outbox_limit == 4096
        assert is_configured()
    served = current_app()
    with override_settings(ANTIPHON={"outbox_limit": 8192}):
        configure_once()
    assert current_app() is served


def test_without_the_setting_nothing_is_configured() -> None:
    served = current_app()
    configure_once()
    assert current_app() is served
    assert not is_configured()


def test_what_the_code_has_configured_stays() -> None:
    antiphon.configure(outbox_limit=8192)
    with override_settings(ANTIPHON={"outbox_limit": 4096}):
        configure_once()
    assert current_app().config.outbox_limit == 8192


def test_where_the_application_is_installed_it_configures() -> None:
    with (
        modify_settings(INSTALLED_APPS={"append": "antiphon.django"}),
        override_settings(ANTIPHON={"outbox_limit": 4096}),
    ):
        antiphon.configure()  # ready() has read the settings as they were
        configure_once()
        assert not is_configured()


def test_a_mistake_is_told_when_the_layer_is_made() -> None:
    with (
        override_settings(ANTIPHON={"outbox_limits": 1}),
        pytest.raises(ImproperlyConfigured, match="outbox_limits"),
    ):
        configure_once()


# Origins


@pytest.mark.parametrize(
    ("debug", "given", "expected"),
    [(True, {}, True), (False, {}, False), (True, {"localhost_origins": False}, False)],
)
def test_debug_lets_pages_of_localhost_in_unless_the_settings_say_otherwise(
    debug: bool, given: dict[str, Any], expected: bool
) -> None:
    with override_settings(DEBUG=debug, ANTIPHON=given):
        configure_from_settings()
    assert current_app().config.localhost_origins is expected


def test_the_environment_wins_over_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LOCALHOST_ORIGINS", "off")
    with override_settings(DEBUG=True):
        configure_from_settings()
    assert current_app().config.localhost_origins is False


def admits(origin: str) -> bool:
    headers = [(b"host", b"api.test"), (b"origin", origin.encode())]
    return current_app().admits({"type": "websocket", "path": "/", "headers": headers})


TRUSTED = ["https://page.io", "https://*.example.com", "https://*.example.net:8443", "http://localhost:3000"]


def test_pages_that_may_post_forms_may_connect() -> None:
    with override_settings(CSRF_TRUSTED_ORIGINS=TRUSTED):
        configure_from_settings()
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
        configure_from_settings()
        middleware: Any = CsrfViewMiddleware(lambda request: None)
        assert admits(origin) == middleware._origin_verified(request)


def test_the_option_takes_the_place_of_djangos_setting() -> None:
    with override_settings(CSRF_TRUSTED_ORIGINS=TRUSTED, ANTIPHON={"allowed_origins": ["https://other.io"]}):
        configure_from_settings()
    assert admits("https://other.io")
    assert not admits("https://page.io")
    with override_settings(CSRF_TRUSTED_ORIGINS=TRUSTED, ANTIPHON={"allowed_origins": []}):
        configure_from_settings()
    assert not admits("https://page.io")


def test_what_django_trusts_and_is_no_origin_admits_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(CSRF_TRUSTED_ORIGINS=["*", "null", "page.io", "https://*", "https://page.io/", *TRUSTED]):
        configure_from_settings()
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
        configure_from_settings()
