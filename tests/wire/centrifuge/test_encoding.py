"""What the two encodings have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given

from antiphon.wire.centrifuge import encoding, json, protobuf
from antiphon.wire.centrifuge.encoding import JSON, PROTOBUF, Encoding
from tests.wire.centrifuge import reference, strategies


def functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    found = {name: value for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"}
    return {name: value for name, value in found.items() if value.__module__ == module.__name__}


def test_the_encodings_are_siblings() -> None:
    assert list(functions(json)) == list(functions(protobuf))
    for name, function in functions(json).items():
        other = functions(protobuf)[name]
        assert inspect.signature(function) == inspect.signature(other)
        assert inspect.getdoc(function) == inspect.getdoc(other)
    assert json.__all__ == protobuf.__all__


def test_an_encoding_has_what_the_protocol_class_names() -> None:
    wanted = {name for name in dir(Encoding) if name[0] != "_"} | set(Encoding.__annotations__)
    assert wanted == set(json.__all__)


def test_one_is_text_and_the_other_is_not() -> None:
    assert (JSON.IS_TEXT, PROTOBUF.IS_TEXT) == (True, False)
    JSON.PING.decode()


@given(strategies.ids, strategies.command)
def test_both_decode_the_same(id: int, command: Any) -> None:
    [(number, found)] = PROTOBUF.decode_frame(reference.delimited([reference.command_of(id, command)]))
    assert (number, found) == (id, command)


@pytest.mark.parametrize(
    ("offered", "query", "expected"),
    [
        ([], b"", (JSON, None)),
        (["centrifuge-protobuf"], b"", (PROTOBUF, "centrifuge-protobuf")),
        (["centrifuge-json"], b"", (JSON, "centrifuge-json")),
        (["chat", "centrifuge-protobuf"], b"", (PROTOBUF, "centrifuge-protobuf")),
        (["centrifuge-json", "centrifuge-protobuf"], b"", (JSON, "centrifuge-json")),
        (["centrifuge-protobuf", "centrifuge-json"], b"", (PROTOBUF, "centrifuge-protobuf")),
        (["chat"], b"", (JSON, None)),
        ([], b"format=protobuf", (PROTOBUF, None)),
        ([], b"a=b&cf_protocol=protobuf&c", (PROTOBUF, None)),
        (["chat"], b"format=protobuf", (PROTOBUF, None)),
        (["centrifuge-json"], b"format=protobuf", (JSON, "centrifuge-json")),
        ([], b"format=json", (JSON, None)),
        ([], b"other=protobuf", (JSON, None)),
        ([], b"format=%ff&\xff=;%", (JSON, None)),
        ([], b"format=proto%62uf", (PROTOBUF, None)),
    ],
)
def test_the_first_that_says_so_chooses(
    offered: list[str], query: bytes, expected: tuple[Encoding, str | None]
) -> None:
    assert encoding.choose(offered, query) == expected
