"""The HTTP API in front of an application."""

from __future__ import annotations

from typing import Any

import pytest
from uvicorn.config import Config

from antiphon.server.front import Front, front_of

from .far import configure

KEY = "a-key-of-sixteen-characters-or-more"


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def status(path: str, key: str = KEY, *, client: str = "192.0.2.1", **options: Any) -> int:
    """Ask a server with these options for ``path``, and return the status of the answer."""
    config = Config(application, **options)
    config.load()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", key.encode()), (b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    scope = {
        "type": "http",
        "path": path,
        "method": "POST",
        "headers": headers,
        "client": (client, 9),
        "scheme": "http",
    }
    await Front(config, "/api")(scope, receive, send)
    found: int = sent[0]["status"]
    return found


@pytest.mark.parametrize("path", ["/api/info", "/api/batch"])
async def test_what_is_below_the_path_is_the_apis(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    configure(monkeypatch, api_keys=[KEY])
    assert await status(path, "wrong") == 401
    assert await status("/api/info") == 200


@pytest.mark.parametrize("path", ["/", "/api", "/apiary/info", "/v1/api/info"])
async def test_the_rest_is_the_applications(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    configure(monkeypatch, api_keys=[KEY])
    assert await status(path) == 204


async def test_a_proxys_path_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, api_keys=[KEY])
    assert await status("/site/api/info", root_path="/site") == 200
    assert await status("/api/info", root_path="/site") == 204


@pytest.mark.parametrize(("client", "shown"), [("127.0.0.1", "203.0.113.9"), ("192.0.2.1", "192.0.2.1")])
async def test_the_log_has_the_address_that_a_trusted_proxy_tells(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, client: str, shown: str
) -> None:
    configure(monkeypatch, api_keys=[KEY])
    assert await status("/api/info", "wrong", client=client) == 401
    assert shown in caplog.text


async def test_without_proxies_none_is_believed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    configure(monkeypatch, api_keys=[KEY])
    assert await status("/api/info", "wrong", client="127.0.0.1", proxy_headers=False) == 401
    assert "127.0.0.1" in caplog.text


def test_a_server_has_one_front_for_all_its_connections() -> None:
    config = Config(application, log_config=None)
    config.load()
    other = Config(application, log_config=None)
    other.load()
    assert front_of(config, "/api") is front_of(config, "/api")
    assert front_of(other, "/api") is not front_of(config, "/api")
