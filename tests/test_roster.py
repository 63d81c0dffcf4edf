"""The roster of a process, or of all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.roster import Entry, Roster
from antiphon.types import ClientInfo, PresenceStats


def info(client: str, user: str = "") -> ClientInfo:
    return ClientInfo(user, client)


def test_who_entered_is_there_until_it_leaves() -> None:
    roster = Roster()
    assert roster.enter("a", info("1"), announced=True) == Entry(info("1"), True)
    assert roster.infos("a") == {"1": info("1")}
    assert roster.leave("a", "1") == Entry(info("1"), True)
    assert roster.infos("a") == {}
    assert list(roster) == []


def test_a_second_entering_changes_what_others_see_and_nothing_else() -> None:
    roster = Roster()
    roster.enter("a", info("1", "ann"), announced=True)
    assert roster.enter("a", info("1", "bob"), announced=False) is None
    assert roster.infos("a") == {"1": info("1", "bob")}
    assert roster.leave("a", "1") == Entry(info("1", "bob"), True)


def test_who_is_not_there_can_leave() -> None:
    roster = Roster()
    roster.enter("a", info("1"), announced=False)
    assert roster.leave("a", "2") is None
    assert roster.leave("b", "1") is None
    assert roster.infos("a") == {"1": info("1")}


def test_several_connections_of_one_user_are_one_user() -> None:
    roster = Roster()
    for client, user in (("1", "ann"), ("2", "ann"), ("3", "bob"), ("4", ""), ("5", "")):
        roster.enter("a", info(client, user), announced=False)
    assert roster.stats("a") == PresenceStats(clients=5, users=3)
    assert roster.stats("b") == PresenceStats(0, 0)


def test_entries_may_be_taken_out_while_they_are_gone_through() -> None:
    roster = Roster()
    for client in "123":
        roster.enter("a", info(client), announced=False)
    for group, entry in roster:
        roster.leave(group, entry.info.client)
    assert list(roster) == []
    roster.enter("a", info("1"), announced=False)
    roster.clear()
    assert list(roster) == []


STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.sampled_from("123"), st.sampled_from(["", "u"])))


@given(STEPS)
def test_it_holds_what_a_set_would_hold(steps: list[tuple[bool, str, str, str]]) -> None:
    roster, expected = Roster(), dict[tuple[str, str], str]()
    for enters, group, client, user in steps:
        if enters:
            assert (roster.enter(group, info(client, user), announced=False) is None) == ((group, client) in expected)
            expected[group, client] = user
        else:
            assert (roster.leave(group, client) is None) == ((group, client) not in expected)
            expected.pop((group, client), None)
    assert {(group, entry.info.client): entry.info.user for group, entry in roster} == expected
