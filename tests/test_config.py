"""Options: their sources, their order, and what they do not take."""

from __future__ import annotations

import copy
import dataclasses
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config import Config, Option, load, options
from antiphon.exceptions import ConfigurationError

OPTIONS = {option.name: option for option in options()}


def of(*kinds: type) -> list[str]:
    """The names of the options of these kinds."""
    return [name for name, option in OPTIONS.items() if type(option.default) in kinds]


def takes_zero(name: str) -> bool:
    return " 0: " in OPTIONS[name].meaning


#: What is shown nowhere.
HIDDEN = [name for name, option in OPTIONS.items() if option.secret]
TEXTS, FLAGS, LISTS, MAPPINGS = of(str), of(bool), of(tuple), of(dict)
NUMBERS, WHOLE = of(int, float), of(int)
OVER_ZERO = [name for name in NUMBERS if not takes_zero(name)]
FROM_ZERO = [name for name in NUMBERS if takes_zero(name)]

#: For each kind a text as the environment has it, and what it means.
WRITTEN: dict[type, tuple[str, Any]] = {
    str: ("some text", "some text"),
    bool: ("on", True),
    int: ("7", 7),
    float: ("7", 7.0),
    tuple: ("one, two", ("one", "two")),
    dict: ('{"one": {"two": 3}}', {"one": {"two": 3}}),
}


def test_each_kind_of_option_is_there() -> None:
    assert {type(option.default) for option in options()} == set(WRITTEN)
    assert OVER_ZERO
    assert FROM_ZERO


def test_without_sources_every_option_has_its_default() -> None:
    assert load(environment={}) == Config()


def test_the_later_source_wins_and_the_environment_over_all() -> None:
    sources: list[dict[str, Any]] = [{"outbox_limit": 1, "engine": "a"}, {"outbox_limit": 2}]
    assert load(*sources, environment={}).outbox_limit == 2
    assert load(*sources, environment={}).engine == "a"
    assert load(*sources, environment={"ANTIPHON_OUTBOX_LIMIT": "3"}).outbox_limit == 3


@pytest.mark.parametrize("option", options(), ids=lambda option: option.name)
def test_every_option_is_described_and_read_from_the_environment(option: Option) -> None:
    assert option.unit
    assert option.meaning.endswith(".")
    assert option.environment == "ANTIPHON_" + option.name.upper()
    text, value = WRITTEN[type(option.default)]
    loaded = getattr(load(environment={option.environment: text}), option.name)
    assert loaded == value
    assert type(loaded) is type(option.default)


@pytest.mark.parametrize("option", options(), ids=lambda option: option.name)
def test_every_default_is_a_value_that_the_option_takes(option: Option) -> None:
    assert getattr(load({option.name: option.default}, environment={}), option.name) == option.default


def test_every_option_is_declared_once() -> None:
    assert [option.name for option in options()] == [field.name for field in dataclasses.fields(Config)]


def test_other_variables_of_the_environment_are_not_ours() -> None:
    assert load(environment={"ANTIPHON_NO_SUCH": "1", "PATH": "/bin"}) == Config()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no option 'outbox'; it has: .*outbox_limit"):
        load({"outbox": 1}, environment={})


def refused(name: str, value: Any) -> str:
    """Load the value, which has to be refused; return the words for it."""
    with pytest.raises(ConfigurationError, match=f"^{name} is ") as raised:
        load({name: value}, environment={})
    return str(raised.value)


# Numbers


def test_text_is_read_as_a_number_where_the_option_is_one() -> None:
    config = load({"outbox_limit": "12", "close_timeout": "2.5"}, environment={})
    assert (config.outbox_limit, config.close_timeout) == (12, 2.5)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [-1, "-1", -0.5, "", "many", None, True, False, [], {}, b"", b"7", float("nan"), "nan", object()],
    ids=lambda value: f"{value!r:.10}",
)
def test_a_value_that_is_no_number_is_refused_with_name_and_unit(name: str, value: Any) -> None:
    words = refused(name, value)
    assert f"({OPTIONS[name].unit})" in words
    assert ("0 or more" if takes_zero(name) else "over 0") in words


@pytest.mark.parametrize("value", [0, 0.0, "0", "0.0", -0.0], ids=repr)
def test_zero_is_taken_where_it_means_something(value: Any) -> None:
    for name in FROM_ZERO:
        loaded = getattr(load({name: value}, environment={}), name)
        assert loaded == 0
        assert type(loaded) is type(OPTIONS[name].default)
    for name in OVER_ZERO:
        refused(name, value)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), "inf", 10**400])
def test_infinity_is_no_limit(name: str, value: Any) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", WHOLE)
def test_half_a_byte_is_refused_and_not_cut_off(name: str) -> None:
    assert "whole number" in refused(name, 1.5)
    assert getattr(load({name: 2.0}, environment={}), name) == 2


