"""The client's process, with a script in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .client import ClientError, case_in, run, specification


class Stop(Exception):
    """What the caller's progress raises."""


def environment(folder: Path, script: str) -> Path:
    """A folder whose `bin/python` is a shell script; it is called as Python is, with `wstest` and its arguments."""
    (folder / "bin").mkdir()
    python = folder / "bin/python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return folder


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_specification_names_agent_and_cases() -> None:
    spec = specification("antiphon", "ws://127.0.0.1:9001/", ["1.1.1", "2.*"], Path("/reports"))
    assert spec["servers"] == [{"agent": "antiphon", "url": "ws://127.0.0.1:9001/"}]
    assert spec["cases"] == ["1.1.1", "2.*"]
    assert spec["outdir"] == "/reports"


@pytest.mark.parametrize(
    ("line", "case"),
    [
        ("Running test case ID 1.1.1 for agent antiphon from peer tcp4:127.0.0.1:1", "1.1.1"),
        ("Running test case ID 6.22.34 for agent x from peer y", "6.22.34"),
        ("Ok, will run 34 test cases against 1 servers", None),
        ("", None),
    ],
)
def test_case_in(line: str, case: str | None) -> None:
    assert case_in(line) == case


def test_progress_hears_of_each_case_however_the_output_is_cut(tmp_path: Path) -> None:
    line = "Running test case ID {} for agent a from peer b"
    script = f"printf '{line.format('1.1.1')}\\nRunning test'\nprintf ' case ID 2.10 for agent a\\nend'; echo \"$@\""
    heard: list[str | None] = []
    log = tmp_path / "client.log"
    run(environment(tmp_path, script), tmp_path / "spec.json", log, heard.append)
    assert [case for case in heard if case is not None] == ["1.1.1", "2.10"]
    assert log.read_text().endswith(f"\nend-u {tmp_path}/bin/wstest -m fuzzingclient -s {tmp_path}/spec.json\n")


def test_a_client_that_fails_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "client.log"
    with pytest.raises(ClientError, match="status 3"):
        run(environment(tmp_path, "echo no >&2; exit 3"), tmp_path / "spec.json", log, lambda case: None)
    assert log.read_text() == "no\n"


def test_what_progress_raises_ends_the_client(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def stop(case: str | None) -> None:
        if case is not None:
            raise Stop

    script = f"echo $$ > {pid}; echo 'Running test case ID 1.1.1 for agent a'; exec sleep 600"
    with pytest.raises(Stop):
        run(environment(tmp_path, script), tmp_path / "spec.json", tmp_path / "client.log", stop)
    assert not is_alive(int(pid.read_text()))
