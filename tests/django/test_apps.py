"""The Django application: it configures antiphon when Django is ready."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import modify_settings, override_settings

import antiphon
from antiphon.app import current_app
from antiphon.django import revocation
from antiphon.django.apps import AntiphonConfig


@pytest.fixture(autouse=True)
def _configured_by_nobody() -> Iterator[None]:
    yield
    antiphon.configure()
    revocation.disconnect()


def installed() -> modify_settings:
    return modify_settings(INSTALLED_APPS={"append": "antiphon.django"})


def test_a_project_installs_it_by_the_name_of_the_package() -> None:
    with override_settings(ANTIPHON={"outbox_limit": 4096}), installed():
        application = apps.get_app_config("antiphon")
        assert type(application) is AntiphonConfig
        assert application.name == "antiphon.django"
        assert current_app().config.outbox_limit == 4096


def test_a_mistake_in_the_settings_ends_the_start() -> None:
    with override_settings(ANTIPHON={"outbox_limits": 1}), pytest.raises(ImproperlyConfigured, match="outbox_limits"):
        installed().enable()
    assert not apps.is_installed("antiphon.django")


def test_it_hears_who_logs_out_unless_it_is_told_not_to() -> None:
    with override_settings(ANTIPHON={"revoke_on_logout": False}), installed():
        assert not user_logged_out.has_listeners()
    with installed():
        assert user_logged_out.has_listeners()
