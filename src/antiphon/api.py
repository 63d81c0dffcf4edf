"""Speaking to groups from anywhere in the process: the same verbs as ``self.channel_layer``, without a consumer.

These are coroutines; ``antiphon.sync`` has the same for code without a running loop: views, tasks, scripts.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from antiphon.app import current_app
from antiphon.types import ClientInfo, Page, Position, PresenceStats

__all__ = [
    "group_send",
    "history",
    "kick",
    "presence",
    "presence_stats",
    "publish",
    "refresh",
    "remove_history",
    "send",
    "stats",
    "subscribe",
    "unsubscribe",
]


def publish(
    group: str,
    content: Any,
    *,
    key: str | None = None,
    idempotency_key: str | None = None,
    tags: Mapping[str, str] | None = None,
    info: ClientInfo | None = None,
) -> Coroutine[Any, Any, Position]:
    """Send ``content`` as JSON to every member of ``group``; see ``ChannelLayer.publish``."""
    return current_app().layer.publish(group, content, key=key, idempotency_key=idempotency_key, tags=tags, info=info)


def history(
    group: str, *, since: Position | None = None, limit: int | None = None, reverse: bool = False
) -> Coroutine[Any, Any, Page]:
    """Return what is kept of ``group``, and its position; see ``ChannelLayer.history``."""
    return current_app().layer.history(group, since=since, limit=limit, reverse=reverse)


def remove_history(group: str) -> Coroutine[Any, Any, None]:
    """Drop what is kept of ``group``; see ``ChannelLayer.remove_history``."""
    return current_app().layer.remove_history(group)


def presence(group: str) -> Coroutine[Any, Any, dict[str, ClientInfo]]:
    """Return who is in ``group``; see ``ChannelLayer.presence``."""
    return current_app().layer.presence(group)


def presence_stats(group: str) -> Coroutine[Any, Any, PresenceStats]:
    """Return how many are in ``group``; see ``ChannelLayer.presence_stats``."""
    return current_app().layer.presence_stats(group)


def group_send(group: str, message: Mapping[str, Any]) -> Coroutine[Any, Any, None]:
    """Run a handler for every member of ``group``; see ``ChannelLayer.group_send``."""
    return current_app().layer.group_send(group, message)


def send(channel: str, message: Mapping[str, Any]) -> Coroutine[Any, Any, None]:
    """Run a handler for one connection; see ``ChannelLayer.send``."""
    return current_app().layer.send(channel, message)


def kick(
    user: str = "",
    *,
    client: str = "",
    session: str = "",
    code: int | None = None,
    reason: str | None = None,
) -> Coroutine[Any, Any, None]:
    """Close connections, of a user or one; see ``ChannelLayer.kick``."""
    return current_app().layer.kick(user, client=client, session=session, code=code, reason=reason)


def subscribe(group: str, user: str = "", *, client: str = "", session: str = "") -> Coroutine[Any, Any, None]:
    """Put connections into ``group``; see ``ChannelLayer.subscribe``."""
    return current_app().layer.subscribe(group, user, client=client, session=session)


def unsubscribe(group: str, user: str = "", *, client: str = "", session: str = "") -> Coroutine[Any, Any, None]:
    """Take connections out of ``group``; see ``ChannelLayer.unsubscribe``."""
    return current_app().layer.unsubscribe(group, user, client=client, session=session)


def refresh(
    user: str = "", *, client: str = "", session: str = "", expires_at: float | None = None
) -> Coroutine[Any, Any, None]:
    """Let connections end at ``expires_at``; see ``ChannelLayer.refresh``."""
    return current_app().layer.refresh(user, client=client, session=session, expires_at=expires_at)


def stats() -> dict[str, int]:
    """Return the counters of this process by name (``antiphon.counters``), and ``connections`` that are open now."""
    app = current_app()
    hub = app.running_hub
    return {"connections": len(hub.connections) if hub is not None else 0, **app.counters.as_dict()}
