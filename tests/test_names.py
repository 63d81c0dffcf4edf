"""Which names a group and a channel may have."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.exceptions import InvalidName
from antiphon.names import check_channel_name, check_group_name, process_of

surrogates = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)


def is_accepted(name: Any) -> bool:
    try:
        assert check_group_name(name) is name
    except InvalidName:
        return False
    return True


def is_printable(name: str) -> bool:
    """By the database of Unicode: neither controls, nor surrogates, nor separators of lines and paragraphs."""
    return all(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in name)


@given(st.text(st.characters(codec=None), max_size=90) | st.text(max_size=300))
def test_a_group_name_is_printable_text_of_1_to_255_bytes(name: str) -> None:
    fits = is_printable(name) and 1 <= len(name.encode("utf-8", "surrogatepass")) <= 255
    assert is_accepted(name) is fits


@given(
    st.text("abc", max_size=5), surrogates | st.characters(categories=["Cc", "Zl", "Zp"]), st.text("abc", max_size=5)
)
def test_one_bad_character_anywhere_refuses_the_name(before: str, bad: str, after: str) -> None:
    assert not is_accepted(before + bad + after)


@pytest.mark.parametrize("name", ["a", "room 1", "räume", "部屋", "🎵", "a.b-c_d", "<script>", "x" * 255, "é" * 127])
def test_names_of_all_languages_are_taken(name: str) -> None:
    assert is_accepted(name)


@pytest.mark.parametrize(
    "name", ["", "a\n", "\n", "a\x00", "a\tb", "\x7f", "\x85", "\u2028", "\ud800", "x" * 256, "é" * 128, "🎵" * 64]
)
def test_names_that_break_a_rule_are_refused(name: str) -> None:
    assert not is_accepted(name)


@pytest.mark.parametrize("name", [None, 5, b"room", ["room"], {}, object()], ids=repr)
def test_what_is_no_text_is_a_type_error_as_in_channels(name: Any) -> None:
    with pytest.raises(InvalidName):
        check_group_name(name)
    with pytest.raises(TypeError):
        check_channel_name(name)


def test_a_long_bad_name_makes_a_short_message() -> None:
    with pytest.raises(InvalidName) as caught:
        check_group_name("\n" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["specific.ab12!cd34", "a!b", "specific.test!0", "a", "thumbnails-2.x_y", "a!"])
def test_a_channel_name_is_specific_or_general(name: str) -> None:
    assert check_channel_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "!", "!b", "a\n", "a" * 100, "a!b\n", "a!b!c", "a b!c", "ä!b", "a!" + "b" * 98, "a/b!c"]
)
def test_a_channel_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="channel_name"):
        check_channel_name(name)


@given(st.text(max_size=120))
def test_no_text_crashes_the_check_of_channel_names(name: str) -> None:
    try:
        assert check_channel_name(name) == name
        assert name.isascii()
        assert name.count("!") <= 1
    except InvalidName:
        pass


@pytest.mark.parametrize(
    ("name", "process"),
    [
        ("specific.ab12!cd34", "ab12"),
        ("my.prefix.ab12!cd34", "ab12"),
        ("specific.!cd34", ""),
        ("specific!cd34", ""),
        ("general", ""),
        ("general.with.dots", ""),
        ("a.b!", "b"),
        (".b!c.d", "b"),
        ("", ""),
    ],
)
def test_a_specific_name_tells_of_its_process(name: str, process: str) -> None:
    assert process_of(name) == process


@given(st.text("ab.", max_size=8), st.text("ab12", min_size=1, max_size=8), st.text("ab.", max_size=8))
def test_the_process_stands_between_the_last_dot_and_the_mark(prefix: str, process: str, rest: str) -> None:
    assert process_of(f"{prefix}.{process}!{rest}") == process
    assert process_of(f"{prefix}.{process}{rest}") == ""
