"""The Django application."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from antiphon import configure
from antiphon.exceptions import ConfigurationError

__all__ = ["AntiphonConfig"]


class AntiphonConfig(AppConfig):
    """Configures antiphon from ``settings.ANTIPHON``, a dict of options by name."""

    name = "antiphon.django"
    label = "antiphon"
    verbose_name = "antiphon"

    def ready(self) -> None:
        """Read the settings."""
        options: Any = getattr(settings, "ANTIPHON", {})
        if not isinstance(options, dict):
            raise ImproperlyConfigured(f"ANTIPHON in the settings is {type(options).__name__}; it is a dict of options")
        try:
            configure(**options)
        except ConfigurationError as error:
            raise ImproperlyConfigured(f"ANTIPHON in the settings: {error}") from error
