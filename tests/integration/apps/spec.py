"""ASGI applications that know nothing of antiphon, one per behaviour: ``/<behaviour>?client=<name>``.

Each leaves a record of what it saw, by the name of its client.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from .record import client_of, record

__all__ = ["app"]

Behaviour = Callable[[Any, Any, Any], Awaitable[Any]]
BEHAVIOURS: dict[str, Behaviour] = {}
GATES: dict[str, asyncio.Event] = {}


def behaviour(function: Behaviour) -> Behaviour:
    """Serve ``function`` under its name."""
    BEHAVIOURS[function.__name__] = function
    return function


async def accept(receive: Any, send: Any, **details: Any) -> None:
    """Take the connect event and accept."""
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **details})


async def events(scope: Any, receive: Any) -> None:
    """Record every event up to the end."""
    while True:
        event = await receive()
        record(scope, "event", event={key: _text(value) for key, value in event.items()})
        if event["type"] == "websocket.disconnect":
            return


async def attempt(scope: Any, send: Any, message: dict[str, Any]) -> None:
    """Send what may raise, and record what it raised."""
    try:
        await send(message)
    except Exception as error:
        record(scope, "raised", error=type(error).__name__, is_os_error=isinstance(error, OSError), words=str(error))
        raise
    record(scope, "raised", error=None)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        return [_text(item) for item in value]
    return value


# Scope and handshake


@behaviour
async def scope_contents(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    plain = {key: _text(value) for key, value in scope.items() if key not in ("extensions", "state")}
    plain["extensions"] = sorted(scope["extensions"])
    plain["state"] = {key: value for key, value in scope.get("state", {}).items() if isinstance(value, (str, list))}
    plain["text"] = {key: isinstance(scope[key], str) for key in ("path", "scheme", "root_path", "http_version")}
    plain["raw"] = {key: isinstance(scope[key], bytes) for key in ("raw_path", "query_string")}
    plain["raw"]["headers"] = all(type(part) is bytes for header in scope["headers"] for part in header)
    await send({"type": "websocket.send", "text": json.dumps(plain)})
    await events(scope, receive)


@behaviour
async def write_state(scope: Any, receive: Any, send: Any) -> None:
    scope["state"]["started"] = "changed by a connection"
    scope["state"]["shared"].append("changed by a connection")
    await accept(receive, send)


@behaviour
async def accept_with_headers(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"x-one", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"X-Mixed-Case", b"Gr\xfc\xdfe")]
    await accept(receive, send, headers=headers, subprotocol="chat.v1")
    await events(scope, receive)


@behaviour
async def accept_subprotocol_of_query(scope: Any, receive: Any, send: Any) -> None:
    chosen = parse_qs(scope["query_string"].decode()).get("choose", [None])[0]
    await accept(receive, send, subprotocol=chosen)
    await events(scope, receive)


INJECTIONS: dict[str, dict[str, Any]] = {
    "value": {"headers": [(b"x-one", b"1\r\nx-injected: 1")]},
    "line-feed": {"headers": [(b"x-one", b"1\nx-injected: 1")]},
    "null": {"headers": [(b"x-one", b"1\x00")]},
    "name": {"headers": [(b"x-one: 1\r\nx-injected", b"1")]},
    "empty-name": {"headers": [(b"", b"1")]},
    "space-in-name": {"headers": [(b"x one", b"1")]},
    "subprotocol": {"subprotocol": "chat\r\nx-injected: 1"},
}


@behaviour
async def inject(scope: Any, receive: Any, send: Any) -> None:
    case = INJECTIONS[parse_qs(scope["query_string"].decode())["case"][0]]
    await receive()
    await attempt(scope, send, {"type": "websocket.accept", **case})


@behaviour
async def inject_into_denial(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    headers = [(b"x-one", b"1\r\nx-injected: 1")]
    await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
    await attempt(scope, send, {"type": "websocket.http.response.body", "body": b"no"})


# Refusal


@behaviour
async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.close"})
    record(scope, "after", event=(await receive())["type"])
    await attempt(scope, send, {"type": "websocket.accept"})


@behaviour
async def deny(scope: Any, receive: Any, send: Any) -> None:
    assert "websocket.http.response" in scope["extensions"]
    await receive()
    headers = [(b"content-type", b"text/html"), (b"www-authenticate", b"Bearer"), (b"content-length", b"15")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"x" * 10, "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"y" * 5, "more_body": True})
    await send({"type": "websocket.http.response.body"})
    await attempt(scope, send, {"type": "websocket.http.response.body", "body": b"z"})


@behaviour
async def deny_without_length(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"hardbody"})


@behaviour
async def deny_without_body(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})


@behaviour
async def deny_with_invalid_status(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await attempt(scope, send, {"type": "websocket.http.response.start", "status": 700, "headers": []})


@behaviour
async def deny_twice(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    start = {"type": "websocket.http.response.start", "status": 404, "headers": []}
    await send(start)
    await attempt(scope, send, start)


@behaviour
async def deny_and_accept(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    await attempt(scope, send, {"type": "websocket.accept"})


@behaviour
async def body_without_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await attempt(scope, send, {"type": "websocket.http.response.body", "body": b"x"})


@behaviour
async def silent(scope: Any, receive: Any, send: Any) -> None:
    await receive()


@behaviour
async def raise_before_accept(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise RuntimeError("before accept")


@behaviour
async def send_before_accept(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await attempt(scope, send, {"type": "websocket.send", "text": "early"})


@behaviour
async def wait_before_accept(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    record(scope, "waiting")
    record(scope, "event", event={key: _text(value) for key, value in (await receive()).items()})
    await attempt(scope, send, {"type": "websocket.accept"})


@behaviour
async def accept_late(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await gate(scope)
    await send({"type": "websocket.accept"})
    await events(scope, receive)


# Open connections


@behaviour
async def echo(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    while (event := await receive())["type"] == "websocket.receive":
        record(scope, "receive", keys=sorted(key for key, value in event.items() if value is not None))
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})


@behaviour
async def listen(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await events(scope, receive)
    record(scope, "completed")


@behaviour
async def listen_late(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await gate(scope)
    await events(scope, receive)


@behaviour
async def close_as_told(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    event = await receive()
    await send({"type": "websocket.close", **json.loads(event["text"])})
    await events(scope, receive)


@behaviour
async def send_after_close(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await send({"type": "websocket.send", "text": "before"})
    await send({"type": "websocket.close"})
    await attempt(scope, send, {"type": "websocket.send", "text": "behind"})


@behaviour
async def send_after_the_client_left(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await events(scope, receive)
    await attempt(scope, send, {"type": "websocket.send", "text": "too late"})


@behaviour
async def close_after_the_client_left(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await events(scope, receive)
    await attempt(scope, send, {"type": "websocket.close"})


@behaviour
async def accept_twice(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await attempt(scope, send, {"type": "websocket.accept"})


@behaviour
async def unknown_message(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await attempt(scope, send, {"type": "websocket.shout"})


@behaviour
async def return_at_once(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)


@behaviour
async def return_a_value(scope: Any, receive: Any, send: Any) -> Any:
    await accept(receive, send)
    return 123


@behaviour
async def raise_after_accept(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    raise RuntimeError("after accept")


@behaviour
async def raise_after_close(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await send({"type": "websocket.close", "code": 4001})
    raise RuntimeError("after close")


@behaviour
async def pour(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    for number in range(1, 10_000):
        if number % 10 == 0:
            record(scope, "poured", number=number)
        try:
            await send({"type": "websocket.send", "bytes": b"x" * 100_000})
        except OSError:
            record(scope, "raised", error="OSError")
            return


async def gate(scope: Any) -> None:
    """Wait until the test asks for ``/open``."""
    record(scope, "waiting")
    await GATES.setdefault(client_of(scope), asyncio.Event()).wait()


async def http(scope: Any, receive: Any, send: Any) -> None:
    """``/open`` lets an application go on that waits; ``/cut`` answers with an upgrade-free greeting."""
    if scope["path"] == "/open":
        GATES.setdefault(client_of(scope), asyncio.Event()).set()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def app(scope: Any, receive: Any, send: Any) -> Any:
    """Route by the path."""
    if scope["type"] == "websocket":
        return await BEHAVIOURS[scope["path"].rsplit("/")[-1]](scope, receive, send)
    if scope["type"] == "http":
        return await http(scope, receive, send)
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup" and "state" in scope:
            scope["state"].update(started="by the lifespan", shared=[])
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return None
