"""antiphon with many groups that keep their history, on the Centrifuge wire, for ``benchmarks.redis_storm``.

``/stats`` answers with antiphon's counters.
"""

from __future__ import annotations

import json

from antiphon import AsyncJsonWebsocketConsumer, configure, stats

configure(rules={"storm:*": {"subscribe": "allow", "history_size": 100, "history_lifetime": 600}})

_members = AsyncJsonWebsocketConsumer.as_asgi(wire="centrifuge")


async def app(scope, receive, send):
    """Serve the members, and the counters."""
    if scope["type"] == "http":
        body = json.dumps(stats()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
    else:
        await _members(scope, receive, send)
