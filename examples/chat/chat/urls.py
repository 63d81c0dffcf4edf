"""The pages, the messages as JSON, and what a moderator does."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from chat import views

urlpatterns = [
    path("", views.rooms, name="rooms"),
    path("rooms/<str:slug>/", views.room, name="room"),
    path("rooms/<str:slug>/messages/", views.messages, name="messages"),
    path("rooms/<str:slug>/people/<int:pk>/remove/", views.remove, name="remove"),
    path("rooms/<str:slug>/people/<int:pk>/allow/", views.allow, name="allow"),
    path("login/", views.LoginPage.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("signup/", views.SignUpPage.as_view(), name="signup"),
]
