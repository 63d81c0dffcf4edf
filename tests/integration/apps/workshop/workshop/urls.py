"""One page."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path


def page(request: HttpRequest) -> Any:
    """Answer over HTTP."""
    return HttpResponse("the first page")


urlpatterns = [path("", page)]
