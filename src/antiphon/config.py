"""Every option once: its name, default, unit and meaning.

The same names hold wherever an option is written; of several places the later wins: defaults, then
``antiphon.configure(outbox_limit=…)`` or ``ANTIPHON = {"outbox_limit": …}`` in Django's settings, then
``ANTIPHON_OUTBOX_LIMIT`` in the environment, then the command line.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from antiphon.exceptions import ConfigurationError

__all__ = ["Config", "Kind", "Option", "load", "options"]

KiB = 1024
MiB = 1024 * KiB


class Kind(NamedTuple):
    """How an option is written."""

    read: Callable[[Any], Any]
    """Turns what a source says into the option's value, or raises: ``TypeError``, ``ValueError``, ``OverflowError``."""
    takes: str
    """What it takes, in words."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    """Read on or off; a number is neither, because the option next to it may be one."""
    if isinstance(value, bool):
        return value
    if _text(value).lower() in _ON:
        return True
    if value.lower() in _OFF:
        return False
    raise ValueError


_ON, _OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


def _number(value: Any) -> float:
    number = _number_or_zero(value)
    if number == 0:
        raise ValueError
    return number


def _number_or_zero(value: Any) -> float:
    if isinstance(value, (bool, bytes, bytearray)):
        raise TypeError
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError
    return number


def _whole(value: Any) -> int:
    return int(_number(_whole_or_zero(value)))


def _whole_or_zero(value: Any) -> int:
    number = _number_or_zero(value)
    if int(number) != number:
        raise ValueError
    return int(number)


def _texts(value: Any) -> tuple[str, ...]:
    """Read a list of texts; in the environment they are separated by commas."""
    if isinstance(value, str):
        value = [text.strip() for text in value.split(",") if text.strip()]
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise TypeError
    return tuple(_text(each) for each in value)


def _mapping(value: Any) -> dict[str, Any]:
    """Read a dict by name; in the environment it is written in JSON."""
    content = json.loads(value) if isinstance(value, str) else value
    if not isinstance(content, Mapping):
        raise TypeError
    return {_text(name): each for name, each in content.items()}


#: How options are written, by the kind of their default.
_KINDS: dict[type, Kind] = {
    str: Kind(_text, "text"),
    bool: Kind(_flag, "on or off"),
    int: Kind(_whole, "a whole number over 0"),
    float: Kind(_number, "a number over 0"),
    tuple: Kind(_texts, "a list of texts, in the environment with commas between them"),
    dict: Kind(_mapping, "a dict, in the environment as JSON"),
}
#: The same for numbers that may be 0.
_KINDS_WITH_ZERO: dict[type, Kind] = {
    int: Kind(_whole_or_zero, "a whole number, 0 or more"),
    float: Kind(_number_or_zero, "a number, 0 or more"),
}


def _option(default: Any, unit: str, meaning: str, kind: Kind | None = None, *, secret: bool = False) -> Any:
    """Declare an option; ``kind`` is that of the default where it is not given, a ``secret`` value is shown nowhere."""
    metadata = {"unit": unit, "meaning": meaning, "kind": kind or _KINDS[type(default)], "secret": secret}
    return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata, repr=not secret)


def _limit(default: Any, unit: str, meaning: str, *, zero: str = "no limit") -> Any:
    """Declare a number that may be 0, and what 0 means."""
    return _option(default, unit, f"{meaning} 0: {zero}.", _KINDS_WITH_ZERO[type(default)])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one antiphon."""

    engine: str = _option("memory://", "URL", "Where publications and positions live.")

    # What a client sends
    error_type: str = _option(
        "error", "text", "The `type` of error frames on the plain wire; empty turns error frames off."
    )
    max_message_size: int = _option(
        1 * MiB, "bytes", "A longer message, also after decompression, closes the connection with 1009."
    )
    max_fragments: int = _limit(128 * KiB, "fragments", "A message in more fragments closes the connection with 1008.")
    unfinished_limit: int = _limit(
        256 * MiB,
        "bytes",
        "What the unfinished messages of all clients of a process may hold; who goes over it is closed with 1013.",
    )
    max_json_depth: int = _option(64, "levels", "JSON nested deeper is answered with an error frame.")
    message_rate: float = _limit(
        1000.0,
        "messages per second",
        "A client that sends more, and has used up its rate_burst, gets an error frame and is closed with 1008, on the "
        "Centrifuge wire, where each command is a message, with 3013.",
    )
    byte_rate: float = _limit(
        16.0 * MiB,
        "bytes per second",
        "A client whose messages hold more, and that has used up its rate_burst, gets an error frame and is closed "
        "with 1008, on the Centrifuge wire with 3013.",
    )
    control_rate: float = _limit(
        100.0,
        "frames per second",
        "A client that sends more pings and pongs, and has used up its rate_burst, is closed with 1008.",
    )
    rate_burst: float = _option(
        10.0, "seconds", "What a client has not used of its rates in this time it may use at once."
    )
    inbound_limit: int = _option(
        64, "messages", "Messages of a client that may wait for its consumer; then reading from that client pauses."
    )

    # What waits
    outbox_limit: int = _option(
        1 * MiB, "bytes", "What may wait for a client that does not read; over it the client is closed with 1013."
    )
    mailbox_limit: int = _option(
        4 * MiB,
        "bytes",
        "What may wait for a consumer whose handler is busy; over it the client is closed with 1013.",
    )

    # Groups
    groups_per_connection: int = _option(128, "groups", "A further group_add raises LimitExceeded.")
    rules: Mapping[str, Any] = _option(
        {},
        "rules by pattern",
        "What holds for the groups whose name matches a pattern, the first that does; see the topic on groups.",
    )
    position_check: float = _limit(
        40.0,
        "seconds",
        "So often the groups that keep their history are compared with the engine, and what a lost subscription has "
        "swallowed is filled in.",
        zero="never",
    )

    # Who may connect
    allowed_origins: tuple[str, ...] = _option(
        (),
        "origins",
        "Web pages that may connect besides those of the server's own host, like `https://example.com`, or "
        "`https://*.example.com` for all hosts below it; `*` lets all in, `null` those without an origin of their own.",
    )
    localhost_origins: bool = _option(
        False, "on or off", "Web pages of localhost, any port, may connect; Django's DEBUG turns it on."
    )
    handshake_timeout: float = _option(
        10.0,
        "seconds",
        "A client that has not sent its request by then is cut off; one whose consumer has neither accepted nor closed "
        "by then is refused, and a connect() that still runs is cancelled.",
    )
    max_half_open: int = _limit(
        1000,
        "connections",
        "Connections that have not sent their request yet; over it those that have had three seconds for it are cut "
        "off, the oldest first, and over ten times as many the oldest at once.",
    )
    max_header_size: int = _option(32 * KiB, "bytes", "A request with longer headers is answered with 431.")
    max_headers: int = _option(100, "headers", "A request with more headers is answered with 431.")
    max_connections: int = _limit(100_000, "connections", "WebSockets of a process; a further one is refused with 503.")
    connections_per_address: int = _limit(
        1000,
        "connections",
        "WebSockets from one address (IPv6: one /64 network); a further one is refused with 429. Loopback addresses "
        "and Unix sockets are not counted.",
    )

    # Tokens. A private key that was put among the public ones must not be shown either.
    token_secrets: tuple[str, ...] = _option(
        (),
        "secrets",
        "What tokens are signed with, by HMAC; new ones with the first. A secret has 32 bytes or more, for HS384 48, "
        "for HS512 64.",
        secret=True,
    )
    token_public_keys: tuple[str, ...] = _option(
        (),
        "keys",
        "Public keys of those who sign tokens by RSA (2048 bits or more) or on the curves P-256, P-384 and P-521: in "
        "PEM, or paths of files that hold PEM.",
        secret=True,
    )
    token_jwks: str = _option(
        "",
        "path",
        "A file with such keys as a JSON Web Key Set (RFC 7517), which is read again when it changes; or the set "
        "itself.",
        secret=True,
    )
    token_audience: str = _option(
        "", "text", "Tokens have to be for this audience (the claim `aud`); where it is empty, for none."
    )
    token_issuer: str = _option(
        "", "text", "Tokens have to be from this issuer (the claim `iss`); where it is empty, from any."
    )
    token_leeway: float = _limit(
        10.0,
        "seconds",
        "How far the clocks of those who sign tokens may be from this one.",
        zero="not at all",
    )

    # The HTTP API
    api_keys: tuple[str, ...] = _option(
        (),
        "keys",
        "What the HTTP API is called with: any of them, each of 16 characters or more, ASCII without spaces. Without "
        "one there is no API.",
        secret=True,
    )
    api_path: str = _option(
        "",
        "path",
        "Below this path, like `/api`, antiphon's server answers the HTTP API, in front of the application; empty: "
        "nowhere, and the application may mount `HTTPAPI`.",
    )
    revoke_on_logout: bool = _option(
        True,
        "on or off",
        "In a Django project: the connections of a session are closed when it is logged out, and those of a user whose "
        "password is changed, or who is deactivated or deleted.",
    )

    # How a connection goes on and ends
    ping_interval: float = _limit(
        25.0,
        "seconds",
        "Between two pings of a connection; the first comes after half of it to all of it, so that those who came at "
        "once are not pinged at once.",
        zero="no pings",
    )
    ping_timeout: float = _limit(
        8.0, "seconds", "A client that has not answered a ping by then is given up.", zero="nobody is given up"
    )
    compression: bool = _option(True, "on or off", "Offer permessage-deflate (RFC 7692) to clients that ask for it.")
    compression_threshold: int = _option(1024, "bytes", "Shorter messages are not compressed.")
    close_timeout: float = _option(
        5.0,
        "seconds",
        "How long a closing connection may take to read what waits for it.",
    )
    drain_time: float = _limit(
        5.0,
        "seconds",
        "When the server stops, its clients are told over this time, spread evenly, at 1 per 5 ms or faster.",
        zero="all at once",
    )
    shutdown_timeout: float = _option(
        10.0, "seconds", "How long connections and handlers may take when the server stops."
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option as the documentation and the command line see it."""

    name: str
    default: Any
    unit: str
    meaning: str
    kind: Kind
    secret: bool
    """Whether a value of it is shown nowhere, also where it is wrong."""

    @property
    def environment(self) -> str:
        """The name of the environment variable."""
        return f"ANTIPHON_{self.name.upper()}"


def options() -> list[Option]:
    """Return every option in the order of declaration."""
    defaults = Config()
    return [
        Option(name=field.name, default=getattr(defaults, field.name), **field.metadata)
        for field in dataclasses.fields(Config)
    ]


def load(*sources: Mapping[str, Any], environment: Mapping[str, str]) -> Config:
    """Return the configuration of ``sources``, the later winning, with ``environment`` over them.

    Raises ``ConfigurationError`` for a name that does not exist or a value of the wrong kind.
    """
    known = {option.name: option for option in options()}
    values: dict[str, Any] = {}
    for source in sources:
        for name, value in source.items():
            if name not in known:
                raise ConfigurationError(f"antiphon has no option {name!r}; it has: {', '.join(known)}")
            values[name] = _check(known[name], value, name)
    for option in known.values():
        if option.environment in environment:
            values[option.name] = _check(option, environment[option.environment], option.environment)
    return Config(**values)


def _check(option: Option, value: Any, where: str) -> Any:
    """Return ``value`` as the option's kind; text is read as a number where the option is one."""
    try:
        return option.kind.read(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        unit = "" if option.unit == option.kind.takes else f" ({option.unit})"
        shown = f"<{type(value).__name__}, not shown>" if option.secret else repr(value)
        raise ConfigurationError(f"{where} is {shown}; it takes {option.kind.takes}{unit}") from None
