"""Runs Channels' own tests with antiphon's classes in the place of theirs, and compares the failures with the list.

Called by ``scripts/upstream``. The checkouts are left as they are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.docs.generate import generated
from tests.upstream.differences import DIFFERENCES, RUNS, Run

__all__ = ["Outcome", "compare", "main", "read", "report"]

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/topics/channels.md"
MARK = "upstream"
#: Seconds for one run of a checkout's tests, and for one test.
PATIENCE, PATIENCE_FOR_ONE = 600, 60


class Outcome(NamedTuple):
    """How one run ended."""

    run: Run
    passed: int
    failed: frozenset[str]
    other: int
    """Tests that the checkout itself expects to fail, or skips."""


def read(run: Run, xml: str) -> Outcome:
    """Return the outcome that pytest wrote down in JUnit's format."""
    passed, failed, other = 0, set(), 0
    for case in ElementTree.fromstring(xml).iter("testcase"):
        kinds = {each.tag for each in case}
        if kinds & {"failure", "error"}:
            failed.add(f"{_file_of(case)}::{case.get('name')}")
        elif "skipped" in kinds:
            other += 1
        else:
            passed += 1
    return Outcome(run, passed, frozenset(failed), other)


def _file_of(case: ElementTree.Element) -> str:
    """Return the path of a case's file: its class name is the module, and the class where there is one."""
    parts = (case.get("classname") or "").split(".")
    return "/".join(part for part in parts if not part[:1].isupper()) + ".py"


def compare(outcome: Outcome, expected: Mapping[str, str]) -> list[str]:
    """Return what is wrong: tests that fail without being listed, and tests that are listed and do not fail."""
    new = [f"does not pass, and is not listed: {test}" for test in sorted(outcome.failed - set(expected))]
    gone = [f"is listed, and does not fail: {test}" for test in sorted(set(expected) - outcome.failed)]
    return new + gone


def report(outcomes: list[Outcome]) -> str:
    """Return the outcome as Markdown: a table of the runs, and what does not pass, by reason."""
    lines = ["| in place of Channels' own | passed | differ |", "|---|---|---|"]
    lines += [f"| {each.run.what} | {each.passed} | {len(each.failed)} |" for each in outcomes]
    reasons: dict[str, list[str]] = {}
    for each in outcomes:
        for test in sorted(each.failed):
            names = reasons.setdefault(DIFFERENCES[each.run.name][test], [])
            name = f"`{test.removeprefix('tests/')}`"
            if name not in names:
                names.append(name)
    lines += ["", "| what differs | tests |", "|---|---|"]
    lines += [f"| {reason} | {', '.join(names)} |" for reason, names in reasons.items()]
    return "\n".join(lines)


def execute(run: Run, checkout: Path) -> Outcome:
    """Run the tests, and show what pytest says where it could not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "ANTIPHON_"))}
    environment |= {"ANTIPHON_SUBSTITUTE": ",".join(run.substitutes), "PYTHONPATH": str(HERE)}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        options = ["-p", "substitute", "-p", "no:cacheprovider", "-q", "--tb=no", f"--timeout={PATIENCE_FOR_ONE}"]
        command = [sys.executable, "-m", "pytest", *options, f"--junitxml={results}", *run.paths]
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if not results.exists() or done.returncode not in (0, 1):
            sys.exit(f"{run.name}: pytest ended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return read(run, results.read_text())


def main(arguments: list[str] | None = None) -> int:
    """Run everything whose checkout is there; return 1 if something is not as listed."""
    parser = argparse.ArgumentParser(prog="scripts/upstream", description=__doc__)
    parser.add_argument("channels", type=Path, help="a checkout of django/channels")
    parser.add_argument("channels_redis", type=Path, nargs="?", help="a checkout of django/channels_redis")
    parser.add_argument("--write", action="store_true", help=f"write the outcome into {PAGE.name}")
    options = parser.parse_args(arguments)
    outcomes, wrong = [], []
    for run in RUNS:
        checkout: Path | None = getattr(options, run.checkout)
        if checkout is None:
            print(f"{run.name:10} not run: no checkout of {run.checkout}")
            continue
        outcome = execute(run, checkout)
        faults = compare(outcome, DIFFERENCES[run.name])
        outcomes.append(outcome)
        wrong += faults
        print(f"{run.name:10} {outcome.passed} passed, {len(outcome.failed)} differ, {outcome.other} expected by them")
        for fault in faults:
            print(f"{'':10} {fault}")
    if options.write and not wrong:
        PAGE.write_text(generated(PAGE, MARK, report(outcomes)))
    print("as listed" if not wrong else f"{len(wrong)} not as listed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
