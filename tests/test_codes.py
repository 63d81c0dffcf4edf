"""Close codes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import EXTERNAL_CLOSE_CODES, Close, CloseCode

from antiphon import codes
from antiphon.exceptions import InvalidCloseCode


@given(st.integers(-10, 70_000))
def test_what_an_application_may_send_is_what_may_travel(code: int) -> None:
    travels = code in set(map(int, EXTERNAL_CLOSE_CODES)) or 3000 <= code <= 4999
    if travels:
        assert codes.check_close_code(code) == code
    else:
        with pytest.raises(InvalidCloseCode, match=str(code)):
            codes.check_close_code(code)


def test_every_code_that_may_travel() -> None:
    travelling = {*map(int, EXTERNAL_CLOSE_CODES), *range(3000, 5000)}
    assert {code for code in range(-5, 70_000) if codes.may_travel(code)} == travelling


@pytest.mark.parametrize("code", [1005, 1006, 1015, 0, 999, 2999, 5000, -1, 65536])
def test_codes_that_never_travel_are_refused(code: int) -> None:
    with pytest.raises(InvalidCloseCode):
        codes.check_close_code(code)


@pytest.mark.parametrize("code", [None, "1000", 1000.0, True, False, b"1000", [1000]], ids=repr)
def test_what_is_no_number_is_refused(code: Any) -> None:
    with pytest.raises(InvalidCloseCode):
        codes.check_close_code(code)


def test_the_message_names_every_code_that_may_be_sent() -> None:
    with pytest.raises(InvalidCloseCode) as caught:
        codes.check_close_code(1)
    words = str(caught.value)
    for code in EXTERNAL_CLOSE_CODES:
        in_range = 1007 <= code <= 1014 and "1007–1014" in words
        assert in_range or f"{code:d}" in words, f"{code} may be sent, the message says otherwise"


def test_every_code_stands_under_its_own_number() -> None:
    assert all(number == entry.code for number, entry in codes.CLOSE_CODES.items())
    assert {int(code) for code in CloseCode} - {1015, 1010, 1014} == set(codes.CLOSE_CODES)


@pytest.mark.parametrize("code", [*codes.CLOSE_CODES, 4000, 1014])
def test_every_code_has_words_that_fit(code: int) -> None:
    reason = codes.default_reason(code)
    assert reason
    assert codes.fit_reason(reason) == reason.encode()


@given(st.text(st.characters(codec=None)))
def test_a_reason_fits_into_a_close_frame(reason: str) -> None:
    fitted = codes.fit_reason(reason)
    assert len(fitted) <= codes.REASON_BYTES
    assert reason.encode("utf-8", "replace").decode().startswith(fitted.decode())
    Close(1000, fitted.decode()).serialize()


@given(st.text(max_size=30))
def test_a_reason_that_fits_is_left_as_it_is(reason: str) -> None:
    assert codes.fit_reason(reason) == reason.encode()


def test_a_reason_is_cut_at_a_character() -> None:
    assert codes.fit_reason("€" * 100) == ("€" * 41).encode()
    assert codes.fit_reason("x" + "€" * 100) == ("x" + "€" * 40).encode()
