"""What is printed."""

from __future__ import annotations

import json

import click

from antiphon.doctor.finding import Finding, Level, Place, Spot
from antiphon.doctor.report import ROUTES, as_json, as_text, counts
from antiphon.doctor.route import Route

from .conftest import Make

LONG = "It is wrong in so many ways that one line of a narrow terminal has no room for them. " * 2
FINDINGS = [
    Finding("a-name", Level.ERROR, Spot(Place("chat/consumers.py", 12), LONG, "Write:", "one = 1\ntwo = 2")),
    Finding("another", Level.WARNING, Spot(Place("ALLOWED_HOSTS"), "It is open.", "Close it.")),
    Finding("third", Level.ADVICE, Spot(Place("x.py", 1), "It is old.", "Renew it.")),
]
CONSUMERS = """
    from antiphon import AsyncWebsocketConsumer

    class Chat(AsyncWebsocketConsumer):
        pass
"""


def test_json() -> None:
    found = json.loads(as_json(FINDINGS))
    assert found[0] == {
        "name": "a-name",
        "level": "error",
        "where": "chat/consumers.py:12",
        "file": "chat/consumers.py",
        "line": 12,
        "problem": LONG,
        "remedy": "Write:",
        "code": "one = 1\ntwo = 2",
    }
    assert (found[1]["where"], found[1]["file"], found[1]["line"]) == ("ALLOWED_HOSTS", None, None)
    assert as_json([]) == "[]"


def test_counts() -> None:
    assert counts([]) == "No findings."
    assert counts(FINDINGS) == "1 error, 1 warning and 1 piece of advice."
    assert counts([FINDINGS[0]] * 2 + [FINDINGS[2]] * 2) == "2 errors and 2 pieces of advice."


def test_text(make: Make) -> None:
    project = make(CONSUMERS, versions={"Django": "5.2", "antiphon": "0.1"}, shown_folder="site")
    plain = click.unstyle(as_text(project, FINDINGS, 60))
    assert plain.splitlines()[:5] == [
        "project      site, settings project.settings",
        "versions     Django 5.2, antiphon 0.1",
        "application  project.asgi.application",
        "consumers    1 antiphon (async), on 1 route",
        "routes       ws/chat/  Chat",
    ]
    assert [line for line in plain.splitlines() if line in ("Errors", "Warnings", "Advice")] == [
        "Errors",
        "Warnings",
        "Advice",
    ]
    assert "  chat/consumers.py:12  a-name" in plain.splitlines()
    assert "        one = 1\n        two = 2\n" in plain
    assert plain.endswith("\n1 error, 1 warning and 1 piece of advice.")
    assert max(map(len, plain.splitlines())) <= 60


def test_nothing_found(make: Make) -> None:
    text = click.unstyle(as_text(make(application="", dark=("some.application",), is_cut=True), [], 100))
    assert "application  none found\n" in text
    assert "consumers    none found\n" in text
    assert "not seen     what is behind some.application: nothing is said of consumers there\n" in text
    assert "not read     files beyond the first 5000\n" in text
    assert text.endswith("\n\nNo findings.")


def test_many_routes(make: Make) -> None:
    consumer = make(CONSUMERS).routes[0].consumer
    routes = [Route(consumer, "", "channel"), *(Route(consumer, "x" * number, "") for number in range(ROUTES + 2))]
    text = click.unstyle(as_text(make(routes=tuple(routes)), [], 100))
    assert "channel: any path" in text
    assert "             any path " in text
    assert "             and 3 more\n" in text
