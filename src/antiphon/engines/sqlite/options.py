"""What the URL of the SQLite engine says: ``sqlite:///relative/path`` or ``sqlite:////absolute/path?lease=30``."""

from __future__ import annotations

import dataclasses
import os
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from antiphon.engines.urls import read_seconds
from antiphon.exceptions import ConfigurationError

__all__ = ["Options", "parse"]


def _option(default: Any, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Options:
    """Where the file is, and what the query of the URL may set."""

    path: str
    """Absolute."""
    synchronous: str = _option(
        "normal",
        "`normal`: what was published survives the death of the process; `full`: also a power cut, for one sync of the "
        "disk per transaction; `off`: a power cut may damage the file.",
    )
    lease: float = _option(30.0, "Seconds after which the clients of a process that died are no longer present.")
    busy_timeout: float = _option(
        5.0, "Seconds that a publication waits for the file's lock, which other processes hold while they write."
    )


_SYNCHRONOUS = ("normal", "full", "off")
#: The least that a lease and a wait may be; below, a busy machine looks like a dead one.
_LEAST = {"lease": 0.1, "busy_timeout": 0.0}


def parse(url: str) -> Options:
    """Return what ``url`` says; raise ``ConfigurationError`` for what can't be."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path or path in (".", ":memory:") or path.endswith("/"):
        raise ConfigurationError(
            f"engine {url!r} names no file: write sqlite:///name.db, or sqlite:////absolute/path/name.db with four "
            "slashes; what lives in memory is memory://"
        )
    query: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        query[name] = _value(url, name, value)
    return Options(os.path.abspath(path), **query)


def _value(url: str, name: str, value: str) -> Any:
    if name == "synchronous":
        if value not in _SYNCHRONOUS:
            raise ConfigurationError(f"engine {url!r}: synchronous is one of {', '.join(_SYNCHRONOUS)}, not {value!r}")
        return value
    if name not in _LEAST:
        known = ", ".join(field.name for field in dataclasses.fields(Options) if field.name != "path")
        raise ConfigurationError(f"engine {url!r}: {name!r} is none of its options: {known}")
    return read_seconds(url, name, value, least=_LEAST[name])
