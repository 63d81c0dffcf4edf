"""The suite's client `wstest`: its specification, its process, and what it says while it runs."""

from __future__ import annotations

import re
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ClientError", "case_in", "run", "specification", "versions"]

SILENCE = 900.0
"""Seconds without a word, after which the client is given up; the slowest case gives the server 480."""
_TICK = 0.5
_CASE = re.compile(r"^Running test case ID ([\d.]+) for agent ")


class ClientError(Exception):
    """The client did not do its work; says what it did instead."""


def specification(agent: str, url: str, cases: Sequence[str], reports: Path) -> dict[str, Any]:
    """Return what `wstest -m fuzzingclient` is to do; ``agent`` is the server's name in the reports."""
    return {
        "outdir": str(reports),
        "servers": [{"agent": agent, "url": url}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }


def case_in(line: str) -> str | None:
    """Return the case that a line of the client's output says to begin."""
    found = _CASE.match(line)
    return found[1] if found else None


def versions(folder: Path) -> str:
    """Return the versions of the suite in the environment ``folder``."""
    code = "import autobahntestsuite as s, autobahn as a; print('%s with autobahn %s' % (s.version, a.version))"
    done = subprocess.run([folder / "bin/python", "-c", code], check=True, capture_output=True, text=True)
    return f"autobahntestsuite {done.stdout.strip()}"


def run(folder: Path, spec: Path, log: Path, progress: Callable[[str | None], None]) -> None:
    """Run `wstest` of the environment ``folder`` to its end, or end it.

    ``progress`` is called with each case that begins, and with None from time to time; what it raises ends the client.
    """
    python, wstest = str(folder / "bin/python"), str(folder / "bin/wstest")
    command = [python, "-u", wstest, "-m", "fuzzingclient", "-s", str(spec)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        _follow(process, log, progress)
        status = process.wait()
    finally:
        _end(process)
    if status != 0:
        raise ClientError(f"wstest ended with status {status}; its output is in {log}")


def _follow(process: subprocess.Popen[bytes], log: Path, progress: Callable[[str | None], None]) -> None:
    """Keep the client's output in ``log`` and tell of its cases, up to the end."""
    assert process.stdout is not None
    heard = time.monotonic()
    with log.open("wb") as output:
        rest = b""
        while True:
            progress(None)
            if select.select([process.stdout], [], [], _TICK)[0]:
                if not (data := process.stdout.read1(65536)):  # type: ignore[attr-defined]
                    return
                output.write(data)
                heard = time.monotonic()
                *lines, rest = (rest + data).split(b"\n")
                for case in filter(None, (case_in(line.decode(errors="replace")) for line in lines)):
                    progress(case)
            elif time.monotonic() - heard > SILENCE:
                raise ClientError(f"wstest has said nothing for {SILENCE:.0f} s; its output is in {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the client if it still runs."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
