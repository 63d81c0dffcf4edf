"""The methods of the HTTP API: each takes a call, does it by the layer's verbs, and returns its result.

Laws:
- a call that was answered with a result was done; one that was answered with an error was not, unless the error says
  that nobody knows;
- what is published is what ``ChannelLayer.publish`` publishes: the group's rule holds for it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import platform
import time
from collections.abc import Callable, Coroutine, Iterable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import antiphon
from antiphon.app import App
from antiphon.exceptions import EngineError, EngineUnavailable, OutcomeUnknown, UsageError
from antiphon.http_api import requests
from antiphon.http_api.requests import Refused
from antiphon.http_api.results import Answer, client_info, publication
from antiphon.names import check_group_name
from antiphon.wire.centrifuge import codes

__all__ = ["METHODS", "Methods"]

logger = logging.getLogger("antiphon.http_api")

#: Calls of one request that are done at the same time.
AT_ONCE = 64
_BEGIN = time.monotonic()


class Methods:
    """What can be called."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._layer = app.layer

    async def answer(self, name: str, content: object) -> Answer:
        """Return what is answered to a call of the method ``name``: its result, or an error."""
        answer = await self._answered(name, self._call(name, content))
        if name == "batch" and "result" in answer:  # whose replies stand alone
            replies: Answer = answer["result"]
            return replies
        return answer

    async def _call(self, name: str, content: object) -> Answer:
        method = METHODS[name]
        return await method.does(self, requests.read(method.takes, content))

    async def _answered(self, name: str, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Return the result of ``work``, or the error that it ended with."""
        try:
            return {"result": await work}
        except Refused as refused:
            error = refused.error
        except UsageError as problem:  # a name, a close code, nobody named: the caller's fault
            error = codes.Error(codes.ERROR_BAD_REQUEST, str(problem))
        except EngineError as problem:
            logger.error("%s of the HTTP API: %s", name, problem)
            error = codes.Error(codes.ERROR_INTERNAL, _words(problem))
        except Exception:
            logger.exception("%s of the HTTP API failed", name)
            error = codes.ERRORS[codes.ERROR_INTERNAL]
        self._app.counters.api_errors += 1
        return {"error": {"code": error.code, "message": error.message}}

    # Publishing

    async def _publish(self, call: requests.Publish) -> Answer:
        return await self._publish_to(call.channel, call, call.content(self._app.config.max_json_depth))

    async def _broadcast(self, call: requests.Broadcast) -> Answer:
        if not call.channels:
            raise Refused(codes.ERROR_BAD_REQUEST, "there is no channel to publish to")
        content = call.content(self._app.config.max_json_depth)
        work = (self._answered("broadcast", self._publish_to(each, call, content)) for each in call.channels)
        return {"responses": await _all(work, AT_ONCE)}

    async def _publish_to(self, group: str, call: requests.Content, content: Any) -> Answer:
        if call.skip_history and self._app.rule(check_group_name(group)).history_size:
            raise Refused(
                codes.ERROR_BAD_REQUEST,
                f"skip_history: group {group!r} keeps its history, which has no holes; leave skip_history out",
            )
        position = await self._layer.publish(
            group, content, key=call.key, idempotency_key=call.idempotency_key or None, tags=call.tags
        )
        return {"offset": position.offset, "epoch": position.epoch}

    # Groups

    async def _presence(self, call: requests.Presence) -> Answer:
        self._check_noted(call.channel)
        infos = await self._layer.presence(call.channel)
        return {"presence": {client: client_info(info) for client, info in infos.items()}}

    async def _presence_stats(self, call: requests.PresenceStats) -> Answer:
        self._check_noted(call.channel)
        stats = await self._layer.presence_stats(call.channel)
        return {"num_clients": stats.clients, "num_users": stats.users}

    async def _history(self, call: requests.History) -> Answer:
        self._check_kept(call.channel)
        since = call.position
        page = await self._layer.history(
            call.channel, since=since, limit=call.limit if call.limit >= 0 else None, reverse=call.reverse
        )
        if since is not None and since.epoch not in ("", page.top.epoch):
            raise Refused(codes.ERROR_UNRECOVERABLE_POSITION)
        kept = [publication(each) for each in page.publications]
        return {"publications": kept, "offset": page.top.offset, "epoch": page.top.epoch}

    async def _history_remove(self, call: requests.HistoryRemove) -> Answer:
        self._check_kept(call.channel)
        await self._layer.remove_history(call.channel)
        return {}

    def _check_noted(self, group: str) -> None:
        if self._app.rule(check_group_name(group)).presence == "off":
            raise Refused(codes.ERROR_NOT_AVAILABLE, f"no rule for group {group!r} sets presence")

    def _check_kept(self, group: str) -> None:
        if not self._app.rule(check_group_name(group)).history_size:
            raise Refused(codes.ERROR_NOT_AVAILABLE, f"no rule for group {group!r} sets history_size")

    # Connections

    async def _disconnect(self, call: requests.Disconnect) -> Answer:
        close = call.disconnect
        await self._layer.kick(**call.whom, code=close.code or None, reason=close.reason or None)
        return {}

    async def _subscribe(self, call: requests.Subscribe) -> Answer:
        await self._layer.subscribe(call.channel, **call.whom)
        return {}

    async def _unsubscribe(self, call: requests.Unsubscribe) -> Answer:
        await self._layer.unsubscribe(call.channel, **call.whom)
        return {}

    async def _refresh(self, call: requests.Refresh) -> Answer:
        if call.expired:
            expired = codes.DISCONNECTS[codes.CLOSE_EXPIRED]
            await self._layer.kick(**call.whom, code=expired.code, reason=expired.reason)
        else:
            await self._layer.refresh(**call.whom, expires_at=call.expire_at or None)
        return {}

    # The process that answers

    async def _info(self, call: requests.Info) -> Answer:
        hub = self._app.running_hub or await self._app.start()
        node = {
            "uid": hub.process,
            "name": f"{platform.node()}_{os.getpid()}",
            "version": antiphon.__version__,
            "num_clients": len(hub.connections),
            "num_users": len({each.user_id for each in hub.connections} - {""}),
            "num_channels": len(hub.groups),
            "num_subs": sum(map(len, hub.groups.values())),
            "uptime": int(time.monotonic() - _BEGIN),
        }
        return {"nodes": [node]}

    async def _channels(self, call: requests.Channels) -> Answer:
        hub = self._app.running_hub
        groups = hub.groups if hub is not None else {}
        found = (name for name in groups if not call.pattern or fnmatchcase(name, call.pattern))
        return {"channels": {name: {"num_clients": len(groups[name])} for name in found}}

    # Several

    async def _batch(self, call: requests.Batch) -> Answer:
        work = (self._command(each) for each in call.commands)
        return {"replies": await _all(work, AT_ONCE if call.parallel else 1)}

    async def _command(self, command: object) -> Answer:
        """Return the reply to one of a batch: under the method's name what ``answer`` has for a result."""
        name = next(iter(command), "") if isinstance(command, dict) else ""
        if not isinstance(command, dict) or name not in METHODS or name == "batch":
            return await self._answered("batch", _unknown(name))
        answer = await self.answer(name, command[name])
        return answer if "error" in answer else {name: answer["result"]}


async def _unknown(name: str) -> Answer:
    raise Refused(codes.ERROR_METHOD_NOT_FOUND, f"{name!r:.80} is no method that a batch may have")


async def _all(work: Iterable[Coroutine[Any, Any, Answer]], at_once: int) -> list[Answer]:
    """Return what all of ``work`` return; the loop has its turn in between, however much it is."""
    answers: list[Answer] = []
    rest = iter(work)
    while some := list(itertools.islice(rest, at_once)):
        answers += await asyncio.gather(*some)
    return answers


def _words(problem: EngineError) -> str:
    """Return what a caller may be told of it: the engine's own words may name hosts."""
    if isinstance(problem, OutcomeUnknown):
        return "the engine's answer was lost: it may have been done. With an idempotency_key it may be tried again"
    if isinstance(problem, EngineUnavailable):
        return "the engine can't be reached: nothing was done, and it may be tried again"
    return "the engine can't keep this"


class Method(NamedTuple):
    """A method: the call that it takes, and what is done."""

    takes: type[requests.Request]
    does: Callable[[Methods, Any], Coroutine[Any, Any, Answer]]


METHODS: dict[str, Method] = {
    "publish": Method(requests.Publish, Methods._publish),
    "broadcast": Method(requests.Broadcast, Methods._broadcast),
    "presence": Method(requests.Presence, Methods._presence),
    "presence_stats": Method(requests.PresenceStats, Methods._presence_stats),
    "history": Method(requests.History, Methods._history),
    "history_remove": Method(requests.HistoryRemove, Methods._history_remove),
    "disconnect": Method(requests.Disconnect, Methods._disconnect),
    "subscribe": Method(requests.Subscribe, Methods._subscribe),
    "unsubscribe": Method(requests.Unsubscribe, Methods._unsubscribe),
    "refresh": Method(requests.Refresh, Methods._refresh),
    "info": Method(requests.Info, Methods._info),
    "channels": Method(requests.Channels, Methods._channels),
    "batch": Method(requests.Batch, Methods._batch),
}
