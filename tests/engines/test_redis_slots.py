"""Which slot a name has, and which of several servers has the slot."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.redis.slots import SLOTS, name_of, owners_of, slot_of

from .redis import shared_cluster

names = st.text(st.sampled_from("ab{}:é"), min_size=1, max_size=10)
servers = st.lists(st.from_regex(r"[a-z]{1,3}:\d{1,4}", fullmatch=True), min_size=1, max_size=5, unique=True)


@settings(max_examples=50)
@given(names)
def test_a_slot_is_what_the_cluster_says(name: str) -> None:
    assert slot_of(name) == shared_cluster()[0].servers[0].call("CLUSTER", "KEYSLOT", name)


def test_who_has_a_slot_never_changes_from_one_version_to_the_next() -> None:
    owners = owners_of(("a:6379", "b:6379", "c:6379"))
    assert "".join(owner[0] for owner in owners[:32]) == "cbaaaccabcbaabcbcbbbbcaabbbabccb"
    assert slot_of("x:{:chat:1}") == 1864


@settings(max_examples=20)
@given(servers.flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_the_order_of_the_list_does_not_matter(orders: tuple[list[str], list[str]]) -> None:
    one, other = orders
    assert list(owners_of(tuple(one))) == list(owners_of(tuple(other)))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_one_server_more_takes_its_part_of_each_and_nothing_else_moves(count: int) -> None:
    before = owners_of(tuple(f"redis{number}:6379" for number in range(count)))
    after = owners_of(tuple(f"redis{number}:6379" for number in range(count + 1)))
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {f"redis{count}:6379"}
    assert len(moved) == pytest.approx(SLOTS / (count + 1), rel=0.1)
    for server in set(before):
        assert moved.count(server) == pytest.approx(SLOTS / count / (count + 1), rel=0.2)
        assert before.count(server) == pytest.approx(SLOTS / count, rel=0.1)


def test_a_host_has_one_name_however_it_is_written() -> None:
    assert name_of(("Redis.Example.COM", 6379)) == name_of(("redis.example.com", 6379)) == "redis.example.com:6379"
