"""Rooms, the messages in them, and who was removed from them."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from chat import avatars

PAGE_SIZE = 50  # messages in one answer: the room's page, and each look further back or forward
GROUP = "room:"  # begins the names of the groups; the rule in settings.py is for these


class RoomQuerySet(models.QuerySet):
    """Rooms, and what a list of rooms shows of them."""

    def of_group(self, group: str) -> RoomQuerySet:
        """Return the room whose group has this name, if there is one."""
        return self.filter(slug=group.removeprefix(GROUP)) if group.startswith(GROUP) else self.none()

    def with_latest(self) -> RoomQuerySet:
        """Add each room's ``latest_text``, ``latest_author`` and ``latest_at``; put the liveliest room first."""
        latest = Message.objects.filter(room=models.OuterRef("pk")).order_by("-pk")
        return self.annotate(
            latest_text=models.Subquery(latest.values("text")[:1]),
            latest_author=models.Subquery(latest.values("author__username")[:1]),
            latest_at=models.Subquery(latest.values("sent_at")[:1]),
        ).order_by(models.functions.Coalesce("latest_at", "created_at").desc())


class Room(models.Model):
    """A place to talk. Whoever is logged in may enter."""

    name = models.CharField(max_length=40, unique=True)
    slug = models.SlugField(max_length=40, unique=True, allow_unicode=True)
    topic = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = RoomQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the path of the room's page."""
        return reverse("room", args=[self.slug])

    @property
    def group(self) -> str:
        """The group that everybody in this room is in."""
        return f"{GROUP}{self.slug}"

    def removals_of(self, user: Any) -> models.QuerySet[Removal]:
        """Return what keeps ``user`` out of this room: one removal, or none."""
        return self.removals.filter(user=user).select_related("room", "by")


class Page(NamedTuple):
    """Some of a room's messages, oldest first, and whether there is more beyond them."""

    messages: list[Message]
    more: bool


class MessageQuerySet(models.QuerySet):
    """Messages, in pages of ``PAGE_SIZE``, oldest first."""

    def page(self, *, after: int | None = None, before: int | None = None) -> Page:
        """Return a page.

        With ``after``, the oldest messages that came after that id; with ``before``, the latest that came before it;
        with neither, the latest.
        """
        messages = self.select_related("author")
        if after is not None:
            found = list(messages.filter(pk__gt=after).order_by("pk")[: PAGE_SIZE + 1])
            return Page(found[:PAGE_SIZE], len(found) > PAGE_SIZE)
        if before is not None:
            messages = messages.filter(pk__lt=before)
        found = list(messages.order_by("-pk")[: PAGE_SIZE + 1])
        return Page(found[:PAGE_SIZE][::-1], len(found) > PAGE_SIZE)


class Message(models.Model):
    """What somebody said in a room.

    ``client_id`` is made by the browser that sent it: a message that is sent again, because the connection was lost
    before the answer came, is stored once.
    """

    MAX_LENGTH = 2000  # characters

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    text = models.TextField(max_length=MAX_LENGTH)
    client_id = models.UUIDField()
    sent_at = models.DateTimeField(default=timezone.now)

    objects = MessageQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["room", "author", "client_id"], name="chat_message_once")]
        indexes = [models.Index(fields=["room", "id"], name="chat_message_room_id")]

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:40]}"

    def as_json(self) -> dict[str, Any]:
        """Return the message as browsers get it, from the stream and from the JSON view alike."""
        return {
            "id": self.pk,
            "author": person(self.author),
            "text": self.text,
            "sent_at": self.sent_at.isoformat(),
            "client_id": self.client_id.hex,
        }


class Removal(models.Model):
    """Somebody may not be in a room any more, until a moderator allows it again."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="removals")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["room", "user"], name="chat_removal_once")]
        ordering = ["at"]

    def __str__(self) -> str:
        return f"{self.user}, from {self.room}"

    @property
    def words(self) -> str:
        """What the removed person reads."""
        return f"{self.by} has removed you from {self.room}."


def person(user: Any) -> dict[str, Any]:
    """Return somebody as browsers get them: a name, what to draw for it, and whether they may remove others."""
    name = user.get_username()
    return {
        "name": name,
        "initials": avatars.initials(name),
        "colour": avatars.colour(name),
        "moderator": user.is_staff,
    }
