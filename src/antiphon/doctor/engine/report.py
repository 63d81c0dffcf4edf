"""What ``antiphon engine check`` prints: for people, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from antiphon.doctor.engine.examination import Examination, Times
from antiphon.doctor.report import as_object, counts, entry, findings_as_text

__all__ = ["as_json", "as_text"]


def as_json(found: Examination) -> str:
    """Return it as one object."""
    whole = {
        "engine": found.where,
        "facts": [each._asdict() for each in found.facts],
        "times": {each.what: _milliseconds(each) for each in found.times},
        "findings": [as_object(finding) for finding in found.findings],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _milliseconds(times: Times) -> dict[str, float]:
    figures = {"median": times.median, "p99": times.p99, "max": times.longest}
    return {"count": len(times.seconds), **{f"{name}_ms": round(each * 1000, 3) for name, each in figures.items()}}


def as_text(found: Examination, width: int) -> str:
    """Return the whole report: what was found out, the findings by level, and their number."""
    lines = [*entry("engine", found.where, width)]
    for title, text in found.facts:
        lines += entry(title, text, width)
    lines += _times(found, width)
    return "\n".join([*lines, *findings_as_text(found.findings, width), "", counts(found.findings)])


def _times(found: Examination, width: int) -> Iterator[str]:
    column = max((len(each.what) for each in found.times), default=0)
    for number, each in enumerate(found.times):
        figures = ", ".join(f"{name} {seconds * 1000:.2f}" for name, seconds in _figures(each))
        text = f"{each.what:{column}}  {figures} ms, of {len(each.seconds)}"
        yield from entry("" if number else "times", text, width)


def _figures(times: Times) -> tuple[tuple[str, float], ...]:
    return ("median", times.median), ("p99", times.p99), ("max", times.longest)
