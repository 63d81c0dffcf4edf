"""WebSocket clients of live servers: two siblings, for tests that are coroutines and for those that are not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from websockets.asyncio.client import ClientConnection as AsyncWebSocket
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection as WebSocket
from websockets.sync.client import connect as connect_sync

__all__ = ["AsyncClient", "Client", "Closed", "Opening", "Refused", "Request"]


class Closed(Exception):
    """The connection is closed: ``code`` and ``reason`` as the other side gave them; 1006 where it gave none."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the connection was closed with {self.code}" + (f": {self.reason}" if self.reason else "")


class Refused(Exception):
    """The server did not let the client in: HTTP ``status`` and ``body`` of its answer."""

    def __init__(self, url: str, status: int, body: bytes) -> None:
        super().__init__(url, status, body)
        self.url = url
        self.status = status
        self.body = body

    def __str__(self) -> str:
        return f"{self.url} was refused with HTTP status {self.status}: {self.body.decode(errors='replace')!r:.200}"


class Request(NamedTuple):
    """What a client asks for."""

    url: str
    address: tuple[str, int]
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None
    subprotocols: Sequence[str] | None
    origin: str | None
    timeout: float
    """Seconds that connecting, receiving and closing may take."""

    def options(self) -> dict[str, Any]:
        """Return what ``websockets`` takes for it.

        The socket is opened here: a proxy that the environment names is not for servers of this machine.
        """
        return {
            "sock": socket.create_connection(self.address, self.timeout),
            "additional_headers": self.headers,
            "subprotocols": self.subprotocols,
            "origin": self.origin,
            "open_timeout": self.timeout,
            "close_timeout": self.timeout,
            "max_size": None,
        }


