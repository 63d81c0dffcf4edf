"""The live side of a room: one consumer for each connection."""

from __future__ import annotations

from typing import Any

from antiphon import AsyncJsonWebsocketConsumer, publish
from chat.models import Message, Room, person, user_group
from chat.requests import BadRequest, Say, Typing, parse

LOGIN_NEEDED = 4401
NO_SUCH_ROOM = 4404


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """Takes what one browser says and passes it on to everybody in the room."""

    room: Room
    typing = False

    async def connect(self) -> None:
        """Join the room that the URL names."""
        if not self.scope["user"].is_authenticated:
            await self.close(code=LOGIN_NEEDED, reason="log in first")
            return
        room = await Room.objects.filter(slug=self.scope["url_route"]["kwargs"]["slug"]).afirst()
        if room is None:
            await self.close(code=NO_SUCH_ROOM, reason="there is no such room")
            return
        self.room = room
        await self.channel_layer.group_add(room.group, self.channel_name)
        await self.channel_layer.group_add(user_group(self.scope["user"].pk), self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Nobody who has left is still writing."""
        if self.typing:
            await self.set_typing(False)

    async def receive_json(self, content: Any) -> None:
        """Do what the browser asks, or tell it why not."""
        try:
            request = parse(content)
        except BadRequest as problem:
            await self.send_json(problem.answer)
            return
        match request:
            case Say():
                await self.say(request)
            case Typing():
                await self.set_typing(request.active)

    async def say(self, request: Say) -> None:
        """Keep the message, then tell everybody, its author included: the echo is the author's receipt.

        A message that was sent before is not stored again, but told again: the author missed the echo. Browsers drop
        a message whose id they have.
        """
        self.typing = False  # a browser takes the message of somebody as the end of their writing
        message, _ = await Message.objects.select_related("author").aget_or_create(
            room=self.room,
            author=self.scope["user"],
            client_id=request.client_id,
            defaults={"text": request.text},
        )
        await publish(self.room.group, message.as_json())

    async def set_typing(self, active: bool) -> None:
        """Tell the others whether this user is writing."""
        self.typing = active
        event = {"type": "chat_typing", "name": self.scope["user"].get_username(), "active": active}
        await self.channel_layer.group_send(self.room.group, event)

    async def chat_typing(self, event: dict[str, Any]) -> None:
        """Runs in each member's consumer, so that it can leave out those who would read about themselves."""
        if event["name"] != self.scope["user"].get_username():
            await self.send_json({"type": "typing", "author": person(event["name"]), "active": event["active"]})

    async def chat_logout(self, event: dict[str, Any]) -> None:
        """The user has logged out somewhere. Where a session is still good, the browser comes back by itself."""
        await self.close(code=LOGIN_NEEDED, reason="logged out")
