"""The HTTP API in front of the application that a server serves, where ``api_path`` says so."""

from __future__ import annotations

import weakref

from uvicorn.config import Config as ServerConfig
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from antiphon.http_api import HTTPAPI
from antiphon.types import Receive, Scope, Send

__all__ = ["Front", "front_of"]

_fronts: weakref.WeakKeyDictionary[ServerConfig, Front] = weakref.WeakKeyDictionary()


class Front:
    """Answers the requests below ``path`` by the HTTP API, and lets the application have all others."""

    def __init__(self, server: ServerConfig, path: str) -> None:
        self._application = server.loaded_app
        self._path = server.root_path + path + "/"
        self._api: HTTPAPI | ProxyHeadersMiddleware = HTTPAPI()
        if server.proxy_headers:  # so that the log has the caller's address
            self._api = ProxyHeadersMiddleware(self._api, trusted_hosts=server.forwarded_allow_ips)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_ours = scope["path"].startswith(self._path)
        await (self._api if is_ours else self._application)(scope, receive, send)  # type: ignore[arg-type]


def front_of(server: ServerConfig, path: str) -> Front:
    """Return the front of a server, made when its first client comes."""
    front = _fronts.get(server)
    if front is None:
        front = _fronts[server] = Front(server, path)
    return front
