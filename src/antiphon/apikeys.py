"""The keys that the HTTP API is called with, and the path that it is served below.

Laws:
- how long it takes to refuse a key does not tell how much of it is right, nor which of the keys it is like;
- a key is one word of a header, and too long to be guessed; what can't be is found at the start, and not shown.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable

from antiphon.exceptions import ConfigurationError

__all__ = ["SHORTEST", "APIKeys", "check_api_path"]

#: How many characters a key has at least.
SHORTEST = 16

_WORD = re.compile(r"[!-~]+")
_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)+")


class APIKeys:
    """Keys of which any opens the API, so that one can be replaced by another. Raises ``ConfigurationError``."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [_checked(key, f"key {number} of api_keys") for number, key in enumerate(keys, 1)]

    def __bool__(self) -> bool:
        """Tell whether there is an API at all."""
        return bool(self._keys)

    def have(self, key: bytes) -> bool:
        """Tell whether ``key`` is one of them; all are compared, whatever the first comparison says."""
        return sum([hmac.compare_digest(key, each) for each in self._keys]) > 0


def _checked(key: str, where: str) -> bytes:
    if not _WORD.fullmatch(key):
        raise ConfigurationError(f"{where} is not a word of printable ASCII, without spaces, that a header can carry")
    if len(key) < SHORTEST:
        raise ConfigurationError(
            f"{where} has {len(key)} characters, and {SHORTEST} are the fewest: it could be guessed"
        )
    return key.encode()


def check_api_path(path: str, keys: APIKeys) -> None:
    """Raise ``ConfigurationError`` for a path below which nothing can be served, or nobody could call."""
    if path and not _PATH.fullmatch(path):
        raise ConfigurationError(
            f"api_path is {path!r}; it takes a path like /api, with no slash at its end, or nothing"
        )
    if path and not keys:
        raise ConfigurationError(f"api_path is {path!r}, and nobody has a key to it: set api_keys")
