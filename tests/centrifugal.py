"""A client of the Centrifuge wire for unit tests: real consumers, and fakes below them."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from antiphon import AsyncJsonWebsocketConsumer
from antiphon.app import App
from antiphon.centrifuge import CentrifugeConnection
from antiphon.config import load
from antiphon.consumer import Consumer
from antiphon.counters import Counters
from antiphon.engines.memory import MemoryEngine
from antiphon.formats import FRAMES, MESSAGES, Format
from antiphon.hub import Hub
from antiphon.lifecycle import State
from antiphon.pushformat import PushFormat
from antiphon.types import Page, Position, Retention
from antiphon.wire.centrifuge.encoding import JSON, Encoding

from .fakes import FakeTransport, settled, until
from .wire.centrifuge import reference

__all__ = ["Echo", "GatedEngine", "Sdk", "Service"]

#: Rules of most tests: what a client may do in which group.
RULES: dict[str, dict[str, Any]] = {
    "kept*": {"subscribe": "allow", "publish": "members", "history": "members", "history_size": 100},
    "open*": {"subscribe": "allow", "publish": "allow"},
    "members*": {"subscribe": "allow", "publish": "members"},
    "shy*": {"subscribe": "allow", "history_size": 100},
}


class Service:
    """A configured antiphon whose clients are fakes."""

    def __init__(self, app: App, hub: Hub) -> None:
        self.app = app
        self.hub = hub
        self.formats: dict[tuple[str, Format], PushFormat] = {}

    @classmethod
    async def start(cls, engine: MemoryEngine | None = None, **options: Any) -> Service:
        """Start one with ``RULES`` and ``options``."""
        app = App(load({"rules": RULES, **options}, environment={}))
        hub = await app.start()
        if engine is not None:
            await hub.engine.stop()
            hub.engine = engine
            await engine.start(hub)
        return cls(app, hub)

    async def publish(self, group: str, *contents: Any) -> None:
        """Publish from the server."""
        for content in contents:
            await self.app.layer.publish(group, content)

    async def stop(self) -> None:
        """Close every connection."""
        await self.app.stop()


class Echo(AsyncJsonWebsocketConsumer):
    """Accepts, sends back what comes, and remembers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received: list[Any] = []
        self.disconnects: list[int] = []

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Send it back."""
        self.received.append(content)
        await self.send_json({"echo": content})

    async def disconnect(self, code: int) -> None:
        """Remember it."""
        assert not self._connection.memberships, "disconnect runs after the memberships are gone"
        self.disconnects.append(code)


_numbers = itertools.count()


class Sdk:
    """One client, its consumer and its connection, which runs."""

    def __init__(
        self,
        service: Service,
        consumer: Consumer | None = None,
        *,
        encoding: Encoding = JSON,
        scope: Mapping[str, Any] | None = None,
        transport: FakeTransport | None = None,
        direct: bool = True,
    ) -> None:
        self.service = service
        self.consumer: Any = consumer if consumer is not None else Echo()
        self.encoding = encoding
        self.transport = transport or FakeTransport(FRAMES if direct else MESSAGES)
        context = contextvars.copy_context() if direct else None
        self.transport.context = context
        self.ids = itertools.count(1)
        app, hub, inner = service.app, service.hub, self.transport.format
        self.connection = CentrifugeConnection(
            hub=hub,
            config=app.config,
            consumer=self.consumer,
            scope={"type": "websocket", "path": "/sdk/", **(scope or {})},
            transport=self.transport,
            channel_name=f"specific.test!{next(_numbers)}",
            push_format=service.formats.setdefault((encoding.NAME, inner), PushFormat(encoding, inner)),
            subprotocol=None,
            verifier=app._verifier,
        )
        self.consumer.attach(self.connection, app.layer, self.connection._scope, app.config.max_json_depth)
        self.task = asyncio.create_task(self.connection.run(), context=context)

    @property
    def counters(self) -> Counters:
        """What the service counts."""
        return self.service.hub.counters

    # What the client sends

    def encode(self, *commands: Mapping[str, Any]) -> bytes:
        """Return a frame of commands in the form of JSON."""
        if self.encoding is JSON:
            return b"\n".join(json.dumps(command).encode() for command in commands)
        return reference.delimited([_filled(reference.message("Command"), command) for command in commands])

    def frame(self, *commands: Mapping[str, Any]) -> None:
        """Let a frame come in as a socket would bring it."""
        self.raw(self.encode(*commands))

    def raw(self, payload: bytes, *, text: bool | None = None) -> None:
        """Let any frame come in."""
        is_text = self.encoding.IS_TEXT if text is None else text
        receive = self.connection.receive_text if is_text else self.connection.receive_binary
        self.outside(receive, payload)

    def outside(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call ``function`` from the loop in the next round."""
        self.service.hub.loop.call_soon(function, *arguments)

    async def connected(self, **connect: Any) -> Sdk:
        """Send ``connect`` and wait for its answer."""
        await self.ask("connect", **connect)
        return self

    async def ask(self, method: str, /, **content: Any) -> Any:
        """Send a command and return the result, or the error as ``(code, message)``."""
        number = next(self.ids)
        self.frame({method: content, "id": number})
        return await self.answer(number, method)

    async def answer(self, number: int, method: str) -> Any:
        """Wait for the answer to a command."""
        await until(lambda: number in self.answers)
        reply = self.answers[number]
        if "error" in reply:
            assert set(reply) == {"id", "error"}
            return reply["error"]["code"], reply["error"]["message"]
        assert set(reply) == {"id", method}
        return reply[method]

    async def subscribed(self, channel: str, **content: Any) -> Any:
        """Subscribe, and return the result."""
        result = await self.ask("subscribe", channel=channel, **content)
        assert isinstance(result, dict), result
        return result

    # What the client gets

    @property
    def replies(self) -> list[dict[str, Any]]:
        """All that came, in its order, in the form of JSON."""
        found: list[dict[str, Any]] = []
        for message in self.transport.messages:
            if self.encoding is JSON:
                assert isinstance(message, str)
                found.extend(json.loads(line) for line in message.split("\n"))
            else:
                assert isinstance(message, bytes)
                found.extend(_content(each) for each in reference.split("Reply", message))
        return found

    @property
    def answers(self) -> dict[int, dict[str, Any]]:
        """What came by number."""
        answers = [reply for reply in self.replies if "id" in reply]
        assert len({reply["id"] for reply in answers}) == len(answers), "a command was answered twice"
        return {reply["id"]: reply for reply in answers}

    @property
    def pushes(self) -> list[dict[str, Any]]:
        """What nobody asked for, but for pings."""
        return [reply["push"] for reply in self.replies if "push" in reply]

    @property
    def sent(self) -> list[Any]:
        """What the consumer has sent by itself."""
        return [push["message"]["data"] for push in self.pushes if "message" in push]

    def published(self, channel: str) -> list[Any]:
        """Data of the publications in ``channel``, in their order."""
        return [push["pub"]["data"] for push in self.pushes if "pub" in push and push["channel"] == channel]

    @property
    def pings(self) -> int:
        """How many pings came."""
        return self.replies.count({})

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and reason of the close frame."""
        closings = [(code, reason.decode()) for _, code, reason in self.transport.closings]
        assert len(closings) <= 1, closings
        return closings[0] if closings else None

    async def over(self) -> tuple[int, str]:
        """Wait until the connection is over, and return how it was closed."""
        await asyncio.wait_for(self.task, 3600)
        assert self.closed is not None
        assert self.closed[1].strip(), "a reason is never empty"
        return self.closed

    async def leave(self, code: int = 1001) -> None:
        """Let the client go, and wait until the connection is over."""
        await settled(3)
        self.connection.lost(code)
        await self.task
        assert self.connection.state in (State.CLOSED, State.REFUSED)


def _filled(message: Any, content: Mapping[str, Any]) -> Any:
    """Write what is in the form of JSON into a message of Protobuf's."""
    message.SetInParent()
    for name, value in content.items():
        if name == "data":
            message.data = value if isinstance(value, bytes) else json.dumps(value).encode()
        elif isinstance(value, Mapping):
            _filled(getattr(message, name), value)
        else:
            setattr(message, name, value)
    return message


def _content(message: Any) -> dict[str, Any]:
    """Return a message of Protobuf's in the form of JSON."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name == "data":
            try:
                found["data"] = json.loads(value)
            except ValueError:
                found["data"] = value
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = {
                key: _content(each) if hasattr(each, "ListFields") else each for key, each in value.items()
            }
        elif field.is_repeated:
            found[field.name] = [_content(each) for each in value]
        elif field.message_type is not None:
            found[field.name] = _content(value)
        else:
            found[field.name] = value
    return found


class GatedEngine(MemoryEngine):
    """A memory engine that, while it is gated, answers a question for history when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[asyncio.Future[None]] = []
        self.is_gated = False

    async def history(
        self,
        group: str,
        retention: Retention,
        *,
        since: Position | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Page:
        """Read history, and hold the answer back."""
        page = await super().history(group, retention, since=since, limit=limit, reverse=reverse)
        if self.is_gated:
            gate = asyncio.get_running_loop().create_future()
            self.gates.append(gate)
            await gate
        return page

    async def open(self) -> None:
        """Let those go on that wait, as soon as there is one, and nobody wait from now on."""
        await until(lambda: self.gates)
        self.is_gated = False
        for gate in self.gates:
            gate.set_result(None)
        self.gates = []
