"""SDKs of the Centrifuge wire, unmodified, as tests drive them: npm's ``centrifuge``, PyPI's ``centrifuge-python``.

Both tell what happens in the same words: an event is a dict with ``event``, ``channel`` (empty for the client itself),
``server`` (whether the subscription is one of the server's) and what came along.
"""

from __future__ import annotations

import abc
import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import centrifuge

from .clients import eventually
from .servers import PATIENCE

__all__ = ["KINDS", "JavaScript", "Kind", "Node", "Python", "Sdk", "SdkError", "open_sdk"]

SCRIPT = Path(__file__).parent / "node" / "centrifuge.mjs"


class SdkError(Exception):
    """The SDK rejected a call, with the ``code`` of the reply or one of its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Kind(NamedTuple):
    """An SDK and the encoding that it speaks."""

    language: str
    encoding: str

    def __str__(self) -> str:
        return f"{self.language}-{self.encoding}"


KINDS = [Kind(language, encoding) for language in ("javascript", "python") for encoding in ("json", "protobuf")]


class Sdk(abc.ABC):
    """One client of an SDK."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    @abc.abstractmethod
    async def connect(self) -> None:
        """Begin to connect."""

    @abc.abstractmethod
    async def disconnect(self) -> None:
        """End the connection."""

    @abc.abstractmethod
    async def subscribe(self, *channels: str, data: Any = None, since: Mapping[str, Any] | None = None) -> None:
        """Begin to subscribe, anew where there is such a subscription; ``since`` is a position to recover from."""

    @abc.abstractmethod
    async def unsubscribe(self, channel: str) -> None:
        """End a subscription."""

    @abc.abstractmethod
    async def publish(self, channel: str, data: Any) -> None:
        """Publish, and wait for the answer; raise ``SdkError``."""

    @abc.abstractmethod
    async def rpc(self, method: str, data: Any = None) -> Any:
        """Call a method of the consumer; raise ``SdkError``."""

    @abc.abstractmethod
    async def history(self, channel: str, *, limit: int = 0) -> tuple[list[tuple[int, Any]], int]:
        """Return offset and data of publications, and the top; raise ``SdkError``."""

    @abc.abstractmethod
    async def presence(self, channel: str) -> list[dict[str, Any]]:
        """Return who is there, each as a join event says it; raise ``SdkError``."""

    @abc.abstractmethod
    async def presence_stats(self, channel: str) -> list[int]:
        """Return how many clients and users that are; raise ``SdkError``."""

    @abc.abstractmethod
    async def state(self) -> str:
        """Return the client's state in the SDK's word: disconnected, connecting, connected."""

    # What came

    def happened(self, event: str, channel: str | None = None) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [each for each in self.events if each["event"] == event and channel in (None, each["channel"])]

    def publications(self, channel: str) -> list[tuple[int | None, Any]]:
        """Return offset and data of all that was published in ``channel``, in the order in which it came."""
        return [(each["offset"], each["data"]) for each in self.happened("publication", channel)]

    async def wait(self, event: str, channel: str | None = None, count: int = 1) -> dict[str, Any]:
        """Wait for the ``count``-th event of a kind, and return it."""
        await eventually(lambda: len(self.happened(event, channel)) >= count, f"{event} {channel or ''} {self.events}")
        return self.happened(event, channel)[count - 1]

    async def received(self, channel: str, count: int) -> list[tuple[int | None, Any]]:
        """Wait for ``count`` publications in ``channel``, and return all."""
        await self.wait("publication", channel, count)
        return self.publications(channel)

    async def connected(self) -> Sdk:
        """Connect and wait for it."""
        count = len(self.happened("connected"))
        await self.connect()
        await self.wait("connected", count=count + 1)
        return self

    async def subscribed(
        self, channel: str, data: Any = None, since: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Subscribe and wait for it."""
        count = len(self.happened("subscribed", channel))
        await self.subscribe(channel, data=data, since=since)
        return await self.wait("subscribed", channel, count + 1)


# JavaScript


class Node:
    """A process of Node with clients of the SDK for JavaScript."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._clients: dict[str, JavaScript] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> Node:
        """Start the process."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "node", str(SCRIPT), stdin=pipe, stdout=pipe, limit=16 * 1024 * 1024
        )
        return cls(process)

    async def open(self, url: str, encoding: str, **options: Any) -> JavaScript:
        """Return a client that is not connected yet."""
        client = JavaScript(self, f"c{len(self._clients)}")
        self._clients[client.name] = client
        await self.ask(client.name, "open", url=url, encoding=encoding, options=options)
        return client

    async def ask(self, client: str, what: str, **arguments: Any) -> Any:
        """Give an order and return what comes of it; raise ``SdkError``."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": number, "client": client, "do": what, **arguments})
        self._process.stdin.write(line.encode() + b"\n")
        return await asyncio.wait_for(future, PATIENCE)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "result" not in message:
                client = self._clients[message.pop("client")]
                client.events.append({"offset": None, "server": False, "channel": "", **message})
                continue
            future = self._asked.pop(message["result"])
            if future.done():
                continue
            if "error" in message:
                future.set_exception(SdkError(message["error"]["code"], message["error"]["message"]))
            else:
                future.set_result(message.get("value"))

    async def release(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), PATIENCE)
        await self._reading


