"""``self.channel_layer``: groups and channel names, in the words of Channels, and ``publish``.

Every method may be called from any event loop of the process; the work is done on the loop that connections live on.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from antiphon.events import make_event
from antiphon.exceptions import InvalidEvent
from antiphon.names import check_channel_name, check_group_name
from antiphon.rules import check_key
from antiphon.types import Event, Position
from antiphon.wire import plain

if TYPE_CHECKING:
    from antiphon.app import App

__all__ = ["ChannelLayer"]

Result = TypeVar("Result")

logger = logging.getLogger("antiphon.layer")


class ChannelLayer:
    """The groups of one antiphon."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def group_add(self, group: str, channel: str) -> None:
        """Put the connection named ``channel`` into ``group``; joining twice is joining once.

        Raises ``InvalidName``, and ``LimitExceeded`` over ``groups_per_connection``. A connection that was closed or
        refused joins nothing.
        """
        hub = self._app.hub
        if hub is None:
            return await self._at_home(self.group_add, group, channel)
        check_group_name(group)
        check_channel_name(channel)
        connection = hub.find(channel)
        if connection is None:
            hub.counters.joins_refused += 1
            logger.warning("group_add(%r, %r): this process has no such connection; nothing joined", group, channel)
        elif connection.may_join():
            await hub.join(group, connection)

    async def group_discard(self, group: str, channel: str) -> None:
        """Take the connection named ``channel`` out of ``group``; leaving what was not joined does nothing."""
        hub = self._app.hub
        if hub is None:
            return await self._at_home(self.group_discard, group, channel)
        check_group_name(group)
        check_channel_name(channel)
        connection = hub.find(channel)
        if connection is not None:
            hub.leave(group, connection)

    async def group_send(self, group: str, message: Mapping[str, Any]) -> None:
        """Run the handler named by ``message["type"]`` for every member of ``group``.

        Raises ``InvalidName``; ``InvalidEvent`` for a type that no handler may have, or that no member here handles;
        ``NotEncodable`` for content that can't travel between processes.
        """
        hub = self._app.hub
        if hub is None:
            return await self._at_home(self.group_send, group, message)
        if type(group) is not str or group not in hub.groups:
            check_group_name(group)
        event = self._event(message)
        hub.counters.events += 1
        hub.check_handlers(group, event)
        await hub.engine.send_event(group, event)

    async def send(self, channel: str, message: Mapping[str, Any]) -> None:
        """Run the handler named by ``message["type"]`` for the one connection named ``channel``."""
        hub = self._app.hub
        if hub is None:
            return await self._at_home(self.send, channel, message)
        check_channel_name(channel)
        event = self._event(message)
        hub.counters.events += 1
        await hub.engine.send_direct_event(channel, event)

    async def publish(self, group: str, content: Any, *, key: str | None = None) -> Position:
        """Send ``content`` as JSON to every member of ``group`` and return its position in the group's stream.

        It is encoded once and runs no handler. Where the group's rule is ``latest_by_key``, it takes the place of an
        earlier publication with the same ``key`` that still waits for a slow member; all those without one share one.
        Raises ``InvalidName``, ``NotEncodable``.
        """
        hub = self._app.hub
        if hub is None:
            return await self._at_home(functools.partial(self.publish, key=key), group, content)
        if type(group) is not str or group not in hub.groups:
            check_group_name(group)
        if key is not None:
            check_key(key)
        data = plain.encode(content)
        hub.counters.publications += 1
        return await hub.engine.publish(group, data, key or "")

    def _event(self, message: Mapping[str, Any]) -> Event:
        try:
            return make_event(message)
        except InvalidEvent:
            self._app.counters.events_refused += 1
            raise

    async def _at_home(
        self, verb: Callable[[str, Any], Coroutine[Any, Any, Result]], name: str, argument: Any
    ) -> Result:
        """Call ``verb`` on the loop that connections live on; where there is none yet, here is home."""
        home = self._app.home()
        if home is asyncio.get_running_loop():
            await self._app.start()
            return await verb(name, argument)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(verb(name, argument), home))
