"""The life of a connection as a table, pair by pair."""

from __future__ import annotations

import itertools

import pytest

from antiphon.lifecycle import Happening, State, next_state

CONNECTING, OPEN, CLOSING, REFUSED, CLOSED = State
ACCEPT, CLOSE, LOST, FINISH = Happening

#: Rows as in the module's essay; every pair that is not here has no place.
TABLE = {
    (CONNECTING, ACCEPT): OPEN,
    (CONNECTING, CLOSE): REFUSED,
    (CONNECTING, LOST): CLOSED,
    (OPEN, CLOSE): CLOSING,
    (OPEN, LOST): CLOSING,
    (CLOSING, LOST): CLOSING,
    (CLOSING, FINISH): CLOSED,
    (REFUSED, LOST): REFUSED,
    (CLOSED, LOST): CLOSED,
}


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(State, Happening)))
def test_every_pair_of_the_table(state: State, happening: Happening) -> None:
    assert next_state(state, happening) is TABLE.get((state, happening))


@pytest.mark.parametrize("state", [REFUSED, CLOSED])
@pytest.mark.parametrize("happening", list(Happening))
def test_nothing_leaves_the_end(state: State, happening: Happening) -> None:
    assert next_state(state, happening) in (None, state)


def paths(state: State, passed: tuple[State, ...] = ()) -> list[tuple[State, ...]]:
    """Every way through the table without going round."""
    here = (*passed, state)
    following = {next_state(state, happening) for happening in Happening} - {None, *here}
    return [here] + [path for after in following if after is not None for path in paths(after, here)]


def test_a_connection_that_was_open_closes_through_closing() -> None:
    ways = [path for path in paths(CONNECTING) if OPEN in path and path[-1] is CLOSED]
    assert ways == [(CONNECTING, OPEN, CLOSING, CLOSED)]


def test_accept_has_one_place() -> None:
    assert [state for state in State if next_state(state, ACCEPT) is not None] == [CONNECTING]


def test_every_state_can_be_reached() -> None:
    assert {path[-1] for path in paths(CONNECTING)} == set(State)
