"""Origins: which web pages may open a connection (RFC 6455 §10.2, RFC 6454).

A browser lets every page open a WebSocket to every site, and sends that site's cookies along; what tells one page from
another is the ``Origin`` header. A program that is no browser need not send it, and may send what it likes: this keeps
foreign pages out, not foreign programs.

Laws:
- a handshake without the header passes;
- a page of the host that the request names passes; over TLS only one that came by TLS itself;
- any other passes where an entry or ``localhost`` admits it: compared in whole, part by part, never by a piece of text;
- what is not exactly one origin passes nowhere, but where ``*`` admits all.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from antiphon.exceptions import ConfigurationError

__all__ = ["Origins", "Refusal"]

Headers = Iterable[tuple[bytes, bytes]]

#: An origin is a scheme, a host of at most 253 characters and a port; whatever is longer is none.
_LONGEST = 300
_HOST = r"\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?"
_AUTHORITY = re.compile(rf"({_HOST})(?::([1-9][0-9]{{0,4}}))?", re.ASCII)
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_HOST})(?::([1-9][0-9]{{0,4}}))?", re.ASCII)
_WEB = frozenset({"http", "https"})
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Refusal(NamedTuple):
    """Why a page may not connect: the header as it came, the host that it wanted, and the entry that would admit it."""

    origin: str
    host: str
    entry: str | None
    """None where only ``*`` would."""


class Origin(NamedTuple):
    """A scheme, a host and a port, in lower case; the port is None where it is the scheme's own."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port is not None else "")


class Origins:
    """What ``allowed_origins`` and ``localhost_origins`` admit.

    An entry is an origin, ``https://*.example.com`` for every host below ``example.com``, ``*`` for all, or ``null``
    for pages without an origin of their own. Raises ``ConfigurationError`` for an entry that can't be one.
    """

    def __init__(self, allowed: Iterable[str], *, localhost: bool) -> None:
        entries = [entry.strip().lower() for entry in allowed]
        self._all = "*" in entries
        self._null = "null" in entries
        self._localhost = localhost
        self._exact: set[Origin] = set()
        self._below: set[Origin] = set()
        for entry in entries:
            if entry not in ("*", "null"):
                scheme, found, host = entry.partition("://*.")
                (self._below if found else self._exact).add(_entry(f"{scheme}://{host}" if found else entry, entry))

    def refusal(self, headers: Headers, *, secure: bool) -> Refusal | None:
        """Return None if a handshake with these headers may go on; ``secure`` says that it came over TLS."""
        origins = [value for name, value in headers if name == b"origin"]
        if not origins or self._all:
            return None
        hosts = [value for name, value in headers if name == b"host"]
        text = b", ".join(origins).decode("latin-1")
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        # What a page of the same host sends, letter for letter, needs no closer look.
        if (text == f"https://{host}" or (not secure and text == f"http://{host}")) and _is_authority(host):
            return None
        if text == "null":
            return None if self._null else Refusal(text, host, "null")
        origin = _parse(text)
        if origin is None:
            return Refusal(text, host, None)
        if _is_host(origin, host, secure=secure) or self._admits(origin):
            return None
        return Refusal(text, host, str(origin))

    def _admits(self, origin: Origin) -> bool:
        return origin in self._exact or self._is_below(origin) or (self._localhost and _is_localhost(origin))

    def _is_below(self, origin: Origin) -> bool:
        """Tell whether an entry with a wildcard admits ``origin``: one whose host is a parent of this host."""
        parent = origin.host
        while self._below and parent:
            _, _, parent = parent.partition(".")
            if origin._replace(host=parent) in self._below:
                return True
        return False


def _parse(text: str) -> Origin | None:
    """Return the origin that ``text`` is, if it is one."""
    match = _ORIGIN.fullmatch(text.lower()) if len(text) <= _LONGEST else None
    return _origin(*match.groups()) if match else None


def _origin(scheme: str, host: str, port: str | None) -> Origin | None:
    number = int(port) if port else None
    if number is not None and number > 65535:
        return None
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return None
    return Origin(scheme, host, None if number == _PORTS.get(scheme) else number)


def _is_host(origin: Origin, host: str, *, secure: bool) -> bool:
    """Tell whether ``origin`` is the host of the request, by the ``Host`` header."""
    if origin.scheme != "https" and (secure or origin.scheme != "http"):
        return False  # without TLS here, both will do: a proxy in front may have ended it
    match = _is_authority(host.lower())
    return match is not None and _origin(origin.scheme, *match.groups()) == origin


def _is_authority(host: str) -> re.Match[str] | None:
    return _AUTHORITY.fullmatch(host) if len(host) <= _LONGEST else None


def _is_localhost(origin: Origin) -> bool:
    if origin.scheme not in _WEB:
        return False
    if origin.host in ("localhost", "[::1]") or origin.host.endswith(".localhost"):
        return True
    try:
        return ipaddress.IPv4Address(origin.host).is_loopback
    except ValueError:
        return False


def _entry(text: str, entry: str) -> Origin:
    """Return the origin in ``allowed_origins`` that ``text`` is; ``entry`` is how it was written."""
    origin = _parse(text)
    if origin is None:
        raise ConfigurationError(
            f"allowed_origins has {entry!r}, {_fault(text)}; an entry is like 'https://example.com', "
            "'https://example.com:8443', 'https://*.example.com', '*' or 'null'"
        )
    return origin


def _fault(text: str) -> str:
    """Say what keeps ``text`` from being an origin."""
    scheme, found, rest = text.partition("://")
    if not found or not scheme:
        return "which has no scheme"
    if any(mark in rest for mark in "/?#"):
        return "which goes on behind the host (an origin has no path)"
    if "@" in rest:
        return "which names a user"
    if "*" in rest:
        return "whose wildcard is not a whole first label"
    if not text.isascii():
        return "which is not ASCII (write the host in punycode, xn--…, as browsers send it)"
    return "which is no origin"
