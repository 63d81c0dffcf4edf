"""What is in messages and entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.redis import codec
from antiphon.events import make_event
from antiphon.types import ClientInfo, Position, Publication, Publishing, Retention

RETENTION = Retention(1, 1, 1, 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))
infos = st.builds(ClientInfo, texts, texts, st.binary(), st.binary())


@given(st.binary(), texts, st.none() | infos, st.none() | st.dictionaries(texts, texts))
def test_a_publication_is_what_it_was(
    data: bytes, key: str, info: ClientInfo | None, tags: dict[str, str] | None
) -> None:
    body = codec.encode_body(data, key, Publishing(RETENTION, "k", info, tags))
    expected = Publication(data, "e1", 7, 1234.567, key, info, tags)
    assert codec.decode_body(body, Position("e1", 7), b"1234567") == expected
    assert codec.decode_published(b"pe1 7 1234567 " + body) == expected


def test_one_without_anything_is_short() -> None:
    body = codec.encode_body(b"1" * 100, "", None)
    assert len(body) <= 110
    assert codec.decode_body(body, Position("e", 1), b"0") == Publication(b"1" * 100, "e", 1, 0.0)


@given(infos)
def test_an_entry_is_read_as_the_script_wrote_it(info: ClientInfo) -> None:
    assert codec.decode_entered(b"1a.b " + codec.encode_info(info)) == codec.Entered("a.b", info)


@pytest.mark.parametrize("content", [{"type": "a"}, {"type": "a", "deep": {"x": [1, None, "ü"]}}])
def test_an_event_is_what_it_was(content: dict[str, object]) -> None:
    event = make_event(content)
    assert codec.decode_event(event.packed) == event
