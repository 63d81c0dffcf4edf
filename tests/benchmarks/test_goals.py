"""Goals: ratios of one run, and None where the run can't tell."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.goals import Verdict, centrifuge_goals, verdicts
from benchmarks.report import goals_table, losses
from benchmarks.results import Results

CELL = "fanout/100/64"
ENCODINGS = ("json", "protobuf")


def one_round(deliveries: float, **values: Any) -> dict[str, Any]:
    """What a round of a cell brings, on a quiet machine."""
    return {"deliveries_per_s": deliveries, "others": 0.0, "lost": 0, **values}


def measured(plain: list[float], centrifuge: list[float]) -> Results:
    """A run with these figures, by round."""
    results = Results()
    for server, figures in (
        ("antiphon-publish", plain),
        *((f"antiphon-centrifuge-{encoding}", centrifuge) for encoding in ENCODINGS),
    ):
        for figure in figures:
            results.add(server, CELL, one_round(figure))
    return results


@pytest.mark.parametrize(
    ("plain", "centrifuge", "ratio", "met"),
    [
        ([100, 90, 1000], [69, 70, 71], 0.7, True),
        ([100, 90, 1000], [68, 69, 70], 0.69, False),
    ],
)
def test_centrifuge_is_compared_with_plain(
    plain: list[float], centrifuge: list[float], ratio: float, met: bool
) -> None:
    found = list(centrifuge_goals(measured(plain, centrifuge)))
    assert [goal.goal for goal in found] == [
        f"antiphon-centrifuge-{encoding} with history ÷ antiphon-publish, N=100, window 64" for encoding in ENCODINGS
    ]
    assert [goal.is_ for goal in found] == pytest.approx([ratio, ratio])
    assert [(goal.should, goal.met) for goal in found] == [(0.7, met)] * 2


def test_a_run_without_the_plain_wire_can_not_tell() -> None:
    assert [goal.met for goal in centrifuge_goals(measured([], [70]))] == [None, None]


def test_the_goals_of_centrifuge_are_in_the_report() -> None:
    results = measured([100], [70])
    report = goals_table(verdicts(results))
    for encoding in ENCODINGS:
        goal = f"antiphon-centrifuge-{encoding} with history ÷ antiphon-publish, N=100, window 64"
        assert f"| {goal} | ≥ 0.7 | 0.70 | yes |" in report


def test_a_misplaced_publication_is_an_error_of_the_run() -> None:
    results = Results()
    results.add("antiphon-centrifuge-json", CELL, one_round(1.0, misplaced=2))
    assert results.errors == [f"antiphon-centrifuge-json, {CELL}: misplaced 2"]
    assert "| 0 | 0 | 0 | 0 | 0 | 2 |" in losses(results)


def test_at_most() -> None:
    assert Verdict("p99", 1.5, 1.5, at_most=True).met
    assert Verdict("p99", 1.6, 1.5, at_most=True).met is False
