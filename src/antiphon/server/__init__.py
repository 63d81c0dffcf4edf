"""The fast server: protocol classes for uvicorn, WebSocket and HTTP."""

from antiphon.server.http import HTTPProtocol
from antiphon.server.protocol import WebSocketProtocol

__all__ = ["HTTPProtocol", "WebSocketProtocol"]
