"""What a call may say, and what is refused in it."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.http_api import requests
from antiphon.http_api.methods import METHODS
from antiphon.http_api.requests import Refused, read
from antiphon.types import Position


def refusal(kind: type[requests.Request], content: Any) -> str:
    with pytest.raises(Refused) as caught:
        read(kind, content)
    assert caught.value.error.code == 107
    return caught.value.error.message


def test_what_is_not_known_is_ignored() -> None:
    assert read(requests.Presence, {"channel": "a", "delta": True}) == requests.Presence(channel="a")


def test_null_stands_for_nothing_but_as_data() -> None:
    call = read(requests.Publish, {"channel": "a", "data": None, "tags": None, "idempotency_key": None})
    assert call == requests.Publish(channel="a", data=None)
    assert call.content(64) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "object"),
        ("publish", "object"),
        ({"data": 1}, "channel"),
        ({"channel": 5, "data": 1}, "channel"),
        ({"channel": "a", "data": 1, "tags": {"a": 1}}, "tags"),
        ({"channel": "a", "data": 1, "version": 3}, "version"),
    ],
)
def test_what_can_not_be_is_told(content: Any, words: str) -> None:
    assert words in refusal(requests.Publish, content)


@pytest.mark.parametrize("kind", [method.takes for method in METHODS.values()])
def test_what_can_not_be_honoured_is_refused_and_its_absence_is_not(kind: type[requests.Request]) -> None:
    for name in kind.cannot:
        assert name in refusal(kind, {name: [1]})
        assert name not in kind.__struct_fields__
        assert "honour" not in refusal(requests.Publish, {name: 0})


@pytest.mark.parametrize(
    ("content", "meant"),
    [({"data": {"a": 1}}, {"a": 1}), ({"b64data": "eyJhIjoxfQ=="}, {"a": 1}), ({"data": "", "b64data": "MQ=="}, 1)],
)
def test_data_is_json_or_json_in_base64(content: dict[str, Any], meant: Any) -> None:
    assert read(requests.Publish, {"channel": "a", **content}).content(64) == meant


@pytest.mark.parametrize(
    ("content", "words"),
    [({}, "no data"), ({"b64data": "?"}, "base64"), ({"b64data": "/w=="}, "b64data"), ({"b64data": "e30"}, "base64")],
)
def test_other_data_is_refused(content: dict[str, Any], words: str) -> None:
    call = read(requests.Publish, {"channel": "a", **content})
    with pytest.raises(Refused, match=words):
        call.content(64)


def test_a_history_may_begin_somewhere() -> None:
    assert read(requests.History, {"channel": "a"}).position is None
    since = {"epoch": "x", "offset": 7}
    assert read(requests.History, {"channel": "a", "since": since}).position == Position("x", 7)
    assert "offset" in refusal(requests.History, {"channel": "a", "since": {"offset": -1}})
