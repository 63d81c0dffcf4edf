"""Where the WebSocket is. One is enough for all rooms: a page subscribes to that which it shows."""

from django.urls import path

from chat.consumers import ChatConsumer

websocket_urlpatterns = [path("ws/", ChatConsumer.as_asgi(wire="centrifuge"))]
