"""Whole projects with faults planted in them: exactly these are found, and none where there is none."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from antiphon.doctor.checks import CHECKS

from .projects import BASIS, CLEAN, DOORS, PLANTED, doctor, settings, write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PLANTED)
def test_exactly_what_was_planted_is_found(name: str, tmp_path: Path) -> None:
    planted = PLANTED[name]
    write(tmp_path, planted.files)
    outcome = doctor(tmp_path, "--json", *planted.arguments)
    assert outcome.err == ""
    assert outcome.places == planted.expected
    levels = {finding["level"] for finding in outcome.findings}
    assert outcome.code == (1 if levels & {"error", "warning"} else 0)


def test_every_check_is_planted_somewhere() -> None:
    planted = {name for project in PLANTED.values() for name, _ in project.expected}
    assert planted == {check.name for check in CHECKS}
    assert CLEAN.expected == []


def test_the_demo_has_no_findings() -> None:
    outcome = doctor(ROOT, "--app-dir", "examples/chat")
    assert outcome.err == ""
    assert outcome.out.splitlines()[0] == "project      examples/chat, settings project.settings"
    assert "routes       ws/  ChatConsumer\n" in outcome.out
    assert outcome.out.endswith("\n\nNo findings.\n")
    assert outcome.code == 0


def test_what_a_person_reads(tmp_path: Path) -> None:
    write(tmp_path / "site", DOORS.files)
    outcome = doctor(tmp_path, "--app-dir", "site", "--settings", "project.settings")
    assert outcome.code == 1
    assert "\n  site/chat/consumers.py:31  goes-on-after-close\n" in outcome.out
    assert outcome.out.endswith("\n4 errors, 2 warnings and 1 piece of advice.\n")
    assert max(map(len, outcome.out.splitlines())) <= 100
    assert "\x1b" not in outcome.out, "colours are for terminals"


APPLICATION = 'ASGI_APPLICATION = "project.asgi.application"\n'
PLAIN = settings("chat", more=APPLICATION)

#: Projects that can't be read: their files, what is said, and the arguments.
UNREADABLE: dict[str, tuple[dict[str, str], str, tuple[str, ...]]] = {
    "no settings": ({}, "there is no manage.py in", ()),
    "settings that are not there": (BASIS, "there is no module 'project.settings'", ()),
    "no secret key": ({"project/settings.py": "DEBUG = True\n"}, "SECRET_KEY setting must not be empty", ()),
    "a variable that is not set": (
        {"project/settings.py": "import os\n\nSECRET_KEY = os.environ['CHAT_KEY']\n"},
        "project/settings.py:3: the environment has no CHAT_KEY. Set it: CHAT_KEY=… antiphon doctor",
        (),
    ),
    "a syntax error": ({"project/settings.py": "SECRET_KEY = (\n"}, "project/settings.py:1: SyntaxError", ()),
    "settings that end": ({"project/settings.py": "raise SystemExit('no')\n"}, "settings.py:1: SystemExit: no", ()),
    "an error in the routing": (
        {"project/settings.py": PLAIN, "chat/consumers.py": "import no_such_package\n"},
        "chat/consumers.py:1: ModuleNotFoundError: No module named 'no_such_package'. Is this the environment",
        (),
    ),
    "no such application": (
        {"project/settings.py": PLAIN.replace("asgi.application", "urls.app")},
        "the module project.urls has no 'app'",
        (),
    ),
    "an application that can't be looked at": (
        {
            "project/settings.py": PLAIN.replace("asgi.application", "urls.application"),
            "project/urls.py": """
                class Odd:
                    @property
                    def routes(self):
                        raise OSError("no")

                application = Odd()
            """,
        },
        "project/urls.py:4: OSError: no",
        (),
    ),
    "an option that is not there": (
        {"project/settings.py": settings("antiphon.django", more='ANTIPHON = {"outbox": 5}\n')},
        "antiphon has no option 'outbox'",
        (),
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_can_not_be_read_is_explained(case: str, tmp_path: Path) -> None:
    files, words, arguments = UNREADABLE[case]
    write(tmp_path, {**(BASIS if files else {}), **files})
    outcome = doctor(tmp_path, *arguments)
    assert outcome.err.startswith("antiphon doctor: ")
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert outcome.code == 2


def test_what_a_project_prints_is_not_in_the_report(tmp_path: Path) -> None:
    loud = textwrap.dedent(CLEAN.files["project/settings.py"]) + 'print("loud")\n'
    write(tmp_path, {**CLEAN.files, "project/settings.py": loud})
    outcome = doctor(tmp_path, "--json")
    assert (outcome.findings, outcome.err) == ([], "loud\n")
