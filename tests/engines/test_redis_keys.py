"""The names of keys and channels."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.redis.keys import Keys, is_of_group

names = st.text(st.sampled_from("a{}:é/"), min_size=1, max_size=6)
KEYS = Keys("antiphon")


def tag(key: str) -> str:
    """What a cluster looks at: what is between the first opening brace and the first closing one behind it."""
    behind = key.partition("{")[2]
    found = behind.partition("}")[0]
    return found if found and "}" in behind else key


def of(group: str) -> list[str]:
    return [KEYS.position(group), KEYS.stream(group), KEYS.presence(group), KEYS.channel(group)]


@given(names, names)
def test_what_belongs_to_one_group_is_in_one_place(group: str, key: str) -> None:
    assert len({tag(each) for each in [*of(group), KEYS.idempotency(group, key)]}) == 1


@given(st.lists(names, min_size=2, max_size=5, unique=True), st.lists(names, min_size=2, max_size=3, unique=True))
def test_no_two_names_are_mistaken(groups: list[str], keys: list[str]) -> None:
    found = [*itertools.chain(*map(of, groups)), KEYS.processes, KEYS.control]
    found += [KEYS.idempotency(group, key) for group in groups for key in keys]
    found += [each(process) for process in groups for each in (KEYS.direct, KEYS.entries)]
    found += [each for channel in groups for each in (*KEYS.queue(channel), KEYS.bell(channel))]
    assert len(set(found)) == len(found)


@given(names)
def test_a_position_tells_its_group(group: str) -> None:
    assert KEYS.group_of(KEYS.position(group)) == group


@given(names)
def test_what_belongs_to_a_group_is_told_from_what_belongs_to_none(group: str) -> None:
    assert all(is_of_group(each) for each in [*of(group), *KEYS.queue(group), KEYS.bell(group)])
    assert not any(is_of_group(each) for each in (KEYS.processes, KEYS.control, KEYS.servers, KEYS.direct("x")))


def test_channels_know_the_database_and_keys_need_not() -> None:
    one, two = Keys("p", 1), Keys("p", 2)
    assert one.stream("a") == two.stream("a")
    assert {one.channel("a"), one.control, one.direct("x")}.isdisjoint({two.channel("a"), two.control, two.direct("x")})


@given(names)
def test_what_belongs_to_one_general_channel_is_in_one_place(channel: str) -> None:
    assert len({tag(each) for each in (*KEYS.queue(channel), KEYS.bell(channel))}) == 1
