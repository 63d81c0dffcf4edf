"""The project's pages are those of the chat."""

from django.urls import include, path

urlpatterns = [path("", include("chat.urls"))]
