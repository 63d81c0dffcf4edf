"""What is printed of an engine."""

from __future__ import annotations

import json

import click

from antiphon.doctor.engine.examination import Examination, Fact, Times
from antiphon.doctor.engine.report import as_json, as_text
from antiphon.doctor.finding import Level


def examination() -> Examination:
    found = Examination("Redis at h:1")
    found.facts.append(Fact("memory", "1 KiB"))
    found.times += [Times.of("PING h:1", [0.001] * 4), Times.of("publish", [0.002, 0.0305])]
    found.find("evicts", Level.WARNING, "maxmemory-policy", "It drops.", "Set it.", "SET it", server="h:1")
    return found


def test_text() -> None:
    lines = click.unstyle(as_text(examination(), 80)).splitlines()
    assert lines[:4] == [
        "engine       Redis at h:1",
        "memory       1 KiB",
        "times        PING h:1  median 1.00, p99 1.00, max 1.00 ms, of 4",
        "             publish   median 30.50, p99 30.50, max 30.50 ms, of 2",
    ]
    assert lines[4:] == [
        "",
        "Warnings",
        "",
        "  maxmemory-policy of h:1  evicts",
        "    It drops.",
        "    Set it.",
        "        SET it",
        "",
        "1 warning.",
    ]


def test_an_engine_without_findings() -> None:
    assert as_text(Examination("memory"), 80).splitlines()[-1] == "No findings."


def test_json() -> None:
    found = json.loads(as_json(examination()))
    assert found["engine"] == "Redis at h:1"
    assert found["facts"] == [{"title": "memory", "text": "1 KiB"}]
    assert found["times"]["publish"] == {"count": 2, "median_ms": 30.5, "p99_ms": 30.5, "max_ms": 30.5}
    (finding,) = found["findings"]
    assert (finding["name"], finding["level"], finding["where"]) == ("evicts", "warning", "maxmemory-policy of h:1")
