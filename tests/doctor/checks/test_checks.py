"""The table of checks."""

from __future__ import annotations

import re

import pytest

from antiphon.doctor import checks
from antiphon.doctor.checks import CHECKS, examine
from antiphon.doctor.finding import Check, Level, Place, Spot

from ..conftest import Make


def test_names_are_one_of_a_kind_and_stable_in_form() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)
    assert all(check.meaning.endswith(".") for check in CHECKS)


def test_an_empty_project_has_but_no_application(make: Make) -> None:
    assert [finding.name for finding in examine(make(application=""))] == ["no-asgi-application"]


def test_the_most_severe_come_first_and_each_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spot = Spot(Place("X"), "It is so.", "Change it.")
    kinds = [("advice", Level.ADVICE), ("first", Level.ERROR), ("warning", Level.WARNING), ("second", Level.ERROR)]
    table = [Check(name, level, "It is.", lambda project: [spot, spot]) for name, level in kinds]
    monkeypatch.setattr(checks, "CHECKS", table)
    assert [finding.name for finding in examine(make())] == ["first", "second", "warning", "advice"]
