"""The chapter about two processes and one Redis: it is written into a page by itself, and what else is there stays."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from benchmarks import chapter
from benchmarks.results import Results
from benchmarks.run import page_of

FACTS = {"date": "2030-01-02 03:04 UTC", "CPU": "a machine, 2 cores", "Redis": "7.0.15", "Bun": "1.2"}
OLD = "# Benchmarks\n\n## Echo\n\n| a | table |\n\nRun: `x`\n"


def options(*others: str) -> argparse.Namespace:
    """What was asked for: the chapter's cells, and others."""
    return argparse.Namespace(rounds=3, seconds=2.0, cells=[*others, *chapter.KINDS])


def one_round(**values: Any) -> dict[str, Any]:
    """What a round of a cell brings, on a quiet machine."""
    return {"deliveries_per_s": 1000.0, "p50_us": 500.0, "p99_us": 900.0, "others": 0.0, "lost": 0, **values}


@pytest.fixture
def results() -> Results:
    """A run of the chapter's cells."""
    results = Results()
    for server in ("antiphon-redis-publish", "channels-redis"):
        results.add(server, "processes/100/4", one_round())
        results.add(server, "reach/2", one_round())
    return results


def test_it_is_put_behind_a_page_that_has_none(results: Results) -> None:
    page = page_of(results, FACTS, options(), OLD)
    assert page.startswith(OLD + "\n" + chapter.TITLE + "\n")
    assert page.count(chapter.TITLE) == 1
    assert "| antiphon, `publish` | 1k |" in page


def test_it_takes_the_place_of_the_one_that_was_there(results: Results) -> None:
    page = f"{OLD}\n{chapter.TITLE}\n\nold figures\n\n### Losses\n\nmany\n\n## Another\n\ntext\n"
    new = page_of(results, FACTS, options(), page)
    assert new.startswith(OLD)
    assert new.endswith("\n\n## Another\n\ntext\n")
    assert new.count(chapter.TITLE) == 1
    assert "old figures" not in new
    assert "many" not in new
    assert page_of(results, FACTS, options(), new) == new


def test_a_run_of_something_else_leaves_it_as_it_was(results: Results) -> None:
    page = page_of(results, FACTS, options(), OLD)
    others = Results()
    others.add("bun", "echo/100", one_round(echoes_per_s=7.0))
    new = page_of(others, FACTS, argparse.Namespace(rounds=3, seconds=2.0, cells=["echo"]), page)
    assert "| a | table |" not in new
    assert "| Bun, native publish | 7 |" in new
    assert chapter.found_in(new) == chapter.found_in(page)


def test_a_run_of_both_writes_both_and_each_has_its_own(results: Results) -> None:
    results.add("bun", "echo/100", one_round(echoes_per_s=7.0))
    results.errors += ["bun, echo/100: lost 1", "channels-redis, processes/100/4: lost 2", "interrupted"]
    page = page_of(results, FACTS, options("echo"), OLD)
    before, text = page.split(chapter.TITLE)
    assert "bun, echo/100: lost 1" in before
    assert "bun, echo/100: lost 1" not in text
    assert "channels-redis, processes/100/4: lost 2" in text
    assert "channels-redis" not in before
    assert "interrupted" in before
    assert "interrupted" in text


def test_it_says_what_its_figures_depend_on(results: Results) -> None:
    text = chapter.chapter(results, FACTS, rounds=3, seconds=2.0)
    assert "2030-01-02 03:04 UTC, a machine, 2 cores; 3 rounds of 2 s for each cell." in text
    assert "Redis 7.0.15" in text
    assert "Bun" not in text
    assert "`redis-server --port {redis}" in text
    assert "ANTIPHON_ENGINE=redis://127.0.0.1:{redis}" in text


def test_without_a_page_only_it_is_written(results: Results) -> None:
    page = page_of(results, FACTS, options(), "")
    assert chapter.found_in(page) == page


def test_a_run_that_measured_nothing_leaves_the_rest_of_the_page() -> None:
    assert page_of(Results(errors=["failed"]), FACTS, options(), OLD).startswith(OLD)
