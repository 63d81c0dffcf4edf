"""One configured antiphon: its configuration, engine, hub and counters.

A process has one, made when it is first needed. It lives on one event loop, its *home*: that of the first connection,
or of the first call where there are no connections. When the home loop ends, the next use makes a new start.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import secrets
import threading
import time
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from antiphon import config as configuration
from antiphon.apikeys import APIKeys, check_api_path
from antiphon.centrifuge import CentrifugeConnection
from antiphon.config import Config
from antiphon.connection import Connection
from antiphon.counters import Counters
from antiphon.engines import open_engine
from antiphon.exceptions import ConfigurationError, UsageError
from antiphon.formats import DeflateFormat, Format
from antiphon.hub import Hub
from antiphon.keyring import open_verifier
from antiphon.layer import ChannelLayer
from antiphon.logs import limit_lines, shown
from antiphon.origins import Origins
from antiphon.pushformat import PushFormat
from antiphon.rules import Rule, Rules
from antiphon.transport import ASGITransport, DirectTransport, Transport
from antiphon.types import Receive, Scope, Send
from antiphon.wire.centrifuge.encoding import Encoding, choose

if TYPE_CHECKING:
    from antiphon.consumer import Consumer

__all__ = ["App", "configure", "current_app", "is_chosen", "is_configured"]

Result = TypeVar("Result")

#: Seconds to wait for the end of an engine on another loop, before one is started on this.
RETIRING = 0.5

logger = logging.getLogger("antiphon")


class _Start:
    """A start that is under way on ``loop``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.done: concurrent.futures.Future[Hub] = concurrent.futures.Future()


class App:
    """Everything that one configuration brings into being. Raises ``ConfigurationError`` for what can't be."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.counters = Counters()
        self.layer = ChannelLayer(self)
        self.api_keys = APIKeys(config.api_keys)
        check_api_path(config.api_path, self.api_keys)
        self._rules = Rules(config.rules)
        self._verifier = open_verifier(config, clock=time.monotonic, counters=self.counters)
        self._origins = Origins(config.allowed_origins, localhost=config.localhost_origins)
        self._hub: Hub | None = None
        self._starting: _Start | None = None
        self._lock = threading.Lock()
        self._is_warned = False
        self._deflate_formats: dict[int, DeflateFormat] = {}
        self._push_formats: dict[tuple[str, Format], PushFormat] = {}
        # Part of every channel name: tells processes apart, so that names never meet.
        self._process = secrets.token_hex(4)

    @property
    def hub(self) -> Hub | None:
        """The hub, if it lives on the running loop; None where ``start`` has to be awaited."""
        hub = self._hub
        return hub if hub is not None and hub.loop is _get_running_loop() else None

    @property
    def running_hub(self) -> Hub | None:
        """The hub, if its loop runs, whichever loop or thread asks."""
        return self._hub if self._hub is not None and self._hub.loop.is_running() else None

    @property
    def latest_hub(self) -> Hub | None:
        """The hub, whether its loop runs or not: what was last known."""
        return self._hub

    def rule(self, group: str) -> Rule:
        """Return the rule of the group called ``group``."""
        return self._rules.find(group)

    def home(self) -> asyncio.AbstractEventLoop:
        """Return the loop that connections live on, or are about to, or the running one where there is none yet."""
        hub, starting = self.running_hub, self._starting
        if hub is None and starting is not None and starting.loop.is_running():
            return starting.loop
        return hub.loop if hub is not None else asyncio.get_running_loop()

    async def start(self) -> Hub:
        """Return the hub on the running loop, which becomes home; start the engine if that has not been done.

        Raises ``UsageError`` if connections live on another loop.
        """
        while True:
            with self._lock:
                starting = self._starting
                is_first = starting is None or not starting.loop.is_running()
                if is_first:
                    starting = self._starting = _Start(asyncio.get_running_loop())
            assert starting is not None
            if is_first:
                return await self._start(starting)
            is_here = starting.loop is asyncio.get_running_loop()
            try:
                hub = await asyncio.shield(asyncio.wrap_future(starting.done))
            except Exception:
                if is_here:
                    raise
                continue  # somebody else's trouble
            if is_here:
                return hub

    async def _start(self, starting: _Start) -> Hub:
        try:
            hub = self.hub or await self._make_hub()
        except BaseException as error:
            self._starting = None
            starting.done.set_exception(error if isinstance(error, Exception) else ConnectionError("start cancelled"))
            raise
        self._hub = hub
        self._starting = None
        starting.done.set_result(hub)
        return hub

    async def _make_hub(self) -> Hub:
        """Start an engine and a hub on the running loop."""
        before = self._hub
        if before is not None and before.loop.is_running():
            if before.connections or before.inboxes.are_read:
                raise UsageError(
                    "antiphon's connections and channels live on another event loop: one process has them on one loop"
                )
            self._hub = None
            retiring = asyncio.run_coroutine_threadsafe(_retire(before), before.loop)
            # It may be that loop which is blocked until this has started: then its engine ends when it goes on.
            await asyncio.wait([asyncio.wrap_future(retiring)], timeout=RETIRING)
        engine = open_engine(self.config.engine, self.counters)
        hub = Hub(
            engine,
            self.counters,
            groups_per_connection=self.config.groups_per_connection,
            rules=self._rules,
            process=self._process,
            inbox_limit=self.config.mailbox_limit,
            position_check=self.config.position_check,
        )
        await engine.start(hub, self._process)
        if before is not None:
            await before.inboxes.move_to(hub.inboxes, hub.join_inbox)
        return hub

    def warn_if_alone(self, what: str) -> None:
        """Say once that nobody is here to hear, where ``what`` was called and the engine reaches this process only."""
        running = self.running_hub
        if self._is_warned or not self.config.engine.startswith("memory:") or (running and running.connections):
            return
        self._is_warned = True
        logger.warning(
            "%s was called in a process without connections, and the memory engine reaches its own process only: what "
            "is sent here is not heard elsewhere, nor the other way round. Do it in the server's process, or choose an "
            "engine that processes share.",
            what,
        )

    async def at_home(self, verb: Callable[..., Coroutine[Any, Any, Result]], *arguments: Any) -> Result:
        """Call ``verb`` on the loop that connections live on; where there is none yet, here is home."""
        home = self.home()
        if home is asyncio.get_running_loop():
            await self.start()
            return await verb(*arguments)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(verb(*arguments), home))

    def deflate_format(self, bits: int) -> DeflateFormat:
        """Return the format of all clients that take messages compressed with a window of ``bits``.

        It is one object, so that a message is compressed once for all of them.
        """
        if bits not in self._deflate_formats:
            self._deflate_formats[bits] = DeflateFormat(bits, self.config.compression_threshold, self.counters)
        return self._deflate_formats[bits]

    def admits(self, scope: Scope) -> bool:
        """Tell whether the page that a handshake comes from may connect; if not, count it and say what would let it."""
        refusal = self._origins.refusal(scope.get("headers", ()), secure=scope.get("scheme") == "wss")
        if refusal is None:
            return True
        self.counters.origins_refused += 1
        logger.warning(
            "refused with 403: a page of origin %s wants to connect to host %s. It may with allowed_origins=[%s]; in "
            'Django\'s settings ANTIPHON = {"allowed_origins": [%s]}',
            shown(refusal.origin),
            shown(refusal.host),
            f'"{refusal.entry or "*"}"',
            f'"{refusal.entry or "*"}"',
        )
        return False

    def connect(
        self, hub: Hub, consumer: Consumer, scope: Scope, receive: Receive, send: Send, wire: str = "plain"
    ) -> Connection:
        """Return the connection of one client, whose ``websocket.connect`` has been received; ``run`` serves it."""
        config = self.config
        transport = self._transport(scope, receive, send)
        name = f"specific.{self._process}!{secrets.token_hex(8)}"
        connection: Connection
        if wire == "plain":
            connection = Connection(
                hub=hub, config=config, consumer=consumer, scope=scope, transport=transport, channel_name=name
            )
        else:
            encoding, subprotocol = choose(scope.get("subprotocols", ()), scope.get("query_string", b""))
            connection = CentrifugeConnection(
                hub=hub,
                config=config,
                consumer=consumer,
                scope=scope,
                transport=transport,
                channel_name=name,
                push_format=self._push_format(encoding, transport.format),
                subprotocol=subprotocol,
                verifier=self._verifier,
            )
        consumer.attach(connection, self.layer, scope, config.max_json_depth)
        return connection

    def _push_format(self, encoding: Encoding, inner: Format) -> PushFormat:
        """Return the one format of all clients with this encoding and transport format, so that they share pushes."""
        key = encoding.NAME, inner
        if key not in self._push_formats:
            self._push_formats[key] = PushFormat(encoding, inner)
        return self._push_formats[key]

    def _transport(self, scope: Scope, receive: Receive, send: Send) -> Transport:
        """Choose: straight to the socket where antiphon's server offers its link, else by ASGI."""
        config = self.config
        link = scope.get("extensions", {}).get("antiphon")
        if link is not None:
            return DirectTransport(
                link,
                scope,
                send,
                outbox_limit=config.outbox_limit,
                max_message_size=config.max_message_size,
                close_timeout=config.close_timeout,
            )
        return ASGITransport(scope, receive, send, outbox_limit=config.outbox_limit, close_timeout=config.close_timeout)

    async def stop(self) -> None:
        """Close every connection, wait until their consumers are done, and stop the engine."""
        hub, self._hub = self._hub, None
        if hub is not None:
            await hub.close()
            await hub.engine.stop()


