"""A WebSocket and its application, without a server between them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from antiphon.exceptions import UsageError
from antiphon.testing.application import ApplicationCommunicator, header_list, target
from antiphon.testing.observed import note_failure
from antiphon.types import ASGIApplication, Message

__all__ = ["WebsocketCommunicator"]


class WebsocketCommunicator(ApplicationCommunicator):
    """The client's side of one WebSocket.

    ::

        async with WebsocketCommunicator(Chat.as_asgi(), "/rooms/kitchen/") as communicator:
            await communicator.send_json_to({"text": "hello"})
            assert await communicator.receive_json_from() == {"text": "hello"}

    ``headers`` are pairs of bytes, ``subprotocols`` what the client offers. ``scope`` may be changed until the first
    call. Everything that waits raises ``TimeoutError`` when its time is over, and the connection goes on.
    """

    def __init__(
        self,
        application: ASGIApplication,
        path: str,
        headers: Iterable[tuple[bytes, bytes]] | None = None,
        subprotocols: Sequence[str] | None = None,
        spec_version: str | None = None,
    ) -> None:
        scope = {
            "type": "websocket",
            **target(path),
            "headers": header_list(headers),
            "subprotocols": list(subprotocols or ()),
        }
        if spec_version:
            scope["spec_version"] = spec_version
        super().__init__(application, scope)
        self.response_headers: list[tuple[bytes, bytes]] | None = None
        """Headers of the answer, once the connection was accepted."""
        self._has_asked = False
        self._is_answered = False
        self._has_left = False

    # Coming and going

    async def connect(self, timeout: float | None = 1) -> tuple[bool, Any]:
        """Ask to connect; return ``(True, subprotocol)``, or ``(False, close code)`` if the application refuses.

        After a ``TimeoutError`` it may be called again, to wait for the answer.
        """
        __tracebackhide__ = True
        if self._is_answered or self._has_left:
            raise UsageError("connect() was called before: a communicator is one connection; make another")
        if not self._has_asked:
            await self.send_input({"type": "websocket.connect"})
            self._has_asked = True
        answer = await self._next("connect()", timeout)
        self._is_answered = True
        if answer["type"] == "websocket.close":
            return False, answer.get("code", 1000)
        _expect("websocket.accept", answer)
        self.response_headers = answer.get("headers", [])
        return True, answer.get("subprotocol")

    async def disconnect(self, code: int = 1000, timeout: float | None = 1) -> None:
        """Leave with ``code`` and wait for the application to end; the second time does nothing.

        Whatever happened before, the application is told. If it does not end within ``timeout`` seconds, it is
        cancelled and ``TimeoutError`` raised.
        """
        __tracebackhide__ = True
        failures = await self._leave(code, timeout)
        for another in failures[1:]:
            note_failure(failures[0], another)
        if failures:
            raise failures[0]

    async def _leave(self, code: int = 1000, timeout: float | None = 1) -> list[BaseException]:
        if self._task is None or self._has_left:
            return []
        self._has_left = True
        return await self._finish({"type": "websocket.disconnect", "code": code}, timeout)

    async def __aenter__(self) -> Self:
        """Connect; ``AssertionError`` if the application refuses."""
        __tracebackhide__ = True
        try:
            accepted, code = await self.connect()
            if not accepted:
                raise AssertionError(f"the application refused the connection, with close code {code}")
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; what that would raise is a note at ``error``, if there is one."""
        __tracebackhide__ = True
        if error is None:
            await self.disconnect()
            return
        for failure in await self._leave():
            note_failure(error, failure)

    # Sending

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send one message, text or binary."""
        __tracebackhide__ = True
        if (text_data is None) == (bytes_data is None):
            raise TypeError("You must supply exactly one of text_data or bytes_data")
        if text_data is not None:
            if not isinstance(text_data, str):
                raise TypeError(f"The text_data argument must be a str, not {type(text_data).__name__}")
            await self.send_input({"type": "websocket.receive", "text": text_data})
        else:
            if not isinstance(bytes_data, bytes):
                raise TypeError(f"The bytes_data argument must be bytes, not {type(bytes_data).__name__}")
            await self.send_input({"type": "websocket.receive", "bytes": bytes_data})

    async def send_json_to(self, data: Any) -> None:
        """Send ``data`` as JSON, in a text message."""
        __tracebackhide__ = True
        await self.send_to(text_data=json.dumps(data))

    # Receiving

    async def receive_from(self, timeout: float | None = 1) -> str | bytes:
        """Return the next message: ``str`` for text, ``bytes`` for binary.

        Raises ``AssertionError`` if the application sends anything else, such as its close.
        """
        __tracebackhide__ = True
        return await self._message("receive_from()", timeout)

    async def _message(self, call: str, timeout: float | None) -> str | bytes:
        __tracebackhide__ = True
        message = await self._next(call, timeout)
        _expect("websocket.send", message)
        text, data = message.get("text"), message.get("bytes")
        if (text is None) == (data is None):
            raise AssertionError(f"The response needs exactly one of 'text' or 'bytes': {message}")
        if text is not None:
            if not isinstance(text, str):
                raise AssertionError(f"Text frame payload is not str, it is {type(text)}")
            return text
        if not isinstance(data, bytes):
            raise AssertionError(f"Binary frame payload is not bytes, it is {type(data)}")
        return data

    async def receive_json_from(self, timeout: float | None = 1) -> Any:
        """Return the next message, a JSON document in a text message."""
        __tracebackhide__ = True
        payload = await self._message("receive_json_from()", timeout)
        if not isinstance(payload, str):
            raise AssertionError(f"JSON data is not a text frame, it is {type(payload)}")
        return json.loads(payload)


def _expect(kind: str, message: Message) -> None:
    """Raise ``AssertionError`` if the application sent something else than ``kind``."""
    __tracebackhide__ = True
    if message["type"] != kind:
        error = AssertionError(f"Expected type '{kind}', but was '{message['type']}'")
        error.add_note(f"(the application sent {dict(message)})")
        raise error
