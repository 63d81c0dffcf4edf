"""The pages, the messages as JSON, and what a moderator does."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django.views.generic import FormView

from antiphon import sync
from chat.demo_data import ACCOUNTS, PASSWORD
from chat.forms import LoginForm, RoomForm, SignUpForm
from chat.models import Message, Room, person

View = Callable[..., HttpResponse]
LARGEST_ID = 2**63 - 1  # SQLite's

# Close codes: with these a browser comes back.
REMOVED = 4403
ALLOWED = 4200


class LoginPage(LoginView):
    """Log in. While debugging, the demo's accounts are offered too."""

    template_name = "chat/login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the demo's accounts that exist."""
        demo = get_user_model().objects.filter(username__in=ACCOUNTS).order_by("username") if settings.DEBUG else []
        return super().get_context_data(demo_accounts=list(demo), demo_password=PASSWORD, **kwargs)


class SignUpPage(FormView):
    """Create an account and enter with it."""

    template_name = "chat/signup.html"
    form_class = SignUpForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the rooms to those who have an account."""
        if request.user.is_authenticated:
            return redirect("rooms")
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        """Log the new user in."""
        login(self.request, form.save())
        return redirect("rooms")


@never_cache
@login_required
def rooms(request: HttpRequest) -> HttpResponse:
    """List the rooms, and open a new one."""
    form = RoomForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        return redirect(form.save())
    return render(request, "chat/rooms.html", {"rooms": Room.objects.with_latest(), "form": form})


@never_cache
@login_required
@require_GET
def room(request: HttpRequest, slug: str) -> HttpResponse:
    """One room. The template reads the messages, behind the position of the room's stream; the rest is for chat.js."""
    room = get_object_or_404(Room, slug=slug)
    removal = room.removals_of(request.user).first()
    if removal is not None:
        return render(request, "chat/removed.html", {"removal": removal}, status=403)
    data = {
        "me": {"id": str(request.user.pk), **person(request.user)},
        "room": room.name,
        "group": room.group,
        "max_length": Message.MAX_LENGTH,
        "messages_path": reverse("messages", args=[room.slug]),
        "people_path": f"{room.get_absolute_url()}people/",
    }
    return render(request, "chat/room.html", {"room": room, "rooms": Room.objects.with_latest(), "room_data": data})


@never_cache
@require_GET
def messages(request: HttpRequest, slug: str) -> JsonResponse:
    """Messages of a room as JSON: ``?after=ID`` what came since, ``?before=ID`` what went before.

    Answers ``{"messages": [...], "more": bool}``, oldest first; 401 to those who are not logged in, 403 to those who
    were removed, 404 when there is no such room, 400 for an id that is none.
    """
    if not request.user.is_authenticated:
        return JsonResponse({"reason": "Log in first."}, status=401)
    room = Room.objects.filter(slug=slug).first()
    if room is None:
        return JsonResponse({"reason": "There is no such room."}, status=404)
    removal = room.removals_of(request.user).first()
    if removal is not None:
        return JsonResponse({"reason": removal.words}, status=403)
    try:
        page = room.messages.page(after=_id(request, "after"), before=_id(request, "before"))
    except ValueError:
        return JsonResponse({"reason": "after and before are ids of messages."}, status=400)
    return JsonResponse({"messages": [message.as_json() for message in page.messages], "more": page.more})


def moderators(view: View) -> View:
    """Let only those in who may remove others; all else is 403."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_staff:
            return HttpResponseForbidden("This is for moderators.")
        return view(request, *args, **kwargs)

    return checked


@require_POST
@moderators
def remove(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Close somebody's connections, wherever they are, and keep them out of the room. Answers with who is removed.

    The order counts: who comes back at once finds the removal. From 4000 to 4499 browsers do come back, because the
    person may have other rooms open.
    """
    room = get_object_or_404(Room, slug=slug)
    user = get_object_or_404(get_user_model(), pk=pk, is_staff=False)
    removal, _ = room.removals.get_or_create(user=user, defaults={"by": request.user})
    sync.kick(str(pk), code=REMOVED, reason=removal.words)
    return render(request, "chat/_removed.html", {"room": room})


@require_POST
@moderators
def allow(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Let somebody in again; their pages connect anew, and try. Answers with who is still removed."""
    room = get_object_or_404(Room, slug=slug)
    room.removals.filter(user=pk).delete()
    sync.kick(str(pk), code=ALLOWED, reason="you are allowed again")
    return render(request, "chat/_removed.html", {"room": room})


def _id(request: HttpRequest, name: str) -> int | None:
    """Return the id in the query string, or None; raise ValueError if it is none."""
    text = request.GET.get(name)
    if text is None:
        return None
    number = int(text)
    if not 0 <= number <= LARGEST_ID:
        raise ValueError(name)
    return number
