"""The command, where it ends before there is a project."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from antiphon.cli import main
from antiphon.doctor import command
from antiphon.doctor.finding import Check, Level, Place, Spot

from .conftest import Make


def test_help() -> None:
    result = CliRunner().invoke(main, ["doctor", "--help"])
    assert result.exit_code == 0
    for option in ("--settings", "--app-dir", "--workers", "--json"):
        assert option in result.output


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--app-dir", "no such folder"], ["more"]])
def test_a_mistake_is_told(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert result.exit_code == command.UNREADABLE
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("level", "code"), [(Level.ERROR, 1), (Level.WARNING, 1), (Level.ADVICE, 0)])
def test_exit_codes(level: Level, code: int, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check = Check("name", level, "It is.", lambda project: [Spot(Place("X"), "It is so.", "Change it.")])
    monkeypatch.setattr("antiphon.doctor.checks.CHECKS", [check])
    monkeypatch.setattr(command, "load", lambda **arguments: make())
    for json in (True, False):
        result = CliRunner().invoke(main, ["doctor", *(["--json"] if json else [])])
        assert result.exit_code == code
        assert "It is so." in result.output
        assert ('"name": "name"' in result.output) == json
