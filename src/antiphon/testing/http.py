"""An HTTP request and its application, without a server between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from antiphon.testing.application import ApplicationCommunicator, header_list, target
from antiphon.types import ASGIApplication, Message

__all__ = ["HttpCommunicator"]

#: Seconds in which an application ends behind its response, unless it has more to do or waits for the client to leave.
SOON = 0.1


class HttpCommunicator(ApplicationCommunicator):
    """One HTTP request: ``path`` with its query, ``body`` in one piece, ``headers`` in pairs of bytes."""

    def __init__(
        self,
        application: ASGIApplication,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] | None = None,
    ) -> None:
        if not isinstance(body, bytes):
            raise TypeError(f"the body is bytes, not {type(body).__name__}")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method.upper(),
            **target(path),
            "headers": header_list(headers),
        }
        super().__init__(application, scope)
        self.body = body
        self._has_sent = False

    async def get_response(self, timeout: float | None = 1) -> dict[str, Any]:
        """Send the request; return the response's ``status``, ``headers`` and ``body``.

        ``timeout`` is for each part of the response. An exception right behind the response is raised as well; for an
        application that has more to do there, ``wait()``.
        """
        __tracebackhide__ = True
        if not self._has_sent:
            self._has_sent = True
            await self.send_input({"type": "http.request", "body": self.body})
        response = dict(await self._part("http.response.start", timeout))
        del response["type"]
        response.setdefault("headers", [])
        response["body"] = b""
        while True:
            part = await self._part("http.response.body", timeout)
            response["body"] += part.get("body", b"")
            if not part.get("more_body", False):
                await self._let_end()
                return response

    async def _let_end(self) -> None:
        """Give the application the moment that most need behind their response, so that nothing is cut off."""
        __tracebackhide__ = True
        await self._observed.until(lambda: self._observed.has_ended, SOON)
        self._observed.raise_failure()

    async def _part(self, kind: str, timeout: float | None) -> Message:
        __tracebackhide__ = True
        part: Message = await self._next("get_response()", timeout)
        if part["type"] != kind:
            raise AssertionError(f"Expected type '{kind}', but was '{part['type']}'")
        return part
