"""Every exception that antiphon raises.

The tree, with the two kinds of blame kept apart: an error of the application (``UsageError``) is raised where the
application's code stands; an error of the client (``ClientError``) becomes an error frame or a close code, and never
reaches anybody else::

    AntiphonError
    ├── ConfigurationError            a setting that can't be; raised at start
    ├── UsageError                    the application is wrong
    │   ├── InvalidName               a group or channel name that breaks the rules (a TypeError too, as in Channels)
    │   ├── InvalidEvent              a group_send whose event no handler may receive (a ValueError too)
    │   ├── NotEncodable              content that is not JSON (a TypeError too)
    │   ├── InvalidCloseCode          a close code that an application may not send (a ValueError too)
    │   ├── NotAccepted               sending before accept()
    │   └── LimitExceeded             a limit of the configuration, named in the message
    │       └── ChannelFull           what was sent to a channel finds no room, and was not accepted (Channels' name)
    ├── EngineError                   the engine can't be reached, or can't keep what it is given
    │   ├── EngineUnavailable         nothing has happened: it may be tried again
    │   └── OutcomeUnknown            it may have happened: with an idempotency key it may be tried again
    ├── MessagesLost                  a reader of a channel was so slow that messages for it were dropped
    ├── ClientError                   the client is wrong: a code and a reason that it is told
    │   └── TokenRefused              a token that is not accepted; the message is for the log alone
    │       ├── TokenExpired          a new one is needed
    │       ├── TokenInvalid          nobody here has signed it, or it says what can't be
    │       └── TokenMismatch         it is for another group, user or connection
    ├── AcceptConnection              raised in connect(): accept and go on (Channels' name)
    ├── DenyConnection                raised in connect(): refuse (Channels' name)
    └── StopConsumer                  raised in a handler: close and end, without an error (Channels' name)
"""

from __future__ import annotations

import sys

__all__ = [
    "AcceptConnection",
    "AntiphonError",
    "ChannelFull",
    "ClientError",
    "ConfigurationError",
    "DenyConnection",
    "EngineError",
    "EngineUnavailable",
    "InvalidCloseCode",
    "InvalidEvent",
    "InvalidName",
    "LimitExceeded",
    "MessagesLost",
    "NotAccepted",
    "NotEncodable",
    "OutcomeUnknown",
    "StopConsumer",
    "TokenExpired",
    "TokenInvalid",
    "TokenMismatch",
    "TokenRefused",
    "UsageError",
]


class AntiphonError(Exception):
    """Base of every exception that antiphon raises on purpose."""


class ConfigurationError(AntiphonError, ValueError):
    """A setting has a value that can't be; the message names the setting and what it takes."""


class UsageError(AntiphonError):
    """The application called antiphon in a way that can't be right."""


class InvalidName(UsageError, TypeError):
    """A group or channel name breaks the rules (a ``TypeError``, as in Channels)."""


class InvalidEvent(UsageError, ValueError):
    """An event for ``group_send`` or ``send`` that no handler may receive; the message names the fault."""


class NotEncodable(UsageError, TypeError):
    """Content that can't be written as JSON, or an event that can't travel between processes."""


class InvalidCloseCode(UsageError, ValueError):
    """A close code that an application may not send (RFC 6455 §7.4)."""


class NotAccepted(UsageError, RuntimeError):
    """Something was sent on a connection that ``accept()`` has not opened yet."""


class LimitExceeded(UsageError):
    """A limit of the configuration was reached; the message names the setting."""


class ChannelFull(LimitExceeded):
    """A message was not accepted: those that nobody has taken from the channel are at its limit."""


class EngineError(AntiphonError):
    """The engine can't be reached, or can't keep what it is given; the message says which and why."""


class EngineUnavailable(EngineError, ConnectionError):
    """The engine did not do it, and nothing of it has happened; it may be tried again."""


class OutcomeUnknown(EngineError, ConnectionError):
    """The engine may have done it: the answer was lost. With an idempotency key it may be tried again."""


class MessagesLost(AntiphonError):
    """What ``receive()`` raises, once, where messages for the channel were dropped; the message says how many."""


class ClientError(AntiphonError):
    """The client sent something wrong; it is told ``code`` and ``reason`` and keeps its connection.

    ``code`` is a short word for programs (``"invalid_json"``), or a number from 400 to 1999, which is what clients of
    the Centrifuge wire know; ``reason`` is a sentence for people.
    """

    def __init__(self, code: str | int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


class TokenRefused(ClientError):
    """A token is not accepted: ``code`` and ``reason`` are what the client is told, the message says more to the log.

    The message holds neither the token nor a key.
    """

    told = ("token_refused", "the token is not accepted")

    def __init__(self, fault: str) -> None:
        super().__init__(*self.told)
        self.args = (fault,)

    def __str__(self) -> str:
        return str(self.args[0])


class TokenExpired(TokenRefused):
    """A token at the wrong time: it has expired, or is not valid yet; a new one may be accepted.

    On the Centrifuge wire error 109, to ``connect`` and to ``subscribe``.
    """

    told = ("token_expired", "the token is out of date, and a new one is needed")


class TokenInvalid(TokenRefused):
    """A token that nobody here has signed, or that says what can't be.

    On the Centrifuge wire close code 3500 for ``connect``, error 103 for ``subscribe``.
    """

    told = ("token_invalid", "the token is not accepted")


class TokenMismatch(TokenRefused):
    """A good token for another group, user or connection than the one that it came with.

    On the Centrifuge wire close code 3500.
    """

    told = ("token_mismatch", "the token is for something else")


class AcceptConnection(AntiphonError):
    """Raised in ``connect()``: accept the connection."""


class DenyConnection(AntiphonError):
    """Raised in ``connect()``: refuse the connection."""


class StopConsumer(AntiphonError):
    """Raised in a handler: close the connection and end the consumer, without an error."""


def is_kind(error: BaseException, kind: type[Exception]) -> bool:
    """Tell whether ``error`` is our exception of this name or that of Channels, which code moved from it may raise."""
    if isinstance(error, kind):
        return True
    theirs = getattr(sys.modules.get("channels.exceptions"), kind.__name__, None)
    return theirs is not None and isinstance(error, theirs)
