"""Where keys come from: the configuration, and a file that may change while the server runs.

Laws:
- what can't be read at the start is a ``ConfigurationError``; later the keys from before stay, the log says so once,
  and ``key_reads_failed`` counts;
- the file is looked at when a token is to be verified, and at most once in ``INTERVAL``: whoever sends tokens, good or
  bad, causes no more than that;
- keys come from where the configuration says, never from where a token does; nothing is fetched.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from antiphon.config import Config
from antiphon.counters import Counters
from antiphon.exceptions import ConfigurationError
from antiphon.keys import Key, Keys, KeySource, key_set, public_keys, secret_key
from antiphon.verifier import Verifier

__all__ = ["INTERVAL", "Keyring", "open_verifier"]

#: Seconds between two looks at the file.
INTERVAL = 1.0
#: Bytes of a file of keys.
_LARGEST = 1024 * 1024

logger = logging.getLogger("antiphon")

#: What changes when a file does.
Stamp = tuple[int, int, int, int]


def open_verifier(config: Config, *, clock: Callable[[], float], counters: Counters) -> Verifier | None:
    """Return the verifier of a configuration, or None where it names no keys. Raises ``ConfigurationError``.

    ``clock`` tells seconds that only grow, for the file of ``token_jwks``; the time of tokens is passed to each call.
    """
    keys = _keys(config, clock, counters)
    if keys is None:
        return None
    return Verifier(keys, audience=config.token_audience, issuer=config.token_issuer, leeway=config.token_leeway)


def _keys(config: Config, clock: Callable[[], float], counters: Counters) -> KeySource | None:
    fixed = [
        secret_key(secret, f"secret {number} of token_secrets") for number, secret in enumerate(config.token_secrets, 1)
    ]
    for number, entry in enumerate(config.token_public_keys, 1):
        fixed += _public_keys(entry, f"entry {number} of token_public_keys")
    place = config.token_jwks.strip()
    if place.startswith("{"):
        return Keys([*fixed, *key_set(place, "token_jwks")])
    if place:
        return Keyring(fixed, Path(place), clock=clock, counters=counters)
    return Keys(fixed) if fixed else None


def _public_keys(entry: str, where: str) -> list[Key]:
    """Return the keys of PEM, or of a file with PEM. The entry is not shown: it may be anything that was mixed up."""
    if "-----BEGIN" in entry:
        return public_keys(entry, where)
    try:
        pem = _read(Path(entry)).decode()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{where} is no key in PEM, and no file with one: {_words(error)}") from None
    return public_keys(pem, where)


class Keyring:
    """Keys of the configuration, and of a JSON Web Key Set in the file ``path``, which is read again when it changes.

    ``clock`` tells seconds that only grow. For one thread at a time; where two meet, the file may be read twice.
    """

    def __init__(
        self,
        fixed: Iterable[Key],
        path: Path,
        *,
        clock: Callable[[], float],
        counters: Counters,
        interval: float = INTERVAL,
    ) -> None:
        self._fixed = tuple(fixed)
        self._path = path
        self._clock = clock
        self._counters = counters
        self._interval = interval
        self._looked = clock()
        self._failure = ""
        self._stamp: Stamp | None = None
        try:
            self._keys = self._load()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"token_jwks: {self._name} can't be used: {_words(error)}") from None

    @property
    def _name(self) -> str:
        return f"{str(self._path)!r:.200}"

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """Return the keys for ``algorithm`` that a token with this ``kid`` may be signed with, as the file is now.

        It is read again if it has changed; for a kid that is not known also if it looks as before, since two changes
        may come within one tick of the file's clock.
        """
        now = self._clock()
        if now - self._looked >= self._interval:
            self._looked = now
            self._look(unknown=kid is not None and kid not in self._keys.kids)
        return self._keys.find(algorithm, kid)

    def _look(self, *, unknown: bool) -> None:
        try:
            if not unknown and self._stamp is not None and _stamp(self._path) == self._stamp:
                return
            changed = self._stamp
            self._keys = self._load()
        except (OSError, ValueError) as error:
            self._failed(_words(error))
            return
        if self._failure or self._stamp != changed:
            self._failure = ""
            logger.info("token_jwks: %s was read again; keys now: %d", self._name, len(self._keys))

    def _load(self) -> Keys:
        """Read the file; its stamp is taken before, so that a change in between is noticed at the next look."""
        stamp = _stamp(self._path)
        keys = Keys([*self._fixed, *key_set(_read(self._path), "it")])
        self._stamp = stamp
        return keys

    def _failed(self, words: str) -> None:
        self._stamp = None
        self._counters.key_reads_failed += 1
        if words != self._failure:
            self._failure = words
            logger.error("token_jwks: %s can't be used, the keys from before stay: %s", self._name, words)


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _read(path: Path) -> bytes:
    """Return what a file holds; a pipe or a device, which might never end, is none."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no file")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    return content


def _words(error: OSError | ValueError) -> str:
    """Say what was wrong, without the path: that is said once, where it may be."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else type(error).__name__
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
