"""Orders that reach connections wherever they are: close one, put it into a group, take it out, let it end later.

An order goes through the engine to every process, and each process obeys it for the connections that it has. It names
whom it is for: a user, one of the user's sessions, one connection, or one that has to be the user's. What names a
channel (``group_add`` in another process than the channel's) goes to the process that the name tells of.

Laws:
- an order that names nobody is never sent, and one that is not understood is counted, logged and not obeyed;
- a connection that fails to obey keeps no other from it;
- what came to the engine before, from the same process, reaches a connection before the order does;
- whether a connection is in a group is what the last order said, also where an earlier one takes its time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from antiphon.exceptions import LimitExceeded
from antiphon.inbox import EXPIRY
from antiphon.lifecycle import State

if TYPE_CHECKING:
    from antiphon.connection import Connection
    from antiphon.hub import Hub

__all__ = ["Add", "Control", "Discard", "Expire", "Join", "Kick", "Leave", "Order", "Whom", "encode", "session_digest"]

logger = logging.getLogger("antiphon.hub")


class Whom(msgspec.Struct, frozen=True, omit_defaults=True):
    """Connections: those of ``user``, the one with the id ``client``, of ``session`` (a digest); empty: of any.

    One of the first two has to be named.
    """

    user: str = ""
    client: str = ""
    session: str = ""


class Kick(msgspec.Struct, frozen=True, tag=True):
    """Close them, with a close code and its reason; 0 and empty: those of a kick on the connection's wire."""

    whom: Whom
    code: int = 0
    reason: str = ""


class Join(msgspec.Struct, frozen=True, tag=True):
    """Put them into a group."""

    whom: Whom
    group: str


class Leave(msgspec.Struct, frozen=True, tag=True):
    """Take them out of a group."""

    whom: Whom
    group: str


class Expire(msgspec.Struct, frozen=True, tag=True):
    """Let them end at ``at``, seconds since 1970, unless a new token comes; None: they do not end by themselves."""

    whom: Whom
    at: float | None


class Add(msgspec.Struct, frozen=True, tag=True):
    """Put a channel into a group."""

    channel: str
    group: str


class Discard(msgspec.Struct, frozen=True, tag=True):
    """Take a channel out of a group."""

    channel: str
    group: str


Order = Kick | Join | Leave | Expire | Add | Discard

#: The states of a connection that an order may be for.
_MEANT = (State.CONNECTING, State.OPEN)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Order).decode


def encode(order: Order) -> bytes:
    """Return an order as it travels."""
    return _encode(order)


def session_digest(key: str) -> str:
    """Return what stands for a session in an order: its key opens the session, and is nothing to send around."""
    return hashlib.sha256(key.encode()).hexdigest()


