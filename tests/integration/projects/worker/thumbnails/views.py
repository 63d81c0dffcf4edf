"""Pages for whoever operates the gallery."""

# mypy: ignore-errors
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.http import HttpResponse, JsonResponse

import antiphon

from . import consumers


def generate(request, channel, image):
    """Send a job from a view that is not async; nobody waits for an answer."""
    try:
        async_to_sync(get_channel_layer().send)(channel, {"type": "generate", "image": image})
    except ChannelFull:
        return HttpResponse("try again later", status=503)
    return HttpResponse("sent")


async def work(request, count):
    """Let more workers begin."""
    from gallery.asgi import workers

    workers.start(count)
    return HttpResponse("working")


async def done(request):
    """Show which worker did which job."""
    return JsonResponse({"done": consumers.done})


async def waiting(request):
    """Show how many jobs wait in each channel."""
    return JsonResponse({channel: len(jobs) for channel, jobs in get_channel_layer().channels.items() if jobs})


async def stats(request):
    """Show the counters of this process."""
    return JsonResponse(antiphon.stats())
