"""What several runs measured is put together, and survives its file."""

from __future__ import annotations

import json

from .measured import Measured, Run, tally
from .outcomes import Outcome, Verdict

OK = Outcome(Verdict.OK, 1)
FAILED = Outcome(Verdict.FAILED, 2, "Send something", "got nothing")
LOOSE = Outcome(Verdict.NON_STRICT, 3, "Send another", "closed late")


def a_run(server: str, started: str) -> Run:
    return Run(server, started, 1.5, "scripts/autobahn", f"{server} 1.0", "suite 25.10.1", "abc")


FIRST = a_run("antiphon", "2026-11-01 10:00:00")
SECOND = a_run("antiphon", "2026-11-02 10:00:00")
PEER = a_run("wsproto", "2026-11-01 11:00:00")


def test_the_newer_outcome_of_a_case_holds() -> None:
    measured = Measured()
    measured.add(FIRST, {"1.1.1": OK, "3.2": FAILED})
    measured.add(SECOND, {"3.2": LOOSE, "2.1": OK})
    assert measured.outcomes("antiphon") == {"1.1.1": OK, "2.1": OK, "3.2": LOOSE}
    assert measured.runs("antiphon") == {FIRST: 1, SECOND: 2}


def test_outcomes_are_in_the_suites_order() -> None:
    measured = Measured()
    measured.add(FIRST, dict.fromkeys(("10.1.1", "2.10", "9.1.1", "2.9"), OK))
    assert list(measured.outcomes("antiphon")) == ["2.9", "2.10", "9.1.1", "10.1.1"]


def test_a_run_of_which_nothing_is_left_is_forgotten() -> None:
    measured = Measured()
    measured.add(FIRST, {"1.1.1": FAILED})
    measured.add(SECOND, {"1.1.1": OK})
    assert measured.runs("antiphon") == {SECOND: 1}


def test_servers_are_apart() -> None:
    measured = Measured()
    measured.add(FIRST, {"1.1.1": OK})
    measured.add(PEER, {"1.1.1": FAILED})
    assert measured.servers() == ["antiphon", "wsproto"]
    assert measured.outcomes("antiphon") == {"1.1.1": OK}
    assert measured.outcomes("nobody") == {}


def test_it_survives_json() -> None:
    measured = Measured()
    measured.add(FIRST, {"1.1.1": OK, "3.2": FAILED})
    measured.add(SECOND, {"3.2": LOOSE})
    measured.add(PEER, {"3.2": FAILED})
    again = Measured.load(json.loads(json.dumps(measured.dump())))
    assert again.servers() == measured.servers()
    for server in measured.servers():
        assert again.outcomes(server) == measured.outcomes(server)
        assert again.runs(server) == measured.runs(server)


def test_tally_counts_by_section() -> None:
    tallies = tally({"1.1.1": OK, "1.1.2": FAILED, "1.2.1": OK, "10.1.1": LOOSE})
    assert [(one.section, one.cases) for one in tallies] == [("1", 3), ("10", 1)]
    assert tallies[0].counts == {
        Verdict.OK: 2,
        Verdict.INFORMATIONAL: 0,
        Verdict.NON_STRICT: 0,
        Verdict.UNIMPLEMENTED: 0,
        Verdict.FAILED: 1,
    }
