"""Pages for whoever operates the gallery."""

from django.urls import path

from . import views

urlpatterns = [
    path("generate/<str:channel>/<int:image>/", views.generate),
    path("work/<int:count>/", views.work),
    path("done/", views.done),
    path("waiting/", views.waiting),
    path("stats", views.stats),
]
