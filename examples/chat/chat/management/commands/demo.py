"""``python manage.py demo``: what a fresh demo needs, and nothing twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.utils import timezone
from django.utils.text import slugify

from chat.demo_data import ACCOUNTS, MODERATORS, PASSWORD, ROOMS
from chat.models import Message, Room


class Command(BaseCommand):
    """Migrate, then create the demo's accounts and rooms where they are missing."""

    help = "Prepare the database and create two demo accounts and a few rooms, if they do not exist."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it and print what was done."""
        call_command("migrate", verbosity=0)
        self.stdout.write("Database is up to date.")
        users = {name: self.account(name) for name in ACCOUNTS}
        get_user_model().objects.filter(username__in=MODERATORS).update(is_staff=True)
        for name, topic, lines in ROOMS:
            self.room(name, topic, lines, users)

    def account(self, name: str) -> Any:
        """Return the user of this name, created if need be."""
        users = get_user_model().objects
        user = users.filter(username=name).first()
        self.report(user is None, f"account {name} (password {PASSWORD})")
        return user or users.create_user(name, password=PASSWORD)

    def room(self, name: str, topic: str, lines: list[tuple[int, str, str]], users: dict[str, Any]) -> None:
        """Create the room and its lines, unless there is one at its address."""
        room, created = Room.objects.get_or_create(slug=slugify(name), defaults={"name": name, "topic": topic})
        self.report(created, f"room {name}")
        if not created:
            return
        now = timezone.now()
        Message.objects.bulk_create(
            Message(
                room=room,
                author=users[author],
                text=text,
                client_id=uuid4(),
                sent_at=now - timedelta(minutes=minutes),
            )
            for minutes, author, text in lines
        )

    def report(self, created: bool, what: str) -> None:
        """Print one line about one thing."""
        self.stdout.write(f"Created {what}." if created else f"Kept {what}.")
