"""The project's pages: those of the polls, and Django's for logging in."""

from django.contrib.auth import views
from django.urls import include, path

urlpatterns = [path("accounts/login/", views.LoginView.as_view()), path("", include("polls.urls"))]
