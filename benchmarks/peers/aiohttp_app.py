"""aiohttp on uvloop: encode once, then one `send_str` per member.

Usage: python -m benchmarks.peers.aiohttp_app PORT
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop
from aiohttp import WSMsgType, web

members: set[web.WebSocketResponse] = set()


async def fanout(request: web.Request) -> web.WebSocketResponse:
    """Every message goes to all members."""
    websocket = web.WebSocketResponse(compress=False)
    await websocket.prepare(request)
    members.add(websocket)
    try:
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                text = json.dumps({"type": "response", "content": json.loads(message.data)["content"]})
                for member in list(members):
                    await member.send_str(text)
    finally:
        members.discard(websocket)
    return websocket


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Every message goes back."""
    websocket = web.WebSocketResponse(compress=False)
    await websocket.prepare(request)
    async for message in websocket:
        if message.type is WSMsgType.TEXT:
            await websocket.send_str(json.dumps(json.loads(message.data)))
    return websocket


async def main(port: int) -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_get("/ws", fanout)
    app.router.add_get("/echo", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
