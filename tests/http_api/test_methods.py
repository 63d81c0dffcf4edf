"""What calls do, and what is answered; ``cent`` calls them all in ``tests/integration/test_http_api.py``."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import antiphon
from antiphon.app import App
from antiphon.engines.memory import MemoryEngine
from antiphon.exceptions import EngineError, EngineUnavailable, OutcomeUnknown
from antiphon.http_api.methods import AT_ONCE, METHODS, Methods
from antiphon.types import ClientInfo, Page
from antiphon.wire.plain import encode

from .caller import request


async def call(app: App, method: str, **content: Any) -> Any:
    """Call, and return the result, as it travels."""
    answer = await Methods(app).answer(method, content)
    return json.loads(encode(answer))


async def error(app: App, method: str, **content: Any) -> tuple[int, str]:
    answer = await call(app, method, **content)
    assert list(answer) == ["error"]
    return answer["error"]["code"], answer["error"]["message"]


async def kept(app: App, group: str) -> Page:
    return await app.layer.history(group)


async def test_the_answer_over_http_is_that_of_the_method(antiphon_app: App) -> None:
    answer = await request("/api/publish", b'{"channel": "kept:1", "data": {"a": [1, null]}}')
    page = await kept(antiphon_app, "kept:1")
    assert answer is not None
    assert answer.content == {"result": {"offset": 1, "epoch": page.top.epoch}}
    assert [each.data for each in page.publications] == [b'{"a":[1,null]}']


async def test_publish_passes_on_what_goes_with_it(antiphon_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await antiphon_app.start()
    taken: list[Any] = []
    publish = antiphon_app.layer.publish

    async def watched(group: str, content: Any, **more: Any) -> Any:
        taken.append((group, content, more))
        return await publish(group, content, **more)

    monkeypatch.setattr(antiphon_app.layer, "publish", watched)
    await call(antiphon_app, "publish", channel="latest", data=1, tags={"a": "b"}, idempotency_key="x", key="k")
    await call(antiphon_app, "publish", channel="latest", data=1, idempotency_key="", skip_history=True)
    assert taken == [
        ("latest", 1, {"key": "k", "idempotency_key": "x", "tags": {"a": "b"}}),
        ("latest", 1, {"key": None, "idempotency_key": None, "tags": None}),
    ]


async def test_an_error_is_the_callers_and_counts(antiphon_app: App) -> None:
    wrong: list[tuple[str, dict[str, Any], int, str]] = [
        ("publish", {"channel": "", "data": 1}, 107, "can't name a group"),
        ("publish", {"channel": "a", "data": 1, "key": ""}, 107, "key"),
        ("publish", {"channel": "kept:1", "data": 1, "skip_history": True}, 107, "skip_history"),
        ("broadcast", {"channels": [], "data": 1}, 107, "no channel"),
        ("broadcast", {"channels": ["a"]}, 107, "no data"),
        ("history", {"channel": "a"}, 108, "history_size"),
        ("history_remove", {"channel": "a"}, 108, "history_size"),
        ("history", {"channel": "kept:1", "since": {"epoch": "gone", "offset": 1}}, 112, "unrecoverable"),
        ("presence", {"channel": "a"}, 108, "presence"),
        ("presence_stats", {"channel": "\n"}, 107, "can't name a group"),
        ("disconnect", {}, 107, "whose connections"),
        ("disconnect", {"user": "a", "disconnect": {"code": 1005}}, 107, "1005"),
        ("subscribe", {"user": "a", "channel": ""}, 107, "can't name a group"),
        ("unsubscribe", {"channel": "a"}, 107, "whose connections"),
        ("refresh", {}, 107, "whose connections"),
        ("batch", {"commands": {}}, 107, "commands"),
    ]
    for method, content, code, words in wrong:
        told = await error(antiphon_app, method, **content)
        assert (told[0], words in told[1]) == (code, True), (method, content, told)
    assert antiphon_app.counters.api_errors == len(wrong)


@pytest.mark.parametrize(
    ("raised", "words", "logged"),
    [
        (EngineUnavailable("redis://secret@host is away"), "nothing was done", "is away"),
        (OutcomeUnknown("redis://secret@host did not say"), "may have been done", "did not say"),
        (EngineError("redis://secret@host is full"), "can't keep", "is full"),
        (RuntimeError("redis://secret@host"), "internal server error", "Traceback"),
    ],
)
async def test_an_error_of_the_engine_is_told_without_its_words(
    antiphon_app: App,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    words: str,
    logged: str,
) -> None:
    async def publish(*arguments: Any) -> Any:
        raise raised

    monkeypatch.setattr(MemoryEngine, "publish", publish)
    code, message = await error(antiphon_app, "publish", channel="a", data=1)
    assert code == 100
    assert words in message
    assert "secret" not in message
    assert logged in caplog.text


async def test_a_client_is_told_of_with_what_it_said_of_itself(antiphon_app: App) -> None:
    hub = await antiphon_app.start()
    hub.engine.enter("noted", ClientInfo("ada", "1", b'{"name":"Ada"}', b"[1]"))
    hub.engine.enter("noted", ClientInfo("", "2"))
    assert await call(antiphon_app, "presence", channel="noted") == {
        "result": {
            "presence": {
                "1": {"client": "1", "user": "ada", "conn_info": {"name": "Ada"}, "chan_info": [1]},
                "2": {"client": "2", "user": ""},
            }
        }
    }
    assert await call(antiphon_app, "presence_stats", channel="noted") == {"result": {"num_clients": 2, "num_users": 2}}


async def test_a_publication_is_told_of_with_its_publisher(antiphon_app: App) -> None:
    await antiphon.publish("kept:1", "text", info=ClientInfo("ada", "1"), tags={"a": "b"})
    answer = await call(antiphon_app, "history", channel="kept:1", limit=-1)
    (publication,) = answer["result"]["publications"]
    assert publication == {"data": "text", "offset": 1, "tags": {"a": "b"}, "info": {"client": "1", "user": "ada"}}


async def test_a_broadcast_is_answered_for_each_group(antiphon_app: App) -> None:
    answer = await call(antiphon_app, "broadcast", channels=["kept:1", "", "kept:2"], data=1)
    first, second, third = answer["result"]["responses"]
    assert (first["result"]["offset"], second["error"]["code"], third["result"]["offset"]) == (1, 107, 1)
    assert antiphon_app.counters.api_errors == 1


async def test_a_batch_is_answered_for_each_command(antiphon_app: App) -> None:
    commands: list[Any] = [
        {"publish": {"channel": "kept:1", "data": 1}},
        {"history": {"channel": "kept:1", "limit": 5}},
        {"history": {"channel": "a"}},
        {"batch": {"commands": []}},
        {"nothing": {}},
        {},
        None,
        {"presence_stats": None},
    ]
    answer = await call(antiphon_app, "batch", commands=commands)
    replies = answer["replies"]
    assert [next(iter(reply)) for reply in replies] == ["publish", "history", *["error"] * 6]
    assert [reply["error"]["code"] for reply in replies[2:]] == [108, 104, 104, 104, 104, 107]
    assert [each["data"] for each in replies[1]["history"]["publications"]] == [1]


@pytest.mark.parametrize("parallel", [False, True])
async def test_a_large_request_leaves_others_their_turn(
    antiphon_app: App, monkeypatch: pytest.MonkeyPatch, parallel: bool
) -> None:
    running, most = 0, 0

    async def publish(group: str, content: Any, **more: Any) -> antiphon.Position:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return antiphon.Position("x", content)

    monkeypatch.setattr(antiphon_app.layer, "publish", publish)
    commands = [{"publish": {"channel": "a", "data": n}} for n in range(3 * AT_ONCE)]
    answer = await call(antiphon_app, "batch", commands=commands, parallel=parallel)
    assert [reply["publish"]["offset"] for reply in answer["replies"]] == list(range(3 * AT_ONCE))
    assert most == (AT_ONCE if parallel else 1)


async def test_the_process_that_answers_is_told_of(antiphon_app: App) -> None:
    assert await call(antiphon_app, "channels") == {"result": {"channels": {}}}
    (node,) = (await call(antiphon_app, "info"))["result"]["nodes"]
    assert (node["num_clients"], node["num_users"], node["num_channels"], node["num_subs"]) == (0, 0, 0, 0)
    assert node["uid"]
    assert node["version"] == antiphon.__version__


def test_methods_are_those_of_centrifugo() -> None:
    import cent.dto

    theirs = {each.__api_method__ for each in vars(cent.dto).values() if hasattr(each, "__api_method__")}
    assert set(METHODS) <= theirs
