"""What ``antiphon doctor`` prints: for people, wrapped and coloured, and for programs."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

import click

from antiphon.doctor.checks.words import listed, many
from antiphon.doctor.finding import Finding, Level
from antiphon.doctor.project import Project
from antiphon.doctor.route import Route
from antiphon.doctor.source import MOST

__all__ = ["as_json", "as_object", "as_text", "counts", "entry", "findings_as_text"]

#: How many routes are listed.
ROUTES = 20
#: The column at which the header's texts begin.
MARGIN = 13

_TITLES = {Level.ERROR: "Errors", Level.WARNING: "Warnings", Level.ADVICE: "Advice"}
_COLOURS = {Level.ERROR: "red", Level.WARNING: "yellow", Level.ADVICE: "cyan"}


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as a list of objects."""
    return json.dumps([as_object(finding) for finding in findings], indent=2, ensure_ascii=False)


def as_object(finding: Finding) -> dict[str, object]:
    """Return a finding as programs read it."""
    spot = finding.spot
    return {
        "name": finding.name,
        "level": finding.level.value,
        "where": str(spot.place),
        "file": spot.place.name if spot.place.line else None,
        "line": spot.place.line or None,
        "problem": spot.problem,
        "remedy": spot.remedy,
        "code": spot.code,
    }


def as_text(project: Project, findings: Sequence[Finding], width: int) -> str:
    """Return the whole report: the project, the findings by level, and their number."""
    return "\n".join([*_header(project, width), *findings_as_text(findings, width), "", counts(findings)])


def findings_as_text(findings: Sequence[Finding], width: int) -> Iterator[str]:
    """Yield the lines of the findings, by level."""
    for level in Level:
        ours = [finding for finding in findings if finding.level is level]
        if ours:
            yield from ("", click.style(_TITLES[level], bold=True, fg=_COLOURS[level]))
            for finding in ours:
                yield from ("", *_finding(finding, width))


def counts(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each level, as a sentence."""
    numbers = Counter(finding.level for finding in findings)
    parts = [
        many(numbers[Level.ERROR], "error"),
        many(numbers[Level.WARNING], "warning"),
        many(numbers[Level.ADVICE], "piece of advice", "pieces of advice"),
    ]
    found = [part for part, level in zip(parts, Level, strict=True) if numbers[level]]
    return f"{listed(found)}." if found else "No findings."


def _header(project: Project, width: int) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in project.versions.items())
    yield from entry("project", f"{project.shown_folder}, settings {project.settings_module}", width)
    yield from entry("versions", versions, width)
    yield from entry("application", project.application or "none found", width)
    yield from entry("consumers", _consumers(project), width)
    for number, line in enumerate(_routes(project)):
        yield f"{_title('' if number else 'routes')}{line}"
    for text in project.dark:
        yield from entry("not seen", f"what is behind {text}: nothing is said of consumers there", width)
    if project.is_cut:
        yield from entry("not read", f"files beyond the first {MOST}", width)


def _routes(project: Project) -> Iterator[str]:
    """Yield a line for each route: how one gets there, and what is there."""
    ways = [_way(route) for route in project.routes[:ROUTES]]
    column = min(max(map(len, ways), default=0), 40)
    for way, route in zip(ways, project.routes, strict=False):
        yield f"{way:{column}}  {route.consumer.name}"
    if len(project.routes) > ROUTES:
        yield f"and {len(project.routes) - ROUTES} more"


def _way(route: Route) -> str:
    pattern = route.pattern or "any path"
    return pattern if route.protocol in ("websocket", "") else f"{route.protocol}: {pattern}"


def _consumers(project: Project) -> str:
    """Return how many consumers there are, by family and kind."""
    kinds = Counter(
        f"{consumer.family.value} ({'sync' if consumer.is_sync else 'async'})" for consumer in project.consumers
    )
    if not kinds:
        return "none found"
    return f"{listed([f'{n} {kind}' for kind, n in kinds.items()])}, on {many(len(project.routes), 'route')}"


def entry(title: str, text: str, width: int) -> Iterator[str]:
    """Yield the lines of one part of the header."""
    lines = textwrap.wrap(text, max(width - MARGIN, 40), break_on_hyphens=False, break_long_words=False)
    first, *others = lines or [""]
    yield f"{_title(title)}{first}"
    yield from (f"{'':{MARGIN}}{line}" for line in others)


def _title(text: str) -> str:
    return click.style(f"{text:{MARGIN}}", dim=True)


def _finding(finding: Finding, width: int) -> Iterator[str]:
    spot = finding.spot
    yield f"  {click.style(str(spot.place), bold=True)}  {click.style(finding.name, fg=_COLOURS[finding.level])}"
    yield from _paragraph(spot.problem, width)
    yield from _paragraph(spot.remedy, width)
    yield from (f"        {line}" for line in spot.code.splitlines())


def _paragraph(text: str, width: int) -> list[str]:
    """Wrap a text, and break no path and no name in it."""
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent="    ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )
