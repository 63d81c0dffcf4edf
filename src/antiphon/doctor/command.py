"""The command: load, examine, print."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from antiphon.doctor.checks import examine
from antiphon.doctor.finding import Level
from antiphon.doctor.load import load
from antiphon.doctor.report import as_json, as_text
from antiphon.exceptions import ConfigurationError

__all__ = ["FOUND", "OK", "UNREADABLE", "run"]

#: Exit codes.
OK, FOUND, UNREADABLE = 0, 1, 2


def run(*, settings: str | None, app_dir: str, workers: int | None, json: bool) -> int:
    """Examine the project in ``app_dir`` and print the report; return the exit code."""
    current = Path.cwd()
    try:
        project = load(
            settings=settings,
            folder=Path(app_dir).resolve(),
            workers=workers,
            environment=os.environ,
            current=current,
        )
    except ConfigurationError as error:
        click.echo(f"antiphon doctor: {error}", err=True)
        return UNREADABLE
    findings = examine(project)
    click.echo(as_json(findings) if json else as_text(project, findings, shutil.get_terminal_size().columns))
    return FOUND if any(finding.level is not Level.ADVICE for finding in findings) else OK
