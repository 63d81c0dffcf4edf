"""The `websockets` library on uvloop: `broadcast()` as in its documentation, with its default compression.

Usage: python -m benchmarks.peers.websockets_app PORT
"""

from __future__ import annotations

import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

connections: set[ServerConnection] = set()


async def fanout(websocket: ServerConnection) -> None:
    """Every message goes as it came to all connections."""
    connections.add(websocket)
    try:
        async for message in websocket:
            broadcast(connections, message)
    finally:
        connections.remove(websocket)


async def main(port: int) -> None:
    """Serve until killed."""
    async with serve(fanout, "127.0.0.1", port, backlog=2048) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
