"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig

from antiphon.app import current_app
from antiphon.django.settings import configure_from_settings

__all__ = ["AntiphonConfig"]


class AntiphonConfig(AppConfig):
    """Configures antiphon from ``settings.ANTIPHON``, and tells it who logs out (``antiphon.django.revocation``)."""

    name = "antiphon.django"
    label = "antiphon"
    verbose_name = "antiphon"

    def ready(self) -> None:
        """Read the settings."""
        configure_from_settings()
        if current_app().config.revoke_on_logout:
            from antiphon.django import revocation  # imports what needs models

            revocation.connect()
