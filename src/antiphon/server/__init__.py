"""The fast server: a WebSocket protocol class for uvicorn, over picows."""

from antiphon.server.protocol import WebSocketProtocol

__all__ = ["WebSocketProtocol"]