class JavaScript(Sdk):
    """npm's ``centrifuge``."""

    def __init__(self, node: Node, name: str) -> None:
        super().__init__()
        self._node = node
        self.name = name

    async def _ask(self, what: str, **arguments: Any) -> Any:
        return await self._node.ask(self.name, what, **arguments)

    async def connect(self) -> None:
        await self._ask("connect")

    async def disconnect(self) -> None:
        await self._ask("disconnect")

    async def subscribe(
        self,
        *channels: str,
        data: Any = None,
        since: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        given = {name: value for name, value in (("data", data), ("since", since)) if value is not None}
        await self._ask("subscribe", channels=channels, options={**given, **(options or {})})

    async def unsubscribe(self, channel: str) -> None:
        await self._ask("unsubscribe", channel=channel)

    async def publish(self, channel: str, data: Any) -> None:
        await self._ask("publish", channel=channel, data=data)

    async def rpc(self, method: str, data: Any = None) -> Any:
        return await self._ask("rpc", method=method, **({} if data is None else {"data": data}))

    async def history(self, channel: str, *, limit: int = 0) -> tuple[list[tuple[int, Any]], int]:
        found = await self._ask("history", channel=channel, options={"limit": limit})
        return [(offset, data) for offset, data in found["publications"]], found["offset"]

    async def presence(self, channel: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._ask("presence", channel=channel)
        return found

    async def presence_stats(self, channel: str) -> list[int]:
        found: list[int] = await self._ask("presenceStats", channel=channel)
        return found

    async def state(self) -> str:
        return str(await self._ask("state"))

    async def renew(self, channel: str, times: int) -> None:
        """End a subscription and begin it anew, without waiting in between."""
        await self._ask("renew", channel=channel, times=times)

    async def send(self, data: Any) -> None:
        """Send a message for the consumer."""
        await self._ask("send", data=data)


# Python


class _ClientEvents(centrifuge.ClientEventHandler):  # type: ignore[misc]
    def __init__(self, sdk: Python) -> None:
        self._sdk = sdk

    async def on_connecting(self, ctx: Any) -> None:
        self._sdk.note("connecting", code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx: Any) -> None:
        self._sdk.note("connected", id=ctx.client)

    async def on_disconnected(self, ctx: Any) -> None:
        self._sdk.note("disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx: Any) -> None:
        self._sdk.note("error", code=ctx.code, message=str(ctx.error))

    async def on_subscribed(self, ctx: Any) -> None:
        self._sdk.subscribed_event(ctx, ctx.channel, server=True)

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._sdk.note("unsubscribed", ctx.channel, server=True)

    async def on_publication(self, ctx: Any) -> None:
        self._sdk.publication(ctx.channel, ctx.pub, server=True)

    async def on_join(self, ctx: Any) -> None:
        self._sdk.note("join", ctx.channel, server=True, **self._sdk.who(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self._sdk.note("leave", ctx.channel, server=True, **self._sdk.who(ctx.info))


class _SubscriptionEvents(centrifuge.SubscriptionEventHandler):  # type: ignore[misc]
    def __init__(self, sdk: Python, channel: str) -> None:
        self._sdk = sdk
        self._channel = channel

    async def on_subscribing(self, ctx: Any) -> None:
        self._sdk.note("subscribing", self._channel, code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx: Any) -> None:
        self._sdk.subscribed_event(ctx, self._channel, server=False)

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._sdk.note("unsubscribed", self._channel, code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx: Any) -> None:
        self._sdk.publication(self._channel, ctx.pub, server=False)

    async def on_join(self, ctx: Any) -> None:
        self._sdk.note("join", self._channel, **self._sdk.who(ctx.info))

    async def on_leave(self, ctx: Any) -> None:
        self._sdk.note("leave", self._channel, **self._sdk.who(ctx.info))

    async def on_error(self, ctx: Any) -> None:
        self._sdk.note("error", self._channel, code=ctx.code, message=str(ctx.error))


def _at(since: Mapping[str, Any]) -> Any:
    """Return what tells the SDK, which asks for it, where the application's state is."""

    async def get_state(channel: str) -> centrifuge.StreamPosition:
        return centrifuge.StreamPosition(**since)

    return get_state


class Python(Sdk):
    """PyPI's ``centrifuge-python``, in this process."""

    def __init__(self, url: str, encoding: str, *, data: Any = None) -> None:
        super().__init__()
        self.fail_on: int | None = None
        self._is_protobuf = encoding == "protobuf"
        self._client = centrifuge.Client(
            url,
            events=_ClientEvents(self),
            use_protobuf=self._is_protobuf,
            min_reconnect_delay=0.02,
            max_reconnect_delay=0.1,
            proxy=None,
            **({} if data is None else {"data": self._encode(data)}),
        )

    def _encode(self, content: Any) -> Any:
        return json.dumps(content).encode() if self._is_protobuf else content

    def _decode(self, data: Any) -> Any:
        return json.loads(data) if self._is_protobuf and data else data

    def note(self, event: str, channel: str = "", *, server: bool = False, **more: Any) -> None:
        """Take an event."""
        self.events.append({"event": event, "channel": channel, "server": server, **more})

    def subscribed_event(self, context: Any, channel: str, *, server: bool) -> None:
        """Take a subscription's beginning."""
        position = context.stream_position
        self.note(
            "subscribed",
            channel,
            server=server,
            recoverable=context.recoverable,
            wasRecovering=context.was_recovering,
            recovered=context.recovered,
            position=position and {"offset": position.offset, "epoch": position.epoch},
        )

    def who(self, info: Any) -> dict[str, Any]:
        """Return what is said of a client."""
        said = {"says": self._decode(info.conn_info) or None, "said": self._decode(info.chan_info) or None}
        return {"user": info.user, "id": info.client, **said}

    def publication(self, channel: str, publication: Any, *, server: bool) -> None:
        """Take a publication; fail for the offset that the test names, once."""
        if publication.offset and publication.offset == self.fail_on:
            self.fail_on = None
            raise RuntimeError("the handler of the application fails")
        self.note(
            "publication",
            channel,
            server=server,
            data=self._decode(publication.data),
            offset=publication.offset or None,
            user=publication.info and publication.info.user,
        )

    async def connect(self) -> None:
        await self._client.connect()

    async def disconnect(self) -> None:
        connection = self._client._conn
        await self._client.disconnect()
        if connection is not None:  # which the SDK closes in the background
            await asyncio.wait_for(connection.wait_closed(), PATIENCE)

    async def subscribe(self, *channels: str, data: Any = None, since: Mapping[str, Any] | None = None) -> None:
        for channel in channels:
            subscription = self._client.get_subscription(channel)
            if subscription is None:
                given: dict[str, Any] = {} if data is None else {"data": self._encode(data)}
                if since is not None:
                    given["get_state"] = _at(since)
                subscription = self._client.new_subscription(
                    channel, events=_SubscriptionEvents(self, channel), min_resubscribe_delay=0.02, **given
                )
            await subscription.subscribe()

    async def unsubscribe(self, channel: str) -> None:
        subscription = self._client.get_subscription(channel)
        assert subscription is not None
        await subscription.unsubscribe()

    async def publish(self, channel: str, data: Any) -> None:
        await self._call(self._client.publish(channel, self._encode(data)))

    async def rpc(self, method: str, data: Any = None) -> Any:
        return self._decode((await self._call(self._client.rpc(method, self._encode(data)))).data)

    async def history(self, channel: str, *, limit: int = 0) -> tuple[list[tuple[int, Any]], int]:
        found = await self._call(self._client.history(channel, limit=limit))
        return [(each.offset, self._decode(each.data)) for each in found.publications], found.offset

    async def presence(self, channel: str) -> list[dict[str, Any]]:
        found = await self._call(self._client.presence(channel))
        return [self.who(info) for info in found.clients.values()]

    async def presence_stats(self, channel: str) -> list[int]:
        found = await self._call(self._client.presence_stats(channel))
        return [found.num_clients, found.num_users]

    async def state(self) -> str:
        return str(self._client.state.value)

    async def _call(self, work: Any) -> Any:
        try:
            return await asyncio.wait_for(work, PATIENCE)
        except centrifuge.ReplyError as error:
            raise SdkError(error.code, error.message) from None


async def open_sdk(kind: Kind, url: str, node: Sequence[Node], **options: Any) -> Sdk:
    """Return a client of a kind that is not connected yet; ``node`` has the process for those of JavaScript."""
    if kind.language == "python":
        return Python(url, kind.encoding, **options)
    return await node[0].open(url, kind.encoding, **options)
