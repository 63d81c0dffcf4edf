"""Raw picows on uvloop: a text frame goes as it came, one send per member.

Usage: python -m benchmarks.peers.picows_app PORT
"""

from __future__ import annotations

import asyncio
import logging
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

members: set[WSTransport] = set()


class Fanout(WSListener):
    """Every message goes to all members."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        members.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            payload = frame.get_payload_as_bytes()
            for member in members:
                member.send(WSMsgType.TEXT, payload)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        members.discard(transport)


class Echo(WSListener):
    """Every message goes back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


def listener(request: WSUpgradeRequest) -> WSListener:
    """Routes by path."""
    return Echo() if request.path == b"/echo" else Fanout()


async def main(port: int) -> None:
    """Serve until killed."""
    logging.getLogger("picows").setLevel(logging.WARNING)
    server = await ws_create_server(listener, "127.0.0.1", port, backlog=2048)
    await asyncio.gather(server.serve_forever())


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
