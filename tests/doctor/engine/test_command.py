"""The command: which engine it examines, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from antiphon.cli import main
from antiphon.doctor.command import UNREADABLE
from antiphon.doctor.engine import memory
from antiphon.doctor.engine.command import INTERRUPTED
from antiphon.doctor.engine.examination import Examination
from antiphon.doctor.finding import Level
from antiphon.exceptions import EngineUnavailable


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["engine", "check", *arguments])


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is configured, and nothing stays so."""
    monkeypatch.setenv("ANTIPHON_ENGINE", "memory://")
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)


def test_help_says_what_it_takes() -> None:
    assert "[URL]" in run("--help").output
    assert "check" in CliRunner().invoke(main, ["engine", "--help"]).output


def test_without_a_url_it_is_the_configured_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "memory" in run().output.splitlines()[0]
    monkeypatch.setenv("ANTIPHON_ENGINE", f"sqlite:///{tmp_path}/live.db")
    assert f"{tmp_path}/live.db" in run().output.splitlines()[0]
    assert "memory" in run("memory://").output.splitlines()[0]


def test_json_is_one_object() -> None:
    found = json.loads(run("--json").output)
    assert found["engine"] == "memory"
    assert [each["name"] for each in found["findings"]] == ["one-process"]


@pytest.mark.parametrize(("level", "code"), [(Level.ERROR, 1), (Level.WARNING, 1), (Level.ADVICE, 0)])
def test_exit_codes(level: Level, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(url: str, say: Any) -> Examination:
        say("it takes long …")
        found = Examination(url)
        found.find("name", level, "here", "It is so.", "Change it.")
        return found

    monkeypatch.setattr(memory, "examine", examine)
    result = run()
    assert (result.exit_code, result.stderr) == (code, "it takes long …\n")
    assert "It is so." in result.stdout


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nosuch://", "nosuch://"),
        ("memory://host", "takes no address"),
        ("redis://a,b", "takes one"),
        ("redis://127.0.0.1:1?timeout=0.1", "the Redis engine can't start"),
        ("sqlite:////no/such/folder/live.db", "the SQLite engine can't start"),
    ],
)
def test_an_engine_that_can_not_be_used(url: str, words: str) -> None:
    result = run(url)
    assert (result.exit_code, result.stdout) == (UNREADABLE, "")
    assert words in result.stderr
    assert result.stderr.startswith("antiphon engine check: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "code"), [(EngineUnavailable("gone"), UNREADABLE), (KeyboardInterrupt(), INTERRUPTED)]
)
def test_an_end_before_the_end(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(url: str, say: Any) -> Examination:
        raise error

    monkeypatch.setattr(memory, "examine", examine)
    result = run()
    assert (result.exit_code, result.stdout) == (code, "")
