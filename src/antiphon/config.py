"""Every option once: its name, default, unit and meaning.

The same names hold wherever an option is written; of several places the later wins: defaults, then
``antiphon.configure(outbox_limit=…)`` or ``ANTIPHON = {"outbox_limit": …}`` in Django's settings, then
``ANTIPHON_OUTBOX_LIMIT`` in the environment, then the command line.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from antiphon.exceptions import ConfigurationError

__all__ = ["Config", "Option", "load", "options"]

KiB = 1024
MiB = 1024 * KiB


def _option(default: Any, unit: str, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"unit": unit, "meaning": meaning})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one antiphon."""

    engine: str = _option("memory://", "URL", "Where publications and positions live.")
    error_type: str = _option(
        "error", "text", "The `type` of error frames on the plain wire; empty turns error frames off."
    )
    max_message_size: int = _option(1 * MiB, "bytes", "A longer message closes the connection with 1009.")
    max_json_depth: int = _option(64, "levels", "JSON nested deeper is answered with an error frame.")
    outbox_limit: int = _option(
        1 * MiB, "bytes", "What may wait for a client that does not read; over it the client is closed with 1013."
    )
    mailbox_limit: int = _option(
        4 * MiB,
        "bytes",
        "What may wait for a consumer whose handler is busy; over it the client is closed with 1013.",
    )
    inbound_limit: int = _option(
        64, "messages", "Messages of a client that may wait for its consumer; then reading from that client pauses."
    )
    groups_per_connection: int = _option(128, "groups", "A further group_add raises LimitExceeded.")
    handshake_timeout: float = _option(
        10.0, "seconds", "A connection whose consumer has neither accepted nor closed by then is refused."
    )
    close_timeout: float = _option(
        5.0,
        "seconds",
        "How long a closing connection may take to read what waits for it.",
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option as the documentation and the command line see it."""

    name: str
    default: Any
    unit: str
    meaning: str

    @property
    def environment(self) -> str:
        """The name of the environment variable."""
        return f"ANTIPHON_{self.name.upper()}"


def options() -> list[Option]:
    """Return every option in the order of declaration."""
    return [
        Option(field.name, field.default, field.metadata["unit"], field.metadata["meaning"])
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
    kind = type(option.default)
    if kind is str:
        if isinstance(value, str):
            return value
        raise ConfigurationError(f"{where} is {value!r}; it takes {option.unit}")
    try:
        number = float(value)
        if isinstance(value, bool) or not 0 < number < math.inf or kind(number) != number:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        whole = "a whole number" if kind is int else "a number"
        raise ConfigurationError(f"{where} is {value!r}; it takes {whole} of {option.unit} over 0") from None
    return kind(number)
