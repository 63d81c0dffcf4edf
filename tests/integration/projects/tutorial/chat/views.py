"""The chat's pages."""

from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

import antiphon


def index(request: HttpRequest) -> Any:
    """Ask for a room."""
    return render(request, "chat/index.html")


def room(request: HttpRequest, room: str) -> Any:
    """Show a room."""
    return render(request, "chat/room.html", {"room": room})


def announce(request: HttpRequest, room: str) -> Any:
    """Say something to a room, from a view that is not async."""
    event = {"type": "chat.message", "message": request.GET["message"]}
    async_to_sync(get_channel_layer().group_send)(f"chat_{room}", event)
    return HttpResponse("announced")


def count(request: HttpRequest, room: str, numbers: int) -> Any:
    """Say many things to a room, as fast as it goes."""

    async def say() -> None:
        for number in range(numbers):
            event = {"type": "chat.message", "message": f"number {number}"}
            await get_channel_layer().group_send(f"chat_{room}", event)

    async_to_sync(say)()
    return HttpResponse("counted")


async def rooms(request: HttpRequest) -> Any:
    """Tell how many are in each room."""
    return JsonResponse({group: len(channels) for group, channels in get_channel_layer().groups.items()})


async def stats(request: HttpRequest) -> Any:
    """Show the counters of this process."""
    return JsonResponse(antiphon.stats())
