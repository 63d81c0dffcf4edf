"""The live side of the rooms: one consumer for each page that is open."""

from __future__ import annotations

from typing import Any

from antiphon import AsyncJsonWebsocketConsumer
from antiphon.exceptions import ClientError
from antiphon.types import PublishRequest, SubscribeRequest
from chat.models import Message, Room, person
from chat.requests import NO_SUCH_ROOM, REMOVED, read_message, read_typing

NOT_LOGGED_IN = 4501  # from 4500 on the browser does not come back by itself


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """Says who may be in a room, and stores what is said before everybody hears it.

    The rest is antiphon's: who comes back gets what it missed, who is here is known, and what a browser publishes twice
    is published once.
    """

    typing_in: str | None = None

    async def connect(self) -> None:
        """Let in who is logged in. ``client_info`` is what the others see."""
        if not self.scope["user"].is_authenticated:
            await self.close(code=NOT_LOGGED_IN, reason="log in first")
            return
        self.client_info = person(self.scope["user"])
        await self.accept()

    async def on_subscribe(self, request: SubscribeRequest) -> bool:
        """Open the room to everybody who was not removed from it."""
        await self.enter(request.group)
        return True

    async def on_publish(self, request: PublishRequest) -> dict[str, Any]:
        """Store the message, and return it as everybody is told it.

        A browser that did not hear the answer asks again: that finds the row of the first time, whether the first time
        came as far as the stream or not. So each message is in both, and in both once.
        """
        room = await self.enter(request.group)
        said = read_message(request.content)
        self.typing_in = None  # a browser takes the message of somebody as the end of their writing
        message, _ = await Message.objects.select_related("author").aget_or_create(
            room=room, author=self.scope["user"], client_id=said.client_id, defaults={"text": said.text}
        )
        return message.as_json()

    async def enter(self, group: str) -> Room:
        """Return the room, or raise ``ClientError``: there is none, or this user was removed from it."""
        room = await Room.objects.of_group(group).afirst()
        if room is None:
            raise ClientError(NO_SUCH_ROOM, "There is no such room.")
        removal = await room.removals_of(self.scope["user"]).afirst()
        if removal is not None:
            raise ClientError(REMOVED, removal.words)
        return room

    # Who is writing: the others are told, and nothing is kept.

    async def receive_json(self, content: Any) -> None:
        """Take what the browser says of the writer."""
        typing = read_typing(content)
        room = await self.enter(typing.group)
        await self.set_typing(room.group, typing.active)

    async def disconnect(self, code: int) -> None:
        """Nobody who has left is still writing."""
        if self.typing_in:
            await self.set_typing(self.typing_in, False)

    async def set_typing(self, group: str, active: bool) -> None:
        """Tell the room whether this user is writing."""
        self.typing_in = group if active else None
        event = {"type": "chat_typing", "author": self.scope["user"].get_username(), "group": group, "active": active}
        await self.channel_layer.group_send(group, event)

    async def chat_typing(self, event: dict[str, Any]) -> None:
        """Runs in each member's consumer, so that it can leave out those who would read about themselves."""
        if event["author"] != self.scope["user"].get_username():
            await self.send_json({**event, "type": "typing"})
