"""A member that is the real SDK: centrifuge-python, in either encoding."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from centrifuge import (
    Client,
    ClientEventHandler,
    ConnectingContext,
    DisconnectedContext,
    PublicationContext,
    ServerPublicationContext,
    ServerSubscribedContext,
    SubscribedContext,
    SubscribingContext,
    Subscription,
    SubscriptionErrorContext,
    SubscriptionEventHandler,
    SubscriptionState,
    UnsubscribedContext,
)
from centrifuge.client import ClientState

from antiphon.types import Position

from .line import Line
from .member import HANDSHAKE, Member
from .trail import Trail

__all__ = ["SdkMember"]


class SdkMember(Member):
    """What it gets is what the SDK's handlers get. It hears no events: this SDK has no place for them."""

    def __init__(
        self, name: str, line: Line, groups: Iterable[str], *, protobuf: bool, by_server: bool = False
    ) -> None:
        super().__init__(name, line, groups)
        self.wire = f"SDK {'Protobuf' if protobuf else 'JSON'}"
        self.decode = json.loads if protobuf else _as_it_is
        self._by_server = by_server
        self.subscribed: set[str] = set()
        """What the application has subscribed it to, where it does."""
        self.subscriptions: dict[str, Subscription] = {}
        path = f"/connection?groups={','.join(self.groups)}" if by_server else "/connection"
        self._client = Client(
            self.url(path),
            events=_OfClient(self),
            use_protobuf=protobuf,
            timeout=HANDSHAKE,
            min_reconnect_delay=0.02,
            max_reconnect_delay=0.3,
            proxy=None,
        )

    async def start(self) -> None:
        """Begin to connect, again and again."""
        if not self._by_server:
            for group, trail in self.trails.items():
                self.subscriptions[group] = self._client.new_subscription(
                    group,
                    events=_OfSubscription(self, trail),
                    min_resubscribe_delay=0.02,
                    max_resubscribe_delay=0.3,
                )
        await self._client.connect()
        for subscription in self.subscriptions.values():
            await subscription.subscribe()

    async def stop(self) -> None:
        """Be no client any more."""
        await self._client.disconnect()

    @property
    def is_settled(self) -> bool:
        """Tell whether it is connected and in all its groups."""
        if self._client.state is not ClientState.CONNECTED:
            return False
        if self._by_server:
            return len(self.subscribed) == len(self.trails)
        return all(each.state is SubscriptionState.SUBSCRIBED for each in self.subscriptions.values())

    def vanish(self) -> None:
        """End the connection without a close frame."""
        self.line.cut()

    def pause(self, seconds: float) -> None:
        """Read nothing for so long; the SDK itself always reads."""
        self.line.stall(True)
        asyncio.get_running_loop().call_later(seconds, self.line.stall, False)

    async def rejoin(self, group: str) -> None:
        """Unsubscribe and subscribe again."""
        subscription = self.subscriptions.get(group)
        if subscription is not None and subscription.state is SubscriptionState.SUBSCRIBED:
            await subscription.unsubscribe()
            await subscription.subscribe()


def _as_it_is(data: Any) -> Any:
    return data


def _joined(trail: Trail, context: SubscribedContext | ServerSubscribedContext) -> None:
    if not context.recoverable or context.stream_position is None:
        trail.began()
        return
    told = Position(context.stream_position.epoch, context.stream_position.offset)
    trail.subscribed(told, recovered=context.recovered, was_recovering=context.was_recovering)


class _OfClient(ClientEventHandler):  # type: ignore[misc]
    """What the connection tells, and subscriptions that the server made."""

    def __init__(self, member: SdkMember) -> None:
        self._member = member

    async def on_connecting(self, ctx: ConnectingContext) -> None:
        self._member.subscribed.clear()
        if ctx.code:  # 0: it was told to
            self._member.over(ctx.code)

    async def on_disconnected(self, ctx: DisconnectedContext) -> None:
        if ctx.code:
            self._member.refused(f"disconnected for good: {ctx.code} {ctx.reason}")

    async def on_subscribed(self, ctx: ServerSubscribedContext) -> None:
        self._member.subscribed.add(ctx.channel)
        _joined(self._member.trails[ctx.channel], ctx)

    async def on_publication(self, ctx: ServerPublicationContext) -> None:
        self._member.trails[ctx.channel].got(self._member.decode(ctx.pub.data), ctx.pub.offset)


class _OfSubscription(SubscriptionEventHandler):  # type: ignore[misc]
    """What a subscription tells."""

    def __init__(self, member: SdkMember, trail: Trail) -> None:
        self._member = member
        self._trail = trail

    async def on_subscribing(self, ctx: SubscribingContext) -> None:
        self._trail.ended(ctx.code)

    async def on_unsubscribed(self, ctx: UnsubscribedContext) -> None:
        self._trail.ended()
        if ctx.code:
            self._member.refused(f"unsubscribed for good: {ctx.code} {ctx.reason}")

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        _joined(self._trail, ctx)

    async def on_publication(self, ctx: PublicationContext) -> None:
        self._trail.got(self._member.decode(ctx.pub.data), ctx.pub.offset)

    async def on_error(self, ctx: SubscriptionErrorContext) -> None:
        """Go on: it tries again by itself, or says that it does not."""
