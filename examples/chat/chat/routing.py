"""Where the WebSockets are."""

from django.urls import path

from chat.consumers import ChatConsumer

websocket_urlpatterns = [path("ws/rooms/<str:slug>/", ChatConsumer.as_asgi())]
