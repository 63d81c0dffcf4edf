"""Everything over HTTP; the WebSocket's routes are in ``chat/routing.py``."""

from django.urls import include, path

urlpatterns = [path("", include("chat.urls"))]
