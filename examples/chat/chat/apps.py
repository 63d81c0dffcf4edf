"""The chat as a Django application."""

from django.apps import AppConfig


class ChatAppConfig(AppConfig):
    """Rooms, the messages in them, and the WebSocket that makes them live."""

    name = "chat"
