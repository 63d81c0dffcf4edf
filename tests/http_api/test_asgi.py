"""Who may call, and what a request has to be like."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest

import antiphon
from antiphon.app import App
from antiphon.exceptions import UsageError
from antiphon.http_api import HTTPAPI

from .caller import KEY, KEYED, Answer, request


async def ask(*arguments: object, **options: object) -> Answer:
    answer = await request(*arguments, **options)  # type: ignore[arg-type]
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "headers",
    [
        KEYED,
        [(b"X-API-Key", KEY.encode())],
        [(b"x-api-key", b"another-key-of-the-same-api")],
        [(b"authorization", b"apikey " + KEY.encode())],
        [(b"authorization", b"ApiKey  " + KEY.encode())],
    ],
)
async def test_a_key_is_shown_in_a_header(antiphon_app: App, headers: Iterable[tuple[bytes, bytes]]) -> None:
    answer = await ask(headers=headers)
    assert answer.status == 200
    assert answer.headers[b"content-type"] == b"application/json"
    assert answer.headers[b"cache-control"] == b"no-store"
    assert antiphon_app.counters.api_refused == 0


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-api-key", b"")],
        [(b"x-api-key", KEY[:-1].encode())],
        [(b"x-api-key", KEY.encode() + b"x")],
        [(b"x-api-key", b"\xff\xfe")],
        [(b"authorization", b"Bearer " + KEY.encode())],
        [(b"authorization", KEY.encode())],
        # The one that is looked at is the first kind, as in Centrifugo.
        [(b"x-api-key", b"wrong"), (b"authorization", b"apikey " + KEY.encode())],
    ],
)
@pytest.mark.parametrize("path", ["/api/info", "/api/nothing"])
async def test_without_a_good_key_nothing_is_told_and_nothing_read(
    antiphon_app: App, headers: Iterable[tuple[bytes, bytes]], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(path, headers=headers)
    assert (answer.status, answer.content) == (401, {"error": {"code": 101, "message": "unauthorized"}})
    assert answer.taken == 0
    assert antiphon_app.counters.api_refused == 1
    assert "192.0.2.1" in caplog.text
    assert "key-of" not in caplog.text


@pytest.mark.parametrize("path", ["/info", "/api/info", "/a/b/c/info"])
async def test_the_method_is_the_last_part_of_the_path(antiphon_app: App, path: str) -> None:
    assert "nodes" in (await ask(path)).content["result"]


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/answer", "/api/info/", "/api/__class__"])
async def test_other_methods_are_not_found(antiphon_app: App, path: str) -> None:
    answer = await ask(path)
    assert (answer.status, answer.content["error"]["code"]) == (404, 104)
    assert "publish" in answer.content["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PUT"])
async def test_methods_are_called_by_post(antiphon_app: App, method: str) -> None:
    answer = await ask(method=method)
    assert (answer.status, answer.headers[b"allow"]) == (405, b"POST")


@pytest.mark.parametrize("body", [b"", b"{}", [b"{", b"}"]])
async def test_a_body_may_come_in_parts_or_not_at_all(antiphon_app: App, body: bytes | list[bytes]) -> None:
    assert (await ask(body=body)).status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"{", "truncated"), (b'"\xff"', "UTF-8"), (b"[" * 70 + b"]" * 70, "nested"), (b'{"n": 1e999}', "number")],
)
async def test_what_is_not_json_is_told(antiphon_app: App, body: bytes, words: str) -> None:
    answer = await ask(body=body)
    assert (answer.status, answer.content["error"]["code"]) == (400, 107)
    assert words in answer.content["error"]["message"]


async def test_what_is_too_large_is_not_read_to_its_end(antiphon_app: App) -> None:
    headers = [*KEYED, (b"content-length", b"1001")]
    answer = await ask(headers=headers)
    assert (answer.status, answer.taken) == (413, 0)
    answer = await ask(body=[b"x" * 600] * 5)
    assert (answer.status, answer.taken) == (413, 2)
    assert "max_message_size" in answer.content["error"]["message"]


async def test_a_caller_that_is_gone_is_answered_nothing(antiphon_app: App) -> None:
    body = b'{"channel": "kept:1", "data": 1}'
    assert await request("/api/publish", body, leaves=True) is None
    assert antiphon_app.counters.publications == 0


async def test_without_keys_there_is_no_api(antiphon_app: App, caplog: pytest.LogCaptureFixture) -> None:
    antiphon.configure()
    api = HTTPAPI()
    answers = [await ask(api=api) for _ in range(3)]
    assert [answer.status for answer in answers] == [404] * 3
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "set api_keys" in line.getMessage()


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_it_answers_http_only(antiphon_app: App, kind: str) -> None:
    with pytest.raises(UsageError, match=kind):
        await HTTPAPI()({"type": kind}, None, None)  # type: ignore[arg-type]
