"""What the URLs of engines have in common."""

from __future__ import annotations

from antiphon.exceptions import ConfigurationError

__all__ = ["read_seconds"]


def read_seconds(url: str, name: str, value: str, *, least: float) -> float:
    """Return the option ``name`` of a URL's query as seconds; raise ``ConfigurationError``, which shows ``url``."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not least <= number < 1e6:
        raise ConfigurationError(f"engine {url!r}: {name} takes seconds, at least {least:g}, not {value!r}")
    return number
