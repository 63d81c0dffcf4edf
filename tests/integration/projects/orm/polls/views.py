"""The polls' pages."""

import os
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

import antiphon

from .consumers import clap as count_clap
from .consumers import returning_officer
from .models import Choice, Poll, Visit


def who_am_i(request: HttpRequest) -> Any:
    """Tell who has logged in."""
    return HttpResponse(request.user.get_username())


def ask(request: HttpRequest) -> Any:
    """Ask a new question."""
    poll = Poll.objects.create(question="Tea or coffee?")
    choices = [Choice.objects.create(poll=poll, text=text) for text in ("tea", "coffee")]
    return JsonResponse({"poll": poll.pk, **{choice.text: choice.pk for choice in choices}})


def results(request: HttpRequest, poll: int) -> Any:
    """Show the votes and claps of each choice."""
    choices = Choice.objects.filter(poll_id=poll)
    return JsonResponse({choice.text: {"votes": choice.votes, "claps": choice.claps} for choice in choices})


def clap(request: HttpRequest, poll: int, choice: int) -> Any:
    """Count a clap, in the thread of this request."""
    return JsonResponse({"clapped": count_clap(poll, choice)})


def return_the_vote(request: HttpRequest) -> Any:
    """Let a vote go on that waits within its transaction."""
    returning_officer.set()
    return HttpResponse("returned")


def visits(request: HttpRequest) -> Any:
    """Show who came by, and how that ended."""
    return JsonResponse({"visits": list(Visit.objects.order_by("pk").values_list("name", "code"))})


async def connections(request: HttpRequest) -> Any:
    """Tell how many connections this process has to the database: how often its file is open."""
    database = os.path.realpath(settings.DATABASES["default"]["NAME"])
    return HttpResponse(str([_file(number) for number in os.listdir("/proc/self/fd")].count(database)))


def _file(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:  # another thread has closed it meanwhile
        return ""


async def stats(request: HttpRequest) -> Any:
    """Show the counters of this process."""
    return JsonResponse(antiphon.stats())