async def _retire(hub: Hub) -> None:
    """End a hub that has no connections, on its loop."""
    hub.following.close()
    await hub.engine.stop()


_making = threading.Lock()
_app: App | None = None
_configured: Mapping[str, Any] = {}


def configure(**options: Any) -> None:
    """Set options by name (``antiphon.config`` lists them) before antiphon is used; the environment wins over them.

    Raises ``ConfigurationError`` for an unknown name or a value that can't be, and while connections are served.
    """
    global _app, _configured
    if _app is not None and _app.running_hub is not None and _app.running_hub.connections:
        raise ConfigurationError("configure() comes too late: connections are being served already")
    App(configuration.load(options, environment=os.environ))  # so that what can't be is told now
    if _app is not None and _app.running_hub is not None:
        asyncio.run_coroutine_threadsafe(_retire(_app.running_hub), _app.running_hub.loop)
    _configured = options
    _app = None


def is_chosen(option: str) -> bool:
    """Tell whether ``configure``, Django's settings or the environment name an option."""
    return option in _configured or f"ANTIPHON_{option.upper()}" in os.environ


def is_configured() -> bool:
    """Tell whether ``configure`` was called with options."""
    return bool(_configured)


def current_app() -> App:
    """Return the process's antiphon."""
    global _app
    app = _app
    if app is None:
        with _making:
            app = _app
            if app is None:
                app = _app = App(configuration.load(_configured, environment=os.environ))
                limit_lines(app.counters)
    return app


def _forget() -> None:
    """Begin anew in a process that was forked: the loop of the other one does not run here, whatever it says."""
    global _app, _making
    _app = None
    _making = threading.Lock()


os.register_at_fork(after_in_child=_forget)
