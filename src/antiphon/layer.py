"""``self.channel_layer``: groups and channel names, in the words of Channels, and ``publish``.

Every method may be called from any event loop of the process; the work is done on the loop that connections live on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from antiphon import codes, control
from antiphon.events import make_event
from antiphon.exceptions import ChannelFull, InvalidEvent, UsageError
from antiphon.inbox import EXPIRY, ChannelName, Taken, opened
from antiphon.names import check_channel_name, check_group_name, process_of
from antiphon.rules import check_key, check_tags
from antiphon.types import ClientInfo, Event, Page, Position, PresenceStats, Publishing, Retention
from antiphon.verifier import LATEST
from antiphon.wire import plain

if TYPE_CHECKING:
    from antiphon.app import App
    from antiphon.hub import Hub

__all__ = ["ChannelLayer", "full_in_both"]

logger = logging.getLogger("antiphon.layer")


class ChannelLayer:
    """The groups of one antiphon."""

    expiry: float = EXPIRY
    """Seconds after which a message is dropped that nobody takes from a channel without a known reader."""

    def __init__(self, app: App) -> None:
        self._app = app

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Put the connection or channel named ``channel`` into ``group``; joining twice is joining once.

        Raises ``InvalidName``, and ``LimitExceeded`` over ``groups_per_connection``. A connection that was closed or
        refused joins nothing. One of another process is put there by that process: the order has been sent when this
        returns, and what goes wrong is in that process's log.
        """
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.group_add, group, channel)
        self._check_group(group)
        self._check_channel(channel)
        if self._is_elsewhere(hub, channel):
            await hub.engine.send_control(control.encode(control.Add(str(channel), group)), process_of(channel))
        else:
            await hub.control.add(group, channel, self.expiry)

    async def group_discard(self, group: str, channel: str) -> None:
        """Take the connection or channel named ``channel`` out of ``group``, if it is in it."""
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.group_discard, group, channel)
        self._check_group(group)
        self._check_channel(channel)
        if self._is_elsewhere(hub, channel):
            await hub.engine.send_control(control.encode(control.Discard(str(channel), group)), process_of(channel))
        else:
            hub.control.discard(group, channel)

    @staticmethod
    def _is_elsewhere(hub: Hub, channel: str) -> bool:
        """Tell whether a channel is another process's, as its name tells."""
        return process_of(channel) not in ("", hub.process) and hub.find(channel) is None

    async def group_send(self, group: str, message: Mapping[str, Any]) -> None:
        """Run the handler named by ``message["type"]`` for every member of ``group``.

        A channel that is a member gets the message for its ``receive()``. Raises ``InvalidName``; ``InvalidEvent`` for
        a type that no handler may have, or that no member here handles; ``NotEncodable`` for content that can't travel
        between processes; ``ChannelFull``, where nobody got the message because a channel that nobody reads is full.
        """
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.group_send, group, message)
        if type(group) is not str or group not in hub.groups:
            self._check_group(group)
        event = self._event(message)
        hub.counters.events += 1
        hub.delivery.check_handlers(group, event)
        try:
            hub.delivery.check_room(group, event)
        except ChannelFull as error:
            raise _full(error) from None
        await hub.engine.send_event(group, event)

    async def publish(
        self,
        group: str,
        content: Any,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        info: ClientInfo | None = None,
    ) -> Position:
        """Send ``content`` as JSON to every member of ``group`` and return its position in the group's stream.

        It is encoded once and runs no handler. Where the group's rule is ``latest_by_key``, it takes the place of an
        earlier publication with the same ``key`` that still waits for a slow member; all those without one share one.
        A second publication with the same ``idempotency_key`` is not made within the rule's ``idempotency_window``:
        what is returned is the first one's position, as a ``Repeat``. ``tags``, words about it, and ``info``, who
        publishes, go with it to members on the Centrifuge wire, and are kept in history.
        A channel that is a member gets ``{"type": "publication", "group": …, "content": …, "epoch": …, "offset": …}``.
        Raises ``InvalidName``, ``NotEncodable``; ``UsageError`` for an ``info`` of another type.
        """
        hub = self._app.hub
        if hub is None:
            verb = functools.partial(self.publish, key=key, idempotency_key=idempotency_key, tags=tags, info=info)
            return await self._app.at_home(verb, group, content)
        if type(group) is not str or group not in hub.groups:
            self._check_group(group)
        if key is not None:
            check_key(key)
        data = plain.encode(content)
        rule = hub.rule(group)
        publishing = rule.publishing
        if idempotency_key is not None or tags is not None or info is not None:
            publishing = Publishing(
                rule.retention,
                check_key(idempotency_key) if idempotency_key is not None else "",
                _check_info(info),
                check_tags(tags) if tags is not None else None,
            )
        hub.counters.publications += 1
        return await hub.engine.publish(group, data, key or "", publishing)

    async def history(
        self, group: str, *, since: Position | None = None, limit: int | None = None, reverse: bool = False
    ) -> Page:
        """Return at most ``limit`` of the publications that are kept of ``group``, and the position of the newest.

        Oldest first, from the one behind ``since`` on; with ``reverse`` newest first, from the one before it on. Raises
        ``InvalidName``; ``UsageError`` for a group whose rule keeps no history, and for arguments that can't be.
        """
        hub = self._app.hub
        if hub is None:
            verb = functools.partial(self.history, since=since, limit=limit, reverse=reverse)
            return await self._app.at_home(verb, group)
        self._check_group(group)
        retention = self._retention(hub, group)
        _check_part(since, limit)
        return await hub.engine.history(group, retention, since=since, limit=limit, reverse=reverse)

    async def remove_history(self, group: str) -> None:
        """Drop what is kept of the publications of ``group``; its position stays. Raises as ``history`` does."""
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.remove_history, group)
        self._check_group(group)
        self._retention(hub, group)
        await hub.engine.remove_history(group)

    async def presence(self, group: str) -> dict[str, ClientInfo]:
        """Return who is in ``group``, in all processes, by the id of the connection.

        A user with several connections is there several times. Raises ``InvalidName``; ``UsageError`` for a group whose
        rule does not note presence.
        """
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.presence, group)
        self._check_noted(hub, group)
        return await hub.engine.presence(group)

    async def presence_stats(self, group: str) -> PresenceStats:
        """Return how many connections and users are in ``group``; raises as ``presence`` does."""
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.presence_stats, group)
        self._check_noted(hub, group)
        return await hub.engine.presence_stats(group)

    def _check_noted(self, hub: Hub, group: str) -> None:
        self._check_group(group)
        if hub.rule(group).presence == "off":
            raise UsageError(f"it is not noted who is in group {group!r}: no rule that matches its name sets presence")

    # Connections, wherever they are

    async def kick(
        self,
        user: str = "",
        *,
        client: str = "",
        session: str = "",
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Close connections in all processes: those of ``user``, or the one with the id ``client``.

        ``user`` is ``str(user.pk)``. With ``session``, a Django session's key, only those that were opened with it;
        with both ``user`` and ``client``, that one if it is the user's. ``code`` and ``reason`` are what the client is
        told; by default that it is to stay away: 1008, on the Centrifuge wire 3503. From 4000 on they are yours.
        Raises ``UsageError`` where nobody is named, and ``InvalidCloseCode``.
        """
        whom = _whom(user, client, session)
        if reason is not None and not isinstance(reason, str):
            raise UsageError(f"reason is {reason!r:.80}; it takes text, or None for words that fit the code")
        await self._order(control.Kick(whom, codes.check_close_code(code) if code is not None else 0, reason or ""))

    async def subscribe(self, group: str, user: str = "", *, client: str = "", session: str = "") -> None:
        """Put connections of all processes into ``group``, those that ``kick`` would close; each is told."""
        self._check_group(group)
        await self._order(control.Join(_whom(user, client, session), group))

    async def unsubscribe(self, group: str, user: str = "", *, client: str = "", session: str = "") -> None:
        """Take connections of all processes out of ``group``, those that ``kick`` would close; each is told."""
        self._check_group(group)
        await self._order(control.Leave(_whom(user, client, session), group))

    async def refresh(
        self, user: str = "", *, client: str = "", session: str = "", expires_at: float | None = None
    ) -> None:
        """Let connections of the Centrifuge wire end at ``expires_at``, unless they bring a new token; None: they stay.

        It is in seconds since 1970, and whose they are is said as to ``kick``.
        """
        whom = _whom(user, client, session)
        if expires_at is not None and not (_is_number(expires_at) and 0 <= expires_at < LATEST):
            raise UsageError(f"expires_at is {expires_at!r:.80}; it takes seconds since 1970, like time.time() + 60")
        await self._order(control.Expire(whom, expires_at))

    async def _order(self, order: control.Order) -> None:
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self._order, order)
        await hub.engine.send_control(control.encode(order))

    def _retention(self, hub: Hub, group: str) -> Retention:
        rule = hub.rule(group)
        if not rule.history_size:
            raise UsageError(f"group {group!r} keeps no history: no rule that matches its name sets history_size")
        return rule.retention

    # Channels

    async def send(self, channel: str, message: Mapping[str, Any]) -> None:
        """Run the handler named by ``message["type"]`` for the one connection named ``channel``.

        Any other channel keeps the message for ``receive()``; a general one, such as ``thumbnails``, for that of any
        process, where the engine is one that processes share. Raises as ``group_send`` does, and ``ChannelFull`` where
        the channel has no room.
        """
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.send, channel, message)
        self._check_channel(channel)
        event = self._event(message)
        hub.counters.events += 1
        try:
            if hub.jobs.are_shared(channel):
                return await hub.jobs.send(channel, event, self.expiry, self._capacity(channel))
            self._check_room(hub, channel, event)
        except ChannelFull as error:
            raise _full(error) from None
        await hub.engine.send_direct_event(channel, event)

    def _check_room(self, hub: Hub, channel: str, event: Event) -> None:
        """Raise ``ChannelFull`` if the event finds no room in an inbox of this process."""
        if not self._is_elsewhere(hub, channel) and hub.find(channel) is None:
            inbox = hub.inboxes.reach(channel, self.expiry)
            if inbox is not None:
                hub.inboxes.check_room(inbox, event, self._capacity(channel))

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return a channel name that nobody else has, for one reader: the channel is over when it forgets the name."""
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.new_channel, prefix)
        name = hub.inboxes.new(prefix, self.expiry)
        self._check_channel(name)
        return name

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of ``channel`` and return it.

        Of several that wait for one channel, one gets it. Raises ``InvalidName``; ``MessagesLost``, once, if the reader
        was so slow that messages were dropped; ``ConnectionError`` if the loop that channels live on is another, and
        ends.
        """
        if type(channel) is not ChannelName:
            self._check_channel(channel, receive=True)
        hub = self._app.hub
        if hub is None and self._app.home() is asyncio.get_running_loop():
            hub = await self._app.start()
        if hub is None:
            return opened(await self._take_from_afar(channel)).copy()
        return opened(await hub.jobs.next(channel, self.expiry)).copy()

    async def _take_from_afar(self, channel: str) -> Taken:
        """Take a message on the loop that inboxes live on; what comes when nobody waits any more is put back."""
        home = self._app.home()
        taken: concurrent.futures.Future[Taken] = concurrent.futures.Future()
        work = asyncio.run_coroutine_threadsafe(self._take_into(taken, channel), home)
        try:
            return await asyncio.wrap_future(taken)
        except asyncio.CancelledError:
            work.cancel()
            # At once if something was taken, or when it is: home may be just about to hand it over.
            taken.add_done_callback(lambda done: self._give_back(done, channel, home))
            raise

    async def _take_into(self, taken: concurrent.futures.Future[Taken], channel: str) -> None:
        try:
            hub = self._app.hub or await self._app.start()
            what = await hub.jobs.next(channel, self.expiry)
        except BaseException as error:
            if not taken.set_running_or_notify_cancel():
                if isinstance(error, Exception):
                    return  # nobody waits for it any more
                raise
            if isinstance(error, asyncio.CancelledError):  # by the end of home, not by who waits
                error = ConnectionError("the event loop that antiphon's channels live on has ended")
            taken.set_exception(error)
            return
        if taken.set_running_or_notify_cancel():
            taken.set_result(what)
        else:
            hub.jobs.put_back(channel, what, self.expiry)

    def _give_back(
        self, taken: concurrent.futures.Future[Taken], channel: str, home: asyncio.AbstractEventLoop
    ) -> None:
        if not taken.cancelled() and taken.exception() is None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and what waits there is gone with it
                home.call_soon_threadsafe(self._put_back, channel, taken.result())

    def _put_back(self, channel: str, taken: Taken) -> None:
        hub = self._app.hub
        if hub is not None:
            hub.jobs.put_back(channel, taken, self.expiry)

    # What the face of Channels' own does in its own way (antiphon.channels)

    def _check_group(self, name: object) -> None:
        check_group_name(name)

    def _check_channel(self, name: object, *, receive: bool = False) -> None:
        check_channel_name(name)

    def _capacity(self, channel: str) -> int | None:
        """Return how many messages ``send`` may leave in a channel; None: as many as there is room for."""
        return None

    def _event(self, message: Mapping[str, Any]) -> Event:
        try:
            return make_event(message)
        except InvalidEvent:
            self._app.counters.events_refused += 1
            raise


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whom(user: str, client: str, session: str) -> control.Whom:
    if not all(isinstance(each, str) for each in (user, client, session)):
        raise UsageError("user, client and session are text: a user is str(user.pk)")
    if not user and not client:
        raise UsageError("it is not said whose connections are meant: pass a user, like str(user.pk), or a client's id")
    return control.Whom(user, client, control.session_digest(session) if session else "")


def _check_info(info: object) -> ClientInfo | None:
    if info is None or isinstance(info, ClientInfo):
        return info
    raise UsageError(f"info is {info!r:.80}; it takes an antiphon.types.ClientInfo, or None")


def _check_part(since: object, limit: object) -> None:
    """Raise ``UsageError`` where no part of a history can be meant."""
    if since is not None and not isinstance(since, Position):
        raise UsageError(f"since is {since!r:.80}; it takes a Position, as publish and history return them")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise UsageError(f"limit is {limit!r:.80}; it takes a whole number, 0 or more, or None for no limit")


@functools.cache
def full_in_both(theirs: type[Exception]) -> type[ChannelFull]:
    """Return the class that is antiphon's ``ChannelFull`` and that of Channels in one."""
    return type(ChannelFull.__name__, (ChannelFull, theirs), {"__doc__": ChannelFull.__doc__, "__module__": __name__})


def _full(error: ChannelFull) -> ChannelFull:
    """Return ``error``; where Channels is used, as one that code written for Channels catches as its own."""
    theirs = sys.modules.get("channels.exceptions")
    return error if theirs is None else full_in_both(theirs.ChannelFull)(*error.args)
