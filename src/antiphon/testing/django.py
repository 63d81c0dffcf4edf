"""What Django's settings say is to be served."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from antiphon.exceptions import UsageError

__all__ = ["default_application", "default_path", "host_allowed"]


def default_path() -> str:
    """Return ``ASGI_APPLICATION`` as ``"module:application"``. Raises ``UsageError`` where there is none."""
    module, _, name = _setting().rpartition(".")
    return f"{module}:{name}"


def default_application() -> Any:
    """Return the application that ``ASGI_APPLICATION`` names, with static files before it where the project has them.

    Raises ``UsageError`` where there is none.
    """
    path = _setting()
    from django.apps import apps
    from django.utils.module_loading import import_string

    try:
        application = import_string(path)
    except ImportError as error:
        raise UsageError(f"ASGI_APPLICATION {path!r} can't be loaded: {error}") from error
    if apps.is_installed("django.contrib.staticfiles"):
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        return ASGIStaticFilesHandler(application)
    return application


def host_allowed(host: str) -> contextlib.AbstractContextManager[None]:
    """Return a context in which ``host`` is one of ``ALLOWED_HOSTS``, if Django is used: tests turn DEBUG off."""
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return contextlib.nullcontext()
    from django.test.utils import modify_settings

    context: contextlib.AbstractContextManager[None] = modify_settings(ALLOWED_HOSTS={"append": host})
    return context


def _setting() -> str:
    """Return ``ASGI_APPLICATION``."""
    give = "give live_antiphon() the application to serve"
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
    except ImportError:
        raise UsageError(f"Django is not installed, so there is no ASGI_APPLICATION: {give}") from None
    try:
        path = getattr(settings, "ASGI_APPLICATION", None)
    except ImproperlyConfigured as error:
        raise UsageError(f"Django has no settings here ({error}): {give}, or set DJANGO_SETTINGS_MODULE") from error
    if not path:
        raise UsageError(f"ASGI_APPLICATION is not in Django's settings: {give}, or name it there")
    return str(path)
