"""Speaking to groups from anywhere in the process: the same verbs as ``self.channel_layer``, without a consumer.

These are coroutines; ``antiphon.sync`` has the same for code without a running loop: views, tasks, scripts.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from antiphon.app import current_app
from antiphon.types import ClientInfo, Page, Position

__all__ = ["group_send", "history", "publish", "send", "stats"]


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


def group_send(group: str, message: Mapping[str, Any]) -> Coroutine[Any, Any, None]:
    """Run a handler for every member of ``group``; see ``ChannelLayer.group_send``."""
    return current_app().layer.group_send(group, message)


def send(channel: str, message: Mapping[str, Any]) -> Coroutine[Any, Any, None]:
    """Run a handler for one connection; see ``ChannelLayer.send``."""
    return current_app().layer.send(channel, message)


def stats() -> dict[str, int]:
    """Return the counters of this process by name (``antiphon.counters``), and ``connections`` that are open now."""
    app = current_app()
    hub = app.running_hub
    return {"connections": len(hub.connections) if hub is not None else 0, **app.counters.as_dict()}
