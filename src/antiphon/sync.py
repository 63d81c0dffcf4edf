"""Speaking to groups from code without a running event loop: Django views, Celery tasks, scripts, threads.

::

    from antiphon import sync

    def vote(request):
        ...
        sync.publish("poll-7", {"votes": 12})

The work is done on the loop that the connections live on; the call returns when it is done there. Where no loop runs,
one is run for the call.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from asyncio import _get_running_loop
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from antiphon import api
from antiphon.app import current_app
from antiphon.exceptions import UsageError
from antiphon.types import Position

__all__ = ["group_send", "publish", "send"]

Result = TypeVar("Result")

logger = logging.getLogger("antiphon.sync")


def publish(group: str, content: Any, *, key: str | None = None) -> Position:
    """Send ``content`` as JSON to every member of ``group``; see ``ChannelLayer.publish``."""
    return _run(api.publish(group, content, key=key))


def group_send(group: str, message: Mapping[str, Any]) -> None:
    """Run a handler for every member of ``group``; see ``ChannelLayer.group_send``."""
    _run(api.group_send(group, message))


def send(channel: str, message: Mapping[str, Any]) -> None:
    """Run a handler for one connection; see ``ChannelLayer.send``."""
    _run(api.send(channel, message))


@functools.cache
def _warn_alone() -> None:
    """Say once that nobody is here to hear."""
    if current_app().config.engine.startswith("memory:"):
        logger.warning(
            "antiphon.sync was called in a process without connections, and the memory engine reaches its own process "
            "only: nobody hears of this. Call it in the server's process, or choose an engine that processes share."
        )


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    if _get_running_loop() is not None:
        work.close()
        raise UsageError("antiphon.sync was called from async code: await the coroutine of the same name in antiphon")
    hub = current_app().running_hub
    if hub is None:
        _warn_alone()
        return asyncio.run(work)
    return asyncio.run_coroutine_threadsafe(work, hub.loop).result()
