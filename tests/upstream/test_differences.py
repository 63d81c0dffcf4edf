"""The list of what differs is one that a person can read."""

from __future__ import annotations

import pytest

from tests.upstream.differences import DIFFERENCES, RUNS

REASONS = {reason for tests in DIFFERENCES.values() for reason in tests.values()}


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_reason_is_whole_sentences(reason: str) -> None:
    assert reason[0].isupper()
    assert reason.endswith(".")


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_test_is_named_by_its_file_among_those_that_are_run(run: object) -> None:
    assert isinstance(run, type(RUNS[0]))
    for test in DIFFERENCES[run.name]:
        assert any(test.startswith(path) for path in run.paths), test
