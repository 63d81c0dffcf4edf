"""The command: use an engine, and print what there is to say of it."""

from __future__ import annotations

import asyncio
import shutil
from urllib.parse import urlsplit

import click

from antiphon.doctor.command import FOUND, OK, UNREADABLE
from antiphon.doctor.engine import memory, sqlite
from antiphon.doctor.engine.examination import Examination, Say
from antiphon.doctor.engine.report import as_json, as_text
from antiphon.doctor.finding import Level
from antiphon.engines import open_engine
from antiphon.exceptions import ConfigurationError, EngineError

__all__ = ["INTERRUPTED", "run"]

#: Exit code where somebody did not wait for the end; the others are the doctor's.
INTERRUPTED = 130


def run(url: str, *, json: bool) -> int:
    """Examine the engine that ``url`` names and print the report; return the exit code."""
    try:
        found = asyncio.run(_examine(url, lambda text: click.echo(text, err=True)))
    except (ConfigurationError, EngineError, OSError) as error:
        click.echo(f"antiphon engine check: {error}", err=True)
        return UNREADABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    click.echo(as_json(found) if json else as_text(found, shutil.get_terminal_size().columns))
    return FOUND if any(finding.level is not Level.ADVICE for finding in found.findings) else OK


async def _examine(url: str, say: Say) -> Examination:
    open_engine(url)  # tells what is wrong with a URL
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return await memory.examine(url, say)
    if scheme == "sqlite":
        return await sqlite.examine(url, say)
    from antiphon.doctor.engine import redis  # hiredis is an extra

    return await redis.examine(url, say)