class _Received:
    """What the siblings share: messages that came before they were asked for, and how the end is told."""

    def __init__(self, websocket: WebSocket | AsyncWebSocket, timeout: float) -> None:
        self._timeout = timeout
        self._early: deque[str | bytes] = deque()
        self.subprotocol: str | None = websocket.subprotocol
        """The subprotocol that the server chose."""
        response = websocket.response
        self.headers: list[tuple[str, str]] = list(response.headers.raw_items()) if response is not None else []
        """The headers of the server's answer."""

    def _overdue(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"receive(): no message came within {self._patience(timeout):g} s")

    def _patience(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout


class Client(_Received):
    """A client for tests that are no coroutines; its methods block. A context manager that closes."""

    def __init__(self, request: Request) -> None:
        """Connect. Raises ``Refused``; ``TimeoutError``."""
        options = request.options()
        self._socket: socket.socket = options["sock"]
        self._exit = contextlib.ExitStack()
        try:
            self._websocket: WebSocket = self._exit.enter_context(connect_sync(request.url, **options))
        except BaseException as error:
            self._socket.close()
            raise _explained(error, request) from None
        super().__init__(self._websocket, request.timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, message: str | bytes) -> None:
        """Send a message: ``str`` as text, ``bytes`` as binary. Raises ``Closed``."""
        __tracebackhide__ = True
        try:
            self._websocket.send(message)
        except ConnectionClosed as end:
            raise _closed(end) from None

    def send_json(self, content: Any) -> None:
        """Send ``content`` as JSON, in a text message."""
        __tracebackhide__ = True
        self.send(json.dumps(content))

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Return the next message. Raises ``Closed``, and ``TimeoutError`` after ``timeout`` or the client's own."""
        __tracebackhide__ = True
        if self._early:
            return self._early.popleft()
        try:
            return self._websocket.recv(self._patience(timeout))
        except TimeoutError:
            raise self._overdue(timeout) from None
        except ConnectionClosed as end:
            raise _closed(end) from None

    def receive_json(self, timeout: float | None = None) -> Any:
        """Return the next message, a JSON document in a text message."""
        __tracebackhide__ = True
        return _json(self.receive(timeout))

    def receive_nothing(self, timeout: float = 0.1) -> bool:
        """Tell whether no message comes within ``timeout`` seconds; one that does can still be received."""
        __tracebackhide__ = True
        try:
            message = self.receive(timeout)
        except TimeoutError:
            return True
        self._early.appendleft(message)
        return False

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close and wait for the server's close frame; a second time does nothing."""
        self._websocket.close(code, reason)
        self._exit.close()

    def cut_off(self) -> None:
        """End the connection without a close frame, as a client does that vanishes."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._exit.close()


class AsyncClient(_Received):
    """A client for tests that are coroutines. An async context manager that closes."""

    def __init__(self, websocket: AsyncWebSocket, connection: socket.socket, timeout: float) -> None:
        super().__init__(websocket, timeout)
        self._websocket = websocket
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, request: Request) -> AsyncClient:
        """Connect. Raises ``Refused``; ``TimeoutError``."""
        options = request.options()
        try:
            websocket = await connect_async(request.url, ping_interval=None, **options)
        except BaseException as error:
            raise _explained(error, request) from None
        return cls(websocket, options["sock"], request.timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def send(self, message: str | bytes) -> None:
        """Send a message: ``str`` as text, ``bytes`` as binary. Raises ``Closed``."""
        __tracebackhide__ = True
        try:
            await self._websocket.send(message)
        except ConnectionClosed as end:
            raise _closed(end) from None

    async def send_json(self, content: Any) -> None:
        """Send ``content`` as JSON, in a text message."""
        __tracebackhide__ = True
        await self.send(json.dumps(content))

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """Return the next message. Raises ``Closed``, and ``TimeoutError`` after ``timeout`` or the client's own."""
        __tracebackhide__ = True
        if self._early:
            return self._early.popleft()
        try:
            return await asyncio.wait_for(self._websocket.recv(), self._patience(timeout))
        except TimeoutError:
            raise self._overdue(timeout) from None
        except ConnectionClosed as end:
            raise _closed(end) from None

    async def receive_json(self, timeout: float | None = None) -> Any:
        """Return the next message, a JSON document in a text message."""
        __tracebackhide__ = True
        return _json(await self.receive(timeout))

    async def receive_nothing(self, timeout: float = 0.1) -> bool:
        """Tell whether no message comes within ``timeout`` seconds; one that does can still be received."""
        __tracebackhide__ = True
        try:
            message = await self.receive(timeout)
        except TimeoutError:
            return True
        self._early.appendleft(message)
        return False

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close and wait for the server's close frame; a second time does nothing."""
        await self._websocket.close(code, reason)

    def cut_off(self) -> None:
        """End the connection without a close frame, as a client does that vanishes; may be called from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # the server hears of it, also where the loop does not run
        try:
            self._loop.call_soon_threadsafe(self._websocket.transport.abort)
        except RuntimeError:  # the loop is closed
            return
        if not self._loop.is_running() and asyncio._get_running_loop() is None:  # its test is over, and it soon is
            closing = self._websocket.wait_closed()
            try:
                self._loop.run_until_complete(closing)
            except RuntimeError:  # its thread has closed it meanwhile
                closing.close()


class Opening:
    """An ``AsyncClient`` to be: to be awaited, or entered as a context manager."""

    def __init__(self, request: Request, opened: Callable[[AsyncClient], None]) -> None:
        self._request = request
        self._opened = opened
        self._client: AsyncClient

    def __await__(self) -> Generator[Any, None, AsyncClient]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> AsyncClient:
        self._client = await AsyncClient.open(self._request)
        self._opened(self._client)
        return self._client

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()


def _explained(error: BaseException, request: Request) -> BaseException:
    """Return what to raise for an ``error`` of connecting."""
    if isinstance(error, InvalidStatus):
        return Refused(request.url, error.response.status_code, bytes(error.response.body or b""))
    if isinstance(error, TimeoutError):
        return TimeoutError(f"{request.url} was not answered within {request.timeout:g} s")
    return error


def _closed(end: ConnectionClosed) -> Closed:
    """Return what says the same as an exception of ``websockets``."""
    frame = end.rcvd
    return Closed(frame.code, frame.reason) if frame is not None else Closed(1006, "")


def _json(message: str | bytes) -> Any:
    if not isinstance(message, str):
        raise AssertionError(f"JSON comes in a text message, this one is binary: {message!r:.100}")
    return json.loads(message)
