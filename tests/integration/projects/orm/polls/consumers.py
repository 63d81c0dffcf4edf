"""One consumer that is not async and uses the ORM as a view does, and an async one beside it."""

# mypy: ignore-errors
import threading

from asgiref.sync import async_to_sync
from channels.auth import get_user, login, logout
from channels.db import database_sync_to_async
from django.contrib.auth import authenticate
from django.db import transaction
from django.db.models import F

from antiphon import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer, sync

from .models import Ballot, Choice, Poll, Visit

#: What a vote waits for within its transaction, if it is told to.
returning_officer = threading.Event()


def clap(poll: int, choice: int) -> int:
    """Count one more clap."""
    return Choice.objects.filter(poll_id=poll, pk=choice).update(claps=F("claps") + 1)


def look(poll, choice):
    """Return what is known of a choice."""
    choice = Choice.objects.get(poll_id=poll, pk=choice)
    return {"text": choice.text, "votes": choice.votes, "claps": choice.claps}


class PollConsumer(JsonWebsocketConsumer):
    def connect(self):
        self.poll = Poll.objects.filter(pk=self.scope["url_route"]["kwargs"]["poll"]).first()
        if self.poll is None:
            self.close()
            return
        async_to_sync(self.channel_layer.group_add)(self.poll.group, self.channel_name)
        self.accept()
        self.send_json({"question": self.poll.question, "user": self.scope["user"].get_username()})

    def disconnect(self, code):
        Visit.objects.create(name=self.scope["user"].get_username(), code=code)

    def receive_json(self, content):
        getattr(self, "do_" + content.pop("do"))(**content)

    def do_vote(self, choice, wait=False):
        with transaction.atomic():
            Choice.objects.filter(poll=self.poll, pk=choice).update(votes=F("votes") + 1)
            event = {"type": "vote.counted", "choice": choice, "by": self.scope["user"].get_username()}
            transaction.on_commit(lambda: async_to_sync(self.channel_layer.group_send)(self.poll.group, event))
            Ballot.objects.create(poll=self.poll, voter=self.scope["user"])
            if wait:
                returning_officer.clear()
                sync.group_send(self.poll.group, {**event, "type": "vote.cast"})
                assert returning_officer.wait(20)

    def do_clap(self, choice):
        if not clap(self.poll.pk, choice):
            raise Choice.DoesNotExist(f"there is no choice {choice} in poll {self.poll.pk}")
        self.send_json({"clapped": choice})

    def do_look(self, choice):
        self.send_json(look(self.poll.pk, choice))

    def do_count(self, to):
        """Send many messages in one turn."""
        for number in range(to):
            self.send_json({"number": number})

    def do_log_in(self, username, password):
        user = authenticate(username=username, password=password)
        if user is None:
            self.send_json({"refused": username})
            return
        async_to_sync(login)(self.scope, user)
        self.scope["session"].save()
        self.send_json({"user": self.scope["user"].get_username(), "session": self.scope["session"].session_key})

    def do_log_out(self):
        async_to_sync(logout)(self.scope)
        self.send_json({"user": self.scope["user"].get_username()})

    def do_who(self):
        """Say who this is now, by the session in the database."""
        user = async_to_sync(get_user)(self.scope)
        self.send_json({"user": user.get_username()})

    def do_change_password(self, password):
        user = self.scope["user"]
        user.set_password(password)
        user.save()
        self.send_json({"changed": user.get_username()})

    def vote_cast(self, event):
        pass

    def vote_counted(self, event):
        self.send_json({"by": event["by"], "votes": look(self.poll.pk, event["choice"])["votes"]})


class ResultsConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.poll = await Poll.objects.aget(pk=self.scope["url_route"]["kwargs"]["poll"])
        await self.channel_layer.group_add(self.poll.group, self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        choice = content["choice"]
        if content["do"] == "look":
            await self.send_json(await database_sync_to_async(look)(self.poll.pk, choice))
        elif content["do"] == "clap":
            await database_sync_to_async(clap)(self.poll.pk, choice)
            await self.send_json({"clapped": choice})

    async def vote_cast(self, event):
        await self.send_json({"cast by": event["by"]})

    async def vote_counted(self, event):
        counted = await database_sync_to_async(look)(self.poll.pk, event["choice"])
        await self.send_json({"counted by": event["by"], "votes": counted["votes"]})
