"""Close codes: each one once, with who sends it, whether a client should come back, and the words sent along.

A close frame of antiphon always carries a reason in plain words. Codes and ranges: RFC 6455 §7.4 and the IANA registry
of WebSocket close codes; 4000–4999 are the application's own.
"""

from __future__ import annotations

from typing import NamedTuple

from antiphon.exceptions import InvalidCloseCode

__all__ = ["CLOSE_CODES", "REASON_BYTES", "CloseCode", "check_close_code", "default_reason", "fit_reason", "may_travel"]

#: A control frame holds 125 bytes, two of them the code (RFC 6455 §5.5).
REASON_BYTES = 123

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
NO_STATUS = 1005
ABNORMAL = 1006
INVALID_DATA = 1007
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013


class CloseCode(NamedTuple):
    """One close code: ``reason`` in plain words, ``sender`` in one phrase, and whether a client should ``return``."""

    code: int
    reason: str
    sender: str
    come_back: bool


CLOSE_CODES: dict[int, CloseCode] = {
    entry.code: entry
    for entry in (
        CloseCode(NORMAL, "closed by the application", "the application, close()", False),
        CloseCode(GOING_AWAY, "going away", "a browser that leaves the page", True),
        CloseCode(PROTOCOL_ERROR, "WebSocket protocol error", "the server, for a frame against RFC 6455", False),
        CloseCode(UNSUPPORTED_DATA, "unsupported data", "the application", False),
        CloseCode(NO_STATUS, "closed without a status", "nobody: stands for a close frame without a code", True),
        CloseCode(ABNORMAL, "connection lost", "nobody: stands for an end without a close frame", True),
        CloseCode(INVALID_DATA, "text that is not UTF-8", "the server (RFC 6455 §8.1)", False),
        CloseCode(
            POLICY_VIOLATION,
            "policy violation",
            "the server, for a client over a rate or a message in too many fragments; the application",
            False,
        ),
        CloseCode(MESSAGE_TOO_BIG, "message too big", "the server, over max_message_size", False),
        CloseCode(
            INTERNAL_ERROR,
            "the application failed",
            "the server, for an exception in a handler or a ping without an answer",
            True,
        ),
        CloseCode(SERVICE_RESTART, "the server restarts, come back", "the server when it stops", True),
        CloseCode(TRY_AGAIN_LATER, "too slow, come back later", "the server, for a client or consumer that lags", True),
    )
}

#: What an application may pass to close(): 1005, 1006 and 1015 never travel (RFC 6455 §7.4.1).
_SENDABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


def may_travel(code: int) -> bool:
    """Tell whether a close frame may have ``code`` (RFC 6455 §7.4)."""
    return code in _SENDABLE or 3000 <= code <= 4999


def check_close_code(code: object) -> int:
    """Return ``code`` if an application may send it, else raise ``InvalidCloseCode``."""
    if isinstance(code, int) and may_travel(code):
        return code
    raise InvalidCloseCode(
        f"close code {code!r} can't be sent: use 1000, 1001, 1002, 1003, 1007–1014 or 3000–4999; 4000–4999 are yours"
    )


def default_reason(code: int) -> str:
    """Return the plain words for ``code`` where the application gave none."""
    entry = CLOSE_CODES.get(code)
    return entry.reason if entry is not None else f"closed with code {code}"


def fit_reason(reason: str) -> bytes:
    """Return ``reason`` in UTF-8, cut at a character so that it fits into a close frame."""
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) > REASON_BYTES:
        encoded = encoded[:REASON_BYTES].decode("utf-8", "ignore").encode()
    return encoded
