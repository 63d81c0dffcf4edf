"""The life of a connection as a table.

Laws:
- a connection is accepted at most once, and never after it was refused;
- ``disconnect`` belongs to accepted connections: each state behind ``OPEN`` leads to ``CLOSED`` through ``CLOSING``,
  and that is where it runs, once;
- nothing leaves ``REFUSED`` or ``CLOSED``.

===========  ==========================================================
state        meaning
===========  ==========================================================
CONNECTING   ``connect()`` is running or has not decided yet
OPEN         accepted; messages flow
CLOSING      closed by the application, the client or the server; the consumer has yet to finish
REFUSED      closed before it was accepted
CLOSED       over
===========  ==========================================================
"""

from __future__ import annotations

import enum

__all__ = ["Happening", "State", "next_state"]


class State(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    REFUSED = "refused"
    CLOSED = "closed"


class Happening(enum.Enum):
    """What moves a connection on."""

    ACCEPT = "accept()"
    CLOSE = "close()"
    LOST = "the connection ended"
    FINISH = "the consumer finished"


_TABLE: dict[tuple[State, Happening], State] = {
    (State.CONNECTING, Happening.ACCEPT): State.OPEN,
    (State.CONNECTING, Happening.CLOSE): State.REFUSED,
    (State.CONNECTING, Happening.LOST): State.CLOSED,
    (State.OPEN, Happening.CLOSE): State.CLOSING,
    (State.OPEN, Happening.LOST): State.CLOSING,
    (State.CLOSING, Happening.LOST): State.CLOSING,
    (State.CLOSING, Happening.FINISH): State.CLOSED,
    (State.REFUSED, Happening.LOST): State.REFUSED,
    (State.CLOSED, Happening.LOST): State.CLOSED,
}


def next_state(state: State, happening: Happening) -> State | None:
    """Return the state that follows, or None where ``happening`` has no place in ``state``."""
    return _TABLE.get((state, happening))
