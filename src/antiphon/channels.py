"""antiphon as a layer of Django Channels::

    CHANNEL_LAYERS = {"default": {"BACKEND": "antiphon.channels.ChannelLayer"}}

Consumers of Channels', workers (``manage.py runworker``), and whatever calls ``get_channel_layer()`` then use
antiphon's groups: those that antiphon's own consumers are in, on the engine that antiphon's configuration names.

It differs from ``antiphon.layer`` in what Channels is used to: its rules for names, events with any ``type``, its
exceptions. ``docs/topics/channels.md`` says what differs from Channels' own layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels import exceptions as theirs
from channels.layers import BaseChannelLayer
from django.core.exceptions import ImproperlyConfigured

from antiphon import layer
from antiphon.app import App, current_app
from antiphon.django.connections import share_checks
from antiphon.django.settings import configure_once
from antiphon.events import carry_event
from antiphon.inbox import EXPIRY
from antiphon.types import Event

__all__ = ["ChannelFull", "ChannelLayer"]


#: antiphon's exception and that of Channels in one.
ChannelFull = layer.full_in_both(theirs.ChannelFull)


class ChannelLayer(layer.ChannelLayer, BaseChannelLayer):
    """A backend for ``CHANNEL_LAYERS``; its ``CONFIG`` takes the options of Channels' own layers.

    ``expiry``: seconds after which a message is dropped that nobody takes from a channel such as a worker's; what waits
    for a consumer does not expire. ``capacity`` and ``channel_capacity``: how many messages ``send`` may leave in a
    channel before it raises ``ChannelFull``; unless they are set there is no such limit, and for groups there is none:
    what waits is bounded in bytes (``mailbox_limit``). ``group_expiry`` has no effect: a membership lasts as long as
    its channel.
    Raises ``ImproperlyConfigured`` for any other.
    """

    extensions = ["groups", "flush"]

    def __init__(
        self,
        expiry: float = EXPIRY,
        group_expiry: float = 86400,
        capacity: int | None = None,
        channel_capacity: Mapping[Any, int] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ImproperlyConfigured(
                f"CHANNEL_LAYERS: antiphon.channels.ChannelLayer has no {', '.join(sorted(unknown))} in CONFIG; it "
                "takes expiry, capacity, channel_capacity and group_expiry. The engine is chosen by "
                'ANTIPHON = {"engine": …}'
            )
        BaseChannelLayer.__init__(self, expiry=expiry, capacity=capacity, channel_capacity=channel_capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        configure_once()
        share_checks()

    @property
    def _app(self) -> App:  # type: ignore[override]
        return current_app()

    # Extensions, and the end

    async def flush(self) -> None:
        """Drop every message that waits in a channel, and every channel's memberships.

        Connections of antiphon's consumers stay in their groups.
        """
        hub = self._app.hub
        if hub is None:
            return await self._app.at_home(self.flush)
        hub.inboxes.flush()

    async def close(self) -> None:
        """Do nothing: the engine ends with the server."""

    # What this process has, as Channels' in-memory layer shows it: for tests and for a look

    @property
    def channels(self) -> dict[str, list[dict[str, Any]]]:
        """The messages that wait in each channel of this process that is read or written; a copy."""
        hub = self._app.latest_hub
        if hub is None:
            return {}
        inboxes = hub.inboxes.all()
        return {
            name: [waiting.event.copy() for waiting in inbox.messages]
            for name, inbox in inboxes.items()
            if inbox.messages or inbox.readers
        }

    @property
    def groups(self) -> dict[str, list[str]]:
        """The channel names of each group's members in this process; a copy."""
        hub = self._app.latest_hub
        if hub is None:
            return {}
        return {name: group.channels() for name, group in hub.groups.items()}

    # Channels' ways (layer.ChannelLayer)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Receive as antiphon does; say so if a worker waits in a process where no job can ever arrive."""
        if "!" not in str(channel):  # what is no text is told below
            self._app.warn_if_alone(f"receive({channel!r})")
        return await super().receive(channel)

    def _check_group(self, name: object) -> None:
        self.require_valid_group_name(name)
        super()._check_group(name)

    def _check_channel(self, name: object, *, receive: bool = False) -> None:
        self.require_valid_channel_name(name)
        super()._check_channel(name)

    def _capacity(self, channel: str) -> int | None:
        capacity: int | None = self.get_capacity(channel)
        return capacity

    def _event(self, message: Mapping[str, Any]) -> Event:
        return carry_event(message)
