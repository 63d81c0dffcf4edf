"""The test suite's run: `scripts/autobahn --help`, or `python -m tests.autobahn.run --help`."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import antiphon
from tests.integration.servers import Server, Servers, clean_environment

from . import cases, client, report
from .measured import Measured, Run
from .outcomes import Outcome, read
from .subjects import SUBJECTS, Subject, source

BUILD = Path(__file__).parent / ".build"
CLIENT = BUILD / "py27"
KEPT = BUILD / "results.json"
"""The outcomes of all runs, which the page is made of."""

#: How the run ends. 2 is argparse's for a wrong command line as well.
OK, NOT_CONFORMING, NOT_DONE, INTERRUPTED = 0, 1, 2, 130


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ``cases`` becomes the list of cases, ``server`` that of the servers."""
    parser = argparse.ArgumentParser(
        prog="scripts/autobahn",
        description="Runs the Autobahn test suite against antiphon's server, or against its peers. Ends with status 1 "
        "if a case is FAILED or UNIMPLEMENTED, with 2 if the run was not completed.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--full", action="store_true", help="every case; of compression it is else 48 of 216")
    which.add_argument("--cases", metavar="PATTERNS", help="cases by comma, like '1.*,2.*,9.3.1'")
    parser.add_argument(
        "--server", default="antiphon", metavar="NAMES", help=f"servers, by comma: {', '.join(SUBJECTS)} (antiphon)"
    )
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="write a page of this and all earlier runs, like docs/autobahn.md"
    )
    parser.add_argument("--no-run", action="store_true", help="run nothing: --write the page of the earlier runs")
    options = parser.parse_args(argv)
    options.server = [name.strip() for name in options.server.split(",")]
    if unknown := [name for name in options.server if name not in SUBJECTS]:
        parser.error(f"there is no server {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    if options.no_run and options.write is None:
        parser.error("--no-run without --write does nothing")
    try:
        options.cases = _chosen(options)
    except cases.UnknownCases as error:
        parser.error(f"--cases {error}")
    return options


def _chosen(options: argparse.Namespace) -> list[str]:
    if options.cases is not None:
        return cases.matching(pattern.strip() for pattern in options.cases.split(","))
    return cases.full() if options.full else cases.chosen()


class Progress:
    """Says which case runs: on a terminal on one line, elsewhere a line for each section and every half minute."""

    INTERVAL = 30.0

    def __init__(self, server: Server, chosen: Sequence[str]) -> None:
        self._server = server
        self._position = {case: index for index, case in enumerate(chosen, 1)}
        self._started = self._said = time.monotonic()
        self._section = ""
        self._case: str | None = None

    def __call__(self, case: str | None) -> None:
        """Note the case that begins, if one does; raises ``ClientError`` when the server is gone."""
        if (status := self._server.process.poll()) is not None:
            log = self._server.log()[-3000:]
            raise client.ClientError(f"{self._server.name} ended with status {status} in case {self._case}:\n{log}")
        self._case = case or self._case
        if self._case is not None and self._is_time(self._case):
            self._say(self._case)

    def _is_time(self, case: str) -> bool:
        if sys.stderr.isatty():
            return True
        return cases.section_of(case) != self._section or time.monotonic() - self._said > self.INTERVAL

    def _say(self, case: str) -> None:
        self._said, self._section = time.monotonic(), cases.section_of(case)
        text = f"{self._server.name}: case {case}, {self._position[case]} of {len(self._position)}"
        text += f", {self._said - self._started:.0f} s"
        print(f"\r{text:<70}" if sys.stderr.isatty() else text, end="", file=sys.stderr, flush=True)
        if not sys.stderr.isatty():
            print(file=sys.stderr, flush=True)


def folder_of(subject: Subject) -> Path:
    """Return where the last run of a server keeps its logs and the suite's reports."""
    return BUILD / "runs" / subject.name


def run(subject: Subject, chosen: Sequence[str]) -> dict[str, Outcome]:
    """Run the cases against one server and return what came of each; raises ``ClientError``."""
    folder = folder_of(subject)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    servers = Servers(folder, clean_environment())
    try:
        server = servers.run(subject.argv(), subject.name, env=subject.environment).listening()
        spec, reports = folder / "spec.json", folder / "reports"
        spec.write_text(json.dumps(client.specification(subject.name, server.url("/"), chosen, reports), indent=2))
        client.run(CLIENT, spec, folder / "client.log", Progress(server, chosen))
    finally:
        servers.close()
        if sys.stderr.isatty():
            print(file=sys.stderr)
    outcomes = read(_json(reports / "index.json"), subject.name, lambda name: _json(reports / name))
    if missing := [case for case in chosen if case not in outcomes]:
        # The client ends in good order when it can't connect any more.
        raise client.ClientError(
            f"wstest did not run {cases.ranges(missing)}; its output is in {folder / 'client.log'}"
        )
    return {case: outcomes[case] for case in chosen}


def _json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def measure(subject: Subject, chosen: Sequence[str], command: str) -> tuple[Run, dict[str, Outcome]]:
    """Run the cases and return with their outcomes what is to be known of the run."""
    started, at = datetime.now(UTC), time.monotonic()
    state = source(Path(antiphon.__file__).parent) if subject.ours else ""
    outcomes = run(subject, chosen)
    took = round(time.monotonic() - at, 1)
    said = Run(
        subject.name, f"{started:%Y-%m-%d %H:%M:%S}", took, command, subject.versions(), client.versions(CLIENT), state
    )
    return said, outcomes


def kept() -> Measured:
    """Return the outcomes of earlier runs."""
    return Measured.load(_json(KEPT)) if KEPT.exists() else Measured()


def complaints(folder: Path) -> str:
    """Say where the reports are, and whether the server has logged exceptions: the suite sees their effects only."""
    counts = {path: path.read_text(errors="replace").count("\nTraceback ") for path in sorted(folder.glob("*.log"))}
    said = [f"logged exceptions: {count}, in {path}" for path, count in counts.items() if count]
    return "\n".join([f"reports: {folder / 'reports' / 'index.html'}", *said])


def conforms(outcomes: Mapping[str, Outcome]) -> bool:
    """Tell whether no case is FAILED or UNIMPLEMENTED."""
    return all(outcome.verdict.passes for outcome in outcomes.values())


def measure_all(options: argparse.Namespace, command: str) -> int:
    """Measure one server after the other, print and keep what came of each, and return the exit status."""
    status = OK
    for name in options.server:
        said, outcomes = measure(SUBJECTS[name], options.cases, command)
        measured = kept()
        measured.add(said, outcomes)
        KEPT.write_text(json.dumps(measured.dump(), indent=1))
        print(f"\n{name}: {SUBJECTS[name].label}\n{said.versions}; {said.client}; {said.seconds:.0f} s\n")
        print(report.table(outcomes))
        print(f"\n{complaints(folder_of(SUBJECTS[name]))}", flush=True)
        if not conforms(outcomes):
            status = NOT_CONFORMING
    return status


def main(argv: Sequence[str]) -> int:
    """Run what the command line asks for, and return the exit status."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends on Ctrl-C ends on this, too
    status = OK
    try:
        if not options.no_run:
            status = measure_all(options, shlex.join(["scripts/autobahn", *argv]))
    except (client.ClientError, AssertionError) as error:  # AssertionError: the server does not listen, or does not end
        print(f"autobahn: {error}", file=sys.stderr)
        status = NOT_DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.write is not None:
        options.write.write_text(report.page(kept(), source(Path(antiphon.__file__).parent)))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
