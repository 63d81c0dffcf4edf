"""What a client of the Centrifuge wire asks for, command by command, and what is answered.

Laws:
- a command is answered once, with its number; ``send`` and a pong are not answered at all, and what is wrong with a
  ``send`` is told as on the plain wire, in a push;
- what is not opened to clients, by a hook of the consumer or by the group's rule, is refused with 103 or 108;
- history and recovery of a group are for those who may subscribe to it;
- an exception of the application in a command is error 100 for this command, and logged, and so is an engine that is
  away; the connection goes on;
- a frame is no message but holds some: each command counts for the client's rates, is read when its turn has come, and
  a frame of many lets others have a turn of the loop in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from msgspec.structs import replace

from antiphon.config import Config
from antiphon.credentials import ttl_of
from antiphon.events import find_rpc
from antiphon.exceptions import (
    ClientError,
    EngineError,
    InvalidName,
    LimitExceeded,
    StopConsumer,
    TokenExpired,
    TokenMismatch,
    TokenRefused,
    is_kind,
)
from antiphon.hub import Hub
from antiphon.lifecycle import State
from antiphon.names import check_group_name
from antiphon.pushformat import client_info, on_wire
from antiphon.rules import check_key
from antiphon.stream import Recovery
from antiphon.types import (
    HistoryRequest,
    Permission,
    Position,
    PresenceRequest,
    Publishing,
    PublishRequest,
    Repeat,
    SubscribeRequest,
    Turn,
)
from antiphon.verifier import Overrides, Subscription, SubscriptionToken
from antiphon.wire import plain
from antiphon.wire.centrifuge import codes, commands, pushes, replies
from antiphon.wire.centrifuge.exceptions import CommandTooBig, ProtocolError
from antiphon.wire.centrifuge.frame import Frame

if TYPE_CHECKING:
    from antiphon.centrifuge import CentrifugeConnection
    from antiphon.connection import Consumer, Turns

__all__ = ["Commands"]

#: The call by which a client publishes so that a repetition is not a second publication.
KEYED_PUBLISH = "antiphon.publish"

logger = logging.getLogger("antiphon.connection")

Result = TypeVar("Result")

#: What a turn of the loop holds of one client's commands: so many, or so many bytes of them (and one command more).
COMMANDS_PER_TURN = 32
BYTES_PER_TURN = 16 * 1024

#: Application's own errors are numbers from here on; one without a number of its own is this.
_APPLICATION = 400


class Refused(Exception):
    """A command is answered with an error."""

    def __init__(self, code: int, message: str = "") -> None:
        error = codes.ERRORS.get(code)
        super().__init__(code, message)
        self.error = codes.Error(
            code, message or (error.message if error is not None else "error"), error is not None and error.temporary
        )


class Greeting(NamedTuple):
    """The first frame: the command ``connect`` with its id, and the frame where more came with it."""

    number: int
    connect: commands.Connect
    rest: Frame | None


class Grant(NamedTuple):
    """What a client has a group with: until when, and what others and it are told of that."""

    ttl: int | None = None
    """Seconds after which a new token is needed; None: none is."""
    info: bytes = b""
    data: bytes = b""
    options: Overrides = Overrides()

    @classmethod
    def of(cls, token: Subscription | None, ttl: int | None = None) -> Grant:
        """Return what a token says, if there is one."""
        return cls() if token is None else cls(ttl, token.info or b"", token.data or b"", token.options)


_NO_GRANT = Grant()


class Commands:
    """The commands of one connection."""

    __slots__ = (
        "_bytes_left",
        "_commands_left",
        "_config",
        "_connection",
        "_consumer",
        "_encoding",
        "_grants",
        "_hooks",
        "_hub",
        "_subscriptions",
        "_turns",
    )

    def __init__(
        self, connection: CentrifugeConnection, consumer: Consumer, turns: Turns, hub: Hub, config: Config
    ) -> None:
        self._connection = connection
        self._encoding = connection.push_format.encoding
        self._consumer = consumer
        self._turns = turns
        self._hooks = consumer.hooks()
        self._hub = hub
        self._config = config
        self._commands_left = COMMANDS_PER_TURN
        self._bytes_left = BYTES_PER_TURN
        self._subscriptions: dict[str, replies.SubscribeResult | None] = {}
        """The client's subscriptions: None for one of its own, what it was told of it for one of the server's."""
        self._grants: dict[str, Grant] = {}
        """What more there is to say of some of them."""

    def grant(self, group: str) -> Grant:
        """Return what the client has the group with."""
        return self._grants.get(group, _NO_GRANT)

    # Frames

    def greeting(self, payload: bytes) -> Greeting | str:
        """Return what the first frame begins with, or why it is none; what stands behind ``connect`` waits."""
        frame = self._decode(payload)
        try:
            number, connect = self._first(frame, payload)
        except ProtocolError as problem:
            return problem.reason
        if not isinstance(connect, commands.Connect):
            return _NO_GREETING
        return Greeting(number, connect, None if frame.is_over else frame)

    def _first(self, frame: Frame, payload: bytes) -> tuple[int, commands.Command]:
        try:
            return next(frame)
        except CommandTooBig:
            # It says where the client stands in every group that the server put it into: they may be many.
            return next(self._decode(payload, max_command_size=len(payload)))

    def frame(self, consumer: Any, payload: bytes) -> Coroutine[Any, Any, None]:
        """Handle the commands of a frame, in their order: a turn of the consumer."""
        data = self._encoding.sent(payload)
        return self._message(data) if data is not None else self.rest(consumer, self._decode(payload))

    async def _message(self, data: bytes) -> None:
        """Handle a frame that is one ``send``: what a message is on the plain wire, and hardly more expensive.

        It was counted when it came, and how many come in a turn of the loop is bounded as on the plain wire.
        """
        try:
            await self._receive(data)
        except (Exception, asyncio.CancelledError) as error:
            self._failed(0, commands.Send, error)

    async def rest(self, consumer: Any, frame: Frame) -> None:
        """Handle those that nobody has taken yet: a turn of the consumer."""
        connection = self._connection
        while not connection.mailbox.has_ended:
            try:
                number, command = next(frame)
            except StopIteration:
                return
            except CommandTooBig as problem:
                self._hub.counters.client_errors += 1
                self._refuse(problem.id, codes.Error(codes.ERROR_BAD_REQUEST, problem.reason))
            except ProtocolError as problem:
                self._break_off(problem.reason)
                return
            else:
                if frame.taken > 1 and not connection.may_go_on():  # the first was counted when the frame came
                    return
                if connection.state is State.OPEN or isinstance(command, _OUTLIVING):
                    await self._handle(number, command)
            await self._let_others_go_first(frame.size)

    async def _let_others_go_first(self, size: int) -> None:
        """Go on in the next turn of the loop where this one holds enough with a command of ``size`` bytes."""
        self._commands_left -= 1
        self._bytes_left -= size
        if self._commands_left <= 0 or self._bytes_left <= 0:
            self._commands_left, self._bytes_left = COMMANDS_PER_TURN, BYTES_PER_TURN
            await asyncio.sleep(0)

    def _decode(self, payload: bytes, **limits: int) -> Frame:
        return self._encoding.decode_frame(payload, **limits)

    async def _handle(self, number: int, command: commands.Command) -> None:
        try:
            result = await _HANDLERS[type(command)](self, command)
        except (Exception, asyncio.CancelledError) as error:
            self._failed(number, type(command), error)
        else:
            if result is not None and number:
                self._reply(number, result)

    def _failed(self, number: int, kind: type, error: BaseException) -> None:
        """Answer a command of this kind with what was wrong; raise what is no fault of the command but its end."""
        if isinstance(error, Refused):
            self._refuse(number, error.error)
        elif not number and isinstance(error, (ClientError, EngineError)):
            self._tell(kind, error)
        elif isinstance(error, ClientError):
            self._hub.counters.client_errors += 1
            self._refuse(number, _as_error(error))
        elif number and isinstance(error, LimitExceeded):
            self._refuse(number, codes.Error(codes.ERROR_LIMIT_EXCEEDED, str(error)))
        elif isinstance(error, EngineError):
            self._connection.engine_failed(kind.__name__.lower(), error)
            self._refuse(number, codes.ERRORS[codes.ERROR_INTERNAL])
        elif is_kind(error, StopConsumer) or _is_end_of_task(error):
            raise error
        else:
            self._hub.counters.handler_errors += 1
            self._connection.log_failure(kind.__name__.lower(), error)
            self._refuse(number, codes.ERRORS[codes.ERROR_INTERNAL])

    def _tell(self, kind: type, error: ClientError | EngineError) -> None:
        """Tell what was wrong with a command that has no answer, as on the plain wire."""
        if isinstance(error, ClientError):
            self._connection.client_erred(error)
        else:
            self._connection.engine_failed(kind.__name__.lower(), error)
            self._connection.tell_unavailable()

    def _reply(self, number: int, result: replies.Result) -> None:
        connection = self._connection
        encoded = self._encoding.encode_reply(number, result)
        if isinstance(result, replies.SubscribeResult):  # who is a member now gets those publications, too
            connection.reply_first(encoded)
        else:
            connection.reply(encoded)

    def _refuse(self, number: int, error: codes.Error) -> None:
        if number:
            self._connection.reply(self._encoding.encode_error(number, error))

    def _break_off(self, reason: str) -> None:
        self._hub.counters.client_errors += 1
        self._connection.end(codes.CLOSE_BAD_REQUEST, reason)

    # Commands without a group

    async def _connect(self, command: commands.Connect) -> None:
        self._break_off("connect came a second time")

    async def _pong(self, command: commands.Pong) -> None:
        self._connection.ponged()

    async def _ping(self, command: commands.Ping) -> None:
        raise Refused(codes.ERROR_NOT_AVAILABLE)

    async def _send(self, command: commands.Send) -> None:
        await self._receive(command.data or b"null")

    def _receive(self, data: bytes) -> Coroutine[Any, Any, Any]:
        """Return the consumer's handler of a message."""
        turn = self._turns.text if data.isascii() or is_text(data) else self._turns.binary
        return turn(self._consumer, data)

    async def _rpc(self, command: commands.Rpc) -> replies.RpcResult:
        if command.method == KEYED_PUBLISH:
            answer: Any = await self._publish_once(self._content(command.data))
        elif (turn := find_rpc(type(self._consumer), command.method)) is not None:
            answer = await turn(self._consumer, self._content(command.data))
        else:
            raise Refused(codes.ERROR_METHOD_NOT_FOUND)
        return replies.RpcResult(plain.encode(answer))

    # Tokens

    async def _refresh(self, command: commands.Refresh) -> replies.RefreshResult | None:
        credentials = self._connection.credentials
        if not credentials.expire:
            self._break_off("refresh came, but this connection does not expire")
            return None
        try:
            credentials.show(command.token)
        except TokenExpired as refused:
            raise self._refused(refused, codes.ERROR_EXPIRED) from None
        except TokenRefused as refused:
            self._connection.end(codes.CLOSE_INVALID_TOKEN, refused.reason)
            raise self._refused(refused, codes.ERROR_PERMISSION_DENIED) from None
        self._hub.attendance.changed(self._connection)
        ttl = credentials.ttl
        return replies.RefreshResult(self._connection.client, expires=ttl is not None, ttl=ttl or 0)

    async def _sub_refresh(self, command: commands.SubRefresh) -> replies.SubRefreshResult:
        if command.channel not in self._subscriptions or not command.token:
            raise Refused(codes.ERROR_PERMISSION_DENIED)
        shown = self._show(command.channel, command.token)
        grant = Grant.of(shown, ttl_of(shown))
        if shown is not None:
            self._grants[command.channel] = grant
            self._hub.attendance.changed(self._connection)
        return replies.SubRefreshResult(expires=grant.ttl is not None, ttl=grant.ttl or 0)

    def _show(self, group: str, token: str) -> SubscriptionToken | None:
        """Take the token of a subscription; None: tokens are not checked here."""
        connection = self._connection
        try:
            return connection.credentials.show_for(group, token, user=connection.user_id, client=connection.client)
        except TokenExpired as refused:
            raise self._refused(refused, codes.ERROR_TOKEN_EXPIRED) from None
        except TokenRefused as refused:
            if isinstance(refused, TokenMismatch):
                connection.end(codes.CLOSE_INVALID_TOKEN, refused.reason)
            raise self._refused(refused, codes.ERROR_PERMISSION_DENIED) from None

    def _refused(self, refused: TokenRefused, code: int) -> Refused:
        self._hub.counters.tokens_refused += 1
        logger.info("%s: a token is not accepted: %s", self._connection, refused)
        return Refused(code)

    def subscription_expired(self, group: str) -> None:
        """End a subscription for which no new token came in time."""
        if self._subscriptions.get(group) is not None:
            self._connection.end(codes.CLOSE_SUBSCRIPTION_EXPIRED)
        else:
            self.unsubscribe_by_server(group, codes.UNSUBSCRIBE_EXPIRED)

    # Subscriptions

    async def _subscribe(self, command: commands.Subscribe) -> replies.SubscribeResult | None:
        group = self._group(command.channel)
        if command.type or command.tf:
            raise Refused(codes.ERROR_NOT_AVAILABLE, "this kind of subscription is not offered")
        if group in self._subscriptions:
            raise Refused(codes.ERROR_ALREADY_SUBSCRIBED)
        grant = await self._permit_subscribing(group, command)
        result = await self._granted(group, grant, self._enter(group, command))
        if result is not None and grant != _NO_GRANT:
            result = replace(result, expires=grant.ttl is not None, ttl=grant.ttl or 0, data=grant.data)
        return result

    async def _granted(self, group: str, grant: Grant, entering: Coroutine[Any, Any, Result]) -> Result:
        """Let the client become a member with what was granted, which is forgotten where it does not."""
        if grant != _NO_GRANT:
            self._grants[group] = grant
        try:
            return await entering
        finally:
            if group not in self._subscriptions:
                self._grants.pop(group, None)
                self._connection.credentials.forget(group)

    async def _enter(self, group: str, command: commands.Subscribe) -> replies.SubscribeResult | None:
        """Make the client a member, and return what it is told; None: the connection is over."""
        since = Position(command.epoch, command.offset) if command.recover else None
        if not self._hub.rule(group).history_size:
            await self._hub.join(group, self._connection)
            if group in self._subscriptions:
                raise Refused(codes.ERROR_ALREADY_SUBSCRIBED)
            self._subscriptions[group] = None
            return replies.SubscribeResult(was_recovering=command.recover)
        rejects = since is not None and bool(command.flag & commands.REJECT_UNRECOVERED)
        recovery = await self._hub.join_at(group, self._connection, since, recovered_only=rejects)
        if recovery is None:
            if self._connection.state is State.OPEN:  # the application was faster
                raise Refused(codes.ERROR_ALREADY_SUBSCRIBED)
            return None
        if rejects and not recovery.recovered:
            raise Refused(codes.ERROR_UNRECOVERABLE_POSITION)
        self._subscriptions[group] = None
        return _subscribed(since, recovery)

    async def _permit_subscribing(self, group: str, command: commands.Subscribe) -> Grant:
        """Return what is granted; a token wins over the hook, and the hook over the rule."""
        if command.token and self._connection.credentials.are_checked:
            shown = self._show(group, command.token)
            return Grant.of(shown, ttl_of(shown))
        if self._hooks.subscribe is not None:
            request = SubscribeRequest(group, self._content(command.data))
            permitted = await self._hooks.subscribe(self._consumer, request)
        else:
            permitted = self._hub.rule(group).subscribe == "allow"
        if isinstance(permitted, Permission):
            return Grant(info=_encoded(permitted.info), data=_encoded(permitted.content))
        if not permitted:
            raise Refused(codes.ERROR_PERMISSION_DENIED)
        return _NO_GRANT

    async def _unsubscribe(self, command: commands.Unsubscribe) -> replies.UnsubscribeResult:
        if command.channel in self._subscriptions:
            self._end_subscription(command.channel)
        return replies.UnsubscribeResult()

    def _end_subscription(self, group: str) -> None:
        del self._subscriptions[group]
        self._grants.pop(group, None)
        self._connection.credentials.forget(group)
        self._hub.leave(group, self._connection)

    # What is done with groups

    async def _publish(self, command: commands.Publish) -> replies.PublishResult:
        if command.type:
            raise Refused(codes.ERROR_NOT_AVAILABLE)
        await self._publish_to(self._group(command.channel), self._content(command.data), "")
        return replies.PublishResult()

    async def _publish_once(self, content: Any) -> dict[str, Any]:
        """Publish with a key of the client's, so that it may ask again where it did not hear the answer.

        The key is the user's own: what others have published under it does not count.
        """
        if not isinstance(content, dict) or not {"channel", "data", "key"} <= set(content):
            raise Refused(codes.ERROR_BAD_REQUEST, f"{KEYED_PUBLISH} takes an object with channel, data and key")
        try:
            key = check_key(content["key"])
        except InvalidName as problem:
            raise Refused(codes.ERROR_BAD_REQUEST, str(problem)) from None
        position = await self._publish_to(self._group(content["channel"]), content["data"], key)
        return {"epoch": position.epoch, "offset": position.offset, "repeated": isinstance(position, Repeat)}

    async def _publish_to(self, group: str, content: Any, key: str) -> Position:
        """Publish as the hook or the rule permits; with a ``key``, once for this user."""
        rule = self._hub.rule(group)
        if self._hooks.publish is not None:
            content = await self._hooks.publish(self._consumer, PublishRequest(group, content, key))
        elif rule.publish == "deny" or (rule.publish == "members" and group not in self._subscriptions):
            raise Refused(codes.ERROR_PERMISSION_DENIED)
        self._hub.counters.publications += 1
        user = self._connection.user_id
        once = f"{len(user)}:{user}:{key}" if key else ""
        publishing = Publishing(rule.retention, once, self._connection.info_in(group))
        return await self._hub.engine.publish(group, plain.encode(content), "", publishing)

    async def _history(self, command: commands.History) -> replies.HistoryResult:
        group = self._group(command.channel)
        rule = self._hub.rule(group)
        if not rule.history_size:
            raise Refused(codes.ERROR_NOT_AVAILABLE)
        since = command.since
        limit = command.limit if command.limit >= 0 else None
        request = HistoryRequest(group, since, limit, command.reverse)
        await self._check_member(group, self._hooks.history, request, by_rule=rule.history == "members")
        if since is not None and command.reverse and since.offset == 0:
            raise Refused(codes.ERROR_BAD_REQUEST)
        page = await self._hub.engine.history(group, rule.retention, since=since, limit=limit, reverse=command.reverse)
        if since is not None and since.epoch not in ("", page.top.epoch):
            raise Refused(codes.ERROR_UNRECOVERABLE_POSITION)
        publications = [on_wire(each, kept=True) for each in page.publications]
        return replies.HistoryResult(publications, page.top.epoch, page.top.offset)

    async def _presence(self, command: commands.Presence) -> replies.PresenceResult:
        group = await self._noted_group(command.channel)
        infos = await self._hub.engine.presence(group)
        return replies.PresenceResult({client: client_info(info) for client, info in infos.items()})

    async def _presence_stats(self, command: commands.PresenceStats) -> replies.PresenceStatsResult:
        stats = await self._hub.engine.presence_stats(await self._noted_group(command.channel))
        return replies.PresenceStatsResult(stats.clients, stats.users)

    async def _noted_group(self, name: str) -> str:
        """Return the group, if the client may know who is in it."""
        group = self._group(name)
        rule = self._hub.rule(group)
        if rule.presence == "off":
            raise Refused(codes.ERROR_NOT_AVAILABLE)
        await self._check_member(
            group, self._hooks.presence, PresenceRequest(group), by_rule=rule.presence == "members"
        )
        return group

    async def _check_member(self, group: str, hook: Turn | None, request: Any, *, by_rule: bool) -> None:
        """Refuse who is not in the group, and who is where the hook, or else the rule, does not open it."""
        if group in self._subscriptions and (by_rule if hook is None else await hook(self._consumer, request)):
            return
        raise Refused(codes.ERROR_PERMISSION_DENIED)

    # Subscriptions of the server

    async def subscribe_by_server(self, group: str) -> None:
        """Subscribe the client because the application says so; it is told with the answer to connect, or at once."""
        if group in self._subscriptions:
            return
        connection = self._connection
        token = connection.credentials.token if connection.state is State.CONNECTING else None
        grant = Grant.of(token.subscriptions.get(group) if token is not None else None)
        result = await self._granted(group, grant, self._enter_by_server(group, grant))
        if result is not None and connection.state is State.OPEN:
            connection.push(
                group,
                pushes.Subscribe(result.recoverable, result.epoch, result.offset, result.positioned, result.data),
            )

    async def _enter_by_server(self, group: str, grant: Grant) -> replies.SubscribeResult | None:
        """Make the client a member, and return what it is told; None: it is one already, or the connection is over."""
        connection = self._connection
        if not self._hub.rule(group).history_size:
            await self._hub.join(group, connection)
            if group in self._subscriptions:  # the client was faster
                return None
            result = replies.SubscribeResult()
        else:
            before = connection.asked.subs.get(group) if connection.state is State.CONNECTING else None
            since = Position(before.epoch, before.offset) if before is not None and before.recover else None
            recovery = await self._hub.join_at(group, connection, since)
            if recovery is None:
                return None
            result = _subscribed(since, recovery)
        self._subscriptions[group] = result = replace(result, data=grant.data) if grant.data else result
        return result

    def made_by_server(self) -> dict[str, replies.SubscribeResult]:
        """Return the subscriptions that the client is told of with the answer to connect."""
        return {group: result for group, result in self._subscriptions.items() if result is not None}

    def unsubscribe_by_server(self, group: str, code: int) -> None:
        """End a subscription from this side, and tell the client."""
        if group in self._subscriptions:
            self._end_subscription(group)
            self._connection.push(group, pushes.Unsubscribe(code, codes.UNSUBSCRIBES[code].reason))

    def insufficient_state(self, group: str) -> None:
        """Note that publications of a group are lost: the client subscribes anew, or comes back, and recovers."""
        if self._subscriptions.get(group) is not None:
            self._connection.end(codes.CLOSE_INSUFFICIENT_STATE)
        else:
            self.unsubscribe_by_server(group, codes.UNSUBSCRIBE_INSUFFICIENT_STATE)

    # What commands have in common

    def _group(self, name: str) -> str:
        try:
            return check_group_name(name)
        except InvalidName as problem:
            raise Refused(codes.ERROR_BAD_REQUEST, str(problem)) from None

    def _content(self, data: bytes) -> Any:
        if not data:
            return None
        try:
            return plain.decode(data, self._config.max_json_depth)
        except ClientError as problem:
            self._hub.counters.client_errors += 1
            raise Refused(codes.ERROR_BAD_REQUEST, problem.reason) from None


