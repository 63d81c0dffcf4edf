"""Which consumer serves which path."""

from django.urls import path

from . import consumers

websocket_urlpatterns = [
    path("ws/polls/<int:poll>/", consumers.PollConsumer.as_asgi()),
    path("ws/results/<int:poll>/", consumers.ResultsConsumer.as_asgi()),
]
