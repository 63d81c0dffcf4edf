"""The engines, and the one place that chooses among them by URL."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from antiphon.engines.base import Engine, EngineEvents
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import ConfigurationError

__all__ = ["Engine", "EngineEvents", "open_engine"]


def _memory(url: str) -> Engine:
    if url.rstrip("/") != "memory:":
        raise ConfigurationError(f"engine {url!r}: the memory engine takes no address; write memory://")
    return MemoryEngine()


_ENGINES: dict[str, Callable[[str], Engine]] = {"memory": _memory}


def open_engine(url: str) -> Engine:
    """Return the engine that ``url`` names, not started yet; raise ``ConfigurationError`` for an unknown one."""
    scheme = urlsplit(url).scheme
    if scheme not in _ENGINES:
        known = ", ".join(f"{name}://" for name in _ENGINES)
        raise ConfigurationError(f"engine {url!r} is not one of antiphon's: {known}")
    return _ENGINES[scheme](url)
