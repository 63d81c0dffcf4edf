"""What the URL of the Redis engine says, such as ``redis://user:password@host:6379/0?prefix=antiphon``."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from antiphon.engines.urls import read_seconds
from antiphon.exceptions import ConfigurationError

__all__ = ["SCHEMES", "Address", "Options", "parse"]

#: Host and port; or a path and 0: a socket of this host.
Address = tuple[str, int]

#: Each scheme, and how its URL is written.
SCHEMES = {
    "redis": "redis://host:6379/0",
    "rediss": "rediss://host:6379/0",
    "unix": "unix:///path/redis.sock",
    "redis+sentinel": "redis+sentinel://host1:26379,host2:26379/master-name",
    "redis+cluster": "redis+cluster://host1:6379,host2:6379",
    "rediss+cluster": "rediss+cluster://host1:6379,host2:6379",
    "redis+shards": "redis+shards://host1:6379,host2:6379/0",
    "rediss+shards": "rediss+shards://host1:6379,host2:6379/0",
    "rediss+sentinel": "rediss+sentinel://host1:26379,host2:26379/master-name",
}


def _option(default: Any, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Options:
    """Where Redis is, and what the query of the URL may set (those that have a meaning)."""

    addresses: tuple[Address, ...]
    """Of the server; of the sentinels, where ``master`` is named."""
    master: str = ""
    """What the sentinels call the server; empty: there are no sentinels."""
    tls: bool = False
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    db: int = _option(
        0, "The number of the database, where the URL's path says something else: `unix://`, `redis+sentinel://`."
    )
    prefix: str = _option(
        "antiphon",
        "What the names of all keys and channels begin with; applications with different ones share nothing.",
    )
    timeout: float = _option(
        5.0, "Seconds that a call waits for Redis before it is refused; a server that says nothing for so long is left."
    )
    lease: float = _option(30.0, "Seconds after which the clients of a process that died are no longer present.")
    ca: str = _option("", "The file with the certificates of those who may sign that of a `rediss://` server.")
    verify: str = _option(
        "yes", "`no`: any certificate of a `rediss://` server is accepted. Anybody may be in between."
    )
    sentinel_user: str = _option("", "The user whom the sentinels know, where they ask for one.")
    sentinel_password: str = dataclasses.field(
        default="", repr=False, metadata={"meaning": "Their password, where they ask for one."}
    )
    is_cluster: bool = False
    """Whether ``addresses`` are of some of a cluster's servers, which know the others."""
    is_shards: bool = False
    """Whether ``addresses`` are of servers that know nothing of each other, and share the groups."""

    @property
    def where(self) -> str:
        """Return what log lines call it: without the password."""
        names = ",".join(host if not port else f"{host}:{port}" for host, port in self.addresses)
        if self.is_cluster:
            return f"the Redis cluster at {names}"
        if self.is_shards:
            return f"the Redis shards at {names}"
        return f"the master {self.master!r} of the sentinels {names}" if self.master else f"Redis at {names}"


#: The least that these may be; below, a busy machine looks like a dead one.
_LEAST = {"timeout": 0.1, "lease": 0.5}
# No braces: those in a key say where a cluster has it.
_PREFIX = re.compile(r"[A-Za-z0-9_.:/-]{1,64}\Z")


def parse(url: str) -> Options:
    """Return what ``url`` says; raise ``ConfigurationError`` for what can't be."""
    parts = urlsplit(url)
    shown = _without_password(url, parts)
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(
            f"engine {shown!r}: the Redis engine is written as one of {', '.join(SCHEMES.values())}"
        )
    query = {name: _value(shown, name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    query |= {"user": unquote(user), "password": unquote(password), "tls": parts.scheme.startswith("rediss")}
    path = unquote(parts.path)
    if parts.scheme == "unix":
        if not path.strip("/") or hosts:
            raise ConfigurationError(f"engine {shown!r} names no socket: write {SCHEMES['unix']}, with three slashes")
        return Options(((path, 0),), **query)
    is_sentinel = parts.scheme.endswith("sentinel")
    addresses = _addresses(shown, hosts, 26379 if is_sentinel else 6379)
    if is_sentinel:
        master = path.strip("/")
        if not master or "/" in master:
            raise ConfigurationError(f"engine {shown!r} names no master: write {SCHEMES['redis+sentinel']}")
        return Options(addresses, master, **query)
    if parts.scheme.endswith("cluster"):
        if path.strip("/") or query.get("db"):
            raise ConfigurationError(f"engine {shown!r} names a database: a cluster has none but 0")
        return Options(addresses, is_cluster=True, **query)
    is_shards = parts.scheme.endswith("shards")
    if len(addresses) > 1 and not is_shards:
        raise ConfigurationError(f"engine {shown!r} names several hosts: {parts.scheme}:// takes one")
    if len({(host.lower(), port) for host, port in addresses}) < len(addresses):
        raise ConfigurationError(f"engine {shown!r} names one server twice")
    if path.strip("/"):
        query["db"] = _number(shown, "the database", path.strip("/"))
    return Options(addresses, is_shards=is_shards, **query)


def _without_password(url: str, parts: SplitResult) -> str:
    """Return the URL as an error may show it."""
    credentials, at, hosts = parts.netloc.rpartition("@")
    shown = url.replace(parts.netloc, f"{credentials.partition(':')[0]}:***@{hosts}") if at else url
    return re.sub(r"(password=)[^&]*", r"\1***", shown)


def _addresses(shown: str, hosts: str, port: int) -> tuple[Address, ...]:
    found = []
    for each in hosts.split(","):
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/]+)(?::(\d{1,5}))?", each.strip())
        if match is None or not 0 < int(match[2] or port) < 65536:
            raise ConfigurationError(
                f"engine {shown!r}: {each!r} is no host with a port, such as redis.example.com:{port}"
            )
        found.append((match[1].strip("[]"), int(match[2] or port)))
    return tuple(found)


def _value(shown: str, name: str, value: str) -> Any:
    known = [field.name for field in dataclasses.fields(Options) if "meaning" in field.metadata]
    if name not in known:
        raise ConfigurationError(f"engine {shown!r}: {name!r} is none of its options: {', '.join(known)}")
    if name in _LEAST:
        return read_seconds(shown, name, value, least=_LEAST[name])
    if name == "db":
        return _number(shown, name, value)
    if name == "verify":
        if value not in ("yes", "no"):
            raise ConfigurationError(f"engine {shown!r}: verify is yes or no, not {value!r}")
        return value
    if name == "ca" and not os.path.isfile(value):
        raise ConfigurationError(f"engine {shown!r}: ca names {value!r}, where there is no file")
    if name == "prefix" and not _PREFIX.match(value):
        raise ConfigurationError(f"engine {shown!r}: prefix takes 1 to 64 letters, digits and '_.:/-', not {value!r}")
    return value


def _number(shown: str, name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,5}", value):
        raise ConfigurationError(f"engine {shown!r}: {name} is a number such as 0, not {value!r}")
    return int(value)
