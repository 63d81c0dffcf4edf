"""A publication as a subscriber gets it."""

from __future__ import annotations

import pytest

from antiphon import types
from antiphon.wire.centrifuge.publication import ClientInfo, Publication


@pytest.mark.parametrize(("offset", "epoch"), [(1, "abcd"), (2, ""), (10**6, "")])
def test_the_first_of_a_stream_says_its_epoch(offset: int, epoch: str) -> None:
    published = types.Publication(b"[1]", "abcd", offset, 1700000000.0)
    assert Publication.of(published) == Publication(b"[1]", offset=offset, epoch=epoch)


@pytest.mark.parametrize(("seconds", "milliseconds"), [(1700000000.1236, 1700000000124), (0.0, 0), (1.0005, 1000)])
def test_its_time_is_told_in_milliseconds_where_it_is_asked_for(seconds: float, milliseconds: int) -> None:
    published = types.Publication(b"[1]", "abcd", 2, seconds)
    assert Publication.of(published, timed=True).time == milliseconds
    assert Publication.of(published).time == 0


def test_it_says_who_published_it_and_its_tags() -> None:
    published = types.Publication(b"[1]", "abcd", 2, 1.0, "key")
    info = ClientInfo("42", "c1")
    assert Publication.of(published, info=info, tags={"a": "b"}) == Publication(b"[1]", info, 2, {"a": "b"})