# Texts, flags, lists, dicts


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", [5, None, b"memory://", True, ["memory://"]], ids=repr)
def test_text_has_to_be_text(name: str, value: Any) -> None:
    refused(name, value)


def taken(name: str, *values: Any) -> list[Any]:
    """What these values become."""
    return [getattr(load({name: value}, environment={}), name) for value in values]


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_on_or_off_in_a_few_words(name: str) -> None:
    assert taken(name, True, "1", "true", "True", "yes", "ON") == [True] * 6
    assert taken(name, False, "0", "false", "False", "no", "OFF") == [False] * 6
    values: list[Any] = [0, 1, 1.0, None, "", "maybe", "2", b"on", [], object()]
    for value in values:
        assert refused(name, value).endswith("; it takes on or off")


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_of_texts_and_has_commas_in_the_environment(name: str) -> None:
    assert taken(name, ["a", "b"], ("a", "b"), "a,b", " a , b ,") == [("a", "b")] * 4
    assert set(*taken(name, {"a", "b"})) == {"a", "b"}
    assert taken(name, [], (), "", " , ") == [()] * 4
    values: list[Any] = [5, None, True, ["a", 5], [b"a"], b"a,b", {"a": "b"}, [["a"]]]
    for value in values:
        assert "a list of texts" in refused(name, value)


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_dict_is_by_name_and_json_in_the_environment(name: str) -> None:
    assert taken(name, {"a": 1}, '{"a": 1}', ' {"a" : 1} ') == [{"a": 1}] * 3
    values: list[Any] = [5, None, True, "", "a", "[1]", "5", "null", '{"a": 1', "[" * 100_000]
    for value in [*values, {5: 1}, [("a", 1)], b"{}"]:
        assert "a dict" in refused(name, value)


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_dict_is_a_copy_and_no_default_is_shared(name: str) -> None:
    given = {"a": 1}
    config = load({name: given}, environment={})
    given["b"] = 2
    assert getattr(config, name) == {"a": 1}
    assert getattr(Config(), name) is not getattr(Config(), name)


# Errors


def test_an_error_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match="ANTIPHON_OUTBOX_LIMIT is 'lots'; it takes a whole number over 0"):
        load(environment={"ANTIPHON_OUTBOX_LIMIT": "lots"})


def test_a_bad_value_is_refused_although_a_later_source_would_win() -> None:
    with pytest.raises(ConfigurationError):
        load({"outbox_limit": "lots"}, {"outbox_limit": 1}, environment={})


class Telling:
    """Of no kind that an option takes; its ``repr`` tells what it holds."""

    def __repr__(self) -> str:
        return "hush-hush"


def test_what_is_secret_is_known() -> None:
    assert HIDDEN == ["token_secrets", "token_public_keys", "token_jwks", "api_keys"]
    assert not OPTIONS["engine"].secret


@pytest.mark.parametrize("name", HIDDEN)
def test_a_secret_value_is_not_shown_where_it_is_wrong(name: str) -> None:
    values: list[Any] = [b"hush-hush", ["hush-hush", 5], {"hush-hush": 1}, Telling(), [Telling()]]
    for value in values:
        with pytest.raises(ConfigurationError) as raised:
            load({name: value}, environment={})
        assert str(raised.value).startswith(f"{name} is <{type(value).__name__}, not shown>; it takes ")
        assert "hush" not in "".join(traceback.format_exception(raised.value)).partition("ConfigurationError: ")[2]
        assert "hush" not in repr(raised.value)
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__


@pytest.mark.parametrize("name", HIDDEN)
def test_a_secret_value_is_not_shown_where_it_is_right(name: str) -> None:
    value = "hush-hush" if name in TEXTS else ["hush-hush"]
    config = load({name: value}, environment={})
    assert getattr(config, name) in ("hush-hush", ("hush-hush",))
    for text in (repr(config), str(config), f"{config}", f"{config!r}", repr([config])):
        assert "hush" not in text
        assert "engine='memory://'" in text
    assert config != Config(), "it counts, although it is not shown"


def test_another_value_is_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"^engine is hush-hush; it takes text"):
        load({"engine": Telling()}, environment={})


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
anything = scalars | st.lists(scalars) | st.dictionaries(scalars, scalars) | st.sets(scalars)


@given(st.sampled_from(sorted(OPTIONS)), anything)
def test_any_value_is_taken_or_refused_with_a_configuration_error(name: str, value: Any) -> None:
    default = OPTIONS[name].default
    try:
        loaded = getattr(load({name: copy.copy(value)}, environment={}), name)
    except ConfigurationError:
        return
    assert type(loaded) is type(default)
    if name in NUMBERS:
        assert 0 <= loaded < float("inf")
        assert loaded > 0 or takes_zero(name)
    assert getattr(load({name: loaded}, environment={}), name) == loaded


def test_a_configuration_is_not_changed_once_it_is_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().engine = "x"  # type: ignore[misc]
