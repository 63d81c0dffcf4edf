"""The words that all layers share."""

from __future__ import annotations

import pytest

from antiphon.events import make_event
from antiphon.types import (
    ClientInfo,
    Page,
    Permission,
    Position,
    PresenceStats,
    Publication,
    Publishing,
    Repeat,
    Retention,
)


def test_a_position_is_its_epoch_and_offset() -> None:
    assert Publication(b"1", "e", 3, 0.0).position == Position("e", 3) == ("e", 3)


def test_a_publication_has_a_key_or_an_empty_one() -> None:
    assert Publication(b"1", "e", 3, 0.0).key == ""
    assert Publication(b"1", "e", 3, 0.0, "a").key == "a"


def test_a_publication_is_not_changed_once_it_is_made() -> None:
    with pytest.raises(AttributeError):
        Publication(b"1", "e", 3, 0.0).offset = 4  # type: ignore[misc]


@pytest.mark.parametrize("value", [1, "a", None, [1], {"a": [1]}, b"x"], ids=repr)
def test_a_copy_of_an_event_is_equal_and_another(value: object) -> None:
    event = make_event({"type": "a", "value": value})
    first, second = event.copy(), event.copy()
    assert first == second == {"type": "a", "value": value}
    assert first is not second
    if isinstance(value, (list, dict)):
        assert first["value"] is not second["value"]


def test_a_repeat_is_the_position_of_the_first() -> None:
    repeat = Repeat("e", 3)
    assert isinstance(repeat, Position)
    assert repeat == Position("e", 3) == ("e", 3)
    assert hash(repeat) == hash(Position("e", 3))
    assert not isinstance(Position("e", 3), Repeat)
    with pytest.raises(AttributeError):
        repeat.more = 1  # type: ignore[attr-defined]


def test_positions_of_one_epoch_are_ordered() -> None:
    assert Position("e", 3) < Position("e", 4) <= Repeat("e", 4)


def test_a_publication_has_no_publisher_and_no_tags_where_none_are_given() -> None:
    publication = Publication(b"1", "e", 3, 0.0)
    assert (publication.info, publication.tags) == (None, None)


def test_nothing_goes_with_a_publication_but_what_is_kept_of_it_where_nothing_is_given() -> None:
    retention = Retention(1, 2.0, 3.0, 4.0)
    assert Publishing(retention) == Publishing(retention, "", None, None)


def test_a_client_says_nothing_of_itself_where_the_application_does_not() -> None:
    info = ClientInfo("7", "c")
    assert (info.connection_info, info.subscription_info) == (b"", b"")
    assert info == ClientInfo("7", "c", b"", b"")
    with pytest.raises(AttributeError):
        info.user = "8"  # type: ignore[misc]


def test_a_page_is_publications_and_the_position_of_the_newest_there_ever_was() -> None:
    publications, top = Page((Publication(b"1", "e", 3, 0.0),), Position("e", 9))
    assert (publications[0].offset, top.offset) == (3, 9)


@pytest.mark.parametrize(
    ("users", "stats"),
    [([], (0, 0)), (["7"], (1, 1)), (["7", "8", "7"], (3, 2)), (["", "", ""], (3, 1)), (["", "7"], (2, 2))],
)
def test_several_connections_of_a_user_are_one_user_and_so_are_all_that_are_nobody(
    users: list[str], stats: tuple[int, int]
) -> None:
    assert PresenceStats.of(ClientInfo(user, str(number)) for number, user in enumerate(users)) == stats


def test_a_permission_is_true_and_says_nothing_where_nothing_is_given() -> None:
    assert Permission() == (None, None)
    assert bool(Permission()) is True


def test_a_stream_lasts_as_long_as_anything_that_is_kept_of_it() -> None:
    assert Retention(10, 100.0, 30.0, 20.0).rest == 100.0
    assert Retention(0, 100.0, 30.0, 20.0).rest == 30.0
    assert Retention(0, 100.0, 30.0, 40.0).rest == 40.0
