"""The project's pages."""

from django.urls import include, path

urlpatterns = [path("", include("thumbnails.urls"))]
