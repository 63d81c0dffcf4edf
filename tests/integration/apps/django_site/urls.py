"""HTTP: antiphon's counters, for the test's eyes, and a view that publishes from sync code."""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import path

import antiphon


def stats(request: HttpRequest) -> Any:
    """Return the counters of this process."""
    return JsonResponse(antiphon.stats())


def announce(request: HttpRequest) -> Any:
    """Tell the group from a sync view, through the handler and by ``publish``."""
    content = request.GET["content"]
    antiphon.sync.group_send("my_group", {"type": "send_response", "content": content})
    position = antiphon.sync.publish("my_group", {"type": "published", "content": content})
    return JsonResponse({"offset": position.offset})


urlpatterns = [path("stats", stats), path("announce", announce)]
