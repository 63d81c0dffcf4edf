"""Orders that reach connections wherever they are: close one, put it into a group, take it out, let it end later.

An order goes through the engine to every process, and each process obeys it for the connections that it has. It names
whom it is for: a user, one of the user's sessions, one connection, or one that has to be the user's.

Laws:
- an order that names nobody is never sent, and one that is not understood is counted, logged and not obeyed;
- a connection that fails to obey keeps no other from it;
- what came to the engine before, from the same process, reaches a connection before the order does;
- whether a connection is in a group is what the last order said, also where an earlier one takes its time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from antiphon.exceptions import LimitExceeded
from antiphon.lifecycle import State

if TYPE_CHECKING:
    from antiphon.connection import Connection
    from antiphon.hub import Hub

__all__ = ["Control", "Expire", "Join", "Kick", "Leave", "Order", "Whom", "encode", "session_digest"]

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


Order = Kick | Join | Leave | Expire

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
        self._joining: dict[tuple[Connection, str], bool] = {}
        """Who is being put into which group, and whether it is to be there still."""

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
        for connection in self.find(order.whom):
            try:
                self._obey(connection, order)
            except Exception:
                logger.exception("%s: does not obey an order (%s)", connection, type(order).__name__.lower())

    def _obey(self, connection: Connection, order: Order) -> None:
        match order:
            case Kick(code=code, reason=reason):
                self._hub.counters.kicked += 1
                connection.kick(code, reason)
            case Join(group=group):
                if (connection, group) not in self._joining:
                    self._hub.start(self._join(connection, group))
                self._joining[connection, group] = True
            case Leave(group=group):
                if (connection, group) in self._joining:
                    self._joining[connection, group] = False
                connection.leave(group)
            case Expire(at=at):
                connection.expire_at(at)

    async def _join(self, connection: Connection, group: str) -> None:
        try:
            if self._joining[connection, group]:
                await connection.join(group)
        except LimitExceeded as error:
            logger.warning("%s: was to be put into group %r, but %s", connection, group, error)
        except Exception:
            logger.exception("%s: could not be put into group %r", connection, group)
        finally:
            if not self._joining.pop((connection, group)):
                connection.leave(group)
