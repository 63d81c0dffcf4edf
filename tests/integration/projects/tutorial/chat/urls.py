"""The chat's pages, and two for whoever operates it."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.index),
    path("chat/<str:room>/", views.room),
    path("announce/<str:room>/", views.announce),
    path("count/<str:room>/<int:numbers>/", views.count),
    path("rooms/", views.rooms),
    path("stats", views.stats),
]
