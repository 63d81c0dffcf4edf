"""The command line, and the status that the run ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cases import chosen, full
from .outcomes import Outcome, Verdict
from .run import arguments, complaints, conforms


def test_by_default_it_is_antiphon_and_the_chosen_cases() -> None:
    options = arguments([])
    assert (options.server, options.cases, options.write) == (["antiphon"], chosen(), None)


def test_what_can_be_chosen() -> None:
    assert arguments(["--full"]).cases == full()
    assert arguments(["--cases", "1.1.1, 10.*"]).cases == ["1.1.1", "10.1.1"]
    assert arguments(["--server", "asgi,wsproto"]).server == ["asgi", "wsproto"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--server", "nginx"], "there is no server nginx"),
        (["--cases", "8.*"], "'8.*' matches no case"),
        (["--cases", "1.*", "--full"], "not allowed with"),
        (["--no-run"], "without --write"),
    ],
)
def test_what_is_wrong_is_said(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_exceptions_that_were_logged_are_counted(tmp_path: Path) -> None:
    (tmp_path / "0.log").write_text("INFO\nTraceback (most recent call last):\n  x\nERROR\nTraceback (most\n")
    (tmp_path / "client.log").write_text("Running\n")
    assert complaints(tmp_path).splitlines() == [
        f"reports: {tmp_path}/reports/index.html",
        f"logged exceptions: 2, in {tmp_path}/0.log",
    ]


@pytest.mark.parametrize("verdict", Verdict)
def test_failed_and_unimplemented_do_not_conform(verdict: Verdict) -> None:
    outcomes = {"1.1.1": Outcome(Verdict.OK, 1), "1.1.2": Outcome(verdict, 1)}
    assert conforms(outcomes) == (verdict not in (Verdict.FAILED, Verdict.UNIMPLEMENTED))
