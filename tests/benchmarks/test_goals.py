"""Goals: ratios of one run, and None where the run can't tell."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.goals import Verdict, centrifuge_goals, processes_goals, verdicts
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


PAIRS = ("antiphon-redis-handler", "antiphon-redis-publish", "socketio-redis", "channels-redis", "antiphon-alone")


def of_pairs(cell: str, figures: tuple[float, ...], **values: Any) -> Results:
    """A run of one cell of two processes, with a figure for each server."""
    results = Results()
    for server, figure in zip(PAIRS, figures, strict=True):
        results.add(server, cell, one_round(figure, **values))
    return results


def test_two_processes_are_compared_with_the_peers() -> None:
    found = {goal.goal: goal for goal in processes_goals(of_pairs("processes/100/4", (150, 490, 100, 10, 900)))}
    said = {name: (goal.is_, goal.met) for name, goal in found.items() if goal.is_ is not None}
    assert said == {
        "antiphon-redis-handler ÷ channels-redis, N=100, window 4": (15, True),
        "antiphon-redis-publish ÷ channels-redis, N=100, window 4": (49, False),
        "antiphon-redis-handler ÷ socketio-redis, N=100, window 4": (1.5, True),
        "antiphon-redis-publish ÷ socketio-redis, N=100, window 4": (4.9, True),
    }


def test_two_processes_are_compared_with_one_and_lose_nothing() -> None:
    results = of_pairs("processes/1000/64", (10, 49, 5, 1, 100))
    found = {goal.goal: goal for goal in processes_goals(results)}
    one = found["antiphon-redis-publish ÷ one process with the memory engine, N=1000, window 64"]
    assert (one.is_, one.should, one.met) == (0.49, 0.5, False)
    assert found["lost by antiphon-redis-publish, N=1000"].met
    results = of_pairs("processes/1000/4", (10, 49, 5, 1, 100), lost=3)
    assert {goal.goal: goal.met for goal in processes_goals(results)}["lost by antiphon-redis-handler, N=1000"] is False


@pytest.mark.parametrize(("microseconds", "met"), [(1000.0, True), (1001.0, False)])
def test_the_way_to_the_other_process_has_a_limit(microseconds: float, met: bool) -> None:
    results = of_pairs("reach/2", (1, 1, 1, 1, 1), p50_us=microseconds)
    found = {goal.goal: goal for goal in processes_goals(results)}
    assert found["ms to a client of the other process, p50, antiphon-redis-publish"].met is met
