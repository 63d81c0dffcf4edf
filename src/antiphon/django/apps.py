"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig

from antiphon.django.settings import configure_from_settings

__all__ = ["AntiphonConfig"]


class AntiphonConfig(AppConfig):
    """Configures antiphon from ``settings.ANTIPHON`` (``antiphon.django.settings``)."""

    name = "antiphon.django"
    label = "antiphon"
    verbose_name = "antiphon"

    def ready(self) -> None:
        """Read the settings."""
        configure_from_settings()
