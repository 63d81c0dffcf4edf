"""Testing consumers and whole applications: communicators without a server, and live servers with clients.

::

    from antiphon.testing import WebsocketCommunicator

    async def test_echo():
        async with WebsocketCommunicator(Echo.as_asgi(), "/") as communicator:
            await communicator.send_json_to({"text": "hello"})
            assert await communicator.receive_json_from() == {"text": "hello"}

pytest finds the fixture ``live_antiphon`` by itself (``antiphon.testing.plugin``). Nothing here is imported before it
is used: every pytest that has antiphon installed loads the plugin.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.testing.application import ApplicationCommunicator
    from antiphon.testing.clients import AsyncClient, Client, Closed, Refused
    from antiphon.testing.communicator import WebsocketCommunicator
    from antiphon.testing.http import HttpCommunicator
    from antiphon.testing.live import LiveServer, LiveServers
    from antiphon.testing.livecase import LiveServerTestCase
    from antiphon.testing.serverprocess import AntiphonProcess
    from antiphon.testing.transactions import undisturbed_connections

__all__ = [
    "AntiphonProcess",
    "ApplicationCommunicator",
    "AsyncClient",
    "Client",
    "Closed",
    "HttpCommunicator",
    "LiveServer",
    "LiveServerTestCase",
    "LiveServers",
    "Refused",
    "WebsocketCommunicator",
    "undisturbed_connections",
]

_MODULES = {
    "AntiphonProcess": "serverprocess",
    "ApplicationCommunicator": "application",
    "AsyncClient": "clients",
    "Client": "clients",
    "Closed": "clients",
    "HttpCommunicator": "http",
    "LiveServer": "live",
    "LiveServerTestCase": "livecase",
    "LiveServers": "live",
    "Refused": "clients",
    "WebsocketCommunicator": "communicator",
    "undisturbed_connections": "transactions",
}


def __getattr__(name: str) -> Any:
    """Import what is used for the first time."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
