"""Which consumer serves which path. All of them share the rooms."""

from django.urls import path

from . import consumers, moved

websocket_urlpatterns = [
    path("ws/first/<str:room>/", consumers.FirstChatConsumer.as_asgi()),
    path("ws/chat/<str:room>/", consumers.ChatConsumer.as_asgi()),
    path("ws/json/<str:room>/", consumers.JsonChatConsumer.as_asgi()),
    path("ws/staff-first/<str:room>/", consumers.FirstStaffConsumer.as_asgi()),
    path("ws/staff/<str:room>/", consumers.StaffConsumer.as_asgi()),
    path("ws/moved-first/<str:room>/", moved.FirstChatConsumer.as_asgi()),
    path("ws/moved/<str:room>/", moved.ChatConsumer.as_asgi()),
]