def _subscribed(since: Position | None, recovery: Recovery) -> replies.SubscribeResult:
    """Return what a client is told of a subscription to a group that keeps its history."""
    recovered = since is not None and recovery.recovered
    return replies.SubscribeResult(
        recoverable=True,
        positioned=True,
        epoch=recovery.position.epoch,
        offset=recovery.position.offset - (len(recovery.publications) if recovered else 0),
        recovered=recovered,
        was_recovering=since is not None,
        publications=[on_wire(each, kept=True) for each in recovery.publications] if recovered else (),
    )


def _encoded(content: Any) -> bytes:
    return b"" if content is None else plain.encode(content)


_NO_GREETING = "the first command is not connect"
#: What a client has said to others before it left reaches them; what it wanted to know does not matter any more.
_OUTLIVING = (commands.Send, commands.Publish, commands.Rpc)


def is_text(data: bytes) -> bool:
    """Tell whether ``data`` is UTF-8; from a Protobuf connection it may be anything."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_end_of_task(error: BaseException) -> bool:
    """Tell whether the connection's task was cancelled, and not only what a command waited for."""
    return isinstance(error, asyncio.CancelledError) and asyncio.current_task().cancelling() > 0  # type: ignore[union-attr]


def _as_error(problem: ClientError) -> codes.Error:
    if isinstance(problem.code, int):
        return codes.Error(problem.code, problem.reason)
    return codes.Error(_APPLICATION, f"{problem.code}: {problem.reason}")


_HANDLERS: dict[type, Callable[[Any, Any], Coroutine[Any, Any, Any]]] = {
    commands.Connect: Commands._connect,
    commands.Subscribe: Commands._subscribe,
    commands.Unsubscribe: Commands._unsubscribe,
    commands.Publish: Commands._publish,
    commands.Presence: Commands._presence,
    commands.PresenceStats: Commands._presence_stats,
    commands.History: Commands._history,
    commands.Ping: Commands._ping,
    commands.Pong: Commands._pong,
    commands.Send: Commands._send,
    commands.Rpc: Commands._rpc,
    commands.Refresh: Commands._refresh,
    commands.SubRefresh: Commands._sub_refresh,
}
