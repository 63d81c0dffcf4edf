"""A Django project with a database, sessions and users; the WebSocket half comes from Channels or from antiphon."""

from __future__ import annotations

import os
from pathlib import Path

CONSUMERS = os.environ.get("BENCH_CONSUMERS", "channels")  # or "antiphon"
AUTH = os.environ.get("BENCH_AUTH", "channels")  # or "antiphon"

SECRET_KEY = "benchmark"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
SESSION_ENGINE = "django.contrib.sessions.backends.db"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).resolve().parents[2] / ".build" / "site.sqlite3",
    }
}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 100_000}}}
