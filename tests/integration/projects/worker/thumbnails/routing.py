"""Which consumer serves which path."""

from django.urls import path

from . import consumers

websocket_urlpatterns = [
    path("ws/channels/", consumers.ChannelsUploads.as_asgi()),
    path("ws/moved/", consumers.MovedUploads.as_asgi()),
]
