"""Rules: which one a group has, and what is refused at start."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import re
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.exceptions import ConfigurationError, InvalidName
from antiphon.rules import KEY_LENGTH, TAGS, Rule, Rules, check_key, check_tags, settings
from antiphon.types import Publishing, Retention

DROP, LATEST = {"slow": "drop_oldest"}, {"slow": "latest_by_key"}


def test_a_group_without_a_rule_has_the_defaults() -> None:
    rule = Rules({"prices:*": DROP}).find("room")
    assert rule == Rule()
    assert rule.slow == "close"


def test_the_first_pattern_that_matches_counts() -> None:
    rules = Rules({"prices:gold": LATEST, "prices:*": DROP, "*": LATEST})
    assert [rules.find(name).slow for name in ("prices:gold", "prices:tin", "room")] == [
        "latest_by_key",
        "drop_oldest",
        "latest_by_key",
    ]


def test_a_rule_without_settings_is_the_default_one() -> None:
    assert Rules({"room": {}, "*": DROP}).find("room") == Rule()


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("room", "room", True),
        ("room", "rooms", False),
        ("room", "Room", False),
        ("room:*", "room:", True),
        ("room:*", "room:7:b", True),
        ("room:*", "a room:7", False),
        ("*:cursors", "doc:7:cursors", True),
        ("*:cursors", "doc:cursors:7", False),
        ("doc:*:cursors", "doc:7:cursors", True),
        ("doc:*:cursors", "doc:cursors", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*a", "aba", True),
        ("a*b*a", "aab", False),
        ("*", "", True),
        ("**", "anything", True),
        ("room?", "rooms", False),
        ("room?", "room?", True),
        ("[ab]", "a", False),
        ("a.c", "abc", False),
        ("räume:*", "räume:süd", True),
    ],
)
def test_a_star_is_any_text_and_nothing_else_is_special(pattern: str, name: str, matches: bool) -> None:
    assert (Rules({pattern: DROP}).find(name).slow == "drop_oldest") is matches


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=12))
def test_matching_is_that_of_fnmatch(pattern: str, name: str) -> None:
    assert (Rules({pattern: DROP}).find(name) != Rule()) is fnmatch.fnmatchcase(name, pattern)


def test_rules_know_whether_any_of_them_leaves_messages_out() -> None:
    assert not Rules({}).leave_out
    assert not Rules({"a": {"slow": "close"}, "b": {}}).leave_out
    assert Rules({"a": {"slow": "close"}, "b": DROP}).leave_out
    assert Rules({"b": LATEST}).leave_out


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"prices:*": {"slwo": "close"}}, r"'prices:\*' has 'slwo'; the settings of a rule are: slow"),
        ({"a": {"slow": "drop"}}, r"slow of 'a' is 'drop'; it takes `close`, `drop_oldest`, `latest_by_key`"),
        ({"a": {"slow": ["close"]}}, r"slow of 'a' is \['close'\]; it takes"),
        ({"a": {"slow": None}}, "slow of 'a' is None; it takes"),
        ({"a": "drop_oldest"}, "'a' has 'drop_oldest'; it takes a dict"),
        ({"a": None}, "'a' has None; it takes a dict"),
        ({"": {"slow": "close"}}, "'' is no pattern"),
        ({5: {"slow": "close"}}, "5 is no pattern"),
    ],
)
def test_what_can_not_be_is_refused_with_what_can(mapping: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Rules({"fine": DROP, **mapping})


def test_every_setting_says_what_it_is() -> None:
    assert [setting.name for setting in settings()] == [field.name for field in dataclasses.fields(Rule) if field.init]
    for setting in settings():
        assert getattr(Rule(), setting.name) == setting.default == setting.reads(setting.default)
        assert setting.meaning.endswith(".")
        assert setting.takes


def test_a_rule_is_not_changed_once_it_is_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Rule().slow = "drop_oldest"  # type: ignore[misc]


@pytest.mark.parametrize("key", ["a", "x" * KEY_LENGTH, "ä" * KEY_LENGTH, "user 7\n"], ids=lambda key: f"{key:.9}")
def test_a_key_is_any_text_that_is_not_too_long(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "x" * (KEY_LENGTH + 1), 5, b"a", ["a"], "\ud800"], ids=lambda key: f"{key!r:.9}")
def test_another_key_is_refused(key: Any) -> None:
    with pytest.raises(InvalidName, match=re.escape("can't be a key: it takes text of 1 to 255 characters")):
        check_key(key)


@pytest.mark.parametrize("slow", ["drop_oldest", "latest_by_key"])
def test_what_keeps_its_history_leaves_nothing_out(slow: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be spared"):
        Rules({"prices:*": {"slow": slow, "history_size": 10}})
    assert Rules({"prices:*": {"slow": "close", "history_size": 10}}).find("prices:a").history_size == 10


# What is kept


def test_without_a_rule_nothing_is_kept_but_the_position() -> None:
    assert Rule().retention == Retention(0, 300.0, 30 * 86400.0, 300.0)


def test_a_rule_says_what_is_kept() -> None:
    values = {"history_size": 5, "history_lifetime": 60, "position_lifetime": 3600, "idempotency_window": 0.5}
    assert Rules({"a:*": values}).find("a:b").retention == Retention(5, 60.0, 3600.0, 0.5)
    assert Rules({"a:*": values}).find("b").retention == Rule().retention


def test_what_goes_with_publications_is_made_once() -> None:
    rule = Rules({"a:*": {"history_size": 5}}).find("a:b")
    assert rule.publishing == Publishing(rule.retention)
    assert rule.publishing is rule.publishing
    assert rule.publishing is not None
    assert rule.publishing.retention is rule.retention
    assert Rule().publishing is None
    assert rule == Rule(history_size=5)


@pytest.mark.parametrize(("value", "size"), [(0, 0), (1, 1), (5.0, 5), (10**6, 10**6)])
def test_a_size_is_a_whole_number(value: float, size: int) -> None:
    found = Rules({"a": {"history_size": value}}).find("a").history_size
    assert (found, type(found)) == (size, int)


@pytest.mark.parametrize("value", [-1, 1.5, math.inf, math.nan, "5", True, None, [5]], ids=repr)
def test_another_size_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"history_size of 'a' is .*; it takes a whole number, 0 or more"):
        Rules({"a": {"history_size": value}})


SECONDS = ["history_lifetime", "position_lifetime", "idempotency_window"]


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [1, 0.001, 10**9])
def test_a_time_is_a_number_of_seconds(name: str, value: float) -> None:
    found = getattr(Rules({"a": {name: value}}).find("a"), name)
    assert (found, type(found)) == (value, float)


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "5", True, None], ids=repr)
def test_another_time_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} of 'a' is .*; it takes seconds, over 0"):
        Rules({"a": {name: value}})


# Tags


@pytest.mark.parametrize(
    "tags",
    [{}, {"a": "b"}, {"": ""}, {"ü": "🎵"}, {"x" * KEY_LENGTH: "x" * KEY_LENGTH}, {str(n): "" for n in range(TAGS)}],
    ids=lambda tags: f"{tags!r:.20}",
)
def test_tags_are_text_by_text(tags: dict[str, str]) -> None:
    checked = check_tags(tags)
    assert checked == tags
    assert checked is not tags, "a copy: who gave them may change them"


def test_tags_may_be_any_mapping() -> None:
    assert check_tags(types.MappingProxyType({"a": "b"})) == {"a": "b"}


@pytest.mark.parametrize(
    "tags",
    [
        None,
        ["a"],
        "a",
        {"a": 1},
        {1: "a"},
        {"a": None},
        {"a": b"b"},
        {"a": "\ud800"},
        {"\ud800": "a"},
        {"a": "x" * (KEY_LENGTH + 1)},
        {"x" * (KEY_LENGTH + 1): "a"},
        {str(n): "" for n in range(TAGS + 1)},
    ],
    ids=lambda tags: f"{tags!r:.20}",
)
def test_other_tags_are_refused(tags: Any) -> None:
    with pytest.raises(InvalidName, match="can't be tags: they are at most 64, text by text of up to 255 characters"):
        check_tags(tags)


# Presence, and what who comes back is given


def test_a_rule_says_who_may_know_who_is_there() -> None:
    assert [Rules({"a": {"presence": value}}).find("a").presence for value in ("off", "kept", "members")] == [
        "off",
        "kept",
        "members",
    ]
    assert (Rule().presence, Rule().join_leave, Rule().recovery) == ("off", False, "stream")


@pytest.mark.parametrize("presence", ["kept", "members"])
def test_joins_and_leaves_are_told_where_presence_is_noted(presence: str) -> None:
    assert Rules({"a": {"presence": presence, "join_leave": True}}).find("a").join_leave is True
    assert Rules({"a": {"presence": "off", "join_leave": False}}).find("a").join_leave is False


@pytest.mark.parametrize("value", [1, 0, "yes", None, [], "True"], ids=repr)
def test_on_or_off_is_true_or_false(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"join_leave of 'a' is .*; it takes `True` or `False`"):
        Rules({"a": {"presence": "kept", "join_leave": value}})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"presence": True}, "presence of 'a' is True; it takes `off`, `kept`, `members`"),
        ({"presence": "all"}, "presence of 'a' is 'all'; it takes"),
        ({"join_leave": True}, "'a' has join_leave without presence; set presence to \"kept\""),
        ({"join_leave": True, "presence": "off"}, "'a' has join_leave without presence"),
        ({"recovery": "newest", "history_size": 1}, "recovery of 'a' is 'newest'; it takes `stream`, `cache`"),
        ({"recovery": "cache"}, "'a' has recovery='cache' and keeps nothing that could be given; set history_size"),
        ({"recovery": "cache", "history_size": 0}, "'a' has recovery='cache' and keeps nothing"),
    ],
)
def test_what_makes_no_sense_together_is_refused(values: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        Rules({"a": values})


def test_a_cache_keeps_its_newest() -> None:
    rule = Rules({"a": {"recovery": "cache", "history_size": 1}}).find("a")
    assert (rule.recovery, rule.retention.size) == ("cache", 1)
