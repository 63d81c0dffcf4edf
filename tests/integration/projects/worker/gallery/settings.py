"""What ``startproject`` makes, cut down, with a layer whose options are Channels'."""

import os

SECRET_KEY = "only-for-tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]

INSTALLED_APPS = ["channels", "thumbnails"]  # channels: for manage.py runworker
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "gallery.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django.channels": {"handlers": ["console"], "level": "INFO"}},
}

ASGI_APPLICATION = "gallery.asgi.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "antiphon.channels.ChannelLayer",
        "CONFIG": {
            "expiry": float(os.environ.get("GALLERY_EXPIRY", "60")),
            "capacity": int(os.environ.get("GALLERY_CAPACITY", "1000")),
        },
    },
}
