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
