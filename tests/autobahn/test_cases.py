"""The catalogue of cases, and the choice among them."""

from __future__ import annotations

from collections import Counter

import pytest

from .cases import CASES, SECTIONS, UnknownCases, chosen, full, matching, ranges, section_of


def test_there_are_as_many_cases_as_the_suite_has() -> None:
    assert len(CASES) == len(set(CASES)) == 517
    sizes = Counter(section_of(case) for case in CASES)
    assert sizes == {
        "1": 16,
        "2": 11,
        "3": 7,
        "4": 10,
        "5": 20,
        "6": 145,
        "7": 37,
        "9": 54,
        "10": 1,
        "12": 90,
        "13": 126,
    }
    assert list(sizes) == list(SECTIONS)


def test_full_is_all() -> None:
    assert full() == list(CASES)


def test_chosen_has_all_but_compression_and_48_of_that() -> None:
    compression = [case for case in chosen() if section_of(case) in ("12", "13")]
    assert [case for case in chosen() if case not in compression] == [
        case for case in CASES if section_of(case) not in ("12", "13")
    ]
    assert len(compression) == len(set(compression)) == 48


def test_chosen_has_four_of_each_family_of_compression_and_each_size() -> None:
    parts = [case.split(".") for case in chosen() if section_of(case) in ("12", "13")]
    families = Counter((section, family) for section, family, _ in parts)
    assert len(families) == 12
    assert set(families.values()) == {4}
    assert {int(number) for _, _, number in parts} == set(range(1, 19))


def test_chosen_is_in_the_order_of_the_suite() -> None:
    assert chosen() == sorted(chosen(), key=CASES.index)


def test_a_pattern_matches_its_section_only() -> None:
    assert matching(["1.*"]) == [f"1.{family}.{number}" for family in (1, 2) for number in range(1, 9)]


def test_a_name_is_no_prefix() -> None:
    assert matching(["2.1"]) == ["2.1"]


def test_patterns_add_up_and_each_case_is_once() -> None:
    assert matching(["2.10", "2.1*", "1.1.8"]) == ["1.1.8", "2.1", "2.10", "2.11"]


@pytest.mark.parametrize("pattern", ["8.*", "1", "2.12", "", "nothing"])
def test_a_pattern_without_cases_is_refused(pattern: str) -> None:
    with pytest.raises(UnknownCases, match="matches no case"):
        matching(["1.*", pattern])


@pytest.mark.parametrize(
    ("cases", "text"),
    [
        ([], ""),
        (["2.1"], "2.1"),
        (["2.1", "2.3"], "2.1, 2.3"),
        (["2.9", "2.10", "2.11"], "2.9 to 2.11"),
        (["1.1.8", "1.2.1", "1.2.2"], "1.1.8, 1.2.1 to 1.2.2"),
    ],
)
def test_ranges(cases: list[str], text: str) -> None:
    assert ranges(cases) == text
