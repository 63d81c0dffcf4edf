"""Chunks that may be left out: written as any other, and found again in what was joined."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.droppable import Part, Source, join, mark, parts
from antiphon.formats import FRAMES, MESSAGES, Chunk, Format

from .fakes import messages_in

FORMATS: list[Format] = [FRAMES, MESSAGES]
PRICES, CURSOR = Source("prices", None), Source("cursors", "ada")


@pytest.mark.parametrize("format", FORMATS)
def test_a_marked_chunk_is_what_it_was(format: Format) -> None:
    chunk = format.text(b"1")
    marked = mark(chunk, PRICES)
    assert isinstance(marked, type(chunk))
    assert messages_in([marked]) == ["1"]
    assert format.size(marked) == format.size(chunk)
    assert parts(marked) == [Part(chunk, PRICES)]
    assert type(parts(marked)[0].chunk) is type(chunk), "what waits holds no more than it must"


@pytest.mark.parametrize("format", FORMATS)
def test_it_never_passes_for_another(format: Format) -> None:
    chunk = format.text(b"1")
    marked, again = mark(chunk, PRICES), mark(chunk, PRICES)
    assert marked == marked
    for other in (chunk, again, mark(chunk, CURSOR)):
        assert marked != other
        assert other != marked
        assert [marked] != [other]
    assert hash(marked) == hash(marked)


@pytest.mark.parametrize("format", FORMATS)
def test_what_may_not_be_left_out_is_one_part(format: Format) -> None:
    chunks = [format.text(b"1"), format.text(b"2")]
    assert join(format, chunks) == format.join(chunks)
    assert parts(join(format, chunks)) == [Part(format.join(chunks), None)]
    assert join(format, chunks[:1]) is chunks[0]


def tree(format: Format) -> st.SearchStrategy[Any]:
    """Chunks, joined of joined ones."""
    leaf = st.tuples(st.integers(0, 99), st.sampled_from([None, PRICES, CURSOR]))
    return st.recursive(leaf, lambda deeper: st.lists(deeper, min_size=1, max_size=5), max_leaves=20)


@pytest.mark.parametrize("format", FORMATS)
@given(st.data())
def test_joining_keeps_the_bytes_and_every_part(format: Format, data: st.DataObject) -> None:
    expected: list[tuple[str, Source | None]] = []

    def build(node: Any) -> Chunk:
        if isinstance(node, list):
            return join(format, [build(child) for child in node])
        number, source = node
        expected.append((str(number), source))
        chunk = format.text(b"%d" % number)
        return chunk if source is None else mark(chunk, source)

    whole = build(data.draw(tree(format)))
    assert messages_in([whole]) == [text for text, _ in expected]
    found = [(text, source) for chunk, source in parts(whole) for text in messages_in([chunk])]
    assert found == expected
    for chunk, source in parts(whole):
        assert source is None or len(messages_in([chunk])) == 1, "each that may be left out is a part of its own"
