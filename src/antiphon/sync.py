"""Speaking to groups from code without a running event loop: Django views, Celery tasks, scripts, threads.

::

    from antiphon import sync

    def vote(request):
        ...
        sync.publish("poll-7", {"votes": 12})

The work is done on the loop that the connections live on; the call returns when it is done there. Where no loop runs,
one is started in a thread (``antiphon.home``), and stays for the calls to come.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import _get_running_loop
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from antiphon import api
from antiphon.app import current_app
from antiphon.exceptions import UsageError
from antiphon.home import HOME
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
    "subscribe",
    "unsubscribe",
]

Result = TypeVar("Result")


def publish(
    group: str,
    content: Any,
    *,
    key: str | None = None,
    idempotency_key: str | None = None,
    tags: Mapping[str, str] | None = None,
    info: ClientInfo | None = None,
) -> Position:
    """Send ``content`` as JSON to every member of ``group``; see ``ChannelLayer.publish``."""
    return _run(api.publish(group, content, key=key, idempotency_key=idempotency_key, tags=tags, info=info))


def history(group: str, *, since: Position | None = None, limit: int | None = None, reverse: bool = False) -> Page:
    """Return what is kept of ``group``, and its position; see ``ChannelLayer.history``."""
    return _run(api.history(group, since=since, limit=limit, reverse=reverse))


def remove_history(group: str) -> None:
    """Drop what is kept of ``group``; see ``ChannelLayer.remove_history``."""
    _run(api.remove_history(group))


def presence(group: str) -> dict[str, ClientInfo]:
    """Return who is in ``group``; see ``ChannelLayer.presence``."""
    return _run(api.presence(group))


def presence_stats(group: str) -> PresenceStats:
    """Return how many are in ``group``; see ``ChannelLayer.presence_stats``."""
    return _run(api.presence_stats(group))


def group_send(group: str, message: Mapping[str, Any]) -> None:
    """Run a handler for every member of ``group``; see ``ChannelLayer.group_send``."""
    _run(api.group_send(group, message))


def send(channel: str, message: Mapping[str, Any]) -> None:
    """Run a handler for one connection; see ``ChannelLayer.send``."""
    _run(api.send(channel, message))


def kick(
    user: str = "",
    *,
    client: str = "",
    session: str = "",
    code: int | None = None,
    reason: str | None = None,
) -> None:
    """Close connections, of a user or one; see ``ChannelLayer.kick``."""
    _run(api.kick(user, client=client, session=session, code=code, reason=reason))


def subscribe(group: str, user: str = "", *, client: str = "", session: str = "") -> None:
    """Put connections into ``group``; see ``ChannelLayer.subscribe``."""
    _run(api.subscribe(group, user, client=client, session=session))


def unsubscribe(group: str, user: str = "", *, client: str = "", session: str = "") -> None:
    """Take connections out of ``group``; see ``ChannelLayer.unsubscribe``."""
    _run(api.unsubscribe(group, user, client=client, session=session))


def refresh(user: str = "", *, client: str = "", session: str = "", expires_at: float | None = None) -> None:
    """Let connections end at ``expires_at``; see ``ChannelLayer.refresh``."""
    _run(api.refresh(user, client=client, session=session, expires_at=expires_at))


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    if _get_running_loop() is not None:
        work.close()
        raise UsageError("antiphon.sync was called from async code: await the coroutine of the same name in antiphon")
    hub = current_app().running_hub
    loop = hub.loop if hub is not None else _loop_above()
    if loop is None:
        current_app().warn_if_alone("antiphon.sync")
        return HOME.run(work)
    return asyncio.run_coroutine_threadsafe(work, loop).result()


def _loop_above() -> asyncio.AbstractEventLoop | None:
    """Return the loop that waits for this thread, where asgiref started it: a server runs a synchronous view."""
    asgiref = sys.modules.get("asgiref.sync")
    loop = getattr(asgiref.SyncToAsync.threadlocal, "main_event_loop", None) if asgiref is not None else None
    return loop if loop is not None and loop.is_running() else None


async def _leave_home() -> None:
    if current_app().hub is not None:
        await current_app().stop()


HOME.at_end(_leave_home)
