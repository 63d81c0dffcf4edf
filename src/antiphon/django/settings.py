"""``ANTIPHON = {…}`` in a project's settings: antiphon's options by name.

Two options have defaults of Django's: ``localhost_origins`` is ``DEBUG``, and ``allowed_origins`` is
``CSRF_TRUSTED_ORIGINS``: the pages that may post forms may connect.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from antiphon.app import configure, is_configured
from antiphon.exceptions import ConfigurationError
from antiphon.origins import Origins

__all__ = ["configure_from_settings", "configure_once"]

logger = logging.getLogger("antiphon")


def configure_from_settings() -> None:
    """Configure antiphon by the settings; raise ``ImproperlyConfigured`` for what can't be."""
    options: Any = getattr(settings, "ANTIPHON", {})
    if not isinstance(options, dict):
        raise ImproperlyConfigured(f"ANTIPHON in the settings is {type(options).__name__}; it is a dict of options")
    defaults: dict[str, Any] = {"localhost_origins": bool(settings.DEBUG)}
    if "allowed_origins" not in options:
        defaults["allowed_origins"] = list(_trusted_origins())
    try:
        configure(**{**defaults, **options})
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"ANTIPHON in the settings: {error}") from error


def configure_once() -> None:
    """Configure antiphon for a project that has ``ANTIPHON`` in its settings, but not the Django application."""
    if hasattr(settings, "ANTIPHON") and not apps.is_installed("antiphon.django") and not is_configured():
        configure_from_settings()


def _trusted_origins() -> Iterator[str]:
    """Return what ``CSRF_TRUSTED_ORIGINS`` trusts, as antiphon writes it."""
    for entry in settings.CSRF_TRUSTED_ORIGINS:
        if "://" not in entry or not _is_origin(entry):
            logger.warning("CSRF_TRUSTED_ORIGINS has %r, which is no origin: its pages can't open WebSockets", entry)
            continue
        yield entry
        if "://*." in entry:
            yield entry.replace("*.", "", 1)  # Django's wildcard is for the name itself as well


def _is_origin(entry: str) -> bool:
    try:
        Origins([entry], localhost=False)
    except ConfigurationError:
        return False
    return True
