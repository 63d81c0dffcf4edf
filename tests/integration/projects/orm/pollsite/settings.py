"""What ``startproject`` makes, cut down."""

import os

SECRET_KEY = "only-for-tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]

INSTALLED_APPS = [
    "antiphon.django",
    "polls",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "pollsite.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["POLLS_DATABASE"],
        "CONN_MAX_AGE": int(os.environ.get("POLLS_CONN_MAX_AGE", "0")),
        "OPTIONS": {"timeout": 20},  # seconds to wait for another writer
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, for tests only
LOGIN_REDIRECT_URL = "/whoami/"
USE_TZ = True

ASGI_APPLICATION = "pollsite.asgi.application"

# Its consumers ask by themselves whose session is over.
ANTIPHON = {"revoke_on_logout": False}
