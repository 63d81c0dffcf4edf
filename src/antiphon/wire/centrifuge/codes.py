"""The protocol's numbers: errors in replies, close codes, and why a subscription ended; each once.

An SDK obeys the number: whether it comes back, subscribes anew or gives up. The words are for people, but for two
things that the SDK for JavaScript does with the reason of a close frame: where it is empty, the SDK comes back whatever
the code says, and where it can be read as JSON, it does not. ``plain_reason`` keeps an application out of both.

0–399 of the errors, 3000–3999 of the close codes, 2000–2099 and 2500–2599 of the unsubscribe codes are the protocol's.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from antiphon.codes import MESSAGE_TOO_BIG, CloseCode, default_reason, fit_reason

__all__ = [
    "DISCONNECTS",
    "ERRORS",
    "RANGES",
    "UNSUBSCRIBES",
    "CodeRange",
    "Error",
    "UnsubscribeCode",
    "comes_back",
    "plain_reason",
]

# Errors


class Error(NamedTuple):
    """What a reply says instead of a result. The application's own have a ``code`` from 400 to 1999.

    ``temporary``: the same command may succeed later, and SDKs try a connect or subscribe again by themselves.
    """

    code: int
    message: str
    temporary: bool = False


ERROR_INTERNAL = 100
ERROR_UNAUTHORIZED = 101
ERROR_UNKNOWN_CHANNEL = 102
ERROR_PERMISSION_DENIED = 103
ERROR_METHOD_NOT_FOUND = 104
#: Ends the subscription in the SDK for JavaScript: only where the client really subscribes twice.
ERROR_ALREADY_SUBSCRIBED = 105
ERROR_LIMIT_EXCEEDED = 106
ERROR_BAD_REQUEST = 107
ERROR_NOT_AVAILABLE = 108
#: Of connect and subscribe: SDKs get a new token and try again.
ERROR_TOKEN_EXPIRED = 109
ERROR_EXPIRED = 110
ERROR_TOO_MANY_REQUESTS = 111
#: Of history, and of a subscribe with ``REJECT_UNRECOVERED``.
ERROR_UNRECOVERABLE_POSITION = 112
ERROR_CONCURRENT_PAGINATION = 113

ERRORS: dict[int, Error] = {
    error.code: error
    for error in (
        Error(ERROR_INTERNAL, "internal server error", temporary=True),
        Error(ERROR_UNAUTHORIZED, "unauthorized"),
        Error(ERROR_UNKNOWN_CHANNEL, "unknown channel"),
        Error(ERROR_PERMISSION_DENIED, "permission denied"),
        Error(ERROR_METHOD_NOT_FOUND, "method not found"),
        Error(ERROR_ALREADY_SUBSCRIBED, "already subscribed"),
        Error(ERROR_LIMIT_EXCEEDED, "limit exceeded"),
        Error(ERROR_BAD_REQUEST, "bad request"),
        Error(ERROR_NOT_AVAILABLE, "not available"),
        Error(ERROR_TOKEN_EXPIRED, "token expired"),
        Error(ERROR_EXPIRED, "expired"),
        Error(ERROR_TOO_MANY_REQUESTS, "too many requests", temporary=True),
        Error(ERROR_UNRECOVERABLE_POSITION, "unrecoverable position"),
        Error(ERROR_CONCURRENT_PAGINATION, "concurrent pagination", temporary=True),
    )
}

# Close codes

CLOSE_CONNECTION_CLOSED = 3000
CLOSE_SHUTDOWN = 3001
CLOSE_INTERNAL = 3004
CLOSE_EXPIRED = 3005
CLOSE_SUBSCRIPTION_EXPIRED = 3006
CLOSE_SLOW = 3008
CLOSE_WRITE_ERROR = 3009
CLOSE_INSUFFICIENT_STATE = 3010
CLOSE_FORCE_RECONNECT = 3011
CLOSE_NO_PONG = 3012
CLOSE_TOO_MANY_REQUESTS = 3013
CLOSE_STATE_INVALIDATED = 3014
CLOSE_INVALID_TOKEN = 3500
CLOSE_BAD_REQUEST = 3501
CLOSE_STALE = 3502
CLOSE_FORCE_DISCONNECT = 3503
CLOSE_CONNECTION_LIMIT = 3504
CLOSE_CHANNEL_LIMIT = 3505
CLOSE_INAPPROPRIATE_PROTOCOL = 3506
CLOSE_PERMISSION_DENIED = 3507
CLOSE_NOT_AVAILABLE = 3508
CLOSE_TOO_MANY_ERRORS = 3509

DISCONNECTS: dict[int, CloseCode] = {
    entry.code: entry
    for entry in (
        CloseCode(CLOSE_CONNECTION_CLOSED, "connection closed", "nobody: stands for an end without advice", True),
        CloseCode(CLOSE_SHUTDOWN, "shutdown", "the server when it stops", True),
        CloseCode(CLOSE_INTERNAL, "internal server error", "the server, for an exception outside a command", True),
        CloseCode(CLOSE_EXPIRED, "connection expired", "the server, where no new token came in time", True),
        CloseCode(
            CLOSE_SUBSCRIPTION_EXPIRED, "subscription expired", "the server, for a subscription that it made", True
        ),
        CloseCode(CLOSE_SLOW, "slow", "the server, for a client that reads too slowly", True),
        CloseCode(CLOSE_WRITE_ERROR, "write error", "the server, where it can't write", True),
        CloseCode(
            CLOSE_INSUFFICIENT_STATE,
            "insufficient state",
            "the server, for a gap in a subscription that it made: the client is to recover",
            True,
        ),
        CloseCode(CLOSE_FORCE_RECONNECT, "force reconnect", "the application", True),
        CloseCode(CLOSE_NO_PONG, "no pong", "the server, for a ping without an answer", True),
        CloseCode(CLOSE_TOO_MANY_REQUESTS, "too many requests", "the server, for a client over a rate", True),
        CloseCode(
            CLOSE_STATE_INVALIDATED,
            "state invalidated",
            "the application: the client forgets its token and positions",
            True,
        ),
        CloseCode(CLOSE_INVALID_TOKEN, "invalid token", "the server, for a token that proves nothing", False),
        CloseCode(CLOSE_BAD_REQUEST, "bad request", "the server, for a frame or command against the protocol", False),
        CloseCode(CLOSE_STALE, "stale", "the server, where no connect command came in time", False),
        CloseCode(CLOSE_FORCE_DISCONNECT, "force disconnect", "the application", False),
        CloseCode(CLOSE_CONNECTION_LIMIT, "connection limit", "the server, over the connections of a user", False),
        CloseCode(CLOSE_CHANNEL_LIMIT, "channel limit", "the server, over the channels of a connection", False),
        CloseCode(
            CLOSE_INAPPROPRIATE_PROTOCOL, "inappropriate protocol", "the server, for data that is not JSON", False
        ),
        CloseCode(CLOSE_PERMISSION_DENIED, "permission denied", "the application, by refusing to connect", False),
        CloseCode(CLOSE_NOT_AVAILABLE, "not available", "the server, for a message that no handler waits for", False),
        CloseCode(CLOSE_TOO_MANY_ERRORS, "too many errors", "the server, for a client that makes many", False),
    )
}


class CodeRange(NamedTuple):
    """The close codes from ``first`` to ``last``: ``sender`` in one phrase, and whether an SDK comes back."""

    first: int
    last: int
    sender: str
    come_back: bool


RANGES = (
    CodeRange(3000, 3499, "the protocol", True),
    CodeRange(3500, 3999, "the protocol", False),
    CodeRange(4000, 4499, "the application", True),
    CodeRange(4500, 4999, "the application", False),
)


def comes_back(code: int) -> bool:
    """Tell whether an SDK connects anew by itself after the close code ``code``, which came with plain words.

    Codes below 3000 are a lost connection to it, all but that of a message too big, which would be so again.
    """
    for entry in RANGES:
        if entry.first <= code <= entry.last:
            return entry.come_back
    return code != MESSAGE_TOO_BIG


def plain_reason(code: int, reason: str = "") -> str:
    """Return ``reason`` as a close frame with ``code`` may carry it: plain words that fit, never JSON, never empty."""
    words = fit_reason(reason).decode()
    if not words.strip():
        entry = DISCONNECTS.get(code)
        return entry.reason if entry is not None else default_reason(code)
    if _is_json(words):
        return fit_reason(f"reason: {words}").decode()
    return words


def _is_json(words: str) -> bool:
    try:
        json.loads(words)
    except (ValueError, RecursionError):
        return False
    return True


# Unsubscribe codes


class UnsubscribeCode(NamedTuple):
    """Why the server ended a subscription, in a push; ``subscribe_anew`` tells whether the SDK does so at once."""

    code: int
    reason: str
    sender: str
    subscribe_anew: bool


UNSUBSCRIBE_SERVER = 2000
UNSUBSCRIBE_INSUFFICIENT_STATE = 2500
UNSUBSCRIBE_EXPIRED = 2501
UNSUBSCRIBE_STATE_INVALIDATED = 2502

#: Those from 2500 on make an SDK subscribe anew. Applications may use 2100–2499 and 2600–2999.
UNSUBSCRIBES: dict[int, UnsubscribeCode] = {
    entry.code: entry
    for entry in (
        UnsubscribeCode(UNSUBSCRIBE_SERVER, "server unsubscribe", "the application", False),
        UnsubscribeCode(
            UNSUBSCRIBE_INSUFFICIENT_STATE,
            "insufficient state",
            "the server, for a gap: the client is to recover",
            True,
        ),
        UnsubscribeCode(UNSUBSCRIBE_EXPIRED, "subscription expired", "the server, where no new token came", True),
        UnsubscribeCode(
            UNSUBSCRIBE_STATE_INVALIDATED,
            "state invalidated",
            "the application: the client forgets its token and position",
            True,
        ),
    )
}
