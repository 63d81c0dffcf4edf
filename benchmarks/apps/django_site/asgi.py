"""Channels' routing and a session stack around one consumer; only where the two are imported from differs."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.apps.django_site.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.urls import path  # noqa: E402

from benchmarks.apps.django_site.consumers import Chat  # noqa: E402

if settings.AUTH == "antiphon":
    from antiphon.django.auth import AuthMiddlewareStack
else:
    from channels.auth import AuthMiddlewareStack

app = ProtocolTypeRouter(
    {"http": http, "websocket": AuthMiddlewareStack(URLRouter([path("ws/<str:room>/", Chat.as_asgi())]))}
)
