"""What a client of the Centrifuge wire has shown of who it is, and until when that holds.

A token is not needed: where the Django session, or the application, says who the client is, the client sends none.

Laws:
- nothing of a token counts before the verifier has accepted it;
- a connection whose token has expired ends ``GRACE`` seconds later, unless a new one of the same user came;
- a subscription whose token has expired ends likewise, and only that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from antiphon.exceptions import TokenMismatch
from antiphon.verifier import ConnectionToken, SubscriptionToken, Verifier

__all__ = ["GRACE", "Credentials", "ttl_of"]

#: Seconds that a client has to bring a new token after the old one has expired.
GRACE = 25.0


class Credentials:
    """The tokens of one connection.

    ``expired`` is called when the connection's time is over, ``ended`` with a group when its subscription's is.
    """

    __slots__ = ("_ended", "_expired", "_expires_at", "_loop", "_subscriptions", "_timer", "_verifier", "token")

    def __init__(self, verifier: Verifier | None, *, expired: Callable[[], None], ended: Callable[[str], None]) -> None:
        self.token: ConnectionToken | None = None
        """What the connection's token said; None: it has shown none."""
        self._verifier = verifier
        self._expired = expired
        self._expires_at: float | None = None
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._subscriptions: dict[str, asyncio.TimerHandle] = {}

    @property
    def are_checked(self) -> bool:
        """Whether the configuration names keys: without any, tokens are the application's to look at."""
        return self._verifier is not None

    @property
    def expire(self) -> bool:
        """Whether they come to an end, or their token does, which the client goes by."""
        return self._expires_at is not None or (self.token is not None and self.token.expires_at is not None)

    @property
    def ttl(self) -> int | None:
        """Whole seconds until the connection expires, at least 1; None: it does not."""
        return _ttl(self._expires_at)

    def show(self, token: str) -> None:
        """Take the token of ``connect``, or a new one of the same user; raise ``TokenRefused``."""
        if self._verifier is None:
            return
        shown = self._verifier.connection(token, time.time())
        if self.token is not None and shown.user != self.token.user:
            raise TokenMismatch("the new token is another user's")
        self.token = shown
        self.expire_at(shown.expires_at)

    def expire_at(self, when: float | None) -> None:
        """Let the connection end then, in seconds since 1970; None: not by itself."""
        if self._timer is not None:
            self._timer.cancel()
        self._expires_at = when
        self._timer = self._at_the_end(when, self._expired)

    def show_for(self, group: str, token: str, *, user: str, client: str) -> SubscriptionToken | None:
        """Take a subscription token, or a new one; raise ``TokenRefused``. None: tokens are not checked here."""
        if self._verifier is None:
            return None
        shown = self._verifier.subscription(token, group=group, user=user, client=client, now=time.time())
        self.forget(group)
        timer = self._at_the_end(shown.expires_at, lambda: self._ended(group))
        if timer is not None:
            self._subscriptions[group] = timer
        return shown

    def forget(self, group: str) -> None:
        """Note that a subscription is over."""
        timer = self._subscriptions.pop(group, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Note that the connection is over."""
        for timer in (self._timer, *self._subscriptions.values()):
            if timer is not None:
                timer.cancel()
        self._timer = None
        self._subscriptions.clear()

    def _at_the_end(self, expires_at: float | None, call: Callable[[], None]) -> asyncio.TimerHandle | None:
        if expires_at is None:
            return None
        return self._loop.call_later(max(expires_at - time.time(), 0.0) + GRACE, call)


def ttl_of(shown: SubscriptionToken | None) -> int | None:
    """Return the whole seconds until a subscription expires, at least 1; None: it does not."""
    return None if shown is None else _ttl(shown.expires_at)


def _ttl(expires_at: float | None) -> int | None:
    return None if expires_at is None else max(round(expires_at - time.time()), 1)
