"""One client's link: its life, its mailbox, what it is about to be sent.

The consumer speaks to the connection, the connection to its transport and to the hub. It runs in the one task that the
server started for the client (``run``), which owns every handler's turn.

Laws:
- ``disconnect`` runs once for each connection that was accepted, however it ended, and its memberships are gone before;
- after ``close()`` nothing is accepted, joined or sent; each such call is counted and the log says so once;
- messages that arrived before the client left are handled before ``disconnect`` runs;
- a client that is over its rates is told and closed, and nothing more of it reaches the consumer;
- bad input costs an error frame, an exception in the application this connection (1011), and nobody else anything.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from antiphon import codes
from antiphon.admission import Admission
from antiphon.config import Config
from antiphon.control import session_digest
from antiphon.exceptions import ClientError, EngineError, NotAccepted, StopConsumer, UsageError, is_kind
from antiphon.fanout import NO_DESCRIPTOR
from antiphon.formats import Chunk, Format
from antiphon.hub import Hub
from antiphon.lifecycle import Happening, State, next_state
from antiphon.limits import Meter
from antiphon.logs import shown
from antiphon.mailbox import Mailbox
from antiphon.roster import Entry
from antiphon.rules import Rule
from antiphon.threads import Outlet
from antiphon.types import ClientInfo, Position, Scope, Turn
from antiphon.wire import plain

if TYPE_CHECKING:
    from antiphon.group import Cohort, Follower, Group
    from antiphon.transport import Transport

__all__ = ["Connection", "Consumer", "Hooks", "Turns"]

logger = logging.getLogger("antiphon.connection")

#: The reason that a client is told that was kicked.
KICKED = "disconnected by the server"


class Consumer(Protocol):
    """What a connection calls on the application's object."""

    @property
    def groups(self) -> Iterable[str]:
        """Groups to join before ``connect``."""

    @property
    def client_info(self) -> Any:
        """What others see of the client, JSON; None: nothing."""

    def turns(self) -> Turns:
        """Return the turns that the connection runs."""

    def hooks(self) -> Hooks:
        """Return the hooks that the application has."""


class Turns(NamedTuple):
    """What a consumer does on the connection's word; each is one turn."""

    connect: Turn
    """Decides on the connection: accept() or close(). Its argument is None."""
    text: Turn
    """Takes a text message, UTF-8 that was checked."""
    binary: Turn
    """Takes a binary message."""
    disconnect: Turn
    """Takes leave; its argument is the close code."""


class Hooks(NamedTuple):
    """What a consumer decides of what a client of the Centrifuge wire asks for; each is one turn, or there is none.

    Where there is none, the group's rule decides.
    """

    subscribe: Turn | None = None
    """May the client subscribe? Its argument is the group and the content that came along."""
    publish: Turn | None = None
    """What of the client's content is published? Its argument is the group and the content."""
    presence: Turn | None = None
    """May the client, which is in the group, know who else is?"""
    history: Turn | None = None
    """May the client, which is in the group, read its history?"""


