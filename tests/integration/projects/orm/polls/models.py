"""Polls, who voted in them, and who came by."""

# mypy: ignore-errors
from django.conf import settings
from django.db import models


class Poll(models.Model):
    """A question; everybody may vote once, and clap as often as they like."""

    question = models.CharField(max_length=200)

    @property
    def group(self):
        """The group of those who look at this poll."""
        return f"poll-{self.pk}"


class Choice(models.Model):
    """One answer."""

    poll = models.ForeignKey(Poll, models.CASCADE, related_name="choices")
    text = models.CharField(max_length=200)
    votes = models.IntegerField(default=0)
    claps = models.IntegerField(default=0)


class Ballot(models.Model):
    """That somebody has voted."""

    poll = models.ForeignKey(Poll, models.CASCADE)
    voter = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)

    class Meta:
        """One person, one vote."""

        constraints = [models.UniqueConstraint(fields=["poll", "voter"], name="one_vote")]


class Visit(models.Model):
    """That a connection has ended, and how."""

    name = models.CharField(max_length=150)
    code = models.IntegerField()
