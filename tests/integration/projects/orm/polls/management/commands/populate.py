"""``manage.py populate``: some users, whose password is their name, and a first poll."""

# mypy: ignore-errors
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand
from polls.models import Choice, Poll


class Command(BaseCommand):
    """Creates what a new site needs."""

    def handle(self, **options):
        """Create it."""
        for name in ("ada", "alan", "grace", "kurt"):
            get_user_model().objects.create_user(name, password=name)
        poll = Poll.objects.create(question="Tea or coffee?")
        for text in ("tea", "coffee"):
            Choice.objects.create(poll=poll, text=text)
