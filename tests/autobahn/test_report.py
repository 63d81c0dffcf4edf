"""The table for the terminal, and the page."""

from __future__ import annotations

import re

from .cases import CASES
from .measured import Measured, Run
from .outcomes import Outcome, Verdict
from .report import Finding, findings, page, table

OK = Outcome(Verdict.OK, 1)
CODE = Outcome(Verdict.NON_STRICT, 1, "Send a | b", "wrong code")


def unimplemented(size: int) -> Outcome:
    return Outcome(Verdict.UNIMPLEMENTED, 1, f"Send 1000 messages of {size} bytes", "no extension")


OUTCOMES = {
    "1.1.1": OK,
    "2.1": CODE,
    "12.1.1": unimplemented(16),
    "12.1.2": unimplemented(64),
    "12.1.3": unimplemented(256),
    "12.2.1": unimplemented(16),
}


def a_run(server: str, source: str = "") -> Run:
    return Run(server, "2026-11-01 10:00:00", 61.0, "scripts/autobahn --cases '1.*'", "x 1.0", "suite 25", source)


def measured(*runs: Run) -> Measured:
    everything = Measured()
    for run in runs:
        everything.add(run, OUTCOMES)
    return everything


def test_findings_of_one_family_that_differ_by_a_number_only_are_one() -> None:
    assert findings(OUTCOMES) == [
        Finding(["2.1"], Verdict.NON_STRICT, "Send a | b", "wrong code"),
        Finding(["12.1.1", "12.1.2", "12.1.3"], Verdict.UNIMPLEMENTED, "Send 1000 messages of N bytes", "no extension"),
        Finding(["12.2.1"], Verdict.UNIMPLEMENTED, "Send 1000 messages of 16 bytes", "no extension"),
    ]


def test_findings_that_differ_otherwise_are_apart() -> None:
    one = Outcome(Verdict.FAILED, 1, "Send 1 message", "got nothing")
    others = (one._replace(why="too late"), one._replace(what="Send 1 ping"), one._replace(verdict=Verdict.NON_STRICT))
    for other in others:
        assert len(findings({"2.1": one, "2.2": other})) == 2


def test_the_table_has_a_row_for_each_section_and_one_for_all() -> None:
    lines = table(OUTCOMES).split("\n\n")[0].splitlines()
    assert [re.split(r"  +", line) for line in lines] == [
        ["section", "cases", "OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"],
        ["1 Framing", "1", "1", "-", "-", "-", "-"],
        ["2 Pings and pongs", "1", "-", "1", "-", "-", "-"],
        ["12 Compression, different payloads", "4", "-", "-", "-", "4", "-"],
        ["all", "6", "1", "1", "-", "4", "-"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_below_the_table_is_what_is_not_ok() -> None:
    assert table(OUTCOMES).split("\n\n")[1:] == [
        "2.1  NON-STRICT: wrong code\n    Send a | b",
        "12.1.1 to 12.1.3  UNIMPLEMENTED: no extension\n    Send 1000 messages of N bytes",
        "12.2.1  UNIMPLEMENTED: no extension\n    Send 1000 messages of 16 bytes",
    ]


def test_the_page_has_every_server_that_was_measured() -> None:
    text = page(measured(a_run("wsproto"), a_run("antiphon", "now")), "now")
    assert re.findall(r"^## (.+)$", text, re.M) == ["All servers", "antiphon", "wsproto", "How it was measured"]
    assert "| [antiphon](#antiphon) | 1 in part, 2 in part, 12 in part | 6 | 1 | 1 | - | 4 | - |" in text
    assert r"| 2.1 | NON-STRICT | Send a \| b | wrong code |" in text
    assert "| wsproto | 2026-11-01 10:00:00 | 6 | 61 s | x 1.0 | suite 25 | `scripts/autobahn --cases '1.*'` |" in text


def test_the_page_says_when_the_source_was_another() -> None:
    everything = measured(a_run("antiphon", "then"), a_run("wsproto"))
    assert "| antiphon, an earlier state of its source | 2026" in page(everything, "now")
    assert "| antiphon | 2026" in page(everything, "then")
    assert "| wsproto | 2026" in page(everything, "now")


def test_a_section_that_was_run_in_full_is_only_named() -> None:
    everything = Measured()
    everything.add(a_run("antiphon"), {case: OK for case in CASES if case.startswith(("1.", "10.", "12.1."))})
    assert "| 1, 10, 12 in part |" in page(everything, "")


def test_the_page_is_plain() -> None:
    text = page(measured(a_run("antiphon")), "")
    assert text.startswith("# ")
    assert text.endswith("|\n")
    assert not re.search(r" +$|\t|\n\n\n", text, re.M)
