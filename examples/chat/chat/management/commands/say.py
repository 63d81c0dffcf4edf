"""``python manage.py say general alan "Hello from a shell"``: the server hears it, or finds it when it starts."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from antiphon import sync
from chat.models import Message, Room


class Command(BaseCommand):
    """Store a message and publish it, from a process that serves nobody."""

    help = "Say something in a room."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a room, a name and the words."""
        parser.add_argument("room", help="the last part of the room's address")
        parser.add_argument("author", help="the name of an account")
        parser.add_argument("text")

    def handle(self, *args: Any, room: str, author: str, text: str, **options: Any) -> None:
        """Do it and print where it stands in the room's stream."""
        try:
            where = Room.objects.get(slug=room)
            who = get_user_model().objects.get(username=author)
        except (Room.DoesNotExist, get_user_model().DoesNotExist) as problem:
            raise CommandError(str(problem)) from None
        message = Message.objects.create(room=where, author=who, text=text, client_id=uuid4())
        position = sync.publish(where.group, message.as_json())
        self.stdout.write(f"Said, as number {position.offset} of {where.group}.")
