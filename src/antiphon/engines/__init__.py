"""The engines, and the one place that chooses among them by URL."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from antiphon.counters import Counters
from antiphon.engines.base import Engine, EngineEvents
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import ConfigurationError

__all__ = ["Engine", "EngineEvents", "open_engine"]


def _memory(url: str, counters: Counters) -> Engine:
    if url.rstrip("/") != "memory:":
        raise ConfigurationError(f"engine {url!r}: the memory engine takes no address; write memory://")
    return MemoryEngine()


def _sqlite(url: str, counters: Counters) -> Engine:
    from antiphon.engines.sqlite.engine import SqliteEngine  # sqlite3 is loaded where it is needed
    from antiphon.engines.sqlite.options import parse

    return SqliteEngine(parse(url), counters)


def _redis(url: str, counters: Counters) -> Engine:
    try:
        from antiphon.engines.redis.engine import RedisEngine  # hiredis is an extra
        from antiphon.engines.redis.options import parse
    except ModuleNotFoundError as error:
        if error.name != "hiredis":
            raise
        raise ConfigurationError(
            f"engine {urlsplit(url).scheme}:// needs a package: pip install 'antiphon[redis]'"
        ) from None
    return RedisEngine(parse(url), counters)


_REDIS = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
    "redis+shards",
    "rediss+shards",
)

_ENGINES: dict[str, Callable[[str, Counters], Engine]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    **dict.fromkeys(_REDIS, _redis),
}


def open_engine(url: str, counters: Counters | None = None) -> Engine:
    """Return the engine that ``url`` names, not started yet; it counts in ``counters``.

    Raises ``ConfigurationError`` for an unknown one.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _ENGINES:
        known = ", ".join(f"{name}://" for name in _ENGINES)
        raise ConfigurationError(f"engine {url!r} is not one of antiphon's: {known}")
    return _ENGINES[scheme](url, counters if counters is not None else Counters())
