"""What the runner makes of pytest's results; the run itself needs checkouts (``scripts/upstream``)."""

from __future__ import annotations

import re

import pytest

from tests.docs.generate import part
from tests.upstream.differences import DIFFERENCES, RUNS
from tests.upstream.run import MARK, PAGE, Outcome, compare, main, read, report

XML = """<testsuites><testsuite>
<testcase classname="tests.test_core" name="test_sends"/>
<testcase classname="tests.test_core" name="test_drops[3]"><failure>no</failure></testcase>
<testcase classname="tests.test_layers.TestManager" name="test_breaks"><error>no</error></testcase>
<testcase classname="tests.test_core" name="test_expected"><skipped type="pytest.xfail"/></testcase>
</testsuite></testsuites>"""


def test_results_are_read_from_junit_xml() -> None:
    outcome = read(RUNS[0], XML)
    assert outcome.passed == 1
    assert outcome.failed == {"tests/test_core.py::test_drops[3]", "tests/test_layers.py::test_breaks"}
    assert outcome.other == 1


def test_what_fails_without_being_listed_is_wrong_and_so_is_what_is_listed_and_passes() -> None:
    outcome = read(RUNS[0], XML)
    assert compare(outcome, dict.fromkeys(outcome.failed, "reason")) == []
    faults = compare(
        outcome, {"tests/test_core.py::test_drops[3]": "reason", "tests/test_core.py::test_sends": "reason"}
    )
    assert faults == [
        "does not pass, and is not listed: tests/test_layers.py::test_breaks",
        "is listed, and does not fail: tests/test_core.py::test_sends",
    ]


def test_the_report_has_each_test_under_its_reason_once() -> None:
    outcomes = [Outcome(run, 7, frozenset(DIFFERENCES[run.name]), 0) for run in RUNS]
    lines = report(outcomes).splitlines()
    assert f"| {RUNS[0].what} | 7 | {len(DIFFERENCES[RUNS[0].name])} |" in lines
    told = re.findall(r"`([\w/]+\.py::[^`]+)`", "\n".join(lines))
    assert sorted(told) == sorted({test.removeprefix("tests/") for tests in DIFFERENCES.values() for test in tests})


def test_the_page_tells_what_is_listed() -> None:
    """The figures come from a run; the reasons have to be those of the list."""
    outcomes = [Outcome(run, 0, frozenset(DIFFERENCES[run.name]), 0) for run in RUNS]
    _, _, reasons = report(outcomes).partition("| what differs | tests |")
    assert reasons in part(PAGE, MARK)


def test_every_run_has_a_list_and_every_list_a_run() -> None:
    assert set(DIFFERENCES) == {run.name for run in RUNS}


def test_without_a_checkout_it_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "channels" in capsys.readouterr().err
