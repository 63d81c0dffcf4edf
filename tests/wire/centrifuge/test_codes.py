"""Errors, close codes and unsubscribe codes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codes import REASON_BYTES, CloseCode, may_travel
from antiphon.wire.centrifuge import codes

TERMINAL = {1009, *range(3500, 4000), *range(4500, 5000)}


def constants(prefix: str) -> set[int]:
    return {value for name, value in vars(codes).items() if name.startswith(prefix)}


def is_json(words: str) -> bool:
    try:
        json.loads(words)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("table", "prefix", "expected"),
    [
        (codes.ERRORS, "ERROR_", set(range(100, 114))),
        (codes.DISCONNECTS, "CLOSE_", {3000, 3001, 3004, 3005, 3006, *range(3008, 3015), *range(3500, 3510)}),
        (codes.UNSUBSCRIBES, "UNSUBSCRIBE_", {2000, 2500, 2501, 2502}),
    ],
)
def test_every_number_stands_once_with_a_name(table: dict[int, codes.Error], prefix: str, expected: set[int]) -> None:
    assert set(table) == constants(prefix) == expected
    assert all(number == entry.code for number, entry in table.items())
    assert len({entry[1] for entry in table.values()}) == len(table)


def test_what_may_succeed_later_is_temporary() -> None:
    assert {code for code, error in codes.ERRORS.items() if error.temporary} == {100, 111, 113}


@pytest.mark.parametrize("entry", codes.DISCONNECTS.values(), ids=lambda entry: str(entry.code))
def test_a_close_code_says_what_an_sdk_does(entry: CloseCode) -> None:
    assert entry.come_back == codes.comes_back(entry.code) == (entry.code not in TERMINAL)
    assert may_travel(entry.code)
    assert entry.sender


@given(st.integers(1000, 6000))
def test_an_sdk_comes_back_but_for_the_terminal_codes(code: int) -> None:
    assert codes.comes_back(code) == (code not in TERMINAL)


def test_the_ranges_hold_each_code_once() -> None:
    held = [code for entry in codes.RANGES for code in range(entry.first, entry.last + 1)]
    assert held == list(range(3000, 5000))


@pytest.mark.parametrize("entry", codes.UNSUBSCRIBES.values(), ids=lambda entry: str(entry.code))
def test_an_unsubscribe_code_says_what_an_sdk_does(entry: codes.UnsubscribeCode) -> None:
    assert entry.subscribe_anew == (entry.code >= 2500)
    assert entry.reason
    assert entry.sender


# Reasons


@pytest.mark.parametrize("code", [*codes.DISCONNECTS, 1000, 1012, 4000, 4500])
@pytest.mark.parametrize("reason", ["", " ", "\n"])
def test_no_reason_is_the_codes_own(code: int, reason: str) -> None:
    words = codes.plain_reason(code, reason)
    assert len(words) > 3
    assert not is_json(words)
    if code in codes.DISCONNECTS:
        assert words == codes.DISCONNECTS[code].reason


def test_plain_words_are_left_as_they_are() -> None:
    assert codes.plain_reason(4500, "not logged in") == "not logged in"


@pytest.mark.parametrize(
    "reason", ["123", "true", "null", '"x"', '{"reconnect":false}', " [1] ", "1" * 200, f'"{"x" * 121}"']
)
def test_what_a_client_could_read_as_json_is_made_words(reason: str) -> None:
    words = codes.plain_reason(4500, reason)
    assert not is_json(words)
    assert reason[:50] in words
    assert len(words.encode()) <= REASON_BYTES


@given(
    st.text()
    | st.text(min_size=40, max_size=200)
    | st.text("0123456789[]{}", max_size=200)
    | st.integers().map(lambda number: f"{number} and more")
)
def test_any_reason_becomes_one_that_a_close_frame_can_carry(reason: str) -> None:
    words = codes.plain_reason(4500, reason)
    assert words.strip()
    assert len(words.encode()) <= REASON_BYTES
    assert not is_json(words)


def test_a_reason_that_is_json_where_it_is_cut_is_made_words() -> None:
    assert not is_json(codes.plain_reason(4500, "1" * REASON_BYTES + " is too long"))
