"""Settings of the chat example.

Everything has a default that suits a look around on one's own machine; the environment overrides it:
``CHAT_DEBUG`` (1 or 0), ``CHAT_SECRET_KEY`` (needed when debug is off), ``CHAT_DATABASE`` (path of the SQLite file),
``CHAT_HOSTS`` (host names, separated by commas); antiphon's own too, such as ``ANTIPHON_ENGINE``.
"""

import os
from pathlib import Path
from urllib.parse import quote

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("CHAT_DEBUG", "1").lower() not in {"0", "false", "no", "off", ""}
SECRET_KEY = os.environ["CHAT_SECRET_KEY"] if not DEBUG else os.environ.get("CHAT_SECRET_KEY", "only-for-the-demo")
ALLOWED_HOSTS = os.environ.get("CHAT_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    "antiphon.django",  # first: its runserver serves WebSockets
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "chat",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("CHAT_DATABASE", str(BASE_DIR / "db.sqlite3")),
        "OPTIONS": {"timeout": 20},  # seconds to wait for another writer
    },
}
WEEK = 7 * 24 * 3600
ANTIPHON = {
    # What is said, and who is here, is known to all processes, and is still there after a restart.
    "engine": f"sqlite:///{quote(str(BASE_DIR / 'stream.sqlite3'))}",
    "rules": {
        "room:*": {
            "history_size": 1000,  # who comes back gets what it missed: so many messages,
            "history_lifetime": WEEK,  # and so old ones; where that is not all, its page is told
            "idempotency_window": WEEK,  # so long a browser may be offline without saying something twice
            "presence": "members",
            "join_leave": True,
        },
    },
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "rooms"
LOGOUT_REDIRECT_URL = "login"

USE_TZ = True
TIME_ZONE = "UTC"  # the browser shows each time in the reader's own zone
LANGUAGE_CODE = "en"

STATIC_URL = "static/"
