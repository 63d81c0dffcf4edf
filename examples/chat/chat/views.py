"""The pages, and the JSON view that a browser reads what it missed from."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from django.views.generic import FormView

from antiphon import sync
from chat.demo_data import ACCOUNTS, PASSWORD
from chat.forms import LoginForm, RoomForm, SignUpForm
from chat.models import Message, Room, user_group

LARGEST_ID = 2**63 - 1  # SQLite's


class LoginPage(LoginView):
    """Log in. While debugging, the demo's accounts are offered too."""

    template_name = "chat/login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the demo's accounts that exist."""
        demo = get_user_model().objects.filter(username__in=ACCOUNTS).order_by("username") if settings.DEBUG else []
        return super().get_context_data(demo_accounts=list(demo), demo_password=PASSWORD, **kwargs)


class LogoutPage(LogoutView):
    """Log out, of the open rooms too. Speaks to a group from a synchronous view."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """End the session, then the user's connections."""
        user_id = request.user.pk
        response = super().post(request, *args, **kwargs)
        if user_id is not None:
            sync.group_send(user_group(user_id), {"type": "chat_logout"})
        return response


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
    """One room. ``room_data`` is all that ``chat.js`` starts from."""
    room = get_object_or_404(Room, slug=slug)
    latest, more = room.messages.page()
    data = {
        "me": request.user.get_username(),
        "room": room.name,
        "max_length": Message.MAX_LENGTH,
        "socket_path": f"/ws{room.get_absolute_url()}",
        "messages_path": reverse("messages", args=[room.slug]),
        "messages": [message.as_json() for message in latest],
        "more": more,
    }
    return render(request, "chat/room.html", {"room": room, "rooms": Room.objects.with_latest(), "room_data": data})


@never_cache
@require_GET
def messages(request: HttpRequest, slug: str) -> JsonResponse:
    """Messages of a room as JSON: ``?after=ID`` what came since, ``?before=ID`` what went before.

    Answers ``{"messages": [...], "more": bool}``, oldest first; 401 to those who are not logged in, 404 when there is
    no such room, 400 for an id that is none.
    """
    if not request.user.is_authenticated:
        return JsonResponse({"reason": "Log in first."}, status=401)
    room = Room.objects.filter(slug=slug).first()
    if room is None:
        return JsonResponse({"reason": "There is no such room."}, status=404)
    try:
        page, more = room.messages.page(after=_id(request, "after"), before=_id(request, "before"))
    except ValueError:
        return JsonResponse({"reason": "after and before are ids of messages."}, status=400)
    return JsonResponse({"messages": [message.as_json() for message in page], "more": more})


def _id(request: HttpRequest, name: str) -> int | None:
    """Return the id in the query string, or None; raise ValueError if it is none."""
    text = request.GET.get(name)
    if text is None:
        return None
    number = int(text)
    if not 0 <= number <= LARGEST_ID:
        raise ValueError(name)
    return number
