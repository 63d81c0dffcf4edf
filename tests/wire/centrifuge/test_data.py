"""Data on its way into another encoding."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from antiphon.wire.centrifuge.data import one_line
from tests.wire.centrifuge import strategies


@given(strategies.documents)
def test_a_document_on_one_line_is_the_same(document: Any) -> None:
    line = one_line(json.dumps(document, indent=1).encode())
    assert b"\n" not in line
    assert repr(json.loads(line)) == repr(document)


@given(strategies.data)
def test_what_has_no_newline_is_left_as_it_is(data: bytes) -> None:
    assert one_line(data) is data


@pytest.mark.parametrize("text", ["a\nb", "\\n", "\r\n"])
def test_newlines_in_text_stay(text: str) -> None:
    assert json.loads(one_line(b"[\n" + json.dumps(text).encode() + b"\n]\n")) == [text]
