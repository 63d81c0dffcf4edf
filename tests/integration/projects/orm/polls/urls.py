"""The polls' pages, and some for whoever operates them."""

from django.urls import path

from . import views

urlpatterns = [
    path("whoami/", views.who_am_i),
    path("ask/", views.ask),
    path("results/<int:poll>/", views.results),
    path("clap/<int:poll>/<int:choice>/", views.clap),
    path("return/", views.return_the_vote),
    path("visits/", views.visits),
    path("connections/", views.connections),
    path("stats", views.stats),
]
