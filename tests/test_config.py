"""Options: their sources, their order, and what they do not take."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config import Config, load, options
from antiphon.exceptions import ConfigurationError

NUMBERS = [option.name for option in options() if not isinstance(option.default, str)]
WHOLE = [option.name for option in options() if isinstance(option.default, int)]
TEXTS = [option.name for option in options() if isinstance(option.default, str)]


def test_without_sources_every_option_has_its_default() -> None:
    assert load(environment={}) == Config()


def test_the_later_source_wins_and_the_environment_over_all() -> None:
    sources: list[dict[str, Any]] = [{"outbox_limit": 1, "engine": "a"}, {"outbox_limit": 2}]
    assert load(*sources, environment={}).outbox_limit == 2
    assert load(*sources, environment={}).engine == "a"
    assert load(*sources, environment={"ANTIPHON_OUTBOX_LIMIT": "3"}).outbox_limit == 3


@pytest.mark.parametrize("option", options(), ids=lambda option: option.name)
def test_every_option_is_described_and_read_from_the_environment(option: Any) -> None:
    assert option.unit
    assert option.meaning.endswith(".")
    assert option.environment == "ANTIPHON_" + option.name.upper()
    value = "some text" if isinstance(option.default, str) else "7"
    loaded = getattr(load(environment={option.environment: value}), option.name)
    assert loaded == type(option.default)(value)
    assert type(loaded) is type(option.default)


def test_every_option_is_declared_once() -> None:
    assert [option.name for option in options()] == [field.name for field in dataclasses.fields(Config)]


def test_other_variables_of_the_environment_are_not_ours() -> None:
    assert load(environment={"ANTIPHON_NO_SUCH": "1", "PATH": "/bin"}) == Config()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no option 'outbox'; it has: .*outbox_limit"):
        load({"outbox": 1}, environment={})


def test_text_is_read_as_a_number_where_the_option_is_one() -> None:
    config = load({"outbox_limit": "12", "close_timeout": "2.5"}, environment={})
    assert (config.outbox_limit, config.close_timeout) == (12, 2.5)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [0, -1, "0", "-1", "", "many", None, True, False, [], {}, b"", float("nan"), "nan", object()],
    ids=lambda value: f"{value!r:.10}",
)
def test_a_value_of_the_wrong_kind_is_refused_with_name_and_unit(name: str, value: Any) -> None:
    unit = next(option.unit for option in options() if option.name == name)
    with pytest.raises(ConfigurationError, match=rf"{name}.*{unit}"):
        load({name: value}, environment={})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), "inf"])
def test_infinity_is_no_limit(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load({name: value}, environment={})


@pytest.mark.parametrize("name", WHOLE)
def test_half_a_byte_is_refused_and_not_cut_off(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load({name: 1.5}, environment={})
    assert getattr(load({name: 2.0}, environment={}), name) == 2


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", [5, None, b"memory://", True, ["memory://"]], ids=repr)
def test_text_has_to_be_text(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load({name: value}, environment={})


def test_an_error_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match="ANTIPHON_OUTBOX_LIMIT is 'lots'"):
        load(environment={"ANTIPHON_OUTBOX_LIMIT": "lots"})


def test_a_bad_value_is_refused_although_a_later_source_would_win() -> None:
    with pytest.raises(ConfigurationError):
        load({"outbox_limit": "lots"}, {"outbox_limit": 1}, environment={})


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@given(st.sampled_from([option.name for option in options()]), anything)
def test_any_value_is_taken_or_refused_with_a_configuration_error(name: str, value: Any) -> None:
    default = getattr(Config(), name)
    try:
        loaded = getattr(load({name: value}, environment={}), name)
    except ConfigurationError:
        return
    assert type(loaded) is type(default)
    if not isinstance(default, str):
        assert 0 < loaded < float("inf")


def test_a_configuration_is_not_changed_once_it_is_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().engine = "x"  # type: ignore[misc]
