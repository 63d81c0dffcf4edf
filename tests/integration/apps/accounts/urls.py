"""Views that do what their name says to the user of the session."""

from typing import Any

from django.contrib.auth import alogout, authenticate, get_user_model, login, logout
from django.contrib.auth import update_session_auth_hash as keep_session
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

import antiphon


def log_in(request: HttpRequest, name: str) -> Any:
    """Log in; the user's password is the name, or what the query says."""
    user = authenticate(request, username=name, password=request.GET.get("password", name))
    login(request, user)
    return HttpResponse(str(user.pk))


def log_out(request: HttpRequest) -> Any:
    """Log out."""
    logout(request)
    return HttpResponse()


async def log_out_async(request: HttpRequest) -> Any:
    """Log out, in async code."""
    await alogout(request)
    return HttpResponse()


def change_password(request: HttpRequest, password: str) -> Any:
    """Do what Django's ``PasswordChangeView`` does."""
    request.user.set_password(password)
    request.user.save()
    keep_session(request, request.user)
    return HttpResponse()


def deactivate(request: HttpRequest, name: str) -> Any:
    """Do what the admin does."""
    user = get_user_model().objects.get(username=name)
    user.is_active = False
    user.save()
    return HttpResponse()


def delete(request: HttpRequest, name: str) -> Any:
    """Do what the admin does."""
    get_user_model().objects.filter(username=name).delete()
    return HttpResponse()


def who_am_i(request: HttpRequest) -> Any:
    """Return the user's name, or nothing."""
    return HttpResponse(request.user.get_username())


def create(request: HttpRequest, name: str) -> Any:
    """Make a user."""
    get_user_model().objects.create_user(name, password=name)
    return HttpResponse()


def stats(request: HttpRequest) -> Any:
    """Return the counters of this process."""
    return JsonResponse(antiphon.stats())


urlpatterns = [
    path("create/<name>", create),
    path("login/<name>", log_in),
    path("logout", log_out),
    path("logout-async", log_out_async),
    path("password/<password>", change_password),
    path("deactivate/<name>", deactivate),
    path("delete/<name>", delete),
    path("whoami", who_am_i),
    path("stats", stats),
]
