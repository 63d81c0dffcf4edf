"""A client of the Centrifuge wire: its life, from the WebSocket's handshake to the close code.

The consumer sees what it sees on the plain wire; what differs is when. The WebSocket is accepted at once, and the
client then sends a command ``connect``: that is when the consumer's ``connect()`` runs, ``accept()`` answers the
command, and ``close()`` before that is a close code. Groups that the consumer joins are *subscriptions of the server*:
the client is told of them, in the answer or later, and gets what it missed of those that keep their history.

Laws:
- the first frame begins with ``connect``; the commands of a frame are handled in their order, one at a time;
- nothing is written before the answer to ``connect``, and a subscription's answer before its publications;
- every close code has plain words with it, and says whether the client is to come back (``wire.centrifuge.codes``);
- a pong that nobody asked for ends the connection, as the protocol has it; one that was asked for waits behind no
  handler.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from antiphon import codes
from antiphon.commands import Commands
from antiphon.config import Config
from antiphon.connection import KICKED, Connection, Consumer
from antiphon.credentials import Credentials
from antiphon.exceptions import TokenExpired, TokenRefused
from antiphon.fanout import NO_DESCRIPTOR
from antiphon.formats import Chunk
from antiphon.hub import Hub
from antiphon.lifecycle import State
from antiphon.pushformat import PushFormat
from antiphon.roster import Entry
from antiphon.rules import Rule
from antiphon.transport import Transport
from antiphon.types import ClientInfo, Position, Scope
from antiphon.verifier import Verifier
from antiphon.wire.centrifuge import codes as wire
from antiphon.wire.centrifuge import pushes, replies
from antiphon.wire.centrifuge.commands import Connect
from antiphon.wire.centrifuge.frame import Frame

__all__ = ["CentrifugeConnection"]

logger = logging.getLogger("antiphon.connection")

#: What antiphon's own close codes are on this wire. (Those from 3000 on are the application's, and stay.)
_CLOSE_CODES = {
    codes.NORMAL: wire.CLOSE_FORCE_DISCONNECT,
    codes.GOING_AWAY: wire.CLOSE_SHUTDOWN,
    codes.SERVICE_RESTART: wire.CLOSE_SHUTDOWN,
    codes.INTERNAL_ERROR: wire.CLOSE_INTERNAL,
    codes.TRY_AGAIN_LATER: wire.CLOSE_SLOW,
    codes.POLICY_VIOLATION: wire.CLOSE_BAD_REQUEST,
}
#: Those of them that say "come back", also to one who is not accepted.
_COME_BACK = (codes.SERVICE_RESTART, codes.TRY_AGAIN_LATER)
#: What a refusal's HTTP status is on this wire.
_REFUSALS = {403: wire.CLOSE_PERMISSION_DENIED, 500: wire.CLOSE_INTERNAL, 503: wire.CLOSE_INTERNAL}


class CentrifugeConnection(Connection):
    """One client of the Centrifuge wire and its consumer."""

    RATE_EXCEEDED = wire.CLOSE_TOO_MANY_REQUESTS

    __slots__ = (
        "_asked",
        "_commands",
        "_early",
        "_encoding",
        "_first",
        "_held",
        "_held_size",
        "_number",
        "_ping_timer",
        "_real_write",
        "_refused_with",
        "_rest",
        "_subprotocol",
        "_turned_away",
        "awaits_pong",
        "credentials",
        "push_format",
    )

    def __init__(
        self,
        *,
        hub: Hub,
        config: Config,
        consumer: Consumer,
        scope: Scope,
        transport: Transport,
        channel_name: str,
        push_format: PushFormat,
        subprotocol: str | None,
        verifier: Verifier | None = None,
    ) -> None:
        self._real_write: tuple[Callable[[Chunk], None], int] = transport.write, NO_DESCRIPTOR
        self._held: list[Chunk] | None = []
        """What is to be written behind the answer to ``connect``; None: that is out."""
        self._held_size = 0
        super().__init__(
            hub=hub, config=config, consumer=consumer, scope=scope, transport=transport, channel_name=channel_name
        )
        self.push_format = push_format
        self._encoding = push_format.encoding
        self.format = push_format
        self.write = self._hold
        self.awaits_pong = False
        self._subprotocol = subprotocol
        self._first: asyncio.Future[bytes] | None = hub.loop.create_future()
        self._asked = Connect()
        self._number = 0
        self._rest: Frame | None = None
        """What came in the frame of ``connect`` behind it."""
        self._early: list[tuple[bytes, bool]] = []
        """Frames that came with the first one, before reading paused, and whether each is of text."""
        self._refused_with: tuple[int, str | None] | None = None
        self._turned_away = False
        self._ping_timer: asyncio.TimerHandle | None = None
        self._commands = Commands(self, consumer, self._turns, hub, config)
        self.credentials = Credentials(verifier, expired=self._expired, ended=self._commands.subscription_expired)
        """What the client has shown of who it is."""
        self._on_text = self._on_binary = self._commands.frame

    # The life of the connection

    async def run(self) -> None:
        """Serve the client until the connection is over."""
        try:
            await self._transport.accept(self._subprotocol, ())
        except OSError:
            return
        self._hub.add(self)
        self._transport.listen()
        greeted = False
        try:
            greeted = await self._greeted()
        except asyncio.CancelledError:
            self.end(codes.SERVICE_RESTART)
            raise
        finally:
            if not greeted:
                await self._finish()
        if greeted:
            await super().run()

    async def _greeted(self) -> bool:
        """Wait for the first frame, and tell whether it begins with ``connect``; if not, this was all."""
        first = self._first
        assert first is not None
        try:
            async with asyncio.timeout(self._config.handshake_timeout):
                payload = await first
        except TimeoutError:
            self._hub.counters.handshakes_timed_out += 1
            return self._is_no_greeting(wire.CLOSE_STALE)
        except ConnectionError:
            return False
        finally:
            self._first = None
        if self.state is not State.CONNECTING:
            return False
        greeting = self._commands.greeting(payload)
        if isinstance(greeting, str):
            self._hub.counters.client_errors += 1
            return self._is_no_greeting(wire.CLOSE_BAD_REQUEST, greeting)
        self._number, self._asked, self._rest = greeting
        self._scope["centrifuge"] = self._asked
        return not self._asked.token or self._accepts(self._asked.token)

    def _accepts(self, token: str) -> bool:
        """Tell whether the token is good; if not, this was all."""
        try:
            self.credentials.show(token)
        except TokenRefused as refused:
            self._hub.counters.tokens_refused += 1
            logger.info("%s: refused, its token is not accepted: %s", self, refused)
            if not isinstance(refused, TokenExpired):
                return self._is_no_greeting(wire.CLOSE_INVALID_TOKEN, refused.reason)
            error = wire.ERRORS[wire.ERROR_TOKEN_EXPIRED]
            self._real_write[0](self.push_format.reply(self.push_format.encoding.encode_error(self._number, error)))
            return self._is_no_greeting(wire.CLOSE_EXPIRED)
        self._scope["token"] = self.credentials.token
        return True

    def initial_groups(self) -> tuple[str, ...]:
        """Return the groups that the token names."""
        token = self.credentials.token
        return token.groups if token is not None else ()

    def _is_no_greeting(self, code: int, reason: str | None = None) -> bool:
        self._refused_with = code, reason
        self._refuse()
        return False

    async def _open(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Answer the command ``connect``."""
        ping = math.ceil(self._config.ping_interval)
        result = replies.ConnectResult(
            client=self.client,
            subs=self._commands.made_by_server(),
            expires=self.credentials.ttl is not None,
            ttl=self.credentials.ttl or 0,
            ping=ping,
            pong=ping > 0 and self._config.ping_timeout > 0,
        )
        write, _ = self._real_write
        write(self.push_format.reply(self.push_format.encoding.encode_reply(self._number, result)))
        held, self._held = self._held or (), None
        for chunk in held:
            write(chunk)
        super().write_by(*self._real_write)
        self._transport.resume_reading()
        self._schedule_ping(first_ping(self.client, self._config.ping_interval))
        rest, self._rest = self._rest, None
        if rest is not None:
            self.mailbox.put(self._commands.rest, rest)
        early, self._early = self._early, []
        for payload, is_text in early:
            (self.receive_text if is_text else self.receive_binary)(payload)

    async def _finish(self) -> None:
        self.credentials.close()
        await super()._finish()

    def kick(self, code: int, reason: str) -> None:
        """Close it because an order says so."""
        code, reason = code or wire.CLOSE_FORCE_DISCONNECT, reason or KICKED
        if self.state is State.CONNECTING:
            self._refused_with = code, reason
        super().kick(code, reason)

    def expire_at(self, when: float | None) -> None:
        """End it then, unless a new token comes, and tell the client."""
        self.credentials.expire_at(when)
        ttl = self.credentials.ttl
        self.push("", pushes.Refresh(expires=ttl is not None, ttl=ttl or 0))

    def _expired(self) -> None:
        self.end(wire.CLOSE_EXPIRED)

    async def _turn_away(self, status: int) -> None:
        if self._refused_with is None:
            self._refused_with = _REFUSALS.get(status, wire.CLOSE_INTERNAL), None
        if not self._turned_away:
            self._turned_away = True
            self._close_transport(*self._refused_with)

    async def close(self, code: int | None, reason: str | None) -> None:
        """Close the connection, or refuse it with a code of the application's if it was not accepted."""
        if self.state is State.CONNECTING:
            if code is not None and (code >= 3000 or code in _COME_BACK):
                self._refused_with = codes.check_close_code(code), reason
            elif reason:
                self._refused_with = wire.CLOSE_PERMISSION_DENIED, reason
        await super().close(code, reason)

    def _close_transport(self, code: int, reason: str | None) -> None:
        code = _CLOSE_CODES.get(code, code)
        self._transport.close(code, wire.plain_reason(code, reason or "").encode())

    def lost(self, code: int, reason: str = "") -> None:
        """Note that the client is gone."""
        self._stop_pinging()
        self._stop_waiting()
        super().lost(code, reason)

    def end(self, code: int, reason: str | None = None) -> None:
        """Close from this side."""
        self._stop_pinging()
        if self.state is State.CONNECTING:
            self._stop_waiting()
            super().end(code, reason)
            self._close_transport(code, reason)
        else:
            super().end(code, reason)

    def _stop_waiting(self) -> None:
        """Go on without a first frame."""
        if self._first is not None and not self._first.done():
            self._first.set_exception(ConnectionError("the client is gone"))

    # What comes in

    # Nearly every frame takes the first way. Not super(), which is twice the price.

    def receive_text(self, payload: bytes) -> None:
        """Take a frame."""
        if self._held is None and self._encoding.IS_TEXT and payload != self._encoding.PING:
            Connection.receive_text(self, payload)
        else:
            self._take(payload, is_text=True)

    def receive_binary(self, payload: bytes) -> None:
        """Take a frame."""
        if self._held is None and not self._encoding.IS_TEXT and payload != self._encoding.PING:
            Connection.receive_binary(self, payload)
        else:
            self._take(payload, is_text=False)

    def may_go_on(self) -> bool:
        """Count a further command of a frame, as a message; if it is one too many, the client is closed."""
        return not self._metered or self._may_pass(0)

    def _take(self, payload: bytes, *, is_text: bool) -> None:
        """Take a frame before ``connect`` is answered, one of the wrong kind, or a pong."""
        if self._first is not None and not self._first.done():
            self._first.set_result(payload if is_text is self._encoding.IS_TEXT else b"")
            self._transport.pause_reading()
        elif self._held is not None:
            self._early.append((payload, is_text))
        elif is_text is self._encoding.IS_TEXT:  # a pong looks like a ping
            self.ponged()
        else:
            self.end(wire.CLOSE_BAD_REQUEST, "a text frame where Protobuf is spoken" if is_text else "a binary frame")

    # What goes out

    def write_by(self, write: Callable[[Chunk], None], descriptor: int = NO_DESCRIPTOR) -> None:
        """Hand chunks to ``write`` from now on, or as soon as ``connect`` was answered."""
        self._real_write = write, descriptor
        if self._held is None:
            super().write_by(write, descriptor)

    def _hold(self, chunk: Chunk) -> None:
        if self._held is None or self.state is not State.CONNECTING:
            return
        self._held.append(chunk)
        self._held_size += self.format.size(chunk)
        if self._held_size > self._config.outbox_limit:
            self._held = []
            self._hub.counters.slow_consumers += 1
            logger.error(
                "%s: connect() is so slow that %d bytes wait for it; closed at outbox_limit", self, self._held_size
            )
            self.end(codes.TRY_AGAIN_LATER, "the server is too slow for this connection; come back later")

    def reply(self, encoded: bytes) -> None:
        """Send what the encoding has made, behind everything that was caused before."""
        if self.state is State.OPEN:
            self.enqueue(self.push_format.reply(encoded))

    def reply_first(self, encoded: bytes) -> None:
        """Send what the encoding has made, in front of publications that wait for handlers."""
        if self.state is State.OPEN:
            self.append(self.push_format.reply(encoded))

    def push(self, group: str, push: pushes.Push) -> None:
        """Send a push to this client alone, in front of publications that wait for handlers.

        It says what the client is from now on a member of, or no longer.
        """
        self.reply_first(self.push_format.encoding.encode_push(group, push))

    # Pings

    def _schedule_ping(self, seconds: float) -> None:
        if self._config.ping_interval:
            self._ping_timer = self._hub.loop.call_later(seconds, self._ping)

    def _ping(self) -> None:
        self.awaits_pong = True
        self.reply(self.push_format.encoding.PING)
        timeout = self._config.ping_timeout or self._config.ping_interval
        self._ping_timer = self._hub.loop.call_later(timeout, self._pong_is_due)

    def _pong_is_due(self) -> None:
        if self.awaits_pong and self._config.ping_timeout and len(self.mailbox):
            # Nothing may be read until the consumer has caught up: the pong may wait behind what is not.
            self._ping_timer = self._hub.loop.call_later(self._config.ping_timeout, self._pong_is_due)
        elif self.awaits_pong and self._config.ping_timeout:
            self._hub.counters.pings_unanswered += 1
            self.end(wire.CLOSE_NO_PONG)
        else:
            remaining = self._config.ping_interval - (self._config.ping_timeout or self._config.ping_interval)
            self._ping_timer = self._hub.loop.call_later(max(remaining, 0.001), self._ping)

    def ponged(self) -> None:
        """Take a pong."""
        if self.awaits_pong:
            self.awaits_pong = False
        else:
            self.end(wire.CLOSE_BAD_REQUEST, "a pong without a ping")

    def _stop_pinging(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
            self._ping_timer = None

    # Groups that the application joins: subscriptions of the server

    async def join(self, group: str) -> None:
        """Subscribe the client to a group, and tell it."""
        await self._commands.subscribe_by_server(group)

    def leave(self, group: str) -> None:
        """End the client's subscription, and tell it."""
        self._commands.unsubscribe_by_server(group, wire.UNSUBSCRIBE_SERVER)

    def gap(self, group: str, position: Position) -> None:
        """Let the client subscribe anew and recover what there is, or come back to do so."""
        self._commands.insufficient_state(group)

    @property
    def asked(self) -> Connect:
        """The command that the client began with."""
        return self._asked

    @property
    def info(self) -> ClientInfo:
        """Who the client is, as others see it: what the consumer says of it, or else its token."""
        info, token = super().info, self.credentials.token
        if not info.connection_info and token is not None and token.info:
            return replace(info, connection_info=token.info)
        return info

    def info_in(self, group: str) -> ClientInfo:
        """The same, with what was said of its subscription to one group."""
        said = self._commands.grant(group).info
        return replace(self.info, subscription_info=said) if said else self.info

    def entry_in(self, group: str, rule: Rule) -> Entry | None:
        """Return what is noted of this member of a group that notes presence; its token can have less noted."""
        options = self._commands.grant(group).options
        if options.presence is False:
            return None
        return Entry(self.info_in(group), rule.join_leave and options.join_leave is not False)

    @property
    def user_id(self) -> str:
        """The user's id as text, by the token or else the scope; empty for nobody."""
        token = self.credentials.token
        return token.user if token is not None else super().user_id


def first_ping(client: str, interval: float) -> float:
    """Return after how many seconds a client is pinged first, by its id: from half of ``interval`` to all of it.

    So those who came at the same moment are not pinged at the same. The next come ``interval`` after one another.
    """
    return interval * (1 + uuid.UUID(client).int / 2**128) / 2
