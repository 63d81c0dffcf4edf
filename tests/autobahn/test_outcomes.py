"""The suite's reports are read as the suite means them."""

from __future__ import annotations

from typing import Any

import pytest

from .outcomes import Outcome, Verdict, outcome, read

REPORT: dict[str, Any] = {
    "description": "Send small text message, then again with <b>RSV = 2</b>,\n then send Ping.<br><br>MESSAGE:<br>x",
    "result": "Actual events match at least one expected.",
    "resultClose": "Connection was properly closed",
    "expected": {"OK": [["message", "Hello, world!", False]], "NON-STRICT": []},
    "received": [],
    "remoteCloseCode": 1002,
}


def judged(behaviour: str, closing: str = "OK", **changes: Any) -> Outcome:
    """The outcome of an entry with these judgements, and a report with these changes."""
    return outcome({"behavior": behaviour, "behaviorClose": closing, "duration": 7}, lambda: {**REPORT, **changes})


@pytest.mark.parametrize(
    ("behaviour", "closing", "verdict"),
    [
        ("OK", "OK", Verdict.OK),
        ("INFORMATIONAL", "INFORMATIONAL", Verdict.INFORMATIONAL),
        ("INFORMATIONAL", "OK", Verdict.INFORMATIONAL),
        ("NON-STRICT", "OK", Verdict.NON_STRICT),
        ("OK", "WRONG CODE", Verdict.NON_STRICT),
        ("OK", "FAILED BY CLIENT", Verdict.NON_STRICT),
        ("OK", "UNCLEAN", Verdict.FAILED),
        ("OK", "FAILED", Verdict.FAILED),
        ("FAILED", "OK", Verdict.FAILED),
        ("NON-STRICT", "FAILED", Verdict.FAILED),
        ("NO_CLOSE", "OK", Verdict.FAILED),
        ("something new", "OK", Verdict.FAILED),
        ("UNIMPLEMENTED", "OK", Verdict.UNIMPLEMENTED),
        ("UNIMPLEMENTED", "FAILED", Verdict.UNIMPLEMENTED),
    ],
)
def test_the_verdict_is_the_worse_of_two(behaviour: str, closing: str, verdict: Verdict) -> None:
    assert judged(behaviour, closing).verdict == verdict


def test_what_passes() -> None:
    assert [verdict for verdict in Verdict if not verdict.passes] == [Verdict.UNIMPLEMENTED, Verdict.FAILED]


def test_the_word_is_the_suites() -> None:
    assert Verdict.NON_STRICT.word == "NON-STRICT"


def test_what_the_case_does_is_its_first_paragraph_without_html() -> None:
    assert judged("FAILED").what == "Send small text message, then again with RSV = 2, then send Ping."


def test_a_long_description_is_cut_between_words() -> None:
    what = judged("FAILED", description="word " * 100).what
    assert what.endswith("word ...")
    assert 190 < len(what) <= 200


def test_of_ok_there_is_nothing_to_say() -> None:
    assert judged("OK") == Outcome(Verdict.OK, 7, "", "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, 'wanted message "Hello, world!", got nothing'),
        ({"received": [["message", "00ff", True]]}, 'wanted message "Hello, world!", got binary message "00ff"'),
        ({"received": [["pong", "a"], ["ping", "b"]]}, 'wanted message "Hello, world!", got pong "a" and ping "b"'),
        (
            {"expected": {"OK": [["timeout", "A"]]}, "received": [["timeout", "A"], ["timeout", "B"]]},
            "wanted still open after wait A, got still open after wait A and still open after wait B",
        ),
        (
            {"received": [["pong", str(number)] for number in range(5)]},
            'wanted message "Hello, world!", got pong "0" and pong "1" and pong "2" and 2 more',
        ),
        ({"received": [["pong", "x" * 100]]}, f'wanted message "Hello, world!", got pong "{"x" * 40}..."'),
        ({"received": [["pong", "|\n"]]}, 'wanted message "Hello, world!", got pong "|\\n"'),
        ({"result": "Did not receive message within 10 seconds."}, "Did not receive message within 10 seconds"),
        ({"expected": {"NON-STRICT": []}}, "Actual events match at least one expected"),
    ],
)
def test_why(changes: dict[str, Any], why: str) -> None:
    assert judged("NON-STRICT", **changes).why == why


def test_why_of_the_closing() -> None:
    wrong = "The close code should have been 1000 or empty"
    assert judged("OK", "WRONG CODE", resultClose=wrong).why == f"{wrong} (close code 1002)"
    assert judged("OK", "FAILED", resultClose="Dropped.", remoteCloseCode=None).why == "Dropped (close code none)"


def test_why_of_both_says_the_same_once() -> None:
    both = judged("FAILED", "WRONG CODE", result="No answer.", resultClose="Wrong code.")
    assert both.why == "No answer; Wrong code (close code 1002)"
    same = judged("FAILED", "WRONG CODE", result="Wrong code.", resultClose="Wrong code.")
    assert same.why == "Wrong code (close code 1002)"


def test_why_of_an_extension() -> None:
    assert judged("UNIMPLEMENTED").why == "the server does not take up the extension that the client offers"


def test_read_opens_the_reports_that_it_needs_only() -> None:
    opened: list[str] = []

    def report(name: str) -> dict[str, Any]:
        opened.append(name)
        return REPORT

    def entry(behaviour: str, name: str) -> dict[str, Any]:
        return {"behavior": behaviour, "behaviorClose": "OK", "duration": 1, "reportfile": name}

    index = {
        "us": {"1.1.1": entry("OK", "a.json"), "3.2": entry("FAILED", "b.json"), "3.3": entry("NON-STRICT", "c.json")},
        "them": {"1.1.1": entry("FAILED", "d.json")},
    }
    outcomes = read(index, "us", report)
    assert {case: one.verdict for case, one in outcomes.items()} == {
        "1.1.1": Verdict.OK,
        "3.2": Verdict.FAILED,
        "3.3": Verdict.NON_STRICT,
    }
    assert opened == ["b.json", "c.json"]


def test_read_of_an_agent_that_was_never_reached() -> None:
    assert read({}, "us", lambda name: REPORT) == {}
