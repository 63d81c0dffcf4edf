"""The pages, and one JSON view."""

from django.urls import path

from chat import views

urlpatterns = [
    path("", views.rooms, name="rooms"),
    path("rooms/<str:slug>/", views.room, name="room"),
    path("rooms/<str:slug>/messages/", views.messages, name="messages"),
    path("login/", views.LoginPage.as_view(), name="login"),
    path("logout/", views.LogoutPage.as_view(), name="logout"),
    path("signup/", views.SignUpPage.as_view(), name="signup"),
]
