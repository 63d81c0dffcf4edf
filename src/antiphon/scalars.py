"""What msgspec does not know by itself: subclasses of text and numbers, and Django's lazy text."""

from __future__ import annotations

from typing import Any

__all__ = ["as_scalar"]


def as_scalar(value: Any) -> str | int | float:
    """Return ``value`` as the plain type that it stands for; raise ``NotImplementedError`` where it stands for none.

    An ``enc_hook`` of msgspec's encoders.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if type(value).__name__ == "__proxy__":  # django.utils.functional.lazy
        return str(value)
    raise NotImplementedError(f"{type(value).__qualname__} can't be written")