class Connection:
    """One client and its consumer, from the handshake to the end."""

    RATE_EXCEEDED = codes.POLICY_VIOLATION
    """How a client over its rates is closed."""

    __slots__ = (
        "__weakref__",
        "_admission",
        "_client",
        "_close_code",
        "_config",
        "_consumer",
        "_done",
        "_erred",
        "_hub",
        "_meter",
        "_metered",
        "_on_binary",
        "_on_text",
        "_refusal",
        "_reported",
        "_scope",
        "_transport",
        "_turns",
        "channel_name",
        "consumer_class",
        "descriptor",
        "format",
        "mailbox",
        "memberships",
        "pending",
        "state",
        "write",
    )

    def __init__(
        self, *, hub: Hub, config: Config, consumer: Consumer, scope: Scope, transport: Transport, channel_name: str
    ) -> None:
        self.state = State.CONNECTING
        self.channel_name = channel_name
        self.consumer_class = type(consumer)
        self.format: Format = transport.format
        self.memberships: dict[Group, Cohort | Follower] = {}
        self.pending: list[Chunk] = []
        """Chunks of this tick, in order; the hub joins and writes them."""
        self.write: Callable[[Chunk], None] = transport.write
        """Hands a chunk to the transport; the hub calls it once per tick. Transports replace it while they are full."""
        self.descriptor = NO_DESCRIPTOR
        """The socket, while it may be written directly (``fanout``); set by ``write_by``."""
        self.mailbox = Mailbox(
            consumer,
            self,
            limit=config.mailbox_limit,
            crowd=config.inbound_limit,
            context=transport.context,
        )
        self._turns = consumer.turns()
        self._on_text, self._on_binary = self._turns.text, self._turns.binary
        self._hub = hub
        self._config = config
        self._consumer = consumer
        self._scope = scope
        self._transport = transport
        self._close_code = codes.ABNORMAL
        self._client = ""
        self._admission: Admission | None = None
        self._done: asyncio.Future[None] | None = None
        self._metered = config.message_rate > 0 or config.byte_rate > 0
        self._meter: Meter | None = None
        self._refusal = 403
        self._erred = False
        self._reported = False
        transport.attach(self)

    def __str__(self) -> str:
        """Say whose connection this is: consumer class, path and user, as the log shows it."""
        return f"{self.consumer_class.__qualname__} at {shown(self._scope.get('path', ''))} ({self._user()})"

    @property
    def outlet(self) -> Outlet:
        """How handlers that run in a thread reach the loop."""
        return self._hub.outlet

    # Who it is

    @property
    def client(self) -> str:
        """The id by which others know this connection, as long as it lasts."""
        if not self._client:
            self._client = str(uuid.uuid4())
            self._hub.control.named(self, self._client)
        return self._client

    @property
    def client_if_named(self) -> str:
        """The same where somebody has asked for it already; empty: nobody has."""
        return self._client

    @property
    def session_digest(self) -> str:
        """What stands for its Django session in an order (``control``); empty: it has none."""
        key = getattr(self._scope.get("session"), "session_key", None)
        return session_digest(key) if key else ""

    @property
    def user_id(self) -> str:
        """The user's id as text, by the scope; empty for nobody."""
        user = self._scope.get("user")
        if user is None:
            return ""
        try:
            return str(user.pk) if user.is_authenticated else ""
        except AttributeError:
            return str(user)
        except Exception:  # as of a lazy user that nobody has asked the database for: nobody is known
            return ""

    @property
    def info(self) -> ClientInfo:
        """Who the client is, as others see it."""
        said = self._consumer.client_info
        return ClientInfo(self.user_id, self.client, b"" if said is None else plain.encode(said))

    def entry_in(self, group: str, rule: Rule) -> Entry | None:
        """Return what is noted of this member of a group that notes presence; None: it is left out."""
        return Entry(self.info, rule.join_leave)

    # The life of the connection

    async def run(self) -> None:
        """Serve the client until the connection is over."""
        self._hub.add(self)
        self._hub.control.identify(self)
        try:
            admission = self._admission = Admission(
                self, self._consumer, self._turns.connect, self._hub, self._config.handshake_timeout
            )
            await admission.run()
            if self.state is State.CONNECTING:
                self._transport.listen()
            await self.mailbox.serve()
        except asyncio.CancelledError:
            self.end(codes.SERVICE_RESTART)
            raise
        except BaseException:
            self.end(codes.INTERNAL_ERROR)
            raise
        finally:
            await self._finish()

    async def accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Open the connection; may be called once, and not after ``close()``."""
        if self.state is State.REFUSED:
            self._report_use("accept()")
            return
        if self._move(Happening.ACCEPT) is None:
            if self.state is State.OPEN:
                raise UsageError(f"{self}: accept() was called twice")
            return
        self._decided()
        try:
            await self._open(subprotocol, headers)
        except OSError:  # the client left before it was accepted (ASGI spec 2.4: send raises OSError)
            self.state = State.CONNECTING
            self.lost(codes.ABNORMAL)
            return
        except BaseException:  # nothing was answered: it is as if accept() had not been called
            self.state = State.CONNECTING
            raise
        self._hub.counters.connections_accepted += 1
        self._hub.control.identify(self)
        self._hub.attendance.accepted(self)

    async def _open(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Tell the client that it is accepted."""
        await self._transport.accept(subprotocol, headers)

    async def _turn_away(self, status: int) -> None:
        """Tell the client that it is refused, by an HTTP status."""
        await self._transport.refuse(status)

    def _close_transport(self, code: int, reason: str | None) -> None:
        """Tell the client that this is the end."""
        self._transport.close(code, codes.fit_reason(reason or codes.default_reason(code)))

    async def close(self, code: int | None, reason: str | None) -> None:
        """Close the connection, or refuse it if it was not accepted; the second time does nothing."""
        code = codes.check_close_code(codes.NORMAL if code is None else code)
        if self.state is State.CONNECTING:
            await self.refuse_now(403)
        else:
            self.end(code, reason)

    def end(self, code: int, reason: str | None = None) -> None:
        """Close an open connection from this side; what waits to be written goes out first."""
        if self.state is State.CONNECTING:
            self._move(Happening.LOST)
            self._hub.remove(self)
            self._drop_turns()
        elif self._move(Happening.CLOSE) is not None:
            self._close_code = code
            self._hub.flush(self)
            self._hub.remove(self)
            self._close_transport(code, reason)
            self.write_by(self._transport.drop)
            self._drop_turns()

    def kick(self, code: int, reason: str) -> None:
        """Close it because an order says so; ``code`` 0 is that of this wire, which tells the client to stay away.

        Where nobody has decided on it yet, it is refused.
        """
        if self.state is State.CONNECTING:
            admission = self._admission
            self.refuse_late(403)
            if admission is not None:
                admission.cut()
        else:
            self.end(code or codes.POLICY_VIOLATION, reason or KICKED)

    def expire_at(self, when: float | None) -> None:
        """Do nothing: on the plain wire nobody can bring a new token."""

    def drain(self, code: int, reason: str | None = None) -> None:
        """Close an open connection after the messages that it has already received were handled."""
        if self.state is State.OPEN:
            self.mailbox.put(_end_with(self, reason), code)
        else:
            self.end(code, reason)

    def lost(self, code: int, reason: str = "") -> None:
        """Note that the client is gone; what it sent before is still handled, then ``disconnect`` runs."""
        was_open = self.state is State.OPEN
        if self._move(Happening.LOST) is None:
            return
        self.write_by(self._transport.drop)
        self.pending = []
        if was_open:
            self._close_code = code
            self._hub.remove(self)
            self.mailbox.put(_end, self)
        else:
            self.mailbox.end()

    async def finished(self) -> None:
        """Wait until the consumer is done."""
        if self._done is None:
            self._done = self._hub.loop.create_future()
        if self.state not in (State.CLOSED, State.REFUSED):
            await asyncio.shield(self._done)

    async def _finish(self) -> None:
        """Leave everything; run ``disconnect`` if the connection was accepted."""
        self._decided()
        self._hub.remove(self)
        try:
            if self.state is State.CLOSING:
                self._hub.counters.connections_closed += 1
                try:
                    await self._turns.disconnect(self._consumer, self._close_code)
                except Exception as error:
                    if not is_kind(error, StopConsumer):
                        self._hub.counters.handler_errors += 1
                        self.log_failure("disconnect", error)
            elif self.state is State.REFUSED:
                await self._turn_away(self._refusal)
            await self._transport.finish()
        finally:
            self._move(Happening.FINISH)
            if self._done is not None and not self._done.done():
                self._done.set_result(None)

    def _move(self, happening: Happening) -> State | None:
        following = next_state(self.state, happening)
        if following is not None:
            self.state = following
        return following

    async def refuse_now(self, status: int) -> None:
        """Refuse a connection that nobody has decided on, from within its task."""
        self._refuse()
        await self._turn_away(status)

    def refuse_late(self, status: int) -> None:
        """Refuse a connection that nobody has decided on; its task answers when it ends, which this makes it do."""
        self._reported = True  # whatever connect() still calls when it is cancelled, this was the reason
        if self.state is State.CONNECTING:
            self._refusal = status
            self._refuse()

    def _refuse(self) -> None:
        """Refuse a connection that nobody has decided on."""
        self._move(Happening.CLOSE)
        self._hub.counters.connections_refused += 1
        self._hub.remove(self)
        self._decided()
        self._drop_turns()

    def _drop_turns(self) -> None:
        self._hub.counters.dropped_turns += self.mailbox.end()

    def _decided(self) -> None:
        if self._admission is not None:
            self._admission.decided()
            self._admission = None

    # Groups

    def initial_groups(self) -> tuple[str, ...]:
        """Return the groups that the client brings along, to be joined with those of its consumer's class."""
        return ()

    async def join(self, group: str) -> None:
        """Put the connection into a group because the application says so; see ``Hub.join``."""
        await self._hub.join(group, self)

    def leave(self, group: str) -> None:
        """Take the connection out of a group."""
        self._hub.leave(group, self)

    # What comes in

    def receive_text(self, payload: bytes) -> None:
        """Take a text message, UTF-8 that was checked."""
        if self.state is State.OPEN and (not self._metered or self._may_pass(len(payload))):
            self.mailbox.put(self._on_text, payload, len(payload))

    def receive_binary(self, payload: bytes) -> None:
        """Take a binary message."""
        if self.state is State.OPEN and (not self._metered or self._may_pass(len(payload))):
            self.mailbox.put(self._on_binary, payload, len(payload))

    def client_erred(self, problem: ClientError) -> None:
        """Tell the client what was wrong with its message."""
        self._hub.counters.client_errors += 1
        self._send_error(problem)
        level, self._erred = logging.DEBUG if self._erred else logging.INFO, True
        logger.log(level, "%s: bad message, %s", self, problem)

    def tell_unavailable(self) -> None:
        """Tell the client that its message could not be done because of the engine."""
        self._send_error(ClientError("unavailable", "the server can't do this at the moment; try again later"))

    def _send_error(self, problem: ClientError) -> None:
        answer = plain.error(problem, self._config.error_type)
        if answer is not None and self.state is State.OPEN:
            self.enqueue(self.format.text(answer))

    def _may_pass(self, size: int) -> bool:
        """Tell whether the client may send a message of ``size`` bytes now; if not, it is closed."""
        meter = self._meter
        if meter is not None and meter.spend(size):
            return True
        now = self._hub.loop.time()
        if meter is None:  # its first message: who only listens never needs one
            meter = self._meter = Meter(self._config, now)
        if meter.take(size, now):
            return True
        self._rate_exceeded(*meter.excess())
        return False

    def _rate_exceeded(self, option: str, words: str) -> None:
        self._hub.counters.rate_limited += 1
        logger.warning(
            "%s: the client sends %s (%s) and has used up rate_burst (%g s); closed with %d",
            self,
            words,
            option,
            self._config.rate_burst,
            self.RATE_EXCEEDED,
        )
        self._send_error(ClientError("rate_limited", words))
        self.end(self.RATE_EXCEEDED, f"rate limit: {words}")

    # What the mailbox tells (mailbox.Owner)

    def turn_failed(self, turn: Turn, error: BaseException) -> None:
        """Answer an exception that ended a turn: the client's fault with an error frame, ours with 1011.

        An engine that is away is nobody's: what was to be done may be tried again, and the connection goes on.
        """
        if isinstance(error, ClientError):
            self.client_erred(error)
        elif isinstance(error, EngineError):
            self.engine_failed(getattr(turn, "__name__", "handler"), error)
            self.tell_unavailable()
        elif is_kind(error, StopConsumer):
            self.end(codes.NORMAL)
        else:
            self._hub.counters.handler_errors += 1
            self.log_failure(getattr(turn, "__name__", "handler"), error)
            if self.state is not State.CONNECTING:
                self.end(codes.INTERNAL_ERROR)

    def mailbox_full(self) -> None:
        """Close the connection: its consumer does not keep up."""
        if self.state is State.OPEN:
            self._hub.counters.slow_consumers += 1
            logger.error(
                "%s: a handler is so slow that %d bytes wait for it; closed with 1013 at mailbox_limit",
                self,
                self.mailbox.size,
            )
            self.end(codes.TRY_AGAIN_LATER, "the server is too slow for this connection; come back later")

    def mailbox_crowded(self) -> None:
        """Take nothing more from the client until the consumer has caught up."""
        self._transport.pause_reading()

    def mailbox_relieved(self) -> None:
        """Take from the client again."""
        self._transport.resume_reading()

    # What goes out

    def send_text(self, payload: bytes) -> None:
        """Send a text message, UTF-8."""
        if self.state is not State.OPEN:
            self._cannot_send()
            return
        chunk = self.format.text(payload)
        hub = self._hub
        if hub.sends_wait or hub.open_group is not None:
            self.enqueue(chunk)
            return
        # enqueue(), written out: this is what a handler that runs for each member costs.
        if not self.pending:
            hub.mark_dirty(self)
        self.pending.append(chunk)

    def send_binary(self, payload: bytes) -> None:
        """Send a binary message."""
        if self.state is State.OPEN:
            self.enqueue(self.format.binary(payload))
        else:
            self._cannot_send()

    def enqueue(self, chunk: Chunk) -> None:
        """Send ``chunk`` at the end of the tick, behind everything that was caused before."""
        if self._hub.sends_wait:
            self._hub.send_late(self, chunk)
        else:
            self.append(chunk)

    def append(self, chunk: Chunk) -> None:
        """Put ``chunk`` behind what this connection has pending, and that of the open group before it."""
        hub = self._hub
        if hub.open_group is not None:
            cohort = self.memberships.get(hub.open_group)
            if cohort is not None:
                cohort.catch_up(self)
        if not self.pending:
            hub.mark_dirty(self)
        self.pending.append(chunk)

    def check_accepted(self) -> None:
        """Raise ``NotAccepted`` before ``accept()``; may be called from any thread."""
        if self.state is State.CONNECTING:
            raise NotAccepted(f"{self}: call accept() before sending")

    def _cannot_send(self) -> None:
        self.check_accepted()
        self._hub.counters.sends_after_close += 1

    # What the transport tells

    def write_by(self, write: Callable[[Chunk], None], descriptor: int = NO_DESCRIPTOR) -> None:
        """Hand chunks to ``write`` from now on; ``descriptor`` is a socket with room that nothing waits in front of."""
        self.write = write
        if descriptor != self.descriptor:
            self.descriptor = descriptor
            for cohort in self.memberships.values():
                cohort.changed()

    def client_missed(self, count: int) -> None:
        """Note that messages of groups were left out, as their rule says: the client reads too slowly."""
        self._hub.counters.messages_missed += count

    def missed_frame(self, group: str, count: int) -> Chunk | None:
        """Return the chunk that tells the client how many messages of ``group`` it missed; None: it is not told."""
        frame = plain.missed(group, count, self._config.error_type)
        return None if frame is None else self.format.text(frame)

    def gap(self, group: str, position: Position) -> None:
        """Tell the client that publications of a group are lost, and where its stream is now.

        One that is not accepted yet is told behind that, like what is published meanwhile.
        """
        if self.state in (State.CONNECTING, State.OPEN):
            self._transport.gap(group, position)

    def send_gap(self, group: str, position: Position) -> None:
        """Send the error frame that says so."""
        frame = plain.gap(group, position, self._config.error_type)
        if frame is not None:
            self.enqueue(self.format.text(frame))

    def client_caught_up(self, missed: int) -> None:
        """Note that nothing waits any more for a client that missed messages."""
        logger.info("%s: the client read too slowly and missed %d messages; it has caught up", self, missed)

    def client_is_slow(self, dropped: int) -> None:
        """Close the connection: its client does not read and its outbox is full."""
        self._hub.counters.dropped_bytes += dropped
        if self.state not in (State.OPEN, State.CONNECTING):
            return
        self._hub.counters.slow_clients += 1
        logger.warning(
            "%s: the client does not read; closed with 1013 at outbox_limit (%d bytes), %d bytes dropped",
            self,
            self._config.outbox_limit,
            dropped,
        )
        self.pending = []
        if self.state is State.CONNECTING:
            self._refuse()
        else:
            self.end(codes.TRY_AGAIN_LATER, "too slow: messages waited over the limit; come back later")

    # What the log says

    def may_join(self) -> bool:
        """Tell whether the connection may still join groups; if it was refused or closed, note the fault."""
        if self.state in (State.CONNECTING, State.OPEN):
            return True
        self._hub.counters.joins_refused += 1
        if self.state is State.REFUSED:
            self._report_use("group_add()")
        return False

    def _report_use(self, call: str) -> None:
        self._hub.counters.usage_errors += 1
        if not self._reported:
            self._reported = True
            logger.error(
                "%s: connect() went on after close() and called %s. The connection stays refused and joined nothing. "
                "Write 'return' after 'await self.close()'.",
                self,
                call,
            )

    def engine_failed(self, handler: str, error: EngineError) -> None:
        """Note that a handler, or a command of the client, could not be done because of the engine."""
        self._hub.counters.turns_unavailable += 1
        logger.warning("%s: %s() was not done: %s", self, handler, error)

    def log_failure(self, handler: str, error: BaseException) -> None:
        """Log an exception of the application, and let a test have it."""
        logger.error("%s: exception in %s()", self, handler, exc_info=error)
        test = self._scope.get("extensions", {}).get("antiphon.testing")
        if test is not None:  # a communicator, which raises it in the test (testing.observed)
            test.failed(f"{handler}() of {self}", error)

    def _user(self) -> str:
        user = self._scope.get("user")
        if user is None:
            return "no user"
        try:
            return f"user {user.pk}" if user.is_authenticated else "anonymous"
        except Exception:
            return "user unknown"


async def _end(consumer: Any, connection: Connection) -> None:
    """A turn that ends the mailbox behind all that came before."""
    connection.mailbox.end()


def _end_with(connection: Connection, reason: str | None) -> Turn:
    """Return a turn that closes ``connection`` with the code that is its argument, behind all that came before."""

    async def end(consumer: Any, code: int) -> None:
        connection.end(code, reason)

    return end