class Control:
    """The part of a hub that obeys, and knows by which names its connections are called."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._by_user: dict[str, dict[Connection, None]] = {}
        self._users: dict[Connection, str] = {}
        self._by_client: dict[str, Connection] = {}
        self._joining: dict[tuple[str, str], bool] = {}
        """Which channel is being put into which group, and whether it is to be there still."""

    # Whom there is

    def identify(self, connection: Connection) -> None:
        """Note whose connection it is: when it begins, for it may be kicked while its consumer decides, and after that.

        One that is over by then is nobody's.
        """
        user = connection.user_id if connection.state in _MEANT else ""
        if user == self._users.get(connection, ""):
            return
        self._forget_user(connection)
        if user:
            self._users[connection] = user
            self._by_user.setdefault(user, {})[connection] = None

    def named(self, connection: Connection, client: str) -> None:
        """Note that a connection has been given the id ``client``."""
        self._by_client[client] = connection

    def ended(self, connection: Connection, client: str) -> None:
        """Forget a connection; ``client`` is its id, empty where it was given none."""
        self._forget_user(connection)
        self._by_client.pop(client, None)

    def _forget_user(self, connection: Connection) -> None:
        user = self._users.pop(connection, "")
        if user:
            theirs = self._by_user[user]
            del theirs[connection]
            if not theirs:
                del self._by_user[user]

    def find(self, whom: Whom) -> list[Connection]:
        """Return the connections of this process that are meant, and are not over."""
        candidates: Iterable[Connection]
        if whom.client:
            connection = self._by_client.get(whom.client)
            candidates = () if connection is None else (connection,)
        elif whom.user:
            candidates = self._by_user.get(whom.user, ())
        else:
            candidates = ()
        return [
            each
            for each in candidates
            if each.state in _MEANT
            and (not whom.user or self._users.get(each) == whom.user)
            and (not whom.session or each.session_digest == whom.session)
        ]

    # What is done

    def take(self, control: bytes) -> None:
        """Obey an order that came from a process."""
        try:
            order = _decode(control)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._hub.counters.orders_refused += 1
            logger.error("an order of another process is not understood (is its version the same?): %s", error)
            return
        if isinstance(order, (Add, Discard)):
            self._obey_for_channel(order)
            return
        for connection in self.find(order.whom):
            try:
                self._obey(connection, order)
            except Exception:
                logger.exception("%s: does not obey an order (%s)", connection, type(order).__name__.lower())

    def _obey(self, connection: Connection, order: Kick | Join | Leave | Expire) -> None:
        match order:
            case Kick(code=code, reason=reason):
                self._hub.counters.kicked += 1
                connection.kick(code, reason)
            case Join(group=group):
                self._begin_join(connection.channel_name, group, connection.join)
            case Leave(group=group):
                self._end_join(connection.channel_name, group)
                connection.leave(group)
            case Expire(at=at):
                connection.expire_at(at)

    def _obey_for_channel(self, order: Add | Discard) -> None:
        channel, group = order.channel, order.group
        if isinstance(order, Discard):
            self.discard(group, channel)
        elif self._hub.find(channel) is None and self._hub.inboxes.find(channel) is None:
            self._refuse(group, channel)
        else:
            self._begin_join(channel, group, lambda group: self.add(group, channel))

    def _begin_join(self, channel: str, group: str, join: Callable[[str], Awaitable[None]]) -> None:
        if (channel, group) not in self._joining:
            self._hub.start(self._join(channel, group, join))
        self._joining[channel, group] = True

    def _end_join(self, channel: str, group: str) -> None:
        if (channel, group) in self._joining:
            self._joining[channel, group] = False

    async def _join(self, channel: str, group: str, join: Callable[[str], Awaitable[None]]) -> None:
        try:
            if self._joining[channel, group]:
                await join(group)
        except LimitExceeded as error:
            logger.warning("channel %s: was to be put into group %r, but %s", channel, group, error)
        except Exception:
            logger.exception("channel %s: could not be put into group %r", channel, group)
        finally:
            if not self._joining.pop((channel, group)):
                self.discard(group, channel)

    # Channels of this process

    async def add(self, group: str, channel: str, expiry: float = EXPIRY) -> None:
        """Put a connection or channel of this process into a group; raise ``LimitExceeded``."""
        hub = self._hub
        connection = hub.find(channel)
        if connection is not None:
            if connection.may_join():
                await connection.join(group)
        elif (inbox := hub.inboxes.reach(channel, expiry)) is not None:
            await hub.join_inbox(group, inbox)
        else:
            self._refuse(group, channel)

    def discard(self, group: str, channel: str) -> None:
        """Take a connection or channel of this process out of a group, if it is in it."""
        self._end_join(channel, group)
        connection = self._hub.find(channel)
        if connection is not None:
            connection.leave(group)
        elif (inbox := self._hub.inboxes.find(channel)) is not None:
            self._hub.leave(group, inbox)

    def _refuse(self, group: str, channel: str) -> None:
        self._hub.counters.joins_refused += 1
        logger.warning("group_add(%r, %r): its process has no such connection; nothing joined", group, channel)
